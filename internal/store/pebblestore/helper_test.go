package pebblestore

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// rig is an open store with one account.
type rig struct {
	testing.TB
	ctx   context.Context
	fs    vfs.FS
	s     *Store
	acct  mail.AccountID
	inbox mail.MailboxID
	trash mail.MailboxID
	dir   string // when not that of options
}

func options(fs vfs.FS) Options {
	return Options{Dir: "/mail", FS: fs, MinFree: -1, MemTableSize: 4 << 20, CacheSize: 8 << 20, SweepInterval: 10 * time.Millisecond, deletionStep: 2}
}

func newRig(t testing.TB, fs vfs.FS) *rig {
	t.Helper()
	r := &rig{TB: t, ctx: context.Background(), fs: fs}
	r.open()
	t.Cleanup(r.close)
	r.createAccount("user")
	return r
}

func (r *rig) open() {
	r.Helper()
	o := options(r.fs)
	if r.dir != "" {
		o.Dir = r.dir
	}
	s, err := Open(r.ctx, o)
	if err != nil {
		r.Fatal(err)
	}
	r.s = s
}

func (r *rig) close() {
	r.Helper()
	if r.s == nil {
		return
	}
	if err := r.s.Close(); err != nil {
		r.Errorf("close: %v", err)
	}
	r.s = nil
}

func (r *rig) createAccount(name string) {
	r.Helper()
	a, err := r.s.CreateAccount(r.ctx, store.NewAccount{
		Account: mail.Account{Username: name}, View: name,
		Address:   &mail.Address{Address: name + "@example.com", View: name + "@example.com"},
		Mailboxes: []mail.Mailbox{{Path: "INBOX"}, {Path: "Trash"}},
	})
	r.must(err)
	r.acct = a.ID
	boxes, err := r.s.ListMailboxes(r.ctx, r.acct)
	r.must(err)
	r.inbox, r.trash = boxes[0].ID, boxes[1].ID
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// testMail is a message for tests: a header, a text and base64 attachments.
type testMail struct {
	raw    []byte
	header int
	leaves []store.Leaf
}

func newMessage(subject string, text string, attachments ...[]byte) testMail {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Subject: %s\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n", subject)
	m := testMail{header: b.Len()}
	fmt.Fprintf(&b, "--x\r\n\r\n%s\r\n", text)
	for _, a := range attachments {
		fmt.Fprintf(&b, "--x\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		start := int64(b.Len())
		b.Write(wrapping{76, true}.appendEncoded(nil, a, true))
		m.leaves = append(m.leaves, store.Leaf{Start: start, End: int64(b.Len()), Encoding: "base64", Attachment: true})
		b.WriteString("\r\n")
	}
	b.WriteString("--x--\r\n")
	m.raw = b.Bytes()
	return m
}

func (m *testMail) content() *store.Content {
	return &store.Content{
		Source: bytes.NewReader(m.raw), Size: int64(len(m.raw)), Header: m.raw[:m.header], Leaves: m.leaves,
		Envelope: []byte("(env)"), BodyStructure: []byte("(bs)"), Tree: []byte("tree"), Summary: []byte("summary"),
	}
}

func (r *rig) append(box mail.MailboxID, m testMail, prefix string) store.Appended {
	r.Helper()
	out, err := r.tryAppend(box, m, prefix)
	r.must(err)
	return out
}

func (r *rig) tryAppend(box mail.MailboxID, m testMail, prefix string) (store.Appended, error) {
	st, err := r.s.Stage(r.ctx, m.content())
	if err != nil {
		return store.Appended{}, err
	}
	defer st.Close()
	out, err := r.s.Append(r.ctx, r.acct, box, []store.Append{{Staged: st, Prefix: []byte(prefix), InternalDate: time.Unix(1e9, 0)}})
	if err != nil {
		return store.Appended{}, err
	}
	return out[0], nil
}

func (r *rig) read(box mail.MailboxID, uid mail.UID) []byte {
	r.Helper()
	b, err := r.s.Open(r.ctx, r.acct, box, uid)
	r.must(err)
	defer b.Close()
	var w bytes.Buffer
	r.must(b.WriteRange(&w, 0, b.Size()))
	return w.Bytes()
}
