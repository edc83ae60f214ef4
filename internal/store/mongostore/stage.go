package mongostore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/mongostore/mimetree"
)

const (
	// inMemory is the size up to which a message is kept in memory between Stage and Append. Of a longer one only the
	// headers and the texts that its document holds are; its other parts are stored by Stage.
	inMemory = 512 << 10
	// maxEdits is how many octets a document holds to make a message verbatim; more are a file of their own.
	maxEdits = 128 << 10
	// maxEditCount is how many differences there may be.
	maxEditCount = 200
)

// staged is a message on its way into mailboxes.
type staged struct {
	s *Store
	// What of the message matters to the documents beside its own: threads, dates, the search for duplicates.
	references []string
	subject    string // without prefixes
	messageID  string
	date       time.Time // zero when there is none
	magic      int32     // the same in every message that is made of this one

	desc description // of the message without a prefix
	size int64
	src  io.ReaderAt // the message, nil when it is not in memory
	mem  []byte

	tree        *mimetree.Tree
	texts       mimetree.Texts
	attachments []mimetree.Attachment
	structure   bson.RawValue
	msgid       string

	leaves []leaf      // the bodies in the order of the message
	gaps   [][]byte    // what is before each of them and after the last, as it came
	files  []*attached // those that are kept apart, in the order of their ids
	raw    *attached   // what is behind the first gap, when it differs too much from what is rebuilt

	closed atomic.Bool
}

// leaf is a body in a message.
type leaf struct {
	node  *mimetree.Node
	file  *attached // nil when it stays in the document
	edits []edit    // relative to its beginning, for file.kept
	size  int64     // when it is rebuilt
}

// Stage implements store.Messages.
func (s *Store) Stage(ctx context.Context, c *store.Content) (store.Staged, error) {
	leave, err := s.enter(ctx, "stage")
	if err != nil {
		return nil, err
	}
	defer leave()
	if c.Size < int64(len(c.Header)) {
		return nil, mail.NewError(mail.CodeInvalid, "the message is shorter than its header")
	}
	st := &staged{
		s: s, references: slices.Clone(c.References), subject: c.Subject, messageID: c.MessageID, date: c.Date,
		magic: newMagic(), desc: describedOf(c), size: c.Size,
	}
	var src io.ReaderAt = &announced{c.Source}
	if c.Size <= inMemory {
		st.mem = make([]byte, c.Size)
		if _, err := src.ReadAt(st.mem, 0); err != nil {
			return nil, err
		}
		src = bytes.NewReader(st.mem)
		st.src = src
	}
	if err := st.takeApart(src); err != nil {
		return nil, staging(err)
	}
	if st.src == nil {
		if err := st.storeLarge(ctx, src); err != nil {
			return nil, staging(err)
		}
	}
	return st, nil
}

// staging gives an error of Stage a code.
func staging(err error) error { return readError("store the message", err) }

// announced reads a message and says so when it is not what was announced.
type announced struct{ r io.ReaderAt }

func (a *announced) ReadAt(b []byte, off int64) (int, error) {
	n, err := a.r.ReadAt(b, off)
	if n == len(b) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = fmt.Errorf("there are only %d octets: %w", off+int64(n), io.ErrUnexpectedEOF)
	}
	return n, mail.WrapError(mail.CodeInvalid, "the message is shorter than announced", fmt.Errorf("read the message: %w", err))
}

// newMagic makes the number by which the references of a message are counted.
func newMagic() int32 {
	var b [2]byte
	_, _ = rand.Read(b[:]) // it never fails
	return int32(binary.BigEndian.Uint16(b[:]))
}

// Close implements store.Staged.
func (st *staged) Close() error {
	st.closed.Store(true)
	return nil
}

// takeApart does all that needs no database.
func (st *staged) takeApart(src io.ReaderAt) (err error) {
	if st.tree, err = mimetree.Parse(src, st.size, st.mem); err != nil {
		return err
	}
	if st.texts, err = st.tree.Texts(); err != nil {
		return err
	}
	st.attachments = st.tree.Attachments()
	st.structure = st.tree.BodyStructure()
	if st.msgid = st.tree.Prefixed(nil).MessageID(); st.msgid == "" {
		st.msgid = mimetree.NewMessageID()
	}
	for _, n := range st.tree.Cut {
		a, err := factsOf(src, st.mem, n, st.s.o.KeepEncoded)
		if err != nil {
			return err
		}
		st.files = append(st.files, a)
	}
	return st.findGaps(src)
}

// findGaps notes the bodies of the message and reads what is between them.
func (st *staged) findGaps(src io.ReaderAt) error {
	files := make(map[*mimetree.Node]*attached, len(st.files))
	for _, a := range st.files {
		files[a.node] = a
	}
	pos := int64(0)
	for _, p := range st.tree.Root.Pieces(nil) {
		if p.Body == nil {
			continue
		}
		n := p.Body
		if err := st.addGap(src, span{pos, n.Start}); err != nil {
			return err
		}
		l := leaf{node: n, file: files[n], size: n.Size}
		if err := l.compare(src); err != nil {
			return err
		}
		st.leaves = append(st.leaves, l)
		pos = n.End
	}
	return st.addGap(src, span{pos, st.size})
}

func (st *staged) addGap(src io.ReaderAt, at span) error {
	if st.mem != nil {
		st.gaps = append(st.gaps, st.mem[at.from:at.to:at.to])
		return nil
	}
	b := make([]byte, at.len())
	if len(b) > 0 {
		if _, err := src.ReadAt(b, at.from); err != nil {
			return err
		}
	}
	st.gaps = append(st.gaps, b)
	return nil
}

// compare finds out how the body comes back from what is kept of it.
func (l *leaf) compare(src io.ReaderAt) (err error) {
	k := kept{length: l.node.Size}
	if l.file != nil {
		k = l.file.kept
	}
	l.size = k.rebuiltLen()
	if l.file != nil && l.file.compared {
		l.edits = l.file.edits
		return nil
	}
	l.edits, err = bodyEdits(src, l.node, k)
	return err
}

// storeLarge stores the bodies of a message that is not kept in memory. They have no references yet: those that get none
// within a day are garbage.
func (st *staged) storeLarge(ctx context.Context, src io.ReaderAt) error {
	for i := range st.leaves {
		if l := &st.leaves[i]; l.file != nil {
			if err := st.storeEarly(ctx, src, l.file, l); err != nil {
				return err
			}
		}
	}
	// The parts of embedded messages are among the files, but are no bodies of this one.
	for _, a := range st.files {
		if !a.uploaded {
			if err := st.storeEarly(ctx, src, a, nil); err != nil {
				return err
			}
		}
	}
	d := st.edits(st.leaves, st.tree.Prefixed(nil), nil)
	if st.raw = st.needsRaw(d.all); st.raw == nil {
		return st.loadEdits(src)
	}
	var err error
	if st.raw, err = rawFacts(src, st.raw.raw); err != nil {
		return err
	}
	return st.storeEarly(ctx, src, st.raw, nil)
}

func (st *staged) storeEarly(ctx context.Context, src io.ReaderAt, a *attached, l *leaf) error {
	k, fresh, err := st.s.storeFile(ctx, src, a, 0, 0)
	if err != nil {
		return err
	}
	a.uploaded, a.fresh = true, fresh
	if k != a.kept {
		a.kept, a.compared = k, false
		if l != nil {
			return l.compare(src)
		}
	}
	return nil
}

// loadEdits reads the octets of the differences, as the message will not be there any more.
func (st *staged) loadEdits(src io.ReaderAt) error {
	for i := range st.leaves {
		for k := range st.leaves[i].edits {
			if err := st.leaves[i].edits[k].load(src); err != nil {
				return err
			}
		}
	}
	return nil
}
