package pebblestore

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// rows counts the rows with a prefix.
func (r *rig) rows(prefix []byte) (n int) {
	r.Helper()
	r.must(r.s.scan(prefix, func(_, _ []byte) error {
		n++
		return nil
	}))
	return n
}

// kept reads what is kept of a deleted account.
func (r *rig) kept(id mail.AccountID) keptAccount {
	r.Helper()
	value, err := r.s.get(deletionKey(id, mail.MailboxID{}))
	r.must(err)
	k, err := decodeKept(value)
	r.must(err)
	return k
}

func (r *rig) goneWithin(what string, d time.Duration, prefix []byte) {
	r.Helper()
	for end := time.Now().Add(d); r.rows(prefix) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("%s is still there", what)
		}
	}
}

// The mail of a deleted account stays until its time and goes then, also when the
// store was closed meanwhile.
func TestDeletedAccountIsKept(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	big := make([]byte, 100<<10)
	for i := range big {
		big[i] = byte(rand.Uint32())
	}
	r.append(r.inbox, newMessage("a", "text", big), "")
	gone, until := r.acct, time.Now().Add(time.Hour).Truncate(time.Millisecond)
	r.must(r.s.DeleteAccount(r.ctx, gone, until))
	r.createAccount("user") // the name and the address are free
	r.append(r.inbox, newMessage("b", "text"), "")
	r.close()
	r.open()
	time.Sleep(5 * options(r.fs).SweepInterval)

	k := r.kept(gone)
	acct, view, err := decodeAccount(k.account)
	if err != nil || view != "user" || acct.ID != gone || !fromMillis(k.until).Equal(until) {
		t.Errorf("kept %+v of %q until %v (%v)", acct, view, fromMillis(k.until), err)
	}
	if head, err := decodeAccountHead(k.head); err != nil || head.used == 0 {
		t.Errorf("kept state %+v (%v)", head, err)
	}
	if len(k.addresses) != 1 {
		t.Fatalf("%d addresses are kept", len(k.addresses))
	}
	if a, err := decodeAddress(k.addresses[0]); err != nil || a.Account != gone {
		t.Errorf("kept address %+v (%v)", a, err)
	}
	for _, tab := range []byte{tabMailbox, tabMailboxHead, tabHot, tabDocument} {
		if r.rows(accountKey(tab, gone)) == 0 {
			t.Errorf("no rows of table %c are left", tab)
		}
	}
	report, err := r.s.Check(r.ctx, CheckOptions{})
	if r.must(err); report.Problems > 0 {
		t.Errorf("check: %d problems", report.Problems)
	}

	again := store.NewAccount{Account: mail.Account{ID: gone, Username: "again"}, View: "again", Mailboxes: []mail.Mailbox{{Path: "INBOX"}}}
	if _, err := r.s.CreateAccount(r.ctx, again); mail.CodeOf(err) != mail.CodeExists {
		t.Errorf("an account with the id of one that is kept: %v", err)
	}
	if err := r.s.DeleteAccount(r.ctx, gone, time.Now().Add(50*time.Millisecond)); mail.CodeOf(err) != mail.CodeNoAccount {
		t.Errorf("deleting again: %v", err)
	}
	r.goneWithin("the mail", 10*time.Second, idKey(tabOwned, gone))
	r.goneWithin("the note", 10*time.Second, idKey(tabDeletion, gone))
	r.goneWithin("the content", 10*time.Second, []byte{tabGarbage})
	if got := r.read(r.inbox, 1); !bytes.Contains(got, []byte("Subject: b")) {
		t.Errorf("the other account's message is %q", got)
	}
}

// A deletion that has begun is not put off.
func TestDeletionIsNotPutOff(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.append(r.inbox, newMessage("a", "text"), "")
	gone := r.acct
	r.must(r.s.DeleteAccount(r.ctx, gone, time.Time{}))
	if err := r.s.DeleteAccount(r.ctx, gone, time.Now().Add(time.Hour)); mail.CodeOf(err) != mail.CodeNoAccount {
		t.Errorf("deleting again: %v", err)
	}
	r.goneWithin("the mail", 10*time.Second, idKey(tabOwned, gone))
}

func TestDamagedDeletion(t *testing.T) {
	k := keptAccount{until: 1 << 60, account: []byte("account"), head: []byte("head"), addresses: [][]byte{[]byte("a"), nil}}
	value := k.value(0)
	for n := 1; n < len(value); n++ {
		if _, err := decodeKept(value[:n]); err == nil {
			t.Errorf("%d of %d octets are taken", n, len(value))
		}
	}
	if got, err := decodeKept(value); err != nil || got.until != k.until || len(got.addresses) != 2 || string(got.head) != "head" {
		t.Errorf("decoded %+v (%v)", got, err)
	}
	if value := k.value(1 << 60); value != nil {
		t.Errorf("a deletion that is due keeps %q", value)
	}
}
