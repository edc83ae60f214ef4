package redisbus

import (
	"slices"
	"strings"
	"testing"

	"mallard/internal/event"
	"mallard/internal/mail"
)

const (
	userHex = "6b02b4960dc41b48cba6210d"
	boxHex  = "6b02b5230dc41b48cba621eb"
	self    = "0123456789abcdef"
)

func ids(t *testing.T) (mail.AccountID, mail.MailboxID) {
	t.Helper()
	acct, ok1 := id[mail.AccountID](userHex)
	box, ok2 := id[mail.MailboxID](boxHex)
	if !ok1 || !ok2 {
		t.Fatal("bad identifiers")
	}
	return acct, box
}

// What is sent is what WildDuck sends, with members that it does not look at (seen with WildDuck 1.51.1).
func TestEncode(t *testing.T) {
	acct, box := ids(t)
	for _, tc := range []struct {
		e    event.Event
		want string
	}{
		{event.Event{Account: acct}, `{"e":"` + userHex + `","n":"` + self + `"}`},
		{event.Event{Account: acct, Mailbox: box}, `{"e":"` + userHex + `","n":"` + self + `","m":"` + boxHex + `"}`},
		{event.Event{Account: acct, Kind: event.Logout, Reason: `say "bye"`},
			`{"e":"` + userHex + `","p":{"command":"LOGOUT","reason":"say \"bye\""},"n":"` + self + `"}`},
		{event.Event{Account: acct, Kind: event.Logout}, `{"e":"` + userHex + `","p":{"command":"LOGOUT","reason":""},"n":"` + self + `"}`},
		{event.Event{Account: acct, Kind: event.Drop, Mailbox: box},
			`{"e":"` + userHex + `","p":{"command":"DROP","mailbox":"` + boxHex + `"},"n":"` + self + `"}`},
		{event.Event{Account: acct, Kind: event.Drop}, `{"e":"` + userHex + `","p":{"command":"DROP","mailbox":""},"n":"` + self + `"}`},
	} {
		got := encode(tc.e, self)
		if got != tc.want {
			t.Errorf("%+v:\n got %s\nwant %s", tc.e, got, tc.want)
		}
		if back, ok := decode(got, "another"); !ok || back != tc.e {
			t.Errorf("%s: decoded as %+v, %t", got, back, ok)
		}
		if _, ok := decode(got, self); ok {
			t.Errorf("%s: an own event came back", got)
		}
	}
}

// The texts are those that a WildDuck sent, and some that nobody sends.
func TestDecode(t *testing.T) {
	acct, box := ids(t)
	for _, tc := range []struct {
		text string
		want event.Event
		ok   bool
	}{
		{`{"e":"` + userHex + `"}`, event.Event{Account: acct}, true},
		{`{ "e" : "` + userHex + `" }`, event.Event{Account: acct}, true},
		{`{"e":"` + userHex + `","p":{"command":"LOGOUT","reason":"Authentication required"}}`,
			event.Event{Account: acct, Kind: event.Logout, Reason: "Authentication required"}, true},
		{`{"e":"` + userHex + `","p":{"command":"DROP","mailbox":"` + boxHex + `"}}`, event.Event{Account: acct, Kind: event.Drop, Mailbox: box}, true},
		{`{"e":"` + userHex + `","p":{"command":"DROP","mailbox":null}}`, event.Event{Account: acct, Kind: event.Drop}, true},
		{`{"e":"` + userHex + `","p":{"command":"NEWER"}}`, event.Event{Account: acct}, true},
		{`{"e":"` + userHex + `","p":null,"m":"x"}`, event.Event{Account: acct}, true},
		{`{"e":"` + userHex + `","p":{"command":"LOGOUT","reason":"` + strings.Repeat("ä", 1000) + `"}}`,
			event.Event{Account: acct, Kind: event.Logout, Reason: strings.Repeat("ä", 512)}, true},
		{`{"e":"6b02b4960dc41b48cba6210x"}`, event.Event{}, false},
		{`{"e":"000000000000000000000000"}`, event.Event{}, false},
		{`{"e":"` + userHex, event.Event{}, false},
		{`{"e":12}`, event.Event{}, false},
		{`[]`, event.Event{}, false},
		{``, event.Event{}, false},
		{`{"e":"` + userHex + `","x":"` + strings.Repeat("x", maxPayload) + `"}`, event.Event{}, false},
	} {
		got, ok := decode(tc.text, self)
		if ok != tc.ok || ok && got != tc.want {
			t.Errorf("%.200s: got %+v, %t", tc.text, got, ok)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"e":"` + userHex + `"}`)
	f.Add(`{"e":"` + userHex + `","p":{"command":"DROP","mailbox":"` + boxHex + `"},"n":"1","m":"` + boxHex + `"}`)
	f.Fuzz(func(t *testing.T, text string) {
		e, ok := decode(text, self)
		if !ok {
			return
		}
		if e.Account.IsZero() || e.Kind > event.Drop || len(e.Reason) > maxReason {
			t.Fatalf("%q gives %+v", text, e)
		}
		if again, ok := decode(encode(e, "another"), self); !ok || again.Account != e.Account || again.Kind != e.Kind || again.Mailbox != e.Mailbox {
			t.Fatalf("%+v is sent as %+v", e, again)
		}
	})
}

func TestQueue(t *testing.T) {
	acct := func(n byte) mail.AccountID { return mail.AccountID{n} }
	q := newQueue(4)
	put := func(e event.Event, want error) {
		t.Helper()
		if err := q.put(e); err != want {
			t.Errorf("put %+v: %v, want %v", e, err, want)
		}
	}
	put(event.Event{Account: acct(1), Mailbox: mail.MailboxID{1}}, nil)
	put(event.Event{Account: acct(1), Mailbox: mail.MailboxID{1}}, nil) // merged
	put(event.Event{Account: acct(2)}, nil)
	put(event.Event{Account: acct(2), Mailbox: mail.MailboxID{1}}, nil) // covered
	put(event.Event{Account: acct(3)}, nil)
	put(event.Event{Account: acct(4)}, nil)
	put(event.Event{Account: acct(5)}, errFull)
	for n := range byte(4) {
		put(event.Event{Account: acct(n), Kind: event.Logout, Reason: "x"}, nil)
	}
	put(event.Event{Account: acct(9), Kind: event.Drop}, errFull)
	events, lost := q.take(2)
	if len(events) != 2 || events[0].Account != acct(1) || events[1].Account != acct(2) || !lost {
		t.Errorf("took %+v, lost %t", events, lost)
	}
	put(event.Event{Account: acct(0), Kind: event.Logout, Reason: "y"}, nil) // waits already
	put(event.Event{Account: acct(2), Kind: event.Logout, Reason: "y"}, nil)
	put(event.Event{Account: acct(2)}, errFull) // the room that is left is for others
	q.giveBack(events, lost)
	q.giveBack(slices.Clone(events), false)
	if q.len() != 8 {
		t.Errorf("%d wait, want 8: equal events are one", q.len())
	}
	if events, lost = q.take(100); len(events) != 8 || !lost || events[0].Account != acct(1) || q.len() != 0 {
		t.Errorf("took %+v, lost %t", events, lost)
	}
	if events, lost = q.take(100); len(events) != 0 || lost {
		t.Errorf("took %+v, lost %t of nothing", events, lost)
	}
}
