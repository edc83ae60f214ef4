package mongostore

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/store"
)

// describer stands for the parser: what it says of a message is the message.
type describer struct{ calls int }

func (d *describer) describe(_ context.Context, source io.ReaderAt, size int64) (*store.Content, error) {
	d.calls++
	raw := make([]byte, size)
	if n, err := source.ReadAt(raw, 0); int64(n) < size {
		return nil, err
	}
	c := contentOf(raw)
	c.Tree, c.Envelope = raw, []byte("envelope")
	return c, nil
}

// wildduckMessages stores messages that WildDuck wrote, with their attachments, and returns their documents by name.
func wildduckMessages(t *testing.T, s *Store) map[string]bson.Raw {
	text, err := os.ReadFile("mimetree/testdata/golden/delivered.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		EML      string          `json:"eml"`
		Document json.RawMessage `json:"document"`
	}
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	insertAll(t, s.files(), golden(t, "attachments.files"))
	insertAll(t, s.chunks(), golden(t, "attachments.chunks"))
	out := map[string]bson.Raw{}
	c := s.db.main.Collection(colMessages)
	for i, r := range rows {
		var doc bson.D
		if err := bson.UnmarshalExtJSON(r.Document, true, &doc); err != nil {
			t.Fatal(err)
		}
		id := bson.NewObjectID()
		doc = append(bson.D{{Key: "_id", Value: id}, {Key: "mailbox", Value: bson.ObjectID{1}}, {Key: "uid", Value: i + 1}}, doc...)
		if _, err := c.InsertOne(t.Context(), doc); err != nil {
			t.Fatal(err)
		}
		out[r.EML] = only(t, c, bson.D{{Key: "_id", Value: id}})
	}
	return out
}

// A message that WildDuck wrote is what WildDuck's IMAP server gives out. It is described once.
func TestWildDuckMessages(t *testing.T) {
	var d describer
	s := openStore(t, func(o *Options) { o.Describe = d.describe })
	for name, doc := range wildduckMessages(t, s) {
		want, err := os.ReadFile("mimetree/testdata/golden/" + name + ".body")
		if err != nil {
			t.Fatal(err)
		}
		for round := range 2 {
			if got := s.readForTest(t, doc); !bytes.Equal(got, want) {
				t.Errorf("%s: %s", name, difference(got, want))
			}
			d.calls = 0
			x, err := s.described(t.Context(), doc, store.FieldTree|store.FieldEnvelope|store.FieldHeader)
			if err != nil {
				t.Fatal(err)
			}
			if d.calls != 1-round {
				t.Errorf("%s: described %d times in round %d", name, d.calls, round)
			}
			if !bytes.Equal(x.tree, want) || string(x.envelope) != "envelope" || x.size != int64(len(want)) || x.prefixLen != 0 || !bytes.Equal(x.header, contentOf(want).Header) {
				t.Errorf("%s, round %d: described as %+v", name, round, x)
			}
			doc = only(t, s.db.main.Collection(colMessages), bson.D{{Key: "_id", Value: doc.Lookup("_id")}})
		}
	}
}

// When WildDuck changes a message, what was known of it is found out anew: a draft that is sent gets a date, written by
// WildDuck or by us.
func TestChangedByWildDuck(t *testing.T) {
	var d describer
	s := openStore(t, func(o *Options) { o.Describe = d.describe })
	ours, _ := s.insertForTest(t, contentOf([]byte("Subject: draft\r\n\r\nbare\nline")), "")
	theirs := wildduckMessages(t, s)["m01-plain"]
	for name, doc := range map[string]bson.Raw{"ours": ours, "theirs": theirs} {
		if _, err := s.described(t.Context(), doc, store.FieldTree); err != nil {
			t.Fatal(err)
		}
		c := s.db.main.Collection(colMessages)
		id := bson.D{{Key: "_id", Value: doc.Lookup("_id")}}
		const line = "Date: Fri, 27 Nov 2026 00:00:00 +0000"
		_, err := c.UpdateOne(t.Context(), id, bson.D{
			{Key: "$push", Value: bson.D{{Key: "mimeTree.header", Value: line}}},
			{Key: "$inc", Value: bson.D{{Key: "size", Value: len(line) + 2}}}, {Key: "$set", Value: bson.D{{Key: "hdate", Value: time.UnixMilli(1)}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		doc = only(t, c, id)
		got := s.readForTest(t, doc)
		if !bytes.Contains(got, []byte(line+"\r\n\r\n")) || int64(len(got)) != integer(doc.Lookup("size")) {
			t.Errorf("%s: the message is %q", name, got)
		}
		m, err := hot(doc)
		if err != nil || m.Size != int64(len(got)) || verbatimSize(doc) != m.Size {
			t.Errorf("%s: size %d of %d", name, m.Size, len(got))
		}
		x, err := s.described(t.Context(), doc, store.FieldTree|store.FieldHeader)
		if err != nil || !bytes.Equal(x.tree, got) {
			t.Errorf("%s: described as %+v (%v)", name, x, err)
		}
		doc = only(t, c, id)
		if again := s.readForTest(t, doc); !bytes.Equal(again, got) {
			t.Errorf("%s: then it is %q", name, again)
		}
	}
}

// A file that is gone is an empty body in what WildDuck wrote, as there, and damage in what we did.
func TestMissingFile(t *testing.T) {
	s := openStore(t)
	theirs := wildduckMessages(t, s)["m05-mixed"]
	ours, _ := s.insertForTest(t, contentOf(mixed("\r\n", wrapped(random(1000, 1), 76, "\r\n"))), "")
	for _, c := range []interface{ Name() string }{s.files(), s.chunks()} {
		if err := s.db.gridfs.Collection(c.Name()).Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.readForTest(t, theirs); int64(len(got)) != integer(theirs.Lookup("size")) || !bytes.HasSuffix(got, []byte("--mix5--\r\n   "+string(bytes.Repeat([]byte(" "), 1264+558-3)))) {
		t.Errorf("read as %q", got)
	}
	b, err := s.openBody(t.Context(), ours)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WriteRange(io.Discard, 0, b.Size()); err == nil {
		t.Error("a message without its attachment is read")
	}
}

// What is too long for a document is found out when it is asked for.
func TestLongDescription(t *testing.T) {
	var d describer
	s := openStore(t, func(o *Options) { o.Describe = d.describe })
	raw := []byte("Subject: x\r\n\r\ntext")
	c := contentOf(raw)
	c.Tree = bytes.Repeat([]byte("t"), maxDescribed)
	doc, _ := s.insertForTest(t, c, "P: 1\r\n")
	for range 2 {
		x, err := s.described(t.Context(), doc, store.FieldTree|store.FieldHeader|store.FieldEnvelope)
		if err != nil || !bytes.Equal(x.tree, raw) || string(x.header) != "P: 1\r\nSubject: x\r\n\r\n" || x.prefixLen != 6 || x.size != int64(len(raw)+6) {
			t.Errorf("described as %+v (%v)", x, err)
		}
		doc = only(t, s.db.main.Collection(colMessages), bson.D{{Key: "_id", Value: doc.Lookup("_id")}})
	}
	if d.calls != 2 {
		t.Errorf("described %d times", d.calls)
	}
}
