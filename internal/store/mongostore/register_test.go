package mongostore

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/store"
)

// parsedContent is a message with the summary that it has.
func parsedContent(t testing.TB, text string) *store.Content {
	t.Helper()
	c := contentOf([]byte(text))
	m, err := message.ParseBytes([]byte(text), message.DefaultLimits())
	must(t, err)
	sum := m.Summary()
	c.Summary = message.AppendSummary(nil, &sum)
	return c
}

func (s *Store) appendText(t testing.TB, acct mail.AccountID, mbox mail.MailboxID, flags mail.Flags, text string) {
	t.Helper()
	st, err := s.Stage(t.Context(), parsedContent(t, text))
	must(t, err)
	_, err = s.Append(t.Context(), acct, mbox, []store.Append{{Staged: st, InternalDate: time.Now(), Flags: flags}})
	must(t, err)
	must(t, st.Close())
}

// Who one has mail with is registered, as WildDuck does it.
func TestAddressesAreRegistered(t *testing.T) {
	now := time.UnixMilli(1795339472236)
	s := openStore(t, func(o *Options) { o.Now = func() time.Time { return now } })
	a, err := s.CreateAccount(t.Context(), store.NewAccount{Account: mail.Account{Username: "ann"}, View: "ann", Mailboxes: []mail.Mailbox{
		{Path: "INBOX"}, {Path: "Sent", SpecialUse: mail.UseSent}, {Path: "Junk", SpecialUse: mail.UseJunk}, {Path: "Drafts", SpecialUse: mail.UseDrafts},
	}})
	must(t, err)
	put := func(path string, flags mail.Flags, header string) {
		t.Helper()
		box, err := s.MailboxByPath(t.Context(), a.ID, path)
		must(t, err)
		s.appendText(t, a.ID, box.ID, flags, strings.ReplaceAll(header, "\n", "\r\n")+"\r\n\r\ntext\r\n")
	}
	put("INBOX", mail.Flags{}, "From: Carl Sender <carl@remote.test>\nTo: x@far.test")
	put("INBOX", mail.Flags{}, "From: Ra.w+Label@XN--JGEVA-DUA.ee\nSubject: x")
	put("INBOX", mail.Flags{}, "From: =?utf-8?Q?J=C3=B6rg?= <ra.w+label@jõgeva.ee>")
	put("INBOX", mail.Flags{}, "From: raw+label@jõgeva.ee") // the same row, which keeps its name and its dots
	for _, header := range []string{"List-ID: <x>", "Auto-Submitted: no", "X-auto-response-SUPPRESS: All"} {
		put("INBOX", mail.Flags{}, "From: machine@far.test\n"+header)
	}
	put("INBOX", mail.Flags{}, "From: No-Reply <No-Reply@far.test>, noreply+x@far.test, \"no address\"")
	put("INBOX", mail.NewFlags(mail.Draft), "From: draft@far.test")
	put("Drafts", mail.Flags{}, "From: draft2@far.test")
	put("Junk", mail.Flags{}, "From: junk@far.test")
	put("Sent", mail.Flags{}, "From: me@example.test\nTo: one@far.test, Group: two@far.test;\nCc: Three <three@far.test>\nBcc: four@far.test, ONE@far.test")
	must(t, s.Close())

	s = reopenStore(t, s.o.URI)
	rows := map[string]bson.Raw{}
	docs, err := findSome(t.Context(), s.db.main.Collection(colRegister), bson.D{{Key: "user", Value: oid(a.ID)}}, nil, nil, 0)
	must(t, err)
	for _, doc := range docs {
		rows[text(doc.Lookup("address"))] = doc
	}
	var got []string
	for _, address := range sortedKeys(rows) {
		r := rows[address]
		got = append(got, fmt.Sprint(address, " ", text(r.Lookup("addrview")), " ", text(r.Lookup("name"))))
	}
	want := []string{
		"carl@remote.test carl@remote.test Carl Sender", "four@far.test four@far.test ", "one@far.test one@far.test ",
		"ra.w+label@jõgeva.ee raw+label@jõgeva.ee Jörg", "three@far.test three@far.test Three",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("registered are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, sample := range golden(t, "addressregister") {
		if text(sample.Lookup("addrview")) == "carl@remote.test" && instant(sample.Lookup("updated")).Equal(now) {
			sameDocument(t, "Carl", rows["carl@remote.test"], sample, "_id", "user")
		}
	}
}

// Rows of many messages are written together, each once, and what waits when the store is closed is written then.
func TestRegisterIsWrittenTogether(t *testing.T) {
	var commands atomic.Int32
	s := openStore(t, func(o *Options) {
		o.monitor = &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if e.CommandName == "update" && text(e.Command.Lookup("update")) == colRegister {
				commands.Add(1)
			}
		}}
	})
	acct := newAccount(t, s, "ann").ID
	box, err := s.MailboxByPath(t.Context(), acct, "INBOX")
	must(t, err)
	const n = 20
	for i := range n {
		s.appendText(t, acct, box.ID, mail.Flags{}, fmt.Sprintf("From: a%d@far.test\r\n\r\nx\r\n", i/2))
		s.appendText(t, acct, box.ID, mail.Flags{}, fmt.Sprintf("From: A <a%d@far.test>\r\n\r\nx\r\n", i/2))
	}
	must(t, s.Close())
	if got := commands.Load(); got < 1 || got > n/2 {
		t.Errorf("%d commands for %d messages", got, 2*n)
	}
	s = reopenStore(t, s.o.URI)
	docs, err := findSome(t.Context(), s.db.main.Collection(colRegister), bson.D{{Key: "user", Value: oid(acct)}}, nil, nil, 0)
	must(t, err)
	if len(docs) != n/2 {
		t.Errorf("%d rows for %d addresses", len(docs), n/2)
	}
	for _, doc := range docs {
		if text(doc.Lookup("name")) != "A" {
			t.Errorf("a row without a name: %v", doc)
		}
	}
}

// An address that writes all the time is written down now and then.
func TestRegisterIsWrittenNowAndThen(t *testing.T) {
	var k contactCache
	now := time.Unix(1000, 0)
	c := contact{view: "a@far.test"}
	named := contact{view: "a@far.test", name: "A"}
	if !k.add(c, now) || k.add(c, now.Add(registerAge-1)) || !k.add(named, now) || !k.add(c, now.Add(registerAge)) || k.add(c, now.Add(registerAge+1)) {
		t.Error("an address is written again too early, or not at all")
	}
	if len(k.known) != 1 || k.order.Len() != 1 {
		t.Errorf("what is old is still known: %v", k.known)
	}
	for i := range registerKnown + 10 {
		k.add(contact{view: fmt.Sprint(i)}, now.Add(registerAge+2))
	}
	if len(k.known) != registerKnown || k.order.Len() != registerKnown {
		t.Errorf("%d are known, in a list of %d", len(k.known), k.order.Len())
	}
}

// Nobody waits for the register.
func TestRegisterDoesNotBlock(t *testing.T) {
	r := &register{queue: make(chan correspondence, 1)}
	st := &staged{}
	for range 3 {
		r.note(mail.AccountID{}, &mail.Mailbox{}, make([]store.Append, 2), []*staged{st, st})
	}
	if len(r.queue) != 1 {
		t.Errorf("%d wait", len(r.queue))
	}
}
