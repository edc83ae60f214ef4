package search

import (
	"fmt"
	"strings"
	"sync"

	"mallard/internal/mail"
)

// A Program is a compiled [Query]. It is immutable and safe for concurrent use.
type Program struct {
	root    node
	leaves  int
	needles []*needle // of the text, each once
	needs   Needs
	readers sync.Pool // of *reader
}

// Needs returns what the query may need of a message beyond its UID, ModSeq and Flags.
func (p *Program) Needs() Needs { return p.needs }

// View decides the query from what a view of a mailbox knows of a message, as far as that goes.
func (p *Program) View(uid mail.UID, modSeq mail.ModSeq, flags mail.Flags) Tri {
	r := run{rec: &Record{UID: uid, ModSeq: modSeq, Flags: flags}, level: levelView}
	return r.eval(&p.root)
}

// Hot decides the query from a record, as far as that goes.
func (p *Program) Hot(rec *Record) Tri {
	r := run{rec: rec, level: levelRecord}
	return r.eval(&p.root)
}

// Indexed decides the query from a record and an index, as far as that goes. mayContain must return false only when it
// is certain that the text of the message, and its header too unless the Needle says Body, does not contain the needle.
func (p *Program) Indexed(rec *Record, mayContain func(Needle) bool) Tri {
	r := run{rec: rec, level: levelRecord, mayContain: mayContain}
	return r.eval(&p.root)
}

// Match decides the query for a message.
func (p *Program) Match(doc Document) (bool, error) {
	d, _ := p.readers.Get().(*reader)
	if d == nil {
		d = &reader{memo: make([]Tri, p.leaves)}
	}
	defer p.release(d)
	d.doc, d.rec, d.needles = doc, doc.Record(), p.needles
	r := run{rec: d.rec, reader: d}
	for r.level = levelRecord; r.level <= levelText; r.level++ {
		if result := r.eval(&p.root); result != Unknown {
			return result == Yes, nil
		}
	}
	return false, fmt.Errorf("match message %d: %w", d.rec.UID, d.err)
}

func (p *Program) release(d *reader) {
	d.reset()
	p.readers.Put(d)
}

// A run is one evaluation.
type run struct {
	rec        *Record
	level      level // of the data that may be used now
	mayContain func(Needle) bool
	reader     *reader // nil when there is no document
}

// eval returns Unknown for what needs data above the level, and for what could not be read.
func (r *run) eval(n *node) Tri {
	switch n.op {
	case opAnd, opOr:
		return r.group(n)
	case opNot:
		return -r.eval(&n.kids[0])
	}
	if n.level <= levelRecord {
		if n.level > r.level {
			return Unknown
		}
		return tri(r.hot(n))
	}
	if r.mayContain != nil && (n.op == opBody || n.op == opText) {
		if !r.mayContain(Needle{Text: n.needle.text, Body: n.op == opBody}) {
			return No
		}
	}
	if n.level > r.level {
		return Unknown
	}
	memo := &r.reader.memo[n.leaf]
	if *memo == Unknown {
		*memo = r.reader.decide(n, r.level)
	}
	return *memo
}

func (r *run) group(n *node) Tri {
	decisive := No
	if n.op == opOr {
		decisive = Yes
	}
	result := -decisive
	for i := range n.kids {
		switch r.eval(&n.kids[i]) {
		case decisive:
			return decisive
		case Unknown:
			result = Unknown
		}
	}
	return result
}

// hot decides a condition about the record.
func (r *run) hot(n *node) bool {
	rec := r.rec
	switch n.op {
	case opFlags:
		return rec.Flags.Has(n.set) && rec.Flags.System&n.unset == 0
	case opKeyword:
		return hasKeyword(rec.Flags.KeywordString(), n.str)
	case opUIDs:
		return n.uids.Contains(rec.UID)
	case opUIDFunc:
		return n.uidFunc(rec.UID)
	case opModSeq:
		return uint64(rec.ModSeq) >= n.num
	case opLarger:
		return rec.Size >= 0 && uint64(rec.Size) >= n.num
	case opSmaller:
		return rec.Size < 0 || uint64(rec.Size) < n.num
	case opEmailID:
		return rec.EmailID == n.email
	case opArrived:
		return (n.from.IsZero() || !rec.InternalDate.Before(n.from)) && (n.to.IsZero() || !rec.InternalDate.After(n.to))
	default: // opInternalDate
		return n.compare.holds(DayOf(rec.InternalDate), n.day)
	}
}

// hasKeyword is mail.Flags.HasKeyword without allocations, which count when a million messages are asked.
func hasKeyword(keywords, name string) bool {
	for keywords != "" {
		var k string
		if k, keywords, _ = strings.Cut(keywords, " "); strings.EqualFold(k, name) {
			return true
		}
	}
	return false
}
