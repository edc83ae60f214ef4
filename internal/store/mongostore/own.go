package mongostore

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// ownMembers is what memberMallard says about the content of a message, as openBody needs it.
type ownMembers struct {
	verbatim  int64
	prefixLen int64
	headerSum int64
	rebuilt   bool
	kept      []kept
	edits     []storedEdit
}

// storedEdit is an edit as documents have it.
type storedEdit struct {
	at, n, size int64
	lf          bool
	file        bool
	with        []byte
}

// fresh returns memberMallard of a document if it describes the message as it is now, else nil.
func fresh(doc bson.Raw) bson.Raw {
	own, ok := doc.Lookup(memberMallard).DocumentOK()
	if !ok {
		return nil
	}
	of, err := own.LookupErr(keyOf)
	if err != nil || integer(of) != integer(doc.Lookup("size")) {
		return nil
	}
	if date, ok := own.Lookup(keyDate).DateTimeOK(); ok {
		if now, ok := doc.Lookup("hdate").DateTimeOK(); ok && now != date {
			return nil
		}
	}
	return own
}

// verbatimSize is the RFC822.SIZE of a document.
func verbatimSize(doc bson.Raw) int64 {
	if own := fresh(doc); own != nil {
		if v, err := own.LookupErr(keySize); err == nil {
			return integer(v)
		}
	}
	return integer(doc.Lookup("size"))
}

// ownOf reads memberMallard, nil when there is none that holds.
func ownOf(doc bson.Raw) *ownMembers {
	own := fresh(doc)
	if own == nil {
		return nil
	}
	o := &ownMembers{verbatim: verbatimSize(doc)}
	elements, err := own.Elements()
	if err != nil {
		return nil
	}
	for _, e := range elements {
		v := e.Value()
		switch e.Key() {
		case keyPrefix:
			o.prefixLen = integer(v)
		case keyHeaderSum:
			o.headerSum = integer(v)
		case keyRebuilt:
			o.rebuilt = truth(v)
		case keyKept:
			for _, one := range tuples(v) {
				o.kept = append(o.kept, kept{line: int(integer(one[0])), length: integer(one[1])})
			}
		case keyEdits:
			for _, one := range tuples(v) {
				if len(one) == 4 {
					o.edits = append(o.edits, editOf(one))
				}
			}
		}
	}
	return o
}

func editOf(one []bson.RawValue) storedEdit {
	e := storedEdit{at: integer(one[0]), n: integer(one[1]), size: integer(one[2])}
	switch one[3].Type {
	case bson.TypeBoolean:
		e.lf = true
	case bson.TypeBinary:
		_, e.with, _ = one[3].BinaryOK()
	default:
		e.file = true
	}
	return e
}

// tuples are the elements of an array of arrays of two members at least.
func tuples(v bson.RawValue) [][]bson.RawValue {
	a, ok := v.ArrayOK()
	if !ok {
		return nil
	}
	values, err := a.Values()
	if err != nil {
		return nil
	}
	var out [][]bson.RawValue
	for _, v := range values {
		if one, ok := v.ArrayOK(); ok {
			if members, err := one.Values(); err == nil && len(members) >= 2 {
				out = append(out, members)
			}
		}
	}
	return out
}

// rawKey is the key of the raw octets in attachmentMap.
const rawKey = "RAW00001"

// apply makes the message as it came of the stretches of a rebuilt one.
func (o *ownMembers) apply(rebuilt []stretch, files map[string]*storedFile) []stretch {
	if len(o.edits) == 0 {
		return rebuilt
	}
	x := &splitter{in: rebuilt}
	for _, e := range o.edits {
		x.out = append(x.out, x.take(e.at-x.pos)...)
		n := e.n
		if n < 0 {
			n = 1 << 62 // all the rest
		}
		replaced := x.take(n)
		switch {
		case e.lf:
			for i := range replaced {
				if i > 0 {
					replaced[i].start = replaced[i-1].start + replaced[i-1].size
				} else {
					replaced[i].start = 0
				}
			}
			x.out = append(x.out, stretch{lf: replaced, size: e.size})
		case e.file:
			x.out = append(x.out, stretch{file: files[rawKey], size: e.size})
		default:
			x.out = append(x.out, stretch{text: e.with, size: int64(len(e.with))})
		}
	}
	return append(x.out, x.take(1<<62)...)
}

// splitter takes octets off stretches.
type splitter struct {
	in, out []stretch
	pos     int64
}

// take takes up to n octets.
func (x *splitter) take(n int64) []stretch {
	var out []stretch
	for n > 0 && len(x.in) > 0 {
		g := x.in[0]
		if g.size > n {
			x.in[0].size -= n
			x.in[0].off += n
			if g.text != nil {
				x.in[0].text = g.text[n:]
				g.text = g.text[:n]
			}
			g.size = n
		} else {
			x.in = x.in[1:]
		}
		x.pos += g.size
		n -= g.size
		if g.size > 0 {
			out = append(out, g)
		}
	}
	return out
}
