package imapwire

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestUTF7(t *testing.T) {
	for plain, wire := range map[string]string{
		"":                       "",
		"INBOX":                  "INBOX",
		"Tom & Jerry":            "Tom &- Jerry",
		"~peter/mail/台北/日本語":     "~peter/mail/&U,BTFw-/&ZeVnLIqe-",
		"Räksmörgås":             "R&AOQ-ksm&APY-rg&AOU-s",
		"Größe":                  "Gr&APYA3w-e",
		"Отправленные":           "&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-",
		"😀":                      "&2D3eAA-",
		"a😀b":                    "a&2D3eAA-b",
		"&&":                     "&-&-",
		"ä&ö":                    "&AOQ-&-&APY-",
		"\u00a0":                 "&AKA-",
		strings.Repeat("日本語", 3): "&ZeVnLIqeZeVnLIqeZeVnLIqe-",
	} {
		if got := string(AppendUTF7(nil, plain)); got != wire {
			t.Errorf("encode %q: got %q, want %q", plain, got, wire)
		}
		if got, err := DecodeUTF7(wire); err != nil || got != plain {
			t.Errorf("decode %q: got %q, %v", wire, got, err)
		}
	}
	for wire, plain := range map[string]string{
		"Räk&AOQ-":   "Räkä", // bare UTF-8 beside shifts
		"&AEE-":      "A",    // needless shift
		"&AOQ-&AOQ-": "ää",   // shifts side by side
	} {
		if got, err := DecodeUTF7(wire); err != nil || got != plain {
			t.Errorf("decode %q: got %q, %v", wire, got, err)
		}
	}
}

func TestUTF7Invalid(t *testing.T) {
	for _, wire := range []string{
		"&", "R&D", "&AOQ", "&AOQ ", "&A-", "&AO-", "&AOR-", "&AOQA-", "&AOQ=-", "&AO/-", "&!-",
		"&2D0-", "&3gA-", "&2D0AQQ-", "&2D3YPQ-", // broken surrogates
		"&AAA-", "&AA0ACg-", "&AH8-", "a\rb", "a\nb", "a\x00b", "a\x7fb", // control characters
		"\xff", "r\xe4k", "&AOQ-\xff",
	} {
		if got, err := DecodeUTF7(wire); err == nil {
			t.Errorf("%q was accepted as %q", wire, got)
		}
	}
}

func TestUTF7RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringOf(rapid.Rune()).Draw(t, "name")
		wire := AppendUTF7(nil, name)
		for _, c := range wire {
			if c < 0x20 || c > 0x7e {
				t.Fatalf("%q encodes to %q", name, wire)
			}
		}
		got, err := DecodeUTF7(string(wire))
		if control := strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f }); control {
			if err == nil {
				t.Fatalf("control character in %q was accepted", got)
			}
			return
		}
		if err != nil || got != name {
			t.Fatalf("%q encodes to %q and decodes to %q, %v", name, wire, got, err)
		}
	})
}

func FuzzUTF7(f *testing.F) {
	for _, s := range []string{"&ZeVnLIqe-", "&2D3eAA-", "&-", "&AOQ", "Räk&AOQ-", "&AAA-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := DecodeUTF7(s)
		if err != nil {
			return
		}
		if !utf8.ValidString(name) || strings.ContainsAny(name, "\r\n\x00") {
			t.Fatalf("%q decodes to %q", s, name)
		}
		wire := string(AppendUTF7(nil, name))
		if again, err := DecodeUTF7(wire); err != nil || again != name {
			t.Fatalf("%q is %q on the wire and decodes to %q, %v", name, wire, again, err)
		}
	})
}
