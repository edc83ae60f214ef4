package mongostore

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
)

const (
	lockMaintain    = "wildduck:gc_expired"
	lockMaintainTTL = 18 * time.Minute
	// maintainTime is how long one run may take. What is left is done in the next one.
	maintainTime = 12 * time.Minute
	// maintainBatch is how many messages are looked at together.
	maintainBatch = 500
)

// Maintained is what a run of Maintain did.
type Maintained struct {
	Expired  int // messages whose time had come
	Archived int // messages that were in the archive for long enough
	Files    int // attachments without references
}

// Total is how many things were removed.
func (m Maintained) Total() int { return m.Expired + m.Archived + m.Files }

// Maintain removes what is due: messages that have expired, archived ones that were kept long enough, and attachments that
// nobody refers to and has done for a day. It runs under the lock under which WildDuck nodes do the same; while another node
// has it, it does nothing. With Options.KeepExpired it removes attachments alone.
func (s *Store) Maintain(ctx context.Context) (done Maintained, err error) {
	leave, err := s.enter(ctx, "Maintain")
	if err != nil {
		return done, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, maintainTime)
	defer cancel()
	if s.o.Locks != nil {
		lock, stop := context.WithTimeout(ctx, time.Second)
		release, lost, err := s.o.Locks.Lock(lock, lockMaintain, lockMaintainTTL)
		stop()
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return done, nil // another node is at it
		case err != nil:
			return done, readError("take the lock for maintenance", err)
		}
		defer release()
		var end context.CancelFunc
		ctx, end = cancelWhen(ctx, lost)
		defer end()
	}
	var errs []error
	step := func(n *int, work func(context.Context) (int, error)) {
		k, err := work(ctx)
		*n += k
		errs = append(errs, err)
	}
	if !s.o.KeepExpired {
		step(&done.Expired, s.expire)
		step(&done.Files, s.collectGarbage)
		step(&done.Archived, s.purge)
	}
	step(&done.Files, s.collectGarbage)
	return done, errors.Join(errs...)
}

// due is the filter of what is to be removed now, for the index retention_time.
func (s *Store) due() bson.D {
	return bson.D{{Key: "exp", Value: true}, {Key: "rdate", Value: bson.D{{Key: "$lte", Value: float64(s.o.Now().UnixMilli())}}}}
}

// expired are messages of one mailbox whose time has come.
type expired struct {
	acct mail.AccountID
	mbox mail.MailboxID
	msgs []*hotMessage
	refs map[mail.UID]references
}

// expire removes the messages whose time has come.
func (s *Store) expire(ctx context.Context) (n int, err error) {
	for {
		groups, found, err := s.findExpired(ctx)
		if err != nil {
			return n, readError("look for messages that have expired", err)
		}
		before := n
		for _, g := range groups {
			k, err := s.expireGroup(ctx, g)
			n += k
			if err != nil {
				return n, err
			}
		}
		if found < maintainBatch || n == before {
			return n, nil
		}
	}
}

func (s *Store) findExpired(ctx context.Context) (groups []*expired, found int, err error) {
	fields := append(hotFields(), bson.E{Key: "user", Value: 1}, bson.E{Key: "userDeleted", Value: 1}, bson.E{Key: "mimeTree.attachmentMap", Value: 1})
	docs, err := findSome(ctx, s.messages(), s.due(), fields, bson.D{{Key: "rdate", Value: 1}}, maintainBatch)
	if err != nil {
		return nil, 0, err
	}
	byMailbox := map[mail.MailboxID]*expired{}
	for _, doc := range docs {
		m, err := hot(doc)
		if err != nil {
			return nil, 0, err
		}
		user, _ := doc.Lookup("user").ObjectIDOK()
		g := byMailbox[mail.MailboxID(m.Mailbox)]
		if g == nil {
			g = &expired{acct: mail.AccountID(user), mbox: mail.MailboxID(m.Mailbox), refs: map[mail.UID]references{}}
			byMailbox[g.mbox] = g
			groups = append(groups, g)
		}
		m.Copied = m.Copied || truth(doc.Lookup("userDeleted")) // neither is kept in the archive
		g.msgs = append(g.msgs, m)
		g.refs[m.UID] = countedOf(doc, m)
	}
	return groups, len(docs), nil
}

// expireGroup removes messages, as expunged ones where their mailbox is there still.
func (s *Store) expireGroup(ctx context.Context, g *expired) (int, error) {
	_, err := s.mailboxDoc(ctx, g.acct, g.mbox)
	switch {
	case mail.CodeOf(err) == mail.CodeNoMailbox:
		return len(g.msgs), s.expireBatch(ctx, g.acct, g.mbox, g.msgs, g.refs)
	case err != nil:
		return 0, err
	}
	res, err := s.Expunge(ctx, g.acct, g.mbox, setOfMessages(g.msgs), false)
	if err != nil {
		return 0, err
	}
	return res.UIDs.Count(), nil
}

// purge removes archived messages that were kept long enough.
func (s *Store) purge(ctx context.Context) (n int, err error) {
	fields := append(referenceFields(), bson.E{Key: "_id", Value: 1}, bson.E{Key: "user", Value: 1}, bson.E{Key: "mailbox", Value: 1})
	for {
		docs, err := findSome(ctx, s.archived(), s.due(), fields, bson.D{{Key: "rdate", Value: 1}}, maintainBatch)
		if err != nil || len(docs) == 0 {
			return n, readError("look for archived messages", err)
		}
		for _, doc := range docs {
			lives, err := s.lives(ctx, doc)
			if err != nil {
				return n, err
			}
			res, err := s.archived().DeleteOne(ctx, bson.D{{Key: "_id", Value: doc.Lookup("_id")}, {Key: "user", Value: doc.Lookup("user")}})
			if err != nil {
				return n, readError("remove an archived message", err)
			}
			if res.DeletedCount == 0 {
				continue // another node was faster
			}
			n++
			if lives {
				continue // its references are those of the message
			}
			if err := s.undoReferences(ctx, referencesOf(doc)); err != nil {
				return n, err
			}
		}
	}
}

// lives reports whether the message of a row of the archive is in its mailbox all the same: whoever put it there ended
// before the message was removed.
func (s *Store) lives(ctx context.Context, archived bson.Raw) (bool, error) {
	err := s.messages().FindOne(ctx, bson.D{
		{Key: "mailbox", Value: archived.Lookup("mailbox")}, {Key: "_id", Value: archived.Lookup("_id")}, // the UID may be another one by now
	}, options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return false, nil
	}
	return err == nil, readError("look for the message of an archived one", err)
}
