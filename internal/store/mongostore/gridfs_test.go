package mongostore

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The files of attachments are those that WildDuck made of the same messages, chunks included.
func TestFilesAsWildDuck(t *testing.T) {
	s := openStore(t)
	names, err := os.ReadDir("mimetree/testdata/golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if name, ok := strings.CutSuffix(n.Name(), ".eml"); ok {
			raw, err := os.ReadFile("mimetree/testdata/golden/" + name + ".eml")
			if err != nil {
				t.Fatal(err)
			}
			s.insertForTest(t, contentOf(raw), "")
		}
	}
	compared := 0
	chunks := golden(t, "attachments.chunks")
	for _, want := range golden(t, "attachments.files") {
		_, id, _ := want.Lookup("_id").BinaryOK()
		got, err := s.files().FindOne(t.Context(), bson.D{{Key: "_id", Value: fileID(id)}}).Raw()
		if err != nil {
			continue // of a message that came another way
		}
		compared++
		if got, want := fixed(t, got), fixed(t, want); !bytes.Equal(got, want) {
			t.Errorf("the file is\n%v\nwant\n%v", got, want)
		}
		for _, c := range chunks {
			if _, of, _ := c.Lookup("files_id").BinaryOK(); !bytes.Equal(of, id) {
				continue
			}
			chunk := only(t, s.chunks(), bson.D{{Key: "files_id", Value: fileID(id)}, {Key: "n", Value: c.Lookup("n")}})
			if !chunk.Lookup("data").Equal(c.Lookup("data")) {
				t.Errorf("the chunk is %v, want %v", chunk, c)
			}
		}
	}
	if compared < 20 {
		t.Errorf("only %d files were compared", compared)
	}
}

// fixed is a file's document without what differs from time to time.
func fixed(t *testing.T, doc bson.Raw) bson.Raw {
	var d bson.D
	if err := bson.Unmarshal(doc, &d); err != nil {
		t.Fatal(err)
	}
	var out bson.D
	for _, e := range d {
		switch e.Key {
		case "uploadDate":
		case "contentType": // of whichever message was first
		case "metadata":
			var meta bson.D
			for _, m := range e.Value.(bson.D) {
				if m.Key != "m" && m.Key != "c" && m.Key != "cu" {
					meta = append(meta, m)
				}
			}
			out = append(out, bson.E{Key: e.Key, Value: meta})
		default:
			out = append(out, e)
		}
	}
	raw, err := bson.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Where an operator wants it so, base64 is kept as it is.
func TestKeepEncoded(t *testing.T) {
	s := openStore(t, func(o *Options) { o.KeepEncoded = true })
	raw := mixed("\r\n", wrapped(random(1000, 1), 76, "\r\n"))
	doc, p := s.insertForTest(t, contentOf(raw), "")
	if got := s.readForTest(t, doc); !bytes.Equal(got, raw) {
		t.Error(difference(got, raw))
	}
	file := only(t, s.files(), bson.D{{Key: "_id", Value: fileID(p.refs.ids[0])}})
	if _, err := file.LookupErr("metadata", "decoded"); err == nil || integer(file.Lookup("length")) != integer(file.Lookup("metadata", "esize")) {
		t.Errorf("the file is %v", file)
	}
}
