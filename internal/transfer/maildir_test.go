package transfer

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"mallard/internal/mail"
)

// files makes files below a new directory. Names that end with a slash are
// directories.
func files(t *testing.T, all map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range all {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(full, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(full, time.Unix(1000, 0), time.Unix(1000, 0)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// listAll shows all mail of a Maildir, and the errors.
func listAll(t *testing.T, dir string) (out, problems []string) {
	t.Helper()
	s, err := OpenMaildir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, f := range s.Folders() {
		for m, err := range s.Messages(f) {
			if err != nil {
				problems = append(problems, err.Error())
				continue
			}
			out = append(out, fmt.Sprintf("%s: %s %q", f.Path, strings.Join(m.Flags.List(), ","), readMessage(t, m)))
		}
	}
	return out, problems
}

func TestMaildirs(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"flags and new", map[string]string{
			"cur/1.a:2,DFRSTPab": "x", "cur/2.a;2,S": "y", "cur/3.a!2,F": "z", "new/4.a": "n", "tmp/5.a": "no", "cur/.hidden": "no", "dovecot-keywords": "0 one\n1 two words\nx\n30 three\n",
		}, []string{`INBOX: \Seen,\Answered,\Flagged,\Deleted,\Draft,$Forwarded,one "x"`, `INBOX: \Seen "y"`, `INBOX: \Flagged "z"`, `INBOX:  "n"`}},
		{"maildir++ names", map[string]string{
			"new/": "", ".A.B/cur/1:2,": "ab", ".Entw&APw-rfe/cur/1:2,": "u7", ".Größe/new/1": "u8", ".a&b/cur/1:2,": "amp", ".notmail/x": "no", "..x/cur/1:2,": "dots",
		}, []string{`A/B:  "ab"`, `Entwürfe:  "u7"`, `Größe:  "u8"`, `a&b:  "amp"`, `x:  "dots"`}},
		{"nested", map[string]string{
			"cur/1:2,": "in", "A/cur/1:2,": "a", "A/B/new/1": "b", "only/below/cur/1:2,": "c",
		}, []string{`INBOX:  "in"`, `A:  "a"`, `A/B:  "b"`, `only/below:  "c"`}},
		{"line ends", map[string]string{
			"cur/1,S=5:2,": "a\nb\n\n", "cur/2,S=5,W=5:2,": "a\nb\n\n", "cur/3,S=5,W=8:2,": "a\nb\n\n", "cur/4:2,": "a\r\nb\n", "cur/5:2,": "a\r", "cur/6:2,": "\nx",
		}, []string{`INBOX:  "a\r\nb\r\n\r\n"`, `INBOX:  "a\nb\n\n"`, `INBOX:  "a\r\nb\r\n\r\n"`, `INBOX:  "a\r\nb\n"`, `INBOX:  "a\r"`, `INBOX:  "\r\nx"`}},
		{"compressed", map[string]string{
			"cur/1:2,": packed(t, "text\n", false), "cur/2:2,": packed(t, "text\n", true),
		}, []string{`INBOX:  "text\r\n"`, `INBOX:  "text\r\n"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := listAll(t, files(t, tt.files))
			if !slices.Equal(got, tt.want) || len(problems) > 0 {
				t.Errorf("got\n%s\nwant\n%s\nproblems %q", strings.Join(got, "\n"), strings.Join(tt.want, "\n"), problems)
			}
		})
	}
}

func packed(t *testing.T, text string, zst bool) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if zst {
		var err error
		if w, err = zstd.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	}
	_, err := io.WriteString(w, text)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A tree that belongs to somebody else cannot make the importer read other files,
// wait for ever or fail as a whole.
func TestMaildirTraps(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := files(t, map[string]string{"cur/1:2,": "real", "cur/9/": "", "new/": ""})
	other := files(t, map[string]string{"cur/1:2,": "of somebody else"})
	err := errors.Join(
		os.Symlink(secret, filepath.Join(dir, "cur", "2:2,")),
		os.Symlink("../../../../../../../../etc/passwd", filepath.Join(dir, "cur", "3:2,")),
		os.Symlink(other, filepath.Join(dir, ".Other")),
		os.Symlink(dir, filepath.Join(dir, ".Loop")),
		syscall.Mkfifo(filepath.Join(dir, "cur", "4:2,"), 0o600),
		os.Symlink(secret, filepath.Join(dir, keywordsFile)),
	)
	if err != nil {
		t.Fatal(err)
	}
	got, problems := listAll(t, dir)
	if !slices.Equal(got, []string{`INBOX:  "real"`}) {
		t.Errorf("got %q", got)
	}
	if len(problems) != 5 { // two links, the pipe, the directory, the keywords
		t.Errorf("problems %q", problems)
	}

	// A file that becomes a link after it was listed is not followed either.
	s, err := OpenMaildir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for m, err := range s.Messages(s.Folders()[0]) {
		if err != nil {
			continue
		}
		name := filepath.Join(dir, "cur", "1:2,")
		if err := errors.Join(os.Remove(name), os.Symlink(secret, name)); err != nil {
			t.Fatal(err)
		}
		if r, err := m.Open(); err == nil {
			t.Error("a link was followed", r.Close())
		}
	}
}

// A message whose flags change between listing and reading is found again.
func TestMaildirFlagsChangeMeanwhile(t *testing.T) {
	dir := files(t, map[string]string{"new/1.a": "text", "cur/": ""})
	s, err := OpenMaildir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	for m, err := range s.Messages(s.Folders()[0]) {
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "new", "1.a"), filepath.Join(dir, "cur", "1.a:2,S")); err != nil {
			t.Fatal(err)
		}
		if got := readMessage(t, m); got != "text" {
			t.Errorf("got %q", got)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestNoMaildir(t *testing.T) {
	if _, err := OpenMaildir(files(t, map[string]string{"x": "y"})); err == nil || !strings.Contains(err.Error(), "is no Maildir") {
		t.Errorf("error %v", err)
	}
	if _, err := OpenMaildir(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error for a directory that is not there")
	}
}

// Writing again adds what is new, keeps the letters of keywords, and takes nothing
// away; a message that fails leaves nothing.
func TestMaildirWriterAdds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	add := func(id, keyword string, fail error) error {
		w, err := CreateMaildir(dir, LayoutPlus)
		if err != nil {
			t.Fatal(err)
		}
		f, err := w.Folder("INBOX")
		if err != nil {
			t.Fatal(err)
		}
		err = f.Add(Outgoing{ID: id, Flags: mail.NewFlags(0, keyword), Date: time.Unix(1000, 0)}, func(w io.Writer) error {
			_, err := io.WriteString(w, "text "+id)
			return errors.Join(err, fail)
		})
		if cerr := errors.Join(f.Close(), w.Close()); cerr != nil {
			t.Fatal(cerr)
		}
		return err
	}
	damaged := errors.New("damaged")
	if err := errors.Join(add("1", "one", nil), add("2", "two", nil)); err != nil {
		t.Fatal(err)
	}
	if err := add("1", "three", nil); !errors.Is(err, ErrExists) {
		t.Errorf("error %v", err)
	}
	if err := add("3", "three", damaged); !errors.Is(err, damaged) {
		t.Errorf("error %v", err)
	}
	got, problems := listAll(t, dir)
	if !slices.Equal(got, []string{`INBOX: one "text 1"`, `INBOX: two "text 2"`}) || len(problems) > 0 {
		t.Errorf("got %q, problems %q", got, problems)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
	var warning *Warning
	for i := range 30 {
		err := add(fmt.Sprint(i+10), fmt.Sprintf("k%d", i), nil)
		if err != nil && !errors.As(err, &warning) {
			t.Fatal(err)
		}
	}
	if warning == nil {
		t.Error("no warning about keywords beyond the letters")
	}
	if got, _ := listAll(t, dir); len(got) != 32 {
		t.Errorf("%d messages", len(got))
	}
}

// Names that would lead elsewhere or be too long are refused or made harmless.
func TestNamesOfDirectories(t *testing.T) {
	long := strings.Repeat("ü", 100)
	for _, tt := range []struct {
		box    string
		layout Layout
		want   string
	}{
		{"INBOX", LayoutPlus, "."}, {"INBOX", LayoutFS, "."}, {"a/b", LayoutPlus, ".a.b"}, {"a/b", LayoutFS, "a/b"},
		{"../x", LayoutPlus, ".&AC4ALg-.x"}, {"../x", LayoutFS, "&AC4-./x"}, {"cur", LayoutFS, "&AGM-ur"}, {"a.b", LayoutPlus, ".a&AC4-b"},
		{long, LayoutPlus, ""}, {long, LayoutFS, ""},
	} {
		got, err := dirName(tt.box, tt.layout)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s in %s: %q, %v; want %q", tt.box, tt.layout, got, err, tt.want)
		}
	}
	if _, err := fileName(strings.Repeat("x", 250)); err == nil {
		t.Error("a file name that is too long was accepted")
	}
}
