package pebblestore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"mallard/internal/mail"
)

// contentRows checks content in the database against its hashes.
func (c *checker) contentRows() error {
	return c.each("content", []byte{tabBlob}, func(key, value []byte) error {
		c.count("content rows")
		if n := c.report.Counts["content rows"]; n%100 == 0 {
			c.progress("content", n, 0, "rows")
		}
		where := fmt.Sprintf("content %x", key[1:])
		data, err := plainValue(value, int64(len(value)-1))
		if err != nil {
			c.problem(where, "it cannot be decoded: %v", err)
			return nil
		}
		if h := hash(sha256.Sum256(data)); string(h[:]) != string(key[1:]) {
			c.problem(where, "its octets have hash %x", h)
		}
		return nil
	})
}

// contentFiles checks large content against its hashes.
func (c *checker) contentFiles() error {
	err := c.s.blobs.each(func(h hash, path string) error {
		c.count("content files")
		c.progress("content files", c.report.Counts["content files"], 0, "files")
		if c.ctx.Err() != nil {
			return canceled(c.ctx)
		}
		got, err := c.fileHash(path)
		switch {
		case isGone(err): // removed since it was listed
		case err != nil:
			c.problem("file "+path, "it cannot be read: %v", err)
		case got != h:
			c.problem("file "+path, "its octets have hash %x", got)
		}
		return nil
	})
	if isGone(err) {
		return nil // no content was ever large
	}
	return err
}

func (c *checker) fileHash(path string) (h hash, err error) {
	f, err := c.s.fs.Open(path)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	buf := c.s.pieces.get()
	defer c.s.pieces.put(buf)
	if _, err := io.CopyBuffer(sum, io.Reader(f), (*buf)[:cap(*buf)]); err != nil {
		return h, err
	}
	sum.Sum(h[:0])
	return h, nil
}

// references looks for uses of content that is not there, and for uses by documents
// that are not there.
func (c *checker) references() error {
	return c.each("uses of content", []byte{tabBlobRef}, func(key, _ []byte) error {
		c.count("uses of content")
		if len(key) != refKeySize {
			c.problem("uses of content", "a key has %d octets", len(key))
			return nil
		}
		h, acct, email := hash(key[1:33]), mail.AccountID(key[33:33+idSize]), mail.EmailID(key[33+idSize:])
		if c.deletingAccount[acct] || len(c.deletingBox) > 0 {
			return nil
		}
		where := fmt.Sprintf("content %x used by %s of account %s", h, email, acct)
		if err := c.mustExist(emailKey(tabDocument, acct, email), where, "the message does not exist"); err != nil {
			return err
		}
		ok, err := c.has(hashKey(tabBlob, h))
		if err == nil && !ok {
			_, err = c.s.fs.Stat(c.s.blobs.path(h))
		}
		if err != nil {
			c.problem(where, "the content is missing: %v", err)
		}
		return nil
	})
}
