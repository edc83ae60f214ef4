package transfer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"mallard/internal/mail"
)

// State is the record of an import on the disk: which messages were acknowledged,
// and which were on their way. It is a file of JSON lines that only grows. It is
// not safe for concurrent use.
type State struct {
	file    *os.File
	done    map[string]bool
	pending *Begin
}

// Identity says which import a record belongs to.
type Identity struct {
	User   string `json:"user"`   // id
	Kind   string `json:"kind"`   // format of the source
	Source string `json:"source"` // absolute path
	Prefix string `json:"prefix,omitempty"`
}

// Begin says that messages are going to be stored in a mailbox, where they will
// get UIDs from UIDNext on.
type Begin struct {
	Mailbox     string           `json:"mailbox"` // id
	UIDValidity mail.UIDValidity `json:"uidValidity"`
	UIDNext     mail.UID         `json:"uidNext"`
	Keys        []string         `json:"keys"`
}

// end says that the messages of the last Begin were stored, all but those with
// these indexes.
type end struct {
	Failed []int `json:"failed,omitempty"`
}

const stateVersion = 1

type stateLine struct {
	Version  int       `json:"mallardImport,omitempty"`
	Identity *Identity `json:"of,omitempty"`
	Begin    *Begin    `json:"begin,omitempty"`
	End      *end      `json:"end,omitempty"`
}

// OpenState opens the record of an import, or makes it. It fails when the file is
// something else, belongs to another import, or is in use.
func OpenState(name string, id Identity) (*State, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("keep the state of the import: %w", err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep the state of the import: %w", err)
	}
	s := &State{file: f, done: make(map[string]bool)}
	if err = lockFile(f); err != nil {
		err = fmt.Errorf("the same import is running already: %w", err)
	} else {
		err = s.load(id)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("state of the import in %s: %w", name, err), f.Close())
	}
	return s, nil
}

// load reads the record. A last line that was not written whole is cut off.
func (s *State) load(id Identity) error {
	r := bufio.NewReaderSize(s.file, 1<<20)
	var size int64
	for n := 0; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		var l stateLine
		if err := json.Unmarshal(line, &l); err != nil {
			return fmt.Errorf("line %d is not understood: %w", n+1, err)
		}
		if n == 0 {
			if err := l.check(id); err != nil {
				return err
			}
		}
		s.apply(l)
		size += int64(len(line))
	}
	if err := s.file.Truncate(size); err != nil {
		return err
	}
	if _, err := s.file.Seek(size, io.SeekStart); err != nil {
		return err
	}
	if size > 0 {
		return nil
	}
	return s.write(stateLine{Version: stateVersion, Identity: &id})
}

func (l *stateLine) check(id Identity) error {
	switch {
	case l.Identity == nil || l.Version == 0:
		return errors.New("the file is no state of an import")
	case l.Version != stateVersion:
		return fmt.Errorf("it is of version %d, this program knows version %d", l.Version, stateVersion)
	case *l.Identity != id:
		return fmt.Errorf("it belongs to the import of %s %s for user %s with prefix %q: use another file", l.Identity.Kind, l.Identity.Source, l.Identity.User, l.Identity.Prefix)
	}
	return nil
}

func (s *State) apply(l stateLine) {
	if l.End != nil && s.pending != nil {
		failed := make(map[int]bool)
		for _, i := range l.End.Failed {
			failed[i] = true
		}
		for i, k := range s.pending.Keys {
			if !failed[i] {
				s.done[k] = true
			}
		}
		s.pending = nil
	}
	if l.Begin != nil {
		s.pending = l.Begin
	}
}

// write adds lines in one step, durably.
func (s *State) write(lines ...stateLine) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("keep the state of the import: %w", err)
		}
	}
	if _, err := s.file.Write(b.Bytes()); err != nil {
		return fmt.Errorf("keep the state of the import: %w", err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("keep the state of the import: %w", err)
	}
	for _, l := range lines {
		s.apply(l)
	}
	return nil
}

// Done reports whether a message was acknowledged.
func (s *State) Done(key string) bool { return s.done[key] }

// Count is the number of messages that were acknowledged.
func (s *State) Count() int { return len(s.done) }

// Pending returns what was on its way when the record ended, nil for nothing: it
// may have been stored or not.
func (s *State) Pending() *Begin { return s.pending }

// Begin notes what is going to be stored. What was on its way before must have
// ended.
func (s *State) Begin(b Begin) error { return s.write(stateLine{Begin: &b}) }

// End notes that what is on its way was stored, but for the messages with these
// indexes.
func (s *State) End(failed []int) error { return s.write(stateLine{End: &end{failed}}) }

// Close closes the file.
func (s *State) Close() error { return s.file.Close() }
