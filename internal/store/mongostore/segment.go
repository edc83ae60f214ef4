package mongostore

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

const (
	// segmentUIDs is how many UIDs a query names one by one at most.
	segmentUIDs = 1000
	// smallRange is how many UIDs a range has that is named one by one.
	smallRange = 32
)

// segment is a part of a set of UIDs for one query: a range, or UIDs one by one.
type segment struct {
	first, last mail.UID
	uids        []mail.UID // ascending; nil for a range
}

// segments cuts a set into parts that are in order, so that each is one walk along an index of UIDs. nil is all.
func segments(set mail.UIDSet, descending bool) []segment {
	if set == nil {
		set = mail.AllUIDs()
	}
	var out []segment
	var list []mail.UID
	flush := func() {
		if len(list) > 0 {
			out = append(out, segment{first: list[0], last: list[len(list)-1], uids: list})
			list = nil
		}
	}
	for _, r := range set {
		if r.Last-r.First >= smallRange || len(set) == 1 && r.Last > r.First {
			flush()
			out = append(out, segment{first: r.First, last: r.Last})
			continue
		}
		for u := r.First; ; u++ {
			list = append(list, u)
			if u == r.Last {
				break
			}
		}
		if len(list) >= segmentUIDs {
			flush()
		}
	}
	flush()
	if descending {
		slices.Reverse(out)
	}
	return out
}

// filter selects the UIDs of the segment that come behind one, 0 for all.
func (g *segment) filter(behind mail.UID, descending bool) (bson.E, bool) {
	first, last := g.first, g.last
	if behind != 0 && descending {
		last = min(last, behind-1)
	} else if behind != 0 {
		if behind == ^mail.UID(0) {
			return bson.E{}, false
		}
		first = max(first, behind+1)
	}
	if first > last {
		return bson.E{}, false
	}
	if g.uids == nil {
		return bson.E{Key: "uid", Value: uidRange(first, last)}, true
	}
	from, _ := slices.BinarySearch(g.uids, first)
	to, found := slices.BinarySearch(g.uids, last)
	if found {
		to++
	}
	if from >= to {
		return bson.E{}, false
	}
	return bson.E{Key: "uid", Value: uidList(g.uids[from:to])}, true
}

// uidRange is the condition for a range. It names only the ends that matter.
func uidRange(first, last mail.UID) any {
	if first == last {
		return numberOf(int64(first))
	}
	cond := bson.D{{Key: "$gte", Value: numberOf(int64(first))}}
	if last != ^mail.UID(0) {
		cond = append(cond, bson.E{Key: "$lte", Value: numberOf(int64(last))})
	}
	return cond
}

// uidList is the condition for UIDs one by one.
func uidList(uids []mail.UID) any {
	if len(uids) == 1 {
		return numberOf(int64(uids[0]))
	}
	list := make(bson.A, len(uids))
	for i, u := range uids {
		list[i] = numberOf(int64(u))
	}
	return bson.D{{Key: "$in", Value: list}}
}
