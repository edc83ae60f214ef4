package mailbox

import (
	"slices"
	"strings"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/store/memstore"
)

// What can be subscribed, what its deletion leaves, and how much of that.
func TestSubscriptions(t *testing.T) {
	f := newFixture(t, memstore.Options{}, nil)
	f.maxNameOctets = 10
	names := func(want ...string) {
		t.Helper()
		_, got, err := f.Subscriptions(t.Context(), f.acct)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("subscribed names without a mailbox are %q, want %q (%v)", got, want, err)
		}
	}
	subscribe := func(name string, on bool, want mail.Code) {
		t.Helper()
		err := f.SetSubscribed(t.Context(), f.acct, name, on)
		if (err == nil) != (want == mail.CodeInternal) || err != nil && mail.CodeOf(err) != want {
			t.Errorf("subscribe %.20q %v: %v, want %v", name, on, err, want)
		}
	}
	const fine = mail.CodeInternal
	ids := map[string]mail.MailboxID{}
	for _, in := range []mail.Mailbox{{Path: "a/b/c"}, {Path: "hidden/x", Hidden: true}, {Path: "veil", Hidden: true, Subscribed: true}, {Path: "veil/seen"}, {Path: "solo", Subscribed: true}} {
		b, err := f.Create(t.Context(), f.acct, in, false)
		if err != nil {
			t.Fatal(err)
		}
		ids[in.Path] = b.ID
	}
	for _, tc := range []struct {
		name string
		code mail.Code
	}{
		{"/a/b/c/", fine}, {"a/b", fine}, {"a", fine}, {"a", fine}, // levels above a mailbox
		{"a/b/c/d", mail.CodeNoMailbox}, {"A", mail.CodeNoMailbox}, {"", mail.CodeNoMailbox}, {"a//b", mail.CodeNoMailbox}, {"x\xff", mail.CodeNoMailbox},
		{"hidden", mail.CodeNoMailbox}, {"hidden/x", mail.CodeNoMailbox}, {"veil", mail.CodeNoMailbox}, {strings.Repeat("x/", mail.MaxNameDepth) + "x", mail.CodeNoMailbox},
	} {
		subscribe(tc.name, true, tc.code)
		if tc.code != fine {
			subscribe(tc.name, false, fine)
		}
	}
	names("a", "a/b")
	if b, err := f.Get(t.Context(), f.acct, ids["veil"]); err != nil || !b.Subscribed {
		t.Errorf("who does not see a mailbox has ended its subscription: %+v, %v", b, err)
	}
	if err := f.Delete(t.Context(), f.acct, ids["a/b/c"], true); err != nil {
		t.Fatal(err)
	}
	names("a", "a/b", "a/b/c")
	subscribe("a/b/c", true, fine) // it is
	if err := f.Delete(t.Context(), f.acct, ids["solo"], true); err != nil {
		t.Fatal(err)
	}
	names("a", "a/b", "a/b/c") // no room for more
	subscribe("a/b", false, fine)
	b, err := f.Create(t.Context(), f.acct, mail.Mailbox{Path: "p/q", Subscribed: true}, false)
	if err != nil {
		t.Fatal(err)
	}
	subscribe("p", true, fine)
	if err := f.Delete(t.Context(), f.acct, b.ID, false); err != nil {
		t.Fatal(err)
	}
	names("a", "a/b/c", "p") // without its name
	if _, err = f.Create(t.Context(), f.acct, mail.Mailbox{Path: "level/q"}, false); err != nil {
		t.Fatal(err)
	}
	subscribe("level", true, mail.CodeLimit)
	subscribe("level/q", true, fine) // a mailbox takes no room
	names("a", "a/b/c", "p")
}

// What fails is told, and changes nothing.
func TestSubscribeInTrouble(t *testing.T) {
	broken := ""
	f := newFixture(t, memstore.Options{Fault: func(op string) error {
		if op == broken {
			return mail.NewError(mail.CodeUnavailable, "broken")
		}
		return nil
	}}, nil)
	for _, broken = range []string{"MailboxByPath", "Subscriptions", "Subscribe"} {
		name := "Other"
		if broken == "Subscriptions" {
			name = "nothere"
		}
		if err := f.SetSubscribed(t.Context(), f.acct, name, true); mail.CodeOf(err) != mail.CodeUnavailable {
			t.Errorf("%s fails: %v", broken, err)
		}
	}
}
