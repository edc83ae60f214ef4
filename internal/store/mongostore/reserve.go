package mongostore

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"mallard/internal/mail"
)

// keyNotes is the member of memberMallard in a mailbox that holds notes of the changes whose interruption leaves something
// to do: see note.
const keyNotes = "notes"

// maxNotes is how many notes of a mailbox are kept. An old one goes when newer ones come; one that is done is removed.
const maxNotes = 16

// note says in the mailbox's document what a change is about to remove there, so that whoever finds it interrupted can
// complete it. It is written by the update that hands out the numbers.
type note struct {
	Op   bson.ObjectID `bson:"op"`
	Node bson.ObjectID `bson:"node,omitempty"` // whose change it is
	At   time.Time     `bson:"at"`
	UIDs []noteRange   `bson:"uids"`
	To   bson.ObjectID `bson:"to,omitempty"` // of a move: where to
	// Claimed is when another node began to complete the change.
	Claimed time.Time   `bson:"claimed,omitempty"`
	tried   []time.Time // claims of this node whose answers were lost
}

type noteRange struct {
	First int64 `bson:"f"`
	Last  int64 `bson:"l"`
}

func rangesOf(set mail.UIDSet) []noteRange {
	out := make([]noteRange, 0, len(set))
	for _, r := range set {
		out = append(out, noteRange{int64(r.First), int64(r.Last)})
	}
	return out
}

// reservation are numbers of a mailbox that are handed out once.
type reservation struct {
	box    bson.Raw    // the document as it was before
	uid    mail.UID    // the first
	modSeq mail.ModSeq // the first
	asked  time.Time   // before which they were not handed out
}

// reserve takes UIDs and mod-sequences of a mailbox in the way in which WildDuck takes them, so that no two writers of
// either kind get the same. An attempt of which the answer is lost leaves numbers that nobody uses. Errors: NoMailbox.
func (s *Store) reserve(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids, modSeqs int, n *note) (*reservation, error) {
	var r *reservation
	err := s.again(ctx, func(ctx context.Context) (err error) {
		if err := s.step("reserve"); err != nil {
			return err
		}
		if n != nil {
			r, err = s.takeNumbers(ctx, acct, mbox, uids, modSeqs, n)
		} else {
			r, err = s.take(ctx, acct, mbox, uids, modSeqs)
		}
		return err
	})
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, noMailbox("no such mailbox")
	}
	if err != nil {
		return nil, readError("take numbers of the mailbox", err)
	}
	return r, s.step("reserved")
}

// dropNote removes the note of a change that is complete. It does no harm where it stays.
func (s *Store) dropNote(ctx context.Context, mbox bson.ObjectID, n *note) {
	_, err := s.mailboxes().UpdateOne(ctx, bson.D{{Key: "_id", Value: mbox}},
		bson.D{{Key: "$pull", Value: bson.D{{Key: memberMallard + "." + keyNotes, Value: bson.D{{Key: "op", Value: n.Op}}}}}})
	if err != nil {
		s.o.Logger.Debug("the note of a change stays", "mailbox", mbox.Hex(), "error", err)
	}
}

// step is where tests interrupt a change.
func (s *Store) step(name string) error {
	if s.hook == nil {
		return nil
	}
	return s.hook(name)
}
