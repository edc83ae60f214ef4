package search

import (
	"bytes"
	"slices"

	"mallard/internal/mail"
)

// A Needle is a folded string that a message must contain to match.
type Needle struct {
	Text []byte
	// Body says that it must be in the text; else it may be in the header instead.
	Body bool
}

// maxAlternatives bounds the result of Candidates.
const maxAlternatives = 32

// Candidates says what the full-text index can contribute: every message that matches contains all needles of at least
// one of the alternatives. An alternative without needles, which may be the only one, means that the index cannot
// narrow the search; no alternative at all that nothing matches. There are at most 32 alternatives. The needles must
// not be changed.
func (p *Program) Candidates() [][]Needle {
	alternatives := p.root.candidates()
	for _, needles := range alternatives {
		if len(needles) == 0 {
			return [][]Needle{nil}
		}
	}
	return alternatives
}

func (n *node) candidates() [][]Needle {
	switch n.op {
	case opBody, opText:
		return [][]Needle{{{Text: n.needle.text, Body: n.op == opBody}}}
	case opAnd:
		result := [][]Needle{nil}
		for i := range n.kids {
			result = both(result, n.kids[i].candidates())
		}
		return result
	case opOr:
		var result [][]Needle
		for i := range n.kids {
			result = append(result, n.kids[i].candidates()...)
			if len(result) > maxAlternatives {
				return [][]Needle{nil}
			}
		}
		return result
	}
	return [][]Needle{nil}
}

// both returns the alternatives of a and b together, or the more useful ones of them if that would be too many.
func both(a, b [][]Needle) [][]Needle {
	if len(a)*len(b) > maxAlternatives {
		if len(a) < len(b) {
			return a
		}
		return b
	}
	var result [][]Needle
	for _, x := range a {
		for _, y := range b {
			result = append(result, union(x, y))
		}
	}
	return result
}

func union(x, y []Needle) []Needle {
	out := slices.Clone(x)
	for _, n := range y {
		same := func(o Needle) bool { return o.Body == n.Body && bytes.Equal(o.Text, n.Text) }
		if !slices.ContainsFunc(out, same) {
			out = append(out, n)
		}
	}
	return out
}

// AsksRecord says whether a part of the query can be decided from records, which are then worth reading before anything
// else. Sets of UIDs do not count: UIDs gives them.
func (p *Program) AsksRecord() bool { return p.root.asksRecord() }

func (n *node) asksRecord() bool {
	switch n.op {
	case opAnd, opOr, opNot:
		return slices.ContainsFunc(n.kids, func(kid node) bool { return kid.asksRecord() })
	case opUIDs:
		return false
	}
	return n.level <= levelRecord
}

// Never reports whether it is certain that nothing matches, whatever is searched.
func (p *Program) Never() bool { return p.root.never() }

func (n *node) never() bool {
	switch n.op {
	case opAnd:
		return slices.ContainsFunc(n.kids, func(kid node) bool { return kid.never() })
	case opOr:
		return !slices.ContainsFunc(n.kids, func(kid node) bool { return !kid.never() })
	case opUIDs:
		return len(n.uids) == 0
	}
	return false
}

// UIDs returns a set outside of which no message matches; ok is false when there is no such restriction. The set must
// not be changed.
func (p *Program) UIDs() (set mail.UIDSet, ok bool) {
	if set := p.root.restriction(); set != nil {
		return *set, true
	}
	return nil, false
}

func (n *node) restriction() *mail.UIDSet {
	switch n.op {
	case opUIDs:
		return &n.uids
	case opAnd:
		var best *mail.UIDSet
		for i := range n.kids {
			set := n.kids[i].restriction()
			if set != nil && (best == nil || set.Count() < best.Count()) {
				best = set
			}
		}
		return best
	}
	return nil
}
