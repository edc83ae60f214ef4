package mongostore

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
)

const (
	// ownedTime is how long it is believed that a mailbox is there. One that another node deletes can be read from for
	// that long; what is read then is what was there.
	ownedTime = time.Second
	// ownedMax bounds the number of mailboxes that are remembered.
	ownedMax = 10_000
)

// owned remembers which mailboxes are there and whose they are, so that reading a message is one query and not two.
type owned struct {
	mu    sync.Mutex
	boxes map[mail.MailboxID]ownedBox
}

type ownedBox struct {
	acct  mail.AccountID
	until time.Time
	gone  bool // for ever: no other mailbox gets its id
}

func (o *owned) has(acct mail.AccountID, mbox mail.MailboxID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	b, ok := o.boxes[mbox]
	return ok && !b.gone && b.acct == acct && time.Now().Before(b.until)
}

func (o *owned) note(acct mail.AccountID, mbox mail.MailboxID, asked time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.room()
	if o.boxes[mbox].gone {
		return // since we asked
	}
	o.boxes[mbox] = ownedBox{acct: acct, until: asked.Add(ownedTime)}
}

// forget is called when mailboxes go away, after they are gone.
func (o *owned) forget(mboxes ...mail.MailboxID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.room()
	for _, b := range mboxes {
		o.boxes[b] = ownedBox{gone: true}
	}
}

// room sees to it that there is some.
func (o *owned) room() {
	if o.boxes == nil || len(o.boxes) >= ownedMax {
		o.boxes = make(map[mail.MailboxID]ownedBox)
	}
}

// requireMailbox fails when the account has no such mailbox.
func (s *Store) requireMailbox(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID) error {
	if s.owned.has(acct, mbox) {
		return nil
	}
	asked := time.Now()
	doc, err := s.mailboxes().FindOne(ctx, boxFilter(acct, mbox),
		options.FindOne().SetProjection(bson.D{{Key: memberMallard + "." + keyDeleted, Value: 1}})).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return noMailbox("no such mailbox")
	}
	if err != nil {
		return readError("read the mailbox", err)
	}
	if err := s.checkDeleted(ctx, acct, doc); err != nil {
		return err
	}
	s.owned.note(acct, mbox, asked)
	return nil
}
