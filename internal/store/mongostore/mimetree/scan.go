package mimetree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	// window is how much of a long message is in memory at a time. A header line that is longer is beyond the limits.
	window = 1 << 20
	// maxReturns is the longest run of CR that can belong to one line break.
	maxReturns = 64 << 10
	// keptOfLine is how much of a line that is longer than the window is kept, to compare it with boundaries.
	keptOfLine = 4 << 10
)

// line is a line of the source: its text from start to end, its break from end to next. A line that the source ends with
// has no break; such a line may be empty.
type line struct {
	start, end, next int64
	bare             bool   // the break is LF without CR
	last             bool   // the source ends with the line
	text             []byte // valid until the next line; cut when the line is longer than the window
	cut              bool
}

// scanner splits a range of the source into lines. A line break is any number of CR followed by LF, or a CR alone.
type scanner struct {
	src  io.ReaderAt
	end  int64 // of the range
	pos  int64 // where the next line starts
	done bool

	buf     []byte // the octets from base on
	base    int64
	window  int64 // how long buf may be when it is not the source itself
	nextCR  int   // the first one in buf at or behind the position, len(buf) when there is none
	nextLF  int
	noBreak int // up to here in buf a run of CR is known not to end in LF
}

// newScanner reads the range of a source. mem is the whole source when it is in memory.
func newScanner(src io.ReaderAt, mem []byte, start, end int64) *scanner {
	s := &scanner{src: src, end: end, pos: start, base: start, window: window}
	if mem != nil {
		s.buf = mem[start:end]
	}
	s.nextCR, s.nextLF = -1, -1
	return s
}

// next returns the next line; io.EOF after the last one, and other errors of the source.
func (s *scanner) next() (line, error) {
	if s.done {
		return line{}, io.EOF
	}
	ln := line{start: s.pos}
	var kept []byte
	from := s.pos // where to look for the end of the line
	for {
		at, n, bare, found := s.find(int(from - s.base))
		if found {
			ln.end, ln.next, ln.bare = s.base+int64(at), s.base+int64(at+n), bare
			break
		}
		if s.filled() == s.end {
			ln.end, ln.next, ln.last, s.done = s.end, s.end, true, true
			break
		}
		if int64(len(s.buf)) >= s.window && s.base == ln.start {
			kept, ln.cut = append([]byte(nil), s.buf[:min(keptOfLine, len(s.buf))]...), true
		}
		keep := ln.start
		if ln.cut {
			// The line is longer than the window: only its end matters now. CRs at the end of buf may belong to it.
			keep = s.base + int64(min(at, len(s.buf)))
		}
		from = max(ln.start, s.base+int64(min(at, len(s.buf))))
		if err := s.fill(keep); err != nil {
			return line{}, err
		}
	}
	if ln.cut {
		ln.text = kept
	} else {
		ln.text = s.buf[ln.start-s.base : ln.end-s.base]
	}
	s.pos = ln.next
	return ln, nil
}

// filled is the offset up to which the source was read.
func (s *scanner) filled() int64 { return s.base + int64(len(s.buf)) }

// find looks for a line break in buf from i on. Without one, at is where to go on looking when there is more.
func (s *scanner) find(i int) (at, n int, bare, found bool) {
	s.advance(i)
	lf, cr := s.nextLF, s.nextCR
	if lf < cr {
		return lf, 1, true, true
	}
	if cr == len(s.buf) {
		return cr, 0, false, false
	}
	if cr < s.noBreak {
		return cr, 1, false, true
	}
	run := cr + 1
	for run < len(s.buf) && s.buf[run] == '\r' && run-cr < maxReturns {
		run++
	}
	switch {
	case run == len(s.buf) && s.filled() < s.end && run-cr < maxReturns:
		return cr, 0, false, false // what follows is not known yet
	case run < len(s.buf) && s.buf[run] == '\n':
		return cr, run + 1 - cr, false, true
	}
	s.noBreak = run
	return cr, 1, false, true
}

// advance makes nextCR and nextLF right for the position i.
func (s *scanner) advance(i int) {
	if s.nextLF < i {
		s.nextLF = indexFrom(s.buf, i, '\n')
	}
	if s.nextCR < i {
		s.nextCR = indexFrom(s.buf, i, '\r')
	}
}

func indexFrom(b []byte, i int, c byte) int {
	if n := bytes.IndexByte(b[i:], c); n >= 0 {
		return i + n
	}
	return len(b)
}

// fill drops what is before the offset keep and reads more.
func (s *scanner) fill(keep int64) error {
	if s.buf == nil {
		s.buf = make([]byte, 0, min(s.window, s.end-s.base))
	}
	n := copy(s.buf, s.buf[keep-s.base:])
	s.buf, s.base = s.buf[:n], keep
	room := s.buf[n:cap(s.buf)]
	room = room[:min(int64(len(room)), s.end-s.filled())]
	if err := readFull(s.src, room, s.filled()); err != nil {
		return err
	}
	s.buf = s.buf[:n+len(room)]
	s.nextCR, s.nextLF, s.noBreak = -1, -1, 0
	return nil
}

// readFull fills b from the source.
func readFull(src io.ReaderAt, b []byte, off int64) error {
	n, err := src.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read the message: %w", err)
}
