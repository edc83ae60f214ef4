package search

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"mallard/internal/mail"
)

func TestCandidates(t *testing.T) {
	many := make(Or, 40)
	for i := range many {
		many[i] = Body(fmt.Sprint("needle", i))
	}
	pairs := func(prefix string, n int) Or {
		var or Or
		for i := range n {
			or = append(or, Body(fmt.Sprint(prefix, i)))
		}
		return or
	}
	for _, tc := range []struct {
		name string
		q    Query
		want string // alternatives by |, needles by &, ~ for one in the header or the text
	}{
		{"all", All{}, "*"},
		{"flags", Flags{Set: mail.Seen}, "*"},
		{"body", Body("Straße"), "strasse"},
		{"text", Text("Fox"), "~fox"},
		{"and", And{Body("fox"), Text("hen"), Flags{Set: mail.Seen}, Body("FOX")}, "~hen&fox"},
		{"or", Or{Body("fox"), Text("hen")}, "~hen|fox"},
		{"or with flags", Or{Body("fox"), Flags{Set: mail.Seen}}, "*"},
		{"or with nothing", Or{Body("fox"), Or{}}, "fox"},
		{"not", Not{Body("fox")}, "*"},
		{"nothing", Or{}, ""},
		{"and nothing", And{Body("fox"), Or{}}, ""},
		{"and of or", And{Or{Body("a"), Body("b")}, Body("c")}, "a&c|b&c"},
		{"and of or with flags", And{Or{Body("a"), Flags{Set: mail.Seen}}, Body("c")}, "c|a&c"},
		{"empty string", Body(""), "*"},
		{"words", ParseWords("fox hen", false), "~fox|~hen"},
		{"words every", ParseWords("fox hen -bear", true), "~fox&~hen"},
		{"too many", many, "*"},
		{"too many with another", And{many, Body("fox")}, "fox"},
		{"too many together", And{pairs("a", 10), pairs("b", 9)}, "b0|b1|b2|b3|b4|b5|b6|b7|b8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var alternatives []string
			for _, needles := range mustCompile(t, tc.q).Candidates() {
				var parts []string
				for _, n := range needles {
					s := string(n.Text)
					if !n.Body {
						s = "~" + s
					}
					parts = append(parts, s)
				}
				if len(parts) == 0 {
					parts = []string{"*"}
				}
				alternatives = append(alternatives, strings.Join(parts, "&"))
			}
			if got := strings.Join(alternatives, "|"); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestUIDs(t *testing.T) {
	few, many := UIDs(mail.OneUID(5)), UIDs(mail.UIDSet{{First: 1, Last: 100}})
	for _, tc := range []struct {
		name string
		q    Query
		want string
		ok   bool
	}{
		{"none", All{}, "", false},
		{"one", few, "5", true},
		{"the smaller", And{many, Flags{}, And{few}}, "5", true},
		{"empty", UIDs{}, "", true},
		{"not", Not{few}, "", false},
		{"or", Or{few, Flags{}}, "", false},
	} {
		set, ok := mustCompile(t, tc.q).UIDs()
		if set.String() != tc.want || ok != tc.ok {
			t.Errorf("%s: %s, %v", tc.name, set, ok)
		}
	}
}

func TestLimits(t *testing.T) {
	deep := Query(All{})
	for range 1_000_000 {
		deep = Not{deep}
	}
	wide := make(And, 3000)
	for i := range wide {
		wide[i] = All{}
	}
	strs := make(Or, 101)
	for i := range strs {
		strs[i] = Text(fmt.Sprint(i))
	}
	same := make(Or, 1000)
	for i := range same {
		same[i] = Text("same")
	}
	long := Header{"Subject", strings.Repeat("x", 64<<10)}
	for _, tc := range []struct {
		name    string
		q       Query
		refused bool
	}{
		{"deep", deep, true}, {"wide", wide, true}, {"wide enough", wide[:1999], false},
		{"strings", strs, true}, {"strings enough", strs[:100], false}, {"one string", same, false},
		{"long", long, false}, {"too long", And{long, Header{"To", "y"}}, true}, {"long text", Body(strings.Repeat("é", 64<<10)), true},
	} {
		if _, err := Compile(tc.q, Limits{}); errors.Is(err, ErrTooComplex) != tc.refused || (err != nil) != tc.refused {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if _, err := Compile(And{All{}, All{}}, Limits{Nodes: 2}); !errors.Is(err, ErrTooComplex) {
		t.Errorf("a limit that was set: %v", err)
	}
	if _, err := Compile(UIDFunc(nil), Limits{}); err == nil {
		t.Error("a nil function was accepted")
	}
	if _, err := Compile(&All{}, Limits{}); err == nil {
		t.Error("an unknown type was accepted")
	}
}

func TestParseWords(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{"  one  two\tthree ", "one two three"},
		{`"a phrase" word`, "[a phrase] word"},
		{`"not closed  `, "[not closed]"},
		{`one"two three"four`, "one [two three] four"},
		{`-no -"never this" yes`, "-no -[never this] yes"},
		{"a-b e-mail -", "a-b e-mail"},
		{"--x", "--x"},
		{`- "" ... !? -`, ""},
		{"€ c++ 漢字 5 a@b.example", "€ c++ 漢字 5 a@b.example"},
		{`"`, ""},
		{`-"`, ""},
		{"a\u00a0b\u3000c", "a b c"},
	} {
		var got []string
		for _, term := range ParseWords(tc.in, false).Terms {
			s := term.Text
			if term.Phrase {
				s = "[" + s + "]"
			}
			if term.Exclude {
				s = "-" + s
			}
			got = append(got, s)
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%q: %s, want %s", tc.in, s, tc.want)
		}
	}
}

func TestAsksRecord(t *testing.T) {
	seen, body := Flags{Set: mail.Seen}, Body("x")
	for name, tt := range map[string]struct {
		q    Query
		want bool
	}{
		"text":           {body, false},
		"not text":       {Not{body}, false},
		"text of UIDs":   {And{UIDs(mail.UIDSetOf(1, 2)), body}, false},
		"text and flags": {And{body, seen}, true},
		"text or flags":  {Or{body, Not{seen}}, true},
		"size":           {Larger(1), true},
	} {
		p, err := Compile(tt.q, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.AsksRecord(); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestNever(t *testing.T) {
	nothing, something := Or{}, Body("fox")
	for _, tc := range []struct {
		q    Query
		want bool
	}{
		{nil, false}, {All{}, false}, {nothing, true}, {something, false}, {UIDs{}, true}, {UIDs(mail.OneUID(1)), false},
		{And{something, nothing}, true}, {Or{something, nothing}, false}, {Or{nothing, And{nothing}}, true}, {And{}, false},
		{Not{nothing}, false}, {Not{All{}}, false}, // it need not know that
	} {
		if got := mustCompile(t, tc.q).Never(); got != tc.want {
			t.Errorf("%#v: %v", tc.q, got)
		}
	}
}
