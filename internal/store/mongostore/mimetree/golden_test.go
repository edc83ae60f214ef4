package mimetree

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
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
				texts, err := tree.Texts()
				if err != nil {
					t.Fatal(err)
				}
				sameTexts(t, texts, g.doc)
				sameAttachments(t, tree, g.doc)
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

func sameTexts(t *testing.T, got Texts, doc bson.Raw) {
	t.Helper()
	str := func(key string) string { s, _ := doc.Lookup(key).StringValueOK(); return s }
	for key, got := range map[string]string{"text": got.Text, "textFooter": got.Footer, "intro": got.Intro} {
		same(t, key, text(got), text(str(key)))
	}
	want, _ := doc.Lookup("html").ArrayOK()
	values, _ := want.Values()
	if len(values) != len(got.HTML) {
		t.Errorf("%d parts of HTML, want %d: %q", len(got.HTML), len(values), got.HTML)
		return
	}
	for i, v := range values {
		same(t, "html", text(got.HTML[i]), v)
	}
}

// sameAttachments compares the lists, names aside that were made up at random.
func sameAttachments(t *testing.T, tree *Tree, doc bson.Raw) {
	t.Helper()
	list := tree.Attachments()
	values, _ := func() ([]bson.RawValue, error) { a, _ := doc.Lookup("attachments").ArrayOK(); return a.Values() }()
	if len(values) != len(list) {
		t.Errorf("%d attachments, want %d", len(list), len(values))
		return
	}
	hashes := map[string]string{}
	ha := false
	for i, v := range values {
		d := v.Document()
		if h, ok := d.Lookup("fileContentHash").StringValueOK(); ok {
			hashes[list[i].ID] = h
		}
		ha = ha || !list[i].Related
		name := d.Lookup("filename").StringValue()
		if madeUp := regexp.MustCompile(`^[0-9a-f]{8}(\.[a-z]+)$`); madeUp.MatchString(name) {
			if !madeUp.MatchString(list[i].Filename) || filepath.Ext(name) != filepath.Ext(list[i].Filename) {
				t.Errorf("name %q, want one like %q", list[i].Filename, name)
			}
			list[i].Filename = name
		}
	}
	if len(list) > 0 {
		same(t, "attachments", AppendAttachments(list, hashes), doc.Lookup("attachments"))
	}
	if ha != doc.Lookup("ha").Boolean() {
		t.Errorf("ha is %v", ha)
	}
}
