package mongostore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store/mongostore/mimetree"
)

const (
	// maxDescribed is how many octets of what is said about a message its document holds. What is longer is found out anew
	// when it is asked for.
	maxDescribed = 3 << 20
)

// prepare makes the content's part of a document for a message with this prefix. Errors: Invalid (closed Staged).
func (s *Store) prepare(ctx context.Context, st *staged, prefix []byte) (*prepared, error) {
	if st.closed.Load() {
		return nil, mail.NewError(mail.CodeInvalid, "the message was given up")
	}
	p := &prepared{st: st, prefix: bytes.Clone(prefix), prefixed: st.tree.Prefixed(prefix), refs: references{magic: st.magic}}
	p.size = st.tree.Root.RuledSize(p.prefixed.Header)
	p.verbatim = int64(len(prefix)) + st.size
	p.hdate = p.prefixed.Date()
	if len(st.files) == 0 && st.raw == nil {
		if d := st.edits(st.leaves, p.prefixed, p.prefix); st.needsRaw(d.all) == nil {
			return p, p.complete(st.files, nil, d.all)
		}
	}
	return p, nil // storeAttachments does the rest
}

// complete makes the fields. files are the entries of attachmentMap, hashes those of their contents that documents show.
func (p *prepared) complete(files []*attached, hashes map[string]string, edits []edit) error {
	st := p.st
	if st.src != nil {
		for i := range edits {
			if err := edits[i].load(st.src); err != nil {
				return err
			}
		}
	}
	refs := make([]mimetree.Reference, len(files))
	for i, a := range files {
		refs[i] = mimetree.Reference{ID: a.key, File: a.id[:]}
	}
	f := make(bson.D, 0, 16)
	add := func(key string, value any) { f = append(f, bson.E{Key: key, Value: value}) }
	add("size", numberOf(p.size))
	add("headers", p.prefixed.Index())
	add("mimeTree", st.tree.MimeTree(p.prefixed, refs))
	add("envelope", p.prefixed.Envelope())
	add("bodystructure", st.structure)
	add("msgid", st.msgid)
	add("magic", st.magic)
	add("subject", p.prefixed.Subject())
	if len(st.attachments) > 0 {
		add("attachments", mimetree.AppendAttachments(st.attachments, hashes))
	}
	add("ha", hasAttachments(st.attachments))
	for _, t := range []struct{ key, text string }{{"text", st.texts.Text}, {"textFooter", st.texts.Footer}, {"intro", st.texts.Intro}} {
		if t.text != "" {
			add(t.key, t.text)
		}
	}
	if len(st.texts.HTML) > 0 {
		add("html", st.texts.HTML)
	}
	add(memberMallard, p.own(files, edits))
	p.fields = f
	return nil
}

func hasAttachments(list []mimetree.Attachment) bool {
	for _, a := range list {
		if !a.Related {
			return true
		}
	}
	return false
}

// own makes the member of Mallard's own.
func (p *prepared) own(files []*attached, edits []edit) bson.RawValue {
	d := &p.st.desc
	idx, dst := bsoncore.AppendDocumentStart(make([]byte, 0, 512+len(d.envelope)+len(d.bodyStructure)+len(d.tree)+len(d.summary)+len(d.signature)))
	if p.verbatim != p.size {
		dst = mimetree.AppendNumber(dst, keySize, p.verbatim)
	}
	dst = mimetree.AppendNumber(dst, keyOf, p.size)
	if !p.hdate.IsZero() {
		dst = bsoncore.AppendDateTimeElement(dst, keyDate, p.hdate.UnixMilli())
	}
	dst = bsoncore.AppendInt64Element(dst, keyHeaderSum, headerSum(p.prefixed.Header))
	if len(p.prefix) > 0 {
		dst = mimetree.AppendNumber(dst, keyPrefix, int64(len(p.prefix)))
	}
	p.signature = search.Signature(d.signature).With(search.Fold(nil, p.prefix))
	dst = d.append(dst, p.prefixed.Header, p.prefix, p.signature)
	dst = appendKept(dst, files)
	dst = appendEdits(dst, edits)
	dst, _ = bsoncore.AppendDocumentEnd(dst, idx)
	return bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: dst}
}

// append appends what is said about the message, with the signature of all of it, as far as there is room.
func (d *description) append(dst []byte, header []string, prefix []byte, signature search.Signature) []byte {
	room := maxDescribed
	put := func(key string, b []byte) {
		if room -= len(b); room >= 0 {
			dst = bsoncore.AppendBinaryElement(dst, key, 0, b)
		}
	}
	joined := mimetree.JoinHeader(header)
	if n := len(prefix) + len(d.header); n <= len(joined) && bytes.HasPrefix(joined, prefix) && bytes.Equal(joined[len(prefix):n], d.header) {
		dst = mimetree.AppendNumber(dst, keyHeader, int64(len(d.header)))
	} else {
		put(keyHeader, append(bytes.Clone(prefix), d.header...))
	}
	put(keyEnvelope, d.envelope)
	put(keySummary, d.summary)
	put(keyBodyStructure, d.bodyStructure)
	put(keyTree, d.tree)
	put(keySignature, signature)
	return dst
}

func appendKept(dst []byte, files []*attached) []byte {
	if len(files) == 0 {
		return dst
	}
	idx, dst := bsoncore.AppendArrayElementStart(dst, keyKept)
	for i, a := range files {
		var one int32
		one, dst = bsoncore.AppendArrayElementStart(dst, fmt.Sprint(i))
		dst = bsoncore.AppendInt32Element(dst, "0", int32(a.kept.line))
		dst = mimetree.AppendNumber(dst, "1", a.kept.length)
		dst, _ = bsoncore.AppendArrayEnd(dst, one)
	}
	dst, _ = bsoncore.AppendArrayEnd(dst, idx)
	return dst
}

// appendEdits appends edits as [at, n, size, what]: what is the octets, true for LF in place of CRLF, or the offset in the
// raw file.
func appendEdits(dst []byte, edits []edit) []byte {
	if len(edits) == 0 {
		return dst
	}
	idx, dst := bsoncore.AppendArrayElementStart(dst, keyEdits)
	for i, e := range edits {
		var one int32
		one, dst = bsoncore.AppendArrayElementStart(dst, fmt.Sprint(i))
		dst = mimetree.AppendNumber(dst, "0", e.at)
		dst = mimetree.AppendNumber(dst, "1", e.n)
		dst = mimetree.AppendNumber(dst, "2", e.size)
		switch {
		case e.lf:
			dst = bsoncore.AppendBooleanElement(dst, "3", true)
		case e.file:
			dst = mimetree.AppendNumber(dst, "3", 0)
		default:
			dst = bsoncore.AppendBinaryElement(dst, "3", 0, e.with)
		}
		dst, _ = bsoncore.AppendArrayEnd(dst, one)
	}
	dst, _ = bsoncore.AppendArrayEnd(dst, idx)
	return dst
}

// differences are those between a message as it is rebuilt and as it came.
type differences struct {
	all   []edit
	first []edit // those before the first body
	rest  int64  // where in the rebuilt message that begins
}

// edits are the differences of the message with this prefix, when its bodies are kept so.
func (st *staged) edits(leaves []leaf, x *mimetree.Prefixed, prefix []byte) differences {
	var d differences
	var edits []edit
	at := int64(0) // in the rebuilt message
	i := 0
	var gap []byte
	flush := func() {
		raw := st.gaps[i]
		if i == 0 {
			d.first, d.rest = firstGap(gap, prefix, raw), int64(len(gap))
			edits = append(edits, d.first...)
		} else if i < len(leaves) || !bytes.HasPrefix(gap, raw) {
			// What is rebuilt beyond the end is cut off.
			edits = append(edits, textEdits(gap, raw, at)...)
		}
		at += int64(len(gap))
		gap = nil
	}
	for _, p := range st.tree.Root.Pieces(x.Header) {
		if p.Body == nil {
			gap = p.Text
			continue
		}
		flush()
		l := &leaves[i]
		for _, e := range l.edits {
			e.at += at
			edits = append(edits, e)
		}
		at += l.size
		i++
	}
	flush()
	d.all = joinEdits(edits)
	return d
}

// firstGap compares what is before the first body. The prefix has its own line ends.
func firstGap(gap, prefix, raw []byte) []edit {
	if bytes.HasPrefix(gap, prefix) {
		return textEdits(gap[len(prefix):], raw, int64(len(prefix)))
	}
	return textEdits(gap, append(bytes.Clone(prefix), raw...), 0)
}

// needsRaw says whether the differences are too big for a document: what is to be a file of its own then.
func (st *staged) needsRaw(edits []edit) *attached {
	n := int64(0)
	for _, e := range edits {
		if !e.lf {
			n += e.size
		}
	}
	if n <= maxEdits && len(edits) <= maxEditCount {
		return nil
	}
	return &attached{raw: span{int64(len(st.gaps[0])), st.size}}
}

// withRaw puts the file of raw octets in the place of all differences behind the first body's beginning.
func (d *differences) withRaw(st *staged) []edit {
	return append(d.first[:len(d.first):len(d.first)], edit{at: d.rest, n: -1, size: st.size - int64(len(st.gaps[0])), file: true})
}

// storeAttachments stores what the message refers to, counts the references and completes the fields. It is called once
// for each document, before its insert. What is counted is in refs then, also when it fails.
func (s *Store) storeAttachments(ctx context.Context, p *prepared) error {
	if p.fields != nil {
		return nil
	}
	st := p.st
	hashes := map[string]string{}
	files := make([]*attached, len(st.files), len(st.files)+1)
	leaves := append([]leaf(nil), st.leaves...)
	outcomes, err := s.attachAll(ctx, p)
	if err != nil {
		return readError("store an attachment", err)
	}
	for i, a := range st.files {
		if outcomes[i].fresh {
			hashes[a.key] = a.hash()
		}
		if files[i], err = a.keptAs(outcomes[i].kept, leaves, st.src); err != nil {
			return err
		}
	}
	d := st.edits(leaves, p.prefixed, p.prefix)
	edits := d.all
	raw := st.raw
	if raw == nil {
		if raw = st.needsRaw(edits); raw != nil {
			if st.src == nil {
				return mail.NewError(mail.CodeUnavailable, "the attachments of the message have changed meanwhile")
			}
			if raw, err = rawFacts(st.src, raw.raw); err != nil {
				return err
			}
		}
	}
	if raw != nil {
		if _, _, err := s.attach(ctx, p, raw); err != nil {
			return readError("store the message as it is", err)
		}
		files = append(files, raw)
		edits = d.withRaw(st)
	}
	return p.complete(files, hashes, edits)
}

// outcome is what came of storing a file: how it is kept, and whether it was stored for this message.
type outcome struct {
	kept  kept
	fresh bool
}

// attachAll attaches the files of a message, different ones at the same time.
func (s *Store) attachAll(ctx context.Context, p *prepared) ([]outcome, error) {
	files := p.st.files
	byID := make(map[[sha256.Size]byte][]int, len(files))
	var ids [][sha256.Size]byte
	for i, a := range files {
		if byID[a.id] == nil {
			ids = append(ids, a.id)
		}
		byID[a.id] = append(byID[a.id], i)
	}
	out := make([]outcome, len(files))
	return out, parallel(len(ids), func(n int) (err error) {
		for _, i := range byID[ids[n]] {
			if out[i].kept, out[i].fresh, err = s.attach(ctx, p, files[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// attach counts a reference to a file, which it stores when it is not there, and notes it. It says how the file is kept
// and whether it was stored for this message.
func (s *Store) attach(ctx context.Context, p *prepared, a *attached) (k kept, fresh bool, err error) {
	if !a.uploaded {
		if k, fresh, err = s.storeFile(ctx, p.st.src, a, 1, p.st.magic); err == nil {
			p.counted(a)
		}
		return k, fresh, err
	}
	k, found, err := s.referTo(ctx, a, 1, p.st.magic)
	if err != nil {
		return k, false, err
	}
	if found {
		p.counted(a)
	}
	if !found || k != a.kept {
		return k, false, mail.NewError(mail.CodeUnavailable, "an attachment of the message is gone, it must be stored anew")
	}
	return k, a.fresh, nil
}

// counted notes that a reference was counted.
func (p *prepared) counted(a *attached) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refs.ids = append(p.refs.ids, a.id[:])
}

// keptAs is the file as it turned out to be kept. The leaf that it is the body of is compared anew when that is otherwise
// than expected.
func (a *attached) keptAs(k kept, leaves []leaf, src io.ReaderAt) (*attached, error) {
	if k == a.kept {
		return a, nil
	}
	b := *a
	b.kept, b.compared = k, false
	for i := range leaves {
		if leaves[i].file == a {
			leaves[i].file = &b
			return &b, leaves[i].compare(src)
		}
	}
	return &b, nil
}
