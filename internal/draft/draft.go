// Package draft takes messages in: it reads a message once, from whatever
// protocol it comes, into memory or a temporary file, parses it on the way and
// prepares everything that is stored with it.
//
// It imports message, search, mail and the types of the storage contract.
package draft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/search"
	"mallard/internal/store"
)

// Options configures a Receiver. A zero number means its default.
type Options struct {
	// Dir is where messages wait that are too big for memory. Default: the
	// system's directory for temporary files.
	Dir string
	// MemoryMax is the size in octets up to which a message is held in memory.
	// Default 1 MiB.
	MemoryMax int
	// Limits bound the parser.
	Limits message.Limits
}

// DefaultMemoryMax is the default of Options.MemoryMax.
const DefaultMemoryMax = 1 << 20

const (
	firstBuffer = 16 << 10
	readSize    = 64 << 10
)

// Receiver receives messages. It is safe for concurrent use.
type Receiver struct {
	o       Options
	buffers sync.Pool // *[]byte, up to MemoryMax
	workers sync.Pool // *worker
}

// worker is what one message needs while it is received.
type worker struct {
	parser *message.Parser
	sig    search.SignatureBuilder
	fold   search.Folder
	folded []byte
	header []byte
}

// New returns a receiver.
func New(o Options) *Receiver {
	if o.MemoryMax <= 0 {
		o.MemoryMax = DefaultMemoryMax
	}
	return &Receiver{o: o}
}

// Draft is a message that was received and parsed, but not stored. It must be
// closed. The slices of its Content are valid until then.
type Draft struct {
	rc      *Receiver
	buf     *[]byte  // the message, unless file is set
	file    *os.File // without a name
	size    int64
	msg     *message.Message
	sum     message.Summary
	content store.Content
}

// Receive reads a message to its end. maxSize limits it when positive.
// Errors: TooBig, NoSpace, and those of r.
func (rc *Receiver) Receive(ctx context.Context, r io.Reader, maxSize int64) (*Draft, error) {
	d := &Draft{rc: rc, buf: rc.buffer()}
	w := rc.worker()
	if err := d.read(ctx, r, w, maxSize); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	msg, err := w.parser.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("parse message: %w", err), d.Close())
	}
	d.finish(w, msg)
	rc.workers.Put(w) // after a failure it is not clean and is left to the collector
	return d, nil
}

func (rc *Receiver) buffer() *[]byte {
	if b, ok := rc.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, firstBuffer)
	return &b
}

func (rc *Receiver) worker() *worker {
	w, ok := rc.workers.Get().(*worker)
	if !ok {
		w = &worker{parser: message.NewParser(rc.o.Limits)}
		w.parser.Preview = true
		w.parser.Text = w.text
	}
	w.parser.Reset()
	return w
}

// text adds decoded text to the signature of the message.
func (w *worker) text(_ message.TextKind, _ *message.Part, utf8 []byte) {
	w.folded = w.fold.Append(w.folded[:0], utf8)
	_, _ = w.sig.Write(w.folded) // cannot fail
}

// signature completes the signature with the header, so that a search in header
// or text can rely on it, too.
func (w *worker) signature(header []byte) []byte {
	w.folded = w.fold.Flush(w.folded[:0])
	w.header = message.AppendHeaderText(append(w.header[:0], '\n'), header)
	w.folded = w.fold.Append(w.folded, w.header)
	w.folded = w.fold.Flush(w.folded)
	_, _ = w.sig.Write(w.folded)
	return w.sig.Finish()
}

// read takes the message in, parsing as it comes.
func (d *Draft) read(ctx context.Context, r io.Reader, w *worker, maxSize int64) error {
	for {
		if err := ctx.Err(); err != nil {
			return mail.WrapError(mail.CodeCanceled, "", err)
		}
		chunk := d.room()
		n, err := r.Read(chunk)
		if n > 0 {
			if maxSize > 0 && d.size+int64(n) > maxSize {
				return mail.NewError(mail.CodeTooBig, fmt.Sprintf("the message exceeds the limit of %d octets", maxSize))
			}
			if werr := d.take(chunk[:n], w); werr != nil {
				return werr
			}
		}
		if err == io.EOF { // one that is wrapped is an end where none should be
			return nil
		}
		if err != nil {
			return fmt.Errorf("read message: %w", err)
		}
	}
}

// room returns where the next octets may be read to: behind those in memory, or
// in the buffer before they are written to the file.
func (d *Draft) room() []byte {
	b := *d.buf
	if d.file != nil {
		return b[:cap(b)]
	}
	if cap(b)-len(b) < cap(b)/4 {
		grown := make([]byte, len(b), 2*cap(b))
		copy(grown, b)
		*d.buf, b = grown, grown
	}
	return b[len(b):min(cap(b), len(b)+readSize)]
}

func (d *Draft) take(p []byte, w *worker) error {
	if _, err := w.parser.Write(p); err != nil {
		return fmt.Errorf("parse message: %w", err)
	}
	d.size += int64(len(p))
	if d.file != nil {
		return d.spool(p)
	}
	*d.buf = (*d.buf)[:len(*d.buf)+len(p)]
	if len(*d.buf) <= d.rc.o.MemoryMax {
		return nil
	}
	f, err := os.CreateTemp(d.rc.o.Dir, "mallard-spool-*")
	if err != nil {
		return spoolError(err)
	}
	d.file = f
	// Without a name the file goes away with the process, whatever happens.
	if err := os.Remove(f.Name()); err != nil {
		return spoolError(err)
	}
	all := *d.buf
	*d.buf = all[:0]
	return d.spool(all)
}

func (d *Draft) spool(p []byte) error {
	if _, err := d.file.Write(p); err != nil {
		return spoolError(err)
	}
	return nil
}

func spoolError(err error) error {
	code := mail.CodeUnavailable
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) {
		code = mail.CodeNoSpace
	}
	return mail.WrapError(code, "", fmt.Errorf("spool message: %w", err))
}

func (d *Draft) finish(w *worker, msg *message.Message) {
	d.msg, d.sum = msg, msg.Summary()
	forms := make([]byte, 0, 2048)
	cut := func(appendTo func([]byte) []byte) []byte {
		from := len(forms)
		forms = appendTo(forms)
		return forms[from:len(forms):len(forms)]
	}
	c := &d.content
	c.Source, c.Size, c.Header = d.source(), d.size, msg.Header
	if d.file == nil {
		c.Whole = *d.buf
	}
	c.Envelope = cut(func(b []byte) []byte { return message.AppendEnvelope(b, msg.Root.Envelope) })
	c.BodyStructure = cut(func(b []byte) []byte { return message.AppendBodyStructure(b, msg.Root, true) })
	c.Tree = cut(func(b []byte) []byte { return message.AppendTree(b, msg) })
	c.Summary = cut(func(b []byte) []byte { return message.AppendSummary(b, &d.sum) })
	c.Signature = w.signature(msg.Header)
	c.Leaves = leaves(msg)
	c.References = references(&d.sum)
	c.Subject = message.ThreadSubject(d.sum.Subject)
	c.MessageID = d.sum.MessageID
	c.Date = d.sum.Date
	c.HasAttachments = d.sum.HasAttachments
}

func (d *Draft) source() io.ReaderAt {
	if d.file != nil {
		return d.file
	}
	return bytes.NewReader(*d.buf)
}

// leaves lists the parts that hold octets of their own, in order.
func leaves(m *message.Message) []store.Leaf {
	var out []store.Leaf
	var walk func(p *message.Part)
	walk = func(p *message.Part) {
		switch {
		case p.IsMultipart():
			for _, c := range p.Children {
				walk(c)
			}
		case p.Message != nil:
			walk(p.Message)
		case p.BodyEnd > p.BodyStart:
			out = append(out, store.Leaf{
				Start: p.BodyStart, End: p.BodyEnd, Encoding: lowerASCII(p.Encoding), Type: p.ContentType(),
				Attachment: !p.InlineText(),
			})
		}
	}
	walk(m.Root)
	return out
}

// references are the message ids that tie a message to others, its own first.
func references(s *message.Summary) []string {
	out := make([]string, 0, 2+len(s.References))
	add := func(id string) {
		if id = trimBrackets(id); id != "" {
			out = append(out, id)
		}
	}
	add(s.MessageID)
	add(s.InReplyTo)
	for _, r := range s.References {
		add(r)
	}
	return out
}

// Size is the length of the message in octets.
func (d *Draft) Size() int64 { return d.size }

// Message is the parsed message.
func (d *Draft) Message() *message.Message { return d.msg }

// Summary is what lists and threads show of the message.
func (d *Draft) Summary() *message.Summary { return &d.sum }

// Content returns a copy of what the storage contract wants to know.
func (d *Draft) Content() *store.Content {
	c := d.content
	return &c
}

// Close releases memory and file. A second call does nothing.
func (d *Draft) Close() error {
	if d.buf != nil {
		if cap(*d.buf) <= 2*d.rc.o.MemoryMax {
			*d.buf = (*d.buf)[:0]
			d.rc.buffers.Put(d.buf)
		}
		d.buf = nil
	}
	if d.file == nil {
		return nil
	}
	f := d.file
	d.file = nil
	if err := f.Close(); err != nil {
		return fmt.Errorf("close spool: %w", err)
	}
	return nil
}
