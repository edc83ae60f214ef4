package inspect_test

import (
	"bytes"
	"context"
	"io"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"mallard/internal/draft"
	"mallard/internal/inspect"
	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// filled is a store with an account and some messages.
func filled(t *testing.T) (s *memstore.Store, acct mail.AccountID, inbox mail.MailboxID, deliver func(n int)) {
	t.Helper()
	ctx := context.Background()
	s = memstore.New(memstore.Options{})
	a, err := s.CreateAccount(ctx, store.NewAccount{
		Account: mail.Account{Username: "jane"}, View: "jane", Address: &mail.Address{Address: "jane@example.org", View: "jane@example.org"},
		Mailboxes: []mail.Mailbox{{Path: "INBOX"}, {Path: "Trash"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.MailboxByPath(ctx, a.ID, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	receiver := draft.New(draft.Options{Dir: t.TempDir()})
	deliver = func(n int) {
		for range n {
			d, err := receiver.Receive(ctx, strings.NewReader("Subject: x\r\n\r\nhello\r\n"), 0)
			if err != nil {
				t.Error(err)
				return
			}
			st, err := s.Stage(ctx, d.Content())
			if err == nil {
				_, err = s.Append(ctx, a.ID, b.ID, []store.Append{{Staged: st, Prefix: []byte("X: y\r\n"), InternalDate: time.Now()}})
			}
			if err != nil {
				t.Error(err)
			}
			_ = st.Close()
			_ = d.Close()
		}
	}
	deliver(5)
	return s, a.ID, b.ID, deliver
}

// check runs a check and returns what it tells.
func check(t *testing.T, s store.Store) (*inspect.Report, string) {
	t.Helper()
	var all []string
	r, err := inspect.Check(context.Background(), s, inspect.Options{Problem: func(where, text string) { all = append(all, where+": "+text) }})
	if err != nil {
		t.Fatal(err)
	}
	if int(r.Problems) != len(all) {
		t.Errorf("%d problems, told %q", r.Problems, all)
	}
	return r, strings.Join(all, "\n")
}

func TestWell(t *testing.T) {
	s, _, _, _ := filled(t)
	r, told := check(t, s)
	if r.Problems != 0 || r.Counts["accounts"] != 1 || r.Counts["mailboxes"] != 2 || r.Counts["messages"] != 5 {
		t.Errorf("%+v %s", r, told)
	}
}

// liar is a store that tells something wrong.
type liar struct {
	store.Store
	account  func(*mail.Account)
	box      func(*mail.Mailbox)
	counters func(*mail.Counters)
	names    []string
	row      func(*store.Row)
	body     func([]byte) []byte
}

func (l liar) Account(ctx context.Context, id mail.AccountID) (*mail.Account, error) {
	a, err := l.Store.Account(ctx, id)
	if err == nil && l.account != nil {
		l.account(a)
	}
	return a, err
}

func (l liar) ListAccounts(ctx context.Context, q store.AccountQuery) (*store.AccountPage, error) {
	p, err := l.Store.ListAccounts(ctx, q)
	if err == nil && l.account != nil {
		for _, a := range p.Accounts {
			l.account(a)
		}
	}
	return p, err
}

func (l liar) ListMailboxes(ctx context.Context, acct mail.AccountID) ([]*mail.Mailbox, error) {
	all, err := l.Store.ListMailboxes(ctx, acct)
	if l.box != nil {
		for _, b := range all {
			l.box(b)
		}
	}
	return all, err
}

func (l liar) Subscriptions(ctx context.Context, acct mail.AccountID) ([]*mail.Mailbox, []string, error) {
	boxes, names, err := l.Store.Subscriptions(ctx, acct)
	return boxes, append(names, l.names...), err
}

func (l liar) Mailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID) (*mail.Mailbox, error) {
	b, err := l.Store.Mailbox(ctx, acct, id)
	if err == nil && l.box != nil {
		l.box(b)
	}
	return b, err
}

func (l liar) Counters(ctx context.Context, acct mail.AccountID, ids ...mail.MailboxID) (map[mail.MailboxID]mail.Counters, error) {
	all, err := l.Store.Counters(ctx, acct, ids...)
	if err == nil && l.counters != nil {
		for id, c := range all {
			l.counters(&c)
			all[id] = c
		}
	}
	return all, err
}

func (l liar) Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error] {
	return func(yield func(*store.Row, error) bool) {
		for row, err := range l.Store.Fetch(ctx, acct, mbox, q) {
			if err == nil {
				if l.row != nil {
					l.row(row)
				}
				open := row.Open
				row.Open = func() (store.Body, error) {
					b, err := open()
					if err != nil || l.body == nil {
						return b, err
					}
					return spoiled{b, l.body}, nil
				}
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

type spoiled struct {
	store.Body
	change func([]byte) []byte
}

func (s spoiled) WriteRange(w io.Writer, off, n int64) error {
	var b bytes.Buffer
	if err := s.Body.WriteRange(&b, off, n); err != nil {
		return err
	}
	changed := s.change(b.Bytes())
	if changed == nil {
		return mail.NewError(mail.CodeCorrupt, "a part is missing")
	}
	_, err := w.Write(changed)
	return err
}

func TestFinds(t *testing.T) {
	for name, tt := range map[string]struct {
		lie  liar
		want string
	}{
		"main address": {liar{account: func(a *mail.Account) { a.Address = "other@example.org" }}, "account jane: its main address other@example.org is none"},
		"quota":        {liar{account: func(a *mail.Account) { a.StorageUsed += 3 }}, "account jane: 138 octets are counted, its mailboxes have 135"},
		"no inbox":     {liar{box: func(b *mail.Mailbox) { b.Path = strings.ReplaceAll(b.Path, "INBOX", "in") }}, "account jane: it has no INBOX"},
		"names":        {liar{box: func(b *mail.Mailbox) { b.Path = "INBOX" }}, `account jane: two mailboxes have the name "INBOX"`},
		"subscribed":   {liar{names: []string{"Trash"}}, `account jane: "Trash" is subscribed as a name without a mailbox, but there is one`},
		"messages":     {liar{counters: func(c *mail.Counters) { c.Messages++ }}, "mailbox INBOX of jane: it has 5 messages, 5 of them unseen and 0 deleted; counted are 6, 5 and 0"},
		"UIDNEXT":      {liar{box: func(b *mail.Mailbox) { b.UIDNext = 5 }}, "message 5 of mailbox INBOX of jane: its UID is not below the next one, 5"},
		"mod-sequence": {liar{box: func(b *mail.Mailbox) { b.HighestModSeq = 3 }}, "above that of the mailbox, 3"},
		"twice":        {liar{row: func(r *store.Row) { r.UID = 3 }}, "message 3 of mailbox INBOX of jane: its UID comes after 3"},
		"size":         {liar{row: func(r *store.Row) { r.Size++ }}, "message 1 of mailbox INBOX of jane: it has 27 octets, its size is 28"},
		"envelope":     {liar{row: func(r *store.Row) { r.Envelope = nil }}, "its ENVELOPE or its BODYSTRUCTURE is missing"},
		"header":       {liar{body: func(b []byte) []byte { b[8]++; return b }}, "it does not begin with its header"},
		"unreadable":   {liar{body: func([]byte) []byte { return nil }}, "its octets cannot be read: a part is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _, _ := filled(t)
			tt.lie.Store = s
			if r, told := check(t, tt.lie); r.Problems == 0 || !strings.Contains(told, tt.want) {
				t.Errorf("%d problems: %s\nwant %q", r.Problems, told, tt.want)
			}
		})
	}
}

// Work beside it is no damage.
func TestBesideWork(t *testing.T) {
	s, acct, inbox, deliver := filled(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			deliver(3)
			_, err := s.Expunge(context.Background(), acct, inbox, mail.OneUID(1), false)
			if err != nil {
				t.Error(err)
			}
		}
	})
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		if r, told := check(t, s); r.Problems > 0 {
			t.Errorf("problems: %s", told)
		}
	}
	close(stop)
	wg.Wait()
}
