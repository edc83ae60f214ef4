package message

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// sumsOf are the sums of the attachments of a message that comes in chunks of n octets.
func sumsOf(t *testing.T, text string, n int) map[string]string {
	t.Helper()
	p := NewParser(Limits{})
	for b := []byte(text); len(b) > 0; {
		k := min(n, len(b))
		_, _ = p.Write(b[:k])
		b = b[k:]
	}
	m, _ := p.Close()
	sum := m.Summary()
	again, err := DecodeSummary(AppendSummary(nil, &sum))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, a := range again.Attachments {
		out[a.Filename] = a.Sum.String()
	}
	return out
}

func TestAttachmentSums(t *testing.T) {
	inner := "Subject: inner\r\nContent-Type: multipart/mixed; boundary=b2\r\n\r\n" +
		"--b2\r\nContent-Type: image/png; name=deep.png\r\n\r\nDEEP\n\r\n--b2--\r\nafter"
	bodies := map[string]string{
		"a.pdf":    "JVBERi0x\r\nLjQK",
		"b.bin":    "\n\r\n",
		"cr.bin":   "x\r",
		"lf.bin":   "one\ntwo",
		"in.eml":   inner,
		"deep.png": "DEEP\n",
	}
	part := func(kind, name, body string) string {
		return fmt.Sprintf("--b1\r\nContent-Type: %s\r\nContent-Disposition: attachment; filename=%s\r\n\r\n%s\r\n", kind, name, body)
	}
	text := "Subject: x\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\n\r\ntext\r\n" +
		part("application/pdf", "a.pdf", bodies["a.pdf"]) + part("application/octet-stream", "b.bin", bodies["b.bin"]) +
		part("application/octet-stream", "cr.bin", bodies["cr.bin"]) +
		"--b1\r\nContent-Type: application/x-odd; name=lf.bin\r\n\r\n" + bodies["lf.bin"] + "\n" + // a bare LF before the boundary
		part("message/rfc822", "in.eml", inner) + "--b1--\r\n"
	for _, n := range []int{1, 2, 3, 7, 64, len(text)} {
		got := sumsOf(t, text, n)
		if len(got) != len(bodies) {
			t.Fatalf("chunks of %d: attachments %v, want %d", n, got, len(bodies))
		}
		for name, body := range bodies {
			sum := sha256.Sum256([]byte(body))
			if want := hex.EncodeToString(sum[:]); got[name] != want {
				t.Errorf("chunks of %d: sum of %s is %s, want %s", n, name, got[name], want)
			}
		}
	}
}

// A message that is an attachment as a whole ends without a boundary.
func TestAttachmentSumOfRoot(t *testing.T) {
	const head = "Content-Type: application/pdf; name=a.pdf\r\n\r\n"
	for _, body := range []string{"x", "\r\n", "abc\r\n", "abc\n\n", strings.Repeat("0123456789\r\n", 20000)} {
		sum := sha256.Sum256([]byte(body))
		for _, n := range []int{1, 5, 4096} {
			if got := sumsOf(t, head+body, n)["a.pdf"]; got != hex.EncodeToString(sum[:]) {
				t.Errorf("body %.10q in chunks of %d: sum %s, want %x", body, n, got, sum)
			}
		}
	}
}

// Attached messages in attached messages cost a bounded time for each octet.
func TestAttachmentSumsAreBounded(t *testing.T) {
	const depth = 20
	var text string
	for i := range depth {
		text += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\nContent-Type: message/rfc822\r\n\r\n", i, i)
	}
	text += "Subject: last\r\n\r\nx"
	p := NewParser(Limits{})
	_, _ = p.Write([]byte(text))
	if p.open > maxOpenSums {
		t.Errorf("%d bodies are summed at once", p.open)
	}
	m, _ := p.Close()
	n := 0
	for _, a := range m.Attachments() {
		if a.Sum != (AttachmentSum{}) {
			n++
		}
	}
	if n != maxOpenSums {
		t.Errorf("%d sums, want %d", n, maxOpenSums)
	}
}
