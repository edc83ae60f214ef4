package mongostore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// mailboxDoc reads the document of a mailbox of an account.
func (s *Store) mailboxDoc(ctx context.Context, acct mail.AccountID, id mail.MailboxID) (bson.Raw, error) {
	return s.mailboxBy(ctx, acct, boxFilter(acct, id))
}

func (s *Store) mailboxBy(ctx context.Context, acct mail.AccountID, filter bson.D) (bson.Raw, error) {
	doc, err := s.mailboxes().FindOne(ctx, filter).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, noMailbox("no such mailbox")
	}
	if err != nil {
		return nil, readError("read the mailbox", err)
	}
	return doc, s.checkDeleted(ctx, acct, doc)
}

// checkDeleted fails for a mailbox whose account was deleted. It may have been restored since, by a WildDuck node.
func (s *Store) checkDeleted(ctx context.Context, acct mail.AccountID, box bson.Raw) error {
	if own, _ := box.Lookup(memberMallard).DocumentOK(); !has(own, keyDeleted) {
		return nil
	}
	err := s.requireAccount(ctx, acct)
	if err != nil && mail.CodeOf(err) == mail.CodeNoAccount {
		return noMailbox("no such mailbox")
	}
	if err != nil {
		return err
	}
	return s.again(ctx, func(ctx context.Context) error {
		_, err := s.mailboxes().UpdateMany(ctx, bson.D{{Key: "user", Value: oid(acct)}},
			bson.D{{Key: "$unset", Value: bson.D{{Key: memberMallard + "." + keyDeleted, Value: ""}}}})
		return readError("take the mark of a deleted account off its mailboxes", err)
	})
}

func boxFilter(acct mail.AccountID, id mail.MailboxID) bson.D {
	return bson.D{{Key: "_id", Value: oid(id)}, {Key: "user", Value: oid(acct)}}
}

// CreateMailbox stores a mailbox. The unique index of paths makes it happen or not.
func (s *Store) CreateMailbox(ctx context.Context, acct mail.AccountID, in mail.Mailbox, maxMailboxes int) (*mail.Mailbox, error) {
	done, err := s.enter(ctx, "CreateMailbox")
	if err != nil {
		return nil, err
	}
	defer done()
	if err := s.requireAccount(ctx, acct); err != nil {
		return nil, err
	}
	l, err := s.listing(ctx, acct)
	if err != nil {
		return nil, err
	}
	if l.byPath(in.Path) != nil {
		return nil, mailboxExists()
	}
	if maxMailboxes > 0 && len(l.boxes) >= maxMailboxes {
		return nil, mail.NewError(mail.CodeLimit, "the account has the greatest allowed number of mailboxes")
	}
	ctx = context.WithoutCancel(ctx)
	b := &mail.Mailbox{
		ID: newID[mail.MailboxID](s), Path: in.Path, SpecialUse: in.SpecialUse, Subscribed: in.Subscribed, Hidden: in.Hidden,
		Retention: in.Retention, Encrypt: in.Encrypt, UIDNext: 1, HighestModSeq: 1, Created: in.Created,
	}
	if b.Created.IsZero() {
		b.Created = s.o.Now().UTC().Truncate(time.Millisecond)
	}
	var named *subscribedName
	if b.UIDValidity, named, err = s.nextValidity(ctx, acct, l, in.Path); err != nil {
		return nil, err
	}
	b.Subscribed = b.Subscribed || named != nil
	if err := s.insertMailbox(ctx, acct, b); err != nil {
		if errors.Is(err, store.ErrOutcomeUnknown) {
			s.later(func(ctx context.Context) error { return s.announceMailbox(ctx, acct, b.ID) })
		}
		return nil, err
	}
	s.log(ctx, mailboxRow(acct, b.ID, store.JournalCreate, b.Path, b.HighestModSeq))
	s.releaseNames(ctx, acct, named)
	if !b.Subscribed {
		if err := s.subscribeLate(ctx, acct, b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// announceMailbox writes the journal row of a mailbox of which it was not known whether it was stored, if it is there.
func (s *Store) announceMailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID) error {
	if err := s.calm(ctx, oid(acct)); err != nil {
		return err
	}
	doc, err := s.mailboxDoc(ctx, acct, id)
	if err != nil && mail.CodeOf(err) == mail.CodeNoMailbox {
		return nil
	}
	if err != nil {
		return err
	}
	b := mailboxOf(doc)
	s.log(ctx, mailboxRow(acct, id, store.JournalCreate, b.Path, b.HighestModSeq))
	return nil
}

func mailboxExists() error { return mail.NewError(mail.CodeExists, "mailbox already exists") }

// nextValidity hands out a UIDVALIDITY that is greater than every one that a mailbox of the account had, deleted ones
// included: the greatest is kept in the user's document. It also returns what stands there of the mailbox's path, nil when
// that is not subscribed.
func (s *Store) nextValidity(ctx context.Context, acct mail.AccountID, l *listing, path string) (mail.UIDValidity, *subscribedName, error) {
	const member = memberMallard + "." + keyValidity
	for range maxAttempts {
		doc, err := s.userDoc(ctx, bson.E{Key: "_id", Value: oid(acct)})
		if err != nil {
			return 0, nil, err
		}
		last := doc.Lookup(memberMallard, keyValidity)
		next := max(mail.UIDValidity(integer(last))+1, l.validity+1, mail.UIDValidity(s.o.Now().Unix()))
		filter := bson.D{{Key: "_id", Value: oid(acct)}, {Key: member, Value: bson.D{{Key: "$exists", Value: false}}}}
		if last.Type != 0 {
			filter[1].Value = last
		}
		var matched int64
		err = s.again(ctx, func(ctx context.Context) error {
			res, err := s.users().UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: bson.D{{Key: member, Value: numberOf(int64(next))}}}})
			if err == nil {
				matched = res.MatchedCount
			}
			return err
		})
		if err != nil {
			return 0, nil, readError("take a UIDVALIDITY", err)
		}
		if matched == 1 {
			return next, namesOf(doc).find(path), nil
		}
	}
	return 0, nil, mail.NewError(mail.CodeConflict, "the account is changed by many at a time")
}

func (s *Store) insertMailbox(ctx context.Context, acct mail.AccountID, b *mail.Mailbox) error {
	doc := newMailboxDoc(oid(acct), b)
	err := s.again(ctx, func(ctx context.Context) error {
		return s.insertNamed(ctx, s.mailboxes(), acct.String()+b.Path, doc)
	})
	if mongo.IsDuplicateKeyError(err) {
		// By an attempt of ours of which the answer was lost, or by somebody else.
		other, ferr := s.mailboxes().FindOne(ctx, bson.D{{Key: "user", Value: oid(acct)}, {Key: "path", Value: b.Path}}).Raw()
		if ferr == nil && other.Lookup("_id").ObjectID() == oid(b.ID) {
			return nil
		}
		return mailboxExists()
	}
	return writeError("store the mailbox", err)
}

// ListMailboxes returns the mailboxes of an account by path.
func (s *Store) ListMailboxes(ctx context.Context, acct mail.AccountID) ([]*mail.Mailbox, error) {
	done, err := s.enter(ctx, "ListMailboxes")
	if err != nil {
		return nil, err
	}
	defer done()
	var l *listing
	err = parallel(2, func(i int) (err error) {
		if i == 0 {
			return s.requireAccount(ctx, acct)
		}
		l, err = s.listing(ctx, acct)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(l.boxes, func(a, b *mail.Mailbox) int { return strings.Compare(a.Path, b.Path) })
	return l.boxes, nil
}

// Mailbox returns a mailbox.
func (s *Store) Mailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID) (*mail.Mailbox, error) {
	done, err := s.enter(ctx, "Mailbox")
	if err != nil {
		return nil, err
	}
	defer done()
	doc, err := s.mailboxDoc(ctx, acct, id)
	if err != nil {
		return nil, err
	}
	return s.wholeMailbox(ctx, acct, doc)
}

// wholeMailbox reads a mailbox's document, and others where its path is being changed.
func (s *Store) wholeMailbox(ctx context.Context, acct mail.AccountID, doc bson.Raw) (*mail.Mailbox, error) {
	b := mailboxOf(doc)
	if renaming(doc) {
		l, err := s.listing(ctx, acct)
		if err != nil {
			return nil, err
		}
		if listed := l.byID(b.ID); listed != nil {
			b.Path = listed.Path
		}
	}
	return b, nil
}

// MailboxByPath returns the mailbox with a path.
func (s *Store) MailboxByPath(ctx context.Context, acct mail.AccountID, path string) (*mail.Mailbox, error) {
	done, err := s.enter(ctx, "MailboxByPath")
	if err != nil {
		return nil, err
	}
	defer done()
	doc, err := s.mailboxes().FindOne(ctx, bson.D{{Key: "user", Value: oid(acct)}, {Key: "path", Value: path}}).Raw()
	if err == nil && !renaming(doc) {
		if err := s.checkDeleted(ctx, acct, doc); err != nil {
			return nil, err
		}
		return mailboxOf(doc), nil
	}
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return nil, readError("look for the mailbox", err)
	}
	// It may be on its way from one path to another.
	l, err := s.listing(ctx, acct)
	if err != nil {
		return nil, err
	}
	b := l.byPath(path)
	if b == nil {
		return nil, noMailbox("no such mailbox")
	}
	return b, nil
}

// UpdateMailbox changes the settings of a mailbox.
func (s *Store) UpdateMailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID, change func(*mail.Mailbox) error) (*mail.Mailbox, error) {
	done, err := s.enter(ctx, "UpdateMailbox")
	if err != nil {
		return nil, err
	}
	defer done()
	for range maxAttempts {
		doc, err := s.mailboxDoc(ctx, acct, id)
		if err != nil {
			return nil, err
		}
		before, err := s.wholeMailbox(ctx, acct, doc)
		if err != nil {
			return nil, err
		}
		after := *before
		after.Keywords = slices.Clone(before.Keywords)
		if err := change(&after); err != nil {
			return nil, err
		}
		diff, err := mailboxChange(doc, before, &after)
		if err != nil {
			return nil, fmt.Errorf("change the mailbox: %w", err)
		}
		if diff.empty() {
			return before, nil
		}
		now, err := updateGuarded(ctx, s.mailboxes(), doc, mailboxSettings(), diff)
		if err != nil {
			return nil, writeError("change the mailbox", err)
		}
		if now != nil {
			if before.Retention != after.Retention {
				s.queueRedating(context.WithoutCancel(ctx), acct, id, integer(now.Lookup("retentionCounter")))
			}
			return s.wholeMailbox(ctx, acct, now)
		}
	}
	return nil, mail.NewError(mail.CodeConflict, "the mailbox is changed by many at a time")
}

// mailboxSettings are the members that UpdateMailbox changes.
func mailboxSettings() []string {
	return []string{"specialUse", "subscribed", "hidden", "retention", "encryptMessages", "retentionCounter"}
}

func mailboxChange(doc bson.Raw, before, after *mail.Mailbox) (*docChange, error) {
	diff := &docChange{}
	set := func(name string, differs bool, value any) error {
		if !differs {
			return nil
		}
		return diff.member(name, absent{}, value)
	}
	var use any = absent{}
	if after.SpecialUse != "" {
		use = string(after.SpecialUse)
	}
	if before.SpecialUse != after.SpecialUse {
		if err := diff.member("specialUse", "", use); err != nil {
			return nil, err
		}
	}
	return diff, errors.Join(
		set("subscribed", before.Subscribed != after.Subscribed, after.Subscribed),
		set("hidden", before.Hidden != after.Hidden, after.Hidden),
		set("encryptMessages", before.Encrypt != after.Encrypt, after.Encrypt),
		set("retention", before.Retention != after.Retention, retentionValue(after.Retention)),
		set("retentionCounter", before.Retention != after.Retention, numberOf(integer(doc.Lookup("retentionCounter"))+1)),
	)
}

// DeleteMailbox removes a mailbox. It is gone with its document. Its messages are marked as expired, as WildDuck does it,
// and then expired at once; what an interruption leaves is done by the next run of the expiry job.
func (s *Store) DeleteMailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID, nameOctets int) error {
	done, err := s.enter(ctx, "DeleteMailbox")
	if err != nil {
		return err
	}
	defer done()
	doc, err := s.removeMailbox(ctx, acct, id, nameOctets)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	s.log(ctx, mailboxRow(acct, id, store.JournalDelete, "", mail.ModSeq(integer(doc.Lookup("modifyIndex")))))
	s.tracks.forget(oid(id))
	s.owned.forget(id)
	return s.emptyDeleted(ctx, acct, id)
}

// removeMailbox removes the document of a mailbox and returns what it was. Its name is subscribed before, or that is ended;
// so nothing is removed that somebody has subscribed, unsubscribed or renamed meanwhile.
func (s *Store) removeMailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID, nameOctets int) (bson.Raw, error) {
	lost := false
	var doc bson.Raw
	var left *subscribedName
	for range maxAttempts {
		now, err := s.mailboxDoc(ctx, acct, id)
		if err != nil && mail.CodeOf(err) == mail.CodeNoMailbox && lost {
			return doc, nil // an attempt of which the answer was lost
		}
		if err != nil {
			return nil, err
		}
		doc = now
		ctx := context.WithoutCancel(ctx)
		if err := s.completeMoves(ctx, acct, doc); err != nil {
			return nil, readError("complete the moves out of the mailbox", err)
		}
		before := left
		if left, err = s.leaveName(ctx, acct, doc, nameOctets); err != nil {
			return nil, err
		}
		if before != nil && (left == nil || left.Path != before.Path) {
			s.releaseNames(ctx, acct, before) // of the path that it had before
		}
		var deleted int64
		filter := append(guard(doc, []string{"path", "subscribed"}), bson.E{Key: "user", Value: oid(acct)})
		err = s.again(ctx, func(ctx context.Context) error {
			res, err := s.mailboxes().DeleteOne(ctx, filter)
			if err != nil {
				lost = true
				return err
			}
			deleted = res.DeletedCount
			return nil
		})
		if err != nil {
			return nil, writeError("delete the mailbox", err)
		}
		if deleted > 0 {
			return doc, nil
		}
	}
	return nil, mail.NewError(mail.CodeConflict, "the mailbox is changed by many at a time")
}

// deletedMailbox is how long ago the messages of a deleted mailbox expired, by the mark that they get.
const deletedMailbox = 24 * time.Hour

// emptyDeleted does what is left when a mailbox is gone: its filters, and its messages.
func (s *Store) emptyDeleted(ctx context.Context, acct mail.AccountID, id mail.MailboxID) error {
	past := float64(s.o.Now().Add(-deletedMailbox).UnixMilli())
	err := s.again(ctx, func(ctx context.Context) error {
		_, err := s.messages().UpdateMany(ctx, bson.D{{Key: "mailbox", Value: oid(id)}},
			bson.D{{Key: "$set", Value: bson.D{{Key: "exp", Value: true}, {Key: "rdate", Value: past}}}})
		return err
	})
	if err == nil {
		err = s.again(ctx, func(ctx context.Context) error {
			_, err := s.db.main.Collection("filters").DeleteMany(ctx, bson.D{{Key: "user", Value: oid(acct)}, {Key: "action.mailbox", Value: oid(id)}})
			return err
		})
	}
	if err == nil {
		err = s.expireMailbox(ctx, acct, id)
	}
	if err != nil { // the mailbox is gone all the same
		s.o.Logger.Warn("what is left of a deleted mailbox is removed by the expiry job", "mailbox", id, "error", err)
	}
	return nil
}

// findAll reads all documents of a query.
func findAll(ctx context.Context, c *mongo.Collection, filter, fields, sort bson.D) ([]bson.Raw, error) {
	return findSome(ctx, c, filter, fields, sort, 0)
}

// wholeBatch is how many documents of those that will all be in memory come in one answer. A server may do all of the work
// of a query again to give the next ones.
const wholeBatch = 10000

// findSome is findAll of at most limit documents; 0 is no limit.
func findSome(ctx context.Context, c *mongo.Collection, filter, fields, sort bson.D, limit int64) ([]bson.Raw, error) {
	o := options.Find().SetLimit(limit).SetBatchSize(wholeBatch)
	if fields != nil {
		o.SetProjection(fields)
	}
	if sort != nil {
		o.SetSort(sort)
	}
	cur, err := c.Find(ctx, filter, o)
	if err != nil {
		return nil, err
	}
	var rows []bson.Raw
	err = cur.All(ctx, &rows)
	return rows, err
}
