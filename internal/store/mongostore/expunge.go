package mongostore

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// settingArchiveTime is how long archived messages are kept, in milliseconds.
const (
	settingArchiveTime = "const:archive:time"
	archiveTime        = 25 * 24 * time.Hour
)

// Expunge removes messages. What is kept for a while is in the archive before; the deletion of the document makes it
// happen; octets, references and journal rows come after.
func (s *Store) Expunge(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, onlyDeleted bool) (*store.ExpungeResult, error) {
	done, err := s.enter(ctx, "Expunge")
	if err != nil {
		return nil, err
	}
	defer done()
	return s.expunge(ctx, acct, mbox, uids, onlyDeleted, keepSingle)
}

// Delete removes messages as WildDuck's API does it.
func (s *Store) Delete(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, keep bool) (*store.ExpungeResult, error) {
	done, err := s.enter(ctx, "Delete")
	if err != nil {
		return nil, err
	}
	defer done()
	kept := keepNone
	if keep {
		kept = keepAll
	}
	return s.expunge(ctx, acct, mbox, uids, false, kept)
}

// archivable reports whether a message that is removed is kept in the archive.
type archivable func(m *hotMessage) bool

// keepSingle is IMAP's: drafts are not kept, nor what there are copies of.
func keepSingle(m *hotMessage) bool { return !m.Flags.Has(mail.Draft) && !m.Copied }

// keepAll is the API's: drafts are not kept.
func keepAll(m *hotMessage) bool { return !m.Flags.Has(mail.Draft) }

func keepNone(*hotMessage) bool { return false }

func (s *Store) expunge(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, onlyDeleted bool, kept archivable) (*store.ExpungeResult, error) {
	lock, err := s.lockMailbox(ctx, mbox)
	if err != nil {
		return nil, err
	}
	defer lock.release()
	var msgs []*hotMessage
	refs := make(map[mail.UID]references)
	err = parallel(2, func(i int) error {
		if i == 0 {
			_, err := s.mailboxDoc(ctx, acct, mbox)
			return err
		}
		return s.eachOf(ctx, mbox, uids, append(hotFields(), bson.E{Key: "mimeTree.attachmentMap", Value: 1}), func(doc bson.Raw, m *hotMessage) {
			if onlyDeleted && !m.Flags.Has(mail.Deleted) {
				return
			}
			msgs = append(msgs, m)
			if !kept(m) {
				refs[m.UID] = countedOf(doc, m)
			}
		})
	})
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	res := &store.ExpungeResult{}
	for _, batch := range batches(msgs) {
		if err := s.expungeBatch(ctx, acct, mbox, batch, kept, refs, lock, res); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// errNotAlone says that a WildDuck node may have removed messages as well, and given up their references: given up twice, files
// would go that other messages have. One that stays counted is found by CheckFiles.
var errNotAlone = errors.New("others may have given up the references")

func (s *Store) expungeBatch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, msgs []*hotMessage, kept archivable, refs map[mail.UID]references, lock *boxLock, res *store.ExpungeResult) error {
	n := &note{Op: bson.NewObjectID(), Node: s.ledger.node, At: s.o.Now(), UIDs: rangesOf(setOfMessages(msgs))}
	r, err := s.reserve(ctx, acct, mbox, 0, len(msgs), n)
	if err != nil {
		return err
	}
	moved, err := s.movedBefore(ctx, acct, mbox, r.box, n, msgs)
	if err != nil {
		s.dropNote(ctx, oid(mbox), n) // nothing was done
		return readError("look for copies", err)
	}
	var keep []*hotMessage
	for _, m := range msgs {
		if kept(m) && !moved[m.UID] {
			keep = append(keep, m)
		}
	}
	if err := s.archive(ctx, mbox, keep); err != nil {
		s.finishLater(acct, mbox, n)
		return readError("archive messages", err)
	}
	gone, others, err := s.remove(ctx, acct, mbox, msgs, lock)
	if err != nil {
		s.finishLater(acct, mbox, n)
		return unknown("expunge messages", err)
	}
	var octets int64
	var free []references
	var lose []*hotMessage
	var rows []journalRow
	var c counted
	for i, m := range msgs {
		if !gone[m.UID] {
			continue
		}
		ms := r.modSeq + mail.ModSeq(i)
		rows = append(rows, expungeRow(acct, m, ms))
		res.UIDs, res.ModSeq = res.UIDs.Append(m.UID), ms
		c.went(m)
		if moved[m.UID] {
			continue // octets and references are those of the copy
		}
		octets += m.Counted
		if ref, ok := refs[m.UID]; ok {
			lose, free = append(lose, m), append(free, ref)
		}
	}
	refunded := s.refund(ctx, acct, octets)
	told := s.log(ctx, rows...)
	switch {
	case others && len(rows) == len(msgs):
		err = errNotAlone
	case othersNoted(r.box, n):
		err = s.forgetArchived(ctx, acct, lose) // else the references are those of the rows
	}
	if err == nil {
		err = s.dropReferences(ctx, free...)
	}
	if err != nil && len(free) > 0 {
		s.o.Logger.Warn("attachments of expunged messages stay counted", "mailbox", mbox, "error", err)
	}
	s.tellCounters(ctx, mbox, c)
	if refunded && told { // else the note is what says that octets are to be taken off, or which messages went
		s.dropNote(ctx, oid(mbox), n)
	}
	return nil
}

// archive copies messages into the archive, within the server. Those that are there already stay as they are.
func (s *Store) archive(ctx context.Context, mbox mail.MailboxID, msgs []*hotMessage) error {
	if len(msgs) == 0 {
		return nil
	}
	now := s.o.Now()
	until := float64(now.Add(s.archiveTime(ctx)).UnixMilli())
	for _, filter := range uidFilters(oid(mbox), setOfMessages(msgs)) {
		err := s.again(ctx, func(ctx context.Context) error {
			if err := s.step("archive"); err != nil {
				return err
			}
			cur, err := s.messages().Aggregate(ctx, bson.A{
				bson.D{{Key: "$match", Value: filter}},
				bson.D{{Key: "$addFields", Value: bson.D{{Key: "archived", Value: stored(now)}, {Key: "exp", Value: true}, {Key: "rdate", Value: until}}}},
				bson.D{{Key: "$merge", Value: bson.D{{Key: "into", Value: colArchived}, {Key: "whenMatched", Value: "keepExisting"}}}},
			})
			if err != nil {
				return err
			}
			return cur.Close(ctx)
		})
		if err != nil {
			return err
		}
	}
	return s.step("archived")
}

// archiveTime is how long archived messages are kept.
func (s *Store) archiveTime(ctx context.Context) time.Duration {
	raw, err := s.setting(ctx, settingArchiveTime)
	if err != nil {
		return archiveTime
	}
	ms, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || ms <= 0 {
		return archiveTime
	}
	return time.Duration(ms) * time.Millisecond
}

// remove deletes the documents of messages and returns the UIDs of those that this call deleted, and whether others may have
// deleted some. Under the lock that is one operation, which is taken for the one that deleted them all. Without it each is
// deleted by itself, because only so it is known who did it.
func (s *Store) remove(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, msgs []*hotMessage, lock *boxLock) (gone map[mail.UID]bool, others bool, err error) {
	if len(msgs) == 0 {
		return nil, false, nil
	}
	gone = make(map[mail.UID]bool, len(msgs))
	if !lock.held() {
		mine := make([]bool, len(msgs))
		err := parallel(len(msgs), func(i int) (err error) {
			mine[i], err = s.removeOne(ctx, mbox, msgs[i])
			return err
		})
		for i, m := range msgs {
			gone[m.UID] = mine[i]
			others = others || !mine[i]
		}
		return gone, others, err
	}
	ids := make(bson.A, 0, len(msgs))
	for _, m := range msgs {
		ids = append(ids, m.ID)
		gone[m.UID] = true
	}
	var deleted int64
	for _, filter := range uidFilters(oid(mbox), setOfMessages(msgs)) {
		err := s.again(ctx, func(ctx context.Context) error {
			if err := s.step("delete"); err != nil {
				return err
			}
			res, err := s.messages().DeleteMany(ctx, append(filter, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}))
			if err == nil {
				deleted += res.DeletedCount
			}
			return err
		})
		if err != nil {
			return nil, false, err
		}
	}
	if deleted != int64(len(msgs)) {
		// A lost answer, or a WildDuck node that removes without the lock: then it counts what it removed as well.
		s.o.Logger.Info("others removed a part of the messages", "mailbox", mbox, "of", len(msgs), "deleted", deleted)
		s.recountLater(oid(acct))
		others = true
	}
	return gone, others, s.step("deleted")
}

// removeOne deletes a message and reports whether it did. After a lost answer it is taken for done: one that somebody else
// deleted in that moment is told of twice, which does no harm.
func (s *Store) removeOne(ctx context.Context, mbox mail.MailboxID, m *hotMessage) (mine bool, err error) {
	tries := 0
	err = s.again(ctx, func(ctx context.Context) error {
		if err := s.step("delete"); err != nil {
			return err
		}
		tries++
		res, err := s.messages().DeleteOne(ctx, bson.D{{Key: "mailbox", Value: oid(mbox)}, {Key: "uid", Value: m.UID}, {Key: "_id", Value: m.ID}})
		if err == nil {
			mine = res.DeletedCount == 1 || tries > 1
		}
		return err
	})
	return mine, err
}

// expireMailbox removes the messages of a mailbox that is gone, as the expiry job does it.
func (s *Store) expireMailbox(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID) error {
	for {
		var msgs []*hotMessage
		refs := make(map[mail.UID]references)
		err := s.eachOf(ctx, mbox, mail.AllUIDs(), append(hotFields(), bson.E{Key: "mimeTree.attachmentMap", Value: 1}), func(doc bson.Raw, m *hotMessage) {
			msgs = append(msgs, m)
			refs[m.UID] = countedOf(doc, m)
		})
		if err != nil || len(msgs) == 0 {
			return err
		}
		for _, batch := range batches(msgs) {
			if err := s.expireBatch(ctx, acct, mbox, batch, refs); err != nil {
				return err
			}
		}
	}
}

func (s *Store) expireBatch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, msgs []*hotMessage, refs map[mail.UID]references) error {
	var keep, lose []*hotMessage
	for _, m := range msgs {
		if m.Copied {
			lose = append(lose, m)
		} else {
			keep = append(keep, m)
		}
	}
	if err := s.forgetArchived(ctx, acct, lose); err != nil { // the notes that would tell went with the mailbox
		return err
	}
	if err := s.archive(ctx, mbox, keep); err != nil {
		return err
	}
	// No note can be made where there is no mailbox: an entry says that octets are to be taken off.
	c, err := s.charge(ctx, acct, 0, false, 0)
	if err != nil && !accountGone(err) {
		return err
	}
	gone, _, err := s.remove(ctx, acct, mbox, msgs, &boxLock{})
	if err != nil {
		if c != nil {
			s.doubtCharge(c)
		}
		return err
	}
	var octets int64
	var free []references
	for _, m := range msgs {
		if !gone[m.UID] {
			continue
		}
		octets += m.Counted
		if m.Copied {
			free = append(free, refs[m.UID])
		}
	}
	if c != nil {
		s.settle(ctx, c, octets)
	}
	return s.dropReferences(ctx, free...)
}
