package pebblestore

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
)

// How content ends. Nothing counts references: a reference is a row, and content
// without such rows, pins and readers is garbage.
//
// A change that removes the last user of a document leaves a note for each content
// that the document referred to (tabGarbage). The sweeper looks at each note: when a
// reference is left, the note goes. When there is none, it waits for the readers
// that had started by then (see readers), looks again with the content's stripe
// locked, and removes content and note. New references need a pin, which needs the
// stripe, so nothing can come in between.
//
// Content that was staged and not used has no note; it gets one when the staged
// message is closed. What a crash leaves without one is found by a full sweep after
// the next start; a row says that it is still to be done (orphansKey).

// The kinds of content.
const (
	contentRow  = 1 // a row of tabBlob
	contentFile = 2
)

func contentKind(size int64) byte {
	if size >= blobFileFrom {
		return contentFile
	}
	return contentRow
}

// sweepBatch is how many notes are looked at in one round.
const sweepBatch = 4096

// sweeper is the state of the sweeper.
type sweeper struct {
	mu       sync.Mutex
	suspects []stagedContent // staged and not used; they have no notes yet
	// waiting is content without references; only the sweeper's goroutine uses it.
	waiting map[hash]*waiting
	done    uint64 // rounds ended, for tests; guarded by mu
}

// waiting is content that goes as soon as all readers before round have ended.
type waiting struct {
	kind  byte
	round uint64
	notes [][]byte
}

// suspect takes content that was staged and not used.
func (s *Store) suspect(c []stagedContent) {
	if len(c) == 0 {
		return
	}
	s.sweep.mu.Lock()
	s.sweep.suspects = append(s.sweep.suspects, c...)
	s.sweep.mu.Unlock()
	s.wakeSweeper()
}

func (s *Store) wakeSweeper() {
	select {
	case s.sweeps <- struct{}{}:
	default:
	}
}

// saveSuspects writes the notes for content that was staged and not used. What
// cannot be written now stays for the next time.
func (s *Store) saveSuspects() error {
	s.sweep.mu.Lock()
	defer s.sweep.mu.Unlock()
	if len(s.sweep.suspects) == 0 {
		return nil
	}
	if err := s.writable(false); err != nil {
		return err
	}
	b := s.db.NewBatch()
	for _, c := range s.sweep.suspects {
		set(b, garbageKey(c.hash, mail.AccountID{}, mail.EmailID{}), []byte{c.kind})
	}
	if err := s.applyClose(b); err != nil {
		return fmt.Errorf("note unused content: %w", err)
	}
	s.sweep.suspects = nil
	return nil
}

// collectGarbage runs one round and reports whether there is more to do at once.
func (s *Store) collectGarbage() (more bool, err error) {
	if err := s.saveSuspects(); err != nil {
		return false, err
	}
	if s.sweep.waiting == nil {
		s.sweep.waiting = map[hash]*waiting{}
	}
	if err := s.removeWaiting(); err != nil {
		return false, err
	}
	n, err := s.readNotes()
	if err != nil {
		return false, err
	}
	// Rounds are numbered only after references were looked for: a reader of this
	// or a later round started when there were none.
	round := s.blobs.readers.advance()
	for _, w := range s.sweep.waiting {
		if w.round == 0 {
			w.round = round
		}
	}
	return n == sweepBatch, nil
}

// readNotes looks at notes that are not being dealt with.
func (s *Store) readNotes() (n int, err error) {
	b := s.db.NewBatch()
	defer func() {
		if b != nil {
			_ = b.Close()
		}
	}()
	seen := map[hash]bool{}
	err = s.scan([]byte{tabGarbage}, func(key, value []byte) error {
		if len(key) != refKeySize || len(value) != 1 {
			del(b, key)
			return nil
		}
		h := hash(key[1:])
		w := s.sweep.waiting[h]
		if w != nil && !seen[h] && w.round != 0 {
			return nil // of an earlier round
		}
		if n++; n > sweepBatch {
			n = sweepBatch
			return errStop
		}
		if w == nil && !seen[h] {
			used, err := s.referenced(h)
			if err != nil {
				return err
			}
			if !used {
				w = &waiting{kind: value[0]}
				s.sweep.waiting[h] = w
			}
		}
		seen[h] = true
		if w == nil {
			del(b, key)
		} else {
			w.notes = append(w.notes, append([]byte(nil), key...))
		}
		return nil
	})
	if err != nil || b.Empty() {
		return n, err
	}
	err = s.apply(b, pebble.NoSync)
	if err != nil {
		b = nil
	}
	return n, err
}

// referenced reports whether a document refers to content.
func (s *Store) referenced(h hash) (found bool, err error) {
	err = s.scan(hashKey(tabBlobRef, h), func(_, _ []byte) error {
		found = true
		return errStop
	})
	return found, err
}

// removeWaiting removes content that no reader can need any more.
func (s *Store) removeWaiting() error {
	oldest := s.blobs.readers.oldest()
	durable := false
	for h, w := range s.sweep.waiting {
		if w.round == 0 || oldest < w.round {
			continue
		}
		// A file goes at once, so what removed its last reference must be on the disk:
		// otherwise a crash could bring the message back, but not its content.
		if w.kind == contentFile && !durable {
			if err := s.syncLog(); err != nil {
				return err
			}
			durable = true
		}
		delete(s.sweep.waiting, h)
		if err := s.removeContent(h, w); err != nil {
			return err
		}
	}
	return nil
}

// removeContent removes content unless somebody has come to use it.
func (s *Store) removeContent(h hash, w *waiting) error {
	st := s.blobs.stripe(h)
	st.file.Lock()
	defer st.file.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.pins[h] > 0 {
		return nil // its notes are read again
	}
	used, err := s.referenced(h)
	if err != nil {
		return err
	}
	if again, err := s.notedAgain(h, w); err != nil || again {
		return err // it was used and left again; it waits for the readers since then
	}
	b := s.db.NewBatch()
	for _, key := range w.notes {
		del(b, key)
	}
	switch {
	case used:
	case w.kind == contentFile:
		if err := s.fs.Remove(s.blobs.path(h)); err != nil && !isGone(err) {
			_ = b.Close()
			return diskError(fmt.Sprintf("remove content %x", h), err)
		}
	default:
		del(b, hashKey(tabBlob, h))
	}
	if err := s.apply(b, pebble.NoSync); err != nil {
		return err
	}
	return b.Close()
}

// notedAgain reports whether there are notes for content that came after those that
// are being dealt with.
func (s *Store) notedAgain(h hash, w *waiting) (again bool, err error) {
	err = s.scan(hashKey(tabGarbage, h), func(key, _ []byte) error {
		for _, k := range w.notes {
			if bytes.Equal(k, key) {
				return nil
			}
		}
		again = true
		return errStop
	})
	return again, err
}

// findOrphans notes content that nothing refers to and that has no note: a crash
// between staging and storing a message leaves some.
func (s *Store) findOrphans(stop func() bool) error {
	if todo, err := s.has(orphansKey()); err != nil || !todo {
		return err
	}
	err := s.orphanRows(stop)
	if err == nil {
		err = s.orphanFiles(stop)
	}
	if err == nil && stop() {
		err = errStop
	}
	if err == nil {
		err = s.saveSuspects()
	}
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	del(b, orphansKey())
	return s.applyClose(b)
}

// orphanRows walks content and references side by side.
func (s *Store) orphanRows(stop func() bool) error {
	refs, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tabBlobRef}, UpperBound: after([]byte{tabBlobRef})})
	if err != nil {
		return readError("look for unused content", err)
	}
	defer refs.Close()
	rows, err := refs.Clone(pebble.CloneOptions{IterOptions: &pebble.IterOptions{
		LowerBound: []byte{tabBlob}, UpperBound: after([]byte{tabBlob}),
	}})
	if err != nil {
		return readError("look for unused content", err)
	}
	defer rows.Close()
	var orphans []stagedContent
	for ok := rows.First(); ok && !stop(); ok = rows.Next() {
		h := hash(rows.Key()[1:])
		prefix := hashKey(tabBlobRef, h)
		if !refs.SeekGE(prefix) || hash(refs.Key()[1:]) != h {
			orphans = append(orphans, stagedContent{h, contentRow})
		}
		if err := refs.Error(); err != nil {
			return readError("look for unused content", err)
		}
	}
	if err := rows.Error(); err != nil {
		return readError("look for unused content", err)
	}
	s.suspect(orphans)
	return nil
}

func (s *Store) orphanFiles(stop func() bool) error {
	return s.blobs.each(func(h hash, _ string) error {
		if stop() {
			return errStop
		}
		used, err := s.referenced(h)
		if err == nil && !used {
			s.suspect([]stagedContent{{h, contentFile}})
		}
		return err
	})
}
