package mongostore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// arrival is a message on its way into a mailbox: what its document is made of, whoever it comes from.
type arrival struct {
	hot  *hotMessage
	doc  bson.D // members that do not depend on the numbers
	refs references
	junk int8 // what the journal says
	// moved says that the message is moved here: somebody else may have stored it, and its original goes when it is there.
	moved bool
}

// countedAs says how the references of messages are counted that are on their way: how they are given back.
type countedAs func(ctx context.Context, refs ...references) error

// Append stores messages at the end of a mailbox. Before a message is there its attachments are, and its octets are
// counted; its document makes it happen, and the journal row says that it did.
func (s *Store) Append(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []store.Append) ([]store.Appended, error) {
	done, err := s.enter(ctx, "Append")
	if err != nil {
		return nil, err
	}
	defer done()
	if len(in) == 0 {
		return nil, s.mustExist(ctx, acct, mbox)
	}
	p, err := s.prepareAll(ctx, in)
	if err != nil {
		return nil, err
	}
	ctx, member := s.enterRound(context.WithoutCancel(ctx), len(in))
	defer member.Leave()
	if err := s.begin(ctx, acct, p); err != nil {
		member.Leave()
		s.takeBack(ctx, p)
		return nil, err
	}
	out, err := s.appendPrepared(ctx, acct, mbox, in, p)
	member.Leave()
	if err != nil {
		if errors.Is(err, store.ErrOutcomeUnknown) {
			s.settleLater(p.charged, func(ctx context.Context) error { return s.takeArrivalsBack(ctx, acct, mbox, p.arrivals) })
		} else {
			s.takeBack(ctx, p)
		}
		return nil, err
	}
	s.justify(ctx, p.charged)
	return out, nil
}

// mustExist fails when there is no such mailbox or account.
func (s *Store) mustExist(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID) error {
	_, err := s.mailboxDoc(ctx, acct, mbox)
	if mail.CodeOf(err) == mail.CodeNoMailbox {
		if aerr := s.requireAccount(ctx, acct); aerr != nil {
			return aerr
		}
	}
	return err
}

// begin does all that is to be done before a message is there, at once, as none of it needs another: it counts the octets,
// finds the threads and stores attachments. What was done when it fails is in p. Whether there is such a mailbox turns out
// when numbers of it are taken.
func (s *Store) begin(ctx context.Context, acct mail.AccountID, p *appending) error {
	const first = 2
	var apart []*prepared // those that refer to files
	for _, m := range p.made {
		if m.fields == nil {
			apart = append(apart, m)
		}
	}
	slow := len(apart) > 0
	errs := make([]error, first+len(apart))
	var taken atomic.Int32 // of the steps of a round that come first
	_ = parallel(len(errs), func(i int) error {
		switch i {
		case 0:
			p.charged, errs[i] = s.charge(ctx, acct, p.octets, p.limited, p.room, p.ids...)
		case 1:
			p.threads, errs[i] = s.assignThreads(ctx, acct, p.staged)
		default:
			errs[i] = s.storeAttachments(ctx, apart[i-first])
		}
		if i < first && taken.Add(1) == first && slow {
			memberOf(ctx).Leave() // files take longer than the others should wait
		}
		return nil
	})
	for _, err := range errs { // that there is no account says more than what follows from it
		if err != nil {
			return err
		}
	}
	return nil
}

// takeBack undoes begin.
func (s *Store) takeBack(ctx context.Context, p *appending) {
	if p.charged != nil {
		s.uncharge(ctx, p.charged)
	}
	s.release(ctx, p.made)
}

// appending are the messages of one Append, ready to be stored.
type appending struct {
	staged  []*staged
	made    []*prepared
	ids     []bson.ObjectID // that they will have
	charged *charge
	threads []bson.ObjectID
	octets  int64
	limited bool
	room    int64 // what may be used before, for all of them to fit

	arrivals []*arrival // once they have numbers
}

func (s *Store) prepareAll(ctx context.Context, in []store.Append) (*appending, error) {
	p := &appending{made: make([]*prepared, len(in))}
	for _, a := range in {
		st, ok := a.Staged.(*staged)
		if !ok || st.closed.Load() {
			return nil, mail.NewError(mail.CodeInvalid, "the message is not staged")
		}
		p.staged = append(p.staged, st)
		p.ids = append(p.ids, bson.ObjectID(newID[mail.MessageID](s)))
	}
	if err := parallel(len(in), func(i int) (err error) {
		p.made[i], err = s.prepare(ctx, p.staged[i], in[i].Prefix)
		return err
	}); err != nil {
		return nil, err
	}
	for i, a := range in {
		p.octets += p.made[i].size
		if room := a.Quota - p.octets; a.Quota > 0 && (!p.limited || room < p.room) {
			p.limited, p.room = true, room
		}
	}
	return p, nil
}

// appendPrepared stores messages for which begin was done.
func (s *Store) appendPrepared(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []store.Append, p *appending) ([]store.Appended, error) {
	r, err := s.reserve(ctx, acct, mbox, len(in), 1, nil)
	if err != nil {
		return nil, err
	}
	arrivals := make([]*arrival, len(in))
	box := mailboxOf(r.box)
	for i := range in {
		arrivals[i] = s.arrivalOf(acct, box, &in[i], p.made[i], p.ids[i], p.threads[i])
	}
	p.arrivals = arrivals
	if err := s.arrive(ctx, acct, mbox, r, arrivals, s.dropReferences); err != nil {
		return nil, err
	}
	rows := make([]journalRow, len(in))
	flags := make([]mail.Flags, len(in))
	out := make([]store.Appended, len(in))
	var n counted
	for i, a := range arrivals {
		rows[i], flags[i] = existsRow(acct, a.hot, 0, &in[i].Origin), a.hot.Flags
		s.caches.arrived(a.hot, p.made[i])
		n.came(a.hot)
		out[i] = store.Appended{
			UID: a.hot.UID, UIDValidity: box.UIDValidity, ModSeq: a.hot.ModSeq, ID: mail.MessageID(a.hot.ID),
			EmailID: mail.EmailID(a.hot.Root), ThreadID: mail.ThreadID(a.hot.Thread), Size: p.made[i].verbatim,
		}
	}
	s.log(ctx, rows...)
	memberOf(ctx).Leave()
	s.addKeywords(ctx, r.box, flags...)
	s.tellCounters(ctx, mbox, n)
	s.register.note(acct, box, in, p.staged)
	return out, nil
}

// release gives back what attachments were counted for messages that are not stored.
func (s *Store) release(ctx context.Context, made []*prepared) {
	var refs []references
	for _, p := range made {
		refs = append(refs, p.refs)
	}
	if err := s.dropReferences(ctx, refs...); err != nil {
		s.o.Logger.Warn("attachments of messages that were not stored stay counted", "error", err)
	}
}

// arrivalOf makes the document of a message that is appended.
func (s *Store) arrivalOf(acct mail.AccountID, box *mail.Mailbox, in *store.Append, p *prepared, id, thread bson.ObjectID) *arrival {
	now := s.o.Now()
	h := &hotMessage{
		HotRow: mail.HotRow{Flags: in.Flags}, ID: id, Root: id, Mailbox: oid(box.ID), Thread: thread, IDate: in.InternalDate,
		Names: in.Flags.List(), Size: p.verbatim, Counted: p.size, Expires: in.Expires,
	}
	if in.Expires.IsZero() && box.Retention > 0 {
		h.Expires = now.Add(box.Retention)
	}
	hdate := p.hdate
	if hdate.IsZero() {
		hdate = in.InternalDate
	}
	h.HDate = hdate.UnixMilli()
	doc := bson.D{{Key: "root", Value: id}, {Key: "v", Value: "1.0"}}
	doc = append(doc, expiryMembers(box, in.Expires, now, in.Expires.IsZero())...)
	doc = append(doc,
		bson.E{Key: "userDeleted", Value: false}, bson.E{Key: "idate", Value: stored(in.InternalDate)}, bson.E{Key: "hdate", Value: stored(hdate)},
		bson.E{Key: "meta", Value: metaDoc(in)}, bson.E{Key: "filters", Value: bson.A{}},
	)
	for _, e := range p.fields {
		if e.Key == memberMallard {
			e.Value = withInfo(e.Value, in.Info)
		}
		doc = append(doc, e)
	}
	doc = append(doc, bson.E{Key: "copied", Value: false}, bson.E{Key: "user", Value: oid(acct)}, bson.E{Key: "thread", Value: thread})
	doc = append(doc, flagMembers(in.Flags)...)
	if !in.Flags.Has(mail.Deleted) {
		doc = append(doc, bson.E{Key: "searchable", Value: true})
	}
	if box.SpecialUse == mail.UseJunk {
		h.Junk = true
		doc = append(doc, bson.E{Key: "junk", Value: true})
	}
	return &arrival{hot: h, doc: doc, refs: p.refs}
}

// flagMembers are the flags of a message and the members that mirror them.
func flagMembers(f mail.Flags) bson.D {
	return bson.D{
		{Key: "flags", Value: textArray(f.List())}, {Key: "unseen", Value: !f.Has(mail.Seen)}, {Key: "flagged", Value: f.Has(mail.Flagged)},
		{Key: "undeleted", Value: !f.Has(mail.Deleted)}, {Key: "draft", Value: f.Has(mail.Draft)},
	}
}

// sameExpiry is how far an expiry may be from what the mailbox's retention gives, to be taken as coming from that.
const sameExpiry = 2 * time.Minute

// expiryMembers say when a message that comes into a mailbox is to be removed: by the mailbox's retention, or at a time of
// its own. With always the retention alone counts.
func expiryMembers(box *mail.Mailbox, expires, now time.Time, always bool) bson.D {
	arrived := arrivalMillis(now)
	doc := bson.D{{Key: "retentionTime", Value: arrived}}
	keep := box.Retention > 0 && (always || expires.Sub(now.Add(box.Retention)).Abs() < sameExpiry)
	switch {
	case keep:
		return append(doc, bson.E{Key: "exp", Value: true}, bson.E{Key: "rdate", Value: arrived + float64(box.Retention.Milliseconds())},
			bson.E{Key: "retention", Value: millis(box.Retention)})
	case !always && !expires.IsZero():
		return append(doc, bson.E{Key: "exp", Value: true}, bson.E{Key: "rdate", Value: float64(expires.UnixMilli())})
	}
	return append(doc, bson.E{Key: "exp", Value: false}, bson.E{Key: "retention", Value: int32(0)})
}

// sourceMX is the member source of what was delivered.
const sourceMX = "MX"

func documentValue(doc bson.D, key string) any {
	for _, e := range doc {
		if e.Key == key {
			return e.Value
		}
	}
	return nil
}

// metaDoc is the member meta of a message: what is known of its origin, with the types of WildDuck.
func metaDoc(in *store.Append) bson.D {
	doc, err := jsonObject(in.Info)
	if err != nil {
		doc = nil
	}
	meta := bson.D{}
	if source, _ := documentValue(doc, "source").(string); source == sourceMX {
		meta = append(meta, bson.E{Key: "transactionId", Value: bson.NewObjectID()}) // a name for the log, as LMTP of WildDuck gives one
	}
	for _, e := range doc {
		if !memberName(e.Key) {
			continue
		}
		if t, ok := parseTime(e.Value); ok && e.Key == "time" {
			e.Value = stored(t)
		}
		meta = append(meta, e)
	}
	if in.MetaData != "" {
		meta = append(meta, bson.E{Key: "custom", Value: in.MetaData})
	}
	return meta
}

// memberName reports whether a name can be that of a member of meta. The others stand in keyInfo alone.
func memberName(name string) bool {
	if name == "" || name == "custom" || name == "events" || name[0] == '$' {
		return false
	}
	for i := range len(name) {
		if name[i] == '.' || name[i] == 0 {
			return false
		}
	}
	return true
}

// withInfo adds the information of an append to the member of ours. What another message shares is not changed.
func withInfo(own any, info string) any {
	doc, ok := own.(bson.RawValue)
	if !ok || info == "" || len(doc.Value) < minDocument {
		return own
	}
	idx, dst := bsoncore.AppendDocumentStart(make([]byte, 0, len(doc.Value)+len(info)+16))
	dst = append(dst, doc.Value[4:len(doc.Value)-1]...)
	dst = bsoncore.AppendStringElement(dst, keyInfo, info)
	dst, err := bsoncore.AppendDocumentEnd(dst, idx)
	if err != nil {
		return own
	}
	return bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: dst}
}

// minDocument is the length of an empty document.
const minDocument = 5

// document is the whole document of an arrival with its numbers.
func (a *arrival) document() (bson.Raw, error) {
	doc := make(bson.D, 0, len(a.doc)+4)
	doc = append(doc, bson.E{Key: "_id", Value: a.hot.ID})
	doc = append(doc, a.doc...)
	return encode(append(doc, bson.E{Key: "mailbox", Value: a.hot.Mailbox},
		bson.E{Key: "uid", Value: numberOf(int64(a.hot.UID))}, bson.E{Key: "modseq", Value: numberOf(int64(a.hot.ModSeq))}))
}

// arrive inserts messages under the numbers of a reservation. A reader waits for them as long as Options.Lease; what is
// not known to be there by then gets new numbers, before anybody is told of the old ones. Either all of them are there
// when it returns, or none, or the error says that it is not known.
func (s *Store) arrive(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, r *reservation, in []*arrival, as countedAs) error {
	for i, a := range in {
		a.hot.UID, a.hot.ModSeq = r.uid+mail.UID(i), r.modSeq
	}
	err := s.insertArrivals(ctx, in)
	if err != nil && outcomeUnknown(err) {
		err = fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, err)
	}
	if err == nil && s.late(r) {
		err = s.renumberAll(ctx, acct, mbox, in)
	}
	if err != nil && in[0].moved && !errors.Is(err, store.ErrOutcomeUnknown) {
		err = fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, err) // what is there stays: the move is completed with it
	}
	if err != nil && errors.Is(err, store.ErrOutcomeUnknown) {
		s.later(func(ctx context.Context) error { return s.settleArrivals(ctx, acct, in, as) })
		return writeError("store the message", err)
	}
	if err != nil {
		if uerr := s.removeArrivals(ctx, in); uerr != nil {
			s.later(func(ctx context.Context) error { return s.settleArrivals(ctx, acct, in, as) })
			return mail.WrapError(mail.CodeUnavailable, "the mail store is not available", fmt.Errorf("%w: store the message: %w", store.ErrOutcomeUnknown, err))
		}
		return readError("store the message", err)
	}
	return s.step("inserted")
}

// insertChunk is how many messages one operation inserts; a server does several at a time.
const insertChunk = 50

// insertArrivals inserts documents that have ids of their own. It may be done any number of times.
func (s *Store) insertArrivals(ctx context.Context, in []*arrival) error {
	chunks := slices.Collect(slices.Chunk(in, insertChunk))
	return parallel(len(chunks), func(i int) error {
		docs := make([]bson.Raw, len(chunks[i]))
		for k, a := range chunks[i] {
			var err error
			if docs[k], err = a.document(); err != nil {
				return err
			}
		}
		return s.insist(ctx, func(ctx context.Context) error {
			if err := s.step("insert"); err != nil {
				return err
			}
			if len(docs) > 1 {
				return s.insertDocuments(ctx, docs)
			}
			if done, err := s.insertTogether(ctx, docs[0]); err != nil || done {
				return err
			}
			_, err := s.messages().InsertOne(ctx, docs[0])
			return exceptDuplicates(err)
		})
	})
}

// insertDocuments makes one attempt to insert messages.
func (s *Store) insertDocuments(ctx context.Context, docs []bson.Raw) error {
	_, err := s.messages().InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
	return exceptDuplicates(err)
}

// late reports whether readers may have gone past the UIDs of a reservation.
func (s *Store) late(r *reservation) bool { return time.Since(r.asked) > s.o.Lease }

// renumberAll gives messages that are there new numbers until readers have not gone past them. Many get them in parts, each
// of which is again as long under way as readers wait: a part that was late is tried as a smaller one.
func (s *Store) renumberAll(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []*arrival) error {
	for most := batchMessages; len(in) > 0; {
		part := in[:min(most, len(in))]
		var r *reservation
		err := s.againUntil(ctx, time.Now().Add(patience*s.o.Timeout), func(ctx context.Context) (err error) {
			if r, err = s.reserve(ctx, acct, mbox, len(part), 1, nil); err == nil {
				err = s.renumber(ctx, part, r)
			}
			return err
		})
		if err != nil {
			return err
		}
		if s.late(r) {
			most = max(1, len(part)/2)
			continue
		}
		in = in[len(part):]
	}
	return nil
}

// renumber gives messages that are there other numbers, one update each, guarded by the UID that they had. Where somebody
// else was faster the numbers are those that he gave.
func (s *Store) renumber(ctx context.Context, in []*arrival, r *reservation) error {
	return parallel(len(in), func(i int) error {
		m := in[i].hot
		moved, err := s.renumberOne(ctx, m, r.uid+mail.UID(i), r.modSeq)
		if err != nil {
			return err
		}
		if moved {
			m.UID, m.ModSeq = r.uid+mail.UID(i), r.modSeq
			return nil
		}
		doc, err := s.messages().FindOne(ctx, bson.D{{Key: "mailbox", Value: m.Mailbox}, {Key: "_id", Value: m.ID}}).Raw()
		if errors.Is(err, mongo.ErrNoDocuments) {
			return nil // it came and went
		}
		if err == nil {
			m.UID, m.ModSeq = mail.UID(integer(doc.Lookup("uid"))), mail.ModSeq(integer(doc.Lookup("modseq")))
		}
		return err
	})
}

// renumberOne moves a message to another UID of its mailbox, unless it is no longer at the one that it had.
func (s *Store) renumberOne(ctx context.Context, m *hotMessage, uid mail.UID, ms mail.ModSeq) (moved bool, err error) {
	err = s.again(ctx, func(ctx context.Context) error {
		res, err := s.messages().UpdateOne(ctx, bson.D{{Key: "mailbox", Value: m.Mailbox}, {Key: "uid", Value: m.UID}, {Key: "_id", Value: m.ID}},
			bson.D{{Key: "$set", Value: bson.D{{Key: "uid", Value: numberOf(int64(uid))}, {Key: "modseq", Value: numberOf(int64(ms))}}}})
		if err == nil {
			moved = moved || res.MatchedCount == 1
		}
		return err
	})
	return moved, err
}

// removeArrivals takes back messages of an insert of which a part failed. They may have other UIDs by now: a reader that
// met one late has given it a new one.
func (s *Store) removeArrivals(ctx context.Context, in []*arrival) error {
	ids := make(bson.A, 0, len(in))
	for _, a := range in {
		ids = append(ids, a.hot.ID)
	}
	return s.again(ctx, func(ctx context.Context) error {
		_, err := s.messages().DeleteMany(ctx, bson.D{
			{Key: "mailbox", Value: in[0].hot.Mailbox}, {Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}},
		})
		return err
	})
}

// settleArrivals finds out what came of an insert whose outcome was not known, when the database answers again. Where not
// all are there those that are stay: they are whole messages, and a client was told that it may be so. References of the
// others are given back; octets are settled by who has counted them.
func (s *Store) settleArrivals(ctx context.Context, acct mail.AccountID, in []*arrival, as countedAs) error {
	if err := s.calm(ctx, oid(acct)); err != nil { // an insert may be on its way in the server
		return err
	}
	ids := make(bson.A, 0, len(in))
	for _, a := range in {
		ids = append(ids, a.hot.ID)
	}
	docs, err := findAll(ctx, s.messages(), bson.D{{Key: "mailbox", Value: in[0].hot.Mailbox}, {Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, hotFields(), nil)
	if err != nil {
		return err
	}
	there := make(map[bson.ObjectID]bool)
	for _, doc := range docs {
		m, err := hot(doc)
		if err != nil {
			return err
		}
		there[m.ID] = true
		s.log(ctx, existsRow(acct, m, 0, nil))
	}
	var refs []references
	for _, a := range in {
		if !there[a.hot.ID] {
			refs = append(refs, a.refs)
		}
	}
	return as(ctx, refs...)
}

// takeArrivalsBack expunges messages that turned out to be there after their append was answered with an error: who was told
// of the error stores them again. What somebody has touched meanwhile stays.
func (s *Store) takeArrivalsBack(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []*arrival) error {
	ids, flags := make(bson.A, 0, len(in)), make(map[bson.ObjectID]mail.Flags, len(in))
	for _, a := range in {
		ids, flags[a.hot.ID] = append(ids, a.hot.ID), a.hot.Flags
	}
	docs, err := findAll(ctx, s.messages(), bson.D{{Key: "mailbox", Value: oid(mbox)}, {Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, hotFields(), nil)
	if err != nil {
		return err
	}
	var uids mail.UIDSet
	for _, doc := range docs {
		m, err := hot(doc)
		if err != nil {
			return err
		}
		if m.Flags == flags[m.ID] {
			uids = append(uids, mail.UIDRange{First: m.UID, Last: m.UID})
		}
	}
	if len(uids) == 0 {
		return nil
	}
	s.o.Logger.Info("messages are taken back that were stored after their client had been told to come again", "mailbox", mbox, "messages", len(uids))
	_, err = s.Expunge(ctx, acct, mbox, mail.NormalizeUIDs(uids), false)
	if mail.CodeOf(err) == mail.CodeNoMailbox {
		return nil
	}
	return err
}

// settleLater settles a charge of which it is not known whether its messages are there, when the database answers again,
// and does then what is to be done after that.
func (s *Store) settleLater(c *charge, then ...func(ctx context.Context) error) {
	e := openEntry{member: c.member, octets: c.octets, ids: c.ids, at: s.o.Now(), made: true}
	s.later(func(ctx context.Context) error {
		if err := s.calm(ctx, c.user); err != nil { // see settleArrivals
			return err
		}
		ok, err := s.settleEntry(ctx, c.user, e)
		if err == nil && !ok {
			err = s.settleByCount(ctx, c.user, []string{c.member})
		}
		if err != nil {
			return err
		}
		s.ledger.end(c.seq)
		for _, work := range then {
			s.later(work)
		}
		return nil
	})
}
