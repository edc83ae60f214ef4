package lmtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// unstuff is the rule of RFC 5321, 4.5.2 in its simplest form: what a sender
// stuffed line by line, where a line ends with CRLF and nothing else.
func unstuff(in string) (text, rest string, ok bool) {
	var b strings.Builder
	for in != "" {
		line, after, found := strings.Cut(in, "\r\n")
		if !found {
			return b.String() + strings.TrimPrefix(line, "."), "", false
		}
		if line == "." {
			return b.String(), after, true
		}
		b.WriteString(strings.TrimPrefix(line, ".") + "\r\n")
		in = after
	}
	return b.String(), "", false
}

// cutReader gives out pieces of at most n octets.
type cutReader struct {
	r *strings.Reader
	n func() int
}

func (c cutReader) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.n())]) }

// readDotted reads in through a buffer of the given size, in pieces.
func readDotted(in string, buffer int, seed uint64) (text, rest string, err error) {
	r := rand.New(rand.NewPCG(seed, 1))
	n := func() int { return 1 + r.IntN(1+int(seed%40)) }
	br := bufio.NewReaderSize(cutReader{strings.NewReader(in), n}, buffer)
	d := &dotReader{in: br, lineStart: true, pace: pace{start: time.Now(), o: &Options{MaxDataTime: time.Hour, ReadTimeout: time.Hour}}}
	var out bytes.Buffer
	for {
		p := make([]byte, 1+n())
		k, rerr := d.Read(p)
		out.Write(p[:k])
		if rerr == io.EOF {
			break
		}
		if rerr != nil {
			return out.String(), "", rerr
		}
	}
	left, err := io.ReadAll(br)
	return out.String(), string(left), err
}

func checkDotted(t *testing.T, in string, seed uint64) {
	t.Helper()
	want, wantRest, ok := unstuff(in)
	// 16 octets is the smallest buffer of package bufio: every border is met.
	got, rest, err := readDotted(in, 16+int(seed%9), seed)
	switch {
	case !ok && !errors.Is(err, io.ErrUnexpectedEOF):
		t.Fatalf("%q has no end, but: %q, %v", in, got, err)
	case ok && (err != nil || got != want || rest != wantRest):
		t.Fatalf("%q: text %q and rest %q (%v), want %q and %q", in, got, rest, err, want, wantRest)
	}
}

// Only CRLF.CRLF ends a message: everything that other servers have taken for
// an end is text here, wherever the buffer cuts it.
func TestDotReader(t *testing.T) {
	for _, in := range []string{
		".\r\nQUIT\r\n",
		"\r\n.\r\n",
		"a\r\n.\r\n",
		"a\n.\nb\r\n.\r\n",
		"a\n.\r\nb\r\n.\r\n",
		"a\r.\rb\r\n.\r\n",
		"a\r\n.\rb\r\n.\r\n",
		"a\r\n.\nb\r\n.\r\n",
		"a\r.\r\nb\r\n.\r\n",
		"a\r\n.\r\r\nb\r\n.\r\n",
		"a\r\r\n.\r\nb\r\n.\r\n",
		"a\n\r.\n\rb\r\n.\r\n",
		"a\r\n.\x00\r\n\r\n.\r\n",
		"a\r\n. \r\n\r\n.\r\n",
		"a\r\n..\r\n...\r\n.b\r\n.\r\n",
		"..\r\n.\r\n",
		"\r.\r\n\r\n.\r\n",
		"\n.\r\n\r\n.\r\n",
		"\r\r\r\r\n.\r\n",
		"a\r\n.\r\n.\r\n",
		"a\r\n.", "a\r\n.\r", "a\r\n", "a", "", ".", ".\r", "\r",
		strings.Repeat("x", 1<<20) + "\r\n.\r\n",
		strings.Repeat("\r", 1000) + "\n.\r\n",
		strings.Repeat(".", 1000) + "\r\n.\r\n",
		strings.Repeat("..\r\n", 1000) + ".\r\n",
	} {
		for seed := range uint64(60) {
			checkDotted(t, in, seed)
			if len(in) > 1<<16 {
				break
			}
		}
	}
}

func FuzzDotReader(f *testing.F) {
	f.Add("a\r\n..\r\n.\r\nQUIT\r\n", uint64(3))
	f.Add("\r\r\n.\n.\r\n\r\n.\r\n", uint64(0))
	f.Fuzz(func(t *testing.T, in string, seed uint64) {
		// Random octets hardly ever make line ends.
		in = strings.NewReplacer("1", "\r\n", "2", ".", "3", "\r", "4", "\n").Replace(in)
		checkDotted(t, in, seed)
	})
}
