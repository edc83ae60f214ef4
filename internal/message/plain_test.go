package message

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestPlainShortcuts compares what is done for plain values without more ado with the way that
// takes everything.
func TestPlainShortcuts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", "Ab9", " ", "  ", "\t", "\r\n ", "\n\t", "\r", "\r\r\n ", "=", "=?", "?", "\x00", "\x1f", "~", "\x7f", "\x80", "\xff", "\u00e9",
		"=?utf-8?q?=C3=A4?=", "word of text", "\u00a0", "\"", "\\"}
	plain := 0
	for range 200_000 {
		var b strings.Builder
		for range r.IntN(12) {
			i := r.IntN(len(pieces))
			if r.IntN(3) > 0 {
				i = min(i, 2)
			}
			b.WriteString(pieces[i])
		}
		s := b.String()
		want := isPlainOctets(s, 0, len(s))
		if got := isPlainText(s); got != want {
			t.Fatalf("isPlainText(%q) = %v", s, got)
		}
		if want {
			plain++
		}
		if got, want := string(appendDecoded([]byte("x"), []byte(s))), "x"+DecodeHeader([]byte(s)); got != want {
			t.Fatalf("appendDecoded(%q) = %q, DecodeHeader %q", s, got, want)
		}
		if got, want := string(appendUnfolded(nil, []byte(s))), unfold(s); got != want {
			t.Fatalf("appendUnfolded(%q) = %q, unfold %q", s, got, want)
		}
		if got, want := collapseSpace(s), strings.Join(strings.Fields(s), " "); got != want {
			t.Fatalf("collapseSpace(%q) = %q, want %q", s, got, want)
		}
	}
	if plain < 20_000 || plain > 180_000 {
		t.Fatalf("%d values of 200,000 were plain", plain)
	}
}
