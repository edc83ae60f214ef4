package mongostore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/testserver"
)

// lossyLocks are locks of one node that can lose what it holds.
type lossyLocks struct {
	mu   sync.Mutex
	held []chan struct{}
}

func (l *lossyLocks) Lock(context.Context, string, time.Duration) (func(), <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := make(chan struct{})
	l.held = append(l.held, lost)
	return func() {}, lost, nil
}

func (l *lossyLocks) loseAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lost := range l.held {
		close(lost)
	}
	l.held = nil
}

// interrupted makes a MOVE that stops before the originals are removed, on a node that does not complete it.
func (c *cluster) interrupted(t *testing.T, locks Locks, from, to mail.MailboxID, uids mail.UIDSet) {
	t.Helper()
	s := c.node(func(o *Options) { o.Timeout, o.Locks = time.Minute, locks })
	s.hook = failAt("delete")
	if _, err := s.Move(t.Context(), c.acct, from, to, uids); !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Fatalf("move: %v", err)
	}
}

// complete completes what was interrupted in a mailbox.
func (c *cluster) complete(t *testing.T, s *Store, box mail.MailboxID) {
	t.Helper()
	for _, n := range notesIn(t, s, box) {
		must(t, s.repairNote(t.Context(), c.acct, box, &n))
	}
}

// A node loses the lock in the middle of a MOVE, and another one does something with the same messages. None is lost: what
// was expunged is in the archive, everything else is where it was to be moved to.
func TestMoveLosesTheLock(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name            string
		first           bool // an earlier MOVE of the same messages was interrupted
		other           func(t *testing.T, c *cluster, s *Store)
		there, archived int64
	}{
		{"the first is completed", true, func(t *testing.T, c *cluster, s *Store) {
			first := notesIn(t, s, c.boxes[0])[0]
			must(t, s.repairNote(t.Context(), c.acct, c.boxes[0], &first))
		}, 2, 0},
		{"it is repeated", false, func(t *testing.T, c *cluster, s *Store) {
			_, err := s.Move(t.Context(), c.acct, c.boxes[0], c.boxes[1], mail.AllUIDs())
			must(t, err)
		}, 2, 0},
		{"the mailbox is expunged", false, func(t *testing.T, c *cluster, s *Store) {
			_, err := s.Expunge(t.Context(), c.acct, c.boxes[0], mail.AllUIDs(), false)
			must(t, err)
		}, 2, 0},
		{"the messages expire", false, func(t *testing.T, c *cluster, s *Store) {
			must(t, s.expireMailbox(t.Context(), c.acct, c.boxes[0]))
		}, 0, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			locks := &lossyLocks{}
			c := &cluster{TB: t, uri: testserver.Mongo(t)}
			other := c.node(hasty, func(o *Options) { o.Locks = &lockServer{} })
			c.account("user", "a")
			s := c.node(hasty, func(o *Options) { o.Locks = locks })
			c.fill(s, c.boxes[0], 2)
			if tc.first {
				c.interrupted(t, nil, c.boxes[0], c.boxes[1], mail.AllUIDs())
			}
			s.hook = func(step string) error {
				if step == "chosen" {
					locks.loseAll()
					tc.other(t, c, other)
				}
				return nil
			}
			if _, err := s.Move(t.Context(), c.acct, c.boxes[0], c.boxes[1], mail.AllUIDs()); err != nil {
				t.Errorf("move: %v", err)
			}
			here, there, archived := len(c.truth(c.boxes[0])), int64(len(c.truth(c.boxes[1]))), count(t, s.archived(), bson.D{})
			if here != 0 || there != tc.there || archived != tc.archived {
				t.Errorf("%d messages here, %d there, %d in the archive; want 0, %d, %d", here, there, archived, tc.there, tc.archived)
			}
			c.balance()
			c.sound()
		})
	}
}

// A MOVE to another place, while an earlier one that was interrupted has not been completed, does not say that it has moved
// what the earlier one has. No message is lost or there twice.
func TestMoveElsewhere(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		gone bool // the locks are not to be had meanwhile
		to   int
	}{{"with the lock", false, 2}, {"without the lock", true, 2}, {"to the same place without the lock", true, 1}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			locks := &lockServer{}
			locks.gone.Store(tc.gone)
			c := &cluster{TB: t, uri: testserver.Mongo(t)}
			s := c.node(hasty, func(o *Options) { o.Locks = locks })
			c.account("user", "a", "b")
			c.fill(s, c.boxes[0], 3)
			c.interrupted(t, locks, c.boxes[0], c.boxes[1], mail.UIDSetOf(2, 3))
			_, err := s.Move(t.Context(), c.acct, c.boxes[0], c.boxes[tc.to], mail.AllUIDs())
			wants(t, "the second", err, mail.CodeUnavailable)
			locks.gone.Store(false)
			c.complete(t, s, c.boxes[0])
			for i, want := range map[int]map[int]int{1: {1: 3, 2: 0}, 2: {1: 2, 2: 1}}[tc.to] {
				if got := len(c.truth(c.boxes[i])); got != want {
					t.Errorf("%d messages in mailbox %d, want %d", got, i, want)
				}
			}
			if n := len(c.truth(c.boxes[0])); n > 0 {
				t.Errorf("%d messages are left", n)
			}
			c.balance()
			c.sound()
		})
	}
}

// A MOVE that fails to store its copies leaves those that an earlier one has stored.
func TestMoveLeavesCopies(t *testing.T) {
	t.Parallel()
	c := &cluster{TB: t, uri: testserver.Mongo(t)}
	s := c.node(hasty)
	c.account("user", "a")
	_, err := c.append(s, c.boxes[0], insertChunk+2)
	must(t, err)
	c.interrupted(t, nil, c.boxes[0], c.boxes[1], mail.UIDSetOf(1, 2))
	s.hook = failAt("insert")
	if _, err := s.Move(t.Context(), c.acct, c.boxes[0], c.boxes[1], mail.AllUIDs()); err == nil {
		t.Fatal("the second is made")
	}
	if n := len(c.truth(c.boxes[1])); n != 2 {
		t.Errorf("%d copies are there, want the 2 of the first", n)
	}
	s.hook = nil
	c.complete(t, s, c.boxes[0])
	eventually(t, "both are completed", func() bool { return len(notesIn(t, s, c.boxes[0])) == 0 })
	if here, there := len(c.truth(c.boxes[0])), len(c.truth(c.boxes[1])); here != insertChunk || there != 2 {
		t.Errorf("%d messages here and %d there, want %d and 2", here, there, insertChunk)
	}
	c.balance()
	c.sound()
}

// What is expunged where a MOVE has left it behind, whose copy is stored, keeps its octets and its attachments for the copy.
func TestExpungeAfterHalfAMove(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		expunge func(s *Store, acct mail.AccountID, box mail.MailboxID) error
	}{
		{"expunge", func(s *Store, acct mail.AccountID, box mail.MailboxID) error {
			res, err := s.Expunge(context.Background(), acct, box, mail.AllUIDs(), false)
			if err == nil && res.UIDs.Count() != 1 {
				err = errors.New("nothing was expunged")
			}
			return err
		}},
		{"delete", func(s *Store, acct mail.AccountID, box mail.MailboxID) error {
			_, err := s.Delete(context.Background(), acct, box, mail.AllUIDs(), false)
			return err
		}},
		{"WildDuck", func(s *Store, acct mail.AccountID, box mail.MailboxID) error {
			ctx := context.Background()
			msgs, err := s.readSet(ctx, box, mail.AllUIDs())
			if err == nil {
				err = s.archive(ctx, box, msgs)
			}
			if err == nil {
				_, err = s.messages().DeleteMany(ctx, bson.D{{Key: "mailbox", Value: oid(box)}})
			}
			if err == nil {
				_, err = s.users().UpdateByID(ctx, oid(acct), bson.D{{Key: "$inc", Value: bson.D{{Key: "storageUsed", Value: -msgs[0].Counted}}}})
			}
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := &cluster{TB: t, uri: testserver.Mongo(t)}
			s := c.node(hasty)
			acct, from, file := withAttachment(t, s)
			to, err := s.MailboxByPath(t.Context(), acct, "Other")
			must(t, err)
			c.acct, c.boxes = acct, []mail.MailboxID{from, to.ID}
			c.interrupted(t, nil, from, to.ID, mail.AllUIDs())
			must(t, tc.expunge(s, acct, from))
			if tc.name == "WildDuck" {
				c.complete(t, s, from)
			}
			eventually(t, "the move is completed", func() bool { return len(notesIn(t, s, from)) == 0 })
			refs, _, _ := s.counters(t, file)
			if here, there, archived := len(c.truth(from)), len(c.truth(to.ID)), count(t, s.archived(), bson.D{}); here != 0 || there != 1 || archived != 0 || refs != 1 {
				t.Errorf("%d messages here, %d there, %d in the archive, %d references; want 0, 1, 0, 1", here, there, archived, refs)
			}
			c.balance()
			c.sound()
		})
	}
}

// Who deletes a mailbox out of which a MOVE was interrupted leaves the copies their octets and attachments.
func TestDeleteMailboxAfterHalfAMove(t *testing.T) {
	t.Parallel()
	c := &cluster{TB: t, uri: testserver.Mongo(t)}
	s := c.node(hasty)
	acct, inbox, file := withAttachment(t, s)
	other, err := s.MailboxByPath(t.Context(), acct, "Other")
	must(t, err)
	c.acct, c.boxes = acct, []mail.MailboxID{inbox, other.ID}
	_, err = s.Move(t.Context(), acct, inbox, other.ID, mail.AllUIDs())
	must(t, err)
	c.interrupted(t, nil, other.ID, inbox, mail.AllUIDs())
	must(t, s.DeleteMailbox(t.Context(), acct, other.ID, 1000))
	refs, _, _ := s.counters(t, file)
	if here, archived := len(c.truth(inbox)), count(t, s.archived(), bson.D{}); here != 1 || archived != 0 || refs != 1 {
		t.Errorf("%d messages, %d in the archive, %d references; want 1, 0, 1", here, archived, refs)
	}
	c.balance()
	c.sound()
}

// What a node expunges while another one begins to move it, without the lock, stays in the archive.
func TestMoveOfWhatIsExpunged(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, "a")
	expunger, mover := c.nodes[0], c.nodes[1]
	c.fill(expunger, c.boxes[0], 1)
	var moved sync.WaitGroup
	archived, begun, expunged := make(chan struct{}), make(chan struct{}), make(chan struct{})
	mover.hook = func(step string) error {
		if step == "insert" {
			close(begun)
			<-expunged
		}
		return nil
	}
	expunger.hook = func(step string) error {
		if step == "archived" {
			close(archived)
			<-begun
		}
		return nil
	}
	moved.Go(func() {
		<-archived
		if _, err := mover.Move(context.Background(), c.acct, c.boxes[0], c.boxes[1], mail.AllUIDs()); err != nil {
			t.Errorf("move: %v", err)
		}
	})
	_, err := expunger.Expunge(t.Context(), c.acct, c.boxes[0], mail.AllUIDs(), false)
	close(expunged)
	moved.Wait()
	must(t, err)
	here, there, kept := len(c.truth(c.boxes[0])), len(c.truth(c.boxes[1])), count(t, expunger.archived(), bson.D{})
	if here != 0 || there != 0 || kept != 1 {
		t.Errorf("%d messages here, %d there, %d in the archive; want 0, 0, 1", here, there, kept)
	}
	c.sound()
}

// What a WildDuck node removes at the same time, which does not ask for the lock, gives up its references once.
func TestExpungeBesideWildDuck(t *testing.T) {
	t.Parallel()
	s := openStore(t, hasty, func(o *Options) { o.Locks = &lockServer{} })
	acct, inbox, file := withAttachment(t, s)
	other, err := s.MailboxByPath(t.Context(), acct, "Other")
	must(t, err)
	_, err = s.Copy(t.Context(), acct, inbox, other.ID, mail.AllUIDs(), 0)
	must(t, err)
	var once sync.Once
	s.hook = func(step string) (err error) {
		if step == "delete" {
			once.Do(func() {
				doc := only(t, s.messages(), bson.D{{Key: "mailbox", Value: oid(inbox)}})
				_, err = s.messages().DeleteMany(context.Background(), bson.D{{Key: "mailbox", Value: oid(inbox)}})
				err = errors.Join(err, s.dropReferences(context.Background(), referencesOf(doc)))
			})
		}
		return err
	}
	_, err = s.Expunge(t.Context(), acct, inbox, mail.AllUIDs(), false) // not archived, as there is a copy
	must(t, err)
	if refs, _, _ := s.counters(t, file); refs != 1 {
		t.Errorf("the copy is there, the file has %d references", refs)
	}
}
