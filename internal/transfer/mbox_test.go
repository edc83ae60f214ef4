package transfer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// show is a message in one line.
func show(t *testing.T, m *Message) string {
	t.Helper()
	date := "-"
	if !m.Date.IsZero() {
		date = m.Date.UTC().Format("2006-01-02T15:04:05")
	}
	return fmt.Sprintf("%s %s %q", date, strings.Join(m.Flags.List(), ","), readMessage(t, m))
}

func TestMboxFiles(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		format   MboxFormat
		want     []string
	}{
		{"empty", "", MboxAuto, nil},
		{"empty lines", "\n\r\n \n", MboxAuto, nil},
		{"nothing but text", "hello\nFrom nowhere\n", MboxAuto, []string{`error: FILE is no mbox file: no line begins a message, as "From sender date" would`}},
		{"text before", "Subject: x\n\nhello\n\nFrom a@b Thu Jan  1 00:00:01 2015\n\ntext\n", MboxAuto, []string{
			`error: FILE: the first 19 octets are left out: no line that begins with "From " is before them`, `2015-01-01T00:00:01  "\r\ntext\r\n"`}},
		{"empty lines before", "\n\nFrom a@b Thu Jan  1 00:00:01 2015\n\ntext\n", MboxAuto, []string{`2015-01-01T00:00:01  "\r\ntext\r\n"`}},
		{"mboxrd", "From a@b Thu Jan  1 00:00:01 2015\nSubject: x\n\n>From me\n>>From you\nFrom nowhere\n\n" +
			"From c Thu Jan  1 00:00:02 2015\n\nsecond\n", MboxAuto, []string{
			`2015-01-01T00:00:01  "Subject: x\r\n\r\nFrom me\r\n>From you\r\nFrom nowhere\r\n"`, `2015-01-01T00:00:02  "\r\nsecond\r\n"`}},
		{"mboxo", "From a@b Thu Jan  1 00:00:01 2015\n\n>From me\n>>From you\n", MboxO, []string{`2015-01-01T00:00:01  "\r\nFrom me\r\n>>From you\r\n"`}},
		{"status", "From a@b Thu Jan  1 00:00:01 2015\nStatus: RO\nSubject: x\nX-Status: AF\nX-Keywords: $Label1, work\nX-UID: 7\n\ntext\n\n", MboxAuto,
			[]string{`2015-01-01T00:00:01 \Seen,\Answered,\Flagged,$Label1,work "Subject: x\r\n\r\ntext\r\n"`}},
		{"mozilla", "From - Thu Jan  1 00:00:01 2015\nX-Mozilla-Status: 1005\nX-Mozilla-Status2: 00000000\nX-Mozilla-Keys: work   \nSubject: x\n\ntext\n\n" +
			"From - Thu Jan  1 00:00:01 2015\nX-Mozilla-Status: 0009\n\ndeleted\n", MboxAuto,
			[]string{`2015-01-01T00:00:01 \Seen,\Flagged,$Forwarded,work "Subject: x\r\n\r\ntext\r\n"`}},
		{"content length", "From a@b Thu Jan  1 00:00:01 2015\nContent-Length: 47\nSubject: x\n\nFrom c Thu Jan  1 00:00:02 2015\n>From me\n\ntext\n\nFrom d Thu Jan  1 00:00:03 2015\n\nlast\n", MboxAuto,
			[]string{`2015-01-01T00:00:01  "Subject: x\r\n\r\nFrom c Thu Jan  1 00:00:02 2015\r\n>From me\r\n\r\ntext\r\n"`, `2015-01-01T00:00:03  "\r\nlast\r\n"`}},
		{"wrong content length", "From a@b Thu Jan  1 00:00:01 2015\nContent-Length: 3\n\n>From me\n", MboxAuto,
			[]string{`2015-01-01T00:00:01  "Content-Length: 3\r\n\r\nFrom me\r\n"`}},
		{"crlf file", "From a@b Thu Jan  1 00:00:01 2015\r\nSubject: x\r\n\r\n>From me\r\n\r\nFrom c Thu Jan  1 00:00:02 2015\r\n\r\nlast\r\n", MboxAuto,
			[]string{`2015-01-01T00:00:01  "Subject: x\r\n\r\nFrom me\r\n"`, `2015-01-01T00:00:02  "\r\nlast\r\n"`}},
		{"internal data", "From MAILER-DAEMON Thu Jan  1 00:00:01 2015\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\n\nx\n\n" +
			"From a@b Thu Jan  1 00:00:01 2015\n\nreal\n", MboxAuto, []string{`2015-01-01T00:00:01  "\r\nreal\r\n"`}},
		{"no date in the first line", "From someone\nDate: Thu, 01 Jan 2015 00:00:05 +0000\n\ntext", MboxAuto,
			[]string{`2015-01-01T00:00:05  "Date: Thu, 01 Jan 2015 00:00:05 +0000\r\n\r\ntext"`}},
		{"header that does not end", "From a@b Thu Jan  1 00:00:01 2015\nSubject: x\n", MboxAuto, []string{`2015-01-01T00:00:01  "Subject: x\r\n"`}},
		{"quoted header line", "From a@b Thu Jan  1 00:00:01 2015\n>From c remote from d\nSubject: x\n\ntext\n", MboxAuto,
			[]string{`2015-01-01T00:00:01  ">From c remote from d\r\nSubject: x\r\n\r\ntext\r\n"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "box.mbox")
			if err := os.WriteFile(name, []byte(tt.in), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := OpenMbox(name, tt.format, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if f := s.Folders(); len(f) != 1 || f[0].Path != "box" {
				t.Fatalf("folders %+v", f)
			}
			var got []string
			for m, err := range s.Messages(s.Folders()[0]) {
				if err != nil {
					got = append(got, "error: "+strings.ReplaceAll(err.Error(), name, "FILE"))
					continue
				}
				got = append(got, show(t, m))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestFromDate(t *testing.T) {
	want := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, line := range []string{
		"From a@b Mon Feb  3 04:05:06 2020", "From a b c Mon Feb 3 04:05:06 2020", "From - Mon Feb  3 04:05:06 2020\r\n",
		"From 123@xxx Mon Feb 03 04:05:06 +0000 2020", "From a Mon Feb  3 06:05:06 2020 +0200", "From a Mon Feb  3 04:05:06 UTC 2020",
		"From a Mon Feb  3 04:05:06 2020 remote from b",
	} {
		if got, ok := fromDate([]byte(line)); !ok || !got.Equal(want) {
			t.Errorf("%q is of %v, %v", line, got, ok)
		}
	}
	for _, line := range []string{"", "From ", "From a", "From me to you", "From a Mon Feb 3", "From a Mon Feb 3 2020", "From a Mon Feb 30 04:05:06 2020"} {
		if got, ok := fromDate([]byte(line)); ok {
			t.Errorf("%q is of %v", line, got)
		}
	}
}

// A message that is damaged halfway leaves nothing in the file.
func TestMboxWriterTakesBack(t *testing.T) {
	dir := t.TempDir()
	w, err := CreateMbox(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := w.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	damaged := errors.New("damaged")
	add := func(text string, err error) error {
		return f.Add(Outgoing{ID: "1", Date: time.Unix(5, 0)}, func(w io.Writer) error {
			_, werr := io.WriteString(w, text)
			return errors.Join(werr, err)
		})
	}
	for _, e := range []error{add("one\r\n", nil), add("two\r\n", nil)} {
		if e != nil {
			t.Fatal(e)
		}
	}
	if err := add(strings.Repeat("half of it\r\n", 100_000), damaged); !errors.Is(err, damaged) {
		t.Errorf("error %v", err)
	}
	if err := add("three\r\n", nil); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	s, err := OpenMbox(dir, MboxAuto, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var got []string
	for m, err := range s.Messages(s.Folders()[0]) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, readMessage(t, m))
	}
	if !slices.Equal(got, []string{"one\r\n", "two\r\n", "three\r\n"}) {
		t.Errorf("got %q", got)
	}
	again, err := CreateMbox(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Folder("INBOX"); !errors.Is(err, ErrExists) {
		t.Errorf("a file was to be overwritten: %v", err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("files %v, %v", names, err)
	}
}

// Whatever a file holds, its messages lie within it, one behind the other, and
// can be read in bounded memory.
func FuzzMbox(f *testing.F) {
	f.Add([]byte("From a@b Thu Jan  1 00:00:01 2015\nContent-Length: 5\n\nFrom \n\nFrom c Thu Jan  1 00:00:02 2015\n\n>From x\n"))
	f.Add([]byte("From \n\n\n\nFrom a Thu Jan  1 00:00:01 2015\r\n\r\nFrom "))
	f.Add([]byte(mboxHead(Outgoing{ID: "1"}) + "Subject: x\n\n>From y\n\n"))
	f.Add([]byte("From x\nX-Mallard-Export:\nFrom a Thu Jan  1 00:00:01 2015"))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, format := range []MboxFormat{MboxAuto, MboxRD, MboxO} {
			spans, err := index(bytes.NewReader(in), int64(len(in)), format, func(int64) {})
			if err != nil {
				t.Fatal(err)
			}
			at := int64(0)
			for _, s := range spans {
				if s.start < at || s.body <= s.start || s.end < s.body || s.end > int64(len(in)) {
					t.Fatalf("message at %+v in %d octets behind %d", s, len(in), at)
				}
				at = s.end
				readSpan(t, in, s, format)
			}
		}
	})
}

// readSpan reads a message as message does, from memory.
func readSpan(t *testing.T, in []byte, s span, format MboxFormat) {
	t.Helper()
	file := bytes.NewReader(in)
	header, err := headerAt(file, s)
	if err != nil {
		t.Fatal(err)
	}
	meta := readMeta(header, s.counted)
	m := &mbox{format: format}
	n, err := io.Copy(io.Discard, CRLFReader(m.content(file, s, header, &meta)))
	if err != nil {
		t.Fatal(err)
	}
	if n > 2*(s.end-s.body) {
		t.Fatalf("%d octets came out of %d", n, s.end-s.body)
	}
}
