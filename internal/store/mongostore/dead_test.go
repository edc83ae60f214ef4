package mongostore

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"mallard/internal/mail"
	"mallard/internal/testserver"
)

// What a dead node has left in a mailbox is completed although that fails in another one.
func TestSettleTheOtherMailboxes(t *testing.T) {
	t.Parallel()
	all := &cluster{TB: t, uri: testserver.Mongo(t)}
	s := all.node(hasty)
	dead := all.node(func(o *Options) { o.asleep = func() bool { return true } })
	accounts := []*cluster{all.sibling(t, "one", "a"), all.sibling(t, "two", "a"), all.sibling(t, "three", "a")}
	dead.hook = failAt("delete")
	for _, c := range accounts {
		c.fill(s, c.boxes[0], 1)
		if _, err := dead.Move(t.Context(), c.acct, c.boxes[0], c.boxes[1], mail.AllUIDs()); err == nil {
			t.Fatal("the move is made")
		}
	}
	var once sync.Once
	s.hook = func(step string) (err error) {
		if step == "delete" {
			once.Do(func() { err = errMine })
		}
		return err
	}
	if err := s.settleNotes(t.Context(), deadNode{id: dead.ledger.node}); !errors.Is(err, errMine) {
		t.Errorf("settle: %v", err)
	}
	left := 0
	for _, c := range accounts {
		notes, here, there := len(notesIn(t, s, c.boxes[0])), len(c.truth(c.boxes[0])), len(c.truth(c.boxes[1]))
		if notes != here || there != 1 {
			t.Errorf("%d notes, %d messages here, %d there", notes, here, there)
		}
		left += here
	}
	if left != 1 {
		t.Errorf("%d of 3 mailboxes are left, want the one that failed", left)
	}
}

// heldLocks are locks of which others hold those of mailboxes until the test lets them go.
type heldLocks struct {
	localLocks
	asked chan struct{}
	free  chan struct{}
	once  sync.Once
}

func (l *heldLocks) Lock(ctx context.Context, name string, ttl time.Duration) (func(), <-chan struct{}, error) {
	if strings.HasPrefix(name, "mail:mbwr:") {
		l.once.Do(func() { close(l.asked) })
		<-l.free
	}
	return l.localLocks.Lock(ctx, name, ttl)
}

// A node beats while it waits for a lock of which a dead node still is the owner.
func TestBeatWhileSettling(t *testing.T) {
	t.Parallel()
	c := &cluster{TB: t, uri: testserver.Mongo(t)}
	locks := &heldLocks{asked: make(chan struct{}), free: make(chan struct{})}
	s := c.node(hasty, func(o *Options) { o.Locks = locks })
	c.account("user", "a")
	c.fill(s, c.boxes[0], 1)
	victim, stopped := c.victim("delete", 1)
	c.fill(victim, c.boxes[0], 1) // the others know of it
	go func() { _, _ = victim.Move(context.Background(), c.acct, c.boxes[0], c.boxes[1], mail.AllUIDs()) }()
	<-stopped
	release := sync.OnceFunc(func() { close(locks.free) })
	defer release()
	<-locks.asked
	beat := func() time.Time {
		s.pulse.mu.Lock()
		defer s.pulse.mu.Unlock()
		return s.pulse.sent
	}
	asked := beat()
	eventually(t, "the node beats", func() bool { return beat().After(asked) })
	release()
	eventually(t, "what the other has left is settled", func() bool { return len(notesIn(t, s, c.boxes[0])) == 0 })
	if here, there := len(c.truth(c.boxes[0])), len(c.truth(c.boxes[1])); here != 0 || there != 2 {
		t.Errorf("%d messages here, %d there", here, there)
	}
}
