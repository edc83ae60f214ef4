package mongostore

import (
	"bytes"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/store"
	"mallard/internal/store/mongostore/mimetree"
)

// Members of memberMallard in a message. All that follows of them describes the message as it was when its document had
// the size and date that are noted with them: a draft that WildDuck sends, or a message that it encrypts, gets others.
const (
	keyOf            = "of"     // the document's size
	keyDate          = "date"   // the document's hdate
	keyHeaderSum     = "sum"    // a checksum of mimeTree.header
	keyPrefix        = "prefix" // octets that were put before the message
	keyEnvelope      = "envelope"
	keyBodyStructure = "bodystructure"
	keyTree          = "tree"
	keySummary       = "summary"
	// keyHeader is the header of a row without the prefix: its length, when mimeTree.header joined begins with it, else
	// itself.
	keyHeader = "header"
	keyKept   = "kept"  // how the attachments are kept: line length and stored length for each entry of attachmentMap
	keyEdits  = "edits" // how the message differs from what is rebuilt
	// keyRebuilt marks a message that another program wrote: what is rebuilt, cut or padded to size, is the message.
	keyRebuilt = "rebuilt"
)

// description is what store.Content says about a message, as rows give it. Slices may alias the document they are from.
type description struct {
	envelope, bodyStructure, tree, summary []byte
	header                                 []byte // with the prefix
	signature                              []byte
	prefixLen                              int64
	size                                   int64 // octets with the prefix
}

// describedOf copies what a content says.
func describedOf(c *store.Content) description {
	return description{
		envelope: bytes.Clone(c.Envelope), bodyStructure: bytes.Clone(c.BodyStructure), tree: bytes.Clone(c.Tree),
		summary: bytes.Clone(c.Summary), header: bytes.Clone(c.Header), signature: bytes.Clone(c.Signature), size: c.Size,
	}
}

// prepared is the part of a message's document that depends on its content and prefix alone. It belongs to one document:
// storing attachments changes it.
type prepared struct {
	// fields are the members of the document: size, headers, mimeTree, envelope, bodystructure, msgid, magic, subject,
	// attachments, ha, text, textFooter, intro, html and mallard. They are complete when storeAttachments has returned.
	fields   bson.D
	size     int64 // by WildDuck's rules: the document's size, what counts in storageUsed
	verbatim int64 // octets, RFC822.SIZE
	// refs are the references that are counted. They may be given to dropReferences at any time after prepare.
	refs  references
	mu    sync.Mutex // guards refs while attachments are stored
	hdate time.Time  // zero when the message has no date; then hdate is the internal date

	st       *staged
	prefix   []byte
	prefixed *mimetree.Prefixed
	// signature is that of the message with the prefix, once fields are complete.
	signature []byte
}

// describedFields is the projection for described, and with store.FieldBody for openBody too. It names members of
// memberMallard one by one, so that it can be joined with hotFields and metaFields.
func describedFields(fields store.Fields) bson.D {
	d := bson.D{{Key: "_id", Value: 1}, {Key: "mailbox", Value: 1}, {Key: "uid", Value: 1}, {Key: "size", Value: 1}, {Key: "hdate", Value: 1}}
	own := []string{keySize, keyOf, keyDate, keyPrefix}
	for _, f := range describedMembers {
		if fields&f.field != 0 {
			own = append(own, f.key)
		}
	}
	if fields&store.FieldBody != 0 {
		own = append(own, keyHeaderSum, keyKept, keyEdits, keyRebuilt)
		d = append(d, bson.E{Key: "mimeTree", Value: 1})
	} else if fields&store.FieldHeader != 0 {
		d = append(d, bson.E{Key: "mimeTree.header", Value: 1})
	}
	for _, key := range own {
		d = append(d, bson.E{Key: memberMallard + "." + key, Value: 1})
	}
	return d
}

// bodyFields is the projection for openBody.
func bodyFields() bson.D { return describedFields(store.FieldBody) }

// member is a part of a description and where it is in a document.
type member struct {
	field store.Fields
	key   string
	get   func(*description) *[]byte
}

var describedMembers = []member{
	{store.FieldEnvelope, keyEnvelope, func(d *description) *[]byte { return &d.envelope }},
	{store.FieldBodyStructure, keyBodyStructure, func(d *description) *[]byte { return &d.bodyStructure }},
	{store.FieldTree, keyTree, func(d *description) *[]byte { return &d.tree }},
	{store.FieldSummary, keySummary, func(d *description) *[]byte { return &d.summary }},
	{store.FieldHeader, keyHeader, func(d *description) *[]byte { return &d.header }},
	{store.FieldSignature, keySignature, func(d *description) *[]byte { return &d.signature }},
}

// headerSum is a checksum of a header.
func headerSum(fields []string) int64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, f := range fields {
		for i := range len(f) {
			h = (h ^ uint64(f[i])) * 1099511628211
		}
		h = (h ^ '\n') * 1099511628211
	}
	return int64(h)
}
