package mail

import (
	"iter"
	"slices"
	"strconv"
)

// UID is the unique identifier of a message in its mailbox (RFC 3501, 2.3.1.1):
// assigned in ascending order, never reused, never changed. Zero is no UID.
type UID uint32

// UIDValidity together with a UID names a message for ever (RFC 3501, 2.3.1.1).
type UIDValidity uint32

// ModSeq is a mod-sequence (RFC 7162, 3.1): it grows with every change of a
// mailbox and fits in 63 bits. Values of different mailboxes do not compare.
type ModSeq uint64

// UIDRange is a closed range of UIDs, First <= Last.
type UIDRange struct{ First, Last UID }

// UIDSet is a set of UIDs as ascending ranges that neither overlap nor touch.
// The zero value is the empty set. Functions that take a set require this form;
// AddRange and NormalizeUIDs produce it.
type UIDSet []UIDRange

// AllUIDs is the set of every possible UID.
func AllUIDs() UIDSet { return UIDSet{{1, ^UID(0)}} }

// OneUID is the set of a single UID.
func OneUID(u UID) UIDSet { return UIDSet{{u, u}} }

// UIDSetOf builds a set from UIDs in any order.
func UIDSetOf(uids ...UID) UIDSet {
	ranges := make(UIDSet, 0, len(uids))
	for _, u := range uids {
		ranges = append(ranges, UIDRange{u, u})
	}
	return NormalizeUIDs(ranges)
}

// NormalizeUIDs sorts ranges and joins those that overlap or touch. It reuses
// the given slice.
func NormalizeUIDs(ranges []UIDRange) UIDSet {
	if len(ranges) < 2 {
		return ranges
	}
	slices.SortFunc(ranges, func(a, b UIDRange) int {
		switch {
		case a.First < b.First:
			return -1
		case a.First > b.First:
			return 1
		}
		return 0
	})
	out := ranges[:1]
	for _, r := range ranges[1:] {
		last := &out[len(out)-1]
		if r.First <= last.Last || r.First == last.Last+1 {
			last.Last = max(last.Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Append adds a UID that is greater than every UID of the set.
func (s UIDSet) Append(u UID) UIDSet {
	if n := len(s); n > 0 && s[n-1].Last+1 == u {
		s[n-1].Last = u
		return s
	}
	return append(s, UIDRange{u, u})
}

// Contains reports whether u is in the set, in logarithmic time.
func (s UIDSet) Contains(u UID) bool {
	_, ok := slices.BinarySearchFunc(s, u, func(r UIDRange, u UID) int {
		switch {
		case r.Last < u:
			return -1
		case r.First > u:
			return 1
		}
		return 0
	})
	return ok
}

// Count returns the number of UIDs in the set.
func (s UIDSet) Count() int {
	n := 0
	for _, r := range s {
		n += int(r.Last-r.First) + 1
	}
	return n
}

// All yields every UID in ascending order. The set must be one that is known to
// be small: AllUIDs would yield four thousand million.
func (s UIDSet) All() iter.Seq[UID] {
	return func(yield func(UID) bool) {
		for _, r := range s {
			for u := r.First; ; u++ {
				if !yield(u) {
					return
				}
				if u == r.Last {
					break
				}
			}
		}
	}
}

// String returns the set in IMAP notation, for example "1:3,7".
func (s UIDSet) String() string {
	var b []byte
	for i, r := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.First), 10)
		if r.Last != r.First {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(r.Last), 10)
		}
	}
	return string(b)
}

// HotRow is what a view of a mailbox knows about a message.
type HotRow struct {
	UID    UID
	ModSeq ModSeq
	Flags  Flags
	Octets int64 // as Counters count them
}
