package pebblestore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
)

// content checks content against its hashes, and that somebody uses it.
func (c *checker) content() error {
	lookingFor, err := c.has(orphansKey())
	if err != nil {
		c.problem("the store", "a row cannot be read: %v", err)
	}
	// After a crash there may be some that nobody knows of, until the sweeper has looked.
	all := lookingFor || err != nil || c.s.opt.ReadOnly && !c.runs.clean
	if err := c.contentRows(all); err != nil {
		return err
	}
	return c.contentFiles(all)
}

// contentRows checks content in the database; with orphans set that nobody uses it is
// no problem.
func (c *checker) contentRows(orphans bool) error {
	return c.each("content", []byte{tabBlob}, func(key, value []byte) error {
		c.count("content rows")
		if n := c.report.Counts["content rows"]; n%100 == 0 {
			c.progress("content", n, 0, "rows")
		}
		where := fmt.Sprintf("content %x", key[1:])
		data, err := plainValue(value, int64(len(value)-1))
		if err == nil && (len(key) != 1+len(hash{}) || len(data) >= blobFileFrom) {
			err = errors.New("key or value has a wrong length")
		}
		if err != nil {
			c.problem(where, "it cannot be decoded: %v", err)
			return nil
		}
		h := hash(key[1:])
		if got := hash(sha256.Sum256(data)); got != h {
			c.problem(where, "its octets have hash %x", got)
		}
		if !orphans {
			c.used(h, where, func() bool {
				there, err := c.s.has(hashKey(tabBlob, h))
				return there || err != nil
			})
		}
		return nil
	})
}

// contentFiles checks large content.
func (c *checker) contentFiles(orphans bool) error {
	err := c.s.blobs.each(func(h hash, path string) error {
		c.count("content files")
		c.progress("content files", c.report.Counts["content files"], 0, "files")
		if c.ctx.Err() != nil {
			return canceled(c.ctx)
		}
		got, size, err := c.fileHash(path)
		switch {
		case isGone(err): // removed since it was listed
			return nil
		case err != nil:
			c.problem("file "+path, "it cannot be read: %v", err)
			return nil
		case got != h:
			c.problem("file "+path, "its octets have hash %x", got)
		case size < blobFileFrom:
			c.problem("file "+path, "it has %d octets only and should be in the database", size)
		}
		if !orphans {
			c.used(h, "file "+path, func() bool {
				_, err := c.s.fs.Stat(path)
				return !isGone(err)
			})
		}
		return nil
	})
	if isGone(err) {
		return nil // no content was ever large
	}
	return err
}

func (c *checker) fileHash(path string) (h hash, size int64, err error) {
	f, err := c.s.fs.Open(path)
	if err != nil {
		return h, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	buf := c.s.pieces.get()
	defer c.s.pieces.put(buf)
	if size, err = io.CopyBuffer(sum, io.Reader(f), (*buf)[:cap(*buf)]); err != nil {
		return h, 0, err
	}
	sum.Sum(h[:0])
	return h, size, nil
}

// used reports content that nothing refers to. Content of messages that come or go
// while the check runs is known in memory or has a note; there tells at the end whether
// it is still there.
func (c *checker) used(h hash, where string, there func() bool) {
	for _, prefix := range [][]byte{hashKey(tabBlobRef, h), hashKey(tabGarbage, h)} {
		it, err := c.snap.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
		found := err == nil && it.First()
		if err == nil {
			err = it.Close()
		}
		if found || err != nil { // rows that cannot be read are reported elsewhere
			return
		}
	}
	st := c.s.blobs.stripe(h)
	st.mu.Lock()
	pinned := st.pins[h] > 0
	st.mu.Unlock()
	if pinned || c.s.isSuspect(h) {
		return
	}
	referenced, err := c.s.referenced(h)
	if err != nil || referenced {
		return
	}
	noted, err := c.s.notedAgain(h, &waiting{})
	if err == nil && !noted && there() {
		c.problem(where, "nothing refers to it")
	}
}

// references looks for uses of content that is not there, and for uses by documents
// that are not there or do not use it.
func (c *checker) references() error {
	return c.each("uses of content", []byte{tabBlobRef}, func(key, value []byte) error {
		c.count("uses of content")
		if len(key) != refKeySize || len(value) != 0 {
			c.problem("uses of content", "a row of %d and %d octets", len(key), len(value))
			return nil
		}
		h, acct, email := hash(key[1:33]), mail.AccountID(key[33:33+idSize]), mail.EmailID(key[33+idSize:])
		where := fmt.Sprintf("content %x used by %s of account %s", h, email, acct)
		size, err := c.usedSize(h, acct, email)
		if err != nil {
			c.problem(where, "%v", err)
			return nil
		}
		ok := false
		if contentKind(size) == contentFile {
			_, err = c.s.fs.Stat(c.s.blobs.path(h))
			ok = err == nil
		} else {
			ok, err = c.has(hashKey(tabBlob, h))
		}
		if !ok && c.stillUsed(h, acct, email) {
			c.problem(where, "the content is missing: %v", err)
		}
		return nil
	})
}

// usedSize returns the size that a document gives for content that it uses.
func (c *checker) usedSize(h hash, acct mail.AccountID, email mail.EmailID) (size int64, err error) {
	value, err := c.get(emailKey(tabDocument, acct, email))
	if err != nil {
		return 0, fmt.Errorf("the message cannot be read: %w", err)
	}
	if value == nil {
		return 0, errors.New("the message does not exist")
	}
	var d document
	var l layout
	if err = d.decode(value); err == nil {
		_, err = l.decode(d.sections[secLayout])
	}
	if err != nil {
		return 0, fmt.Errorf("the message cannot be read: %w", err)
	}
	size = -1
	l.hashes(func(have hash, n int64) {
		if have == h {
			size = n
		}
	})
	if size < 0 {
		return 0, errors.New("the message does not use it")
	}
	return size, nil
}

// stillUsed reports whether a use of content is there now, and not only in the
// snapshot.
func (c *checker) stillUsed(h hash, acct mail.AccountID, email mail.EmailID) bool {
	there, err := c.s.has(blobRefKey(h, acct, email))
	return there || err != nil
}

// notes checks the form of the notes of garbage.
func (c *checker) notes() error {
	return c.each("notes of garbage", []byte{tabGarbage}, func(key, value []byte) error {
		if len(key) != refKeySize || len(value) != 1 || value[0] != contentRow && value[0] != contentFile {
			c.problem("notes of garbage", "%x has %x", key[1:], value)
		}
		return nil
	})
}

// isSuspect reports whether content is waiting for a note.
func (s *Store) isSuspect(h hash) bool {
	s.sweep.mu.Lock()
	defer s.sweep.mu.Unlock()
	return slices.ContainsFunc(s.sweep.suspects, func(c stagedContent) bool { return c.hash == h })
}
