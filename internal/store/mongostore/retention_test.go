package mongostore

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// aged is a store with a mailbox that has messages of all kinds of expiry.
type aged struct {
	*Store
	t    *testing.T
	acct mail.AccountID
	mbox mail.MailboxID
}

// came is when the messages of newAged came into their mailbox; one says so by its id alone.
var came = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newAged(t *testing.T, change ...func(*Options)) *aged {
	t.Helper()
	s := openStore(t, append([]func(*Options){func(o *Options) { o.Lease, o.redateBatch = 10*time.Millisecond, 2 }}, change...)...)
	acct := newAccount(t, s, "aged")
	box, err := s.MailboxByPath(t.Context(), acct.ID, "INBOX")
	must(t, err)
	a := &aged{s, t, acct.ID, box.ID}
	at := float64(came.UnixMilli())
	for i, more := range []bson.D{
		{{Key: "retentionTime", Value: at}, {Key: "retention", Value: int32(0)}, {Key: "exp", Value: false}},
		{{Key: "retentionTime", Value: at}, {Key: "retention", Value: int32(1000)}, {Key: "exp", Value: true}, {Key: "rdate", Value: at + 1000}},
		{{Key: "retentionTime", Value: at}, {Key: "exp", Value: true}, {Key: "rdate", Value: at + 5}}, // by the API
		{{Key: "exp", Value: false}},
		{{Key: "retentionTime", Value: at}, {Key: "exp", Value: true}, {Key: "rdate", Value: at + 7}, {Key: "userDeleted", Value: true}},
	} {
		a.plant(i+1, more)
	}
	a.plant(1500, bson.D{{Key: "retentionTime", Value: at}, {Key: "retention", Value: int32(0)}, {Key: "exp", Value: false}})
	_, err = s.mailboxes().UpdateOne(t.Context(), bson.D{{Key: "_id", Value: oid(box.ID)}}, bson.D{{Key: "$set", Value: bson.D{{Key: "uidNext", Value: int32(1500 + 1)}}}})
	must(t, err)
	return a
}

func (a *aged) plant(uid int, more bson.D) {
	a.t.Helper()
	doc := append(bson.D{
		{Key: "_id", Value: bson.NewObjectIDFromTimestamp(came)}, {Key: "user", Value: oid(a.acct)}, {Key: "mailbox", Value: oid(a.mbox)}, {Key: "uid", Value: int32(uid)},
	}, more...)
	_, err := a.messages().InsertOne(a.t.Context(), doc)
	must(a.t, err)
}

func (a *aged) keep(d time.Duration) {
	a.t.Helper()
	_, err := a.UpdateMailbox(a.t.Context(), a.acct, a.mbox, func(b *mail.Mailbox) error { b.Retention = d; return nil })
	must(a.t, err)
}

func (a *aged) redated(want int) {
	a.t.Helper()
	if n, err := a.Redate(a.t.Context()); err != nil || n != want {
		a.t.Errorf("%d tasks were done, want %d (%v)", n, want, err)
	}
}

// dates checks that all messages expire that long after they came, never with 0, but for the one of a deleted account.
func (a *aged) dates(when string, keep time.Duration) {
	a.t.Helper()
	docs, err := findAll(a.t.Context(), a.messages(), bson.D{{Key: "mailbox", Value: oid(a.mbox)}}, nil, bson.D{{Key: "uid", Value: 1}})
	must(a.t, err)
	for _, d := range docs {
		if truth(d.Lookup("userDeleted")) {
			if d.Lookup("rdate").Double() != float64(came.UnixMilli()+7) {
				a.t.Errorf("%s: a message of a deleted account got another date: %v", when, d)
			}
			continue
		}
		at := d.Lookup("retentionTime")
		_, dated := d.Lookup("rdate").DoubleOK()
		good := at.Type == bson.TypeDouble && at.Double() == float64(came.UnixMilli()) && integer(d.Lookup("retention")) == keep.Milliseconds() &&
			truth(d.Lookup("exp")) == (keep > 0) && dated == (keep > 0)
		if good && dated {
			good = d.Lookup("rdate").Double() == at.Double()+float64(keep.Milliseconds())
		}
		if !good {
			a.t.Errorf("%s: %v", when, d)
		}
	}
}

// A mailbox that gets another retention has its messages dated anew, by a task such as WildDuck makes and does.
func TestRedate(t *testing.T) {
	a := newAged(t)
	a.keep(48 * time.Hour)
	a.keep(72 * time.Hour)
	select {
	case <-a.TaskMade():
	default:
		t.Error("nobody is told of the task")
	}
	// As a WildDuck's was.
	now := stored(time.Now())
	sample := bsonOf(t, bson.D{
		{Key: "_id", Value: bson.NewObjectID()}, {Key: "task", Value: taskRetention},
		{Key: "data", Value: bson.D{{Key: "user", Value: bson.NewObjectID()}, {Key: "mailbox", Value: bson.NewObjectID()}, {Key: "retentionCounter", Value: int32(1)}}},
		{Key: "locked", Value: false}, {Key: "lockedUntil", Value: now}, {Key: "created", Value: now}, {Key: "status", Value: "waiting"}, {Key: "updated", Value: now},
	})
	task := only(t, a.tasks(), bson.D{})
	if !sameShape(sample, task) {
		t.Errorf("the task is\n%v, WildDuck's\n%v", task, sample)
	}
	if n := integer(task.Lookup("data", "retentionCounter")); n != 2 || task.Lookup("data", "mailbox").ObjectID() != oid(a.mbox) {
		t.Errorf("the task is %v", task)
	}
	a.redated(1)
	a.dates("72 h", 72*time.Hour)
	if n := count(t, a.tasks(), bson.D{}); n != 0 {
		t.Errorf("%d tasks are left", n)
	}
	a.redated(0)
	a.keep(0)
	a.redated(1)
	a.dates("for ever", 0)
	// What changes nothing of it makes no task.
	_, err := a.UpdateMailbox(t.Context(), a.acct, a.mbox, func(b *mail.Mailbox) error { b.Subscribed = !b.Subscribed; return nil })
	must(t, err)
	a.redated(0)
}

// UIDs that no message has cost nothing, however many there are: those of a mailbox that was restored begin anywhere.
func TestRedateSparse(t *testing.T) {
	a := newAged(t)
	at := float64(came.UnixMilli())
	far := math.MaxInt32 - 10
	a.plant(far, bson.D{{Key: "retentionTime", Value: at}, {Key: "retention", Value: int32(0)}, {Key: "exp", Value: false}})
	_, err := a.mailboxes().UpdateOne(t.Context(), bson.D{{Key: "_id", Value: oid(a.mbox)}}, bson.D{{Key: "$set", Value: bson.D{{Key: "uidNext", Value: int64(math.MaxUint32)}}}})
	must(t, err)
	a.keep(time.Hour)
	steps := 0
	a.hook = func(step string) error {
		if step != "redate" {
			return nil
		}
		if steps++; steps > 10 {
			return errMine
		}
		return nil
	}
	a.redated(1)
	if steps != 4 { // two messages each
		t.Errorf("%d updates", steps)
	}
	a.dates("an hour", time.Hour)
}

func bsonOf(t *testing.T, d bson.D) bson.Raw {
	t.Helper()
	b, err := bson.Marshal(d)
	must(t, err)
	return b
}

// sameShape reports whether two documents have the same members with values of the same types.
func sameShape(a, b bson.Raw) bool {
	left, _ := a.Elements()
	right, _ := b.Elements()
	if len(left) != len(right) {
		return false
	}
	for _, e := range left {
		v := b.Lookup(e.Key())
		if v.Type != e.Value().Type || v.Type == bson.TypeEmbeddedDocument && !sameShape(e.Value().Document(), v.Document()) {
			return false
		}
	}
	return true
}

// The tasks of WildDuck nodes and of nodes that died are done, those that somebody does are left alone, and what concerns
// nothing is removed.
func TestRedateTasks(t *testing.T) {
	a := newAged(t)
	_, err := a.mailboxes().UpdateOne(t.Context(), bson.D{{Key: "_id", Value: oid(a.mbox)}}, bson.D{{Key: "$set", Value: bson.D{{Key: "retention", Value: 60_000.0}}}})
	must(t, err)
	task := func(name string, locked any, until time.Time, data bson.D) {
		_, err := a.tasks().InsertOne(t.Context(), bson.D{
			{Key: "task", Value: name}, {Key: "data", Value: data}, {Key: "locked", Value: locked}, {Key: "lockedUntil", Value: stored(until)},
			{Key: "created", Value: stored(longAgo())}, {Key: "status", Value: "waiting"},
		})
		must(t, err)
	}
	mine := bson.D{{Key: "user", Value: oid(a.acct)}, {Key: "mailbox", Value: oid(a.mbox)}, {Key: "retentionCounter", Value: int32(1)}}
	node := bson.Binary{Data: make([]byte, 12)}
	task(taskRetention, node, time.Now().Add(time.Hour), mine) // somebody does it now
	a.redated(0)
	task(taskRetention, node, longAgo(), mine) // who did it is dead
	task(taskRetention, false, longAgo(), bson.D{{Key: "user", Value: oid(a.acct)}, {Key: "mailbox", Value: bson.NewObjectID()}})
	task(taskRetention, false, longAgo(), bson.D{{Key: "user", Value: bson.NewObjectID()}, {Key: "mailbox", Value: oid(a.mbox)}})
	task(taskRetention, false, longAgo(), bson.D{})
	task("restore", false, longAgo(), mine)
	a.redated(4)
	a.dates("a minute", time.Minute)
	if n := count(t, a.tasks(), bson.D{}); n != 2 {
		t.Errorf("%d tasks are left, want 2", n)
	}
}

// A task that fails is free again and does not keep others from being done; a retention that changes while a task is done
// counts.
func TestRedateAgain(t *testing.T) {
	a := newAged(t)
	a.keep(time.Hour)
	other, err := a.MailboxByPath(t.Context(), a.acct, "Trash")
	must(t, err)
	fail, steps := true, 0
	a.hook = func(step string) error {
		if step != "redate" {
			return nil
		}
		if steps++; steps == 2 && fail {
			return errMine
		}
		if steps == 2 && !fail {
			a.keep(2 * time.Hour)
		}
		return nil
	}
	_, err = a.UpdateMailbox(t.Context(), a.acct, other.ID, func(b *mail.Mailbox) error { b.Retention = time.Hour; return nil })
	must(t, err)
	if n, err := a.Redate(t.Context()); n != 1 || !errors.Is(err, errMine) {
		t.Errorf("%d tasks were done (%v)", n, err)
	}
	left := only(t, a.tasks(), bson.D{})
	if left.Lookup("locked").Type != bson.TypeBoolean || text(left.Lookup("status")) != "waiting" || integer(left.Lookup("runCount")) != 1 {
		t.Errorf("the task that failed is %v", left)
	}
	fail, steps = false, 0
	a.redated(2) // the one of the change in between as well
	a.dates("two hours", 2*time.Hour)
}

// Nodes that look for tasks at the same time do each once.
func TestRedateTogether(t *testing.T) {
	a := newAged(t)
	b := reopenStore(t, a.o.URI)
	a.keep(time.Hour)
	var wg sync.WaitGroup
	done := make([]int, 4)
	for i, s := range []*Store{a.Store, b, a.Store, b} {
		wg.Go(func() {
			n, err := s.Redate(t.Context())
			done[i] = n
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if done[0]+done[1]+done[2]+done[3] != 1 {
		t.Errorf("done %v times", done)
	}
	a.dates("an hour", time.Hour)
}

// Of a mailbox that is deleted while its messages are dated anew nothing stays.
func TestRedateDeleted(t *testing.T) {
	a := newAged(t)
	a.keep(time.Hour)
	a.hook = func(step string) error {
		if step == "redate" { // as WildDuck does it: the mailbox goes, its messages later
			_, err := a.mailboxes().DeleteOne(context.WithoutCancel(t.Context()), bson.D{{Key: "_id", Value: oid(a.mbox)}})
			return err
		}
		return nil
	}
	a.redated(1)
	a.hook = nil
	if n := count(t, a.messages(), bson.D{{Key: "exp", Value: true}, {Key: "rdate", Value: bson.D{{Key: "$lt", Value: float64(time.Now().UnixMilli())}}}}); n != count(t, a.messages(), bson.D{}) {
		t.Errorf("only %d messages go", n)
	}
}

// Nor does anything stay when who dated the messages could not end the task: that the mailbox is gone is all that who has the
// task next can see.
func TestRedateDeletedAgain(t *testing.T) {
	a := newAged(t)
	a.keep(time.Hour)
	a.keep(0) // so that messages that were to go are to stay
	steps := 0
	a.hook = func(step string) error {
		if step != "redate" {
			return nil
		}
		if steps++; steps == 1 { // as WildDuck does it: the mailbox goes, its messages are marked
			ctx := context.WithoutCancel(t.Context())
			if _, err := a.mailboxes().DeleteOne(ctx, bson.D{{Key: "_id", Value: oid(a.mbox)}}); err != nil {
				return err
			}
			_, err := a.messages().UpdateMany(ctx, bson.D{{Key: "mailbox", Value: oid(a.mbox)}}, bson.D{{Key: "$set", Value: bson.D{{Key: "exp", Value: true}, {Key: "rdate", Value: 1.0}}}})
			return err
		}
		return errMine // the node ends
	}
	if n, err := a.Redate(t.Context()); n != 0 || !errors.Is(err, errMine) {
		t.Fatalf("%d tasks were done (%v)", n, err)
	}
	a.hook = nil
	if n := count(t, a.messages(), bson.D{{Key: "exp", Value: false}}); n == 0 {
		t.Fatal("no message got another date: the test shows nothing")
	}
	a.redated(1)
	if n := count(t, a.messages(), bson.D{{Key: "exp", Value: true}, {Key: "rdate", Value: bson.D{{Key: "$lt", Value: float64(time.Now().UnixMilli())}}}}); n != count(t, a.messages(), bson.D{}) {
		t.Errorf("only %d messages go", n)
	}
}

// What a COPY or MOVE of many messages stores after the retention has changed is dated by the new one: the task that dates
// the others anew does not wait for it.
func TestRetentionChangesDuringCopy(t *testing.T) {
	for name, do := range map[string]func(a *aged, to mail.MailboxID) error{
		"copy": func(a *aged, to mail.MailboxID) error {
			_, err := a.Copy(a.t.Context(), a.acct, a.mbox, to, mail.AllUIDs(), 0)
			return err
		},
		"move": func(a *aged, to mail.MailboxID) error {
			_, err := a.Move(a.t.Context(), a.acct, a.mbox, to, mail.AllUIDs())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAged(t, func(o *Options) { o.Lease = time.Minute }) // longer than what is stored takes
			for uid := 10; uid < 10+batchMessages; uid++ {
				a.plant(uid, nil)
			}
			trash, err := a.MailboxByPath(t.Context(), a.acct, "Trash")
			must(t, err)
			changed := false
			a.hook = func(step string) error {
				if step != "reserve" || changed {
					return nil
				}
				changed = true // when the first batch is dated
				_, err := a.UpdateMailbox(context.WithoutCancel(t.Context()), a.acct, trash.ID, func(b *mail.Mailbox) error { b.Retention = 48 * time.Hour; return nil })
				return err
			}
			must(t, do(a, trash.ID))
			docs, err := findAll(t.Context(), a.messages(), bson.D{{Key: "mailbox", Value: oid(trash.ID)}}, nil, bson.D{{Key: "uid", Value: 1}})
			must(t, err)
			if len(docs) <= batchMessages {
				t.Fatalf("%d messages are there, which is one batch", len(docs))
			}
			for _, d := range docs[batchMessages:] {
				if integer(d.Lookup("retention")) != (48*time.Hour).Milliseconds() || !truth(d.Lookup("exp")) {
					t.Errorf("message %v of the second batch is dated by the retention from before", d.Lookup("uid"))
				}
			}
		})
	}
}

// A claim that has come to its end is somebody else's, and the work stops.
func TestTaskLost(t *testing.T) {
	a := newAged(t)
	a.keep(time.Hour)
	c, err := a.claimTask(t.Context(), taskRetention, nil)
	must(t, err)
	c.renewed = time.Now().Add(-taskRenewal)
	must(t, c.renew(t.Context()))
	if d := only(t, a.tasks(), bson.D{}); text(d.Lookup("status")) != "processing" || integer(d.Lookup("extendCount")) != 1 {
		t.Errorf("renewed it is %v", d)
	}
	_, err = a.tasks().UpdateOne(t.Context(), bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "locked", Value: bson.Binary{Data: make([]byte, 12)}}}}})
	must(t, err)
	c.renewed = time.Now().Add(-taskRenewal)
	if err := a.redateTask(t.Context(), c); !errors.Is(err, errTaskLost) {
		t.Errorf("it goes on: %v", err)
	}
	must(t, c.done(t.Context()))
	c.release(t.Context())
	if d := only(t, a.tasks(), bson.D{}); d.Lookup("locked").Type != bson.TypeBinary {
		t.Errorf("somebody else's task was let go: %v", d)
	}
}

// A message that was being stored when the retention changed is dated by the new one.
func TestRedateWaits(t *testing.T) {
	a := newAged(t, func(o *Options) { o.Lease = 3 * time.Second })
	a.keep(time.Hour)
	begin := time.Now()
	time.AfterFunc(100*time.Millisecond, func() {
		a.plant(700, bson.D{{Key: "retentionTime", Value: float64(came.UnixMilli())}, {Key: "retention", Value: int32(0)}, {Key: "exp", Value: false}})
	})
	a.redated(1)
	if took := time.Since(begin); took < 2950*time.Millisecond {
		t.Errorf("it began after %s", took)
	}
	a.dates("an hour", time.Hour)
}
