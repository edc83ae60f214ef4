package mongostore

import (
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func rawDoc(t *testing.T, doc bson.D) bson.Raw {
	t.Helper()
	raw, err := bson.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// WildDuck writes numbers as Int32 or Double, a server may make Int64 of them.
func TestHotReadsEveryNumber(t *testing.T) {
	id := bson.NewObjectID()
	for _, n := range []any{int32(7), int64(7), 7.0} {
		m, err := hot(rawDoc(t, bson.D{
			{Key: "_id", Value: id}, {Key: "uid", Value: n}, {Key: "modseq", Value: n}, {Key: "size", Value: n}, {Key: "magic", Value: n},
			{Key: "exp", Value: true}, {Key: "rdate", Value: n}, {Key: "thread", Value: nil}, {Key: "junk", Value: n},
		}))
		if err != nil {
			t.Fatal(err)
		}
		if m.UID != 7 || m.ModSeq != 7 || m.Size != 7 || m.Counted != 7 || m.Magic != 7 || m.Root != id || !m.Junk || m.Expires != time.UnixMilli(7).UTC() {
			t.Errorf("%T: %+v", n, m)
		}
	}
}

func TestHotSizes(t *testing.T) {
	// Once another program has made another message of it, what was noted holds no longer.
	for of, want := range map[int]int64{100: 98, 61: 100} {
		m, err := hot(rawDoc(t, bson.D{
			{Key: "size", Value: 100}, {Key: memberMallard, Value: bson.D{{Key: keySize, Value: 98}, {Key: keyOf, Value: of}}}, {Key: "rdate", Value: 5.0},
		}))
		if err != nil || m.Size != want || m.Counted != 100 || !m.Expires.IsZero() {
			t.Errorf("%+v, %v", m, err)
		}
	}
}

func TestFlagsOf(t *testing.T) {
	f := flagsOf([]string{`\Seen`, "Foo", "foo", `\Recent`, "no keyword", "", `\DELETED`})
	if want := mail.NewFlags(mail.Seen|mail.Deleted, "Foo"); f != want {
		t.Errorf("flags are %v, want %v", f.List(), want.List())
	}
}

// What WildDuck says of a message's origin reads as what Mallard says of it.
func TestMetaOfWildDuck(t *testing.T) {
	doc := rawDoc(t, bson.D{{Key: "meta", Value: bson.D{
		{Key: "source", Value: "MX"}, {Key: "to", Value: bson.A{"a@b"}}, {Key: "time", Value: time.UnixMilli(1795339455227)},
		{Key: "transactionId", Value: bson.ObjectID{1}}, {Key: "spamScore", Value: 0.5}, {Key: "custom", Value: `{"a":1}`},
		{Key: "events", Value: bson.A{bson.D{{Key: "action", Value: "IMAPCOPY"}}}}, {Key: "reference", Value: false},
	}}})
	metaData, info := metaOf(doc)
	want := `{"source":"MX","spamScore":0.5,"time":"2026-11-22T09:24:15.227Z","to":["a@b"],"transactionId":"010000000000000000000000"}`
	if metaData != `{"a":1}` || info != want {
		t.Errorf("MetaData %s, Info %s; want %s", metaData, info, want)
	}
	metaData, info = metaOf(rawDoc(t, bson.D{{Key: "meta", Value: bson.D{{Key: "custom", Value: bson.D{{Key: "k", Value: "v"}}}}}}))
	if metaData != `{"k":"v"}` || info != "" {
		t.Errorf("MetaData %s, Info %s", metaData, info)
	}
	if metaData, info = metaOf(rawDoc(t, bson.D{})); metaData != "" || info != "" {
		t.Errorf("of nothing: %q, %q", metaData, info)
	}
}

func TestFill(t *testing.T) {
	id, root := bson.NewObjectID(), bson.NewObjectID()
	doc := rawDoc(t, bson.D{
		{Key: "_id", Value: id}, {Key: "root", Value: root}, {Key: "uid", Value: 3}, {Key: "flags", Value: bson.A{"b", `\Seen`}},
		{Key: "idate", Value: time.UnixMilli(1500)}, {Key: memberMallard, Value: bson.D{{Key: keyInfo, Value: "{}"}}},
	})
	m, err := hot(doc)
	if err != nil {
		t.Fatal(err)
	}
	var row store.Row
	m.fill(&row)
	m.fillMeta(&row, doc)
	if row.ID != mail.MessageID(id) || row.EmailID != mail.EmailID(root) || row.UID != 3 || row.Info != "{}" ||
		!slices.Equal(row.Flags.List(), []string{`\Seen`, "b"}) || row.InternalDate.UnixMilli() != 1500 || row.SavedDate.Unix() != id.Timestamp().Unix() {
		t.Errorf("row is %+v", row)
	}
}
