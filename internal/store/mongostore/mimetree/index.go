package mimetree

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"mallard/internal/message"
)

// maxIndexed is the longest value in the index of headers, in octets: a key of the database's index has a limit.
const maxIndexed = 880

// Index is the member headers of a document: the fields that can be searched.
func (p *Prefixed) Index() bson.RawValue {
	idx, dst := bsoncore.AppendArrayStart(make([]byte, 0, 512))
	n := 0
	for _, f := range p.Header {
		name, value, _ := strings.Cut(f, ":")
		key := lowerName(strings.TrimFunc(name, isJSSpace))
		if !isIndexed(key) {
			continue
		}
		var d int32
		d, dst = bsoncore.AppendDocumentElementStart(dst, index(n))
		dst = bsoncore.AppendStringElement(dst, "key", key)
		dst = bsoncore.AppendStringElement(dst, "value", indexValue(key, value))
		dst, _ = bsoncore.AppendDocumentEnd(dst, d)
		n++
	}
	dst, _ = bsoncore.AppendArrayEnd(dst, idx)
	return bson.RawValue{Type: bson.TypeArray, Value: dst}
}

func isIndexed(key string) bool {
	switch key {
	case "to", "cc", "bcc", "subject", "from", "sender", "reply-to", "message-id", "thread-index", "list-id", "delivered-to":
		return true
	}
	return false
}

func indexValue(key, value string) string {
	value = unfold(validText(strings.TrimFunc(value, isJSSpace)))
	value = withoutNUL(strings.ToLower(decodeWords(value)))
	if key == "list-id" {
		if _, id, ok := strings.Cut(value, "<"); ok {
			value, _, _ = strings.Cut(id, ">")
		}
	}
	if len(value) < maxIndexed {
		return value
	}
	return dropUnits(validText(value[:maxIndexed]), 4)
}

// withoutNUL has spaces in place of NUL. A text index of FerretDB 2.7 (DocumentDB) refuses now and then a text with NUL in
// it, and the message with it: "invalid byte sequence for encoding UTF8".
func withoutNUL(s string) string { return strings.ReplaceAll(s, "\x00", " ") }

// dropUnits removes the last n UTF-16 units.
func dropUnits(s string, n int) string {
	for n > 0 && s != "" {
		r, size := utf8.DecodeLastRuneInString(s)
		n -= max(1, utf16.RuneLen(r))
		s = s[:len(s)-size]
	}
	return s
}

// Subject is the member subject: decoded, with white space collapsed.
func (p *Prefixed) Subject() string {
	v := p.Parsed.get("subject")
	if v == nil {
		return ""
	}
	return strings.Join(strings.Fields(decodeWords(v.last())), " ")
}

// MessageID is the Message-ID as it stands, "" when there is none.
func (p *Prefixed) MessageID() string {
	if v := p.Parsed.get("message-id"); v != nil {
		return v.text
	}
	return ""
}

// Date is the Date field, zero when it is missing or cannot be read.
func (p *Prefixed) Date() time.Time {
	v := p.Parsed.get("date")
	if v == nil {
		return time.Time{}
	}
	t, ok := message.ParseDate(v.last())
	if !ok {
		return time.Time{}
	}
	return t
}

// NewMessageID makes an id for a message that has none.
func NewMessageID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("<%x-%x-%x-%x-%x@wildduck.email>", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
