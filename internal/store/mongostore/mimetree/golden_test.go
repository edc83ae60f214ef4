package mimetree

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// golden is a message that a running WildDuck stored: what was sent to it and the document that it made.
type golden struct {
	name   string
	raw    []byte // as it was sent
	prefix []byte // what the delivery put before it
	doc    bson.Raw
}

func goldens(t testing.TB) []golden {
	text, err := os.ReadFile("testdata/golden/delivered.json")
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
	var out []golden
	for _, r := range rows {
		g := golden{name: r.EML}
		if g.raw, err = os.ReadFile(filepath.Join("testdata/golden", r.EML+".eml")); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(g.raw, []byte("\r\n")) {
			g.raw = append(g.raw, "\r\n"...) // the client that sent it did so
		}
		if err := bson.UnmarshalExtJSON(r.Document, true, &g.doc); err != nil {
			t.Fatalf("%s: %v", r.EML, err)
		}
		header, err := decodeStrings(g.doc.Lookup("mimeTree", "header"))
		if err != nil || len(header) < 2 {
			t.Fatalf("%s: %v", r.EML, err)
		}
		g.prefix = []byte(header[0] + "\r\n" + header[1] + "\r\n")
		out = append(out, g)
	}
	return out
}

func (g golden) parse(t testing.TB, inMemory bool) *Tree {
	var mem []byte
	if inMemory {
		mem = g.raw
	}
	tree, err := Parse(bytes.NewReader(g.raw), int64(len(g.raw)), mem)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// show is a value for comparison, types of numbers included.
func show(t testing.TB, v bson.RawValue) string {
	text, err := bson.MarshalExtJSON(bson.D{{Key: "v", Value: v}}, true, false)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func same(t *testing.T, what string, got, want bson.RawValue) {
	t.Helper()
	g, w := show(t, got), show(t, want)
	if g == w {
		return
	}
	i := 0
	for i < len(g) && i < len(w) && g[i] == w[i] {
		i++
	}
	from := max(0, i-120)
	t.Errorf("%s:\n got …%s\nwant …%s", what, g[from:min(len(g), i+200)], w[from:min(len(w), i+200)])
}

func text(s string) bson.RawValue {
	typ, value, _ := bson.MarshalValue(s)
	return bson.RawValue{Type: typ, Value: value}
}

// The documents of WildDuck are made again, member by member.
func TestGolden(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			for _, inMemory := range []bool{true, false} {
				tree := g.parse(t, inMemory)
				p := tree.Prefixed(g.prefix)
				_, refs, err := Decode(g.doc.Lookup("mimeTree").Document())
				if err != nil {
					t.Fatal(err)
				}
				same(t, "mimeTree", tree.MimeTree(p, refs), g.doc.Lookup("mimeTree"))
				same(t, "envelope", p.Envelope(), g.doc.Lookup("envelope"))
				same(t, "bodystructure", tree.BodyStructure(), g.doc.Lookup("bodystructure"))
				same(t, "headers", p.Index(), g.doc.Lookup("headers"))
				same(t, "subject", text(p.Subject()), g.doc.Lookup("subject"))
				if id := p.MessageID(); id != "" {
					same(t, "msgid", text(id), g.doc.Lookup("msgid"))
				}
				if size := tree.Root.RuledSize(p.Header); size != g.doc.Lookup("size").AsInt64() {
					t.Errorf("size %d, want %d", size, g.doc.Lookup("size").AsInt64())
				}
				date := p.Date()
				if date.IsZero() {
					date = g.doc.Lookup("idate").Time()
				}
				if want := g.doc.Lookup("hdate").Time(); !date.Equal(want) {
					t.Errorf("hdate %v, want %v", date, want)
				}
			}
		})
	}
}
