package mongostore

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// A deleted account is where WildDuck puts it, with a task that WildDuck does.
func TestDeletedAccountIsWildDucks(t *testing.T) {
	s := openStore(t)
	want := goldenRow(t, "deletedusers", "username", "dave")
	user, rows := restored(t, want)
	insertAll(t, s.users(), []bson.Raw{user})
	insertAll(t, s.addresses(), rows)
	id := want.Lookup("_id").ObjectID()
	task := golden(t, "tasks")[0]
	until := instant(task.Lookup("lockedUntil"))
	must(t, s.DeleteAccount(t.Context(), mail.AccountID(id), until))

	got := only(t, s.deletedUsers(), bson.D{})
	sameDocument(t, "deleted user", got, want, "deleteInfo", memberMallard)
	sameDocument(t, "deleteInfo", got.Lookup("deleteInfo").Document(), want.Lookup("deleteInfo").Document(), "deletedAt")
	if got.Lookup("deleteInfo", "deletedAt").Type != bson.TypeDateTime {
		t.Errorf("deleted at %v", got.Lookup("deleteInfo", "deletedAt"))
	}
	made := only(t, s.db.main.Collection(colTasks), bson.D{})
	sameMembers(t, made, task)
	for _, name := range []string{"task", "locked", "lockedUntil", "status", "data"} {
		if !sameValue(made.Lookup(name), task.Lookup(name)) {
			t.Errorf("task has %s %v, want %v", name, made.Lookup(name), task.Lookup(name))
		}
	}
	if n := count(t, s.users(), bson.D{}) + count(t, s.addresses(), bson.D{}); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// restored takes a deleted user apart into what it was.
func restored(t *testing.T, deleted bson.Raw) (user bson.Raw, addresses []bson.Raw) {
	t.Helper()
	var doc bson.D
	for _, e := range members(t, deleted, []string{"deleteInfo"}) {
		doc = append(doc, bson.E{Key: e.Key(), Value: e.Value()})
	}
	values, err := deleted.Lookup("deleteInfo", "addresses").Array().Values()
	must(t, err)
	for _, v := range values {
		addresses = append(addresses, v.Document())
	}
	return rawDoc(t, doc), addresses
}

// message stores a small message of a mailbox.
func (s *Store) plantMessage(t *testing.T, user, mailbox bson.ObjectID, uid int, size int) {
	t.Helper()
	_, err := s.db.main.Collection(colMessages).InsertOne(t.Context(), bson.D{
		{Key: "user", Value: user}, {Key: "mailbox", Value: mailbox}, {Key: "uid", Value: uid}, {Key: "size", Value: size}, {Key: "userDeleted", Value: false},
	})
	must(t, err)
}

func TestDeletionAtItsTime(t *testing.T) {
	clock := newClock(time.Now())
	s := openStore(t, func(o *Options) { o.Now = clock.Now })
	a, other := newAccount(t, s, "leaving"), newAccount(t, s, "staying")
	var box [2]bson.ObjectID
	for i, id := range []mail.AccountID{a.ID, other.ID} {
		ids, err := s.mailboxIDs(t.Context(), oid(id))
		must(t, err)
		box[i] = ids[0]
		s.plantMessage(t, oid(id), ids[0], 1, 100)
	}
	must(t, s.DeleteAccount(t.Context(), a.ID, clock.Now().Add(2*time.Hour)))
	reclaim := func(want int) {
		t.Helper()
		n, err := s.ReclaimAccounts(t.Context())
		must(t, err)
		if n != want {
			t.Errorf("reclaimed %d accounts, want %d", n, want)
		}
	}
	messages := s.db.main.Collection(colMessages)
	reclaim(0)
	if n := count(t, messages, bson.D{{Key: "exp", Value: true}}); n != 0 {
		t.Fatalf("%d messages expire before the time", n)
	}
	wants(t, "delete again", s.DeleteAccount(t.Context(), a.ID, clock.Now().Add(time.Hour)), mail.CodeNoAccount)
	clock.pass(90 * time.Minute)
	reclaim(1)
	gone := only(t, messages, bson.D{{Key: "exp", Value: true}})
	if gone.Lookup("mailbox").ObjectID() != box[0] || !truth(gone.Lookup("userDeleted")) || gone.Lookup("rdate").Type != bson.TypeDouble {
		t.Errorf("expiring message is %v", gone)
	}
	if n := count(t, s.db.main.Collection(colMailboxes), bson.D{{Key: "user", Value: oid(a.ID)}}); n != 0 {
		t.Errorf("%d mailboxes are left", n)
	}
	if n := count(t, s.db.main.Collection(colTasks), bson.D{}); n != 0 {
		t.Errorf("%d tasks are left", n)
	}
	reclaim(0)
	if n := count(t, s.db.main.Collection(colMailboxes), bson.D{{Key: "user", Value: oid(other.ID)}}); n != 2 {
		t.Errorf("the other account has %d mailboxes", n)
	}
}

// The mailboxes of a deleted account are there again when a WildDuck node restores it.
func TestRestoredAccount(t *testing.T) {
	s := openStore(t)
	a := newAccount(t, s, "back")
	doc := only(t, s.users(), bson.D{})
	box, err := s.MailboxByPath(t.Context(), a.ID, "INBOX")
	must(t, err)
	must(t, s.DeleteAccount(t.Context(), a.ID, time.Now().Add(time.Hour)))
	_, err = s.Mailbox(t.Context(), a.ID, box.ID)
	wants(t, "a mailbox of a deleted account", err, mail.CodeNoMailbox)
	_, err = s.MailboxByPath(t.Context(), a.ID, "INBOX")
	wants(t, "by its path", err, mail.CodeNoMailbox)
	_, err = s.Open(t.Context(), a.ID, box.ID, 1)
	wants(t, "a message", err, mail.CodeNoMailbox)
	insertAll(t, s.users(), []bson.Raw{doc})
	if _, err := s.Mailbox(t.Context(), a.ID, box.ID); err != nil {
		t.Errorf("after the account was restored: %v", err)
	}
	if n := count(t, s.mailboxes(), bson.D{{Key: memberMallard + "." + keyDeleted, Value: bson.D{{Key: "$exists", Value: true}}}}); n != 0 {
		t.Errorf("%d mailboxes are still marked", n)
	}
}

// A deletion that stopped after the users row went is completed.
func TestDeletionIsCompleted(t *testing.T) {
	for _, keep := range []time.Duration{0, time.Hour} {
		s := openStore(t)
		a := newAccount(t, s, "half")
		var until time.Time
		if keep > 0 {
			until = time.Now().Add(keep)
		}
		doc := only(t, s.users(), bson.D{{Key: "_id", Value: oid(a.ID)}})
		must(t, s.toDeletedUsers(t.Context(), doc, until))
		must(t, s.removeUser(t.Context(), oid(a.ID)))
		_, err := s.ReclaimAccounts(t.Context())
		must(t, err)
		if n := count(t, s.addresses(), bson.D{}); n != 0 {
			t.Errorf("keep %v: %d addresses are left", keep, n)
		}
		tasks, boxes := count(t, s.db.main.Collection(colTasks), bson.D{}), count(t, s.db.main.Collection(colMailboxes), bson.D{})
		kept := count(t, s.deletedUsers(), bson.D{})
		if keep == 0 && tasks+boxes+kept != 0 || keep > 0 && (tasks != 1 || boxes != 2 || kept != 1) {
			t.Errorf("keep %v: %d tasks, %d mailboxes, %d deleted users", keep, tasks, boxes, kept)
		}
	}
}

// A copy in deletedusers alone deletes nothing.
func TestDeletionThatDidNotHappen(t *testing.T) {
	s := openStore(t)
	a := newAccount(t, s, "stays")
	must(t, s.toDeletedUsers(t.Context(), only(t, s.users(), bson.D{{Key: "_id", Value: oid(a.ID)}}), time.Time{}))
	_, err := s.ReclaimAccounts(t.Context())
	must(t, err)
	if _, err := s.Account(t.Context(), a.ID); err != nil {
		t.Error(err)
	}
	if n := count(t, s.db.main.Collection(colMailboxes), bson.D{}); n != 2 {
		t.Errorf("%d mailboxes", n)
	}
}

// The tasks of WildDuck nodes are done too, those of other kinds are left to them.
func TestTasksOfOthers(t *testing.T) {
	s := openStore(t)
	a := newAccount(t, s, "gone")
	tasks := s.db.main.Collection(colTasks)
	task := func(name string, locked any, until time.Time) {
		_, err := tasks.InsertOne(t.Context(), bson.D{
			{Key: "task", Value: name}, {Key: "locked", Value: locked}, {Key: "lockedUntil", Value: stored(until)}, {Key: "created", Value: stored(longAgo())},
			{Key: "status", Value: "waiting"}, {Key: "data", Value: bson.D{{Key: "user", Value: oid(a.ID)}}},
		})
		must(t, err)
	}
	task(taskUserDelete, false, longAgo())
	task("restore", false, longAgo())
	task(taskUserDelete, bson.Binary{Data: make([]byte, 12)}, time.Now().Add(time.Hour)) // somebody does it now
	if n, err := s.ReclaimAccounts(t.Context()); err != nil || n != 1 {
		t.Errorf("reclaimed %d, %v", n, err)
	}
	if n := count(t, tasks, bson.D{}); n != 2 {
		t.Errorf("%d tasks are left, want 2", n)
	}
	if n := count(t, s.db.main.Collection(colMailboxes), bson.D{}); n != 2 {
		t.Errorf("the account is there and has %d mailboxes, want 2", n)
	}
}

func TestRecountQuota(t *testing.T) {
	s := openStore(t)
	a := newAccount(t, s, "counted")
	boxes, err := s.mailboxIDs(t.Context(), oid(a.ID))
	must(t, err)
	s.plantMessage(t, oid(a.ID), boxes[0], 1, 100)
	s.plantMessage(t, oid(a.ID), boxes[1], 1, 23)
	for _, want := range [][2]int64{{0, 123}, {123, 123}} {
		before, after, err := s.RecountQuota(t.Context(), a.ID)
		if err != nil || before != want[0] || after != want[1] {
			t.Errorf("recount gives %d and %d (%v), want %v", before, after, err, want)
		}
	}
	if now, err := s.Account(t.Context(), a.ID); err != nil || now.StorageUsed != 123 {
		t.Errorf("storage used is %d, %v", now.StorageUsed, err)
	}
}
