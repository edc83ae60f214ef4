package mongostore

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/testserver"
	"mallard/internal/testserver/faultproxy"
)

// lockServer are locks of which the server can be gone.
type lockServer struct {
	localLocks
	gone atomic.Bool
}

func (l *lockServer) Lock(ctx context.Context, name string, ttl time.Duration) (func(), <-chan struct{}, error) {
	if l.gone.Load() {
		return nil, nil, errors.New("no server")
	}
	return l.localLocks.Lock(ctx, name, ttl)
}

// A client repeats a MOVE of which it does not know what came of it, while its node completes the first one. No message is
// lost, whatever comes of the second.
func TestMoveWhileItIsCompleted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		locks  Locks
		failAt string // where the first MOVE fails
		slowAt string // where the second one is while the first is completed
		ends   error  // what comes of it there
	}{
		{"without the lock", nil, "insert", "inserted", nil},
		{"with the lock", &lockServer{}, "insert", "inserted", nil},
		{"it fails", &lockServer{}, "delete", "insert", errors.New("no more of this")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, func(o *Options) {
				o.Timeout, o.Lease, o.patient, o.Locks = 300*time.Millisecond, 300*time.Millisecond, 10*time.Second, tc.locks
			})
			acct, from, to := twoBoxes(t, s)
			c := &cluster{TB: t, nodes: []*Store{s}, acct: acct.ID, boxes: []mail.MailboxID{from, to}}
			_, err := c.append(s, from, insertChunk+2)
			must(t, err)
			s.hook = failAt(tc.failAt)
			if _, err := s.Move(t.Context(), acct.ID, from, to, mail.AllUIDs()); err == nil {
				t.Fatal("the first is made")
			}
			var slow atomic.Int32
			s.hook = func(step string) error {
				if step != tc.slowAt || slow.Add(1) > 1 {
					return nil
				}
				for end := time.Now().Add(3 * time.Second); len(c.truth(from)) > 0 && time.Now().Before(end); {
					time.Sleep(20 * time.Millisecond)
				}
				return tc.ends
			}
			_, err = s.Move(t.Context(), acct.ID, from, to, mail.AllUIDs())
			if slow.Load() == 0 || (err != nil) != (tc.ends != nil) {
				t.Errorf("the second gives %v", err)
			}
			here, there := c.truth(from), c.truth(to)
			if ids := len(bothOf(t, s)); ids != insertChunk+2 {
				t.Errorf("of %d messages there are %d: %d and %d", insertChunk+2, ids, len(here), len(there))
			}
		})
	}
}

// A MOVE that is repeated before the first one is completed tells of the copies that are there.
func TestMoveAgain(t *testing.T) {
	t.Parallel()
	s := openStore(t, func(o *Options) { o.Locks = &lockServer{} })
	acct, from, to := twoBoxes(t, s)
	c := &cluster{TB: t, nodes: []*Store{s}, acct: acct.ID, boxes: []mail.MailboxID{from, to}}
	_, err := c.append(s, from, 3)
	must(t, err)
	s.hook = failAt("delete")
	if _, err := s.Move(t.Context(), acct.ID, from, to, mail.UIDSet{{First: 2, Last: 3}}); !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Fatal(err)
	}
	s.hook = nil
	// The client has seen one of them where it is now.
	_, err = s.UpdateFlags(t.Context(), acct.ID, to, store.FlagUpdate{UIDs: mail.OneUID(1), Flags: mail.NewFlags(mail.Seen)})
	must(t, err)
	res, err := s.Move(t.Context(), acct.ID, from, to, mail.AllUIDs())
	must(t, err)
	there := c.truth(to)
	if len(res.To) != 3 || len(there) != 3 || len(c.truth(from)) != 0 {
		t.Fatalf("moved %+v; there are %v", res, there)
	}
	for i, u := range res.To {
		row := only(t, s.journal(), bson.D{{Key: "mailbox", Value: oid(to)}, {Key: "uid", Value: int64(u)}, {Key: "command", Value: "EXISTS"}})
		h, ok := there[u]
		if !ok || integer(row.Lookup("modseq")) != int64(h.ModSeq) || row.Lookup("unseen").Boolean() == h.Flags.Has(mail.Seen) {
			t.Errorf("UID %d became %d (%v): %+v, the journal says %v", res.From[i], u, ok, h, row)
		}
	}
	eventually(t, "the first is completed", func() bool { return len(notesIn(t, s, from)) == 0 })
	c.sound()
}

// bothOf are the messages that there are, wherever they are.
func bothOf(t *testing.T, s *Store) map[string]bool {
	t.Helper()
	docs, err := findAll(t.Context(), s.messages(), bson.D{}, bson.D{{Key: "msgid", Value: 1}}, nil)
	must(t, err)
	ids := make(map[string]bool)
	for _, doc := range docs {
		ids[text(doc.Lookup("msgid"))] = true
	}
	return ids
}

// notesIn are the notes that a mailbox has.
func notesIn(t *testing.T, s *Store, box mail.MailboxID) []note {
	t.Helper()
	return notesOf(only(t, s.mailboxes(), bson.D{{Key: "_id", Value: oid(box)}}))
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not so after 30 seconds", what)
		}
	}
}

// While the locks of the nodes are not to be had nothing is deleted or taken out of the archive: another node may be at it.
func TestRepairWantsTheLock(t *testing.T) {
	t.Parallel()
	type state struct{ from, to, archived, references int64 }
	for _, tc := range []struct {
		name           string
		change         func(s *Store, acct mail.AccountID, from, to mail.MailboxID) error
		without, later state
	}{
		{"delete", func(s *Store, acct mail.AccountID, from, _ mail.MailboxID) error {
			_, err := s.Delete(context.Background(), acct, from, mail.AllUIDs(), true)
			return err
		}, state{1, 0, 1, 1}, state{1, 0, 0, 1}},
		{"move", func(s *Store, acct mail.AccountID, from, to mail.MailboxID) error {
			_, err := s.Move(context.Background(), acct, from, to, mail.AllUIDs())
			return err
		}, state{1, 1, 0, 1}, state{0, 1, 0, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			locks := &lockServer{}
			locks.gone.Store(true)
			s := openStore(t, func(o *Options) {
				o.Timeout, o.Lease, o.patient, o.Locks = 300*time.Millisecond, 300*time.Millisecond, 10*time.Second, locks
			})
			acct, from, file := withAttachment(t, s)
			to, err := s.MailboxByPath(t.Context(), acct, "Other")
			must(t, err)
			check := func(when string, want state) {
				t.Helper()
				in := func(box mail.MailboxID) int64 {
					return count(t, s.messages(), bson.D{{Key: "mailbox", Value: oid(box)}})
				}
				c, _, _ := s.counters(t, file)
				if got := (state{in(from), in(to.ID), count(t, s.archived(), bson.D{}), c}); got != want {
					t.Errorf("%s: there is %+v, want %+v", when, got, want)
				}
			}
			s.hook = failAt("delete")
			if err := tc.change(s, acct, from, to.ID); !errors.Is(err, store.ErrOutcomeUnknown) {
				t.Fatal(err)
			}
			s.hook = nil
			eventually(t, "the repair begins", func() bool {
				notes := notesIn(t, s, from)
				return len(notes) == 0 || !notes[0].Claimed.IsZero()
			})
			time.Sleep(time.Second)
			check("without the lock", tc.without)
			locks.gone.Store(false)
			eventually(t, "the repair ends", func() bool { return len(notesIn(t, s, from)) == 0 })
			check("with the lock", tc.later)
		})
	}
}

// A node that does not get the answer to its claim has it all the same, and no other.
func TestClaimWithoutAnswer(t *testing.T) {
	t.Parallel()
	uri := testserver.Mongo(t)
	server := strings.TrimSuffix(strings.TrimPrefix(os.Getenv("MALLARD_TEST_MONGO"), "mongodb://"), "/")
	proxy := faultproxy.Start(t, server, faultproxy.Mongo)
	s := reopenStore(t, proxy.In(uri))
	other := reopenStore(t, uri)
	acct, inbox, _ := twoBoxes(t, s)
	claimed := &note{Op: bson.NewObjectID(), At: s.o.Now()}
	_, err := s.reserve(t.Context(), acct.ID, inbox, 0, 1, claimed)
	must(t, err)
	for range 2 { // the first claim, and one that goes on after a minute
		late := notesIn(t, other, inbox)[0]
		proxy.Fail(1, faultproxy.Fault{Where: faultproxy.Answer})
		if _, err := s.claimNote(t.Context(), inbox, claimed); err == nil {
			t.Fatal("the claim has an answer")
		}
		if mine, err := s.claimNote(t.Context(), inbox, claimed); err != nil || !mine {
			t.Errorf("the next attempt: %v, %v", mine, err)
		}
		if theirs, err := other.claimNote(t.Context(), inbox, &late); err != nil || theirs {
			t.Errorf("another node: %v, %v", theirs, err)
		}
	}
}

// A note that was written twice, as the first answer was lost, does not hold any more when a node completes the change.
func TestNoteTwice(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	acct, inbox, _ := twoBoxes(t, s)
	n := &note{Op: bson.NewObjectID(), At: s.o.Now()}
	for range 2 {
		_, err := s.takeNumbers(t.Context(), acct.ID, inbox, 0, 1, n)
		must(t, err)
	}
	holds := func(want bool) {
		t.Helper()
		if got, err := s.noteHolds(t.Context(), inbox, n); err != nil || got != want {
			t.Errorf("it holds: %v, %v, want %v", got, err, want)
		}
	}
	holds(true)
	claimed := *n
	mine, err := s.claimNote(t.Context(), inbox, &claimed)
	if err != nil || !mine {
		t.Fatal(mine, err)
	}
	holds(false)
	s.dropNote(t.Context(), oid(inbox), n)
	holds(false)
}
