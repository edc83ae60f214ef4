package storetest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// testCrashLoad cuts the power while several sessions append at the same time.
func testCrashLoad(t *testing.T, e Engine) {
	disk := e.New(t)
	if disk.Crash == nil || disk.Intercept == nil {
		t.Skip("the engine cannot crash")
	}
	l := &load{disk: disk, every: scale(25, 15, 2), sent: make(map[[sha256.Size]byte]bool)}
	s, err := disk.Open()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	for i := range 2 {
		a, err := s.CreateAccount(context.Background(), store.NewAccount{
			Account: mail.Account{Username: fmt.Sprint("load", i)}, View: fmt.Sprint("load", i), Mailboxes: []mail.Mailbox{{Path: "INBOX"}},
		})
		if err != nil {
			t.Fatalf("create account: %v", err)
		}
		b, err := s.MailboxByPath(context.Background(), a.ID, mail.Inbox)
		if err != nil {
			t.Fatalf("mailbox: %v", err)
		}
		l.accounts, l.boxes = append(l.accounts, a.ID), append(l.boxes, b.ID)
	}
	disk.Intercept(l.hook)
	l.maintain = e.Maintain
	l.deliver(t, s, scale(8, 20, 50))
	disk.Intercept(nil)
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	t.Logf("%d messages were acknowledged, %d crashes", len(l.acked), len(l.cuts))
	if len(l.cuts) == 0 {
		t.Fatal("no file operation was seen")
	}
	inParallel(t, len(l.cuts), func(i int) error {
		if err := l.verify(e, l.cuts[i]); err != nil {
			return fmt.Errorf("crash %d, before %s, after %d messages were acknowledged, with %d%% of what was not synced: %w",
				i, l.cuts[i].op, l.cuts[i].acked, l.cuts[i].percent, err)
		}
		return nil
	})
}

// load is deliveries from several sessions, and crashes under them.
type load struct {
	disk     *Disk
	every    int
	accounts []mail.AccountID
	boxes    []mail.MailboxID
	maintain func(ctx context.Context, s store.Store) error // may be nil

	mu     sync.Mutex
	writes int
	sent   map[[sha256.Size]byte]bool
	acked  []delivery
	cuts   []loadCut
}

// delivery is a message that was acknowledged.
type delivery struct {
	account mail.AccountID
	store.Appended
	sum [sha256.Size]byte
}

// loadCut is a disk after a crash.
type loadCut struct {
	op      string
	percent int
	acked   int // deliveries that were acknowledged before
	disk    *Disk
}

func (l *load) hook(op FileOp) error {
	if !op.Write && !op.Sync {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes++
	if l.writes%l.every == 0 {
		percent := []int{0, 50, 100}[l.writes/l.every%3]
		l.cuts = append(l.cuts, loadCut{op: op.Name, percent: percent, acked: len(l.acked), disk: l.disk.Crash(percent, uint64(l.writes))})
	}
	return nil
}

// deliver appends messages from four sessions.
func (l *load) deliver(t *testing.T, s store.Store, each int) {
	t.Helper()
	var wg sync.WaitGroup
	for session := range 4 {
		wg.Go(func() {
			for i := range each {
				if err := l.one(s, session, i); err != nil {
					t.Errorf("session %d, message %d: %v", session, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// one delivers one message to both accounts: a small one, or every fifth time one
// with a large attachment that it shares with others.
func (l *load) one(s store.Store, session, i int) error {
	ctx := context.Background()
	name := fmt.Sprintf("session %d message %d", session, i)
	c := content([]byte("Subject: "+name+"\r\n\r\n"+strings.Repeat(name+"\r\n", i%40)), "7bit")
	if i%5 == 4 {
		c = multipart(name, attachment(200_000, 76, "\r\n", uint64(i%2)))
	}
	sum := sha256.Sum256(sourceOf(c))
	l.mu.Lock()
	l.sent[sum] = true
	l.mu.Unlock()
	st, err := s.Stage(ctx, c)
	if err != nil {
		return err
	}
	defer st.Close()
	if l.maintain != nil && i%4 == session {
		if err := l.maintain(ctx, s); err != nil {
			return fmt.Errorf("maintain: %w", err)
		}
	}
	for k, acct := range l.accounts {
		out, err := s.Append(ctx, acct, l.boxes[k], []store.Append{{Staged: st}})
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.acked = append(l.acked, delivery{account: acct, Appended: out[0], sum: sum})
		l.mu.Unlock()
	}
	return nil
}

// verify looks for everything that was acknowledged and for nothing that was not sent.
func (l *load) verify(e Engine, cut loadCut) error {
	s, err := cut.disk.Open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	st, err := dump(context.Background(), s)
	if err != nil {
		return fmt.Errorf("the store does not fit together: %w", err)
	}
	type place struct {
		account mail.AccountID
		uid     mail.UID
	}
	found := make(map[place]delivery)
	for _, b := range st.Mailboxes {
		for i, r := range b.Rows {
			if !l.sent[b.Content[i]] {
				return fmt.Errorf("UID %d has octets that nobody sent", r.UID)
			}
			found[place{b.Account, r.UID}] = delivery{b.Account, store.Appended{ID: r.ID, EmailID: r.EmailID, ModSeq: r.ModSeq}, b.Content[i]}
		}
	}
	for _, d := range l.acked[:cut.acked] {
		got, ok := found[place{d.account, d.UID}]
		if !ok || got.sum != d.sum || got.ID != d.ID || got.ModSeq != d.ModSeq {
			return fmt.Errorf("the acknowledged message with UID %d is not there: %+v, found %+v (%v)", d.UID, d, got, ok)
		}
	}
	// A message that came after in an account must not be there without the ones before.
	for _, b := range st.Mailboxes {
		for i := 1; i < len(b.Rows); i++ {
			if b.Rows[i].ModSeq < b.Rows[i-1].ModSeq {
				return fmt.Errorf("UID %d has mod-sequence %d, UID %d has %d", b.Rows[i-1].UID, b.Rows[i-1].ModSeq, b.Rows[i].UID, b.Rows[i].ModSeq)
			}
		}
	}
	if err := check(e, s); err != nil {
		return err
	}
	return reopenSame(e, cut.disk, s)
}
