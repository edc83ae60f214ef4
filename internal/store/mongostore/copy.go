package mongostore

import (
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Messages are copied, moved and expunged a batch at a time: as much as readers need not wait long for.
const (
	batchMessages = 250
	batchOctets   = 16 << 20
)

// batches cuts a list of messages into batches.
func batches(msgs []*hotMessage) (out [][]*hotMessage) {
	var octets int64
	first := 0
	for i, m := range msgs {
		if i > first && (i-first == batchMessages || octets+m.Counted > batchOctets) {
			out = append(out, msgs[first:i])
			first, octets = i, 0
		}
		octets += m.Counted
	}
	if first < len(msgs) {
		out = append(out, msgs[first:])
	}
	return out
}

func setOfMessages(msgs []*hotMessage) mail.UIDSet {
	var set mail.UIDSet
	for _, m := range msgs {
		set = append(set, mail.UIDRange{First: m.UID, Last: m.UID})
	}
	return mail.NormalizeUIDs(set)
}

// twoMailboxes reads the documents of a source and a destination, and the messages of a set of the source.
func (s *Store) twoMailboxes(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet) (src, dst bson.Raw, msgs []*hotMessage, err error) {
	var dstErr error
	err = parallel(3, func(i int) (err error) {
		switch i {
		case 0:
			src, err = s.mailboxDoc(ctx, acct, from)
		case 1:
			if dst, dstErr = s.mailboxDoc(ctx, acct, to); dstErr != nil && mail.CodeOf(dstErr) == mail.CodeNoMailbox {
				dstErr = noMailbox("destination")
			}
		case 2:
			msgs, err = s.readSet(ctx, from, uids)
		}
		return err
	})
	if err == nil {
		err = dstErr
	}
	return src, dst, msgs, err
}

// Copy stores messages again in another or the same mailbox. A copy is there with its document; its references to
// attachments and its octets are counted before.
func (s *Store) Copy(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet, quota int64) (*store.CopyResult, error) {
	done, err := s.enter(ctx, "Copy")
	if err != nil {
		return nil, err
	}
	defer done()
	_, dst, msgs, err := s.twoMailboxes(ctx, acct, from, to, uids)
	if err != nil {
		return nil, err
	}
	res := &store.CopyResult{UIDValidity: mailboxOf(dst).UIDValidity}
	if len(msgs) == 0 {
		return res, nil
	}
	var octets int64
	for _, m := range msgs {
		octets += m.Counted
	}
	ctx = context.WithoutCancel(ctx)
	ch, err := s.charge(ctx, acct, octets, quota > 0, quota-octets)
	if err != nil {
		return nil, err
	}
	c := &copying{s: s, acct: acct, from: from, to: to, dst: dst, res: res}
	for _, batch := range batches(msgs) {
		if err := c.batch(ctx, batch); err != nil {
			if errors.Is(err, store.ErrOutcomeUnknown) {
				s.doubtCharge(ch)
				return nil, err
			}
			c.takeBack(ctx)
			s.uncharge(ctx, ch)
			return nil, err
		}
	}
	s.settle(ctx, ch, octets-c.octets) // of messages that went meanwhile
	return res, nil
}

// copying is one Copy.
type copying struct {
	s        *Store
	acct     mail.AccountID
	from, to mail.MailboxID
	dst      bson.Raw
	res      *store.CopyResult
	stored   []*arrival
	octets   int64
}

// batch copies some messages.
func (c *copying) batch(ctx context.Context, msgs []*hotMessage) error {
	s := c.s
	in, err := s.replicas(ctx, c.from, mailboxOf(c.dst), msgs, true)
	if err != nil || len(in) == 0 {
		return err
	}
	refs := make([]references, len(in))
	for i, r := range in {
		refs[i] = r.refs
	}
	if err := s.addReferences(ctx, refs...); err != nil {
		return err
	}
	r, err := s.reserve(ctx, c.acct, c.to, len(in), 1, nil)
	if err != nil {
		s.uncountCopies(ctx, refs)
		return destination(err)
	}
	c.dst = r.box // the next batch is dated by what it is now
	arrivals := make([]*arrival, len(in))
	for i := range in {
		arrivals[i] = in[i].arrival
	}
	if err := s.arrive(ctx, c.acct, c.to, r, arrivals, s.undoReferences); err != nil {
		if !errors.Is(err, store.ErrOutcomeUnknown) {
			s.uncountCopies(ctx, refs)
		}
		return err
	}
	c.stored = append(c.stored, arrivals...)
	s.markCopied(ctx, c.from, in)
	rows := make([]journalRow, len(in))
	flags := make([]mail.Flags, len(in))
	var n counted
	for i, a := range in {
		rows[i], flags[i] = existsRow(c.acct, a.hot, a.junk, nil), a.hot.Flags
		n.came(a.hot)
		s.caches.copied(a.source, a.hot)
		c.octets += a.hot.Counted
		c.res.From, c.res.To = append(c.res.From, a.source.UID), append(c.res.To, a.hot.UID)
	}
	s.log(ctx, rows...)
	s.addKeywords(ctx, r.box, flags...)
	s.tellCounters(ctx, c.to, n)
	return nil
}

// destination makes a missing mailbox the destination.
func destination(err error) error {
	if mail.CodeOf(err) == mail.CodeNoMailbox {
		return noMailbox("destination")
	}
	return err
}

// uncountCopies gives back the references of copies that are not stored.
func (s *Store) uncountCopies(ctx context.Context, refs []references) {
	if err := s.undoReferences(ctx, refs...); err != nil {
		s.o.Logger.Warn("attachments of copies that were not stored stay counted", "error", err)
	}
}

// takeBack removes the copies of the batches before one that failed: a COPY is done in whole or not at all.
func (c *copying) takeBack(ctx context.Context) {
	if len(c.stored) == 0 {
		return
	}
	if err := c.s.retract(ctx, c.acct, c.to, c.stored); err != nil {
		c.s.o.Logger.Error("a part of a copy that failed stays", "mailbox", c.to, "error", err)
	}
}

// retract removes copies again that others may have seen, without archiving them.
func (s *Store) retract(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []*arrival) error {
	r, err := s.reserve(ctx, acct, mbox, 0, len(in), nil)
	if err != nil {
		return err
	}
	if err := s.removeArrivals(ctx, in); err != nil {
		return err
	}
	rows := make([]journalRow, len(in))
	refs := make([]references, len(in))
	var n counted
	for i, a := range in {
		rows[i], refs[i] = expungeRow(acct, a.hot, r.modSeq+mail.ModSeq(i)), a.refs
		n.went(a.hot)
	}
	s.log(ctx, rows...)
	s.tellCounters(ctx, mbox, n)
	return s.undoReferences(ctx, refs...)
}

// markCopied notes in originals that they were copied, so that an expunge does not archive them.
func (s *Store) markCopied(ctx context.Context, mbox mail.MailboxID, in []*replica) {
	set := make(mail.UIDSet, 0, len(in))
	for _, r := range in {
		if !r.source.Copied {
			set = append(set, mail.UIDRange{First: r.source.UID, Last: r.source.UID})
		}
	}
	for _, filter := range uidFilters(oid(mbox), mail.NormalizeUIDs(set)) {
		err := s.again(ctx, func(ctx context.Context) error {
			_, err := s.messages().UpdateMany(ctx, filter, bson.D{{Key: "$set", Value: bson.D{{Key: "copied", Value: true}}}})
			return err
		})
		if err != nil { // an expunge then archives more than it need
			s.o.Logger.Warn("messages are not marked as copied", "mailbox", mbox, "error", err)
		}
	}
}

// replica is a message that is to be stored again elsewhere.
type replica struct {
	*arrival
	source *hotMessage
}

// replicas makes the documents of copies of messages, as far as these still exist.
func (s *Store) replicas(ctx context.Context, from mail.MailboxID, dst *mail.Mailbox, msgs []*hotMessage, copied bool) ([]*replica, error) {
	wanted := make(map[bson.ObjectID]bool)
	for _, m := range msgs {
		wanted[m.ID] = true
	}
	var out []*replica
	err := s.eachOf(ctx, from, setOfMessages(msgs), nil, func(doc bson.Raw, m *hotMessage) {
		if wanted[m.ID] {
			out = append(out, s.replicaOf(doc, m, dst, copied))
		}
	})
	return out, err
}

// rewritten are the members of a message that are new in a copy.
func rewritten() []string {
	return []string{"_id", "mailbox", "uid", "modseq", "exp", "rdate", "retention", "retentionTime", "searchable", "junk", "copied"}
}

// replicaOf makes the document of a copy of a message.
func (s *Store) replicaOf(doc bson.Raw, m *hotMessage, dst *mail.Mailbox, copied bool) *replica {
	now := s.o.Now()
	h := *m
	h.Mailbox = oid(dst.ID)
	h.ID = movedID(m.ID)
	if copied {
		h.ID = bson.ObjectID(newID[mail.MessageID](s))
	}
	out := expiryMembers(dst, now, now, true)
	elements, _ := doc.Elements() // it has been read before
	for _, e := range elements {
		switch {
		case slices.Contains(rewritten(), e.Key()):
		case e.Key() == "meta" && copied:
			out = append(out, bson.E{Key: "meta", Value: withEvent(e.Value(), now)})
		default:
			out = append(out, bson.E{Key: e.Key(), Value: e.Value()})
		}
	}
	out = append(out, bson.E{Key: "copied", Value: false})
	if !m.Flags.Has(mail.Deleted) {
		out = append(out, bson.E{Key: "searchable", Value: true})
	}
	var junk int8
	switch {
	case dst.SpecialUse == mail.UseJunk && !m.Junk:
		h.Junk, junk = true, 1
	case dst.SpecialUse != mail.UseJunk && dst.SpecialUse != mail.UseTrash && m.Junk:
		h.Junk, junk = false, -1
	}
	if h.Junk {
		out = append(out, bson.E{Key: "junk", Value: true})
	}
	return &replica{arrival: &arrival{hot: &h, doc: out, refs: referencesOf(doc), junk: junk, moved: !copied}, source: m}
}
