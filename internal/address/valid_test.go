package address

import (
	"slices"
	"strings"
	"testing"
)

func TestValidUsername(t *testing.T) {
	valid := []string{
		"a", "alice", "jane.roe", "a-b", "-", "a_b", "a=b:c.d_e", "bob@example.com", "a.b@c.d", "me@localhost",
		strings.Repeat("a", MaxUsername), "5f0123456789abcdef012345",
	}
	invalid := []string{
		"", ".", ".a", "a.", "a..b", "a._b", "a b", "A", "õ", "a@", "@a", "a@b@c", "a@b..c", "a+b", "a*b", "a@.b", "a/b", "a\x00b", "a\n",
		strings.Repeat("a", MaxUsername+1),
	}
	for _, s := range valid {
		if !ValidUsername(s) {
			t.Errorf("ValidUsername(%q) = false", s)
		}
	}
	for _, s := range invalid {
		if ValidUsername(s) {
			t.Errorf("ValidUsername(%q) = true", s)
		}
	}
}

func TestValidEmail(t *testing.T) {
	valid := []string{
		"a@b.c", "alice@example.com", "A.B+c@Example.COM", "me@localhost", "jõgi@jõgeva.test", "a@xn--jgeva-dua.test",
		"!#$%&'*+-/=?^_`{|}~@x.y", "用户@例子.公司", "a@" + strings.Repeat("a", 63) + ".test", strings.Repeat("a", MaxLocal) + "@x.y", "i@i❤.ws",
		"a@1.2",
	}
	invalid := []string{
		"", "a", "@", "a@", "@b.c", "a@b..c", "a@.b", "a@b.", "a..b@c.d", ".a@b.c", "a.@b.c", "a b@c.d", `"a b"@c.d`, "a@[192.0.2.1]",
		"a@-b.c", "a@b-.c", "a@b_c.d", "a@b@c.d", "a\x00@b.c", "a\r\n@b.c", "a\u200b@b.c", "a\u00a0@b.c", "\ufffd@b.c", "\xff@b.c", "a@\xff.c",
		"a@b\u3002c.d", "a@b\u200d.c", "a@b.*", "a@*", "a,b@c.d", "a<b@c.d", "a\\b@c.d",
		strings.Repeat("a", MaxLocal+1) + "@x.y", "a@" + strings.Repeat("a", 64) + ".test", "a@" + strings.Repeat("õ", 60) + "x.test",
		"a@" + strings.Repeat("a.", 128) + "b",
	}
	for _, s := range valid {
		if !ValidEmail(s) {
			t.Errorf("ValidEmail(%q) = false", s)
		}
		if !EmailOrWildcard(s) {
			t.Errorf("EmailOrWildcard(%q) = false", s)
		}
	}
	for _, s := range invalid {
		if ValidEmail(s) {
			t.Errorf("ValidEmail(%q) = true", s)
		}
	}
}

func TestValidWildcard(t *testing.T) {
	part := strings.Repeat("a", MaxWildcardPart)
	for s, want := range map[string]bool{
		"*@wild.test":             true,
		"roaming@*":               true,
		"first.last@*":            true,
		"*suf@wild.test":          true,
		"info*@example.com":       true,
		"õ*@jõgeva.test":          true,
		"*" + part + "@x.y":       true,
		part + "*@x.y":            true,
		"*" + part + "b@x.y":      false,
		part + "b*@x.y":           false,
		"*..a@x.y":                false, // an empty atom
		"a." + part[1:] + "*@x.y": true,  // dots do not count
		"*a*@wild2.test":          false,
		"a*b@example.com":         false,
		"*@*":                     false,
		"a@b.c":                   false,
		"a@*.com":                 false,
		"*":                       false,
		"*@":                      false,
		"@*":                      false,
		"a@b@*":                   false,
	} {
		if got := ValidWildcard(s); got != want {
			t.Errorf("ValidWildcard(%q) = %v", s, got)
		}
	}
	for s, want := range map[string]bool{
		"*a*@wild2.test": true, "roaming@*": true, "*@x.y": true, "a@*.com": false, "*": false, "*@*": true, "no": false,
	} {
		if got := EmailOrWildcard(s); got != want {
			t.Errorf("EmailOrWildcard(%q) = %v", s, got)
		}
	}
}

func TestWildcardCandidates(t *testing.T) {
	got := WildcardCandidates("abc", "d", "")
	want := []string{"abc*@d", "ab*@d", "*abc@d", "a*@d", "*bc@d", "*c@d", "*@d", "abc@*"}
	if !slices.Equal(got, want) {
		t.Errorf("candidates = %q", got)
	}
	got = WildcardCandidates("õx", "alias", "real")
	want = []string{
		"õx*@alias", "õ*@alias", "*õx@alias", "*x@alias", "*@alias",
		"õx*@real", "õ*@real", "*õx@real", "*x@real", "*@real", "õx@*",
	}
	if !slices.Equal(got, want) {
		t.Errorf("candidates = %q", got)
	}
	for _, local := range []string{"", "*", "a*"} {
		if got := WildcardCandidates(local, "d", "e"); got != nil {
			t.Errorf("candidates of %q = %q", local, got)
		}
	}
	local := strings.Repeat("x", 64)
	got = WildcardCandidates(local, "d", "e")
	if len(got) != 2*(2*MaxWildcardPart+1)+1 {
		t.Errorf("%d candidates of a long local part", len(got))
	}
	if got[0] != local[:MaxWildcardPart]+"*@d" {
		t.Errorf("first candidate of a long local part: %q", got[0])
	}
}

// FuzzValid holds the validity rules against each other: what passes stays valid
// in its normal form, and every candidate of a valid address is a wildcard that
// could be stored.
func FuzzValid(f *testing.F) {
	for _, s := range []string{"a@b.c", "*@b.c", "a@*", "a.b*@x.y", "*suf@x.y", "õ@jõgeva.ee", "a@xn--jgeva-dua.ee", "I\u0307.x@y", "ﬁ@x.y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !ValidEmail(s) {
			return
		}
		n := Normalize(s, RemoveLabel, RemoveDots)
		local, domain := Split(n)
		if local == "" || IsWildcard(n) || !ValidEmail(n) {
			return // lower case can make a local part longer than the limit
		}
		seen := map[string]bool{}
		for _, c := range WildcardCandidates(local, domain, "") {
			if !ValidWildcard(c) || View(c) != c || seen[c] {
				t.Errorf("candidate %q of %q", c, s)
			}
			seen[c] = true
		}
	})
}
