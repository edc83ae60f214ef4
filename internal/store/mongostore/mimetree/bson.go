package mimetree

import (
	"errors"
	"fmt"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// AppendNumber appends a number as JavaScript's driver does: 32 bits or a double.
func AppendNumber(dst []byte, key string, n int64) []byte {
	if n >= math.MinInt32 && n <= math.MaxInt32 {
		return bsoncore.AppendInt32Element(dst, key, int32(n))
	}
	return bsoncore.AppendDoubleElement(dst, key, float64(n))
}

// Reference is what an id of an attachment stands for in GridFS.
type Reference struct {
	ID   string
	File []byte
}

// MimeTree is the member mimeTree of a document.
func (t *Tree) MimeTree(p *Prefixed, refs []Reference) bson.RawValue {
	dst := make([]byte, 0, t.treeSize()+4*headerLen(p.Header))
	idx, dst := bsoncore.AppendDocumentStart(dst)
	dst = t.Root.appendMembers(dst, p.Header, p.Parsed)
	var m int32
	m, dst = bsoncore.AppendDocumentElementStart(dst, "attachmentMap")
	for _, r := range refs {
		dst = bsoncore.AppendBinaryElement(dst, r.ID, 0, r.File)
	}
	dst, _ = bsoncore.AppendDocumentEnd(dst, m)
	dst, _ = bsoncore.AppendDocumentEnd(dst, idx)
	return bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: dst}
}

// treeSize estimates the size of the encoded tree.
func (t *Tree) treeSize() int {
	n := 256
	var add func(*Node)
	add = func(x *Node) {
		n += 512 + len(x.Body)
		if x.Message != nil {
			add(x.Message)
		}
		for _, c := range x.Children {
			add(c)
		}
	}
	add(t.Root)
	return n
}

func (n *Node) appendMembers(dst []byte, header []string, parsed ParsedHeader) []byte {
	var a int32
	if len(n.Children) > 0 {
		a, dst = bsoncore.AppendArrayElementStart(dst, "childNodes")
		for i, c := range n.Children {
			dst = c.appendTo(dst, index(i))
		}
		dst, _ = bsoncore.AppendArrayEnd(dst, a)
	}
	a, dst = bsoncore.AppendArrayElementStart(dst, "header")
	for i, f := range header {
		dst = bsoncore.AppendStringElement(dst, index(i), latin1(f))
	}
	dst, _ = bsoncore.AppendArrayEnd(dst, a)
	dst = parsed.appendTo(dst)
	if n.AttachmentID == "" {
		dst = bsoncore.AppendBinaryElement(dst, "body", 0, n.Body)
	} else {
		dst = bsoncore.AppendBooleanElement(dst, "body", false)
	}
	if n.IsMultipart {
		dst = bsoncore.AppendStringElement(dst, "multipart", n.Multipart)
		dst = bsoncore.AppendStringElement(dst, "boundary", n.Boundary)
	} else {
		dst = bsoncore.AppendBooleanElement(dst, "multipart", false)
		dst = bsoncore.AppendBooleanElement(dst, "boundary", false)
	}
	if n.Message != nil {
		dst = n.Message.appendTo(dst, "message")
	}
	dst = AppendNumber(dst, "lineCount", n.LineCount)
	dst = AppendNumber(dst, "size", n.Size)
	if n.AttachmentID != "" {
		dst = bsoncore.AppendStringElement(dst, "attachmentId", n.AttachmentID)
	}
	return dst
}

func (n *Node) appendTo(dst []byte, key string) []byte {
	idx, dst := bsoncore.AppendDocumentElementStart(dst, key)
	dst = n.appendMembers(dst, n.Header, n.Parsed)
	dst, _ = bsoncore.AppendDocumentEnd(dst, idx)
	return dst
}

func (h ParsedHeader) appendTo(dst []byte) []byte {
	idx, dst := bsoncore.AppendDocumentElementStart(dst, "parsedHeader")
	for i := range h {
		dst = h[i].Value.appendTo(dst, h[i].Key)
	}
	dst, _ = bsoncore.AppendDocumentEnd(dst, idx)
	return dst
}

func (v *Value) appendTo(dst []byte, key string) []byte {
	var idx int32
	switch v.kind {
	case kindText:
		return bsoncore.AppendStringElement(dst, key, v.text)
	case kindTexts:
		idx, dst = bsoncore.AppendArrayElementStart(dst, key)
		for i, t := range v.texts {
			dst = bsoncore.AppendStringElement(dst, index(i), t)
		}
		dst, _ = bsoncore.AppendArrayEnd(dst, idx)
		return dst
	case kindAddresses:
		return appendAddresses(dst, key, v.addrs)
	}
	idx, dst = bsoncore.AppendDocumentElementStart(dst, key)
	dst = bsoncore.AppendStringElement(dst, "value", v.value)
	dst = bsoncore.AppendStringElement(dst, "type", v.typ)
	dst = bsoncore.AppendStringElement(dst, "subtype", v.subtype)
	p, dst := bsoncore.AppendDocumentElementStart(dst, "params")
	for _, x := range v.params {
		dst = bsoncore.AppendStringElement(dst, x.key, x.value)
	}
	dst, _ = bsoncore.AppendDocumentEnd(dst, p)
	if v.hasParams {
		dst = bsoncore.AppendBooleanElement(dst, "hasParams", true)
	}
	dst, _ = bsoncore.AppendDocumentEnd(dst, idx)
	return dst
}

func appendAddresses(dst []byte, key string, addrs []address) []byte {
	idx, dst := bsoncore.AppendArrayElementStart(dst, key)
	for i, a := range addrs {
		var d int32
		d, dst = bsoncore.AppendDocumentElementStart(dst, index(i))
		if !a.isGroup {
			dst = bsoncore.AppendStringElement(dst, "address", a.address)
		}
		dst = bsoncore.AppendStringElement(dst, "name", a.name)
		if a.isGroup {
			dst = appendAddresses(dst, "group", a.group)
		}
		dst, _ = bsoncore.AppendDocumentEnd(dst, d)
	}
	dst, _ = bsoncore.AppendArrayEnd(dst, idx)
	return dst
}

var indexes = func() (s [64]string) {
	for i := range s {
		s[i] = fmt.Sprint(i)
	}
	return s
}()

// index is the key of an element of an array.
func index(i int) string {
	if i < len(indexes) {
		return indexes[i]
	}
	return fmt.Sprint(i)
}

// ErrDocument says that a document has no tree that can be read.
var ErrDocument = errors.New("the document has no readable MIME tree")

// Decode reads the member mimeTree of a document, as far as Pieces and JoinHeader need it. Bodies are slices of raw.
func Decode(raw bson.Raw) (root *Node, refs []Reference, err error) {
	nodes := 0
	root, err = decodeNode(raw, &nodes)
	if err != nil {
		return nil, nil, err
	}
	if m, ok := raw.Lookup("attachmentMap").DocumentOK(); ok {
		elements, err := m.Elements()
		if err != nil {
			return nil, nil, fmt.Errorf("%w: attachmentMap: %w", ErrDocument, err)
		}
		for _, e := range elements {
			if _, id, ok := e.Value().BinaryOK(); ok {
				refs = append(refs, Reference{e.Key(), id})
			}
		}
	}
	return root, refs, nil
}

// maxDecoded is how many parts a stored tree may have; WildDuck knows no limit but the size of a document.
const maxDecoded = 100_000

func decodeNode(raw bson.Raw, nodes *int) (*Node, error) {
	if *nodes++; *nodes > maxDecoded {
		return nil, fmt.Errorf("%w: too many parts", ErrDocument)
	}
	elements, err := raw.Elements()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	n := &Node{}
	for _, e := range elements {
		v := e.Value()
		switch e.Key() {
		case "childNodes":
			err = decodeChildren(n, v, nodes)
		case "header":
			n.Header, err = decodeStrings(v)
		case "body":
			if _, b, ok := v.BinaryOK(); ok {
				n.Body = b
			}
		case "multipart":
			n.Multipart, n.IsMultipart = v.StringValueOK()
		case "boundary":
			n.Boundary, _ = v.StringValueOK()
		case "lineCount":
			n.LineCount, _ = v.AsInt64OK()
		case "size":
			n.Size, _ = v.AsInt64OK()
		case "attachmentId":
			n.AttachmentID, _ = v.StringValueOK()
		}
		if err != nil {
			return nil, err
		}
	}
	return n, nil
}

func decodeChildren(n *Node, v bson.RawValue, nodes *int) error {
	values, err := arrayValues(v)
	if err != nil {
		return err
	}
	for _, v := range values {
		doc, ok := v.DocumentOK()
		if !ok {
			continue
		}
		c, err := decodeNode(doc, nodes)
		if err != nil {
			return err
		}
		n.Children = append(n.Children, c)
	}
	return nil
}

func arrayValues(v bson.RawValue) ([]bson.RawValue, error) {
	a, ok := v.ArrayOK()
	if !ok {
		return nil, nil
	}
	values, err := a.Values()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	return values, nil
}

// DecodeHeader reads a member header of a stored tree: fields as octets.
func DecodeHeader(v bson.RawValue) ([]string, error) { return decodeStrings(v) }

func decodeStrings(v bson.RawValue) ([]string, error) {
	values, err := arrayValues(v)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(values))
	for _, v := range values {
		s, _ := v.StringValueOK()
		out = append(out, octets(s))
	}
	return out, nil
}
