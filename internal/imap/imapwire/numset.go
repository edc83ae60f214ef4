package imapwire

import (
	"errors"
	"iter"
	"slices"
	"strconv"
)

// Star is how "*", the largest number in use, is held in a [NumRange].
const Star uint32 = 0

// NumRange is the numbers from Start to Stop, in either order, both included.
type NumRange struct {
	Start, Stop uint32
}

// NumSet is a sequence set: message sequence numbers or UIDs (RFC 3501
// section 9, sequence-set). As parsed it is in the client's order and may
// overlap; [NumSet.Resolve] makes it sorted and disjoint.
type NumSet struct {
	// Saved is the "$" of RFC 5182; Ranges is empty then.
	Saved  bool
	Ranges []NumRange
}

// ErrNumSet is returned for text that is not a sequence set.
var ErrNumSet = errors.New("imap: invalid sequence set")

// ParseNumSet parses the whole of s.
func ParseNumSet(s string) (NumSet, error) {
	set, n, err := parseNumSet([]byte(s), len(s))
	if err == nil && n != len(s) {
		err = ErrNumSet
	}
	if err != nil {
		return NumSet{}, err
	}
	return set, nil
}

// parseNumSet reads a set of at most maxLen elements from the start of b and
// returns how many bytes it took.
func parseNumSet(b []byte, maxLen int) (NumSet, int, error) {
	if len(b) > 0 && b[0] == '$' {
		return NumSet{Saved: true}, 1, nil
	}
	var set NumSet
	for pos := 0; ; pos++ {
		if len(set.Ranges) == maxLen {
			return NumSet{}, pos, ErrNumSet
		}
		first, n := parseSetNumber(b[pos:])
		if n == 0 {
			return NumSet{}, pos, ErrNumSet
		}
		pos += n
		rng := NumRange{first, first}
		if pos < len(b) && b[pos] == ':' {
			rng.Stop, n = parseSetNumber(b[pos+1:])
			if n == 0 {
				return NumSet{}, pos, ErrNumSet
			}
			pos += 1 + n
		}
		set.Ranges = append(set.Ranges, rng)
		if pos == len(b) || b[pos] != ',' {
			return set, pos, nil
		}
	}
}

// parseSetNumber reads an nz-number or "*"; n is 0 when there is none.
func parseSetNumber(b []byte) (v uint32, n int) {
	if len(b) > 0 && b[0] == '*' {
		return Star, 1
	}
	var u uint64
	for n < len(b) && isDigit(b[n]) {
		u = u*10 + uint64(b[n]-'0')
		if u > 1<<32-1 {
			return 0, 0
		}
		n++
	}
	if u == 0 {
		return 0, 0
	}
	return uint32(u), n
}

// Empty reports whether the set names nothing at all.
func (s NumSet) Empty() bool { return !s.Saved && len(s.Ranges) == 0 }

// Dynamic reports whether the set's meaning depends on the mailbox ("*") or
// on the session ("$").
func (s NumSet) Dynamic() bool {
	return s.Saved || slices.ContainsFunc(s.Ranges, func(r NumRange) bool {
		return r.Start == Star || r.Stop == Star
	})
}

// Largest returns the largest number written in the set, "*" not counted. A
// server compares it with the number of messages to refuse sequence numbers
// that do not exist.
func (s NumSet) Largest() uint32 {
	var top uint32
	for _, r := range s.Ranges {
		top = max(top, r.Start, r.Stop)
	}
	return top
}

// Resolve replaces "*" by largest and returns the set as sorted, disjoint,
// non-adjacent ranges with Start <= Stop. When largest is 0 (an empty
// mailbox) ranges with "*" name nothing. A saved set resolves to nothing: the
// session has to put in its saved result.
func (s NumSet) Resolve(largest uint32) NumSet {
	out := make([]NumRange, 0, len(s.Ranges))
	for _, r := range s.Ranges {
		if r.Start == Star || r.Stop == Star {
			if largest == 0 {
				continue
			}
			r = NumRange{starTo(r.Start, largest), starTo(r.Stop, largest)}
		}
		if r.Start > r.Stop {
			r.Start, r.Stop = r.Stop, r.Start
		}
		out = append(out, r)
	}
	return NumSet{Ranges: mergeRanges(out)}
}

func starTo(n, largest uint32) uint32 {
	if n == Star {
		return largest
	}
	return n
}

// mergeRanges sorts r and joins what overlaps or touches, in place.
func mergeRanges(r []NumRange) []NumRange {
	if len(r) < 2 {
		return r
	}
	slices.SortFunc(r, func(a, b NumRange) int {
		switch {
		case a.Start < b.Start:
			return -1
		case a.Start > b.Start:
			return 1
		}
		return 0
	})
	last := 0
	for _, cur := range r[1:] {
		if uint64(cur.Start) <= uint64(r[last].Stop)+1 {
			r[last].Stop = max(r[last].Stop, cur.Stop)
			continue
		}
		last++
		r[last] = cur
	}
	return r[:last+1]
}

// Contains reports whether n is in the set when largest is the largest number
// in use. It takes time in proportion to the number of ranges.
func (s NumSet) Contains(n, largest uint32) bool {
	for _, r := range s.Ranges {
		if (r.Start == Star || r.Stop == Star) && largest == 0 {
			continue
		}
		lo, hi := starTo(r.Start, largest), starTo(r.Stop, largest)
		if lo > hi {
			lo, hi = hi, lo
		}
		if lo <= n && n <= hi {
			return true
		}
	}
	return false
}

// Select yields the index of each element of nums that is in the set, in
// ascending order, each once. nums is sorted and holds every number in use,
// so that its last element is "*". The cost is that of the ranges and of what
// is yielded, never of the numbers that a range spans.
func (s NumSet) Select(nums []uint32) iter.Seq[int] {
	return func(yield func(int) bool) {
		if len(nums) == 0 {
			return
		}
		i := 0
		for _, r := range s.Resolve(nums[len(nums)-1]).Ranges {
			n, _ := slices.BinarySearch(nums[i:], r.Start)
			for i += n; i < len(nums) && nums[i] <= r.Stop; i++ {
				if !yield(i) {
					return
				}
			}
		}
	}
}

// Append appends the set in wire form. An empty set appends nothing, which is
// not a valid sequence set.
func (s NumSet) Append(dst []byte) []byte {
	if s.Saved {
		return append(dst, '$')
	}
	for i, r := range s.Ranges {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendRange(dst, r)
	}
	return dst
}

// String returns the set in wire form.
func (s NumSet) String() string { return string(s.Append(nil)) }

func appendRange(dst []byte, r NumRange) []byte {
	dst = appendSetNumber(dst, r.Start)
	if r.Stop != r.Start {
		dst = append(dst, ':')
		dst = appendSetNumber(dst, r.Stop)
	}
	return dst
}

func appendSetNumber(dst []byte, n uint32) []byte {
	if n == Star {
		return append(dst, '*')
	}
	return strconv.AppendUint(dst, uint64(n), 10)
}

// AppendNumSet appends nums in wire form, in their order, each ascending run
// as one range. Numbers are non-zero; no numbers append nothing.
func AppendNumSet(dst []byte, nums []uint32) []byte {
	for i := 0; i < len(nums); {
		j := i + 1
		for j < len(nums) && nums[j] == nums[j-1]+1 {
			j++
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendRange(dst, NumRange{nums[i], nums[j-1]})
		i = j
	}
	return dst
}
