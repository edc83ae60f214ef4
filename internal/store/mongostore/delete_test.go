package mongostore

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Copies of a message that has a file twice count the file once each. So they give it back: the message keeps its file.
func TestRemovedCopies(t *testing.T) {
	s := openStore(t)
	acct := newAccount(t, s, "a")
	boxes, err := s.ListMailboxes(t.Context(), acct.ID)
	must(t, err)
	body := wrapped(random(1000, 1), 76, "\r\n")
	st, err := s.Stage(t.Context(), contentOf(mixed("\r\n", body, body)))
	must(t, err)
	defer st.Close()
	_, err = s.Append(t.Context(), acct.ID, boxes[0].ID, []store.Append{{Staged: st}})
	must(t, err)
	file := referencesOf(only(t, s.messages(), bson.D{})).ids[0]
	c, m, _ := s.counters(t, file)
	if c != 2 {
		t.Fatalf("the file counts %d", c)
	}
	for range 2 {
		_, err := s.Copy(t.Context(), acct.ID, boxes[0].ID, boxes[1].ID, mail.AllUIDs(), 0)
		must(t, err)
	}
	res, err := s.Delete(t.Context(), acct.ID, boxes[1].ID, mail.AllUIDs(), false)
	if err != nil || res.UIDs.Count() != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	if c2, m2, there := s.counters(t, file); c2 != c || m2 != m || !there {
		t.Errorf("the file of the message that is left counts %d and %d, want %d and %d", c2, m2, c, m)
	}
	_, err = s.Delete(t.Context(), acct.ID, boxes[0].ID, mail.AllUIDs(), false)
	must(t, err)
	if c, m, _ := s.counters(t, file); c != 0 || m != 0 {
		t.Errorf("the file of no message counts %d and %d", c, m)
	}
}

// A message that has a file twice counts it twice, wherever it is moved, and gives it back so; a copy of it counts it once,
// wherever that is moved.
func TestRemovedAfterMoves(t *testing.T) {
	s := openStore(t)
	acct := newAccount(t, s, "a")
	_, err := s.CreateMailbox(t.Context(), acct.ID, mail.Mailbox{Path: "third"}, 0)
	must(t, err)
	boxes, err := s.ListMailboxes(t.Context(), acct.ID)
	must(t, err)
	body := wrapped(random(1000, 1), 76, "\r\n")
	st, err := s.Stage(t.Context(), contentOf(mixed("\r\n", body, body)))
	must(t, err)
	defer st.Close()
	_, err = s.Append(t.Context(), acct.ID, boxes[0].ID, []store.Append{{Staged: st}})
	must(t, err)
	file := referencesOf(only(t, s.messages(), bson.D{})).ids[0]
	_, magic, _ := s.counters(t, file)
	magic /= 2
	check := func(when string, want int64) {
		t.Helper()
		if c, m, there := s.counters(t, file); c != want || m != want*magic || !there {
			t.Errorf("%s the file counts %d and %d, want %d and %d", when, c, m, want, want*magic)
		}
	}
	move := func(boxes ...mail.MailboxID) {
		t.Helper()
		for i := range boxes[1:] {
			_, err := s.Move(t.Context(), acct.ID, boxes[i], boxes[i+1], mail.AllUIDs())
			must(t, err)
		}
	}
	a, b, c := boxes[0].ID, boxes[1].ID, boxes[2].ID
	move(a, b, a)
	_, err = s.Copy(t.Context(), acct.ID, a, b, mail.AllUIDs(), 0)
	must(t, err)
	move(b, c, b)
	check("moved and copied", 3)
	_, err = s.Delete(t.Context(), acct.ID, b, mail.AllUIDs(), false)
	must(t, err)
	check("without the copy that was moved", 2)
	_, err = s.Delete(t.Context(), acct.ID, a, mail.AllUIDs(), false)
	must(t, err)
	check("without the message that was moved", 0)
}

// A message to which a WildDuck has given its id may be a copy, and counts as one.
func TestRemovedAfterForeignMove(t *testing.T) {
	root := bson.NewObjectID()
	for _, tc := range []struct {
		name string
		id   bson.ObjectID
		want bool
	}{
		{"stored", root, true}, {"moved", movedID(root), true}, {"moved twice", movedID(movedID(root)), true},
		{"by a WildDuck", bson.NewObjectID(), false}, {"by a WildDuck, then by us", movedID(bson.NewObjectID()), false},
		{"by a WildDuck, years later", bson.NewObjectIDFromTimestamp(root.Timestamp().AddDate(1, 0, 0)), false},
	} {
		if got := onlyMoved(&hotMessage{ID: tc.id, Root: root}); got != tc.want {
			t.Errorf("%s: only moved %v, want %v", tc.name, got, tc.want)
		}
	}
}

// What is kept in the archive depends on who removes a message, and the attachments of what is not kept are let go.
func TestRemovedIsKept(t *testing.T) {
	s := openStore(t)
	acct, inbox, other := twoBoxes(t, s)
	raw := mixed("\r\n", wrapped(random(1000, 1), 76, "\r\n"))
	add := func(flags ...string) mail.UID {
		t.Helper()
		st, err := s.Stage(t.Context(), contentOf(raw))
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		f, err := mail.ParseFlags(flags)
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.Append(t.Context(), acct.ID, inbox, []store.Append{{Staged: st, Flags: f}})
		if err != nil {
			t.Fatal(err)
		}
		return out[0].UID
	}
	add()
	file := referencesOf(only(t, s.messages(), bson.D{})).ids[0]
	expunge := func(u mail.UID) (*store.ExpungeResult, error) {
		return s.Expunge(t.Context(), acct.ID, inbox, mail.OneUID(u), false)
	}
	remove := func(keep bool) func(mail.UID) (*store.ExpungeResult, error) {
		return func(u mail.UID) (*store.ExpungeResult, error) {
			return s.Delete(t.Context(), acct.ID, inbox, mail.OneUID(u), keep)
		}
	}
	for _, c := range []struct {
		name   string
		remove func(mail.UID) (*store.ExpungeResult, error)
		copied bool
		flags  []string
		kept   int64
	}{
		{"expunged", expunge, false, nil, 1},
		{"expunged, copied", expunge, true, nil, 0},
		{"expunged, a draft", expunge, false, []string{`\Draft`}, 0},
		{"deleted", remove(true), false, nil, 1},
		{"deleted, copied", remove(true), true, nil, 1},
		{"deleted, a draft", remove(true), false, []string{`\Draft`}, 0},
		{"deleted, not to be kept", remove(false), false, nil, 0},
		{"deleted, copied, not to be kept", remove(false), true, nil, 0},
	} {
		u := add(c.flags...)
		if c.copied {
			if _, err := s.Copy(t.Context(), acct.ID, inbox, other, mail.OneUID(u), 0); err != nil {
				t.Fatal(err)
			}
		}
		counter := func() int64 {
			return integer(only(t, s.files(), bson.D{{Key: "_id", Value: file}}).Lookup("metadata", "c"))
		}
		archived, references := count(t, s.archived(), bson.D{}), counter()
		res, err := c.remove(u)
		if err != nil || res.UIDs.Count() != 1 {
			t.Fatalf("%s: %+v, %v", c.name, res, err)
		}
		if n := count(t, s.archived(), bson.D{}) - archived; n != c.kept {
			t.Errorf("%s: %d were kept, want %d", c.name, n, c.kept)
		}
		if n := references - counter(); n != 1-c.kept {
			t.Errorf("%s: %d references went, want %d", c.name, n, 1-c.kept)
		}
	}
	if _, err := s.Delete(t.Context(), acct.ID, newID[mail.MailboxID](s), mail.AllUIDs(), true); mail.CodeOf(err) != mail.CodeNoMailbox {
		t.Errorf("in no mailbox: %v", err)
	}
}
