package transfer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mallard/internal/mail"
)

// stored is a message as a test knows it.
type stored struct {
	content string
	flags   mail.Flags
	date    time.Time
}

func keywordGen() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"$Label1", "$Forwarded", "work", "NonJunk", "x-y.z", "Kid", "$MDNSent"})
}

func flagsGen() *rapid.Generator[mail.Flags] {
	return rapid.Custom(func(t *rapid.T) mail.Flags {
		sys := mail.SystemFlags(rapid.IntRange(0, 31).Draw(t, "system"))
		return mail.NewFlags(sys, rapid.SliceOfN(keywordGen(), 0, 4).Draw(t, "keywords")...)
	})
}

func dateGen() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "date"), 0).UTC()
	})
}

func pathGen() *rapid.Generator[string] {
	one := rapid.SampledFrom([]string{"a", "Sent Mail", "B.c", "Größe", "日本", "&", "cur", "new", "tmp", ".hidden", "..", "~x", "INBOX", "x&y-", "a,b:c", "😀"})
	return rapid.Map(rapid.SliceOfN(one, 1, 3), func(l []string) string {
		p, err := mail.CanonicalName(strings.Join(l, "/"))
		if err != nil {
			panic(err)
		}
		return p
	})
}

// anyContent is a message of any octets, with what is special often in it.
func anyContent() *rapid.Generator[string] {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{"\r\n", "\n", "\r", "From ", ">From ", ">>From x Thu Jan  1 00:00:00 1970", "\r\n\r\n", "Status: RO\r\n",
			"Content-Length: 5\r\n", "X-Mallard-Export: 1\r\n", "From x Thu Jan  1 00:00:00 1970\r\n", "Subject: a\r\n", ".", "\x00", "\xff"}),
		rapid.StringN(0, 20, 40),
	)
	return rapid.Map(rapid.SliceOfN(piece, 1, 12), func(p []string) string { return strings.Join(p, "") })
}

// cleanContent is a message with CRLF line ends, the last one included.
func cleanContent() *rapid.Generator[string] {
	return rapid.Map(anyContent(), func(s string) string {
		s = strings.NewReplacer("\r\n", "\r\n", "\n", "\r\n", "\r", "_").Replace(s)
		if !strings.HasSuffix(s, "\r\n") {
			s += "\r\n"
		}
		return s
	})
}

func mailGen(content *rapid.Generator[string]) *rapid.Generator[map[string][]stored] {
	one := rapid.Custom(func(t *rapid.T) stored {
		return stored{content.Draw(t, "content"), flagsGen().Draw(t, "flags"), dateGen().Draw(t, "date")}
	})
	return rapid.MapOfN(pathGen(), rapid.SliceOfN(one, 1, 3), 1, 3)
}

// write puts all mail into a writer, the octets in pieces of a given size.
func write(t *rapid.T, w Writer, all map[string][]stored, piece int) {
	t.Helper()
	for _, box := range slices.Sorted(maps.Keys(all)) {
		f, err := w.Folder(box)
		if err != nil {
			t.Fatalf("folder %q: %v", box, err)
		}
		for i, m := range all[box] {
			err := f.Add(Outgoing{fmt.Sprintf("U%d-%x", i+1, box), m.flags, m.date}, func(w io.Writer) error {
				for rest := m.content; len(rest) > 0; {
					n := min(piece, len(rest))
					if _, err := io.WriteString(w, rest[:n]); err != nil {
						return err
					}
					rest = rest[n:]
				}
				return nil
			})
			if err != nil {
				t.Fatalf("add to %q: %v", box, err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// read gives all mail of a source, with the number of messages as the folders tell.
func read(t *rapid.T, s Source, err error) map[string][]stored {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]stored{}
	for _, f := range s.Folders() {
		n := 0
		for m, err := range s.Messages(f) {
			if err != nil {
				t.Fatalf("folder %q: %v", f.Path, err)
			}
			n++
			all[f.Path] = append(all[f.Path], stored{readMessage(t, m), m.Flags, m.Date.UTC()})
		}
		if n != f.Messages {
			t.Fatalf("folder %q: %d messages were announced and %d came", f.Path, f.Messages, n)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return all
}

func readMessage(t interface {
	Helper()
	Fatal(...any)
}, m *Message) string {
	t.Helper()
	r, err := m.Open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sorted is the order in which a Maildir gives messages.
func sorted(all map[string][]stored) {
	for _, list := range all {
		slices.SortStableFunc(list, func(a, b stored) int { return a.date.Compare(b.date) })
	}
}

func compare(t *rapid.T, got, want map[string][]stored) {
	t.Helper()
	for box := range want {
		if len(got[box]) != len(want[box]) {
			t.Fatalf("mailbox %q: %d messages, want %d; mailboxes %q", box, len(got[box]), len(want[box]), slices.Sorted(maps.Keys(got)))
		}
		for i, w := range want[box] {
			g := got[box][i]
			if g.content != w.content {
				t.Fatalf("mailbox %q message %d:\n%q, want\n%q", box, i, g.content, w.content)
			}
			if !g.date.Equal(w.date) || !slices.Equal(g.flags.List(), w.flags.List()) {
				t.Fatalf("mailbox %q message %d: %v %v, want %v %v", box, i, g.date, g.flags.List(), w.date, w.flags.List())
			}
		}
	}
	for box := range got {
		if len(want[box]) == 0 && len(got[box]) > 0 {
			t.Fatalf("mailbox %q came from nowhere", box)
		}
	}
}

// tempDir is a directory for one run of a property.
func tempDir(t *rapid.T) string {
	dir, err := os.MkdirTemp("", "transfer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// What is written to a Maildir comes back octet for octet, whatever it is.
func TestMaildirRoundTrip(t *testing.T) {
	for _, layout := range []Layout{LayoutPlus, LayoutFS} {
		t.Run(string(layout), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				all := mailGen(anyContent().Filter(func(s string) bool { return s != "" })).Draw(t, "mail")
				dir := filepath.Join(tempDir(t), "Maildir")
				w, err := CreateMaildir(dir, layout)
				if err != nil {
					t.Fatal(err)
				}
				write(t, w, all, rapid.IntRange(1, 50).Draw(t, "piece"))
				sorted(all)
				s, err := OpenMaildir(dir)
				compare(t, read(t, s, err), all)
			})
		})
	}
}

// What is written to mbox files comes back octet for octet when its line ends are
// those of mail.
func TestMboxRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := mailGen(cleanContent()).Draw(t, "mail")
		dir := filepath.Join(tempDir(t), "mail")
		w, err := CreateMbox(dir)
		if err != nil {
			t.Fatal(err)
		}
		write(t, w, all, rapid.IntRange(1, 50).Draw(t, "piece"))
		s, err := OpenMbox(dir, MboxAuto, nil)
		compare(t, read(t, s, err), all)
	})
}

// Other messages come back with CRLF line ends, and the writer says so.
func TestMboxOddLineEnds(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"Subject: x\n\nbody\n", "Subject: x\r\n\r\nbody\r\n"},
		{"Subject: x\r\n\r\nbody", "Subject: x\r\n\r\nbody\r\n"},
		{"a\rb\r\n\r", "a\rb\r\n\r\n"},
		{"From ", "From \r\n"},
	} {
		dir := t.TempDir()
		w, err := CreateMbox(dir)
		if err != nil {
			t.Fatal(err)
		}
		f, err := w.Folder("INBOX")
		if err != nil {
			t.Fatal(err)
		}
		err = f.Add(Outgoing{ID: "1", Date: time.Unix(1, 0)}, func(w io.Writer) error {
			_, err := io.WriteString(w, tt.in)
			return err
		})
		var warning *Warning
		if !errors.As(err, &warning) {
			t.Errorf("%q: %v is no warning", tt.in, err)
		}
		if err := errors.Join(f.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		s, err := OpenMbox(filepath.Join(dir, "INBOX.mbox"), MboxAuto, nil)
		if err != nil {
			t.Fatal(err)
		}
		for m, err := range s.Messages(s.Folders()[0]) {
			if err != nil {
				t.Fatal(err)
			}
			if got := readMessage(t, m); got != tt.want {
				t.Errorf("%q came back as %q, want %q", tt.in, got, tt.want)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// CRLFReader gives the same whatever the sizes of reads are.
func TestCRLFReader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyContent().Draw(t, "in")
		want := strings.ReplaceAll(strings.ReplaceAll(in, "\r\n", "\n"), "\n", "\r\n")
		r := CRLFReader(&small{strings.NewReader(in), rapid.IntRange(1, 9).Draw(t, "in pieces")})
		var out bytes.Buffer
		p := make([]byte, rapid.IntRange(1, 9).Draw(t, "out pieces"))
		for {
			n, err := r.Read(p)
			out.Write(p[:n])
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if out.String() != want {
			t.Fatalf("%q became %q, want %q", in, out.String(), want)
		}
	})
}

// small reads a few octets at a time.
type small struct {
	r io.Reader
	n int
}

func (s *small) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

// Names of mailboxes come back from modified UTF-7.
func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		must := rapid.Rune().Draw(t, "must")
		code := encodeName(name, func(r rune) bool { return r == must })
		if !ascii(code) {
			t.Fatalf("%q became %q", name, code)
		}
		if got := decodeName(code); got != strings.ToValidUTF8(name, "\uFFFD") && !strings.ContainsRune(name, '\uFFFD') {
			t.Fatalf("%q became %q, which is %q", name, code, got)
		}
	})
	for code, want := range map[string]string{"Entw&APw-rfe": "Entwürfe", "Entwürfe": "Entwürfe", "a&b": "a&b", "&-": "&", "&A-": "&A-", "x\xff": "x\uFFFD"} {
		if got := decodeName(code); got != want {
			t.Errorf("%q is %q, want %q", code, got, want)
		}
	}
}
