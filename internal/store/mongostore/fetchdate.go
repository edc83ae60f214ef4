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
}

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
		w.last, w.started = dated{stored(f.q.AfterDate), f.q.AfterUID}, true
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
	if after := (dated{stored(w.f.q.AfterDate), w.f.q.AfterUID}); after.uid != 0 {
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

// read returns dates and UIDs, which the index by date has.
func (w *dateWalk) read(filter bson.D, o *options.FindOptionsBuilder) ([]dated, error) {
	filter = append(bson.D{{Key: "mailbox", Value: oid(w.f.mbox)}}, filter...)
	o.SetProjection(bson.D{{Key: "_id", Value: 0}, {Key: "uid", Value: 1}, {Key: "idate", Value: 1}})
	cur, err := w.f.s.messages().Find(w.f.ctx, filter, o)
	if err != nil {
		return nil, err
	}
	var rows []bson.Raw
	if err := cur.All(w.f.ctx, &rows); err != nil {
		return nil, err
	}
	out := make([]dated, 0, len(rows))
	for _, r := range rows {
		date, ok := r.Lookup("idate").DateTimeOK()
		if !ok {
			return nil, mail.WrapError(mail.CodeCorrupt, "a message cannot be read", fmt.Errorf("message %d has no idate", integer(r.Lookup("uid"))))
		}
		out = append(out, dated{bson.DateTime(date), mail.UID(integer(r.Lookup("uid")))})
	}
	return out, nil
}

// give yields the rows of messages in their order. Those that are gone meanwhile are left out.
func (w *dateWalk) give(order []dated) error {
	f := w.f
	if f.q.UIDs != nil {
		order = slices.DeleteFunc(order, func(d dated) bool { return !f.q.UIDs.Contains(d.uid) })
	}
	for part := range slices.Chunk(order, w.chunk()) {
		if err := w.giveChunk(part); err != nil {
			return err
		}
	}
	return nil
}

// chunk is how many rows are held in memory to put them in order.
func (w *dateWalk) chunk() int {
	if w.f.q.Fields&documentFields != 0 {
		return 16
	}
	return 250
}

func (w *dateWalk) giveChunk(part []dated) error {
	f := w.f
	uids := make([]mail.UID, len(part))
	for i, d := range part {
		uids[i] = d.uid
	}
	type found struct {
		doc bson.Raw
		m   *hotMessage
	}
	rows := make(map[mail.UID]found, len(part))
	err := f.find(bson.D{{Key: "uid", Value: uidList(uids)}}, options.Find(), func(doc bson.Raw, m *hotMessage) error {
		rows[m.UID] = found{slices.Clone(doc), m}
		return nil
	})
	if err != nil {
		return err
	}
	for _, uid := range uids {
		if r, ok := rows[uid]; ok {
			if err := f.give(r.doc, r.m); err != nil {
				return err
			}
		}
	}
	return nil
}
