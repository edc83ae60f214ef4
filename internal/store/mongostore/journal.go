package mongostore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// The ids of journal rows begin with the second in which their writer made them. Rows that several nodes write in the same
// second are in no order among each other, a node's clock may be behind, and a row may be stored some time after its id was
// made. A reader that asked for greater ids than the last one that it saw would miss rows. So a node remembers in which
// order it has seen the rows of the last minutes, and gives its readers what it saw after the row that they name: each
// reader gets each row once. For a row that it has not seen, such as one that another node gave to a client that now comes
// here, it goes by the ids, and by the times of writing among the rows just before it.

const (
	maxArrivals = 8 << 10 // journal rows of an account that are remembered
	maxJournals = 1 << 14 // accounts of which they are
)

// journals remember the order in which this node has seen journal rows.
type journals struct {
	mu  sync.Mutex
	all map[mail.AccountID]*arrivals
}

// arrivals are rows of an account in the order in which they were first seen.
type arrivals struct {
	mu   sync.Mutex
	next uint64
	seen map[bson.ObjectID]uint64
	list []bson.ObjectID
}

func (j *journals) of(acct mail.AccountID) *arrivals {
	j.mu.Lock()
	defer j.mu.Unlock()
	a := j.all[acct]
	if a == nil {
		if j.all == nil || len(j.all) >= maxJournals {
			j.all = make(map[mail.AccountID]*arrivals)
		}
		a = &arrivals{seen: make(map[bson.ObjectID]uint64)}
		j.all[acct] = a
	}
	return a
}

// place returns the number of a row; one that was not seen before gets the next.
func (a *arrivals) place(id bson.ObjectID) uint64 {
	n, ok := a.seen[id]
	if ok {
		return n
	}
	a.next++
	a.seen[id] = a.next
	a.list = append(a.list, id)
	if len(a.list) > maxArrivals {
		for _, old := range a.list[:maxArrivals/2] {
			delete(a.seen, old)
		}
		a.list = slices.Clone(a.list[maxArrivals/2:])
	}
	return a.next
}

// JournalHead returns the id of the newest entry.
func (s *Store) JournalHead(ctx context.Context, acct mail.AccountID) (mail.JournalID, error) {
	done, err := s.enter(ctx, "JournalHead")
	if err != nil {
		return mail.JournalID{}, err
	}
	defer done()
	if err := s.requireAccount(ctx, acct); err != nil {
		return mail.JournalID{}, err
	}
	last, err := findSome(ctx, s.journal(), bson.D{{Key: "user", Value: oid(acct)}}, bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: -1}}, 1)
	if err != nil {
		return mail.JournalID{}, readError("read the journal", err)
	}
	if len(last) == 0 {
		return mail.JournalID{}, nil
	}
	head := last[0].Lookup("_id").ObjectID()
	a := s.journals.of(acct)
	a.mu.Lock()
	defer a.mu.Unlock()
	rows, err := s.rowsBefore(ctx, acct, head, nil)
	if err != nil {
		return mail.JournalID{}, err
	}
	newest := a.place(head)
	for _, r := range rows {
		if n := a.place(r.id); n > newest {
			newest, head = n, r.id
		}
	}
	return mail.JournalID(head), nil
}

// seenRow is a journal row with its place.
type seenRow struct {
	id      bson.ObjectID
	place   uint64
	created time.Time
	doc     bson.Raw
}

// rowsBefore reads the rows with ids of the last seconds before a row.
func (s *Store) rowsBefore(ctx context.Context, acct mail.AccountID, id bson.ObjectID, fields bson.D) ([]seenRow, error) {
	if fields == nil {
		fields = bson.D{{Key: "_id", Value: 1}, {Key: "created", Value: 1}}
	}
	docs, err := findAll(ctx, s.journal(), bson.D{{Key: "user", Value: oid(acct)}, {Key: "_id", Value: bson.D{
		{Key: "$gte", Value: idBefore(id.Timestamp().Add(-s.overlap()))}, {Key: "$lt", Value: id},
	}}}, fields, bson.D{{Key: "_id", Value: 1}})
	if err != nil {
		return nil, readError("read the journal", err)
	}
	return seenRows(docs), nil
}

func seenRows(docs []bson.Raw) []seenRow {
	out := make([]seenRow, 0, len(docs))
	for _, doc := range docs {
		out = append(out, seenRow{id: doc.Lookup("_id").ObjectID(), created: instant(doc.Lookup("created")), doc: doc})
	}
	return out
}

// ReadJournal returns entries after an id, in the order in which this node has seen them.
func (s *Store) ReadJournal(ctx context.Context, acct mail.AccountID, after mail.JournalID, limit int) ([]store.JournalEntry, error) {
	done, err := s.enter(ctx, "ReadJournal")
	if err != nil {
		return nil, err
	}
	defer done()
	if err := s.requireAccount(ctx, acct); err != nil || limit <= 0 {
		return nil, err
	}
	a := s.journals.of(acct)
	a.mu.Lock()
	defer a.mu.Unlock()
	last, rows, err := s.missedBefore(ctx, acct, a, bson.ObjectID(after))
	if err != nil {
		return nil, err
	}
	if rows, err = s.rowsAfter(ctx, acct, a, bson.ObjectID(after), last, rows, limit); err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(x, y seenRow) int { return cmp.Compare(x.place, y.place) })
	return s.entries(ctx, acct, rows[:min(limit, len(rows))])
}

// missedBefore finds the rows with lesser ids than a reader's last one that it has not got, and the place of that one.
func (s *Store) missedBefore(ctx context.Context, acct mail.AccountID, a *arrivals, after bson.ObjectID) (last uint64, missed []seenRow, err error) {
	if after.IsZero() {
		return 0, nil, nil
	}
	before, err := s.rowsBefore(ctx, acct, after, nil)
	if err != nil {
		return 0, nil, err
	}
	last, known := a.seen[after]
	if !known {
		if last, err = s.placeUnknown(ctx, a, after, before); err != nil {
			return 0, nil, err
		}
	}
	for _, r := range before {
		if r.place = a.place(r.id); r.place > last {
			missed = append(missed, r)
		}
	}
	return last, missed, nil
}

// placeUnknown gives a row a place that this node has not seen: after those that were written no later.
func (s *Store) placeUnknown(ctx context.Context, a *arrivals, id bson.ObjectID, before []seenRow) (uint64, error) {
	doc, err := s.journal().FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Raw()
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return 0, readError("read the journal", err)
	}
	created := id.Timestamp().Add(time.Second)
	if err == nil {
		created = instant(doc.Lookup("created"))
	}
	for _, r := range before {
		if !r.created.After(created) {
			a.place(r.id)
		}
	}
	return a.place(id), nil
}

// rowsAfter adds rows with greater ids that come after a place, until there are enough. The first one reads whole rows: they
// are mostly new.
func (s *Store) rowsAfter(ctx context.Context, acct mail.AccountID, a *arrivals, from bson.ObjectID, last uint64, rows []seenRow, limit int) ([]seenRow, error) {
	page := int64(min(limit, 1000))
	for n := 0; n < limit; {
		docs, err := findSome(ctx, s.journal(), bson.D{{Key: "user", Value: oid(acct)}, {Key: "_id", Value: bson.D{{Key: "$gt", Value: from}}}},
			nil, bson.D{{Key: "_id", Value: 1}}, page)
		if err != nil {
			return nil, readError("read the journal", err)
		}
		for _, r := range seenRows(docs) {
			if r.place = a.place(r.id); r.place > last {
				rows, n = append(rows, r), n+1
			}
			from = r.id
		}
		if int64(len(docs)) < page {
			break
		}
	}
	return rows, nil
}

// entries reads rows; those that came late are read again in whole.
func (s *Store) entries(ctx context.Context, acct mail.AccountID, rows []seenRow) ([]store.JournalEntry, error) {
	var short bson.A
	for _, r := range rows {
		if len(r.doc.Lookup("command").Value) == 0 {
			short = append(short, r.id)
		}
	}
	whole := make(map[bson.ObjectID]bson.Raw)
	if len(short) > 0 {
		docs, err := findAll(ctx, s.journal(), bson.D{{Key: "user", Value: oid(acct)}, {Key: "_id", Value: bson.D{{Key: "$in", Value: short}}}}, nil, nil)
		if err != nil {
			return nil, readError("read the journal", err)
		}
		for _, doc := range docs {
			whole[doc.Lookup("_id").ObjectID()] = doc
		}
	}
	var out []store.JournalEntry
	for _, r := range rows {
		doc := r.doc
		if w := whole[r.id]; w != nil {
			doc = w
		}
		if e, ok := journalEntry(doc); ok {
			out = append(out, e)
		}
	}
	return out, nil
}
