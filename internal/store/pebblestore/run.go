package pebblestore

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// runFile says which run of the store was the last, and how it went. It stands beside
// the database, so that a database that has lost its end is noticed: a log that is
// missing or cut looks to Pebble like one that a crash has left.
const runFile = "RUN"

// runState is what is in runFile.
type runState struct {
	run    uint64
	closed bool
}

func (r runState) String() string {
	if r.closed {
		return strconv.FormatUint(r.run, 10) + " closed\n"
	}
	return strconv.FormatUint(r.run, 10) + " open\n"
}

// readRun returns what is in the file; nothing when there is none.
func (s *Store) readRun() (runState, error) {
	text, err := readFile(s.fs, s.fs.PathJoin(s.opt.Dir, runFile))
	if errors.Is(err, fs.ErrNotExist) {
		return runState{}, nil
	}
	if err != nil {
		return runState{}, diskError("read "+runFile, err)
	}
	number, state, ok := strings.Cut(strings.TrimSpace(string(text)), " ")
	run, err := strconv.ParseUint(number, 10, 64)
	if err != nil || !ok || state != "open" && state != "closed" {
		return runState{}, fmt.Errorf("the file %s does not tell the last run of the store: %.60q; remove it when the database is whole", runFile, text)
	}
	return runState{run, state == "closed"}, nil
}

// writeRun is called when the database has what the file says.
func (s *Store) writeRun(r runState) error {
	if err := s.replaceFile(runFile, []byte(r.String())); err != nil {
		return diskError("write "+runFile, err)
	}
	return nil
}

// lostEnd compares the record of runs in the database with runFile.
func (s *Store) lostEnd(m *meta) error {
	r, err := s.readRun()
	if err != nil || m.epoch > r.run || m.epoch == r.run && (m.clean || !r.closed) {
		return err
	}
	return corrupt("the database", fmt.Errorf("it has lost what was written last: it knows of run %d, the file %s of run %d; "+
		"a file *.log of %s is missing or cut: put it back, or remove %s to go on without what was in it", m.epoch, runFile, r.run, dbDir, runFile))
}
