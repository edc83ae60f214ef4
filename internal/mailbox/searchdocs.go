package mailbox

import (
	"bytes"
	"errors"
	"io"
	"time"

	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/search"
	"mallard/internal/store"
)

// errNotKept says that a message must be read to be decided.
var errNotKept = errors.New("the text is not kept")

// keptDocument shows a search what the cache has of a message.
type keptDocument struct {
	rec  search.Record
	msg  *indexed
	text *content // nil when it is not kept
}

func (d *keptDocument) Record() *search.Record           { return &d.rec }
func (d *keptDocument) ThreadID() (mail.ThreadID, error) { return d.msg.thread, nil }
func (d *keptDocument) HasAttachment() (bool, error)     { return d.msg.attachments, nil }
func (d *keptDocument) SentDate() (time.Time, error)     { return d.msg.sent, nil }
func (d *keptDocument) HeaderText() (string, error)      { return "", errNotKept }
func (d *keptDocument) Text() (io.ReadCloser, error)     { return nil, errNotKept }

func (d *keptDocument) Header(field string) ([]string, error) {
	if d.text == nil {
		return nil, errNotKept
	}
	return headerValues(d.text.head, field), nil
}

func (d *keptDocument) FoldedHeader() ([]byte, error) {
	if d.text == nil || !d.text.whole {
		return nil, errNotKept
	}
	return d.text.folded[:d.text.cut], nil
}

func (d *keptDocument) FoldedText() ([]byte, error) {
	if d.text == nil || !d.text.whole {
		return nil, errNotKept
	}
	return d.text.folded[d.text.cut:], nil
}

// contentReader reads what can be looked for in messages. It is used again for all messages of a search.
type contentReader struct {
	text   textReader
	folder search.Folder
	buf    []byte // the result, until it is copied
	signs  search.SignatureBuilder
}

// read reads the content of a row with its header, and with whole its text as well, which needs the body.
func (r *contentReader) read(row *store.Row, whole bool) (*content, error) {
	c := &content{whole: whole}
	r.buf = r.buf[:0]
	if whole {
		r.buf = r.folder.Flush(r.folder.Append(r.buf, message.AppendHeaderText(nil, row.Header)))
		c.cut = len(r.buf)
		if err := r.body(row); err != nil {
			return nil, err
		}
	}
	all := make([]byte, len(row.Header)+len(r.buf))
	n := copy(all, row.Header)
	copy(all[n:], r.buf)
	c.head, c.folded = all[:n:n], all[n:]
	if cap(r.buf) > maxKeptBuffer {
		r.buf = nil
	}
	return c, nil
}

// maxKeptBuffer is the largest buffer that is kept for the next message, in octets.
const maxKeptBuffer = 1 << 20

func (r *contentReader) body(row *store.Row) error {
	b, err := row.Open()
	if err != nil {
		return err
	}
	text, err := r.text.read(b, row.PrefixLen)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	defer text.Close()
	r.buf = r.folder.Flush(r.folder.Append(r.buf, r.text.text.Bytes()))
	if r.text.text.Cap() > maxKeptBuffer {
		r.text.text = bytes.Buffer{}
	}
	return b.Close()
}

// signature is the index entry of a whole content, for messages of which the engine has none.
func (r *contentReader) signature(c *content) search.Signature {
	_, _ = r.signs.Write(c.folded[:c.cut])
	_, _ = r.signs.Write([]byte{'\n'})
	_, _ = r.signs.Write(c.folded[c.cut:])
	return r.signs.Finish()
}
