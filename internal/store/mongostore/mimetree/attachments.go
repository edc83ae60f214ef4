package mimetree

import (
	"crypto/rand"
	"encoding/hex"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"mallard/internal/message"
)

// Attachment is what a document says about a part that is kept apart and is no text.
type Attachment struct {
	ID, Filename, ContentType, Disposition, TransferEncoding string
	ContentID                                                string
	Related                                                  bool
	Size                                                     int64
}

// Attachments lists them. A document's ha says whether one of them is not Related.
func (t *Tree) Attachments() []Attachment {
	if len(t.Cut) == 0 {
		return nil
	}
	var out []Attachment
	t.Root.walk(place{}, func(n *Node, at place) {
		if n.AttachmentID == "" || n.inlineText() {
			return
		}
		a := Attachment{
			ID: n.AttachmentID, Filename: n.filename(), ContentType: n.contentType(), Disposition: n.disposition(),
			TransferEncoding: n.TransferEncoding(), Related: at.related, Size: n.Size,
		}
		if v := n.Parsed.get("content-id"); v != nil {
			a.ContentID = v.text
		}
		out = append(out, a)
	})
	return out
}

// filename is decoded; it is made up where there is none.
func (n *Node) filename() string {
	for _, of := range [...]struct{ field, key string }{{"content-disposition", "filename"}, {"content-type", "name"}} {
		if v := n.Parsed.get(of.field); v != nil {
			if s, _ := v.param(of.key); s != "" {
				return decodeWords(s)
			}
		}
	}
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:]) + "." + message.Extension(n.contentType())
}

// AppendAttachments makes the member attachments of a document. hashes are what GridFS has as the hash of the content, by
// id; "" leaves it out.
func AppendAttachments(list []Attachment, hashes map[string]string) bson.RawValue {
	idx, dst := bsoncore.AppendArrayStart(make([]byte, 0, 256*len(list)))
	for i, a := range list {
		var d int32
		d, dst = bsoncore.AppendDocumentElementStart(dst, index(i))
		dst = bsoncore.AppendStringElement(dst, "id", a.ID)
		dst = bsoncore.AppendStringElement(dst, "filename", a.Filename)
		dst = bsoncore.AppendStringElement(dst, "contentType", a.ContentType)
		if a.Disposition == "" {
			dst = bsoncore.AppendBooleanElement(dst, "disposition", false)
		} else {
			dst = bsoncore.AppendStringElement(dst, "disposition", a.Disposition)
		}
		dst = bsoncore.AppendStringElement(dst, "transferEncoding", a.TransferEncoding)
		if a.ContentID == "" {
			dst = bsoncore.AppendNullElement(dst, "cid")
		} else {
			dst = bsoncore.AppendStringElement(dst, "cid", a.ContentID)
		}
		dst = bsoncore.AppendBooleanElement(dst, "related", a.Related)
		dst = AppendNumber(dst, "sizeKb", (a.bytes()+1023)/1024)
		dst = AppendNumber(dst, "size", a.Size)
		if h := hashes[a.ID]; h != "" {
			dst = bsoncore.AppendStringElement(dst, "fileContentHash", h)
		}
		dst, _ = bsoncore.AppendDocumentEnd(dst, d)
	}
	dst, _ = bsoncore.AppendArrayEnd(dst, idx)
	return bson.RawValue{Type: bson.TypeArray, Value: dst}
}

// bytes estimates the decoded size.
func (a *Attachment) bytes() int64 {
	if a.TransferEncoding != "base64" {
		return a.Size
	}
	return ((a.Size-a.Size/78*2)*3 + 3) / 4
}
