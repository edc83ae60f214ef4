package message

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/quotedprintable"
	"slices"
	"strings"
	"testing"

	gomessage "github.com/emersion/go-message"
)

// TestOracle compares the parser with another one on well-formed mail: the
// same leaves with the same headers and decoded contents.
func TestOracle(t *testing.T) {
	for seed := range uint64(400) {
		g := generator{r: rand.New(rand.NewPCG(seed, 3))}
		raw := g.message(4)
		want := oracleLeaves(t, raw)
		got := ownLeaves(t, checkMessage(t, raw), raw)
		if !slices.Equal(got, want) {
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Fatalf("seed %d, leaf %d:\n%q\nwant\n%q\nof\n%s", seed, i, got[i], want[i], raw)
				}
			}
			t.Fatalf("seed %d: %d leaves, want %d, of\n%s", seed, len(got), len(want), raw)
		}
	}
}

func oracleLeaves(t *testing.T, raw []byte) (leaves []string) {
	e, err := gomessage.Read(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("oracle: %v\n%s", err, raw)
	}
	err = e.Walk(func(path []int, e *gomessage.Entity, err error) error {
		if err != nil {
			return err
		}
		for i := range path {
			path[i]++
		}
		var b strings.Builder
		typ, params, err := e.Header.ContentType()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%v %s charset=%s\n", path, typ, params["charset"])
		for f := e.Header.Fields(); f.Next(); {
			fmt.Fprintf(&b, "%s: %s\n", strings.ToLower(f.Key()), f.Value())
		}
		if !strings.HasPrefix(typ, "multipart/") {
			body, err := io.ReadAll(e.Body)
			if err != nil {
				return err
			}
			b.Write(body)
		}
		leaves = append(leaves, b.String())
		return nil
	})
	if err != nil {
		t.Fatalf("oracle: %v\n%s", err, raw)
	}
	return leaves
}

func ownLeaves(t *testing.T, m *Message, raw []byte) (leaves []string) {
	var walk func(path []int, p *Part)
	walk = func(path []int, p *Part) {
		var b strings.Builder
		fmt.Fprintf(&b, "%v %s charset=%s\n", path, p.ContentType(), p.Param("charset"))
		for f := range Fields(raw[p.HeaderStart:p.BodyStart]) {
			fmt.Fprintf(&b, "%s: %s\n", bytes.ToLower(f.Name), Unfold(f.Value))
		}
		if !p.IsMultipart() {
			body, err := io.ReadAll(NewDecoder(p.Encoding, bytes.NewReader(raw[p.BodyStart:p.BodyEnd])))
			if err != nil {
				t.Fatal(err)
			}
			if p.Encoding != "QUOTED-PRINTABLE" && int64(len(body)) != p.DecodedSize {
				t.Fatalf("decoded size %d, really %d", p.DecodedSize, len(body))
			}
			b.Write(body)
		}
		leaves = append(leaves, b.String())
		for i, c := range p.Children {
			walk(append(slices.Clone(path), i+1), c)
		}
	}
	walk(nil, m.Root)
	return leaves
}

// generator makes random well-formed messages.
type generator struct {
	r          *rand.Rand
	boundaries int
}

func (g *generator) message(depth int) []byte {
	head := "From: " + g.words(2) + " <a@example.org>\r\nTo: b@example.com,\r\n c@example.com\r\nSubject: " + g.words(6) + "\r\n"
	for range g.r.IntN(5) {
		head += fmt.Sprintf("X-Field-%d: %s\r\n %s\r\n", g.r.IntN(9), g.words(3), g.words(2))
	}
	return []byte(head + "MIME-Version: 1.0\r\n" + g.entity(depth))
}

// entity is a part with its header.
func (g *generator) entity(depth int) string {
	switch n := g.r.IntN(10); {
	case depth > 0 && n < 5:
		return g.multipart(depth - 1)
	case depth > 0 && n == 5:
		return "Content-Type: message/rfc822\r\n\r\n" + string(g.message(depth-1)) + "end"
	case n < 8:
		return g.text()
	}
	return g.file()
}

func (g *generator) multipart(depth int) string {
	g.boundaries++
	b := fmt.Sprintf("=_%d.%s", g.boundaries, strings.Repeat("x", g.r.IntN(60)))
	sub := []string{"mixed", "alternative", "related", "signed", "report"}[g.r.IntN(5)]
	s := fmt.Sprintf("Content-Type: multipart/%s;\r\n boundary=\"%s\"\r\n\r\n", sub, b)
	if g.r.IntN(3) == 0 {
		s += "preamble --" + b + "\r\n"
	}
	for range 1 + g.r.IntN(4) {
		s += "--" + b + "\r\n" + g.entity(depth) + "\r\n"
	}
	s += "--" + b + "--\r\n"
	if g.r.IntN(3) == 0 {
		s += "epilogue\r\n"
	}
	return s
}

func (g *generator) text() string {
	sub := []string{"plain", "html", "csv"}[g.r.IntN(3)]
	head := "Content-Type: text/" + sub + "; charset=utf-8\r\n"
	var b strings.Builder
	for range g.r.IntN(12) {
		b.WriteString(g.words(g.r.IntN(30)))
		b.WriteString("\r\n")
	}
	switch g.r.IntN(3) {
	case 0:
		return head + "Content-Transfer-Encoding: 8bit\r\n\r\n" + b.String()
	case 1:
		var q bytes.Buffer
		w := quotedprintable.NewWriter(&q)
		_, _ = io.WriteString(w, b.String())
		_ = w.Close()
		return head + "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + q.String()
	}
	return head + "Content-Transfer-Encoding: base64\r\n\r\n" + g.base64([]byte(b.String()))
}

func (g *generator) file() string {
	data := make([]byte, g.r.IntN(4000))
	for i := range data {
		data[i] = byte(g.r.Uint32())
	}
	return "Content-Type: application/octet-stream; name=\"" + g.words(2) + "\"\r\nContent-Disposition: attachment\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + g.base64(data)
}

func (g *generator) base64(data []byte) string {
	s := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	for n := []int{76, 64, 60}[g.r.IntN(3)]; len(s) > n; s = s[n:] {
		b.WriteString(s[:n] + "\r\n")
	}
	return b.String() + s
}

func (g *generator) words(n int) string {
	list := []string{"alpha", "beta", "-", "--", "gamma;", "grün", "日本", "=", "delta:", "x"}
	out := make([]string, 0, n+1)
	for range n {
		out = append(out, list[g.r.IntN(len(list))])
	}
	return strings.Join(append(out, "end"), " ")
}
