package mongostore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
	"mallard/internal/store/mongostore/mimetree"
)

// described gives what rows say about a message. doc has the members of describedFields. A message that another program
// wrote, or changed, is read and described at first sight; what comes of it is kept in its document.
func (s *Store) described(ctx context.Context, doc bson.Raw, fields store.Fields) (*description, error) {
	own := fresh(doc)
	d := &description{size: verbatimSize(doc)}
	if own != nil {
		d.prefixLen = integer(own.Lookup(keyPrefix))
	}
	for _, m := range describedMembers {
		if fields&m.field == 0 {
			continue
		}
		b, ok := readMember(doc, own, m.key)
		if !ok && own != nil && m.key == keySignature {
			continue // a search can do without
		}
		if !ok {
			return s.describe(ctx, doc, own != nil)
		}
		*m.get(d) = b
	}
	return d, nil
}

// present gives what a document of ours says of some fields, and which of them it has.
func present(doc bson.Raw, fields store.Fields) (*description, store.Fields) {
	own := fresh(doc)
	d := &description{size: verbatimSize(doc), prefixLen: integer(own.Lookup(keyPrefix))}
	for _, m := range describedMembers {
		if fields&m.field == 0 {
			continue
		}
		if b, ok := readMember(doc, own, m.key); ok {
			*m.get(d) = b
		} else if m.key != keySignature { // a search can do without
			fields &^= m.field
		}
	}
	return d, fields
}

// readMember reads a part of the description.
func readMember(doc, own bson.Raw, key string) ([]byte, bool) {
	if own == nil {
		return nil, false
	}
	v, err := own.LookupErr(key)
	if err != nil {
		return nil, false
	}
	if _, b, ok := v.BinaryOK(); ok {
		return b, true
	}
	if key != keyHeader {
		return nil, false
	}
	header, err := mimetree.DecodeHeader(doc.Lookup("mimeTree", "header"))
	if err != nil {
		return nil, false
	}
	joined := mimetree.JoinHeader(header)
	n := integer(own.Lookup(keyPrefix)) + integer(v)
	if n < 0 || n > int64(len(joined)) {
		return nil, false
	}
	return joined[:n], true
}

// describe reads a message and describes it. Unless it was ours to leave out something, the result goes into the document.
func (s *Store) describe(ctx context.Context, doc bson.Raw, ours bool) (*description, error) {
	if s.o.Describe == nil {
		return nil, mail.NewError(mail.CodeInternal, "messages of other programs cannot be read here")
	}
	filter := bson.D{{Key: "_id", Value: doc.Lookup("_id")}, {Key: "mailbox", Value: doc.Lookup("mailbox")}, {Key: "uid", Value: doc.Lookup("uid")}}
	whole, err := s.db.main.Collection(colMessages).FindOne(ctx, filter, options.FindOne().SetProjection(bodyFields())).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, mail.NewError(mail.CodeNotFound, "no such message")
	}
	if err != nil {
		return nil, readError("read the message", err)
	}
	b, err := s.openBody(ctx, whole)
	if err != nil {
		return nil, err
	}
	own := fresh(whole)
	prefix := int64(0)
	if own != nil {
		prefix = integer(own.Lookup(keyPrefix))
	}
	r := &bodyReader{b: b, from: prefix}
	c, err := s.o.Describe(ctx, r, b.Size()-prefix)
	if err != nil {
		return nil, fmt.Errorf("describe a message: %w", err)
	}
	d := describedOf(c)
	d.prefixLen, d.size = prefix, b.Size()
	if prefix > 0 {
		var head bytes.Buffer
		if err := b.WriteRange(&head, 0, prefix); err != nil {
			return nil, err
		}
		d.signature = search.Signature(d.signature).With(search.Fold(nil, head.Bytes()))
		d.header = append(head.Bytes(), d.header...)
	}
	if !ours && own == nil {
		s.keepDescription(ctx, filter, whole, &d, b)
	}
	return &d, nil
}

// keepDescription puts a description into the document of a message. It is no loss when that fails.
func (s *Store) keepDescription(ctx context.Context, filter bson.D, doc bson.Raw, d *description, b *body) {
	set := bson.D{}
	add := func(key string, value any) { set = append(set, bson.E{Key: memberMallard + "." + key, Value: value}) }
	add(keyOf, doc.Lookup("size"))
	if date, ok := doc.Lookup("hdate").DateTimeOK(); ok {
		add(keyDate, bson.DateTime(date))
	}
	add(keyRebuilt, true)
	header, err := mimetree.DecodeHeader(doc.Lookup("mimeTree", "header"))
	if err != nil {
		return
	}
	add(keyHeaderSum, headerSum(header))
	if n := len(d.header); bytes.HasPrefix(mimetree.JoinHeader(header), d.header) {
		add(keyHeader, n)
	} else {
		add(keyHeader, bson.Binary{Data: d.header})
	}
	room := maxDescribed
	for _, m := range []struct {
		key string
		b   []byte
	}{{keyEnvelope, d.envelope}, {keySummary, d.summary}, {keyBodyStructure, d.bodyStructure}, {keyTree, d.tree}, {keySignature, d.signature}} {
		if room -= len(m.b); room >= 0 {
			add(m.key, bson.Binary{Data: m.b})
		}
	}
	if b.kept != nil {
		list := make(bson.A, len(b.kept))
		for i, k := range b.kept {
			list[i] = bson.A{k.line, numberOf(k.length)}
		}
		add(keyKept, list)
	}
	unset := bson.D{}
	for _, key := range []string{keySize, keyPrefix, keyEdits} {
		unset = append(unset, bson.E{Key: memberMallard + "." + key, Value: ""})
	}
	// Nothing is written to a message that has changed since it was read.
	guard := append(slices.Clone(filter), bson.E{Key: "size", Value: doc.Lookup("size")}, bson.E{Key: "hdate", Value: doc.Lookup("hdate")})
	_, err = s.db.main.Collection(colMessages).UpdateOne(ctx, guard, bson.D{{Key: "$set", Value: set}, {Key: "$unset", Value: unset}})
	if err != nil {
		s.o.Logger.Warn("what a message is was found out and could not be kept", "error", err)
	}
}

// readAhead is how much of a body is read at a time.
const readAhead = 1 << 20

// bodyReader reads a body from an offset on.
type bodyReader struct {
	b    *body
	from int64
	buf  bytes.Buffer
	at   int64 // in the body, of what is in buf
}

// ReadAt implements io.ReaderAt. It is not safe for concurrent use.
func (r *bodyReader) ReadAt(p []byte, off int64) (int, error) {
	off += r.from
	n := 0
	for n < len(p) {
		have := r.buf.Bytes()
		if skip := off - r.at; skip >= 0 && skip < int64(len(have)) {
			k := copy(p[n:], have[skip:])
			n += k
			off += int64(k)
			continue
		}
		if off >= r.b.size {
			return n, io.EOF
		}
		r.buf.Reset()
		r.at = off
		if err := r.b.WriteRange(&r.buf, off, min(readAhead, r.b.size-off)); err != nil {
			return n, err
		}
	}
	return n, nil
}
