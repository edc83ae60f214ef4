package transfer

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"mallard/internal/mail"
)

// ownField is the first field of each message that mboxWriter writes. Behind it
// are Status, X-Status and X-Keywords, which other programs understand; behind
// those the message with nothing to be taken out of it.
const ownField = "X-Mallard-Export"

type mboxWriter struct{ root *os.Root }

// CreateMbox writes a file for each mailbox below a directory, in the format
// mboxrd with LF line ends.
func CreateMbox(dir string) (Writer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of mbox files: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open directory of mbox files: %w", err)
	}
	return &mboxWriter{root}, nil
}

// Close implements Writer.
func (w *mboxWriter) Close() error { return w.root.Close() }

// fileName is the file of a mailbox.
func fileName(box string) (string, error) {
	levels := strings.Split(box, mail.Separator)
	for i, l := range levels {
		levels[i] = encodeFile(l)
		// There may be a temporary file of this name with an ending.
		if len(levels[i]) > maxFileName-len(MboxExtension)-len(".")-len(temporary()) {
			return "", fmt.Errorf("the name of mailbox %q is too long for a file", box)
		}
	}
	return strings.Join(levels, "/") + MboxExtension, nil
}

func temporary() string { return rand.Text()[:8] }

// Folder implements Writer.
func (w *mboxWriter) Folder(box string) (FolderWriter, error) {
	name, err := fileName(box)
	if err != nil {
		return nil, err
	}
	if _, err := w.root.Lstat(name); err == nil {
		return nil, fmt.Errorf("%s: %w", name, ErrExists)
	}
	if err := w.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("make directory of mailbox %q: %w", box, err)
	}
	tmp := name + "." + temporary()
	file, err := w.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write mailbox %q: %w", box, err)
	}
	return &mboxFile{root: w.root, file: file, name: name, tmp: tmp, w: bufio.NewWriterSize(file, 256<<10)}, nil
}

type mboxFile struct {
	root      *os.Root
	file      *os.File
	name, tmp string
	w         *bufio.Writer
	size      int64 // of the messages that are whole
}

// Add implements FolderWriter.
func (f *mboxFile) Add(m Outgoing, content func(w io.Writer) error) error {
	err := f.write(m, content)
	var odd *Warning
	if err == nil || errors.As(err, &odd) {
		return err
	}
	// Nothing of it may stay in front of the next message.
	f.w.Reset(f.file)
	if terr := f.file.Truncate(f.size); terr != nil {
		return errors.Join(err, terr)
	}
	if _, serr := f.file.Seek(f.size, io.SeekStart); serr != nil {
		return errors.Join(err, serr)
	}
	return err
}

func (f *mboxFile) write(m Outgoing, content func(w io.Writer) error) error {
	c := &counter{w: f.w}
	if _, err := io.WriteString(c, mboxHead(m)); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	q := &quoter{w: c, lineStart: true}
	l := &lineEnds{lf: lfWriter{w: q}}
	if err := content(l); err != nil {
		return err
	}
	err := l.lf.Close()
	if err == nil {
		err = q.close()
	}
	if err == nil {
		_, err = io.WriteString(c, "\n")
	}
	if err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	if err := f.w.Flush(); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	f.size += c.n
	if l.odd() {
		return &Warning{"its line ends are not all CRLF, which mbox cannot keep"}
	}
	return nil
}

// mboxHead is what stands before a message: its "From " line and its flags. The
// fields are always there, so that a field of the message itself is never taken
// for one of them.
func mboxHead(m Outgoing) string {
	var status, x strings.Builder
	for _, p := range []struct {
		flag   mail.SystemFlags
		letter string
		to     *strings.Builder
	}{{mail.Seen, "R", &status}, {mail.Answered, "A", &x}, {mail.Flagged, "F", &x}, {mail.Draft, "T", &x}, {mail.Deleted, "D", &x}} {
		if m.Flags.Has(p.flag) {
			p.to.WriteString(p.letter)
		}
	}
	status.WriteString("O")
	return fmt.Sprintf("From MAILER-DAEMON %s\n%s: %s\nStatus: %s\nX-Status: %s\nX-Keywords: %s\n",
		m.Date.UTC().Format(time.ANSIC), ownField, m.ID, status.String(), x.String(), m.Flags.KeywordString())
}

// Close implements FolderWriter: it gives the file its name.
func (f *mboxFile) Close() error {
	err := f.w.Flush()
	if cerr := f.file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = f.root.Link(f.tmp, f.name)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		if _, lerr := f.root.Lstat(f.name); lerr != nil && f.root.Rename(f.tmp, f.name) == nil {
			return nil // a file system without links
		}
	}
	if err != nil {
		err = fmt.Errorf("write %s: %w", f.name, err)
	}
	return errors.Join(err, f.root.Remove(f.tmp))
}

// Discard implements FolderWriter: the file never had its name.
func (f *mboxFile) Discard() error { return errors.Join(f.file.Close(), f.root.Remove(f.tmp)) }

// quoter puts a > before each line that is "From " with any number of > before.
type quoter struct {
	w         io.Writer
	lineStart bool
	seen      int // of "From " at the start of the line
	any       bool
	last      byte
	buf       []byte
}

const fromWord = "From "

// Write writes p with quotes.
func (q *quoter) Write(p []byte) (int, error) {
	out := q.buf[:0]
	for rest := p; len(rest) > 0; {
		if !q.lineStart {
			i := bytes.IndexByte(rest, '\n') + 1
			if i == 0 {
				out, rest = append(out, rest...), nil
				break
			}
			out, rest, q.lineStart = append(out, rest[:i]...), rest[i:], true
			continue
		}
		c := rest[0]
		switch {
		case q.seen == 0 && c == '>':
			out, rest = append(out, c), rest[1:]
		case c == fromWord[q.seen]:
			q.seen, rest = q.seen+1, rest[1:]
			if q.seen == len(fromWord) {
				out = append(append(out, '>'), fromWord...)
				q.seen, q.lineStart = 0, false
			}
		default:
			out = append(out, fromWord[:q.seen]...)
			q.seen, q.lineStart = 0, false
		}
	}
	if len(p) > 0 {
		q.any, q.last = true, p[len(p)-1]
	}
	q.buf = out[:0]
	if _, err := q.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// close ends the last line.
func (q *quoter) close() error {
	end := fromWord[:q.seen]
	q.seen = 0
	if q.any && q.last != '\n' {
		end += "\n"
	}
	_, err := io.WriteString(q.w, end)
	return err
}

// lineEnds notes line ends that cannot be kept.
type lineEnds struct {
	lf     lfWriter
	bareLF bool
	last   [2]byte
}

// Write writes p with LF line ends.
func (l *lineEnds) Write(p []byte) (int, error) {
	prev := l.last[1]
	for rest := p; !l.bareLF; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		if i > 0 {
			prev = rest[i-1]
		}
		l.bareLF = prev != '\r'
		prev, rest = '\n', rest[i+1:]
	}
	switch len(p) {
	case 0:
	case 1:
		l.last = [2]byte{l.last[1], p[0]}
	default:
		l.last = [2]byte(p[len(p)-2:])
	}
	return l.lf.Write(p)
}

func (l *lineEnds) odd() bool { return l.bareLF || l.last != [2]byte{'\r', '\n'} }
