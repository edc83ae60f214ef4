package mongostore

import (
	"cmp"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// firstDates is how many messages the first query for an order by date asks for, where the caller sets no limit: one
// that looks for a page stops soon.
const firstDates = 100

// dated is a message in the order of dates.
type dated struct {
	date bson.DateTime
	uid  mail.UID
	doc  bson.Raw // nil when it is to be read yet
}

// largeFields are fields for which the order is found first and the messages are read then, few at a time.
const largeFields = documentFields | store.FieldMeta

// dateWalk goes through a mailbox by internal date, and by UID among messages of the same date. No index has that
// order: the index by date gives the dates, and messages of one date are sorted here.
type dateWalk struct {
	f          *fetch
	descending bool
	size       int // of the next query
	last       dated
	started    bool
}

func (f *fetch) byDate() error {
	w := &dateWalk{f: f, descending: f.q.Order == store.ByDateDescending, size: firstDates}
	if f.q.UIDs != nil && f.q.UIDs.Count() <= segmentUIDs {
		return w.small()
	}
	if f.q.AfterUID != 0 {
		w.last, w.started = dated{date: stored(f.q.AfterDate), uid: f.q.AfterUID}, true
		if err := w.sameDate(false); err != nil {
			return err
		}
	}
	for {
		if f.q.Limit > 0 {
			w.size = min(w.size, f.room(fetchRows)+1)
		}
		n, err := w.step()
		if err != nil || n < w.size {
			return err
		}
		w.size = min(w.size*4, fetchRows)
	}
}

// step yields messages with the next dates and returns how many the query found: fewer than the size at the end.
func (w *dateWalk) step() (int, error) {
	filter := bson.D{}
	if w.started {
		filter = append(filter, bson.E{Key: "idate", Value: bson.D{{Key: w.op(), Value: w.last.date}}})
	}
	found, err := w.read(filter, options.Find().SetSort(bson.D{{Key: "idate", Value: w.direction()}}).SetLimit(int64(w.size)))
	if err != nil || len(found) == 0 {
		return len(found), err
	}
	n := len(found)
	last := found[n-1].date
	if n == w.size { // the messages of the last date may not all be here
		found = slices.DeleteFunc(found, func(d dated) bool { return d.date == last })
	}
	w.sort(found)
	w.started = true
	if err := w.give(found); err != nil {
		return n, err
	}
	if n < w.size {
		return n, nil
	}
	w.last.date = last
	return n, w.sameDate(true)
}

// sameDate yields the messages of the last date, all of them or those that come behind the last UID, and leaves the walk
// behind that date.
func (w *dateWalk) sameDate(all bool) error {
	for ; ; all = false {
		filter := bson.D{{Key: "idate", Value: w.last.date}}
		if !all {
			filter = append(filter, bson.E{Key: "uid", Value: bson.D{{Key: w.op(), Value: numberOf(int64(w.last.uid))}}})
		}
		const size = fetchRows
		found, err := w.read(filter, options.Find().SetSort(bson.D{{Key: "uid", Value: w.direction()}}).SetLimit(size))
		if err != nil || len(found) == 0 {
			return err
		}
		w.last.uid = found[len(found)-1].uid
		if err := w.give(found); err != nil || len(found) < size {
			return err
		}
	}
}

// small yields a set that is named UID by UID, sorted here.
func (w *dateWalk) small() error {
	var found []dated
	for _, g := range segments(w.f.q.UIDs, false) {
		uids, some := g.filter(0, false)
		if !some {
			continue
		}
		part, err := w.read(bson.D{uids}, options.Find())
		if err != nil {
			return err
		}
		found = append(found, part...)
	}
	w.sort(found)
	if after := (dated{date: stored(w.f.q.AfterDate), uid: w.f.q.AfterUID}); after.uid != 0 {
		found = slices.DeleteFunc(found, func(d dated) bool { return w.compare(d, after) <= 0 })
	}
	return w.give(found)
}

func (w *dateWalk) op() string {
	if w.descending {
		return "$lt"
	}
	return "$gt"
}

func (w *dateWalk) direction() int {
	if w.descending {
		return -1
	}
	return 1
}

func (w *dateWalk) compare(a, b dated) int {
	c := cmp.Or(cmp.Compare(a.date, b.date), cmp.Compare(a.uid, b.uid))
	if w.descending {
		return -c
	}
	return c
}

func (w *dateWalk) sort(d []dated) { slices.SortFunc(d, w.compare) }

// read returns messages in the order of the query, with their small members unless larger ones have to be read later.
func (w *dateWalk) read(filter bson.D, o *options.FindOptionsBuilder) ([]dated, error) {
	f, small := w.f, w.f.q.Fields&largeFields == 0
	o.SetProjection(bson.D{{Key: "_id", Value: 0}, {Key: "uid", Value: 1}, {Key: "idate", Value: 1}}) // which an index has
	if small {
		o.SetProjection(f.fields)
	}
	cur, err := f.s.messages().Find(f.ctx, f.filter(filter), o)
	if err != nil {
		return nil, err
	}
	var rows []bson.Raw
	if err := cur.All(f.ctx, &rows); err != nil {
		return nil, err
	}
	out := make([]dated, 0, len(rows))
	for _, r := range rows {
		d := dated{uid: mail.UID(integer(r.Lookup("uid")))}
		date, ok := r.Lookup("idate").DateTimeOK()
		if !ok {
			return nil, mail.WrapError(mail.CodeCorrupt, "a message cannot be read", fmt.Errorf("message %d has no idate", d.uid))
		}
		d.date = bson.DateTime(date)
		if small {
			d.doc = r
		}
		out = append(out, d)
	}
	return out, nil
}

// give yields the rows of messages in their order. Those that are gone meanwhile are left out.
func (w *dateWalk) give(order []dated) error {
	const largeRows = 16 // of which all are in memory to put them in order
	f := w.f
	if f.q.UIDs != nil {
		order = slices.DeleteFunc(order, func(d dated) bool { return !f.q.UIDs.Contains(d.uid) })
	}
	for part := range slices.Chunk(order, largeRows) {
		if part[0].doc == nil {
			if err := w.complete(part); err != nil {
				return err
			}
		}
		for _, d := range part {
			if err := w.giveOne(d); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *dateWalk) giveOne(d dated) error {
	if d.doc == nil {
		return nil // gone
	}
	m, err := hot(d.doc)
	if err != nil {
		return err
	}
	return w.f.give(d.doc, m)
}

// complete reads messages of which only the order is known.
func (w *dateWalk) complete(part []dated) error {
	uids := make([]mail.UID, len(part))
	for i, d := range part {
		uids[i] = d.uid
	}
	return w.f.find(bson.D{{Key: "uid", Value: uidList(uids)}}, options.Find(), func(doc bson.Raw, m *hotMessage) error {
		part[slices.Index(uids, m.UID)].doc = slices.Clone(doc)
		return nil
	})
}
