package transfer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"
	"time"

	"mallard/internal/mail"
)

// Layout says where the folders of a Maildir are.
type Layout string

// The layouts.
const (
	LayoutPlus Layout = "maildir++" // .A.B beside cur and new
	LayoutFS   Layout = "fs"        // A/B, each level a directory
)

// maxFileName is the greatest length of a file name that file systems allow.
const maxFileName = 255

type maildirWriter struct {
	root   *os.Root
	layout Layout
}

// CreateMaildir makes a Maildir, or adds to the one that is there.
func CreateMaildir(dir string, layout Layout) (Writer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make Maildir: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open Maildir: %w", err)
	}
	return &maildirWriter{root, layout}, nil
}

// Close implements Writer.
func (w *maildirWriter) Close() error { return w.root.Close() }

// dirName is the directory of a mailbox.
func dirName(box string, layout Layout) (string, error) {
	if box == mail.Inbox {
		return ".", nil
	}
	levels := strings.Split(box, mail.Separator)
	for i, l := range levels {
		if layout == LayoutPlus {
			levels[i] = encodeName(l, func(r rune) bool { return r == '.' })
			continue
		}
		levels[i] = encodeFile(l)
		if len(levels[i]) > maxFileName {
			return "", fmt.Errorf("the name of mailbox %q is too long for a directory", box)
		}
	}
	if layout == LayoutFS {
		return strings.Join(levels, "/"), nil
	}
	name := "." + strings.Join(levels, ".")
	if len(name) > maxFileName {
		return "", fmt.Errorf("the name of mailbox %q is too long for a directory of Maildir++; the layout %s has room for it", box, LayoutFS)
	}
	return name, nil
}

// encodeFile makes a file name of one level that is no special one and no hidden
// one.
func encodeFile(l string) string {
	special := strings.HasPrefix(l, ".") || l == "cur" || l == "new" || l == "tmp"
	first := true
	return encodeName(l, func(rune) bool {
		was := first
		first = false
		return was && special
	})
}

// Folder implements Writer.
func (w *maildirWriter) Folder(box string) (FolderWriter, error) {
	name, err := dirName(box, w.layout)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := w.root.MkdirAll(path.Join(name, sub), 0o700); err != nil {
			return nil, fmt.Errorf("make Maildir of mailbox %q: %w", box, err)
		}
	}
	f := &maildirFolder{root: w.root, dir: name, there: make(map[string]bool)}
	m := &maildir{root: w.root}
	for _, sub := range []string{"cur", "new"} {
		entries, err := m.list(path.Join(name, sub))
		if err != nil {
			return nil, fmt.Errorf("read Maildir of mailbox %q: %w", box, err)
		}
		for _, e := range entries {
			base, _ := splitInfo(e.Name())
			f.there[base] = true
		}
	}
	if f.keywords.names, err = m.keywords(name); err != nil {
		return nil, err
	}
	return f, nil
}

type maildirFolder struct {
	root     *os.Root
	dir      string
	there    map[string]bool
	keywords keywordTable
}

// Add implements FolderWriter.
func (f *maildirFolder) Add(m Outgoing, content func(w io.Writer) error) error {
	base := fmt.Sprintf("%d.%s.mallard", m.Date.Unix(), m.ID)
	if f.there[base] {
		return ErrExists
	}
	tmp := path.Join(f.dir, "tmp", base)
	size, err := f.write(tmp, m.Date, content)
	if err != nil {
		_ = f.root.Remove(tmp)
		return err
	}
	letters, rest := f.keywords.letters(m.Flags)
	if f.keywords.changed {
		// Before the message has its name, which cannot be understood without.
		if err := f.saveKeywords(); err != nil {
			return errors.Join(err, f.root.Remove(tmp))
		}
	}
	separator := ":"
	if runtime.GOOS == "windows" {
		separator = ";"
	}
	// Two equal sizes say that the file holds the message as it is, whatever its
	// line ends are.
	name := path.Join(f.dir, "cur", fmt.Sprintf("%s,S=%d,W=%d%s2,%s", base, size, size, separator, letters))
	if err := f.move(tmp, name); err != nil {
		return err
	}
	f.there[base] = true
	if len(rest) > 0 {
		return &Warning{fmt.Sprintf("keywords %s were left out: a Maildir has room for %d", strings.Join(rest, " "), maxLetters)}
	}
	return nil
}

func (f *maildirFolder) write(name string, date time.Time, content func(w io.Writer) error) (int64, error) {
	// A file of this name is left from an export that was interrupted.
	if err := f.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("remove what an earlier export left: %w", err)
	}
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("write message: %w", err)
	}
	c := &counter{w: file}
	err = content(c)
	if cerr := file.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("write message: %w", cerr)
	}
	if err == nil {
		err = f.root.Chtimes(name, date, date)
	}
	return c.n, err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// move gives a file its name, which must be free.
func (f *maildirFolder) move(from, to string) error {
	err := f.root.Link(from, to)
	switch {
	case err == nil:
		return f.root.Remove(from)
	case errors.Is(err, fs.ErrExist):
		return errors.Join(ErrExists, f.root.Remove(from))
	}
	// This file system has no links.
	if _, err := f.root.Lstat(to); err == nil {
		return errors.Join(ErrExists, f.root.Remove(from))
	}
	if err := f.root.Rename(from, to); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}

func (f *maildirFolder) saveKeywords() error {
	var b bytes.Buffer
	err := writeKeywords(&b, f.keywords.names)
	name := path.Join(f.dir, keywordsFile)
	if err == nil {
		err = f.root.WriteFile(name+".new", b.Bytes(), 0o600)
	}
	if err == nil {
		err = f.root.Rename(name+".new", name)
	}
	if err != nil {
		return fmt.Errorf("write keywords: %w", err)
	}
	f.keywords.changed = false
	return nil
}

// Close implements FolderWriter. Every message has its name already.
func (f *maildirFolder) Close() error { return nil }

// Discard implements FolderWriter. Each message there is whole.
func (f *maildirFolder) Discard() error { return nil }
