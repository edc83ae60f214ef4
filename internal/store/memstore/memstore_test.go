package memstore_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// fill makes an account with n messages in INBOX.
func fill(t *testing.T, s *memstore.Store, n int) (mail.AccountID, mail.MailboxID) {
	t.Helper()
	ctx := context.Background()
	a, err := s.CreateAccount(ctx, store.NewAccount{View: "u", Mailboxes: []mail.Mailbox{{Path: mail.Inbox}}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.MailboxByPath(ctx, a.ID, mail.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("Subject: x\r\n\r\nbody\r\n")
	st, err := s.Stage(ctx, &store.Content{
		Source: bytes.NewReader(text), Size: int64(len(text)), Header: text[:14], Envelope: []byte("envelope"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if _, err := s.Append(ctx, a.ID, b.ID, []store.Append{{Staged: st}}); err != nil {
			t.Fatal(err)
		}
	}
	return a.ID, b.ID
}

// A body is opened while others change the flags of its message: nobody writes what another reads.
func TestOpenWhileFlagsChange(t *testing.T) {
	ctx := context.Background()
	s := memstore.New(memstore.Options{})
	acct, mbox := fill(t, s, 1)
	for row, err := range s.Fetch(ctx, acct, mbox, store.FetchQuery{Fields: store.FieldBody}) {
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			update := store.FlagUpdate{UIDs: mail.UIDSetOf(row.UID), Mode: store.FlagsAdd, Flags: mail.Flags{System: mail.Seen}}
			if _, err := s.UpdateFlags(ctx, acct, mbox, update); err != nil {
				t.Error(err)
			}
		})
		if _, err := row.Open(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}

func TestMangle(t *testing.T) {
	ctx := context.Background()
	s := memstore.New(memstore.Options{Mangle: true})
	acct, mbox := fill(t, s, 2)
	var envelope, header []byte
	var kept *store.Row
	var content store.Body
	for row, err := range s.Fetch(ctx, acct, mbox, store.FetchQuery{Fields: store.FieldEnvelope | store.FieldHeader}) {
		if err != nil {
			t.Fatal(err)
		}
		if kept != nil { // the row before has ended
			break
		}
		kept, envelope, header = row, row.Envelope, row.Header
		if string(envelope) != "envelope" || string(header) != "Subject: x\r\n\r\n" {
			t.Fatalf("row has %q and %q", envelope, header)
		}
		if content, err = row.Open(); err != nil {
			t.Fatal(err)
		}
		if err := content.WriteRange(&bytes.Buffer{}, 0, content.Size()); err != nil {
			t.Fatal(err)
		}
	}
	if string(envelope) == "envelope" || string(header) == "Subject: x\r\n\r\n" || kept.UID != 0 {
		t.Error("a row that ended can still be read")
	}
	if err := content.WriteRange(&bytes.Buffer{}, 0, 1); err == nil {
		t.Error("the body of a row that ended can still be read")
	}
	if _, err := kept.Open(); err == nil {
		t.Error("a row that ended can still open its body")
	}
}

// Mangle must not reach what is stored: everything reads the same a second time.
func TestMangleKeepsStore(t *testing.T) {
	ctx := context.Background()
	s := memstore.New(memstore.Options{Mangle: true})
	acct, mbox := fill(t, s, 1)
	if err := s.PutRecord(ctx, "k", "a", []byte("value")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for row, err := range s.Fetch(ctx, acct, mbox, store.FetchQuery{Fields: store.FieldEnvelope}) {
			if err != nil || string(row.Envelope) != "envelope" {
				t.Fatalf("row has %q, %v", row.Envelope, err)
			}
		}
		for _, v := range s.Records(ctx, "k") {
			if string(v) != "value" {
				t.Fatalf("record is %q", v)
			}
		}
		b, err := s.Open(ctx, acct, mbox, 1)
		if err != nil {
			t.Fatal(err)
		}
		var w bytes.Buffer
		if err := b.WriteRange(&w, 0, b.Size()); err != nil || w.String() != "Subject: x\r\n\r\nbody\r\n" {
			t.Fatalf("content is %q, %v", w.String(), err)
		}
	}
}

func TestFault(t *testing.T) {
	ctx := context.Background()
	broken := errors.New("broken")
	fail := ""
	s := memstore.New(memstore.Options{Fault: func(op string) error {
		if op == fail {
			return broken
		}
		return nil
	}})
	acct, mbox := fill(t, s, 2)
	first := func() error {
		for _, err := range s.Fetch(ctx, acct, mbox, store.FetchQuery{}) {
			return err
		}
		return nil
	}
	body, err := s.Open(ctx, acct, mbox, 1)
	if err != nil {
		t.Fatal(err)
	}
	for op, run := range map[string]func() error{
		"Fetch":      first,
		"FetchRow":   first,
		"WriteRange": func() error { return body.WriteRange(&bytes.Buffer{}, 0, 1) },
		"Expunge":    func() error { _, err := s.Expunge(ctx, acct, mbox, mail.AllUIDs(), false); return err },
		"Append":     func() error { _, err := s.Append(ctx, acct, mbox, nil); return err },
	} {
		fail = op
		if err := run(); !errors.Is(err, broken) {
			t.Errorf("%s: %v, want the injected error", op, err)
		}
		fail = ""
	}
	if c, err := s.Counters(ctx, acct, mbox); err != nil || c[mbox].Messages != 2 {
		t.Errorf("after the faults there are %d messages (%v), want 2", c[mbox].Messages, err)
	}
}

func TestTombstones(t *testing.T) {
	ctx := context.Background()
	s := memstore.New(memstore.Options{Tombstones: 2})
	acct, mbox := fill(t, s, 5)
	start, err := s.Changes(ctx, acct, mbox, 0)
	if err != nil || start.Whole || start.Changed.Len() != 5 {
		t.Fatalf("at the start: %+v, %v", start, err)
	}
	if _, err := s.Expunge(ctx, acct, mbox, mail.UIDSetOf(1, 2), false); err != nil {
		t.Fatal(err)
	}
	if set, err := s.Changes(ctx, acct, mbox, start.To); err != nil || set.Whole || set.Expunged.String() != "1:2" {
		t.Errorf("as many as are remembered: %+v, %v", set, err)
	}
	mid, err := s.Expunge(ctx, acct, mbox, mail.OneUID(3), false)
	if err != nil {
		t.Fatal(err)
	}
	if set, err := s.Changes(ctx, acct, mbox, start.To); err != nil || !set.Whole || set.Changed.Len() != 2 || set.Expunged != nil {
		t.Errorf("more than are remembered: %+v, %v", set, err)
	}
	if set, err := s.Changes(ctx, acct, mbox, mid.ModSeq); err != nil || set.Whole || set.Changed.Len() != 0 {
		t.Errorf("nothing new: %+v, %v", set, err)
	}
}
