package search

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func signatureOf(text []byte) Signature {
	var b SignatureBuilder
	_, _ = b.Write(text)
	return b.Finish()
}

func TestSignatureForm(t *testing.T) {
	for _, tc := range []struct {
		text string
		size int
	}{
		{"", 66}, {"a", 66}, {"ab", 66}, {"abc", 66}, {strings.Repeat("a", 100_000), 66},
		{randomText(250), 66}, {randomText(3000), 1026}, {randomText(16 << 10), 4098}, {randomText(30_000), 8194}, {randomText(4 << 20), 65538},
	} {
		sig := signatureOf([]byte(tc.text))
		if len(sig) != tc.size || sig[0] != 1 || 2+1<<sig[1] != tc.size {
			t.Errorf("%d octets of text: %d octets of signature, % x", len(tc.text), len(sig), sig[:2])
		}
	}
}

func randomText(n int) string {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

// The stored form must not change: a signature made by an older version must be understood.
func TestSignatureGolden(t *testing.T) {
	sig := signatureOf([]byte("hello world, hello"))
	const want = "01060000000000000000000000000000000008000201020000020000000000008000000000000000000000000010000000000000800000000000000000000020a101"
	if got := fmt.Sprintf("%x", []byte(sig)); got != want {
		t.Errorf("got %s", got)
	}
}

func TestSignatureUnknown(t *testing.T) {
	good := signatureOf([]byte("hello"))
	if good.MayContain([]byte("xyz")) {
		t.Error("xyz may be in hello")
	}
	for name, sig := range map[string]Signature{
		"nil": nil, "empty": {}, "short": good[:1], "cut": good[:len(good)-1], "long": append(bytes.Clone(good), 0),
		"version": append(Signature{2}, good[1:]...), "size": append(Signature{1, 5}, good[2:]...), "huge": {1, 64}, "huger": {1, 255},
	} {
		if !sig.MayContain([]byte("xyz")) || !NewProbe([]byte("xyz")).MayMatch(sig) {
			t.Errorf("%s: an unknown signature denies", name)
		}
	}
}

func TestProbeAny(t *testing.T) {
	if !NewProbe([]byte("ab"), nil).Any() || NewProbe([]byte("ab"), []byte("abc")).Any() {
		t.Error("Any is wrong")
	}
	if !NewProbe([]byte("ab")).MayMatch(signatureOf(nil)) {
		t.Error("a short needle is denied")
	}
}

// No false negative: every piece of a text may be in it, also when text and needle are folded apart and the text is cut
// and long enough for each size of bitmap.
func TestSignatureProperty(t *testing.T) {
	var b SignatureBuilder // the same for all, as it is used
	rapid.Check(t, func(t *rapid.T) {
		unit := textGen().Draw(t, "text")
		raw := []byte(strings.Repeat(unit, rapid.SampledFrom([]int{1, 1, 1, 50, 3000}).Draw(t, "times")))
		if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
			raw = append(raw, randomText(rapid.IntRange(1, 100_000).Draw(t, "random"))...)
		}
		text := Fold(nil, raw)
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(min(len(rest), 1+len(rest)/4), len(rest)).Draw(t, "piece")
			_, _ = b.Write(rest[:n])
			rest = rest[n:]
		}
		sig := b.Finish()
		if !bytes.Equal(sig, signatureOf(text)) {
			t.Fatal("the signature depends on how the text was cut or on what the builder was used for before")
		}
		for range 20 {
			from := rapid.IntRange(0, len(text)).Draw(t, "from")
			to := rapid.IntRange(from, min(len(text), from+30)).Draw(t, "to")
			if !sig.MayContain(text[from:to]) || !NewProbe(text[from:to]).MayMatch(sig) {
				t.Fatalf("%q is denied", text[from:to])
			}
		}
	})
}

// A word that is not there is denied as often as the fill of the bitmap says.
func TestSignatureDenies(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	text := make([]byte, 6000)
	for i := range text {
		text[i] = 'a' + byte(rng.IntN(26))
	}
	sig := signatureOf(text)
	const tries = 2000
	for _, tc := range []struct{ length, most int }{{3, tries / 2}, {6, tries / 15}, {10, tries / 500}} {
		false3 := 0
		for range tries {
			needle := make([]byte, tc.length)
			for i := range needle {
				needle[i] = 'A' + byte(rng.IntN(26)) // never in a folded text
			}
			if sig.MayContain(needle) {
				false3++
			}
		}
		if false3 > tc.most {
			t.Errorf("%d of %d absent needles of %d octets may be there", false3, tries, tc.length)
		}
	}
}

func BenchmarkSignature(b *testing.B) {
	for _, size := range []int{1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20} {
		text := Fold(nil, corpus(size))
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var sb SignatureBuilder
			n := 0
			for b.Loop() {
				_, _ = sb.Write(text)
				n = len(sb.Finish())
			}
			b.ReportMetric(float64(n), "sig-bytes")
		})
	}
}

func BenchmarkProbe(b *testing.B) {
	sigs := make([]Signature, 1000)
	for i := range sigs {
		sigs[i] = signatureOf(Fold(nil, corpus(4000 + i)[i:]))
	}
	p := NewProbe([]byte("quarterly"))
	i := 0
	for b.Loop() {
		p.MayMatch(sigs[i%len(sigs)])
		i++
	}
}

// corpus is text of some variety: words made of syllables with a natural spread of frequencies.
func corpus(size int) []byte {
	rng := rand.New(rand.NewPCG(7, 7))
	const consonants, vowels = "bcdfghjklmnprstvw", "aeiou"
	words := make([]string, 5000)
	for i := range words {
		var w strings.Builder
		for range 1 + rng.IntN(4) {
			w.WriteByte(consonants[rng.IntN(len(consonants))])
			w.WriteByte(vowels[rng.IntN(len(vowels))])
			if rng.IntN(3) == 0 {
				w.WriteByte(consonants[rng.IntN(len(consonants))])
			}
		}
		words[i] = w.String()
	}
	zipf := rand.NewZipf(rng, 1.1, 5, uint64(len(words)-1))
	var out []byte
	for len(out) < size {
		out = append(out, words[zipf.Uint64()]...)
		out = append(out, ' ')
	}
	return out[:size]
}

func TestSignatureWithAnotherText(t *testing.T) {
	var b SignatureBuilder
	_, _ = b.Write(FoldString("the text of a message"))
	sig := b.Finish()
	before := bytes.Clone(sig)
	both := sig.With(FoldString("Delivered-To: Jane.Roe@example.test"))
	for _, needle := range []string{"jane.roe@", "delivered-to", "of a mess"} {
		if !both.MayContain(FoldString(needle)) {
			t.Errorf("%q is not found", needle)
		}
	}
	if !bytes.Equal(before, sig) {
		t.Error("the first signature was changed")
	}
	if sig.MayContain(FoldString("jane.roe@example")) {
		t.Error("the first signature has what was added to the other")
	}
}
