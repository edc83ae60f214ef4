package mongostore

import (
	"bytes"
	"context"
	"io"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/store"
)

// FuzzVerbatim takes a message apart and puts it together again, as it would be if it went through the database.
func FuzzVerbatim(f *testing.F) {
	for _, raw := range unusual(f) {
		if len(raw) < 20_000 {
			f.Add(raw, false, uint8(0))
			f.Add(raw, true, uint8(76))
			f.Add(raw, true, uint8(61))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, prefixed bool, line uint8) {
		s := &Store{}
		s.o.setDefaults()
		staged0, err := s.Stage(t.Context(), contentOf(raw))
		if err != nil {
			t.Fatal(err)
		}
		st := staged0.(*staged)
		var prefix []byte
		if prefixed {
			prefix = []byte("Delivered-To: a@b.test\r\nReturn-Path: <>\r\n")
		}
		p, err := s.prepare(t.Context(), st, prefix)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{}
		if p.fields == nil || line%2 == 1 {
			storeInMemory(t, p, files, int(line))
		}
		raw0, err := bson.Marshal(p.fields)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.openBody(t.Context(), raw0)
		if err != nil {
			t.Fatal(err)
		}
		b.read = func(_ context.Context, w io.Writer, id []byte, off, n int64) error {
			data := files[string(id)]
			_, err := w.Write(data[off : off+n])
			return err
		}
		want := append(bytes.Clone(prefix), raw...)
		var got bytes.Buffer
		if err := b.WriteRange(&got, 0, b.Size()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Fatal(difference(got.Bytes(), want))
		}
		for from := 0; from < len(want); from += 1 + len(want)/7 {
			to := from + (len(want)-from)/2
			got.Reset()
			if err := b.WriteRange(&got, int64(from), int64(to-from)); err != nil || !bytes.Equal(got.Bytes(), want[from:to]) {
				t.Fatalf("%d to %d: %s (%v)", from, to, difference(got.Bytes(), want[from:to]), err)
			}
		}
		if d, err := s.described(t.Context(), raw0, store.FieldHeader); err != nil || !bytes.Equal(d.header, append(bytes.Clone(prefix), contentOf(raw).Header...)) {
			t.Fatalf("header %q (%v)", d.header, err)
		}
	})
}

// storeInMemory completes a message as storeAttachments does. With a length of lines, files are kept decoded that are not
// meant to be. With an odd one what is behind the header is a file of its own.
func storeInMemory(t *testing.T, p *prepared, files map[string][]byte, line int) {
	st := p.st
	leaves := append([]leaf(nil), st.leaves...)
	var all []*attached
	keep := func(a *attached) {
		var w bytes.Buffer
		if err := a.open(st.src, &w); err != nil {
			t.Fatal(err)
		}
		files[string(a.id[:])] = w.Bytes()
		all = append(all, a)
	}
	for _, a := range st.files {
		k := a.kept
		if line > 0 && a.encoding == "base64" && k.line == 0 {
			var w bytes.Buffer
			if err := decodeTo(&w, encoded(st.src, a.node)); err != nil {
				t.Fatal(err)
			}
			k = kept{line: line, length: int64(w.Len())}
		}
		b, err := a.keptAs(k, leaves, st.src)
		if err != nil {
			t.Fatal(err)
		}
		keep(b)
	}
	d := st.edits(leaves, p.prefixed, p.prefix)
	edits := d.all
	raw := st.needsRaw(edits)
	if line%2 == 1 {
		raw = &attached{raw: span{int64(len(st.gaps[0])), st.size}}
	}
	if raw != nil {
		a, err := rawFacts(st.src, raw.raw)
		if err != nil {
			t.Fatal(err)
		}
		keep(a)
		edits = d.withRaw(st)
	}
	if err := p.complete(all, nil, edits); err != nil {
		t.Fatal(err)
	}
}
