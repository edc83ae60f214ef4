package mimetree

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// BodyStructure is the member bodystructure of a document.
func (t *Tree) BodyStructure() bson.RawValue {
	idx, dst := bsoncore.AppendArrayStart(make([]byte, 0, 256))
	dst = t.Root.appendStructure(dst)
	dst, _ = bsoncore.AppendArrayEnd(dst, idx)
	return bson.RawValue{Type: bson.TypeArray, Value: dst}
}

// list counts the elements of an array that is being written.
type list struct {
	dst []byte
	n   int
}

func (l *list) key() string { l.n++; return index(l.n - 1) }

func (l *list) text(s string)  { l.dst = bsoncore.AppendStringElement(l.dst, l.key(), s) }
func (l *list) number(n int64) { l.dst = AppendNumber(l.dst, l.key(), n) }
func (l *list) null()          { l.dst = bsoncore.AppendNullElement(l.dst, l.key()) }

// optional appends the text of a header field, null when there is none.
func (l *list) optional(v *Value) {
	if v == nil || v.text == "" {
		l.null()
		return
	}
	l.text(v.text)
}

// nested appends an array.
func (l *list) nested(write func(*list)) {
	idx, dst := bsoncore.AppendArrayElementStart(l.dst, l.key())
	in := list{dst: dst}
	write(&in)
	l.dst, _ = bsoncore.AppendArrayEnd(in.dst, idx)
}

func (n *Node) appendStructure(dst []byte) []byte {
	l := &list{dst: dst}
	if n.IsMultipart {
		n.multipartStructure(l)
	} else {
		n.leafStructure(l)
	}
	return l.dst
}

func (n *Node) multipartStructure(l *list) {
	for _, c := range n.Children {
		l.nested(func(in *list) { in.dst = c.appendStructure(in.dst) })
	}
	l.text(strings.ToUpper(n.Multipart))
	l.params(n.Parsed.get("content-type"))
	n.endStructure(l)
}

func (n *Node) leafStructure(l *list) {
	v := n.Parsed.get("content-type")
	typ, subtype := strings.ToUpper(v.typ), strings.ToUpper(v.subtype)
	if typ == "" || subtype == "" {
		typ, subtype = "APPLICATION", "OCTET-STREAM"
	}
	l.text(typ)
	l.text(subtype)
	l.params(v)
	l.optional(n.Parsed.get("content-id"))
	l.optional(n.Parsed.get("content-description"))
	l.text(strings.ToUpper(n.TransferEncoding()))
	l.number(n.Size)
	switch {
	case typ == "TEXT":
		l.number(n.LineCount)
	case n.Message != nil && typ == "MESSAGE" && subtype == "RFC822":
		l.nested(func(in *list) { in.dst = n.Message.Parsed.appendEnvelope(in.dst) })
		l.nested(func(in *list) { in.dst = n.Message.appendStructure(in.dst) })
		l.number(n.LineCount)
	}
	l.optional(n.Parsed.get("content-md5"))
	n.endStructure(l)
}

// endStructure appends disposition, languages and location.
func (n *Node) endStructure(l *list) {
	if d := n.Parsed.get("content-disposition"); d != nil && d.typ != "" {
		l.nested(func(in *list) {
			in.text(strings.ToUpper(d.typ))
			in.params(d)
		})
	} else {
		l.null()
	}
	if v := n.Parsed.get("content-language"); v != nil && v.text != "" {
		l.nested(func(in *list) {
			for s := range strings.SplitSeq(v.text, ",") {
				in.text(strings.TrimSpace(s))
			}
		})
	} else {
		l.null()
	}
	l.optional(n.Parsed.get("content-location"))
}

// params appends a list of names and values.
func (l *list) params(v *Value) {
	if v == nil || !v.hasParams {
		l.null()
		return
	}
	l.nested(func(in *list) {
		for _, p := range v.params {
			in.text(strings.ToUpper(p.key))
			in.dst = bsoncore.AppendBinaryElement(in.dst, in.key(), 0, []byte(decodeWords(p.value)))
		}
	})
}
