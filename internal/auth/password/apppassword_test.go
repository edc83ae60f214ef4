package password

import (
	"strings"
	"testing"
)

func TestNewAppPassword(t *testing.T) {
	seen := make(map[string]bool)
	var count [26]int
	for range 2000 {
		p := NewAppPassword()
		if normal, ok := AppPassword(p); !ok || normal != p {
			t.Fatalf("%q is not an application password", p)
		}
		if seen[p] {
			t.Fatalf("%q made twice", p)
		}
		seen[p] = true
		for _, c := range p {
			count[c-'a']++
		}
	}
	// 32,000 letters: 1,231 of each, standard deviation 34. Seven of them are never seen by chance; a generator that takes
	// a random octet modulo 26 favours some letters by 11 per cent.
	for i, n := range count {
		if n < 1231-240 || n > 1231+240 {
			t.Errorf("letter %c came %d times of 32000", 'a'+i, n)
		}
	}
}

func TestAppPassword(t *testing.T) {
	for _, tc := range []struct {
		typed, normal string
		ok            bool
	}{
		{"abcdefghijklmnop", "abcdefghijklmnop", true},
		{"abcd efgh ijkl mnop", "abcdefghijklmnop", true},
		{" ABCD\tefgh\u00a0ijkl\nmnop\u3000", "abcdefghijklmnop", true},
		{"abcdefghijklmno", "", false},
		{"abcdefghijklmnopq", "", false},
		{"abcdefghijklmno1", "", false},
		{"abcd-efgh-ijkl-mnop", "", false},
		{"abcdefghijklmné", "", false},
		{"", "", false},
		{strings.Repeat(" ", MaxLength) + "abcdefghijklmnop", "", false},
	} {
		if normal, ok := AppPassword(tc.typed); normal != tc.normal || ok != tc.ok {
			t.Errorf("AppPassword(%q) = %q, %v", tc.typed, normal, ok)
		}
	}
}

// The first is recorded from WildDuck; the others are the same sum made with python3 hashlib.
func TestSelector(t *testing.T) {
	for password, want := range map[string]string{
		"abcdefghijklmnop": "c",
		"qwertyuiopasdfgh": "1d",
		"zzzzzzzzzzzzzzzz": "1a",
		"ABCD efgh":        "b",
	} {
		if got := Selector(password); got != want {
			t.Errorf("Selector(%q) = %q, want %q", password, got, want)
		}
	}
}
