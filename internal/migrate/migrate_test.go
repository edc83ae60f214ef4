package migrate_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mallard/internal/draft"
	"mallard/internal/mail"
	"mallard/internal/migrate"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
	"mallard/internal/store/mongostore"
	"mallard/internal/store/pebblestore"
	"mallard/internal/testserver"
)

func TestMain(m *testing.M) {
	if runChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

// engines are the places to move from and to; each call opens a store of its own.
func engines() map[string]func(t *testing.T) migrate.Engine {
	return map[string]func(t *testing.T) migrate.Engine{
		"memory": func(*testing.T) migrate.Engine { return memstore.New(memstore.Options{Mangle: true}) },
		"pebble": func(t *testing.T) migrate.Engine { return openPebble(t, t.TempDir(), false) },
		"mongo":  openMongo,
	}
}

// openMongo opens the engine of a cluster on a database of its own.
func openMongo(t *testing.T) migrate.Engine {
	t.Helper()
	receiver := draft.New(draft.Options{Dir: t.TempDir()})
	s, err := mongostore.Open(context.Background(), mongostore.Options{
		URI: testserver.Mongo(t), Now: now,
		Describe: func(ctx context.Context, source io.ReaderAt, size int64) (*store.Content, error) {
			d, err := receiver.Receive(ctx, io.NewSectionReader(source, 0, size), 0)
			if err != nil {
				return nil, err
			}
			return d.Content(), nil // the draft ends with the test
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openPebble(t *testing.T, dir string, readOnly bool) *pebblestore.Store {
	t.Helper()
	s, err := pebblestore.Open(context.Background(), pebblestore.Options{
		Dir: dir, CacheSize: 8 << 20, MemTableSize: 4 << 20, MinFree: -1, ReadOnly: readOnly, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // most tests have closed it; not those that are skipped behind it
	return s
}

// world is a source with users and mail, and what happens to it.
type world struct {
	t        *testing.T
	s        migrate.Engine
	receiver *draft.Receiver
	rand     *rand.Rand
	accounts []mail.AccountID
	n        int
}

func newWorld(t *testing.T, s migrate.Engine, users int) *world {
	t.Helper()
	w := &world{t: t, s: s, receiver: draft.New(draft.Options{Dir: t.TempDir(), MemoryMax: 32 << 10}), rand: rand.New(rand.NewPCG(1, 2))}
	for range users {
		w.user()
	}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) user() mail.AccountID {
	w.t.Helper()
	w.n++
	name := fmt.Sprintf("user.%d", w.n)
	view := fmt.Sprintf("user%d@example.org", w.n)
	a, err := w.s.CreateAccount(context.Background(), store.NewAccount{
		Account: mail.Account{
			Username: name, Password: "$pbkdf2-sha256$" + name, Tags: []string{"a"}, Quota: 1 << 30, MetaData: `{"n":1}`,
			FeatureFlags: map[string]bool{"x": true}, TempPassword: &mail.TempPassword{Hash: "h", Created: time.Now()},
		},
		View: fmt.Sprintf("user%d", w.n), Address: &mail.Address{Address: name + "@example.org", View: view},
		Mailboxes: []mail.Mailbox{
			{Path: "INBOX", Subscribed: true}, {Path: "Junk", SpecialUse: mail.UseJunk}, {Path: "Trash", SpecialUse: mail.UseTrash, Retention: time.Hour},
		},
	})
	w.must(err)
	_, err = w.s.CreateAddress(context.Background(), mail.Address{Address: name + "@alias.example", View: fmt.Sprintf("user%d@alias.example", w.n), Account: a.ID}, false)
	w.must(err)
	w.must(w.s.PutRecord(context.Background(), "token", name, []byte("token of "+name)))
	w.accounts = append(w.accounts, a.ID)
	return a.ID
}

func (w *world) box(acct mail.AccountID, path string) *mail.Mailbox {
	w.t.Helper()
	b, err := w.s.MailboxByPath(context.Background(), acct, path)
	w.must(err)
	return b
}

// now is a time as every engine keeps it.
func now() time.Time { return time.Now().Truncate(time.Second) }

// text is a message, some of them with an attachment and some that are no clean mail.
func (w *world) text(i int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: a@example.org\r\nTo: b@example.org\r\nSubject: Re: plan %d\r\nMessage-ID: <%d-%d@x>\r\nReferences: <%d-0@x>\r\n", i%7, i%7, i, i%7)
	switch i % 5 {
	case 1:
		file := make([]byte, 20_000+i)
		for j := range file {
			file[j] = byte(w.rand.Uint32())
		}
		fmt.Fprintf(&b, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\n")
		for text := base64.StdEncoding.EncodeToString(file); len(text) > 0; text = text[min(76, len(text)):] {
			b.WriteString(text[:min(76, len(text))] + "\r\n")
		}
		b.WriteString("--b--\r\n")
	case 2:
		b.WriteString("\r\nline ends\nof all\rkinds\x00 and \xff\xfe octets")
	case 3:
		return []byte("no header at all")
	default:
		fmt.Fprintf(&b, "\r\n%s\r\n", strings.Repeat(fmt.Sprintf("text %d ", i), 1+i%50))
	}
	return b.Bytes()
}

func (w *world) deliver(acct mail.AccountID, path string, n int) {
	w.t.Helper()
	ctx := context.Background()
	box := w.box(acct, path)
	for i := range n {
		w.n++
		d, err := w.receiver.Receive(ctx, bytes.NewReader(w.text(w.n)), 0)
		w.must(err)
		st, err := w.s.Stage(ctx, d.Content())
		w.must(err)
		flags, err := mail.ParseFlags([][]string{nil, {`\Seen`}, {`\Flagged`, "Work"}, {`\Deleted`, "$Label1"}}[i%4])
		w.must(err)
		ap := store.Append{Staged: st, Flags: flags, InternalDate: now().Add(-time.Duration(i) * time.Hour)}
		if i%2 == 0 {
			ap.Prefix, ap.Info, ap.MetaData = []byte("Delivered-To: x\r\nReturn-Path: <>\r\n"), `{"source":"MX"}`, `{"m":1}`
		}
		if i%3 == 0 {
			ap.Expires = now().Add(time.Hour)
		}
		_, err = w.s.Append(ctx, acct, box.ID, []store.Append{ap})
		w.must(err)
		w.must(st.Close())
		w.must(d.Close())
	}
}

// live lets things happen in an account: everything that a pass must follow.
func (w *world) live(acct mail.AccountID) {
	w.t.Helper()
	ctx := context.Background()
	w.deliver(acct, "INBOX", 6)
	inbox, junk, trash := w.box(acct, "INBOX"), w.box(acct, "Junk"), w.box(acct, "Trash")
	pick := func() mail.UIDSet {
		var uids []mail.UID
		for range 3 {
			uids = append(uids, mail.UID(1+w.rand.Uint32N(uint32(inbox.UIDNext))))
		}
		return mail.UIDSetOf(uids...)
	}
	_, err := w.s.Copy(ctx, acct, inbox.ID, trash.ID, pick(), 0)
	w.must(err)
	_, err = w.s.Move(ctx, acct, inbox.ID, junk.ID, pick())
	w.must(err)
	_, err = w.s.Move(ctx, acct, junk.ID, trash.ID, mail.OneUID(1))
	w.must(err)
	_, err = w.s.Expunge(ctx, acct, inbox.ID, pick(), false)
	w.must(err)
	flags, err := mail.ParseFlags([]string{`\Answered`, fmt.Sprintf("kw%d", w.rand.Uint32N(5))})
	w.must(err)
	meta := fmt.Sprintf(`{"changed":%d}`, w.rand.Uint32())
	_, err = w.s.UpdateFlags(ctx, acct, inbox.ID, store.FlagUpdate{UIDs: pick(), Flags: flags, MetaData: &meta})
	w.must(err)
	w.n++
	b, err := w.s.CreateMailbox(ctx, acct, mail.Mailbox{Path: fmt.Sprintf("new %d", w.n), Subscribed: true}, 0)
	w.must(err)
	w.deliver(acct, b.Path, 2)
	_, err = w.s.UpdateAccount(ctx, acct, func(a *mail.Account) error {
		a.Name, a.Password = meta, a.Password+"+"
		return nil
	})
	w.must(err)
}

// reorganise renames, swaps and deletes what passes must not confuse.
func (w *world) reorganise(acct mail.AccountID) {
	w.t.Helper()
	ctx := context.Background()
	boxes, err := w.s.ListMailboxes(ctx, acct)
	w.must(err)
	var fresh []*mail.Mailbox
	for _, b := range boxes {
		if strings.HasPrefix(b.Path, "new") {
			fresh = append(fresh, b)
		}
	}
	if len(fresh) < 3 {
		w.t.Fatal("too few mailboxes to reorganise")
	}
	w.must(w.s.DeleteMailbox(ctx, acct, fresh[0].ID, 0))
	w.must(w.s.Subscribe(ctx, acct, "gone", w.n%2 == 0, 1000))
	w.must(w.s.Subscribe(ctx, acct, "Größe/"+fresh[0].Path, true, 1000))
	w.must(w.s.RenameMailboxes(ctx, acct, []store.Rename{{ID: fresh[1].ID, Path: fresh[2].Path}, {ID: fresh[2].ID, Path: fresh[1].Path}}))
	_, err = w.s.CreateMailbox(ctx, acct, mail.Mailbox{Path: fresh[0].Path}, 0) // the old name, another mailbox
	w.must(err)
	_, err = w.s.UpdateMailbox(ctx, acct, fresh[1].ID, func(b *mail.Mailbox) error {
		b.Hidden, b.SpecialUse = true, mail.UseArchive
		return nil
	})
	w.must(err)
	page, err := w.s.ListAddresses(ctx, store.AddressQuery{Account: acct})
	w.must(err)
	for _, row := range page.Addresses {
		if strings.Contains(row.Address, "alias.example") {
			w.must(w.s.DeleteAddress(ctx, row.ID))
			break
		}
	}
	w.n++
	_, err = w.s.CreateAddress(ctx, mail.Address{Address: fmt.Sprintf("main%d@example.org", w.n), View: fmt.Sprintf("main%d@example.org", w.n), Account: acct}, true)
	w.must(err)
}

// run is one way of moving, with what it tells.
type run struct {
	t        *testing.T
	o        migrate.Options
	problems []string
}

func (w *world) to(target migrate.Engine) *run {
	r := &run{t: w.t}
	r.o = migrate.Options{
		From: w.s, To: target, Name: "here", Receiver: w.receiver, Workers: 3, Batch: 5, BatchBytes: 50_000, Window: 7,
		Problem: func(where, text string) { r.problems = append(r.problems, where+": "+text) },
	}
	return r
}

func (r *run) pass() *migrate.Report {
	r.t.Helper()
	r.problems = nil
	report, err := migrate.Run(context.Background(), r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

// clean is a pass without problems.
func (r *run) clean() *migrate.Report {
	r.t.Helper()
	report := r.pass()
	if len(r.problems) > 0 || report.Problems != 0 {
		r.t.Fatalf("problems: %q", r.problems)
	}
	return report
}

// same verifies and returns how many messages were compared.
func (r *run) same() int64 {
	r.t.Helper()
	r.problems = nil
	report, err := migrate.Verify(context.Background(), r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(r.problems) > 0 || report.Problems != 0 {
		r.t.Fatalf("the copy differs: %q", r.problems)
	}
	return report.Compared
}

// check verifies a store by its own means.
func check(t *testing.T, s store.Store) {
	t.Helper()
	p, ok := s.(*pebblestore.Store)
	if !ok {
		return
	}
	report, err := p.Check(context.Background(), pebblestore.CheckOptions{Problem: func(where, text string) { t.Errorf("check: %s: %s", where, text) }})
	if err != nil || report.Problems > 0 {
		t.Errorf("check: %d problems, error %v", report.Problems, err)
	}
}

// each runs a test for every pair of engines.
func each(t *testing.T, f func(t *testing.T, from, to migrate.Engine)) {
	for from, open := range engines() {
		for to, target := range engines() {
			if from == "mongo" && to == "memory" || from == "memory" && to == "mongo" {
				continue // it is slow, and says nothing that the embedded engine does not
			}
			t.Run(from+" to "+to, func(t *testing.T) {
				a, b := open(t), target(t)
				defer func() {
					check(t, b)
					if err := errors.Join(a.Close(), b.Close()); err != nil {
						t.Error(err)
					}
				}()
				f(t, a, b)
			})
		}
	}
}

// Passes follow the source, whatever happens to it, and the last one ends with an exact
// copy that lives on.
func TestPasses(t *testing.T) {
	each(t, func(t *testing.T, from, to migrate.Engine) {
		ctx := context.Background()
		w := newWorld(t, from, 4)
		w.must(from.SetDomainAlias(ctx, "alias.example", "example.org"))
		w.must(from.SetDomainAlias(ctx, "gone.example", "example.org"))
		forward, err := from.CreateAddress(ctx, mail.Address{Address: "all@example.org", View: "all@example.org", Targets: []mail.Target{{Type: "mail", Value: "x@y.example"}}}, false)
		w.must(err)
		for range 3 {
			for _, acct := range w.accounts {
				w.live(acct)
			}
		}
		r := w.to(to)
		first := r.clean()
		if first.Copied == 0 || first.Accounts != 4 || first.Unchanged != 0 {
			t.Errorf("first pass: %+v", first)
		}
		if n := r.same(); n != first.Copied {
			t.Errorf("%d messages compared, %d copied", n, first.Copied)
		}
		if again := r.clean(); again.Copied+again.Updated+again.Removed != 0 || again.Unchanged != first.Mailboxes {
			t.Errorf("a pass with nothing to do: %+v", again)
		}

		w.live(w.accounts[0])
		w.reorganise(w.accounts[0])
		w.reorganise(w.accounts[1])
		w.must(from.DeleteAccount(ctx, w.accounts[2], time.Time{}))
		w.must(from.DeleteAddress(ctx, forward.ID))
		w.must(from.SetDomainAlias(ctx, "gone.example", ""))
		w.must(from.PutRecord(ctx, "token", "user.3", nil))
		w.user()
		w.live(w.accounts[4])
		r.o.Final = true
		last := r.clean()
		if last.Copied == 0 || last.Copied >= first.Copied || last.Updated == 0 || last.Removed == 0 || !last.Finished {
			t.Errorf("last pass: %+v, first: %+v", last, first)
		}
		r.same()
		if _, err := to.Account(ctx, w.accounts[2]); mail.CodeOf(err) != mail.CodeNoAccount {
			t.Errorf("a deleted account is there: %v", err)
		}
		if _, err := to.Record(ctx, "token", "user.3"); mail.CodeOf(err) != mail.CodeNotFound {
			t.Errorf("a token that was removed is there: %v", err)
		}
		// It has ended: the target lives, and the source must not overwrite it.
		if _, err := migrate.Run(ctx, r.o); !errors.Is(err, migrate.ErrFinished) {
			t.Errorf("after the end: %v", err)
		}
		copied := &world{t: t, s: to, receiver: w.receiver, rand: w.rand, n: w.n}
		copied.live(w.accounts[0])
		for _, acct := range []mail.AccountID{w.accounts[0], w.accounts[1]} {
			before, after, err := to.RecountQuota(ctx, acct)
			if err != nil || before != after || before == 0 {
				t.Errorf("quota %d, counted anew %d (%v)", before, after, err)
			}
		}
	})
}

// What the target has of its own is neither changed nor removed, and what is in the way
// is told.
func TestConflicts(t *testing.T) {
	each(t, func(t *testing.T, from, to migrate.Engine) {
		ctx := context.Background()
		w := newWorld(t, from, 3)
		for _, acct := range w.accounts {
			w.deliver(acct, "INBOX", 3)
		}
		w.must(from.SetDomainAlias(ctx, "alias.example", "example.org"))
		w.must(from.PutRecord(ctx, "secret", "s", []byte("ours")))
		own, err := to.CreateAccount(ctx, store.NewAccount{
			Account: mail.Account{Username: "user.1"}, View: "user1",
			Address:   &mail.Address{Address: "user.2@example.org", View: "user2@example.org"},
			Mailboxes: []mail.Mailbox{{Path: "INBOX"}},
		})
		w.must(err)
		w.must(to.SetDomainAlias(ctx, "alias.example", "elsewhere.example"))
		w.must(to.SetDomainAlias(ctx, "own.example", "elsewhere.example"))
		w.must(to.PutRecord(ctx, "secret", "s", []byte("theirs")))
		r := w.to(to)
		r.o.Final = true
		report := r.pass()
		all := strings.Join(r.problems, "\n")
		for _, want := range []string{"account user.1: ", "address user.2@example.org: ", "domain alias alias.example: it stands for elsewhere.example", `record "s" of kind secret`} {
			if !strings.Contains(all, want) {
				t.Errorf("problems %q do not hold %q", all, want)
			}
		}
		if report.Finished || report.Accounts != 2 {
			t.Errorf("report %+v", report)
		}
		if a, err := to.Account(ctx, own.ID); err != nil || a.Username != "user.1" {
			t.Errorf("the target's own account is %+v (%v)", a, err)
		}
		if v, err := to.Record(ctx, "secret", "s"); err != nil || string(v) != "theirs" {
			t.Errorf("the target's own record is %q (%v)", v, err)
		}

		// The operator makes room.
		w.must(to.DeleteAccount(ctx, own.ID, time.Time{}))
		r.o.Overwrite = true
		if report := r.clean(); !report.Finished {
			t.Errorf("report %+v", report)
		}
		r.same()
		if d, err := to.DomainAlias(ctx, "own.example"); err != nil || d != "elsewhere.example" {
			t.Errorf("the target's own alias is %q (%v)", d, err)
		}

		// Another source, now that the first has ended.
		other := newWorld(t, memstore.New(memstore.Options{}), 0)
		other.n = 100
		other.deliver(other.user(), "INBOX", 2)
		o := other.to(to)
		o.o.Name = "elsewhere"
		o.clean()
		third := newWorld(t, memstore.New(memstore.Options{}), 0).to(to)
		third.o.Name = "a third one"
		if _, err := migrate.Run(ctx, third.o); err == nil || !strings.Contains(err.Error(), "a migration from elsewhere to this target is under way") {
			t.Errorf("two at the same time: %v", err)
		}
		o.o.Final = true
		o.clean()
		o.same()
		r.same()
	})
}

// Each difference is found.
func TestVerifyFindsDifferences(t *testing.T) {
	ctx := context.Background()
	from, to := memstore.New(memstore.Options{}), memstore.New(memstore.Options{})
	w := newWorld(t, from, 1)
	acct := w.accounts[0]
	w.deliver(acct, "INBOX", 6)
	w.must(from.SetDomainAlias(ctx, "alias.example", "example.org"))
	w.must(from.Subscribe(ctx, acct, "name only", true, 1000))
	r := w.to(to)
	r.clean()
	r.same()
	inbox := w.box(acct, "INBOX")
	restore := func(change func(*store.Restored)) func() {
		return func() {
			for row, err := range from.Fetch(ctx, acct, inbox.ID, store.FetchQuery{UIDs: mail.OneUID(2), Fields: store.FieldMeta}) {
				w.must(err)
				m := store.Restored{
					UID: row.UID, ModSeq: row.ModSeq, ID: row.ID, EmailID: row.EmailID, ThreadID: row.ThreadID, Flags: row.Flags,
					InternalDate: row.InternalDate, SavedDate: row.SavedDate, Expires: row.Expires, MetaData: row.MetaData, Info: row.Info, Junk: row.Junk,
				}
				change(&m)
				w.must(to.RestoreMessages(ctx, acct, inbox.ID, []store.Restored{m}))
			}
		}
	}
	text := func(s string) func(*store.Restored) {
		return func(m *store.Restored) {
			d, err := w.receiver.Receive(ctx, strings.NewReader(s), 0)
			w.must(err)
			t.Cleanup(func() { _ = d.Close() })
			m.Staged, err = to.Stage(ctx, d.Content())
			w.must(err)
		}
	}
	original := string(w.text(0))
	for row, err := range from.Fetch(ctx, acct, inbox.ID, store.FetchQuery{UIDs: mail.OneUID(2), Fields: store.FieldBody}) {
		w.must(err)
		body, err := row.Open()
		w.must(err)
		var b bytes.Buffer
		w.must(body.WriteRange(&b, row.PrefixLen, body.Size()-row.PrefixLen))
		w.must(body.Close())
		original = b.String()
	}
	flags, err := mail.ParseFlags([]string{`\Draft`})
	w.must(err)
	for _, tt := range []struct {
		name  string
		spoil func()
		want  string
	}{
		{"account", func() {
			_, err := to.UpdateAccount(ctx, acct, func(a *mail.Account) error { a.Password = "x"; return nil })
			w.must(err)
		}, "account user.1: these differ: Password"},
		{"alias", func() { w.must(to.SetDomainAlias(ctx, "alias.example", "")) }, "domain alias alias.example"},
		{"record", func() { w.must(to.PutRecord(ctx, "token", "user.1", []byte("x"))) }, `record "user.1" of kind token`},
		{"mailbox", func() {
			_, err := to.UpdateMailbox(ctx, acct, inbox.ID, func(b *mail.Mailbox) error { b.Subscribed = false; return nil })
			w.must(err)
		}, "mailbox INBOX of user.1: these differ: Subscribed"},
		{"mailbox more", func() {
			_, err := to.CreateMailbox(ctx, acct, mail.Mailbox{Path: "more"}, 0)
			w.must(err)
		}, "mailbox more of user.1: it is in the target alone"},
		{"subscription missing", func() { w.must(to.Subscribe(ctx, acct, "name only", false, 1000)) }, "subscription name only of user.1: it is missing in the target"},
		{"subscription more", func() { w.must(to.Subscribe(ctx, acct, "name more", true, 1000)) }, "subscription name more of user.1: it is in the target alone"},
		{"uidnext", func() { b := *inbox; b.UIDNext++; w.must(to.RestoreMailbox(ctx, acct, b)) }, "UIDNext"},
		{"message missing", func() { w.must(to.RemoveRestored(ctx, acct, inbox.ID, mail.OneUID(3))) }, "message 3 of mailbox INBOX of user.1: it is missing"},
		{"flags", restore(func(m *store.Restored) { m.Flags = flags }), "message 2 of mailbox INBOX of user.1: these differ: flags"},
		{"mod-sequence", restore(func(m *store.Restored) { m.ModSeq-- }), "mod-sequence"},
		{"date", restore(func(m *store.Restored) { m.InternalDate = m.InternalDate.Add(time.Second) }), "internal date"},
		{"saved", restore(func(m *store.Restored) { m.SavedDate = m.SavedDate.Add(time.Second) }), "saved date"},
		{"junk", restore(func(m *store.Restored) { m.Junk = true }), "junk"},
		{"thread", restore(func(m *store.Restored) { m.ThreadID[0]++ }), "thread id"},
		{"metadata", restore(func(m *store.Restored) { m.MetaData = `{"z":1}` }), "metadata"},
		{"email id", restore(func(m *store.Restored) { m.EmailID[0]++; text(original)(m) }), "email id"},
		{"an octet", func() {
			restore(func(m *store.Restored) { m.EmailID[0]++; text("X" + original[1:])(m) })()
		}, "octets"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.spoil()
			r.problems = nil
			report, err := migrate.Verify(ctx, r.o)
			if err != nil || report.Problems == 0 || !strings.Contains(strings.Join(r.problems, "\n"), tt.want) {
				t.Errorf("%d problems, error %v: %q do not hold %q", report.Problems, err, r.problems, tt.want)
			}
			// What Verify finds a pass repairs, or it has the mod-sequence of what it replaced.
			w.must(to.DeleteAccount(ctx, acct, time.Time{}))
			w.must(to.SetDomainAlias(ctx, "alias.example", ""))
			w.must(to.PutRecord(ctx, "token", "user.1", nil))
			r.o.Overwrite = true
			r.clean()
			r.same()
		})
	}
}

// Somebody works on the source all the time; passes go on beside it, and the last one,
// when it is quiet, makes an exact copy.
func TestWhileServing(t *testing.T) {
	from, to := openPebble(t, t.TempDir(), false), openPebble(t, t.TempDir(), false)
	w := newWorld(t, from, 3)
	for _, acct := range w.accounts {
		w.deliver(acct, "INBOX", 20)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				w.live(w.accounts[i%3])
			}
		}
	})
	r := w.to(to)
	passes := 0
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); passes++ {
		r.pass()
		for _, p := range r.problems {
			t.Errorf("beside work: %s", p)
		}
	}
	close(stop)
	wg.Wait()
	r.o.Final = true
	if report := r.clean(); !report.Finished {
		t.Errorf("report %+v", report)
	}
	if n := r.same(); n == 0 || passes == 0 {
		t.Errorf("%d passes, %d messages", passes, n)
	}
	check(t, to)
	if err := errors.Join(from.Close(), to.Close()); err != nil {
		t.Error(err)
	}
}

// A message that cannot be read is told and does not end the migration, or is left out
// when that is asked for.
func TestDamaged(t *testing.T) {
	ctx := context.Background()
	broken := false
	from := memstore.New(memstore.Options{Fault: func(op string) error {
		if broken && op == "WriteRange" {
			return mail.NewError(mail.CodeCorrupt, "a checksum is wrong")
		}
		return nil
	}})
	to := memstore.New(memstore.Options{})
	w := newWorld(t, from, 1)
	w.deliver(w.accounts[0], "INBOX", 2)
	r := w.to(to)
	r.clean()
	w.deliver(w.accounts[0], "Junk", 1)
	broken, r.o.Final = true, true
	report := r.pass()
	if report.Problems != 1 || report.Finished || !strings.Contains(r.problems[0], "message 1 of mailbox Junk of user.1: it cannot be read: a checksum is wrong") {
		t.Errorf("report %+v, problems %q", report, r.problems)
	}
	r.o.SkipDamaged = true
	if report := r.clean(); report.Skipped != 1 || !report.Finished {
		t.Errorf("report %+v", report)
	}
	b, err := to.MailboxByPath(ctx, w.accounts[0], "Junk")
	if err != nil || b.UIDNext != 2 {
		t.Fatalf("mailbox %+v (%v)", b, err)
	}
	if c, err := to.Counters(ctx, w.accounts[0], b.ID); err != nil || c[b.ID] != (mail.Counters{}) {
		t.Errorf("counters %+v (%v)", c, err)
	}
	// A source that does not answer ends the pass.
	r.o.Name, broken = "again", false
	failing := memstore.New(memstore.Options{Fault: func(op string) error {
		if op == "ListMailboxes" {
			return mail.NewError(mail.CodeUnavailable, "not now")
		}
		return nil
	}})
	x := newWorld(t, failing, 1)
	if _, err := migrate.Run(ctx, x.to(memstore.New(memstore.Options{})).o); mail.CodeOf(err) != mail.CodeUnavailable || err == nil {
		t.Errorf("error %v", err)
	}
}
