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
	fields := projection(hotFields(), bodyFields())
	doc, err := s.messages().FindOne(ctx, filter, options.FindOne().SetProjection(fields)).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, mail.NewError(mail.CodeNotFound, "no such message")
	}
	if err != nil {
		return nil, readError("read the message", err)
	}
	m, err := hot(doc)
	if err != nil {
		return nil, err
	}
	return s.openDocument(ctx, doc, m)
}

// openDocument opens the content of a message of which the document is there with the members of bodyFields.
func (s *Store) openDocument(ctx context.Context, doc bson.Raw, m *hotMessage) (store.Body, error) {
	if !m.Flags.Has(mail.Draft) {
		if c, ok := s.caches.contents.Get(m.contentKey()); ok {
			return memoryBody{c}, nil
		}
	}
	b, err := s.openBody(ctx, doc)
	if err != nil {
		return nil, readError("open the message", err)
	}
	return s.keeping(b, m), nil
}
