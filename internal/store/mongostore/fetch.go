package mongostore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

const (
	// fetchRows is how many messages one query of a Fetch selects at most. The server sends them in replies of at most
	// 16 MiB, of which one is in memory at a time.
	fetchRows = 1000
	// fetchTries is how often a query is made again that ended in the middle, without any row in between.
	fetchTries = 3
)

// documentFields are the fields that come from large members of the document.
const documentFields = store.FieldEnvelope | store.FieldBodyStructure | store.FieldTree | store.FieldSummary | store.FieldHeader | store.FieldBody | store.FieldSignature

// Fetch yields messages. No state is held between two queries: each goes on behind the last row.
func (s *Store) Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error] {
	return func(yield func(*store.Row, error) bool) {
		done, err := s.enter(ctx, "Fetch")
		if err != nil {
			yield(nil, err)
			return
		}
		defer done()
		f := &fetch{s: s, ctx: ctx, mbox: mbox, q: q, yield: yield, fields: fetchFields(q.Fields)}
		if err = s.requireMailbox(ctx, acct, mbox); err == nil {
			err = f.run()
		}
		if err != nil && !f.stopped {
			yield(nil, readError("read messages", err))
		}
	}
}

// fetch is one call of Fetch.
type fetch struct {
	s       *Store
	ctx     context.Context
	mbox    mail.MailboxID
	q       store.FetchQuery
	yield   func(*store.Row, error) bool
	fields  bson.D // the projection
	row     store.Row
	count   int
	stopped bool // the caller wants no more

	// hits are rows that are in memory and not given yet, in the order of the query; known is how each is known.
	hits []hit
}

// errStopped ends a walk that the caller, or the limit of the query, ended.
var errStopped = errors.New("the caller wants no more")

func (f *fetch) run() error {
	var err error
	switch f.q.Order {
	case store.ByDate, store.ByDateDescending:
		err = f.byDate()
	default:
		err = f.inOrder()
	}
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// fetchFields is the projection for some fields.
func fetchFields(fields store.Fields) bson.D {
	parts := []bson.D{hotFields()}
	if fields&store.FieldMeta != 0 {
		parts = append(parts, metaFields())
	}
	if fields&documentFields != 0 {
		parts = append(parts, describedFields(fields))
	}
	return projection(parts...)
}

// projection joins projections, which may name the same members.
func projection(parts ...bson.D) bson.D {
	var out bson.D
	seen := make(map[string]bool)
	for _, p := range parts {
		for _, e := range p {
			if !seen[e.Key] {
				seen[e.Key] = true
				out = append(out, e)
			}
		}
	}
	return out
}

// byUID walks along the index of UIDs, part by part of a set.
func (f *fetch) byUID(set mail.UIDSet) error {
	descending := f.descending()
	for _, g := range segments(set, descending) {
		if err := f.segment(&g, descending); err != nil {
			return err
		}
	}
	return nil
}

// segment yields the messages of a part of the set. A query that fails in the middle is made again behind the last row.
func (f *fetch) segment(g *segment, descending bool) error {
	direction := 1
	if descending {
		direction = -1
	}
	var behind mail.UID
	for failures := 0; ; {
		uids, some := g.filter(behind, descending)
		if !some {
			return nil
		}
		limit := f.room(fetchRows)
		before, n := behind, 0
		o := options.Find().SetLimit(int64(limit))
		if f.q.Fields&store.FieldBody == 0 {
			o.SetBatchSize(int32(limit)) // a server may do all of the work again to go on
		}
		if g.first != g.last { // and may read a document once more to sort it
			o.SetSort(bson.D{{Key: "uid", Value: direction}})
		}
		err := f.find(bson.D{uids}, o,
			func(doc bson.Raw, m *hotMessage) error {
				n++
				behind = m.UID
				return f.give(doc, m)
			})
		switch {
		case err == nil && n < limit:
			return nil
		case err == nil:
			failures = 0
		case !f.again(err):
			return err
		case behind != before:
			failures = 0
		default:
			if failures++; failures == fetchTries {
				return err
			}
		}
	}
}

// room is how many rows may still come, at most most.
func (f *fetch) room(most int) int {
	if f.q.Limit > 0 {
		return min(most, f.q.Limit-f.count)
	}
	return most
}

// again says whether a query that failed may be made again: the server may have gone over to another.
func (f *fetch) again(err error) bool {
	return f.ctx.Err() == nil && retryable(err)
}

// retryable says whether a read may succeed when it is made again at once.
func retryable(err error) bool {
	var ce mongo.CommandError
	const cursorNotFound = 43
	return mongo.IsNetworkError(err) || errors.As(err, &ce) && (ce.Code == cursorNotFound || ce.HasErrorLabel("RetryableReadError"))
}

// find calls do with the messages of the mailbox that a filter selects. The document is valid during the call.
func (f *fetch) find(filter bson.D, o *options.FindOptionsBuilder, do func(doc bson.Raw, m *hotMessage) error) error {
	find := f.s.findUIDs
	if f.q.ChangedSince > 0 {
		find = f.s.findMessages
	}
	cur, err := find(f.ctx, f.filter(filter), o.SetProjection(f.fields))
	if err != nil {
		return err
	}
	defer cur.Close(context.WithoutCancel(f.ctx))
	for cur.Next(f.ctx) {
		m, err := hot(cur.Current)
		if err != nil {
			return err
		}
		if err := do(cur.Current, m); err != nil {
			return err
		}
	}
	return cur.Err()
}

// filter selects what the query wants of its mailbox.
func (f *fetch) filter(more bson.D) bson.D {
	filter := append(bson.D{{Key: "mailbox", Value: oid(f.mbox)}}, more...)
	if f.q.ChangedSince > 0 {
		filter = append(filter, bson.E{Key: "modseq", Value: bson.D{{Key: "$gt", Value: numberOf(int64(min(f.q.ChangedSince, math.MaxInt64)))}}})
	}
	return filter
}

// uidIndex is the index of the messages of a mailbox by UID, see indexes.
var uidIndex = bson.D{{Key: "mailbox", Value: 1}, {Key: "uid", Value: 1}, {Key: "_id", Value: 1}}

// hintPause is how long the index of UIDs is not named any more after it was not there.
const hintPause = time.Minute

// findUIDs finds messages of a mailbox by their UIDs. It names the index: FerretDB may take the one of mod-sequences, and
// go through all of the mailbox there for each UID. A database from which that index is gone is asked without, and now and
// then whether it is back.
func (s *Store) findUIDs(ctx context.Context, filter bson.D, o *options.FindOptionsBuilder) (*mongo.Cursor, error) {
	until := s.unhinted.Load()
	if until == nil || time.Now().After(*until) {
		cur, err := s.messages().Find(ctx, filter, o.SetHint(uidIndex))
		if !badHint(err) {
			if err == nil && until != nil && s.unhinted.CompareAndSwap(until, nil) {
				s.o.Logger.Info("the messages have an index of UIDs again", "index", "mailbox_uid")
			}
			return cur, err
		}
		next := time.Now().Add(hintPause)
		if s.unhinted.Swap(&next) == nil {
			s.o.Logger.Warn("the messages have no index of UIDs", "index", "mailbox_uid", "error", err)
		}
	}
	return s.findMessages(ctx, filter, o.SetHint(nil))
}

func (s *Store) findMessages(ctx context.Context, filter bson.D, o *options.FindOptionsBuilder) (*mongo.Cursor, error) {
	return s.messages().Find(ctx, filter, o)
}

// badHint says whether a server does not know the index that it was told to use.
func badHint(err error) bool {
	var ce mongo.CommandError
	const badValue = 2
	return errors.As(err, &ce) && ce.Code == badValue && strings.Contains(ce.Message, "hint")
}

func (s *Store) messages() *mongo.Collection { return s.db.collections.messages }

// give yields a row of a document, and before it those from memory that come before it.
func (f *fetch) give(doc bson.Raw, m *hotMessage) error {
	if err := f.giveHits(m.UID); err != nil {
		return err
	}
	f.row = store.Row{}
	m.fill(&f.row)
	if f.q.Fields&store.FieldMeta != 0 {
		m.fillMeta(&f.row, doc)
	}
	var d *description
	if f.q.Fields&documentFields != 0 {
		var err error
		if d, err = f.s.described(f.ctx, doc, f.q.Fields); err != nil {
			return fmt.Errorf("describe message %d: %w", m.UID, err)
		}
		d.fill(&f.row)
	}
	f.s.caches.keepRow(m, d, f.q.Fields)
	f.row.Open = f.opener(doc, m)
	return f.yieldRow()
}

// yieldRow gives f.row to the caller.
func (f *fetch) yieldRow() error {
	if err := f.ctx.Err(); err != nil {
		return err // rows that were read ahead would come otherwise
	}
	f.count++
	if !f.yield(&f.row, nil) {
		f.stopped = true
		return errStopped
	}
	if f.q.Limit > 0 && f.count == f.q.Limit {
		return errStopped
	}
	return nil
}

// fill sets the fields of a row.
func (d *description) fill(row *store.Row) {
	row.Envelope, row.BodyStructure, row.Tree, row.Summary = d.envelope, d.bodyStructure, d.tree, d.summary
	row.Header, row.PrefixLen, row.Size, row.Signature = d.header, d.prefixLen, d.size, d.signature
}

// opener opens the content of a row.
func (f *fetch) opener(doc bson.Raw, m *hotMessage) func() (store.Body, error) {
	return func() (store.Body, error) {
		if f.q.Fields&store.FieldBody == 0 {
			return f.s.openMessage(f.ctx, messageFilter(oid(f.mbox), m.UID, m.ID))
		}
		return f.s.openDocument(f.ctx, doc, m)
	}
}

// messageFilter selects a message that must still be the same.
func messageFilter(mbox bson.ObjectID, uid mail.UID, id bson.ObjectID) bson.D {
	return bson.D{{Key: "mailbox", Value: mbox}, {Key: "uid", Value: numberOf(int64(uid))}, {Key: "_id", Value: id}}
}
