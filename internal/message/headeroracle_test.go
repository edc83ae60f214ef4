package message

import (
	"math/rand/v2"
	"mime"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestHeaderOracle has well-formed values written by the standard library and
// compares what is read with what was meant, and with what that library reads.
func TestHeaderOracle(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 7))
		checkWords(t, r)
		checkAddressList(t, r)
		checkParams(t, r)
		checkDate(t, r)
	}
}

// phrase makes text of letters of many scripts, with what is special in
// headers in between.
func phrase(r *rand.Rand, most int) string {
	letters := []rune("abcXYZ0189 äöüß€日本語шабуאב😀,;:.\"\\()<>@[]=?_'*%")
	out := make([]rune, 1+r.IntN(most))
	for i := range out {
		out[i] = letters[r.IntN(len(letters))]
	}
	return strings.Join(strings.Fields("x"+string(out)+"y"), " ")
}

func checkWords(t *testing.T, r *rand.Rand) {
	t.Helper()
	want := phrase(r, 120)
	for _, enc := range []mime.WordEncoder{mime.QEncoding, mime.BEncoding} {
		s := enc.Encode("utf-8", want)
		if !strings.Contains(s, "=?utf-8?") {
			continue // nothing to encode; then "=?" may be what it looks like
		}
		folded := strings.ReplaceAll(s, " ", "\r\n ")
		for _, in := range []string{s, folded} {
			if got := DecodeHeader([]byte(in)); got != want {
				t.Fatalf("DecodeHeader(%q) = %q, want %q", in, got, want)
			}
		}
	}
}

func checkAddressList(t *testing.T, r *rand.Rand) {
	t.Helper()
	var in []string
	var want []Address
	for range 1 + r.IntN(5) {
		a := mail.Address{Address: []string{"a@b.c", "first.last+tag@sub.example.org", "a b@c.d", "ü@jõgeva.ee"}[r.IntN(4)]}
		if r.IntN(4) > 0 {
			a.Name = phrase(r, 20)
		}
		in = append(in, a.String())
		at := strings.LastIndexByte(a.Address, '@')
		want = append(want, Address{Name: a.Name, Mailbox: a.Address[:at], Host: a.Address[at+1:]})
	}
	for _, sep := range []string{", ", ",", ",\r\n ", " ,\r\n\t"} {
		list := strings.Join(in, sep)
		if got := DecodeAddresses(ParseAddressList([]byte(list))); !slices.Equal(got, want) {
			t.Fatalf("addresses of %q: %+v, want %+v", list, got, want)
		}
	}
}

func checkParams(t *testing.T, r *rand.Rand) {
	t.Helper()
	want := map[string]string{}
	for range r.IntN(4) {
		want[[]string{"charset", "name", "filename", "boundary", "x-p"}[r.IntN(5)]] = phrase(r, 200)
	}
	s := mime.FormatMediaType("application/x-type", want)
	if s == "" {
		return // a value that the library does not write
	}
	if _, back, err := mime.ParseMediaType(s); err != nil || len(back) != len(want) {
		t.Fatalf("the oracle cannot read %q: %v", s, err)
	}
	typ, params := parseMediaType(strings.ReplaceAll(s, "; ", ";\r\n "), 100)
	got := map[string]string{}
	for _, p := range params {
		got[strings.ToLower(strings.TrimSuffix(p.Name, "*"))] = DecodeParam(p)
	}
	for k, v := range want {
		// Encoded words are decoded in plain parameters, which mailers write.
		if strings.Contains(v, "=?") {
			continue
		}
		if got[k] != v {
			t.Fatalf("%q: %s is %q, want %q", s, k, got[k], v)
		}
	}
	if typ != "application/x-type" || len(got) != len(want) {
		t.Fatalf("%q: %s, %q, want %q", s, typ, got, want)
	}
}

func checkDate(t *testing.T, r *rand.Rand) {
	t.Helper()
	zone := time.FixedZone("", 900*(r.IntN(105)-48))
	want := time.Unix(r.Int64N(4e9), 0).In(zone)
	for _, layout := range []string{
		time.RFC1123Z, "2 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05 -0700 (MST)", "Mon, 02 Jan 2006 15:04 -0700", "2 Jan 06 15:04:05 -0700",
	} {
		s := want.Format(layout)
		oracle, err := mail.ParseDate(s)
		if err != nil {
			continue // it reads fewer forms
		}
		if got, ok := ParseDate(s); !ok || !got.Equal(oracle) && !strings.Contains(layout, " 06 ") {
			t.Fatalf("ParseDate(%q) = %v, want %v", s, got, oracle)
		}
	}
}
