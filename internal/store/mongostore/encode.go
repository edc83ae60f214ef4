package mongostore

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// encode is a document as the driver would encode it. The driver finds out by reflection what each value is and lets its
// buffer grow again and again, which for the document of a message costs more than all the rest of its making.
func encode(doc bson.D) (bson.Raw, error) {
	return appendMembers(make([]byte, 0, encodedSize(doc)), doc)
}

// encodedSize is about how many octets a document takes: at least as many, unless it holds values that it does not know.
func encodedSize(doc bson.D) int {
	const own, value = 5, 18 // of a document, and of a member with a value of fixed size
	n := own
	for _, e := range doc {
		n += len(e.Key) + value
		switch v := e.Value.(type) {
		case string:
			n += len(v)
		case []string:
			for _, s := range v {
				n += len(s) + value
			}
		case bson.RawValue:
			n += len(v.Value)
		case bson.D:
			n += encodedSize(v)
		}
	}
	return n
}

func appendMembers(dst []byte, doc bson.D) ([]byte, error) {
	idx, dst := bsoncore.AppendDocumentStart(dst)
	for _, e := range doc {
		if strings.IndexByte(e.Key, 0) >= 0 {
			return nil, fmt.Errorf("encode %q: the name of a member may not hold NUL", e.Key)
		}
		var err error
		if dst, err = appendMember(dst, e.Key, e.Value); err != nil {
			return nil, err
		}
	}
	return bsoncore.AppendDocumentEnd(dst, idx)
}

func appendMember(dst []byte, key string, value any) ([]byte, error) {
	switch v := value.(type) {
	case string:
		return bsoncore.AppendStringElement(dst, key, v), nil
	case bool:
		return bsoncore.AppendBooleanElement(dst, key, v), nil
	case int32:
		return bsoncore.AppendInt32Element(dst, key, v), nil
	case int64:
		return appendInteger(dst, key, v), nil
	case int:
		return appendInteger(dst, key, int64(v)), nil
	case float64:
		return bsoncore.AppendDoubleElement(dst, key, v), nil
	case bson.ObjectID:
		return bsoncore.AppendObjectIDElement(dst, key, v), nil
	case bson.DateTime:
		return bsoncore.AppendDateTimeElement(dst, key, int64(v)), nil
	case bson.RawValue:
		return bsoncore.AppendValueElement(dst, key, bsoncore.Value{Type: bsoncore.Type(v.Type), Data: v.Value}), nil
	case bson.D:
		return appendMembers(bsoncore.AppendHeader(dst, bsoncore.TypeEmbeddedDocument, key), v)
	case bson.A:
		return appendArray(dst, key, v)
	case []string:
		return appendArray(dst, key, v)
	}
	return appendOther(dst, key, value)
}

// appendInteger appends a number of 32 bits when it fits, as the driver is told to.
func appendInteger(dst []byte, key string, n int64) []byte {
	if n >= math.MinInt32 && n <= math.MaxInt32 {
		return bsoncore.AppendInt32Element(dst, key, int32(n))
	}
	return bsoncore.AppendInt64Element(dst, key, n)
}

func appendArray[E any](dst []byte, key string, values []E) ([]byte, error) {
	idx, dst := bsoncore.AppendArrayElementStart(dst, key)
	for i, v := range values {
		var err error
		if dst, err = appendMember(dst, strconv.Itoa(i), v); err != nil {
			return nil, err
		}
	}
	return bsoncore.AppendArrayEnd(dst, idx)
}

// appendOther appends a value of any other type as the driver does.
func appendOther(dst []byte, key string, value any) ([]byte, error) {
	var b bytes.Buffer
	enc := bson.NewEncoder(bson.NewDocumentWriter(&b))
	enc.IntMinSize()
	enc.NilSliceAsEmpty()
	if err := enc.Encode(bson.D{{Key: key, Value: value}}); err != nil {
		return nil, fmt.Errorf("encode %s: %w", key, err)
	}
	const length, end = 4, 1
	return append(dst, b.Bytes()[length:b.Len()-end]...), nil
}
