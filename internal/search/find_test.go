package search

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestFinder(t *testing.T) {
	for _, tc := range []struct {
		text, needle string
		found        bool
	}{
		{"", "", true},
		{"abc", "", true},
		{"", "a", false},
		{"abc", "abc", true},
		{"ab", "abc", false},
		{"aabc", "abc", true},
		{"ababac", "abac", true},
		{"aaaaaaaab", "aaab", true},
		{"aaaaaaaa", "aaab", false},
		{"abcabcabcabcabcabd", "abcabcabcabcabcabd", true},
		{"abcabcabcabcabcabcabcabcabcabd", "abcabcabcabcabcabd", true},
		{strings.Repeat("x", 100) + "needle-longer-than-the-prefix" + strings.Repeat("y", 100), "needle-longer-than-the-prefix", true},
		{strings.Repeat("needle-longer-tha!", 100), "needle-longer-than-the-prefix", false},
	} {
		for size := 1; size <= len(tc.text)+1; size++ {
			f := NewFinder([]byte(tc.needle))
			for rest := []byte(tc.text); len(rest) > 0; {
				n := min(size, len(rest))
				if _, err := f.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if f.Found(0) != tc.found || f.Done() != tc.found {
				t.Errorf("%q in %q by %d: %v, done %v", tc.needle, tc.text, size, f.Found(0), f.Done())
			}
		}
		if got := newNeedle([]byte(tc.needle)).in([]byte(tc.text)); got != tc.found {
			t.Errorf("%q in %q: %v", tc.needle, tc.text, got)
		}
	}
}

func TestFinderReset(t *testing.T) {
	f := NewFinder([]byte("ab"), []byte(""))
	write := func(s string) { _, _ = f.Write([]byte(s)) }
	write("xa")
	f.Reset()
	write("b")
	if f.Found(0) || !f.Found(1) || f.Done() {
		t.Error("a needle was found across two texts")
	}
	write("ab")
	if !f.Done() {
		t.Error("a needle was not found after Reset")
	}
}

// Against bytes.Contains, with small alphabets so that needles overlap themselves.
func TestFinderModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := rapid.SampledFrom([]string{"[ab]", "[abc]", "[a]", "[a-z ]"}).Draw(t, "alphabet")
		text := []byte(rapid.StringMatching(alphabet+"{0,300}").Draw(t, "text"))
		var needles [][]byte
		for range rapid.IntRange(1, 5).Draw(t, "needles") {
			if len(text) > 0 && rapid.Bool().Draw(t, "from text") {
				at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
				needles = append(needles, bytes.Clone(text[at:rapid.IntRange(at, len(text)).Draw(t, "to")]))
			} else {
				needles = append(needles, []byte(rapid.StringMatching(alphabet+"{0,40}").Draw(t, "needle")))
			}
		}
		f := NewFinder(needles...)
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			_, _ = f.Write(rest[:n])
			rest = rest[n:]
		}
		all := true
		for i, n := range needles {
			want := bytes.Contains(text, n)
			all = all && want
			if f.Found(i) != want {
				t.Fatalf("%q in %q: %v", n, text, f.Found(i))
			}
		}
		if f.Done() != all {
			t.Fatalf("done %v, found all %v", f.Done(), all)
		}
	})
}

func FuzzFinder(f *testing.F) {
	f.Add([]byte("aaaaaabaaaaab"), []byte("aaaab"), []byte("ba"), uint(3))
	f.Add([]byte("abababababababababababac"), []byte("ababababababababababac"), []byte("c"), uint(1))
	f.Fuzz(func(t *testing.T, text, a, b []byte, size uint) {
		fi := NewFinder(a, b)
		n := int(size%64) + 1
		for rest := text; len(rest) > 0; {
			n = min(n, len(rest))
			_, _ = fi.Write(rest[:n])
			rest = rest[n:]
		}
		if got, want := fi.Found(0), bytes.Contains(text, a); got != want {
			t.Errorf("%q in %q: %v", a, text, got)
		}
		if got, want := fi.Found(1), bytes.Contains(text, b); got != want {
			t.Errorf("%q in %q: %v", b, text, got)
		}
	})
}

// BenchmarkFinder shows that hostile texts cost as much per octet as any; ns/op is for 1 MiB.
func BenchmarkFinder(b *testing.B) {
	const size = 1 << 20
	as := strings.Repeat("a", size)
	fibonacci, next := "a", "ab"
	for len(next) < size {
		fibonacci, next = next, next+fibonacci
	}
	for _, bc := range []struct{ name, text, needle string }{
		{"english", strings.Repeat(english, size/len(english)), "quarterly"},
		{"english common", strings.Repeat(english, size/len(english)), "the reporter"},
		{"a^n in a^n b", as, strings.Repeat("a", 5000) + "b"},
		{"b a^n in a^n", as, "b" + strings.Repeat("a", 5000)},
		{"short", as, "aaaaab"},
		{"fibonacci", next, fibonacci[:4000] + "c"},
		{"prefixes", strings.Repeat("aaaaaaaaaaaaaaaab", size/17), "aaaaaaaaaaaaaaaac"},
		{"almost", strings.Repeat(strings.Repeat("a", 1000)+"c", size/1001), strings.Repeat("a", 1001)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.SetBytes(int64(len(bc.text)))
			text := []byte(bc.text)
			f := NewFinder([]byte(bc.needle))
			for b.Loop() {
				f.Reset()
				for rest := text; len(rest) > 0; {
					n := min(len(rest), 16<<10)
					_, _ = f.Write(rest[:n])
					rest = rest[n:]
				}
				if f.Found(0) {
					b.Fatal("found")
				}
			}
		})
	}
}
