package mimetree

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// Envelope is the member envelope of a document.
func (p *Prefixed) Envelope() bson.RawValue {
	idx, dst := bsoncore.AppendArrayStart(make([]byte, 0, 512))
	dst = p.Parsed.appendEnvelope(dst)
	dst, _ = bsoncore.AppendArrayEnd(dst, idx)
	return bson.RawValue{Type: bson.TypeArray, Value: dst}
}

func (h ParsedHeader) appendEnvelope(dst []byte) []byte {
	if date := h.get("date"); date != nil {
		dst = date.appendTo(dst, "0")
	} else {
		dst = bsoncore.AppendNullElement(dst, "0")
	}
	dst = bsoncore.AppendBinaryElement(dst, "1", 0, []byte(h.envelopeSubject()))
	from := h.get("from")
	dst = appendEnvelopeAddresses(dst, "2", from)
	for i, key := range []string{"sender", "reply-to"} {
		v := h.get(key)
		if v == nil || v.kind != kindAddresses {
			v = from
		}
		dst = appendEnvelopeAddresses(dst, index(3+i), v)
	}
	for i, key := range []string{"to", "cc", "bcc"} {
		dst = appendEnvelopeAddresses(dst, index(5+i), h.get(key))
	}
	for i, key := range []string{"in-reply-to", "message-id"} {
		if v := h.get(key); v != nil && v.text != "" {
			dst = bsoncore.AppendStringElement(dst, index(8+i), v.text)
		} else {
			dst = bsoncore.AppendNullElement(dst, index(8+i))
		}
	}
	return dst
}

// envelopeSubject is decoded and trimmed.
func (h ParsedHeader) envelopeSubject() string {
	v := h.get("subject")
	if v == nil {
		return ""
	}
	return strings.TrimSpace(decodeWords(v.last()))
}

func appendEnvelopeAddresses(dst []byte, key string, v *Value) []byte {
	if v == nil || v.kind != kindAddresses {
		return bsoncore.AppendNullElement(dst, key)
	}
	idx, dst := bsoncore.AppendArrayElementStart(dst, key)
	n := 0
	for _, a := range v.addrs {
		if !a.isGroup {
			dst = appendEnvelopeAddress(dst, &n, a)
			continue
		}
		dst = appendFour(dst, &n, "", "", decodeWords(a.name), "")
		for _, m := range a.group {
			dst = appendEnvelopeAddress(dst, &n, m)
		}
		dst = appendFour(dst, &n, "", "", "", "")
	}
	dst, _ = bsoncore.AppendArrayEnd(dst, idx)
	return dst
}

func appendEnvelopeAddress(dst []byte, n *int, a address) []byte {
	user, domain := userAndDomain(a.address)
	return appendFour(dst, n, decodeWords(a.name), "", user, domain)
}

// appendFour appends an address of four members; empty ones are null.
func appendFour(dst []byte, n *int, members ...string) []byte {
	idx, dst := bsoncore.AppendArrayElementStart(dst, index(*n))
	*n++
	for i, s := range members {
		if s != "" {
			dst = bsoncore.AppendBinaryElement(dst, index(i), 0, []byte(s))
		} else {
			dst = bsoncore.AppendNullElement(dst, index(i))
		}
	}
	dst, _ = bsoncore.AppendArrayEnd(dst, idx)
	return dst
}
