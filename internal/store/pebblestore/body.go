package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// writePiece is the most that a body holds in memory of long content at a time.
const writePiece = 192 << 10

// body is the content of a message. While it is open the sweeper leaves alone what
// it refers to; the values that belong to the message itself are copied. It keeps no
// state of the database alive, which would keep the memory of a table of changes: a
// client may take its time to read. A body of a Fetch does, as long as its row.
type body struct {
	s      *Store
	what   string // for errors
	size   int64
	header []byte
	lay    layout
	reader reader

	value []byte // the value of the text, textOwn

	open  bool
	inner bool   // part of a Fetch, which has entered and registered already
	ahead *ahead // of that Fetch, or nil
}

// Open implements store.Messages.
func (s *Store) Open(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uid mail.UID) (store.Body, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	b := &body{s: s, open: true}
	s.blobs.readers.begin(&b.reader)
	if err := b.find(ctx, acct, mbox, uid); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func noMessage() error { return mail.NewError(mail.CodeNotFound, "the message does not exist") }

// find reads the rows of a message. It may lose a race with an expunge: then it
// looks whether the message is still there.
func (b *body) find(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uid mail.UID) error {
	a, err := b.s.account(ctx, acct)
	if err != nil {
		return boxError(err)
	}
	defer b.s.accounts.release(a)
	if a.set.Load().byID[mbox] == nil {
		return noMailbox()
	}
	b.what = fmt.Sprintf("message %d of mailbox %s of account %s", uid, mbox, acct)
	err = b.read(acct, mbox, uid)
	if mail.CodeOf(err) != mail.CodeCorrupt {
		return err
	}
	b.header, b.value = nil, nil
	if there, herr := b.s.has(uidKey(tabHot, acct, mbox, uid)); herr == nil && !there {
		return noMessage()
	}
	return err
}

func (b *body) read(acct mail.AccountID, mbox mail.MailboxID, uid mail.UID) error {
	value, err := b.s.get(uidKey(tabHot, acct, mbox, uid))
	if err != nil {
		return err
	}
	if value == nil {
		return noMessage()
	}
	var h hot
	if err := h.decode(value); err != nil {
		return corrupt(b.what, err)
	}
	doc, err := b.record(emailKey(tabDocument, acct, h.email))
	if err != nil {
		return err
	}
	if err := b.use(doc, h.size); err != nil {
		return err
	}
	if b.lay.textMode == textOwn {
		b.value, err = b.record(emailKey(tabText, acct, h.email))
	}
	return err
}

// record reads a value that must be there.
func (b *body) record(key []byte) ([]byte, error) {
	value, err := b.s.get(key)
	if err == nil && value == nil {
		err = corrupt(b.what, fmt.Errorf("a record of table %q is missing", key[0]))
	}
	return value, err
}

// use takes header and layout from a document, which stays valid for the body.
func (b *body) use(value []byte, size int64) error {
	var d document
	err := d.decode(value)
	var rest int64
	if err == nil {
		rest, err = b.lay.decode(d.sections[secLayout])
	}
	if err != nil {
		return corrupt(b.what, err)
	}
	b.header = d.sections[secHeader]
	b.size = int64(len(b.header)) + rest
	if b.size != size {
		return corrupt(b.what, fmt.Errorf("%w: %d octets, not %d", errValue, b.size, size))
	}
	return nil
}

// Size implements store.Body.
func (b *body) Size() int64 { return b.size }

// Close implements store.Body.
func (b *body) Close() error {
	if !b.open {
		return nil
	}
	b.open = false
	b.header, b.value = nil, nil
	if !b.inner {
		b.s.blobs.readers.end(&b.reader)
		b.s.leave()
	}
	return nil
}

// WriteRange implements store.Body.
func (b *body) WriteRange(w io.Writer, off, n int64) error {
	if off < 0 || n < 0 || off > b.size || n > b.size-off {
		return mail.NewError(mail.CodeInvalid, "the range is not within the message")
	}
	if !b.open {
		return mail.WrapError(mail.CodeInternal, "", errors.New("the body is closed"))
	}
	if h := int64(len(b.header)); off < h {
		k := min(n, h-off)
		if err := write(w, b.header[off:off+k]); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	pos, text := int64(len(b.header)), int64(0)
	for i := range b.lay.segments {
		if n == 0 {
			return nil
		}
		g := &b.lay.segments[i]
		length := g.length()
		if off < pos+length {
			k := min(n, pos+length-off)
			if err := b.writeSegment(w, g, off-pos, k, text); err != nil {
				return err
			}
			off, n = off+k, n-k
		}
		pos += length
		if g.kind == segText {
			text += g.size
		}
	}
	return nil
}

// write passes octets on; an error is the writer's and stays as it is.
func write(w io.Writer, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := w.Write(p); err != nil {
		return fmt.Errorf("write content: %w", err)
	}
	return nil
}

// writeSegment writes n octets of a segment from off; text is where the segment
// begins in the stream of text.
func (b *body) writeSegment(w io.Writer, g *segment, off, n, text int64) error {
	switch {
	case g.kind == segText:
		return b.writeText(w, text+off, n)
	case g.size >= blobFileFrom:
		return b.writeFile(w, g, off, n)
	case g.kind == segContent:
		return b.withContent(g.hash, g.size, func(data []byte) error { return write(w, data[off:off+n]) })
	}
	return b.withContent(g.hash, g.size, func(data []byte) error {
		return b.s.encodeRange(w, g, off, n, func(from, size int64) ([]byte, error) { return data[from : from+size], nil })
	})
}

// writeText writes a range of the stream of text.
func (b *body) writeText(w io.Writer, off, n int64) error {
	switch b.lay.textMode {
	case textInline:
		return write(w, b.lay.inline[off:off+n])
	case textOwn:
		text, err := plainValue(b.value, b.lay.textLen)
		if err != nil {
			return corrupt(b.what, err)
		}
		return write(w, text[off:off+n])
	}
	start := int64(0)
	for i := range b.lay.chunks {
		c := &b.lay.chunks[i]
		if n > 0 && off < start+c.size {
			k := min(n, start+c.size-off)
			from := off - start
			err := b.withContent(c.hash, c.size, func(data []byte) error { return write(w, data[from:from+k]) })
			if err != nil {
				return err
			}
			off, n = off+k, n-k
		}
		start += c.size
	}
	return nil
}

// pieces are buffers for content on its way out.
type pieces struct{ pool sync.Pool }

func (p *pieces) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, writePiece)
	return &b
}

func (p *pieces) put(b *[]byte) {
	*b = (*b)[:0]
	p.pool.Put(b)
}

// withContent calls f with content of the database.
func (b *body) withContent(h hash, size int64, f func(data []byte) error) error {
	if size >= blobFileFrom {
		return corrupt(b.what, fmt.Errorf("%w: content of %d octets in the database", errValue, size))
	}
	value, closer, err := b.content(h)
	if isNotFound(err) {
		return corrupt(b.what, fmt.Errorf("content %x is missing", h))
	}
	if err != nil {
		return readError(b.what, err)
	}
	if b.inner {
		return errors.Join(b.useContent(h, value, size, f), closer.Close())
	}
	buf := b.s.pieces.get()
	defer b.s.pieces.put(buf)
	*buf = append((*buf)[:0], value...)
	if err := closer.Close(); err != nil {
		return readError(b.what, err)
	}
	return b.useContent(h, *buf, size, f)
}

// content looks for content; a Fetch that reads ahead may have it already.
func (b *body) content(h hash) (value []byte, closer io.Closer, err error) {
	if b.ahead != nil {
		if value, closer = b.ahead.found.take(h); closer != nil {
			return value, closer, nil
		}
	}
	return b.s.db.Get(hashKey(tabBlob, h))
}

func (b *body) useContent(h hash, value []byte, size int64, f func(data []byte) error) error {
	data, err := plainValue(value, size)
	if err != nil {
		return corrupt(b.what, fmt.Errorf("content %x: %w", h, err))
	}
	return f(data)
}

// writeFile writes a range of a segment whose content is a file.
func (b *body) writeFile(w io.Writer, g *segment, off, n int64) (err error) {
	f, err := b.s.fs.Open(b.s.blobs.path(g.hash))
	if err != nil {
		return b.fileError(g, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := b.s.pieces.get()
	defer b.s.pieces.put(buf)
	read := func(from, size int64) ([]byte, error) { return b.readFile(f, g, (*buf)[:size], from) }
	if g.kind == segBase64 {
		return b.s.encodeRange(w, g, off, n, read)
	}
	for n > 0 {
		k := min(n, writePiece)
		data, err := read(off, k)
		if err != nil {
			return err
		}
		if err := write(w, data); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

func (b *body) readFile(f vfs.File, g *segment, buf []byte, off int64) ([]byte, error) {
	if n, err := f.ReadAt(buf, off); n < len(buf) {
		return nil, b.fileError(g, err)
	}
	return buf, nil
}

func (b *body) fileError(g *segment, err error) error {
	if isGone(err) || errors.Is(err, io.EOF) {
		return corrupt(b.what, fmt.Errorf("the file of content %x: %w", g.hash, err))
	}
	return diskError(b.what, fmt.Errorf("the file of content %x: %w", g.hash, err))
}

// encodePiece is how much content is encoded at a time, in octets.
const encodePiece = 96 << 10

// encodeRange writes n octets from off of the base64 text of content that read gives.
func (s *Store) encodeRange(w io.Writer, g *segment, off, n int64, read func(from, size int64) ([]byte, error)) error {
	// A line, or for text without lines a group of four, is the unit.
	unitText, unitData := int64(4), int64(3)
	if g.wrap.width > 0 {
		unitText, unitData = g.wrap.width+int64(len(g.wrap.eol())), g.wrap.width/4*3
	}
	step := max(encodePiece/unitData, 1) * unitData
	buf := s.pieces.get()
	defer s.pieces.put(buf)
	for unit := off / unitText; n > 0; {
		from := unit * unitData
		size := min(step, g.size-from, (n/unitText+2)*unitData) // whole lines, or the end
		data, err := read(from, size)
		if err != nil {
			return err
		}
		out := g.wrap.appendEncoded((*buf)[:0], data, from+size == g.size)
		skip := off - unit*unitText
		k := min(n, int64(len(out))-skip)
		if err := write(w, out[skip:skip+k]); err != nil {
			return err
		}
		off, n = off+k, n-k
		unit += step / unitData
	}
	return nil
}
