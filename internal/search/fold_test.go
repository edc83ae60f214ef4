package search

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

func TestFoldEqual(t *testing.T) {
	for _, group := range [][]string{
		{"straße", "STRASSE", "Straße", "STRAẞE", "ｓｔｒａｓｓｅ"},
		{"é", "É", "e\u0301", "E\u0301"},
		{"ñandú", "ÑANDÚ", "n\u0303andu\u0301"},
		{"ABC123", "ａｂｃ１２３", "ＡＢＣ１２３", "𝐀𝐛𝒄①②③"},
		{"ﬁnance", "FINANCE", "finance"},
		{"ΣΊΣΥΦΟΣ", "σίσυφος", "Σίσυφοσ"},
		{"МОСКВА", "москва"},
		{"Й", "й", "И\u0306"},
		{"ガギグ", "ｶﾞｷﾞｸﾞ", "カ\u3099キ\u3099ク\u3099"},
		{"한글", "\u1112\u1161\u11ab\u1100\u1173\u11af"},
		{"ışık", "IŞIK", "is\u0327ik"},
		{"a b", "a  b", "a\tb", "a\r\nb", "a \r\n\t b", "a\u00a0b", "a\u3000\u2003b", "a\u2028b", "a \u200b b"},
		{"coöperate", "coo\u0308per\u00adate", "co\u200dö\u2060perate"},
		{"a\u0323\u0301", "a\u0301\u0323", "á\u0323", "ạ\u0301"},
		{"½", "1\u20442"},
		{"Ω", "\u2126", "ω"},
		{"K", "\u212a", "k"},
		{"Ǆ", "ǆ", "ǅ", "dž", "DŽ"},
		{"\U0001F600\ufe0f", "\U0001F600"},
		{"", "\u00ad", "\ufeff", "\u200b\u200c"},
		{"\xff", "\ufffd", "\xc3"},
		{"\xe2\x82", "\ufffd\ufffd"},
		{"\xe2\x82a", "\ufffd\ufffda"},
	} {
		want := Fold(nil, []byte(group[0]))
		for _, s := range group[1:] {
			if got := Fold(nil, []byte(s)); !bytes.Equal(got, want) {
				t.Errorf("%+q folds to %+q, but %+q to %+q", s, got, group[0], want)
			}
		}
	}
}

func TestFoldDifferent(t *testing.T) {
	for _, pair := range [][2]string{
		{"e", "é"}, {"a b", "ab"}, {" a", "a"}, {"o", "ö"}, {"o", "ø"}, {"1", "¹²"}, {"é", "è"}, {"\x00", ""}, {"i", "j"},
	} {
		if a, b := FoldString(pair[0]), FoldString(pair[1]); bytes.Equal(a, b) {
			t.Errorf("%q and %q both fold to %q", pair[0], pair[1], a)
		}
	}
}

func TestFoldAppends(t *testing.T) {
	got := Fold([]byte("X "), []byte(" Y"))
	if string(got) != "X  y" {
		t.Errorf("got %q: what is in dst must stay and have no influence", got)
	}
}

// Every character: folding is idempotent, decomposed, and the same for the composed and the decomposed form.
func TestFoldEveryRune(t *testing.T) {
	var f Folder
	fold := func(s []byte) []byte { return f.Flush(f.Append(nil, s)) }
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		s := []byte(string(r))
		once := fold(s)
		if !utf8.Valid(once) {
			t.Fatalf("%U folds to %q, which is not UTF-8", r, once)
		}
		if twice := fold(once); !bytes.Equal(once, twice) {
			t.Errorf("%U folds to %+q, and that to %+q", r, once, twice)
		}
		if !norm.NFKD.IsNormal(once) {
			t.Errorf("%U folds to %+q, which is not decomposed", r, once)
		}
		for _, form := range []norm.Form{norm.NFC, norm.NFD, norm.NFKC, norm.NFKD} {
			if got := fold(form.Bytes(s)); !bytes.Equal(got, once) {
				t.Errorf("%U folds to %+q, its normal form %+q to %+q", r, once, form.Bytes(s), got)
			}
		}
		if len(once) > maxExpansion*len(s) {
			t.Errorf("%U has %d octets, folded %d", r, len(s), len(once))
		}
	}
}

// maxExpansion is for tests and documentation: how many octets one octet of text can fold to (U+FDFA is the worst: 3
// octets become 33).
const maxExpansion = 11

func TestFoldManyMarks(t *testing.T) {
	s := []byte("a" + strings.Repeat("\u0301\u0323", 5000) + "b")
	got := Fold(nil, s)
	if len(got) != len(s) || !bytes.Equal(Fold(nil, got), got) {
		t.Errorf("%d octets fold to %d", len(s), len(got))
	}
}

// textGen makes text with all that folding has to do with: cases, compositions, marks, spaces, damage.
func textGen() *rapid.Generator[string] {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{
			"a", "B", "e", "S", " ", "  ", "\r\n", "\t", "ß", "ẞ", "é", "É", "e\u0301", "\u0301", "\u0323", "\u0345", "\u00ad", "\u200b",
			"\u00a0", "ﬁ", "Ａ", "İ", "ı", "ᾳ", "각", "漢", "ガ", "ｶﾞ", "й", "\xff", "\xe2", "\xe2\x82", "\x80", "\u00a8", "😀", "\ufe0f", "ǅ", "hello world",
		}),
		rapid.StringN(0, 4, -1),
		rapid.StringMatching(`[A-Za-z ]{0,20}`),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 5), func(b []byte) string { return string(b) }),
	)
	return rapid.Map(rapid.SliceOfN(piece, 0, 20), func(parts []string) string { return strings.Join(parts, "") })
}

func TestFoldProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := []byte(textGen().Draw(t, "text"))
		whole := Fold(nil, s)
		if !utf8.Valid(whole) {
			t.Fatalf("%q is not UTF-8", whole)
		}
		if again := Fold(nil, whole); !bytes.Equal(again, whole) {
			t.Fatalf("%+q folds again to %+q", whole, again)
		}
		if bytes.Contains(whole, []byte("  ")) {
			t.Fatalf("%+q has two spaces in a row", whole)
		}
		var f Folder
		var got []byte
		for rest := s; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			got = f.Append(got, rest[:n])
			rest = rest[n:]
		}
		if got = f.Flush(got); !bytes.Equal(got, whole) {
			t.Fatalf("in pieces %+q, as a whole %+q", got, whole)
		}
		if utf8.Valid(s) {
			if nfc := Fold(nil, norm.NFC.Bytes(s)); !bytes.Equal(nfc, whole) {
				t.Fatalf("%+q: composed text folds to %+q, not to %+q", s, nfc, whole)
			}
		}
	})
}

// The ASCII path must do what is done rune by rune.
func TestFoldASCIIModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[\x00-\x7f ]{0,40}`).Draw(t, "text")
		var want []byte
		for _, c := range []byte(strings.ToLower(s)) {
			if c == ' ' || '\t' <= c && c <= '\r' {
				if len(want) > 0 && want[len(want)-1] == ' ' {
					continue
				}
				c = ' '
			}
			want = append(want, c)
		}
		if got := Fold(nil, []byte(s)); !bytes.Equal(got, want) {
			t.Fatalf("%q folds to %q, want %q", s, got, want)
		}
	})
}

func FuzzFold(f *testing.F) {
	f.Add([]byte("Straße  É e\u0301"), uint(3))
	f.Add([]byte("\xe2\x82\xac \u0301\u0323"), uint(1))
	f.Fuzz(func(t *testing.T, s []byte, cut uint) {
		whole := Fold(nil, s)
		at := int(cut % uint(len(s)+1))
		var fo Folder
		got := fo.Append(nil, s[:at])
		got = fo.Flush(fo.Append(got, s[at:]))
		if !bytes.Equal(got, whole) {
			t.Errorf("cut at %d: %+q, whole: %+q", at, got, whole)
		}
		if again := Fold(nil, whole); !bytes.Equal(again, whole) {
			t.Errorf("%+q folds again to %+q", whole, again)
		}
		if len(whole) > maxExpansion*len(s)+utf8.UTFMax {
			t.Errorf("%d octets fold to %d", len(s), len(whole))
		}
	})
}

const (
	english = "The quick brown fox jumps over the lazy dog, said Alice to Bob on Tuesday.\r\nPlease find the report attached; the figures are in table 4 and the summary on page 12.\r\n\r\nKind regards\r\n"
	german  = "Sehr geehrte Damen und Herren, für die Übersendung der Unterlagen möchte ich mich herzlich bedanken. Die Straße ist gesperrt, daher verzögert sich die Lieferung.\r\n"
	russian = "Уважаемые коллеги, направляем вам отчёт за третий квартал. Просим сообщить о получении письма и подтвердить сроки поставки.\r\n"
	chinese = "各位同事大家好，附件是第三季度的报告，请查收。如有任何问题，请随时与我联系。谢谢大家的支持与配合！\r\n"
	korean  = "안녕하세요, 첨부된 보고서를 확인해 주시기 바랍니다. 궁금한 점이 있으면 언제든지 연락 주세요.\r\n"
)

func BenchmarkFold(b *testing.B) {
	for _, bc := range []struct{ name, text string }{
		{"ascii", english}, {"german", german}, {"russian", russian}, {"chinese", chinese}, {"korean", korean},
		{"shouting", strings.ToUpper(english)}, {"spaces", strings.Repeat("a  \r\n", 30)}, {"nbsp", strings.Repeat("word\u00a0", 40)},
	} {
		for _, size := range []int{60, 16 << 10} {
			text := []byte(strings.Repeat(bc.text, size/len(bc.text)+1))[:size]
			b.Run(fmt.Sprintf("%s/%d", bc.name, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				var f Folder
				var dst []byte
				for b.Loop() {
					dst = f.Flush(f.Append(dst[:0], text))
				}
			})
		}
	}
}
