package search

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"mallard/internal/mail"
)

// ErrTooComplex says that a query is beyond [Limits].
var ErrTooComplex = errors.New("search is too complex")

// Limits bounds a query and so what it can cost. The zero value of a field means its default.
type Limits struct {
	Nodes   int // conditions in the tree; default 2000
	Depth   int // how deep they are nested; default 100
	Strings int // different strings in BODY, TEXT and words; default 100. Each is looked for in the text on its own.
	Octets  int // of all search strings together, folded; default 64 KiB
}

func (l Limits) withDefaults() Limits {
	if l.Nodes == 0 {
		l.Nodes = 2000
	}
	if l.Depth == 0 {
		l.Depth = 100
	}
	if l.Strings == 0 {
		l.Strings = 100
	}
	if l.Octets == 0 {
		l.Octets = 64 << 10
	}
	return l
}

// level is how costly the data of a condition is.
type level int8

const (
	levelView level = iota
	levelRecord
	levelSummary
	levelHeader
	levelText
)

type op uint8

const (
	opAnd op = iota
	opOr
	opNot
	opFlags
	opKeyword
	opUIDs
	opUIDFunc
	opModSeq
	opLarger
	opSmaller
	opEmailID
	opArrived
	opInternalDate
	opThreadID
	opHasAttachment
	opSentDate
	opHeader
	opBody
	opText
)

// A node is a condition of a Program.
type node struct {
	op    op
	level level // the cheapest data that can decide it
	kids  []node
	leaf  int // index of what is remembered of a leaf during a match

	set, unset mail.SystemFlags
	str        string
	uids       mail.UIDSet
	uidFunc    func(mail.UID) bool
	num        uint64
	email      mail.EmailID
	thread     mail.ThreadID
	from, to   time.Time
	compare    DateCompare
	day        Day
	needle     *needle
	text       int // index of the needle among those of the text
}

// A compiler builds a Program.
type compiler struct {
	limits Limits
	p      *Program
	nodes  int
	octets int
	index  map[string]int // of needles of the text
}

// Compile prepares a query; nil is All. It fails with [ErrTooComplex] when the query is beyond the limits.
func Compile(q Query, limits Limits) (*Program, error) {
	c := compiler{limits: limits.withDefaults(), p: &Program{}, index: make(map[string]int)}
	root, err := c.compile(q, 1)
	if err != nil {
		return nil, err
	}
	c.p.root = root
	return c.p, nil
}

func (c *compiler) compile(q Query, depth int) (node, error) {
	if c.nodes++; c.nodes > c.limits.Nodes {
		return node{}, fmt.Errorf("%w: more than %d conditions", ErrTooComplex, c.limits.Nodes)
	}
	if depth > c.limits.Depth {
		return node{}, fmt.Errorf("%w: nested deeper than %d", ErrTooComplex, c.limits.Depth)
	}
	switch q := q.(type) {
	case And:
		return c.group(opAnd, q, depth)
	case Or:
		return c.group(opOr, q, depth)
	case Not:
		return c.group(opNot, []Query{q.Query}, depth)
	case Words:
		return c.compile(q.query(), depth)
	case All, nil:
		return node{op: opAnd}, nil
	}
	n, err := c.compileLeaf(q)
	if err != nil {
		return node{}, err
	}
	n.leaf = c.p.leaves
	c.p.leaves++
	return n, nil
}

func (c *compiler) group(o op, queries []Query, depth int) (node, error) {
	n := node{op: o, kids: make([]node, 0, min(len(queries), c.limits.Nodes))}
	for _, q := range queries {
		kid, err := c.compile(q, depth+1)
		if err != nil {
			return node{}, err
		}
		n.kids = append(n.kids, kid)
	}
	slices.SortStableFunc(n.kids, func(a, b node) int { return int(a.level) - int(b.level) })
	if len(n.kids) > 0 {
		n.level = n.kids[0].level
	}
	return n, nil
}

func (c *compiler) compileLeaf(q Query) (node, error) {
	switch q := q.(type) {
	case Flags:
		return node{op: opFlags, set: q.Set, unset: q.Unset}, nil
	case Keyword:
		return node{op: opKeyword, str: string(q)}, nil
	case UIDs:
		return node{op: opUIDs, uids: mail.UIDSet(q)}, nil
	case UIDFunc:
		if q == nil {
			return node{}, errors.New("compile search: UIDFunc is nil")
		}
		return node{op: opUIDFunc, uidFunc: q}, nil
	case ModSeq:
		return node{op: opModSeq, num: uint64(q)}, nil
	case ThreadID:
		return c.needs(NeedSummary, node{op: opThreadID, level: levelSummary, thread: mail.ThreadID(q)}), nil
	case HasAttachment:
		return c.needs(NeedSummary, node{op: opHasAttachment, level: levelSummary}), nil
	case SentDate:
		c.p.needs |= NeedRecord // for messages without a Date
		return c.needs(NeedSummary, node{op: opSentDate, level: levelSummary, compare: q.Compare, day: q.Day}), nil
	case Header:
		return c.header(q)
	case Body:
		return c.text(opBody, levelText, string(q))
	case Text:
		return c.text(opText, levelHeader, string(q))
	}
	return c.compileRecordLeaf(q)
}

// compileRecordLeaf compiles the conditions about a record.
func (c *compiler) compileRecordLeaf(q Query) (node, error) {
	n := node{level: levelRecord}
	switch q := q.(type) {
	case Larger:
		n.op, n.num = opLarger, uint64(max(q, -1)+1) // at least
		if q == 1<<63-1 {
			return node{op: opOr}, nil
		}
	case Smaller:
		if q <= 0 {
			return node{op: opOr}, nil
		}
		n.op, n.num = opSmaller, uint64(q)
	case EmailID:
		n.op, n.email = opEmailID, mail.EmailID(q)
	case Arrived:
		n.op, n.from, n.to = opArrived, q.From, q.To
	case InternalDate:
		n.op, n.compare, n.day = opInternalDate, q.Compare, q.Day
	default:
		return node{}, fmt.Errorf("compile search: unknown condition %T", q)
	}
	return c.needs(NeedRecord, n), nil
}

func (c *compiler) needs(what Needs, n node) node {
	c.p.needs |= what
	return n
}

func (c *compiler) header(q Header) (node, error) {
	folded := FoldString(q.Contains)
	if err := c.count(folded); err != nil {
		return node{}, err
	}
	n := node{op: opHeader, level: levelHeader, str: q.Field, needle: newNeedle(folded)}
	return c.needs(NeedHeader, n), nil
}

func (c *compiler) text(o op, l level, s string) (node, error) {
	folded := FoldString(s)
	if len(folded) == 0 {
		return node{op: opAnd}, nil
	}
	if o == opText {
		c.p.needs |= NeedHeader
	}
	c.p.needs |= NeedText
	i, ok := c.index[string(folded)]
	if !ok {
		if err := c.count(folded); err != nil {
			return node{}, err
		}
		if i = len(c.p.needles); i == c.limits.Strings {
			return node{}, fmt.Errorf("%w: more than %d strings to find in texts", ErrTooComplex, c.limits.Strings)
		}
		c.p.needles = append(c.p.needles, newNeedle(folded))
		c.index[string(folded)] = i
	}
	return node{op: o, level: l, text: i, needle: c.p.needles[i]}, nil
}

// count counts the octets of a search string.
func (c *compiler) count(folded []byte) error {
	if c.octets += len(folded); c.octets > c.limits.Octets {
		return fmt.Errorf("%w: search strings of more than %d octets", ErrTooComplex, c.limits.Octets)
	}
	return nil
}
