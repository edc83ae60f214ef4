package mongostore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// staged is a message on its way into mailboxes.
type staged struct {
	s *Store
	// What of the message matters to the documents beside its own: threads, dates, the search for duplicates.
	references []string
	subject    string // without prefixes
	messageID  string
	date       time.Time // zero when there is none
	magic      int32     // the same in every message that is made of this one

	desc description // of the message without a prefix
	raw  []byte

	closed atomic.Bool
	mu     sync.Mutex
	made   map[string]*prepared // by prefix
}

// description is what store.Content says about a message, as rows give it. Slices alias the document they are from.
type description struct {
	envelope, bodyStructure, tree, summary []byte
	header                                 []byte // with the prefix
	signature                              []byte
	prefixLen                              int64
	size                                   int64 // octets with the prefix
}

// prepared is the part of a message's document that depends on its content and prefix alone. It belongs to one document:
// storing attachments changes it.
type prepared struct {
	// fields are the members of the document: size, headers, mimeTree, envelope, bodystructure, msgid, subject, magic, ha,
	// attachments, text, textFooter, html, intro and mallard. They are complete when storeAttachments has returned.
	fields   bson.D
	size     int64 // by WildDuck's rules: the document's size, what counts in storageUsed
	verbatim int64 // octets, RFC822.SIZE
	refs     references
	hdate    time.Time // zero when the message has no date; then hdate is the internal date

	st *staged
}

// references are the GridFS files that a message refers to, one for each entry of its attachmentMap, and the number by
// which each counts.
type references struct {
	ids   [][]byte
	magic int32
}

// Stage implements store.Messages.
func (s *Store) Stage(ctx context.Context, c *store.Content) (store.Staged, error) {
	leave, err := s.enter(ctx, "stage")
	if err != nil {
		return nil, err
	}
	defer leave()
	if c.Size < int64(len(c.Header)) {
		return nil, mail.NewError(mail.CodeInvalid, "the message is shorter than its header")
	}
	raw := make([]byte, c.Size)
	if err := readAt(c.Source, raw, 0); err != nil {
		return nil, err
	}
	return &staged{
		s: s, references: slices.Clone(c.References), subject: c.Subject, messageID: c.MessageID, date: c.Date,
		magic: newMagic(),
		desc: description{
			envelope: slices.Clone(c.Envelope), bodyStructure: slices.Clone(c.BodyStructure), tree: slices.Clone(c.Tree),
			summary: slices.Clone(c.Summary), header: slices.Clone(c.Header), signature: slices.Clone(c.Signature), size: c.Size,
		},
		raw:  raw,
		made: map[string]*prepared{},
	}, nil
}

// newMagic makes the number by which the references of a message are counted.
func newMagic() int32 {
	var b [2]byte
	_, _ = rand.Read(b[:]) // it never fails
	return int32(binary.BigEndian.Uint16(b[:]))
}

// readAt fills b, or says why the message is not what was announced.
func readAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = fmt.Errorf("there are only %d octets: %w", off+int64(n), io.ErrUnexpectedEOF)
	}
	return mail.WrapError(mail.CodeInvalid, "the message is shorter than announced", fmt.Errorf("read the message: %w", err))
}

// Close implements store.Staged.
func (st *staged) Close() error {
	st.closed.Store(true)
	return nil
}

// prepare makes the content's part of a document for a message with this prefix. Errors: Invalid (closed Staged).
func (s *Store) prepare(ctx context.Context, st *staged, prefix []byte) (*prepared, error) {
	if st.closed.Load() {
		return nil, mail.NewError(mail.CodeInvalid, "the message was given up")
	}
	size := int64(len(prefix)) + st.desc.size
	d := st.desc
	return &prepared{
		fields: bson.D{
			{Key: "size", Value: size}, {Key: "msgid", Value: st.messageID}, {Key: "subject", Value: st.subject}, {Key: "magic", Value: st.magic},
			{Key: memberMallard, Value: bson.D{
				{Key: "size", Value: size}, {Key: "prefix", Value: len(prefix)},
				{Key: "envelope", Value: d.envelope}, {Key: "bodystructure", Value: d.bodyStructure}, {Key: "tree", Value: d.tree},
				{Key: "summary", Value: d.summary}, {Key: "signature", Value: d.signature}, {Key: "header", Value: slices.Concat(prefix, d.header)},
				{Key: "raw", Value: slices.Concat(prefix, st.raw)},
			}},
		},
		size: size, verbatim: size, hdate: st.date, refs: references{magic: st.magic}, st: st,
	}, nil
}

// storeAttachments stores what the message refers to and counts the references. It is called once for each document,
// before its insert; when that fails, dropReferences undoes it.
func (s *Store) storeAttachments(ctx context.Context, p *prepared) error { return nil }

// addReferences counts one more document with these references, as COPY counts: once for each file.
func (s *Store) addReferences(ctx context.Context, refs ...references) error { return nil }

// dropReferences undoes storeAttachments, or addReferences of a copy: a document with them is deleted.
func (s *Store) dropReferences(ctx context.Context, refs ...references) error { return nil }

// referencesOf are the references of a document that has its magic and mimeTree.attachmentMap.
func referencesOf(doc bson.Raw) references { return references{} }

// Projections: what a query must ask for so that the functions here can work on its documents. They name members of
// memberMallard one by one, so that they can be joined with hotFields and metaFields.

// referenceFields is the projection for referencesOf.
func referenceFields() bson.D {
	return bson.D{{Key: "magic", Value: 1}, {Key: "mimeTree.attachmentMap", Value: 1}}
}

// bodyFields is the projection for openBody.
func bodyFields() bson.D { return describedFields(store.FieldBody) }

// describedFields is the projection for described, and with store.FieldBody for openBody too.
func describedFields(fields store.Fields) bson.D {
	d := bson.D{{Key: "_id", Value: 1}, {Key: "mailbox", Value: 1}, {Key: "uid", Value: 1}, {Key: "size", Value: 1}}
	for _, key := range []string{keySize, "prefix", "envelope", "bodystructure", "tree", "summary", "header", "signature", "raw"} {
		d = append(d, bson.E{Key: memberMallard + "." + key, Value: 1})
	}
	return d
}

// verbatimSize is the RFC822.SIZE of a document.
func verbatimSize(doc bson.Raw) int64 {
	if n, ok := doc.Lookup(memberMallard, keySize).AsInt64OK(); ok {
		return n
	}
	n, _ := doc.Lookup("size").AsInt64OK()
	return n
}

// described gives what rows say about a message. doc has the members of describedFields. Messages that another program
// wrote are read and described at first sight.
func (s *Store) described(ctx context.Context, doc bson.Raw, fields store.Fields) (*description, error) {
	bin := func(key string) []byte {
		_, b, _ := doc.Lookup(memberMallard, key).BinaryOK()
		return b
	}
	n, _ := doc.Lookup(memberMallard, "prefix").AsInt64OK()
	return &description{
		envelope: bin("envelope"), bodyStructure: bin("bodystructure"), tree: bin("tree"), summary: bin("summary"),
		header: bin("header"), signature: bin("signature"), prefixLen: n, size: verbatimSize(doc),
	}, nil
}

// body is the verbatim content of a message.
type body struct{ raw []byte }

// openBody gives the verbatim content of a document with the members of bodyFields. The body stays readable when the
// document is gone; its attachments are read from GridFS, where they live for at least a day without references.
func (s *Store) openBody(ctx context.Context, doc bson.Raw) (store.Body, error) {
	_, b, _ := doc.Lookup(memberMallard, "raw").BinaryOK()
	return &body{raw: slices.Clone(b)}, nil
}

func (b *body) Size() int64 { return int64(len(b.raw)) }

func (b *body) WriteRange(w io.Writer, off, n int64) error {
	if off < 0 || n < 0 || off > b.Size() || n > b.Size()-off {
		return mail.NewError(mail.CodeInvalid, "the range lies outside of the message")
	}
	_, err := w.Write(b.raw[off : off+n])
	return err
}

func (b *body) Close() error { return nil }
