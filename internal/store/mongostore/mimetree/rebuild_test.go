package mimetree

import (
	"bytes"
	"crypto/sha256"
	"os"
	"strings"
	"testing"
)

// stored is what a body comes back as after it was kept as WildDuck keeps it.
func stored(t testing.TB, raw []byte, n *Node) []byte {
	if n.AttachmentID == "" {
		return n.Body
	}
	body := Normalize(raw[n.Start:n.End], false)
	line, decode := LineLength(body, n.Size, n.LineCount)
	if !decode || n.TransferEncoding() != "base64" {
		return body
	}
	var d Decoder
	data := d.Finish(d.Append(nil, body))
	var w bytes.Buffer
	size := EncodedLen(int64(len(data)), line)
	e, from := NewEncoder(&w, int64(len(data)), line, 0, size)
	if _, err := e.Write(data[from:]); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if int64(w.Len()) != size {
		t.Errorf("%d octets in lines of %d are %d, not %d as computed", len(data), line, w.Len(), size)
	}
	return w.Bytes()
}

func rebuilt(t testing.TB, raw []byte, tree *Tree, header []string) []byte {
	var out []byte
	for _, p := range tree.Root.Pieces(header) {
		if p.Body != nil {
			out = append(out, stored(t, raw, p.Body)...)
		} else {
			out = append(out, p.Text...)
		}
	}
	return out
}

// What WildDuck gave back through IMAP, cut or padded to the size, and through its API as it was.
func TestGoldenRebuild(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			tree := g.parse(t, true)
			p := tree.Prefixed(g.prefix)
			got := rebuilt(t, g.raw, tree, p.Header)
			want, err := os.ReadFile("testdata/golden/" + g.name + ".api")
			if err != nil {
				t.Skip(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got %q\nwant %q", got, want)
			}
			size := tree.Root.RuledSize(p.Header)
			if int64(len(got)) > size {
				got = got[:size]
			}
			got = append(got, strings.Repeat(" ", int(size)-len(got))...)
			want, err = os.ReadFile("testdata/golden/" + g.name + ".body")
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("cut to %d: got %q\nwant %q", size, got, want)
			}
			for i, n := range tree.Cut {
				sum := sha256.Sum256(Normalize(g.raw[n.Start:n.End], false))
				_, refs, _ := Decode(g.doc.Lookup("mimeTree").Document())
				if i >= len(refs) || !bytes.Equal(sum[:], refs[i].File) {
					t.Errorf("%s has another hash", n.AttachmentID)
				}
			}
		})
	}
}
