package mail

import (
	"iter"
	"maps"
	"math"
	"slices"
	"sort"
)

// HotRows is a list of hot rows in ascending order of UID, packed: 20 octets for each, and flags once for all that have
// the same. The zero value is empty. It is not safe for concurrent use while it is changed.
type HotRows struct {
	uids    []UID
	modSeqs []ModSeq
	octets  []uint32 // manyOctets for what stands in large
	flags   []uint32 // index into sets
	sets    []Flags
	index   map[Flags]uint32 // of sets, when there are more than fewSets
	large   map[UID]int64
}

const (
	manyOctets = math.MaxUint32
	// fewSets is up to how many sets of flags a look at each is cheaper than a map.
	fewSets = 8
	// spareSets is how many sets of flags may be kept that no row has any more.
	spareSets = 1024
)

// Len is the number of rows.
func (r *HotRows) Len() int { return len(r.uids) }

// Octets is about how much memory the rows take.
func (r *HotRows) Octets() int {
	n := 4*cap(r.uids) + 8*cap(r.modSeqs) + 4*cap(r.octets) + 4*cap(r.flags) + 24*cap(r.sets) + 48*len(r.index) + 24*len(r.large)
	for _, f := range r.sets {
		n += len(f.keywords)
	}
	return n
}

// Append adds a row at the end. UIDs must ascend, or Sort be called before anything else.
func (r *HotRows) Append(row HotRow) {
	r.uids = append(r.uids, row.UID)
	r.modSeqs = append(r.modSeqs, row.ModSeq)
	r.flags = append(r.flags, r.intern(row.Flags))
	if row.Octets < 0 || row.Octets >= manyOctets {
		if r.large == nil {
			r.large = make(map[UID]int64)
		}
		r.large[row.UID] = row.Octets
		row.Octets = manyOctets
	}
	r.octets = append(r.octets, uint32(row.Octets))
}

// Grow makes room for n more rows.
func (r *HotRows) Grow(n int) {
	r.uids, r.modSeqs = slices.Grow(r.uids, n), slices.Grow(r.modSeqs, n)
	r.octets, r.flags = slices.Grow(r.octets, n), slices.Grow(r.flags, n)
}

// Sort brings rows in order that were appended in any. Of two with the same UID that with the greater mod-sequence stays.
func (r *HotRows) Sort() {
	if !slices.IsSorted(r.uids) {
		sort.Stable(byUID{r})
	}
	n := 0
	for i := range r.uids {
		if n > 0 && r.uids[i] == r.uids[n-1] {
			if r.modSeqs[i] <= r.modSeqs[n-1] {
				continue
			}
			n--
		}
		r.move(n, i)
		n++
	}
	r.truncate(n)
}

type byUID struct{ *HotRows }

func (s byUID) Less(i, j int) bool { return s.uids[i] < s.uids[j] }

func (s byUID) Swap(i, j int) {
	s.uids[i], s.uids[j] = s.uids[j], s.uids[i]
	s.modSeqs[i], s.modSeqs[j] = s.modSeqs[j], s.modSeqs[i]
	s.octets[i], s.octets[j] = s.octets[j], s.octets[i]
	s.flags[i], s.flags[j] = s.flags[j], s.flags[i]
}

// move puts row i at position n.
func (r *HotRows) move(n, i int) {
	r.uids[n], r.modSeqs[n], r.octets[n], r.flags[n] = r.uids[i], r.modSeqs[i], r.octets[i], r.flags[i]
}

func (r *HotRows) truncate(n int) {
	r.uids, r.modSeqs, r.octets, r.flags = r.uids[:n], r.modSeqs[:n], r.octets[:n], r.flags[:n]
}

// At returns the row at a position.
func (r *HotRows) At(i int) HotRow {
	return HotRow{UID: r.uids[i], ModSeq: r.modSeqs[i], Flags: r.sets[r.flags[i]], Octets: r.octetsAt(i)}
}

func (r *HotRows) octetsAt(i int) int64 {
	if r.octets[i] == manyOctets {
		return r.large[r.uids[i]]
	}
	return int64(r.octets[i])
}

// UIDs are those of the rows. The slice must not be changed; what is in it stays as it is when rows are added or removed.
func (r *HotRows) UIDs() []UID { return slices.Clip(r.uids) }

// Last is the greatest UID, 0 when there is none.
func (r *HotRows) Last() UID {
	if n := len(r.uids); n > 0 {
		return r.uids[n-1]
	}
	return 0
}

// Find returns the position of a UID, or where it would be.
func (r *HotRows) Find(u UID) (int, bool) { return slices.BinarySearch(r.uids, u) }

// All yields the rows in order.
func (r *HotRows) All() iter.Seq[HotRow] {
	return func(yield func(HotRow) bool) {
		for i := range r.uids {
			if !yield(r.At(i)) {
				return
			}
		}
	}
}

// Where yields, in order, the positions of the rows whose flags fulfil a condition, which is asked once for equal flags.
func (r *HotRows) Where(cond func(Flags) bool) iter.Seq[int] {
	return func(yield func(int) bool) {
		holds := make([]bool, len(r.sets))
		for i, f := range r.sets {
			holds[i] = cond(f)
		}
		for i, f := range r.flags {
			if holds[f] && !yield(i) {
				return
			}
		}
	}
}

// Counters counts the rows.
func (r *HotRows) Counters() (c Counters) {
	for i, f := range r.flags {
		c.Add(1, r.sets[f], r.octetsAt(i))
	}
	return c
}

// Snapshot returns the rows as they are now, to be read only, whatever happens later. It costs 16 octets for each row.
func (r *HotRows) Snapshot() *HotRows {
	return &HotRows{
		uids: r.UIDs(), modSeqs: slices.Clone(r.modSeqs), octets: slices.Clone(r.octets), flags: slices.Clone(r.flags),
		sets: slices.Clip(r.sets), large: maps.Clone(r.large),
	}
}

// Set changes mod-sequence and flags of a row.
func (r *HotRows) Set(i int, ms ModSeq, f Flags) {
	r.modSeqs[i], r.flags[i] = ms, r.intern(f)
	r.forgetFlags()
}

// Remove takes rows out and returns the UIDs of those that were there.
func (r *HotRows) Remove(set UIDSet) UIDSet {
	var gone UIDSet
	for _, x := range set {
		i, _ := r.Find(x.First)
		for ; i < len(r.uids) && r.uids[i] <= x.Last; i++ {
			gone = gone.Append(r.uids[i])
		}
	}
	if len(gone) == 0 {
		return nil
	}
	old := r.uids // stays as it is, see UIDs
	r.uids = make([]UID, len(old), cap(old))
	copy(r.uids, old)
	n := 0
	for i, u := range old {
		if gone.Contains(u) {
			delete(r.large, u)
			continue
		}
		r.move(n, i)
		n++
	}
	r.truncate(n)
	r.forgetFlags()
	return gone
}

func (r *HotRows) intern(f Flags) uint32 {
	if r.index == nil {
		if i := slices.Index(r.sets, f); i >= 0 {
			return uint32(i)
		}
	} else if i, ok := r.index[f]; ok {
		return i
	}
	i := uint32(len(r.sets))
	r.sets = append(r.sets, f)
	switch {
	case r.index != nil:
		r.index[f] = i
	case len(r.sets) > fewSets:
		r.index = make(map[Flags]uint32)
		for i, f := range r.sets {
			r.index[f] = uint32(i)
		}
	}
	return i
}

// forgetFlags forgets sets of flags that are not in use. Without it a client that makes up keywords would fill the memory.
func (r *HotRows) forgetFlags() {
	if len(r.sets) <= spareSets+2*len(r.uids) {
		return
	}
	old := r.sets
	r.sets, r.index = nil, nil
	for i, f := range r.flags {
		r.flags[i] = r.intern(old[f])
	}
}

// Missing returns those of some UIDs, in ascending order, that no row has.
func (r *HotRows) Missing(uids []UID) UIDSet {
	var out UIDSet
	i := 0
	for _, u := range uids {
		for i < len(r.uids) && r.uids[i] < u {
			i++
		}
		if i == len(r.uids) || r.uids[i] != u {
			out = out.Append(u)
		}
	}
	return out
}
