package mongostore

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/store"
)

// contentOf makes the content of a message. What the parser says about it is made up, as the store does not look into it.
func contentOf(raw []byte) *store.Content {
	header := raw
	if i := bytes.Index(raw, []byte("\n\r\n")); i >= 0 {
		header = raw[:i+3]
	} else if i := bytes.Index(raw, []byte("\n\n")); i >= 0 {
		header = raw[:i+2]
	}
	return &store.Content{
		Source: bytes.NewReader(raw), Size: int64(len(raw)), Header: header,
		Envelope: []byte("(env\x00)"), BodyStructure: []byte("(bs)"), Tree: []byte{0, 1, 0xff}, Summary: []byte{2}, Signature: []byte("sig"),
	}
}

// insert stores a message as Append does and returns its document as the database has it.
func (s *Store) insertForTest(t testing.TB, c *store.Content, prefix string) (bson.Raw, *prepared) {
	t.Helper()
	st, err := s.Stage(t.Context(), c)
	if err != nil {
		t.Fatalf("stage: %v", err)
	}
	defer st.Close()
	return s.insertStaged(t, st.(*staged), prefix)
}

func (s *Store) insertStaged(t testing.TB, st *staged, prefix string) (bson.Raw, *prepared) {
	t.Helper()
	p, err := s.prepare(t.Context(), st, []byte(prefix))
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	if err := s.storeAttachments(t.Context(), p); err != nil {
		t.Fatalf("store attachments: %v", err)
	}
	id := bson.NewObjectID()
	doc := append(bson.D{{Key: "_id", Value: id}, {Key: "mailbox", Value: bson.ObjectID{1}}, {Key: "uid", Value: 1}, {Key: "hdate", Value: p.hdate}}, p.fields...)
	c := s.db.main.Collection(colMessages)
	if _, err := c.InsertOne(t.Context(), doc); err != nil {
		t.Fatalf("insert: %v", err)
	}
	return only(t, c, bson.D{{Key: "_id", Value: id}}), p
}

// read returns the whole of a message.
func (s *Store) readForTest(t testing.TB, doc bson.Raw) []byte {
	t.Helper()
	b, err := s.openBody(t.Context(), doc)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer b.Close()
	var w bytes.Buffer
	if err := b.WriteRange(&w, 0, b.Size()); err != nil {
		t.Fatalf("read: %v", err)
	}
	return w.Bytes()
}

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b) // it never fails
	return b
}

func wrapped(b []byte, width int, end string) string {
	s := base64.StdEncoding.EncodeToString(b)
	var lines []string
	for len(s) > width {
		lines, s = append(lines, s[:width]), s[width:]
	}
	return strings.Join(append(lines, s), end)
}

// mixed is a message with a text and base64 attachments.
func mixed(end string, bodies ...string) []byte {
	var b strings.Builder
	b.WriteString("Subject: x" + end + "Content-Type: multipart/mixed; boundary=b" + end + end + "--b" + end + end + "text" + end + "more")
	for _, body := range bodies {
		b.WriteString(end + "--b" + end + "Content-Type: application/pdf" + end + "Content-Transfer-Encoding: base64" + end + end + body)
	}
	b.WriteString(end + "--b--" + end)
	return []byte(b.String())
}

// unusual are messages that WildDuck's rules do not rebuild as they were.
func unusual(t testing.TB) map[string][]byte {
	data := random(3001, 1)
	good := wrapped(data, 76, "\r\n")
	out := map[string][]byte{
		"empty": {}, "one octet": []byte("x"), "LF": []byte("\n"), "CR": []byte("\r"), "CRLF": []byte("\r\n"), "text": []byte("just text"),
		"no blank line": []byte("Subject: x\r\n"), "no last line end": []byte("Subject: x\r\n\r\nend"), "bare LF": []byte("Subject: x\n\nline\nline\n"),
		"bare CR": []byte("Subject: x\r\rline\rline\r"), "mixed ends": []byte("Subject: x\r\nA: b\n\r\none\ntwo\r\nthree\rfour\n\r\r\n\n"),
		"8-bit": append([]byte("Subject: \xe4\xf6\xff\r\n\r\n"), random(1000, 3)...), "continued": []byte(" x\r\n y\r\n\r\nz"),
		"newlines": bytes.Repeat([]byte("\n"), 100_000), "returns": bytes.Repeat([]byte("\r"), 200_000), "long line": append([]byte("A: b\r\n\r\n"), bytes.Repeat([]byte("ab"), 1<<19)...),
		"huge header": []byte("Subject: " + strings.Repeat("h", 600_000) + "\r\nB: c\r\n\r\nbody\r\n"), "huge header, LF": []byte(strings.Repeat("B: c\n", 200_000) + "\nbody\n"),
		"good": mixed("\r\n", good), "good, LF": mixed("\n", wrapped(data, 76, "\n")), "LF inside": mixed("\r\n", wrapped(data, 76, "\n")), "CRLF inside": mixed("\n", good),
		"trailing line": mixed("\r\n", good+"\r\n\r\n", good), "two": mixed("\r\n", good, good), "no padding": mixed("\r\n", strings.TrimRight(good, "=")),
		"foreign": mixed("\r\n", good+"\r\n-- \r\nsent from a phone", good), "long": mixed("\r\n", wrapped(random(900_000, 4), 76, "\r\n"), good),
		"long, LF": mixed("\n", wrapped(random(900_000, 5), 60, "\n")), "long, odd": mixed("\r\n", wrapped(random(900_000, 6), 76, "\r\n")+"\r\n\r\n"),
		"long, mixed ends": mixed("\r\n", wrapped(random(300_000, 7), 76, "\r\n")+"\n"+wrapped(random(300_000, 8), 76, "\n")),
		"long 8-bit":       append([]byte("Subject: x\r\n\r\n"), random(1_500_000, 9)...), "short 8-bit": append([]byte("Subject: x\r\n\r\n"), random(250_000, 9)...),
		"one line": mixed("\r\n", wrapped(data[:57], 76, "\r\n")), "998": mixed("\r\n", wrapped(data, 998, "\r\n")), "77": mixed("\r\n", wrapped(data, 77, "\r\n")),
		"preamble": []byte("Content-Type: multipart/mixed; boundary=b\n\npre\n--b\n\na\n--b--\npost\r\n"), "unterminated": []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\na"),
		"no parts": []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\nonly\r\n"), "ends only": []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n--b--\r\n"),
		"big preamble":   []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("line\n", 2_000_000) + "--b\r\n\r\na\r\n--b--\r\n"),
		"many parts":     []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\na\r\n", 5000)),
		"LF, CRLF later": []byte("Subject: x\n\nline\nline\n" + strings.Repeat("line\r\n", 40_000)),
		"message":        []byte("Content-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: image/png\r\n\r\ndata\n"),
		"big message":    append([]byte("Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\n"), bytes.Repeat([]byte("some text\r\n"), 900_000)...),
	}
	files, err := filepath.Glob("mimetree/testdata/golden/*.eml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(f)] = b
	}
	return out
}

// What was stored comes back octet for octet, and so does all that was said about it.
func TestVerbatim(t *testing.T) {
	s := openStore(t)
	for name, raw := range unusual(t) {
		prefixes := []string{"", "Delivered-To: a@b.test\r\nReturn-Path: <c@d.test>\r\n", "P: 1\r\n folded\r\nQ: 2\r\n"}
		if len(raw) > inMemory {
			prefixes = prefixes[1:2]
		}
		for _, prefix := range prefixes {
			c := contentOf(raw)
			doc, p := s.insertForTest(t, c, prefix)
			want := append([]byte(prefix), raw...)
			if got := s.readForTest(t, doc); !bytes.Equal(got, want) {
				t.Errorf("%s with prefix %q: %s", name, prefix, difference(got, want))
			}
			if p.verbatim != int64(len(want)) || verbatimSize(doc) != p.verbatim || integer(doc.Lookup("size")) != p.size {
				t.Errorf("%s: sizes %d, %d, %v, want %d", name, p.verbatim, verbatimSize(doc), doc.Lookup("size"), len(want))
			}
			d, err := s.described(t.Context(), doc, ^store.Fields(0))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if want := append([]byte(prefix), c.Header...); !bytes.Equal(d.header, want) || d.prefixLen != int64(len(prefix)) {
				t.Errorf("%s: header: %s", name, difference(d.header, want))
			}
			if !bytes.Equal(d.envelope, c.Envelope) || !bytes.Equal(d.bodyStructure, c.BodyStructure) || !bytes.Equal(d.tree, c.Tree) || !bytes.Equal(d.summary, c.Summary) {
				t.Errorf("%s: described as %+v", name, d)
			}
			if n := len(doc); n > 12<<20 {
				t.Errorf("%s: the document has %d octets", name, n)
			}
		}
	}
}

// difference says where octets begin to differ.
func difference(got, want []byte) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	cut := func(b []byte) []byte { return b[min(i, len(b)):min(i+80, len(b))] }
	return fmt.Sprintf("%d octets, want %d; from octet %d on %q, want %q", len(got), len(want), i, cut(got), cut(want))
}

// Ranges that begin and end anywhere are what they are of the whole.
func TestRanges(t *testing.T) {
	s := openStore(t)
	for _, raw := range [][]byte{
		mixed("\r\n", wrapped(random(2000, 1), 76, "\r\n"), wrapped(random(300, 2), 60, "\r\n")+"\r\n"),
		mixed("\n", wrapped(random(2000, 1), 76, "\n"), "x"),
		mixed("\r\n", wrapped(random(2000, 3), 77, "\r\n"), wrapped(random(500, 4), 75, "\r\n")),
		append([]byte("A: b\n\n"), random(700, 5)...),
	} {
		doc, _ := s.insertForTest(t, contentOf(raw), "")
		b, err := s.openBody(t.Context(), doc)
		if err != nil {
			t.Fatal(err)
		}
		step := max(1, len(raw)/60)
		for from := 0; from <= len(raw); from += step {
			for to := from; to <= len(raw); to += step + 1 {
				var w bytes.Buffer
				if err := b.WriteRange(&w, int64(from), int64(to-from)); err != nil || !bytes.Equal(w.Bytes(), raw[from:to]) {
					t.Fatalf("%d to %d: %s (%v)", from, to, difference(w.Bytes(), raw[from:to]), err)
				}
			}
		}
	}
}

// A message in which a body of a known file stands is verbatim however that file is kept: decoded by a program that lost
// the ends of its lines, or as it was.
func TestVerbatimWithOthersFiles(t *testing.T) {
	s := openStore(t)
	for i, line := range []int{0, 76, 60} {
		seed := uint64(10 * i)
		for _, body := range []string{
			wrapped(random(3001, seed), 76, "\r\n"), wrapped(random(3001, seed+1), 76, "\r\n") + "\r\n", "!" + wrapped(random(3001, seed+2), 76, "\r\n"),
			wrapped(random(300_000, seed+3), 76, "\r\n") + "\r\n", wrapped(random(900_000, seed+4), 76, "\r\n") + "\r\n\r\n",
		} {
			raw := mixed("\r\n", body)
			// The file as another program would have stored it.
			other := &staged{s: s, size: int64(len(raw)), mem: raw, src: bytes.NewReader(raw)}
			if err := other.takeApart(other.src); err != nil {
				t.Fatal(err)
			}
			a := *other.files[0]
			a.kept = kept{length: a.size}
			if line > 0 {
				var data bytes.Buffer
				if err := decodeTo(&data, encoded(other.src, a.node)); err != nil {
					t.Fatal(err)
				}
				a.kept = kept{line: line, length: int64(data.Len())}
			}
			if _, _, err := s.storeFile(t.Context(), other.src, &a, 1, 7); err != nil {
				t.Fatal(err)
			}
			doc, p := s.insertForTest(t, contentOf(raw), "")
			if got := s.readForTest(t, doc); !bytes.Equal(got, raw) {
				t.Errorf("%d octets kept with lines of %d: %s", len(body), line, difference(got, raw))
			}
			file := only(t, s.files(), bson.D{{Key: "_id", Value: fileID(a.id[:])}})
			if c, m := integer(file.Lookup("metadata", "c")), integer(file.Lookup("metadata", "m")); c != 2 || m != int64(7+p.refs.magic) {
				t.Errorf("counters are %d and %d", c, m)
			}
		}
	}
}
