package mongostore

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

var _ store.Migration = (*Store)(nil)

// keyRestored is the member of memberMallard in a mailbox that was restored: up to which mod-sequence and below which UID
// its numbers are those of another engine. None of them is on its way, and what was expunged is not known one by one.
const keyRestored = "restored"

// restoredUpTo reads keyRestored, zero for a mailbox that was not restored.
func restoredUpTo(box bson.Raw) (mail.ModSeq, mail.UID) {
	own, ok := box.Lookup(memberMallard, keyRestored).DocumentOK()
	if !ok {
		return 0, 0
	}
	return mail.ModSeq(integer(own.Lookup("modseq"))), mail.UID(integer(own.Lookup("uidNext")))
}

// RestoreMailbox stores a mailbox with its numbers, or makes the one that there is the same.
func (s *Store) RestoreMailbox(ctx context.Context, acct mail.AccountID, m mail.Mailbox) error {
	done, err := s.enter(ctx, "RestoreMailbox")
	if err != nil {
		return err
	}
	defer done()
	if err := s.requireAccount(ctx, acct); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	update := restoredMailbox(&m)
	err = s.again(ctx, func(ctx context.Context) error {
		_, err := s.mailboxes().UpdateOne(ctx, boxFilter(acct, m.ID), update, options.UpdateOne().SetUpsert(true))
		return err
	})
	if mongo.IsDuplicateKeyError(err) {
		return mailboxExists()
	}
	if err != nil {
		return writeError("restore the mailbox", err)
	}
	s.tracks.forget(oid(m.ID))
	s.seen.forget(oid(m.ID))
	if err := writeAgain("note the UIDVALIDITY", func() error {
		_, err := s.users().UpdateOne(ctx, bson.D{{Key: "_id", Value: oid(acct)}},
			bson.D{{Key: "$max", Value: bson.D{{Key: memberMallard + "." + keyValidity, Value: numberOf(int64(m.UIDValidity))}}}})
		return err
	}); err != nil {
		return err
	}
	return s.removePath(ctx, acct, m.Path)
}

// restoredMailbox is the update that makes a mailbox what it is to be.
func restoredMailbox(m *mail.Mailbox) bson.D {
	set := bson.D{
		{Key: "path", Value: m.Path}, {Key: "specialUse", Value: textOrNull(string(m.SpecialUse))},
		{Key: "uidValidity", Value: numberOf(int64(m.UIDValidity))}, {Key: "uidNext", Value: numberOf(int64(m.UIDNext))},
		{Key: "modifyIndex", Value: numberOf(int64(m.HighestModSeq))}, {Key: "subscribed", Value: m.Subscribed},
		{Key: "flags", Value: textArray(m.Keywords)}, {Key: "retention", Value: retentionValue(m.Retention)},
		{Key: "hidden", Value: m.Hidden}, {Key: "encryptMessages", Value: m.Encrypt},
		{Key: memberMallard + "." + keyRestored + ".modseq", Value: numberOf(int64(m.HighestModSeq))},
		{Key: memberMallard + "." + keyRestored + ".uidNext", Value: numberOf(int64(m.UIDNext))},
	}
	if !m.Created.IsZero() {
		set = append(set, bson.E{Key: memberMallard + "." + keyCreated, Value: stored(m.Created)})
	}
	return bson.D{{Key: "$set", Value: set}, {Key: "$setOnInsert", Value: bson.D{{Key: "retentionCounter", Value: int32(0)}}}}
}

// RestoreMessages stores messages under the numbers that they have. What is wrong with one of them is found before any is
// stored; after an error in the middle doing it again completes it.
func (s *Store) RestoreMessages(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []store.Restored) error {
	done, err := s.enter(ctx, "RestoreMessages")
	if err != nil {
		return err
	}
	defer done()
	doc, err := s.mailboxDoc(ctx, acct, mbox)
	if err != nil {
		return err
	}
	r := &restoring{s: s, acct: acct, mbox: mbox, box: mailboxOf(doc)}
	if err := r.plan(ctx, in); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err := r.removeOld(ctx); err != nil {
		return unknownOutcome(writeError("replace messages", err))
	}
	if err := r.store(ctx); err != nil {
		return unknownOutcome(writeError("restore messages", err))
	}
	if err := parallel(len(r.changed), func(i int) error { return r.change(ctx, r.changed[i]) }); err != nil {
		return unknownOutcome(writeError("restore messages", err))
	}
	if len(r.old)+len(r.changed) > 0 {
		if err := s.replaced(ctx, oid(mbox)); err != nil {
			return unknownOutcome(writeError("restore messages", err))
		}
	}
	s.tellCounters(ctx, mbox, r.counted)
	return nil
}

// restoring is one call of RestoreMessages.
type restoring struct {
	s       *Store
	acct    mail.AccountID
	mbox    mail.MailboxID
	box     *mail.Mailbox
	fresh   []*store.Restored // are not there
	made    []*prepared       // of fresh
	changed []*store.Restored // are there, with this content
	old     []*hotMessage     // are there in place of fresh ones
	refs    []references      // of old
	counted counted
}

// plan finds out what has to be done. Errors: Invalid.
func (r *restoring) plan(ctx context.Context, in []store.Restored) error {
	there, refs, err := r.existing(ctx, in)
	if err != nil {
		return err
	}
	for i := range in {
		m, old := &in[i], there[in[i].UID]
		if old != nil && old.ID == oid(m.ID) && old.Root == oid(m.EmailID) {
			r.changed = append(r.changed, m)
			continue
		}
		st, ok := m.Staged.(*staged)
		if !ok || st.closed.Load() {
			return mail.NewError(mail.CodeInvalid, "the message is not staged")
		}
		p, err := r.s.prepare(ctx, st, m.Prefix)
		if err != nil {
			return err
		}
		r.fresh, r.made = append(r.fresh, m), append(r.made, p)
		if old != nil {
			r.old, r.refs = append(r.old, old), append(r.refs, refs[m.UID])
		}
	}
	return nil
}

// existing reads the messages that have the UIDs of those to be restored.
func (r *restoring) existing(ctx context.Context, in []store.Restored) (map[mail.UID]*hotMessage, map[mail.UID]references, error) {
	var set mail.UIDSet
	for i := range in {
		set = append(set, mail.UIDRange{First: in[i].UID, Last: in[i].UID})
	}
	there, refs := make(map[mail.UID]*hotMessage), make(map[mail.UID]references)
	err := r.s.eachOf(ctx, r.mbox, mail.NormalizeUIDs(set), append(hotFields(), bson.E{Key: "mimeTree.attachmentMap", Value: 1}),
		func(doc bson.Raw, m *hotMessage) { there[m.UID], refs[m.UID] = m, countedOf(doc, m) })
	return there, refs, err
}

// removeOld removes messages that others replace.
func (r *restoring) removeOld(ctx context.Context) error {
	if len(r.old) == 0 {
		return nil
	}
	return r.s.dropRestored(ctx, r.acct, r.mbox, r.old, r.refs, &r.counted)
}

// dropRestored removes messages without a word in the journal.
func (s *Store) dropRestored(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, msgs []*hotMessage, refs []references, c *counted) error {
	lock := &boxLock{}
	gone, _, err := s.remove(ctx, acct, mbox, msgs, lock)
	if err != nil {
		return err
	}
	var octets int64
	var free []references
	for i, m := range msgs {
		if gone[m.UID] {
			octets += m.Counted
			free = append(free, refs[i])
			c.went(m)
		}
	}
	s.refund(ctx, acct, octets)
	return s.dropReferences(ctx, free...)
}

// store inserts the messages that are not there.
func (r *restoring) store(ctx context.Context) error {
	if len(r.fresh) == 0 {
		return nil
	}
	var octets int64
	for _, p := range r.made {
		octets += p.size
	}
	if err := parallel(len(r.made), func(i int) error {
		if err := r.s.restoreThread(ctx, r.acct, r.fresh[i]); err != nil {
			return err
		}
		return r.s.storeAttachments(ctx, r.made[i])
	}); err != nil {
		r.s.release(ctx, r.made)
		return err
	}
	c, err := r.s.charge(ctx, r.acct, octets, false, 0)
	if err != nil {
		r.s.release(ctx, r.made)
		return err
	}
	arrivals := make([]*arrival, len(r.fresh))
	for i, m := range r.fresh {
		arrivals[i] = r.arrival(m, r.made[i])
		r.counted.came(arrivals[i].hot)
	}
	err = r.s.insertArrivals(ctx, arrivals)
	switch {
	case err == nil:
		r.s.settle(ctx, c, 0)
	case outcomeUnknown(err):
		r.s.doubtCharge(c)
	default:
		r.s.uncharge(ctx, c)
		r.s.release(ctx, r.made)
	}
	return err
}

// restoreThread makes the conversation of a message known by its references, so that answers find it.
func (s *Store) restoreThread(ctx context.Context, acct mail.AccountID, m *store.Restored) error {
	st := m.Staged.(*staged)
	ids := bson.A{nil}
	if hashes := threadHashes(st.references); len(hashes) > 0 {
		ids = textArray(hashes)
	}
	return writeAgain("restore the conversation", func() error {
		_, err := s.threads().UpdateOne(ctx, bson.D{{Key: "_id", Value: oid(m.ThreadID)}, {Key: "user", Value: oid(acct)}}, bson.D{
			{Key: "$addToSet", Value: bson.D{{Key: "ids", Value: bson.D{{Key: "$each", Value: ids}}}}},
			{Key: "$set", Value: bson.D{{Key: "updated", Value: stored(s.o.Now())}}},
			{Key: "$setOnInsert", Value: bson.D{{Key: "subject", Value: st.subject}}},
		}, options.UpdateOne().SetUpsert(true))
		return err
	})
}

// arrival is the document of a message with everything that it had.
func (r *restoring) arrival(m *store.Restored, p *prepared) *arrival {
	a := r.s.arrivalOf(r.acct, r.box, &store.Append{Flags: m.Flags, InternalDate: m.InternalDate, MetaData: m.MetaData, Info: m.Info}, p, oid(m.ID), oid(m.ThreadID))
	a.hot.ID, a.hot.Root, a.hot.UID, a.hot.ModSeq, a.hot.Junk = oid(m.ID), oid(m.EmailID), m.UID, m.ModSeq, m.Junk
	doc := bson.D{{Key: "root", Value: oid(m.EmailID)}}
	for _, e := range a.doc {
		switch e.Key {
		case "root", "junk", "retentionTime", "exp", "rdate", "retention":
		default:
			doc = append(doc, e)
		}
	}
	doc = append(doc, r.times(m)...)
	if m.Junk {
		doc = append(doc, bson.E{Key: "junk", Value: true})
	}
	a.doc = doc
	return a
}

// times are the members that say when a message came and when it goes.
func (r *restoring) times(m *store.Restored) bson.D {
	saved := m.SavedDate
	if saved.IsZero() {
		saved = m.ID.Time()
	}
	doc := bson.D{{Key: "retentionTime", Value: float64(saved.UnixMilli())}, {Key: "exp", Value: !m.Expires.IsZero()}}
	switch {
	case m.Expires.IsZero():
		return append(doc, bson.E{Key: "retention", Value: int32(0)})
	case r.box.Retention > 0 && m.Expires.Sub(saved.Add(r.box.Retention)).Abs() < sameExpiry:
		doc = append(doc, bson.E{Key: "retention", Value: millis(r.box.Retention)})
	}
	return append(doc, bson.E{Key: "rdate", Value: float64(m.Expires.UnixMilli())})
}

// change gives a message that is there what can change about it.
func (r *restoring) change(ctx context.Context, m *store.Restored) error {
	set := append(flagMembers(m.Flags), r.times(m)...)
	set = append(set,
		bson.E{Key: "modseq", Value: numberOf(int64(m.ModSeq))}, bson.E{Key: "idate", Value: stored(m.InternalDate)}, bson.E{Key: "thread", Value: oid(m.ThreadID)},
		bson.E{Key: "meta", Value: metaDoc(&store.Append{MetaData: m.MetaData, Info: m.Info})},
	)
	var unset bson.D
	put := func(there bool, key string, value any) {
		if there {
			set = append(set, bson.E{Key: key, Value: value})
			return
		}
		unset = append(unset, bson.E{Key: key, Value: ""})
	}
	put(m.Info != "", memberMallard+"."+keyInfo, m.Info)
	put(m.Junk, "junk", true)
	put(!m.Flags.Has(mail.Deleted), "searchable", true)
	if m.Expires.IsZero() {
		unset = append(unset, bson.E{Key: "rdate", Value: ""})
	}
	update := bson.D{{Key: "$set", Value: set}}
	if len(unset) > 0 {
		update = append(update, bson.E{Key: "$unset", Value: unset})
	}
	return r.s.again(ctx, func(ctx context.Context) error {
		_, err := r.s.messages().UpdateOne(ctx, bson.D{
			{Key: "mailbox", Value: oid(r.mbox)}, {Key: "uid", Value: numberOf(int64(m.UID))}, {Key: "_id", Value: oid(m.ID)},
		}, update)
		return err
	})
}

// RemoveRestored takes messages away as if they had not been restored.
func (s *Store) RemoveRestored(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet) error {
	done, err := s.enter(ctx, "RemoveRestored")
	if err != nil {
		return err
	}
	defer done()
	if _, err := s.mailboxDoc(ctx, acct, mbox); err != nil {
		return err
	}
	var msgs []*hotMessage
	var refs []references
	err = s.eachOf(ctx, mbox, uids, append(hotFields(), bson.E{Key: "mimeTree.attachmentMap", Value: 1}), func(doc bson.Raw, m *hotMessage) {
		msgs, refs = append(msgs, m), append(refs, countedOf(doc, m))
	})
	if err != nil || len(msgs) == 0 {
		return err
	}
	var c counted
	ctx = context.WithoutCancel(ctx)
	if err := s.dropRestored(ctx, acct, mbox, msgs, refs, &c); err != nil {
		return unknownOutcome(writeError("take restored messages away", err))
	}
	if err := s.replaced(ctx, oid(mbox)); err != nil {
		return unknownOutcome(writeError("take restored messages away", err))
	}
	s.tellCounters(ctx, mbox, c)
	return nil
}
