package storetest

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// fixture is a store with one account, and what tests do with it all the time.
// Its methods end the test when the store fails.
type fixture struct {
	*testing.T
	ctx    context.Context
	engine Engine
	disk   *Disk
	s      store.Store
	acct   mail.AccountID
	inbox  mail.MailboxID
}

func newFixture(t *testing.T, e Engine) *fixture {
	t.Helper()
	f := &fixture{T: t, ctx: context.Background(), engine: e, disk: e.New(t)}
	f.open()
	t.Cleanup(f.close)
	f.acct = f.account("user", "INBOX", "Trash").ID
	f.inbox = f.path(mail.Inbox).ID
	return f
}

func (f *fixture) open() {
	f.Helper()
	s, err := f.disk.Open()
	if err != nil {
		f.Fatalf("open the store: %v", err)
	}
	f.s = s
}

// close checks the store, if the engine can, and closes it.
func (f *fixture) close() {
	if f.s == nil {
		return
	}
	if f.engine.Check != nil {
		if err := f.engine.Check(f.ctx, f.s); err != nil {
			f.Errorf("check: %v", err)
		}
	}
	if err := f.s.Close(); err != nil {
		f.Errorf("close the store: %v", err)
	}
	f.s = nil
}

// reopen closes the store and opens it again.
func (f *fixture) reopen() {
	f.Helper()
	if f.disk.Volatile {
		f.Skip("the engine keeps nothing when it is closed")
	}
	f.close()
	f.open()
}

// maintain does the engine's background work now.
func (f *fixture) maintain() {
	f.Helper()
	if f.engine.Maintain == nil {
		return
	}
	if err := f.engine.Maintain(f.ctx, f.s); err != nil {
		f.Fatalf("maintain: %v", err)
	}
}

// must ends the test when err is not nil.
func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// wants fails the test when the error has another code; "" is no error.
func (f *fixture) wants(what string, err error, want mail.Code) {
	f.Helper()
	if err == nil || mail.CodeOf(err) != want {
		f.Errorf("%s: error %v with code %q, want code %q", what, err, code(err), want)
	}
}

// account makes an account named by its view, with mailboxes.
func (f *fixture) account(view string, paths ...string) *mail.Account {
	f.Helper()
	in := store.NewAccount{
		Account: mail.Account{Username: view, Name: "Name of " + view},
		View:    view,
		Address: &mail.Address{Address: view + "@example.com", View: view + "@example.com"},
	}
	for _, p := range paths {
		in.Mailboxes = append(in.Mailboxes, mail.Mailbox{Path: p, Subscribed: true})
	}
	a, err := f.s.CreateAccount(f.ctx, in)
	if err != nil {
		f.Fatalf("create account %s: %v", view, err)
	}
	return a
}

// mailbox makes a mailbox.
func (f *fixture) mailbox(path string) *mail.Mailbox {
	f.Helper()
	b, err := f.s.CreateMailbox(f.ctx, f.acct, mail.Mailbox{Path: path, Subscribed: true}, 0)
	if err != nil {
		f.Fatalf("create mailbox %s: %v", path, err)
	}
	return b
}

// path returns the mailbox with a path.
func (f *fixture) path(path string) *mail.Mailbox {
	f.Helper()
	b, err := f.s.MailboxByPath(f.ctx, f.acct, path)
	if err != nil {
		f.Fatalf("mailbox %s: %v", path, err)
	}
	return b
}

// box returns a mailbox as it is now.
func (f *fixture) box(id mail.MailboxID) *mail.Mailbox {
	f.Helper()
	b, err := f.s.Mailbox(f.ctx, f.acct, id)
	if err != nil {
		f.Fatalf("mailbox %s: %v", id, err)
	}
	return b
}

// counted is a mailbox with its counters.
type counted struct {
	mail.Mailbox
	mail.Counters
}

// counted returns a mailbox with its counters as it is now.
func (f *fixture) counted(id mail.MailboxID) *counted {
	f.Helper()
	b := f.box(id)
	all, err := f.s.Counters(f.ctx, f.acct, id)
	f.must(err)
	c, ok := all[id]
	if !ok || len(all) != 1 {
		f.Fatalf("counters of mailbox %s: %v", id, all)
	}
	return &counted{*b, c}
}

// used returns the account's StorageUsed.
func (f *fixture) used() int64 {
	f.Helper()
	a, err := f.s.Account(f.ctx, f.acct)
	f.must(err)
	return a.StorageUsed
}

// stage stages a content until the end of the test.
func (f *fixture) stage(c *store.Content) store.Staged {
	f.Helper()
	st, err := f.s.Stage(f.ctx, c)
	if err != nil {
		f.Fatalf("stage: %v", err)
	}
	f.Cleanup(func() { _ = st.Close() })
	return st
}

// append stores one message; ap's Staged is filled in.
func (f *fixture) append(mbox mail.MailboxID, c *store.Content, ap store.Append) store.Appended {
	f.Helper()
	st, err := f.s.Stage(f.ctx, c)
	if err != nil {
		f.Fatalf("stage: %v", err)
	}
	ap.Staged = st
	if ap.InternalDate.IsZero() {
		ap.InternalDate = testDate(0)
	}
	out, err := f.s.Append(f.ctx, f.acct, mbox, []store.Append{ap})
	if err != nil {
		f.Fatalf("append: %v", err)
	}
	if err := st.Close(); err != nil {
		f.Fatalf("close staged message: %v", err)
	}
	if len(out) != 1 {
		f.Fatalf("append of one message returned %d", len(out))
	}
	return out[0]
}

// fill appends n small messages that differ, with flags.
func (f *fixture) fill(mbox mail.MailboxID, n int, flags ...string) []store.Appended {
	f.Helper()
	var out []store.Appended
	for range n {
		out = append(out, f.append(mbox, note(len(out)), store.Append{Flags: f.flags(flags...)}))
	}
	return out
}

func (f *fixture) flags(names ...string) mail.Flags {
	f.Helper()
	fl, err := mail.ParseFlags(names)
	f.must(err)
	return fl
}

// update changes flags of messages and returns the result.
func (f *fixture) update(mbox mail.MailboxID, u store.FlagUpdate) *store.FlagResult {
	f.Helper()
	res, err := f.s.UpdateFlags(f.ctx, f.acct, mbox, u)
	if err != nil {
		f.Fatalf("update flags: %v", err)
	}
	return res
}

// expunge removes messages.
func (f *fixture) expunge(mbox mail.MailboxID, uids ...mail.UID) *store.ExpungeResult {
	f.Helper()
	res, err := f.s.Expunge(f.ctx, f.acct, mbox, mail.UIDSetOf(uids...), false)
	if err != nil {
		f.Fatalf("expunge: %v", err)
	}
	return res
}

// changes returns the changes of a mailbox.
func (f *fixture) changes(mbox mail.MailboxID, since mail.ModSeq) *store.ChangeSet {
	f.Helper()
	set, err := f.s.Changes(f.ctx, f.acct, mbox, since)
	if err != nil {
		f.Fatalf("changes: %v", err)
	}
	return set
}

// rows returns the rows of a query, detached from the store's buffers.
func (f *fixture) rows(mbox mail.MailboxID, q store.FetchQuery) []store.Row {
	f.Helper()
	out, err := readRows(f.ctx, f.s, f.acct, mbox, q)
	if err != nil {
		f.Fatalf("fetch: %v", err)
	}
	return out
}

// uids returns the UIDs of a query in its order.
func (f *fixture) uids(mbox mail.MailboxID, q store.FetchQuery) []mail.UID {
	f.Helper()
	var out []mail.UID
	for _, r := range f.rows(mbox, q) {
		out = append(out, r.UID)
	}
	return out
}

// row returns one message with all fields.
func (f *fixture) row(mbox mail.MailboxID, uid mail.UID) store.Row {
	f.Helper()
	rows := f.rows(mbox, store.FetchQuery{UIDs: mail.OneUID(uid), Fields: allFields})
	if len(rows) != 1 {
		f.Fatalf("UID %d: %d rows", uid, len(rows))
	}
	return rows[0]
}

// content returns the octets of a message by Open.
func (f *fixture) content(mbox mail.MailboxID, uid mail.UID) []byte {
	f.Helper()
	b, err := f.s.Open(f.ctx, f.acct, mbox, uid)
	if err != nil {
		f.Fatalf("open UID %d: %v", uid, err)
	}
	data, err := readBody(b)
	if err != nil {
		f.Fatalf("read UID %d: %v", uid, err)
	}
	return data
}

const allFields = store.FieldEnvelope | store.FieldBodyStructure | store.FieldTree | store.FieldSummary |
	store.FieldHeader | store.FieldMeta | store.FieldBody

// readRows reads a whole query into rows that stay valid.
func readRows(ctx context.Context, s store.Store, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) ([]store.Row, error) {
	var out []store.Row
	for row, err := range s.Fetch(ctx, acct, mbox, q) {
		if err != nil {
			return out, err
		}
		out = append(out, detach(row))
	}
	return out, nil
}

// detach copies a row so that it outlives its loop.
func detach(r *store.Row) store.Row {
	c := *r
	c.Open = nil
	c.Envelope, c.BodyStructure = bytes.Clone(r.Envelope), bytes.Clone(r.BodyStructure)
	c.Tree, c.Summary, c.Header = bytes.Clone(r.Tree), bytes.Clone(r.Summary), bytes.Clone(r.Header)
	return c
}

// readBody reads all octets of a body and closes it.
func readBody(b store.Body) ([]byte, error) {
	var buf bytes.Buffer
	err := b.WriteRange(&buf, 0, b.Size())
	if cerr := b.Close(); err == nil {
		err = cerr
	}
	return buf.Bytes(), err
}

// testDate returns dates that are n seconds after a fixed one.
func testDate(n int) time.Time {
	return time.Date(2024, 5, 17, 8, 30, 0, 0, time.UTC).Add(time.Duration(n) * time.Second)
}

// uidsOf returns the UIDs of what was appended.
func uidsOf(in []store.Appended) []mail.UID {
	var out []mail.UID
	for _, a := range in {
		out = append(out, a.UID)
	}
	return out
}

// sameUIDs fails the test when two lists differ.
func (f *fixture) sameUIDs(what string, got, want []mail.UID) {
	f.Helper()
	if !slices.Equal(got, want) {
		f.Errorf("%s: UIDs %v, want %v", what, got, want)
	}
}
