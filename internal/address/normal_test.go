package address

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNormalize(t *testing.T) {
	for _, tc := range []struct {
		in   string
		opts []Option
		want string
	}{
		{"First.Last+tag@XN--JGEVA-DUA.ee", nil, "first.last+tag@jõgeva.ee"},
		{"First.Last+tag@XN--JGEVA-DUA.ee", []Option{RemoveLabel, RemoveDots}, "firstlast@jõgeva.ee"},
		{"First.Last+tag@XN--JGEVA-DUA.ee", []Option{RemoveLabel}, "first.last@jõgeva.ee"},
		{"First.Last+tag@XN--JGEVA-DUA.ee", []Option{RemoveDots}, "firstlast+tag@jõgeva.ee"},
		{"a+b+c@x.y", []Option{RemoveLabel}, "a@x.y"},
		{"+b@x.y", []Option{RemoveLabel}, "@x.y"},
		{"a.b@mail.xn--jgeva-dua.ee", nil, "a.b@mail.jõgeva.ee"},
		{"odd@local@x.y", nil, "odd@local@x.y"},
		{"Example.COM", nil, "@example.com"},
		{"", nil, "@"},
		{" A@B.C ", nil, "a@b.c"},
		{"a @ b.c", nil, "a@b.c"},
		{"\u00a0a\ufeff@b.c", nil, "a@b.c"},
		{"o\u0303@jo\u0303geva.ee", nil, "õ@jõgeva.ee"},
		{"JÕGI.X@JÕGEVA.test", nil, "jõgi.x@jõgeva.test"},
		{"ΣΑΣ@x.y", nil, "σας@x.y"},
		{"\u0130nfo@x.y", nil, "i\u0307nfo@x.y"}, // not "info"
		{"\u212aim@x.y", nil, "kim@x.y"},         // KELVIN SIGN is K in NFC
		{"a\xff@x.y", nil, "a\ufffd@x.y"},
		{"a.b@user.name@x.y", []Option{RemoveDots}, "ab@username@x.y"},
	} {
		if got := Normalize(tc.in, tc.opts...); got != tc.want {
			t.Errorf("Normalize(%q, %v) = %q, want %q", tc.in, tc.opts, got, tc.want)
		}
	}
}

func TestNormalizeDomain(t *testing.T) {
	long := strings.Repeat("xn--jgeva-dua.", 30) + "ee"
	for in, want := range map[string]string{
		" EXAMPLE.com ":           "example.com",
		"xn--jgeva-dua.ee":        "jõgeva.ee",
		"mail.XN--jgeva-dua.ee":   "mail.jõgeva.ee",
		"xn--fa-hia.de":           "faß.de", // no mapping to ss
		"JÕGEVA.ee":               "jõgeva.ee",
		"xn--":                    "xn--",
		"xn--.de":                 "xn--.de",
		"xn--example-.com":        "xn--example-.com", // must not become example.com
		"xn--a@.com":              "xn--a@.com",
		"xn--99999999.com":        "xn--99999999.com",
		"xn--jgeva-dua.xn--!.com": "xn--jgeva-dua.xn--!.com",
		"a-xn--jgeva-dua.ee":      "a-xn--jgeva-dua.ee", // no ACE prefix at the start
		"xn--80ak6aa92e.com":      "аррӏе.com",          // Cyrillic, stays apart from apple.com
		long:                      long,
		"":                        "",
		"*":                       "*",
	} {
		if got := NormalizeDomain(in); got != want {
			t.Errorf("NormalizeDomain(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestView(t *testing.T) {
	for in, want := range map[string]string{
		"Jane.Roe":                "janeroe",
		"carol.c":                 "carolc",
		"a.b.c@mail.example.com":  "abc@mail.example.com",
		"a+b.c@x.y":               "a+bc@x.y",
		"a.b@c.d@x.y":             "ab@c.d@x.y", // the first "@" counts here
		"info.x*@example.com":     "infox*@example.com",
		"jõgi.x@jõgeva.test":      "jõgix@jõgeva.test",
		"":                        "",
		"...":                     "",
		"user.name=x@example.com": "username=x@example.com",
	} {
		if got := View(in); got != want {
			t.Errorf("View(%q) = %q, want %q", in, got, want)
		}
	}
	if got := LookupView("First.Last+tag@XN--JGEVA-DUA.ee"); got != "firstlast@jõgeva.ee" {
		t.Errorf("LookupView = %q", got)
	}
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{
		"First.Last+tag@XN--JGEVA-DUA.ee", "a@xn--example-.com", "\u0130.\u0316@x", "a.\u0301+b@\u3002", "Σ.@Σ", "ǅ@ǅ", "@", "a\xff@\xfe",
		"xn--xn--é@xn--xn--kkk-abc", "o\u0303@jo\u0303geva.ee", "\u1fb3.\u0345@x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, opts := range [][]Option{nil, {RemoveLabel}, {RemoveDots}, {RemoveLabel, RemoveDots}} {
			once := Normalize(s, opts...)
			if twice := Normalize(once, opts...); twice != once {
				t.Errorf("Normalize(%q, %v) = %q, again %q", s, opts, once, twice)
			}
			if !utf8.ValidString(once) {
				t.Errorf("Normalize(%q) = %q is not UTF-8", s, once)
			}
		}
		if d := NormalizeDomain(s); NormalizeDomain(d) != d {
			t.Errorf("NormalizeDomain(%q) = %q, again %q", s, d, NormalizeDomain(d))
		}
		v := LookupView(s)
		if View(v) != v {
			t.Errorf("View(%q) = %q", v, View(v))
		}
		if local, _, _ := strings.Cut(v, "@"); strings.ContainsAny(local, ".+") {
			t.Errorf("LookupView(%q) = %q", s, v)
		}
	})
}
