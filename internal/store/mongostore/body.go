package mongostore

import (
	"bytes"
	"context"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store/mongostore/mimetree"
)

// body is the verbatim content of a message: stretches one after the other, cut or padded with spaces to its size.
type body struct {
	s    *Store
	ctx  context.Context
	read func(ctx context.Context, w io.Writer, id []byte, off, n int64) error // of a file
	segs []stretch
	size int64
	kept []kept // of the entries of attachmentMap; nil unless all are there
}

// stretch is octets in memory, or part of a file, or others with CRLF made LF.
type stretch struct {
	start int64 // in the body
	size  int64
	text  []byte
	file  *storedFile
	off   int64     // where in the file's body the stretch begins
	lf    []stretch // what the octets are made from
}

// storedFile is a file in GridFS.
type storedFile struct {
	id   []byte
	kept kept
}

// openBody gives the verbatim content of a document with the members of bodyFields. The body stays readable when the
// document is gone; its attachments are read from GridFS, where they live for at least a day without references.
func (s *Store) openBody(ctx context.Context, doc bson.Raw) (*body, error) {
	doc = bytes.Clone(doc)
	tree, _ := doc.Lookup("mimeTree").DocumentOK()
	root, refs, err := mimetree.Decode(tree)
	if err != nil {
		return nil, mail.WrapError(mail.CodeCorrupt, "the message cannot be read", err)
	}
	b := &body{s: s, ctx: context.WithoutCancel(ctx), read: s.readFile}
	own := ownOf(doc)
	if own != nil && own.headerSum != headerSum(root.Header) {
		own = nil
	}
	rebuilt := own == nil || own.rebuilt
	files, err := b.findFiles(own, refs)
	if err != nil {
		return nil, err
	}
	for _, r := range refs {
		if f := files[r.ID]; f != nil {
			b.kept = append(b.kept, f.kept)
		}
	}
	if len(b.kept) < len(refs) {
		b.kept = nil
	}
	var stream []stretch
	for _, p := range root.Pieces(root.Header) {
		stream = append(stream, pieceStretch(p, files))
	}
	if rebuilt {
		b.size = integer(doc.Lookup("size"))
	} else {
		b.size = own.verbatim
		stream = own.apply(stream, files)
	}
	for i := range stream {
		if i > 0 {
			stream[i].start = stream[i-1].start + stream[i-1].size
		}
	}
	b.segs = stream
	return b, nil
}

// pieceStretch is a piece as it is in the database.
func pieceStretch(p mimetree.Piece, files map[string]*storedFile) stretch {
	if p.Body == nil {
		return stretch{text: p.Text, size: int64(len(p.Text))}
	}
	if p.Body.AttachmentID == "" {
		return stretch{text: p.Body.Body, size: int64(len(p.Body.Body))}
	}
	f := files[p.Body.AttachmentID]
	if f == nil {
		return stretch{} // what WildDuck makes of a file that is missing
	}
	return stretch{file: f, size: f.kept.rebuiltLen()}
}

// findFiles finds out how the files of a message are kept.
func (b *body) findFiles(own *ownMembers, refs []mimetree.Reference) (map[string]*storedFile, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	out := make(map[string]*storedFile, len(refs))
	if own != nil && len(own.kept) == len(refs) {
		for i, r := range refs {
			out[r.ID] = &storedFile{r.File, own.kept[i]}
		}
		return out, nil
	}
	ids := make(bson.A, len(refs))
	for i, r := range refs {
		ids[i] = fileID(r.File)
	}
	fields := append(keptFields(), bson.E{Key: "_id", Value: 1})
	cursor, err := b.s.files().Find(b.ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, options.Find().SetProjection(fields))
	if err != nil {
		return nil, readError("read the attachments of a message", err)
	}
	defer cursor.Close(b.ctx)
	for cursor.Next(b.ctx) {
		_, id, _ := cursor.Current.Lookup("_id").BinaryOK()
		k := keptOf(cursor.Current)
		for _, r := range refs {
			if bytes.Equal(r.File, id) {
				out[r.ID] = &storedFile{r.File, k}
			}
		}
	}
	return out, readError("read the attachments of a message", cursor.Err())
}

// Size implements store.Body.
func (b *body) Size() int64 { return b.size }

// Close implements store.Body.
func (b *body) Close() error { return nil }

// WriteRange implements store.Body.
func (b *body) WriteRange(w io.Writer, off, n int64) error {
	if off < 0 || n < 0 || off > b.size || n > b.size-off {
		return mail.NewError(mail.CodeInvalid, "the range lies outside of the message")
	}
	left, err := b.writeStretches(w, b.segs, off, n)
	if err != nil {
		return err
	}
	return pad(w, left)
}

// pad writes spaces.
func pad(w io.Writer, n int64) error {
	spaces := bytes.Repeat([]byte{' '}, int(min(n, 4096)))
	for n > 0 {
		k := min(n, int64(len(spaces)))
		if _, err := w.Write(spaces[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// writeStretches writes n octets from off on and returns how many there were not.
func (b *body) writeStretches(w io.Writer, segs []stretch, off, n int64) (left int64, err error) {
	for i := range segs {
		g := &segs[i]
		skip := off - g.start
		if n == 0 || skip < 0 || skip >= g.size {
			continue
		}
		k := min(n, g.size-skip)
		if err := b.writeStretch(w, g, skip, k); err != nil {
			return n, err
		}
		off += k
		n -= k
	}
	return n, nil
}

func (b *body) writeStretch(w io.Writer, g *stretch, skip, n int64) error {
	switch {
	case g.lf != nil:
		return b.writeLF(w, g, skip, n)
	case g.file == nil:
		_, err := w.Write(g.text[skip : skip+n])
		return err
	}
	return b.writeFile(w, g.file, g.off+skip, n)
}

// writeFile writes a part of a file's body.
func (b *body) writeFile(w io.Writer, f *storedFile, off, n int64) error {
	if f.kept.line == 0 {
		return b.read(b.ctx, w, f.id, off, n)
	}
	e, from := mimetree.NewEncoder(w, f.kept.length, f.kept.line, off, n)
	chars := (off+n)/4 + 1 // no fewer quanta than that are needed
	to := min(f.kept.length, max(from, chars*3+3))
	if err := b.read(b.ctx, e, f.id, from, to-from); err != nil {
		return err
	}
	return e.Close()
}

// writeLF writes a part of what stretches are with LF in place of CRLF. It has to read them from their beginning.
func (b *body) writeLF(w io.Writer, g *stretch, skip, n int64) error {
	z := &lineFeeds{w: w, skip: skip, left: n}
	end := g.lf[len(g.lf)-1]
	if _, err := b.writeStretches(z, g.lf, 0, end.start+end.size); err != nil && err != errEnough {
		return err
	}
	return z.finish()
}

// errEnough ends the reading of what is not needed.
var errEnough = io.ErrShortWrite

// lineFeeds writes a part of what it is told, with LF in place of CRLF.
type lineFeeds struct {
	w          io.Writer
	skip, left int64
	cr         bool
	buf        []byte
}

func (z *lineFeeds) Write(p []byte) (int, error) {
	if z.left == 0 {
		return 0, errEnough
	}
	z.buf = z.buf[:0]
	for _, c := range p {
		if z.cr && c != '\n' {
			z.buf = append(z.buf, '\r')
		}
		if z.cr = c == '\r'; !z.cr {
			z.buf = append(z.buf, c)
		}
	}
	return len(p), z.put(z.buf)
}

func (z *lineFeeds) put(b []byte) error {
	b = b[min(z.skip, int64(len(b))):]
	z.skip -= int64(len(z.buf) - len(b))
	b = b[:min(z.left, int64(len(b)))]
	z.left -= int64(len(b))
	_, err := z.w.Write(b)
	return err
}

// finish writes the CR that was held back.
func (z *lineFeeds) finish() error {
	if !z.cr || z.left == 0 {
		return nil
	}
	z.buf = append(z.buf[:0], '\r')
	return z.put(z.buf)
}
