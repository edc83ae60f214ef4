package transfer

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mallard/internal/mail"
)

// MboxFormat says how lines of messages that begin with "From " were kept from
// looking like the start of a message.
type MboxFormat string

// The formats. Most files are one of the first two; which one cannot be seen.
const (
	// MboxAuto is MboxCL2 where a Content-Length leads to the next message, else
	// MboxRD.
	MboxAuto MboxFormat = "auto"
	MboxRD   MboxFormat = "mboxrd"  // a > was put before ">>From " as well
	MboxO    MboxFormat = "mboxo"   // a > was put before "From " only
	MboxCL2  MboxFormat = "mboxcl2" // Content-Length says where the message ends
)

// MboxExtension is that of the files that ExportMbox makes.
const MboxExtension = ".mbox"

// mbox is a set of files.
type mbox struct {
	root    *os.Root // of a directory, else nil
	format  MboxFormat
	folders []Folder
	index   map[string][]span // by Folder.name
	close   []func() error
}

// span is where a message is in its file: its "From " line at start, its octets
// from body to end, without the empty line behind it.
type span struct {
	start, body, end int64
	counted          bool // Content-Length has said where it ends
}

// OpenMbox opens an mbox file, whose folder is its name without extension, or a
// directory, all files of which with the extension .mbox are taken, with the
// directories as levels of the mailbox names. The files are read once to find the
// messages; progress is told how many octets.
func OpenMbox(name string, format MboxFormat, progress func(done int64)) (Source, error) {
	if progress == nil {
		progress = func(int64) {}
	}
	m := &mbox{format: format, index: make(map[string][]span)}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("open mbox: %w", err)
	}
	if info.IsDir() {
		if m.root, err = os.OpenRoot(name); err != nil {
			return nil, fmt.Errorf("open directory of mbox files: %w", err)
		}
		m.close = append(m.close, m.root.Close)
		err = m.scanDir(".", progress)
	} else {
		err = m.addFile(name, folderOf(filepath.Base(name)), progress)
	}
	if err == nil && len(m.folders) == 0 {
		err = fmt.Errorf("%s: no file with the extension %s below it", name, MboxExtension)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	slices.SortFunc(m.folders, func(a, b Folder) int {
		return cmp.Or(cmp.Compare(b2i(b.Path == mail.Inbox), b2i(a.Path == mail.Inbox)), cmp.Compare(a.Path, b.Path))
	})
	return m, nil
}

// folderOf is the mailbox that a file stands for.
func folderOf(file string) string {
	name := strings.TrimSuffix(file, MboxExtension)
	if strings.EqualFold(name, mail.Inbox) || name == "mbox" || name == "" {
		return mail.Inbox
	}
	return level(decodeName(name))
}

func (m *mbox) scanDir(dir string, progress func(int64)) error {
	if strings.Count(dir, "/") > mail.MaxNameDepth {
		return nil
	}
	d, err := m.root.Open(dir)
	if err != nil {
		return fmt.Errorf("look for mbox files: %w", err)
	}
	entries, err := d.ReadDir(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("look for mbox files: %w", err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case e.IsDir():
			err = m.scanDir(name, progress)
		case e.Type().IsRegular() && strings.HasSuffix(e.Name(), MboxExtension):
			folder := folderOf(e.Name())
			if dir != "." {
				folder = levelsOf(dir) + mail.Separator + folder
			}
			err = m.addFile(name, folder, progress)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// levelsOf decodes the levels of a directory.
func levelsOf(dir string) string {
	parts := strings.Split(dir, "/")
	for i, p := range parts {
		parts[i] = level(decodeName(p))
	}
	return strings.Join(parts, mail.Separator)
}

func (m *mbox) openFile(name string) (*os.File, error) {
	if m.root != nil {
		return m.root.OpenFile(name, os.O_RDONLY|nonBlocking, 0)
	}
	return os.Open(name)
}

// addFile finds the messages of a file.
func (m *mbox) addFile(name, folder string, progress func(int64)) error {
	f, err := m.openFile(name)
	if err != nil {
		return fmt.Errorf("open mbox: %w", err)
	}
	m.close = append(m.close, f.Close)
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open mbox: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", name)
	}
	spans, err := index(f, info.Size(), m.format, progress)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	m.index[name] = spans
	m.folders = append(m.folders, Folder{Path: folder, Messages: len(spans), Bytes: info.Size(), name: name})
	return nil
}

// Folders implements Source.
func (m *mbox) Folders() []Folder { return slices.Clone(m.folders) }

// Close implements Source.
func (m *mbox) Close() error {
	var errs []error
	for _, c := range m.close {
		errs = append(errs, c())
	}
	m.close = nil
	return errors.Join(errs...)
}

// Messages implements Source: in the order of the file.
func (m *mbox) Messages(f Folder) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		file, err := m.openFile(f.name)
		if err != nil {
			yield(nil, fmt.Errorf("open mbox: %w", err))
			return
		}
		m.close = append(m.close, file.Close)
		if err := m.preamble(file, f); err != nil && !yield(nil, err) {
			return
		}
		for _, s := range m.index[f.name] {
			msg, err := m.message(file, f.name, s)
			if msg == nil && err == nil {
				continue
			}
			if !yield(msg, err) {
				return
			}
		}
	}
}

// preamble tells when something stands before the first message, which may be one
// that lost its first line, or a file that is no mbox at all.
func (m *mbox) preamble(file *os.File, f Folder) error {
	end := f.Bytes
	if spans := m.index[f.name]; len(spans) > 0 {
		end = spans[0].start
	}
	const looked = 4 << 10 // more than empty lines is not expected
	b, err := readAt(file, 0, min(end, looked))
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", f.name, err)
	case end <= looked && len(bytes.TrimSpace(b)) == 0:
		return nil
	case end == f.Bytes:
		return fmt.Errorf("%s is no mbox file: no line begins a message, as \"From sender date\" would", f.name)
	}
	return fmt.Errorf("%s: the first %d octets are left out: no line that begins with \"From \" is before them", f.name, end)
}

// message reads the header of a message. It returns nil for what is none: the
// data that some programs keep in the form of a message.
func (m *mbox) message(file *os.File, name string, s span) (*Message, error) {
	key := fmt.Sprintf("%s:%d", name, s.start)
	from, err := readAt(file, s.start, min(s.body-s.start, maxFromLine))
	if err != nil {
		return nil, fmt.Errorf("read message at octet %d of %s: %w", s.start, name, err)
	}
	header, err := headerAt(file, s)
	if err != nil {
		return nil, fmt.Errorf("read message at octet %d of %s: %w", s.start, name, err)
	}
	meta := readMeta(header, s.counted)
	if meta.internal || meta.expunged {
		return nil, nil
	}
	date, ok := fromDate(from)
	if !ok {
		date = meta.date
	}
	return &Message{
		Key: key, Flags: meta.flags(), Date: date, Size: s.end - s.body,
		Open: func() (io.ReadCloser, error) {
			r := m.content(file, s, header, &meta)
			if BareLF(from) {
				r = CRLFReader(r)
			}
			return io.NopCloser(r), nil
		},
	}, nil
}

// maxHeader is how much of a header is looked at for flags. What comes after it is
// content.
const maxHeader = 1 << 20

// headerAt reads a header with its empty line.
func headerAt(file io.ReaderAt, s span) ([]byte, error) {
	for n := int64(4 << 10); ; n *= 4 {
		b, err := readAt(file, s.body, min(n, s.end-s.body, maxHeader))
		if err != nil {
			return nil, err
		}
		if end := headerEnd(b); end >= 0 {
			return b[:end], nil
		}
		if int64(len(b)) == s.end-s.body || len(b) == maxHeader {
			// No empty line: all that was read is whole lines of header.
			return b[:bytes.LastIndexByte(b, '\n')+1], nil
		}
	}
}

// headerEnd returns where the empty line ends, -1 when there is none.
func headerEnd(b []byte) int {
	for at := 0; at < len(b); {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return -1
		}
		if i == 0 || i == 1 && b[at] == '\r' {
			return at + i + 1
		}
		at += i + 1
	}
	return -1
}

func readAt(file io.ReaderAt, off, n int64) ([]byte, error) {
	b := make([]byte, n)
	got, err := file.ReadAt(b, off)
	if errors.Is(err, io.EOF) && int64(got) == n {
		err = nil
	}
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the file became shorter: %w", fs.ErrInvalid)
	}
	return b, err
}

// content gives the octets of a message without the fields that are not its own
// and without the > that was put before "From ".
func (m *mbox) content(file io.ReaderAt, s span, header []byte, meta *mboxMeta) io.Reader {
	rest := io.NewSectionReader(file, s.body+int64(len(header)), s.end-s.body-int64(len(header)))
	all := io.MultiReader(bytes.NewReader(meta.rest), rest)
	switch {
	case meta.own: // its header was quoted, too
		return &unquoter{r: bufio.NewReaderSize(all, 32<<10), lineStart: true}
	case s.counted:
		return all
	}
	return io.MultiReader(bytes.NewReader(meta.rest),
		&unquoter{r: bufio.NewReaderSize(rest, 32<<10), one: m.format == MboxO, lineStart: true})
}

// unquoter removes quotes.
type unquoter struct {
	r         *bufio.Reader
	one       bool // only a single > is a quote
	lineStart bool
	rest      []byte
}

// Read reads the octets without quotes.
func (u *unquoter) Read(p []byte) (int, error) {
	if len(u.rest) == 0 {
		line, err := u.r.ReadSlice('\n')
		if len(line) == 0 {
			return 0, err
		}
		if u.lineStart && isQuoted(line, u.one) {
			line = line[1:]
		}
		u.lineStart = line[len(line)-1] == '\n'
		u.rest = line
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

// isQuoted reports whether a line is ">From ", with one = false also with more
// of them.
func isQuoted(line []byte, one bool) bool {
	rest := bytes.TrimLeft(line, ">")
	n := len(line) - len(rest)
	return (n == 1 || n > 1 && !one) && bytes.HasPrefix(rest, []byte("From "))
}
