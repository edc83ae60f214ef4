package imap

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
)

// someNames makes listed names of few different levels.
func someNames(rng *rand.Rand, n int) []listed {
	var all []listed
	for range n {
		levels := make([]string, 1+rng.IntN(5))
		for i := range levels {
			levels[i] = []string{"a", "ab", "a b", "a.b", "b", "\u00e4", "0", mail.Inbox}[rng.IntN(8)]
		}
		l := listed{name: strings.Join(levels, mail.Separator), subscribed: rng.IntN(4) == 0}
		if rng.IntN(3) == 0 {
			l.box = &mail.Mailbox{SpecialUse: []mail.SpecialUse{"", mail.UseSent}[rng.IntN(2)]}
		}
		all = append(all, l)
	}
	return all
}

// The levels above a selected name are those for which there is one below.
func TestAbove(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		all := someNames(rng, 1+rng.IntN(30))
		sel := &imapwire.ListSelect{RecursiveMatch: rng.IntN(4) > 0, Subscribed: rng.IntN(2) == 0, SpecialUse: rng.IntN(2) == 0}
		marked := above(all, sel)
		for _, l := range append(someNames(rng, 20), all...) {
			want := sel.RecursiveMatch && slices.ContainsFunc(all, func(o listed) bool { return mail.IsInferior(o.name, l.name) && selects(&o, sel) })
			if marked[l.name] != want {
				t.Fatalf("%+v: something below %q: %v, want %v", sel, l.name, marked[l.name], want)
			}
		}
	}
}

// Names are in the order of their levels.
func TestCompareNames(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	inbox := func(n string) int {
		if n == mail.Inbox || strings.HasPrefix(n, mail.Inbox+mail.Separator) {
			return 0
		}
		return 1
	}
	for range 20_000 {
		pair := someNames(rng, 2)
		a, b := pair[0].name, pair[1].name
		want := cmp.Or(inbox(a)-inbox(b), slices.Compare(strings.Split(a, mail.Separator), strings.Split(b, mail.Separator)))
		if got := compareNames(a, b); cmp.Compare(got, 0) != cmp.Compare(want, 0) {
			t.Fatalf("%q and %q: %d, want %d", a, b, got, want)
		}
	}
}
