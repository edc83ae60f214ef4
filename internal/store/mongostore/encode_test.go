package mongostore

import (
	"bytes"
	"math"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// What is encoded here is what the driver makes of it, octet for octet.
func TestEncode(t *testing.T) {
	raw, err := bson.Marshal(bson.D{{Key: "x", Value: bson.A{1, "y"}}})
	must(t, err)
	long := make(bson.A, 120)
	for i := range long {
		long[i] = i
	}
	doc := bson.D{
		{Key: "string", Value: "text \x00 \u00fc"}, {Key: "true", Value: true}, {Key: "false", Value: false}, {Key: "null", Value: nil},
		{Key: "int", Value: 7}, {Key: "int of 64", Value: math.MaxInt32 + 1}, {Key: "int32", Value: int32(-3)}, {Key: "small", Value: int64(math.MinInt32)},
		{Key: "int64", Value: int64(math.MinInt32 - 1)}, {Key: "double", Value: 1.5}, {Key: "id", Value: bson.NewObjectID()},
		{Key: "date", Value: bson.DateTime(1795339472236)}, {Key: "time", Value: time.UnixMilli(1795339472236)},
		{Key: "document", Value: bson.D{{Key: "a", Value: bson.D{}}, {Key: "b", Value: bson.A{}}}}, {Key: "array", Value: long},
		{Key: "strings", Value: []string{"a", ""}}, {Key: "no strings", Value: []string(nil)}, {Key: "no array", Value: bson.A(nil)}, {Key: "no document", Value: bson.D(nil)},
		{Key: "raw", Value: bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: raw}}, {Key: "raw document", Value: bson.Raw(raw)},
		{Key: "binary", Value: []byte{0, 1}}, {Key: "no binary", Value: []byte(nil)}, {Key: "pattern", Value: bson.Regex{Pattern: "a", Options: "i"}}, {Key: "", Value: uint8(200)},
		{Key: "ids", Value: []bson.ObjectID{bson.NewObjectID()}}, {Key: "other", Value: mailFlags(3)},
	}
	got, err := encode(doc)
	must(t, err)
	var want bytes.Buffer
	enc := bson.NewEncoder(bson.NewDocumentWriter(&want))
	enc.IntMinSize()
	enc.NilSliceAsEmpty()
	must(t, enc.Encode(doc))
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("it is\n%v\nwant\n%v", got, bson.Raw(want.Bytes()))
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	known := doc[:14]
	if got, err = encode(known); err != nil || encodedSize(known) < len(got) || encodedSize(known) > 2*len(got) {
		t.Errorf("%d octets for %d, %v", encodedSize(known), len(got), err)
	}
	for _, bad := range []bson.E{{Key: "function", Value: func() {}}, {Key: "a\x00b", Value: 1}, {Key: "in", Value: bson.A{bson.D{{Key: "\x00"}}}}} {
		if _, err := encode(bson.D{bad}); err == nil {
			t.Errorf("%q: what has no form in the database is encoded", bad.Key)
		}
	}
}

// mailFlags is a type of its own with the form of another.
type mailFlags int64
