package transfer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"mallard/internal/mail"
)

// keywordsFile has the keywords that the letters a to z stand for.
const keywordsFile = "dovecot-keywords"

// maildir is a tree of Maildirs. All access goes through the root, so that no
// symbolic link in it leads outside: the tree may belong to somebody else than
// the one who imports it.
type maildir struct {
	root    *os.Root
	folders []Folder
}

// OpenMaildir opens a Maildir with its folders: subdirectories with a leading dot
// (Maildir++: .A.B is A/B), and directories below directories that are Maildirs.
func OpenMaildir(dir string) (Source, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open Maildir: %w", err)
	}
	m := &maildir{root: root}
	if err := m.scan(".", nil); err != nil {
		return nil, errors.Join(fmt.Errorf("look for mail in %s: %w", dir, err), root.Close())
	}
	if len(m.folders) == 0 {
		return nil, errors.Join(fmt.Errorf("%s is no Maildir: neither it nor a directory below it has directories cur and new", dir), root.Close())
	}
	slices.SortFunc(m.folders, func(a, b Folder) int {
		if (a.Path == mail.Inbox) != (b.Path == mail.Inbox) {
			return cmp.Compare(b2i(b.Path == mail.Inbox), b2i(a.Path == mail.Inbox))
		}
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.name, b.name))
	})
	return m, nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// scan looks for Maildirs in a directory and below it.
func (m *maildir) scan(name string, levels []string) error {
	if len(levels) > mail.MaxNameDepth {
		return nil
	}
	entries, err := m.list(name)
	if err != nil {
		return err
	}
	is := func(sub string) bool {
		return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == sub && e.IsDir() })
	}
	if is("cur") || is("new") {
		if err := m.add(name, levels); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		below, ok := sublevels(e.Name())
		if !ok {
			continue
		}
		if err := m.scan(path.Join(name, e.Name()), slices.Concat(levels, below)); err != nil {
			return err
		}
	}
	return nil
}

// sublevels are the levels of a path that the name of a directory stands for.
func sublevels(name string) ([]string, bool) {
	dotted, isPlus := strings.CutPrefix(name, ".")
	switch {
	case isPlus && dotted == "":
		return nil, false
	case isPlus:
		var out []string
		for l := range strings.SplitSeq(dotted, ".") {
			if l = level(decodeName(l)); l != "" {
				out = append(out, l)
			}
		}
		return out, len(out) > 0
	case name == "cur" || name == "new" || name == "tmp":
		return nil, false
	}
	return []string{level(decodeName(name))}, true
}

// add notes a folder with its number of messages.
func (m *maildir) add(name string, levels []string) error {
	f := Folder{Path: strings.Join(levels, mail.Separator), name: name}
	if f.Path == "" {
		f.Path = mail.Inbox
	}
	for _, sub := range []string{"new", "cur"} {
		entries, err := m.list(path.Join(name, sub))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if isMessage(e.Name()) {
				f.Messages++
			}
		}
	}
	m.folders = append(m.folders, f)
	return nil
}

// list reads a directory.
func (m *maildir) list(name string) ([]fs.DirEntry, error) {
	d, err := m.root.Open(name)
	if err != nil {
		return nil, err
	}
	entries, err := d.ReadDir(-1)
	return entries, errors.Join(err, d.Close())
}

// isMessage leaves out what servers put beside messages.
func isMessage(file string) bool { return !strings.HasPrefix(file, ".") }

// Folders implements Source.
func (m *maildir) Folders() []Folder { return slices.Clone(m.folders) }

// Close implements Source.
func (m *maildir) Close() error { return m.root.Close() }

// entry is a file with a message.
type entry struct {
	sub, file string
	date      time.Time
	size      int64
}

// Messages implements Source: in the order in which they came, by the date of
// the file, which is the internal date.
func (m *maildir) Messages(f Folder) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		var entries []entry
		for _, sub := range []string{"new", "cur"} {
			var errs []error
			entries, errs = m.entries(entries, f.name, sub)
			for _, err := range errs {
				if !yield(nil, err) {
					return
				}
			}
		}
		slices.SortFunc(entries, func(a, b entry) int {
			return cmp.Or(a.date.Compare(b.date), cmp.Compare(a.file, b.file))
		})
		keywords, err := m.keywords(f.name)
		if err != nil && !yield(nil, err) {
			return
		}
		for _, e := range entries {
			if !yield(m.message(f.name, e, keywords), nil) {
				return
			}
		}
	}
}

func (m *maildir) entries(out []entry, folder, sub string) ([]entry, []error) {
	dir := path.Join(folder, sub)
	names, err := m.list(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, []error{fmt.Errorf("read %s: %w", dir, err)}
	}
	var errs []error
	for _, e := range names {
		if !isMessage(e.Name()) {
			continue
		}
		info, err := m.root.Lstat(path.Join(dir, e.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist): // another program moved it
		case err != nil:
			errs = append(errs, fmt.Errorf("look at %s: %w", path.Join(dir, e.Name()), err))
		case !info.Mode().IsRegular():
			errs = append(errs, fmt.Errorf("%s is no regular file", path.Join(dir, e.Name())))
		default:
			out = append(out, entry{sub, e.Name(), info.ModTime(), info.Size()})
		}
	}
	return out, errs
}

func (m *maildir) keywords(folder string) ([]string, error) {
	f, err := m.root.Open(path.Join(folder, keywordsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read keywords of %s: %w", folder, err)
	}
	names, err := readKeywords(f)
	return names, errors.Join(err, f.Close())
}

func (m *maildir) message(folder string, e entry, keywords []string) *Message {
	base, info := splitInfo(e.file)
	return &Message{
		Key: path.Join(folder, base), Flags: maildirFlags(info, keywords), Date: e.date, Size: e.size,
		Open: func() (io.ReadCloser, error) { return m.open(folder, e, base, wireSize(e.file)) },
	}
}

// splitInfo cuts a file name into what names the message and the letters of its
// flags. Systems that cannot have a colon in file names use other characters.
func splitInfo(file string) (base, letters string) {
	for _, sep := range []string{":2,", ";2,", "!2,"} {
		if i := strings.LastIndex(file, sep); i > 0 {
			letters, _, _ = strings.Cut(file[i+3:], ",")
			file = file[:i]
			break
		}
	}
	// Sizes and other fields behind the name proper do not count.
	base, _, _ = strings.Cut(file, ",")
	return base, letters
}

// wireSize is the size with CRLF line ends that a file name tells (",W=123"), -1
// when it tells none.
func wireSize(file string) int64 {
	for field := range strings.FieldsFuncSeq(file, func(r rune) bool { return r == ',' || r == ':' || r == ';' }) {
		if v, ok := strings.CutPrefix(field, "W="); ok {
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// open opens the content. The flags of a message, and with them its file name, may
// have changed since the directory was read.
func (m *maildir) open(folder string, e entry, base string, wire int64) (io.ReadCloser, error) {
	f, err := m.openFile(path.Join(folder, e.sub, e.file))
	if errors.Is(err, fs.ErrNotExist) {
		f, err = m.openAgain(folder, base)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", e.file)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return content(f, wire == info.Size())
}

// openFile opens a file for reading, without waiting for the other end when it is
// a pipe.
func (m *maildir) openFile(name string) (*os.File, error) {
	return m.root.OpenFile(name, os.O_RDONLY|nonBlocking, 0)
}

func (m *maildir) openAgain(folder, base string) (*os.File, error) {
	for _, sub := range []string{"cur", "new"} {
		entries, err := m.list(path.Join(folder, sub))
		if err != nil {
			continue
		}
		for _, e := range entries {
			if b, _ := splitInfo(e.Name()); b == base {
				return m.openFile(path.Join(folder, sub, e.Name()))
			}
		}
	}
	return nil, fmt.Errorf("message %s of %s is gone: %w", base, folder, fs.ErrNotExist)
}
