package mongostore

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Open returns the verbatim content of a message.
func (s *Store) Open(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uid mail.UID) (store.Body, error) {
	done, err := s.enter(ctx, "Open")
	if err != nil {
		return nil, err
	}
	defer done()
	if err := s.requireMailbox(ctx, acct, mbox); err != nil {
		return nil, err
	}
	return s.openMessage(ctx, bson.D{{Key: "mailbox", Value: oid(mbox)}, {Key: "uid", Value: numberOf(int64(uid))}})
}

func (s *Store) openMessage(ctx context.Context, filter bson.D) (store.Body, error) {
	doc, err := s.messages().FindOne(ctx, filter, options.FindOne().SetProjection(bodyFields())).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, mail.NewError(mail.CodeNotFound, "no such message")
	}
	if err != nil {
		return nil, readError("read the message", err)
	}
	b, err := s.openBody(ctx, doc)
	return b, readError("open the message", err)
}
