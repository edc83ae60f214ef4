package mongostore

import (
	"errors"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// twoBoxes makes an account with two mailboxes.
func twoBoxes(t *testing.T, s *Store) (acct *mail.Account, inbox, other mail.MailboxID) {
	t.Helper()
	acct, err := s.CreateAccount(t.Context(), store.NewAccount{
		Account: mail.Account{Username: "a"}, View: "a", Mailboxes: []mail.Mailbox{{Path: "INBOX"}, {Path: "Other"}},
	})
	must(t, err)
	boxes, err := s.ListMailboxes(t.Context(), acct.ID)
	must(t, err)
	return acct, boxes[0].ID, boxes[1].ID
}

// Messages go when their time has come, into the archive if they are to be kept there, and from there when that is over;
// octets, references and the journal follow.
func TestMaintain(t *testing.T) {
	clock := newClock(time.Now().Truncate(time.Second))
	s := openStore(t, func(o *Options) { o.Now = clock.Now; o.Locks = &localLocks{} })
	acct, inbox, other := twoBoxes(t, s)
	raw := mixed("\r\n", wrapped(random(1000, 1), 76, "\r\n"))
	add := func(box mail.MailboxID, expires time.Time) {
		t.Helper()
		st, err := s.Stage(t.Context(), contentOf(raw))
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		if _, err := s.Append(t.Context(), acct.ID, box, []store.Append{{Staged: st, Expires: expires}}); err != nil {
			t.Fatal(err)
		}
	}
	add(inbox, time.Time{})
	add(inbox, clock.Now().Add(time.Hour))
	add(other, time.Time{})
	add(other, time.Time{})
	first := only(t, s.messages(), bson.D{{Key: "mailbox", Value: oid(inbox)}, {Key: "uid", Value: 1}})
	file, size := referencesOf(first).ids[0], integer(first.Lookup("size"))
	// The other mailbox goes as WildDuck lets it go; one of its messages belongs to a deleted user.
	if _, err := s.mailboxes().DeleteOne(t.Context(), bson.D{{Key: "_id", Value: oid(other)}}); err != nil {
		t.Fatal(err)
	}
	past := float64(clock.Now().Add(-time.Hour).UnixMilli())
	for uid, deleted := range map[int]bool{1: false, 2: true} {
		_, err := s.messages().UpdateOne(t.Context(), bson.D{{Key: "mailbox", Value: oid(other)}, {Key: "uid", Value: uid}},
			bson.D{{Key: "$set", Value: bson.D{{Key: "exp", Value: true}, {Key: "rdate", Value: past}, {Key: "userDeleted", Value: deleted}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	run := func(when string, want Maintained, messages, archived, references int64) {
		t.Helper()
		done, err := s.Maintain(t.Context())
		if err != nil || done != want {
			t.Errorf("%s: %+v, want %+v (%v)", when, done, want, err)
		}
		if n := count(t, s.messages(), bson.D{}); n != messages {
			t.Errorf("%s: there are %d messages, want %d", when, n, messages)
		}
		if n := count(t, s.archived(), bson.D{}); n != archived {
			t.Errorf("%s: there are %d archived messages, want %d", when, n, archived)
		}
		if c, _, _ := s.counters(t, file); c != references {
			t.Errorf("%s: the attachment has %d references, want %d", when, c, references)
		}
		a, err := s.Account(t.Context(), acct.ID)
		if err != nil || a.StorageUsed != messages*size {
			t.Errorf("%s: %d octets are used (%v)", when, a.StorageUsed, err)
		}
	}
	run("at once", Maintained{Expired: 2}, 2, 1, 3)
	clock.pass(2 * time.Hour)
	s.o.KeepExpired = true
	run("with everything kept", Maintained{}, 2, 1, 3)
	s.o.KeepExpired = false
	run("two hours later", Maintained{Expired: 1}, 1, 2, 3)
	if n := count(t, s.journal(), bson.D{{Key: "command", Value: "EXPUNGE"}}); n != 1 {
		t.Errorf("%d rows of the journal tell of it, want 1", n)
	}
	clock.pass(26 * 24 * time.Hour)
	s.o.KeepExpired = true
	run("with the archive kept", Maintained{}, 1, 2, 3)
	s.o.KeepExpired = false
	run("26 days later", Maintained{Archived: 2}, 1, 0, 1)
	if err := s.dropReferences(t.Context(), referencesOf(only(t, s.messages(), bson.D{}))); err != nil {
		t.Fatal(err)
	}
	run("without references", Maintained{}, 1, 0, 0)
	clock.pass(25 * time.Hour)
	run("a day later", Maintained{Files: 1}, 1, 0, 0)
}

// withAttachment makes an account with a message that has an attachment.
func withAttachment(t *testing.T, s *Store) (acct mail.AccountID, inbox mail.MailboxID, file []byte) {
	t.Helper()
	a, inbox, _ := twoBoxes(t, s)
	st, err := s.Stage(t.Context(), contentOf(mixed("\r\n", wrapped(random(1000, 1), 76, "\r\n"))))
	must(t, err)
	defer st.Close()
	_, err = s.Append(t.Context(), a.ID, inbox, []store.Append{{Staged: st}})
	must(t, err)
	return a.ID, inbox, referencesOf(only(t, s.messages(), bson.D{})).ids[0]
}

// A message that was put into the archive and could not be removed then is taken out of it again by the node that failed,
// although nobody reads the mailbox.
func TestArchivedInVain(t *testing.T) {
	s := openStore(t, func(o *Options) {
		o.Timeout, o.Lease, o.patient = 300*time.Millisecond, 300*time.Millisecond, 10*time.Second
	})
	acct, inbox, file := withAttachment(t, s)
	s.hook = failAt("delete")
	if _, err := s.Delete(t.Context(), acct, inbox, mail.AllUIDs(), true); !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("the deletion gives %v", err)
	}
	notes := bson.D{{Key: memberMallard + "." + keyNotes + ".0", Value: bson.D{{Key: "$exists", Value: true}}}}
	eventually(t, "the message is out of the archive, and the note is dropped", func() bool {
		return count(t, s.archived(), bson.D{}) == 0 && count(t, s.mailboxes(), notes) == 0
	})
	c, _, _ := s.counters(t, file)
	if n := count(t, s.messages(), bson.D{}); n != 1 || c != 1 {
		t.Errorf("%d messages, %d references", n, c)
	}
}

// archiveExpired leaves a row of the only message in the archive, whose time is over, though the message is still there.
func archiveExpired(t *testing.T, s *Store) {
	t.Helper()
	var row bson.D
	must(t, s.messages().FindOne(t.Context(), bson.D{}).Decode(&row))
	past := float64(time.Now().Add(-time.Hour).UnixMilli())
	_, err := s.archived().InsertOne(t.Context(), with(row, bson.D{{Key: "exp", Value: true}, {Key: "rdate", Value: past}}))
	must(t, err)
}

// The row that another left in the archive of a message that is there all the same does not take its attachments with it.
func TestArchivedAndAlive(t *testing.T) {
	s := openStore(t, func(o *Options) { o.Locks = &localLocks{} })
	_, _, file := withAttachment(t, s)
	archiveExpired(t, s)
	done, err := s.Maintain(t.Context())
	must(t, err)
	if c, _, _ := s.counters(t, file); done.Archived != 1 || c != 1 || count(t, s.archived(), bson.D{}) != 0 {
		t.Errorf("%+v; the attachment of the message that is there has %d references", done, c)
	}
}

// What is moved or removed for good before the repair of an expunge that failed is no longer in the archive: its references
// would be taken off twice, and a file go that a message has.
func TestArchivedThenMoved(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(s *Store, acct mail.AccountID, from, to mail.MailboxID) error
		want   int64 // references afterwards
	}{
		{"moved", func(s *Store, acct mail.AccountID, from, to mail.MailboxID) error {
			_, err := s.Move(t.Context(), acct, from, to, mail.AllUIDs())
			return err
		}, 2},
		{"deleted for good", func(s *Store, acct mail.AccountID, from, _ mail.MailboxID) error {
			_, err := s.Delete(t.Context(), acct, from, mail.AllUIDs(), false)
			return err
		}, 1},
		{"copied and expunged", func(s *Store, acct mail.AccountID, from, to mail.MailboxID) error {
			if _, err := s.Copy(t.Context(), acct, from, to, mail.AllUIDs(), 0); err != nil {
				return err
			}
			_, err := s.Expunge(t.Context(), acct, from, mail.AllUIDs(), false)
			return err
		}, 2},
		{"copied and its mailbox deleted", func(s *Store, acct mail.AccountID, from, to mail.MailboxID) error {
			if _, err := s.Copy(t.Context(), acct, from, to, mail.AllUIDs(), 0); err != nil {
				return err
			}
			return s.expireMailbox(t.Context(), acct, from)
		}, 2},
	} {
		clock := newClock(time.Now())
		s := openStore(t, func(o *Options) { o.Now, o.Locks = clock.Now, &localLocks{} })
		acct, inbox, file := withAttachment(t, s)
		box, err := s.MailboxByPath(t.Context(), acct, "Other")
		must(t, err)
		// Another message has the file as well, so that what is taken off too often shows.
		st, err := s.Stage(t.Context(), contentOf(mixed("\r\n", wrapped(random(1000, 1), 76, "\r\n"))))
		must(t, err)
		_, err = s.Append(t.Context(), acct, box.ID, []store.Append{{Staged: st}})
		must(t, err)
		must(t, st.Close())
		s.hook = failAt("delete")
		if _, err := s.Delete(t.Context(), acct, inbox, mail.AllUIDs(), true); !errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("%s: the deletion gives %v", tc.name, err)
		}
		s.hook = nil
		must(t, tc.change(s, acct, inbox, box.ID))
		clock.pass(26 * 24 * time.Hour)
		_, err = s.Maintain(t.Context())
		must(t, err)
		if c, _, _ := s.counters(t, file); c != tc.want || count(t, s.archived(), bson.D{}) != 0 {
			t.Errorf("%s: the attachment has %d references, want %d", tc.name, c, tc.want)
		}
	}
}

// failAt makes changes fail at a step.
func failAt(at string) func(step string) error {
	return func(step string) error {
		if step == at {
			return errors.New("no more of this")
		}
		return nil
	}
}

// A message that is in its mailbox, by whichever UID, keeps its attachments when its row in the archive goes.
func TestArchivedAndRenumbered(t *testing.T) {
	s := openStore(t, func(o *Options) { o.Locks = &localLocks{} })
	_, _, file := withAttachment(t, s)
	archiveExpired(t, s)
	_, err := s.messages().UpdateMany(t.Context(), bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "uid", Value: 7}}}})
	must(t, err)
	_, err = s.Maintain(t.Context())
	must(t, err)
	if c, _, _ := s.counters(t, file); c != 1 {
		t.Errorf("the attachment of the message that is there has %d references", c)
	}
}

// with is a document with some members replaced.
func with(doc, members bson.D) bson.D {
	var out bson.D
	for _, e := range doc {
		if !slices.ContainsFunc(members, func(m bson.E) bool { return m.Key == e.Key }) {
			out = append(out, e)
		}
	}
	return append(out, members...)
}
