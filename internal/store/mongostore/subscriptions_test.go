package mongostore

import (
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// entries are what stands in the document of a user of names that are subscribed without a mailbox.
func entries(t *testing.T, s *Store, acct mail.AccountID) []subscribedName {
	t.Helper()
	return namesOf(only(t, s.users(), bson.D{{Key: "_id", Value: oid(acct)}})).list
}

// subscriptionsOf fails the test unless these are subscribed: mailboxes, and names without one.
func subscriptionsOf(t *testing.T, s *Store, acct mail.AccountID, boxes []string, names ...string) {
	t.Helper()
	all, got, err := s.Subscriptions(t.Context(), acct)
	must(t, err)
	var paths []string
	for _, b := range all {
		if b.Subscribed {
			paths = append(paths, b.Path)
		}
	}
	if !slices.Equal(paths, boxes) || !slices.Equal(got, names) {
		t.Errorf("subscribed are the mailboxes %q and the names %q, want %q and %q", paths, got, boxes, names)
	}
}

// wildDuckMakes stores a mailbox as a WildDuck node does, which knows nothing of names without one.
func wildDuckMakes(t *testing.T, s *Store, acct mail.AccountID, path string, subscribed bool) bson.ObjectID {
	t.Helper()
	id := bson.NewObjectID()
	_, err := s.mailboxes().InsertOne(t.Context(), bson.D{
		{Key: "_id", Value: id}, {Key: "path", Value: path}, {Key: "uidValidity", Value: int32(1795340000)}, {Key: "uidNext", Value: int32(1)},
		{Key: "modifyIndex", Value: int32(1)}, {Key: "subscribed", Value: subscribed}, {Key: "flags", Value: bson.A{}}, {Key: "user", Value: oid(acct)},
		{Key: "retention", Value: int32(0)}, {Key: "hidden", Value: false}, {Key: "encryptMessages", Value: false},
	})
	must(t, err)
	return id
}

// Names without a mailbox stand in a member of our own, and all else is what it was.
func TestSubscribedNamesInTheUser(t *testing.T) {
	s := openStore(t)
	acct := newAccount(t, s, "user").ID
	before := only(t, s.users(), bson.D{{Key: "_id", Value: oid(acct)}})
	must(t, s.Subscribe(t.Context(), acct, "a/ä", true, 100))
	must(t, s.Subscribe(t.Context(), acct, "b", true, 100))
	after := only(t, s.users(), bson.D{{Key: "_id", Value: oid(acct)}})
	sameDocument(t, "user", after, before, memberMallard)
	own := after.Lookup(memberMallard).Document()
	if validity := own.Lookup(keyValidity); !sameValue(validity, before.Lookup(memberMallard, keyValidity)) {
		t.Errorf("UIDVALIDITY is noted as %v", validity)
	}
	all := entries(t, s, acct)
	if len(all) != 2 || all[0].Path != "a/ä" || all[1].Path != "b" || all[0].Op == all[1].Op {
		t.Errorf("entries are %+v", all)
	}
	// A mailbox knows of its subscription as WildDuck does.
	_, err := s.CreateMailbox(t.Context(), acct, mail.Mailbox{Path: "b"}, 0)
	must(t, err)
	box := only(t, s.mailboxes(), bson.D{{Key: "path", Value: "b"}})
	if !truth(box.Lookup("subscribed")) {
		t.Errorf("the mailbox is %v", box)
	}
	if all := entries(t, s, acct); len(all) != 1 || all[0].Path != "a/ä" {
		t.Errorf("entries are %+v", all)
	}
	// They go with the account, and wait there as long as it does.
	must(t, s.DeleteAccount(t.Context(), acct, time.Now().Add(time.Hour)))
	kept := namesOf(only(t, s.deletedUsers(), bson.D{{Key: "_id", Value: oid(acct)}})).list
	if len(kept) != 1 || kept[0].Path != "a/ä" || count(t, s.users(), bson.D{}) != 0 {
		t.Errorf("of the deleted account %+v are kept", kept)
	}
}

// What a WildDuck node does with a mailbox counts, whatever stands in the user; and that goes at the next chance.
func TestSubscribedNameThatWildDuckTakes(t *testing.T) {
	s := openStore(t)
	acct := newAccount(t, s, "user").ID
	for _, subscribed := range []bool{true, false} {
		boxes := []string{"INBOX"}
		if subscribed {
			boxes = []string{"INBOX", "x"}
		}
		must(t, s.Subscribe(t.Context(), acct, "x", true, 100))
		id := wildDuckMakes(t, s, acct, "x", subscribed)
		subscriptionsOf(t, s, acct, boxes)
		if all := entries(t, s, acct); len(all) != 1 {
			t.Errorf("just after it: entries %+v", all)
		}
		old := bson.NewObjectIDFromTimestamp(time.Now().Add(-2 * maskedName))
		_, err := s.users().UpdateOne(t.Context(), bson.D{{Key: "_id", Value: oid(acct)}},
			bson.D{{Key: "$set", Value: bson.D{{Key: memberMallard + "." + keyNames + ".0.op", Value: old}}}})
		must(t, err)
		must(t, s.Subscribe(t.Context(), acct, "y", true, 100))
		subscriptionsOf(t, s, acct, boxes, "y")
		if all := entries(t, s, acct); len(all) != 1 || all[0].Path != "y" {
			t.Errorf("some time later: entries %+v", all)
		}
		_, err = s.mailboxes().DeleteOne(t.Context(), bson.D{{Key: "_id", Value: id}})
		must(t, err)
		subscriptionsOf(t, s, acct, []string{"INBOX"}, "y")
		must(t, s.Subscribe(t.Context(), acct, "y", false, 0))
	}
}

// What is left in the user of a name that has a mailbox means nothing when the mailbox is unsubscribed, deleted or renamed.
func TestSubscribedNameThatIsLeft(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, s *Store, acct mail.AccountID, id mail.MailboxID){
		"unsubscribed and deleted": func(t *testing.T, s *Store, acct mail.AccountID, id mail.MailboxID) {
			must(t, s.Subscribe(t.Context(), acct, "x", false, 100))
			must(t, s.DeleteMailbox(t.Context(), acct, id, 100))
		},
		"deleted without its name": func(t *testing.T, s *Store, acct mail.AccountID, id mail.MailboxID) {
			must(t, s.DeleteMailbox(t.Context(), acct, id, 0))
		},
		"renamed and deleted": func(t *testing.T, s *Store, acct mail.AccountID, id mail.MailboxID) {
			must(t, s.RenameMailboxes(t.Context(), acct, []store.Rename{{ID: id, Path: "y"}}))
			must(t, s.DeleteMailbox(t.Context(), acct, id, 0))
		},
		"restored and deleted": func(t *testing.T, s *Store, acct mail.AccountID, id mail.MailboxID) {
			b, err := s.Mailbox(t.Context(), acct, id)
			must(t, err)
			b.Subscribed = false
			must(t, s.RestoreMailbox(t.Context(), acct, *b))
			must(t, s.DeleteMailbox(t.Context(), acct, id, 100))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t)
			acct := newAccount(t, s, "user").ID
			must(t, s.Subscribe(t.Context(), acct, "x", true, 100))
			id := wildDuckMakes(t, s, acct, "x", true)
			change(t, s, acct, mail.MailboxID(id))
			subscriptionsOf(t, s, acct, []string{"INBOX"})
			if all := entries(t, s, acct); len(all) > 0 {
				t.Errorf("entries %+v are left", all)
			}
		})
	}
}

// The plan of a rename that a dead node left says which mailboxes are subscribed by their new names.
func TestSubscriptionInAPlan(t *testing.T) {
	s := openStore(t)
	acct := newAccount(t, s, "user").ID
	var moves []renameMove
	for _, path := range []string{"a", "b"} {
		b, err := s.CreateMailbox(t.Context(), acct, mail.Mailbox{Path: path}, 0)
		must(t, err)
		moves = append(moves, renameMove{ID: oid(b.ID), Path: "new " + path, Subscribed: path == "a"})
	}
	l, err := s.listing(t.Context(), acct)
	must(t, err)
	plan, err := s.planRename(t.Context(), acct, l, moves)
	if err != nil || plan == nil {
		t.Fatal(plan, err)
	}
	subscriptionsOf(t, s, acct, []string{"INBOX", "new a"})
	must(t, s.renameStep(t.Context(), acct, plan.left(l.docs)[0]))
	subscriptionsOf(t, s, acct, []string{"INBOX", "new a"})
	// Who subscribes first carries the plan out.
	must(t, s.Subscribe(t.Context(), acct, "new b", true, 100))
	must(t, s.Subscribe(t.Context(), acct, "new a", false, 100))
	subscriptionsOf(t, s, acct, []string{"INBOX", "new b"})
	if l, err = s.listing(t.Context(), acct); err != nil || l.plan != nil {
		t.Errorf("the plan is %+v (%v)", l.plan, err)
	}
}

// What is no list of entries is none, and is put right.
func TestSubscribedNamesThatMakeNoSense(t *testing.T) {
	s := openStore(t)
	acct := newAccount(t, s, "user").ID
	for _, v := range []any{"text", bson.A{}, bson.A{"x", int32(3), bson.D{{Key: "path", Value: int32(1)}}, bson.D{{Key: "path", Value: ""}}}, bson.D{}} {
		_, err := s.users().UpdateOne(t.Context(), bson.D{{Key: "_id", Value: oid(acct)}}, bson.D{{Key: "$set", Value: bson.D{{Key: memberMallard + "." + keyNames, Value: v}}}})
		must(t, err)
		subscriptionsOf(t, s, acct, []string{"INBOX"})
		must(t, s.Subscribe(t.Context(), acct, "a", true, 100))
		subscriptionsOf(t, s, acct, []string{"INBOX"}, "a")
		must(t, s.Subscribe(t.Context(), acct, "a", false, 100))
		subscriptionsOf(t, s, acct, []string{"INBOX"})
	}
}
