package mongostore

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"

	"mallard/internal/testserver"
	"mallard/internal/testserver/faultproxy"
)

// What was counted for a message that was not stored is taken off again, also when so many other changes came between
// that nobody knows any more whether it was counted.
func TestCountedInVain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openStore(t, func(o *Options) {
		o.patient, o.Lease, o.Timeout = 10*time.Second, 100*time.Millisecond, 500*time.Millisecond
	})
	acct := newAccount(t, s, "jane").ID
	for _, others := range []int{0, maxCharges + 1} {
		vain, err := s.charge(ctx, acct, 1000, false, 0)
		if err != nil {
			t.Fatal(err)
		}
		for range others {
			c, err := s.charge(ctx, acct, 10, false, 0)
			if err != nil {
				t.Fatal(err)
			}
			s.uncharge(ctx, c)
		}
		s.uncharge(ctx, vain)
		waitUsed(t, s, acct, 0)
	}
}

// A change that was not made is taken back, the answer to that is lost, and the next attempt takes it for one that was made.
func TestTakenBackTwice(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, func(o *Options) { o.Lease, o.Timeout = 100*time.Millisecond, 2*time.Second })
	s := f.s
	acct := newAccount(t, s, "jane").ID
	f.proxy.Fail(1, faultproxy.Fault{Where: faultproxy.Answer})
	vain := &charge{user: oid(acct), octets: 1000}
	vain.seq, vain.member = s.ledger.begin()
	s.uncharge(context.Background(), vain)
	if !f.proxy.Fired() {
		t.Fatal("nothing was lost")
	}
	waitUsed(t, s, acct, 0)
}

// waitUsed waits until an account uses so many octets, for as long as a recount may take.
func waitUsed(t *testing.T, s *Store, acct mail.AccountID, want int64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		doc, err := s.userDoc(context.Background(), bson.E{Key: "_id", Value: oid(acct)})
		if err != nil {
			t.Fatal(err)
		}
		used := integer(doc.Lookup("storageUsed"))
		if used == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d octets are counted, want %d", used, want)
		}
	}
}

// What a killed node has counted in vain is taken off by one that starts later, when no node lives meanwhile, and by one that
// lives, on an account that is never still. What it has stored stays counted, wherever the message has gone since.
func TestDeadNodesCharges(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := &cluster{TB: t, uri: testserver.Mongo(t)}
	c.node(hasty)
	c.account("user", "a")
	inbox, other := c.boxes[0], c.boxes[1]
	victim, err := Open(ctx, Options{URI: c.uri, Logger: testLogger(t), Lease: testLease, Dead: 3 * testLease, asleep: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { victim.stop(); _ = victim.disconnect() })
	stored := c.fill(victim, inbox, 4)
	if _, err := c.nodes[0].Expunge(ctx, c.acct, inbox, mail.UIDSet{{First: stored[0].UID, Last: stored[0].UID}}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.nodes[0].Move(ctx, c.acct, inbox, other, mail.UIDSet{{First: stored[1].UID, Last: stored[1].UID}}); err != nil {
		t.Fatal(err)
	}
	for _, ids := range [][]bson.ObjectID{nil, {bson.NewObjectID()}, {bson.NewObjectID(), bson.ObjectID(stored[2].ID)}} {
		if _, err := victim.charge(ctx, c.acct, 1000, false, 0, ids...); err != nil {
			t.Fatal(err)
		}
	}
	// WildDuck and a node that lives go on with the account.
	live := c.nodes[0]
	var busy sync.WaitGroup
	var done atomic.Bool
	busy.Go(func() {
		for !done.Load() {
			if err := c.wildduck(live, inbox, func() { time.Sleep(20 * time.Millisecond) }, true); err != nil {
				t.Error(err)
				return
			}
			if _, err := c.append(live, inbox, 1); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	late := c.node(hasty)
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if count(t, late.nodes(), bson.D{{Key: "_id", Value: victim.ledger.node}}) == 0 {
			break
		}
	}
	done.Store(true)
	busy.Wait()
	c.sound()
	if n := count(t, late.nodes(), bson.D{}); n != 1 {
		t.Errorf("%d nodes are known, want the one that counts", n)
	}
	user, err := late.userDoc(ctx, bson.E{Key: "_id", Value: oid(c.acct)})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range openEntries(user) {
		if e.node == victim.ledger.node {
			t.Errorf("an entry is left: %+v", e)
		}
	}
}

// onTheWay lets a node count a message and stop before it stores it; store lets it go on and waits for it.
func (c *cluster) onTheWay(s *Store) (store func()) {
	at, on := make(chan struct{}), make(chan struct{})
	s.hook = func(step string) error {
		if step == "insert" {
			close(at)
			<-on
		}
		return nil
	}
	var work sync.WaitGroup
	work.Go(func() {
		if _, err := c.append(s, c.boxes[0], 1); err != nil {
			c.Error(err)
		}
	})
	<-at
	return func() {
		close(on)
		work.Wait()
	}
}

// A node that was taken for dead wrongly counts again what others have taken back, when it stores the message after all.
func TestNotDead(t *testing.T) {
	t.Parallel()
	c := &cluster{TB: t, uri: testserver.Mongo(t)}
	slow := c.node(func(o *Options) { o.Dead = 3 * testLease; o.asleep = func() bool { return true } })
	c.account("user")
	store := c.onTheWay(slow)
	slow.pulse.mu.Lock()
	slow.pulse.sent = longAgo() // as if the machine had been suspended
	slow.pulse.mu.Unlock()
	other := c.node(hasty)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if used, err := other.Account(context.Background(), c.acct); err != nil || used.StorageUsed == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nobody has taken the octets back")
		}
	}
	store()
	c.sound()
}

// A node that ends leaves no row, and no entries; one that ends with something left to do leaves that to the others, which
// do it at once.
func TestSignOff(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := newCluster(t, 1)
	open := func() *Store {
		s, err := Open(ctx, Options{URI: c.uri, Logger: testLogger(t), Lease: testLease})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	c.fill(s, c.boxes[0], 2)
	if n := count(t, s.nodes(), bson.D{{Key: "_id", Value: s.ledger.node}}); n != 1 {
		t.Errorf("a node that counts has %d rows", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, c.nodes[0].nodes(), bson.D{{Key: "_id", Value: s.ledger.node}}); n != 0 {
		t.Errorf("a node that has ended has %d rows", n)
	}
	user, err := c.nodes[0].userDoc(ctx, bson.E{Key: "_id", Value: oid(c.acct)})
	if err != nil {
		t.Fatal(err)
	}
	if left := openEntries(user); len(left) != 0 {
		t.Errorf("entries are left: %+v", left)
	}

	s = open()
	vain, err := s.charge(ctx, c.acct, 1000, false, 0, bson.NewObjectID())
	if err != nil {
		t.Fatal(err)
	}
	s.settleLater(vain) // it does not come to that
	if _, err := s.users().UpdateOne(ctx, bson.D{{Key: "_id", Value: oid(c.acct)}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "storageUsed", Value: 77}}}}); err != nil {
		t.Fatal(err)
	}
	s.recountLater(oid(c.acct)) // nor to this
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, c.nodes[0].nodes(), bson.D{{Key: "_id", Value: s.ledger.node}, {Key: nodeEnded, Value: true}}); n != 1 {
		t.Errorf("a node that has ended with something to do has %d rows", n)
	}
	c.node(func(o *Options) { o.patient, o.Timeout, o.Dead = 10*time.Second, testLease, beatsPerDeath*testLease })
	c.balance()
	c.sound()
}

// Counting anew does not take messages on their way for octets in vain, nor those that are being removed.
func TestRecountOnTheWay(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := newCluster(t, 1)
	s := c.nodes[0]
	store := c.onTheWay(s)
	if before, after, err := c.node().RecountQuota(ctx, c.acct); err != nil || before != after || before == 0 {
		t.Errorf("a message on its way: %d octets, then %d, %v", before, after, err)
	}
	store()
	c.sound()
}
