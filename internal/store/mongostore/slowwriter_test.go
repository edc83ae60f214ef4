package mongostore

import (
	"sync"
	"testing"
	"time"

	"mallard/internal/mail"
	"mallard/internal/testserver"
)

// slowWriter is WildDuck that has taken the UID of a message; the function that it returns has the message stored.
func (c *cluster) slowWriter(s *Store, box mail.MailboxID, row bool) (finish func()) {
	c.Helper()
	taken, finished, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- c.wildduck(s, box, func() {
			close(taken)
			<-finished
		}, row)
	}()
	finish = sync.OnceFunc(func() {
		close(finished)
		if err := <-done; err != nil {
			c.Error(err)
		}
	})
	c.Cleanup(finish)
	select {
	case <-taken:
	case err := <-done:
		done <- err
		c.Fatalf("no UID is taken: %v", err)
	}
	return finish
}

// A UID whose writer is slow holds back what comes after it, for a time.
func TestSlowWriterKeepsTheOrder(t *testing.T) {
	t.Parallel()
	c := &cluster{TB: t, uri: testserver.Mongo(t)}
	for range 2 {
		c.node(func(o *Options) { o.Lease = time.Minute }) // so long is the writer waited for
	}
	c.account("user")
	o := c.observer(c.nodes[1], c.boxes[0])
	c.fill(c.nodes[0], c.boxes[0], 1)
	if err := o.read(); err != nil || o.shown != 1 {
		t.Fatalf("shown up to %d, %v", o.shown, err)
	}
	slow := c.slowWriter(c.nodes[0], c.boxes[0], true)
	c.fill(c.nodes[0], c.boxes[0], 1)
	if err := o.read(); err != nil || o.shown != 1 || o.next != 2 {
		t.Errorf("while UID 2 is on its way: shown up to %d, UIDNEXT %d, %v; want 1, 2", o.shown, o.next, err)
	}
	slow()
	if err := o.read(); err != nil || o.shown != 3 || !o.seen[2] {
		t.Errorf("afterwards: shown up to %d, UID 2 %v, %v", o.shown, o.seen[2], err)
	}
}

// A message that comes when its UID has been passed gets another one: it is seen, on every node, and in order.
func TestLateMessageGetsAnotherUID(t *testing.T) {
	for _, row := range []bool{true, false} {
		c := newCluster(t, 2)
		box := c.boxes[0]
		observers := []*observer{c.observer(c.nodes[0], box), c.observer(c.nodes[1], box)}
		c.fill(c.nodes[0], box, 1)
		slow := c.slowWriter(c.nodes[0], box, row)
		c.fill(c.nodes[1], box, 1)
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			for _, o := range observers {
				if err := o.read(); err != nil {
					t.Fatal(err)
				}
			}
			if observers[0].shown == 3 && observers[1].shown == 3 {
				break
			}
		}
		if observers[0].shown != 3 || observers[1].shown != 3 || observers[0].seen[2] {
			t.Fatalf("shown up to %d and %d, UID 2 %v; want 3, 3, false", observers[0].shown, observers[1].shown, observers[0].seen[2])
		}
		slow()
		time.Sleep(time.Second) // UIDs that were passed are looked at once a second
		for _, o := range observers {
			if err := o.converge(); err != nil {
				t.Error(err)
			}
			if len(o.rows) != 3 || o.shown < 4 || o.seen[2] {
				t.Errorf("row %v: %v", row, o.rows)
			}
		}
		c.sound()
	}
}
