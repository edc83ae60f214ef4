package pebblestore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/store"
)

const (
	// wholeUpTo is the size up to which a message is read into memory at once.
	wholeUpTo = 512 << 10
	// ownTextUpTo is the size up to which the text of a message is one value.
	ownTextUpTo = 256 << 10
	// inlineUpTo is the size of a text up to which it is part of the layout. It is one
	// row less to write and to look up; in return a reader of the document alone passes
	// over it.
	inlineUpTo = 4 << 10
	// chunkSize is the size of the parts of longer texts.
	chunkSize = 128 << 10
	// shareFrom is the size from which the text is shared by several recipients.
	shareFrom = 512
	// maxCuts is how many parts of a message are stored apart; more stay in the text.
	maxCuts = 1000
	// flushAt is how much content is collected before it goes to the database.
	flushAt = 512 << 10
	// copyBlock is the unit in which long content is copied.
	copyBlock = 128 << 10
)

// source reads the octets of a message that is being staged.
type source struct {
	r    io.ReaderAt
	size int64
	mem  []byte // the whole message when it is small
	buf  []byte
}

// at returns n octets from off. They are valid until the next call.
func (x *source) at(off, n int64) ([]byte, error) {
	if x.mem != nil {
		return x.mem[off : off+n], nil
	}
	if int64(cap(x.buf)) < n {
		x.buf = make([]byte, n)
	}
	b := x.buf[:n]
	return b, readAt(x.r, b, off)
}

// readAt fills b, or says why the message is not what was announced.
func readAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = fmt.Errorf("there are only %d octets: %w", off+int64(n), io.ErrUnexpectedEOF)
	}
	return mail.WrapError(mail.CodeInvalid, "the message is shorter than announced", fmt.Errorf("read the message: %w", err))
}

// staged is a message on its way into mailboxes. Its content is in the database or
// in files already, pinned so that the sweeper leaves it alone.
type staged struct {
	s       *Store
	doc     document // the header section without prefix
	size    int64
	text    []byte // the value for tabText, nil when there is none
	sig     []byte
	threads [][16]byte
	hashes  []stagedContent // each once, pinned
	used    atomic.Bool
	closed  atomic.Bool
}

// stagedContent is content that a staged message uses.
type stagedContent struct {
	hash hash
	kind byte
}

// Stage implements store.Messages.
func (s *Store) Stage(ctx context.Context, c *store.Content) (store.Staged, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.writable(true); err != nil {
		return nil, err
	}
	if c.Size < int64(len(c.Header)) || c.Size > maxContent {
		return nil, mail.NewError(mail.CodeInvalid, "the message is shorter than its header")
	}
	mem, _ := s.stages.Get().(*stageMemory)
	if mem == nil {
		mem = &stageMemory{}
	}
	defer s.stages.Put(mem)
	g := &stager{s: s, ctx: ctx, c: c, mem: mem, out: &staged{s: s, size: c.Size}}
	g.src = source{r: c.Source, size: c.Size, buf: mem.window}
	defer func() { mem.window = g.src.buf }()
	if err := g.run(); err != nil {
		g.abort()
		return nil, err
	}
	return g.out, nil
}

// stager does the work of Stage.
type stager struct {
	s     *Store
	ctx   context.Context
	c     *store.Content
	src   source
	out   *staged
	lay   layout
	batch *pebble.Batch // content that goes to the database
	mem   *stageMemory
}

// stageMemory is what a stager works with. It is used again for other messages.
type stageMemory struct {
	whole, window []byte
	content       []byte // of one leaf
	layout        []byte
	cut           cutBuffers
}

func (g *stager) run() error {
	if int64(len(g.c.Whole)) == g.src.size {
		g.src.mem = g.c.Whole
	} else if g.src.size <= wholeUpTo {
		g.mem.whole = slices.Grow(g.mem.whole[:0], int(g.src.size))
		g.src.mem = g.mem.whole[:g.src.size]
		if err := readAt(g.src.r, g.src.mem, 0); err != nil {
			return err
		}
	}
	sum, err := g.checksum()
	if err != nil {
		return err
	}
	if err := g.cut(); err != nil {
		return g.diskOr(err)
	}
	if err := g.storeText(); err != nil {
		return g.diskOr(err)
	}
	if err := g.flush(); err != nil {
		return err
	}
	g.fill(sum)
	return nil
}

// diskOr gives errors without a code that of the disk.
func (g *stager) diskOr(err error) error {
	if _, ok := errors.AsType[*mail.Error](err); ok {
		return err
	}
	return diskError("store content", err)
}

// abort releases what was stored; the sweeper finds it.
func (g *stager) abort() {
	if g.batch != nil {
		_ = g.batch.Close() // nothing of it is needed
	}
	_ = g.out.Close()
}

func (g *stager) checksum() (uint64, error) {
	if g.src.mem != nil {
		return xxhash.Sum64(g.src.mem), nil
	}
	sum := xxhash.New()
	for off := int64(0); off < g.src.size; off += copyBlock {
		if g.ctx.Err() != nil {
			return 0, canceled(g.ctx)
		}
		b, err := g.src.at(off, min(copyBlock, g.src.size-off))
		if err != nil {
			return 0, err
		}
		_, _ = sum.Write(b)
	}
	return sum.Sum64(), nil
}

// cut takes out the parts that are stored by hash and records the text between.
func (g *stager) cut() error {
	pos := int64(len(g.c.Header))
	for _, leaf := range g.c.Leaves {
		if len(g.lay.segments) >= 2*maxCuts {
			break
		}
		if leaf.Start < pos || leaf.End > g.src.size || leaf.End-leaf.Start < cutFrom {
			continue
		}
		if g.ctx.Err() != nil {
			return canceled(g.ctx)
		}
		seg, start, end, err := g.cutLeaf(leaf)
		if err != nil {
			return err
		}
		if end == start {
			continue
		}
		g.addText(start - pos)
		g.lay.segments = append(g.lay.segments, seg)
		pos = end
	}
	g.addText(g.src.size - pos)
	return nil
}

func (g *stager) addText(n int64) {
	if n > 0 {
		g.lay.segments = append(g.lay.segments, segment{kind: segText, size: n})
		g.lay.textLen += n
	}
}

// cutLeaf stores the body of a leaf by hash when it is worth it. It returns where
// the octets that the segment stands for start and end; nowhere when there are none.
func (g *stager) cutLeaf(leaf store.Leaf) (seg segment, start, end int64, err error) {
	if leaf.Encoding == "base64" {
		w := g.s.blobs.newWriter((leaf.End-leaf.Start)/4*3, &g.mem.content)
		c, err := cutBase64(&g.src, leaf.Start, leaf.End, w, &g.mem.cut)
		if err != nil {
			w.discard()
			return seg, 0, 0, err
		}
		if c.taken-c.start >= cutFrom/2 {
			seg = segment{kind: segBase64, size: w.size, wrap: c.wrap}
			seg.hash, err = g.keep(w)
			return seg, c.start, c.taken, err
		}
		w.discard()
	}
	if !leaf.Attachment && leaf.Encoding != "binary" {
		return seg, 0, 0, nil
	}
	w := g.s.blobs.newWriter(leaf.End-leaf.Start, &g.mem.content)
	for off := leaf.Start; off < leaf.End; off += copyBlock {
		b, err := g.src.at(off, min(copyBlock, leaf.End-off))
		if err == nil {
			// What is written may be modified by a file; the message must not be.
			_, err = w.Write(slices.Clone(b))
		}
		if err != nil {
			w.discard()
			return seg, 0, 0, err
		}
	}
	seg = segment{kind: segContent, size: w.size}
	seg.hash, err = g.keep(w)
	return seg, leaf.Start, leaf.End, err
}

// keep finishes content; what is not in a file goes to the database.
func (g *stager) keep(w *blobWriter) (hash, error) {
	h, mem, err := w.finish()
	if err != nil {
		return h, err
	}
	return h, g.pinned(h, mem, contentKind(w.size))
}

// pinned takes over a pin and stores content in the database unless it is there.
func (g *stager) pinned(h hash, data []byte, kind byte) error {
	if slices.Contains(g.out.hashes, stagedContent{h, kind}) {
		g.s.blobs.unpin(h)
		return nil
	}
	g.out.hashes = append(g.out.hashes, stagedContent{h, kind})
	if kind == contentFile {
		return nil
	}
	key := hashKey(tabBlob, h)
	if !g.s.known.lacks(key) {
		if found, err := g.s.has(key); err != nil || found {
			return err
		}
	}
	if g.batch == nil {
		g.batch = g.s.db.NewBatchWithSize(len(data) + 256)
	}
	g.s.setContent(g.batch, key, data)
	if g.batch.Len() >= flushAt {
		return g.flush()
	}
	return nil
}

// flush hands content to the database. It need not wait for the disk: there is one
// log, so content is durable no later than a message that refers to it.
func (g *stager) flush() error {
	if g.batch == nil {
		return nil
	}
	b := g.batch
	g.batch = nil
	if err := g.s.apply(b, pebble.NoSync); err != nil {
		return err
	}
	return b.Close()
}

// storeText stores the text between the parts.
func (g *stager) storeText() error {
	n := g.lay.textLen
	switch {
	case n > ownTextUpTo:
		return g.storeChunks()
	case n == 0:
		g.lay.textMode = textInline
		return nil
	}
	text, err := g.gather(n)
	if err != nil {
		return err
	}
	if g.c.Recipients > 1 && n >= shareFrom {
		return g.storeChunk(text)
	}
	if n <= inlineUpTo {
		g.lay.textMode, g.lay.inline = textInline, text
	} else {
		g.lay.textMode, g.out.text = textOwn, appendPlain(make([]byte, 0, n+1), text)
	}
	return nil
}

// gather returns the whole text, which must be short.
func (g *stager) gather(n int64) ([]byte, error) {
	pos := int64(len(g.c.Header))
	if len(g.lay.segments) == 1 && g.src.mem != nil {
		return g.src.mem[pos:], nil
	}
	text := make([]byte, 0, n)
	for i := range g.lay.segments {
		seg := &g.lay.segments[i]
		if seg.kind == segText {
			b, err := g.src.at(pos, seg.size)
			if err != nil {
				return nil, err
			}
			text = append(text, b...)
		}
		pos += seg.length()
	}
	return text, nil
}

// storeChunks stores a long text in parts.
func (g *stager) storeChunks() error {
	part := make([]byte, 0, chunkSize)
	pos := int64(len(g.c.Header))
	for i := range g.lay.segments {
		seg := &g.lay.segments[i]
		for off := int64(0); seg.kind == segText && off < seg.size; {
			if g.ctx.Err() != nil {
				return canceled(g.ctx)
			}
			n := min(seg.size-off, int64(chunkSize-len(part)))
			b, err := g.src.at(pos+off, n)
			if err != nil {
				return err
			}
			part = append(part, b...)
			off += n
			if len(part) == chunkSize {
				if err := g.storeChunk(part); err != nil {
					return err
				}
				part = part[:0]
			}
		}
		pos += seg.length()
	}
	if len(part) > 0 {
		return g.storeChunk(part)
	}
	return nil
}

func (g *stager) storeChunk(text []byte) error {
	h := hash(sha256.Sum256(text))
	g.lay.textMode = textShared
	g.lay.chunks = append(g.lay.chunks, chunk{int64(len(text)), h})
	g.s.blobs.pin(h)
	return g.pinned(h, text, contentRow)
}

// fill copies what is kept of the content, in one piece of memory.
func (g *stager) fill(sum uint64) {
	c, d := g.c, &g.out.doc
	lay := g.lay.append(g.mem.layout[:0])
	g.mem.layout = lay
	parts := [...][]byte{
		secHeader: c.Header, secEnvelope: c.Envelope, secBodyStructure: c.BodyStructure,
		secTree: c.Tree, secSummary: c.Summary, secLayout: lay, sections: c.Signature,
	}
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	all := make([]byte, 0, n)
	for i, p := range parts {
		from := len(all)
		all = append(all, p...)
		if i < sections {
			d.sections[i] = all[from:len(all):len(all)]
		} else {
			g.out.sig = all[from:len(all):len(all)]
		}
	}
	d.checksum = sum
	g.out.threads = threadHashes(c.References, c.Subject)
}

// Close implements store.Staged.
func (x *staged) Close() error {
	if x.closed.Swap(true) {
		return nil
	}
	// A suspect that is pinned is left alone; nobody must see content that is neither.
	if !x.used.Load() {
		x.s.suspect(x.hashes)
	}
	for _, c := range x.hashes {
		x.s.blobs.unpin(c.hash)
	}
	return nil
}

// maxReferences is how many references tie a message to a conversation.
const maxReferences = 10

// threadHashes are the keys of a message's references: each stands for a message id
// together with the subject.
func threadHashes(references []string, subject string) [][16]byte {
	var out [][16]byte
	for _, r := range references[:min(len(references), maxReferences)] {
		var b strings.Builder
		b.WriteString(r)
		b.WriteByte(0)
		b.WriteString(subject)
		sum := sha256.Sum256([]byte(b.String()))
		if h := [16]byte(sum[:16]); !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}
