package mongostore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Where a Fetch is about messages that the caller knows, those that are not in memory are read some at a time, and the next
// ones while these are given. With content the small attachments of all of them are read by one query.
//
// A server that stores a document as one value unpacks all of it for each member that is asked for, and that is most of
// what a read costs. So everything small that is said of a message is read at once and kept, also what this caller does not
// ask for: who lists a mailbox now searches it, or opens messages, next.
const (
	// aheadMessages is how many are read at a time with their content, some 1 MB of documents, and aheadRows without.
	aheadMessages = 32
	aheadRows     = 64
	// aheadReads is how many reads of a Fetch there are at the same time.
	aheadReads = 2
	// aheadContent and aheadFile bound the messages, and the attachments of each, that are read that way: somebody may want
	// a part only.
	aheadContent = 128 << 10
	aheadFile    = 64 << 10
	// aheadOctets is about what a message takes of the memory for descriptions. A Fetch of more than there is room for reads
	// what it is asked for.
	aheadOctets = 8 << 10
)

// group is some of the messages that a caller knows, and when those of them that were not in memory are.
type group struct {
	rows  []mail.HotRow
	ready <-chan struct{}
}

// knownAhead yields messages that the caller knows.
func (f *fetch) knownAhead(known []mail.HotRow) error {
	fields := f.aheadFields(len(known))
	var reading []group
	more := func() {
		for len(reading) < aheadReads && len(known) > 0 {
			n, missing := f.cut(known)
			reading = append(reading, group{known[:n], f.ahead(missing, fields)})
			known = known[n:]
		}
	}
	for more(); len(reading) > 0; {
		g := reading[0]
		select {
		case <-g.ready:
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
		reading = reading[1:]
		more()
		if err := f.knownChunk(g.rows); err != nil {
			return err
		}
	}
	return nil
}

// aheadFields are the fields that are read of messages of which there are so many.
func (f *fetch) aheadFields(messages int) store.Fields {
	if f.q.Fields&documentFields == 0 || int64(messages) > f.s.o.DescriptionCache/aheadOctets {
		return f.q.Fields
	}
	return f.q.Fields | cachedFields
}

// cut says how many of some messages are read at a time, and which of them are not in memory.
func (f *fetch) cut(known []mail.HotRow) (n int, missing []mail.UID) {
	most := aheadRows
	if f.q.Fields&store.FieldBody != 0 {
		most = aheadMessages
	}
	for n < min(len(known), fetchRows) && len(missing) < most {
		if k := &known[n]; !k.Flags.Has(mail.Draft) && f.cached(k) == nil {
			missing = append(missing, k.UID)
		}
		n++
	}
	return n, missing
}

// ahead reads messages into memory, in the background; the channel is closed at the end. It goes on when the caller stops,
// who may only be waiting for his client. What goes wrong is met again by who reads one by one.
func (f *fetch) ahead(missing []mail.UID, fields store.Fields) <-chan struct{} {
	ready := make(chan struct{})
	body := f.q.Fields&store.FieldBody != 0
	if len(missing) < 2 || !f.s.caches.rows.Takes(aheadOctets) || body && !f.s.caches.contents.Takes(aheadContent) {
		close(ready)
		return ready
	}
	f.s.running.Add(1) // this call is counted already
	go func() {
		defer f.s.running.Done()
		defer close(ready)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(f.ctx), f.s.o.Timeout)
		defer cancel()
		if err := f.s.keepAhead(ctx, oid(f.mbox), missing, fields); err != nil {
			f.s.o.Logger.Debug("messages are not read ahead", "mailbox", f.mbox, "error", err)
		}
	}()
	return ready
}

// keepAhead reads messages into memory. Those that another call is reading already it waits for.
func (s *Store) keepAhead(ctx context.Context, mbox bson.ObjectID, uids []mail.UID, fields store.Fields) error {
	mine, others := s.caches.ahead.begin(mbox, uids)
	err := func() error {
		defer s.caches.ahead.end(mbox, mine)
		if len(mine) == 0 {
			return nil
		}
		o := options.Find().SetProjection(keepFields(fields)).SetBatchSize(int32(len(mine) + 1)) // one answer
		cur, err := s.findUIDs(ctx, bson.D{{Key: "mailbox", Value: mbox}, {Key: "uid", Value: uidList(mine)}}, o)
		if err != nil {
			return err
		}
		var docs []bson.Raw
		if err := cur.All(ctx, &docs); err != nil {
			return err
		}
		return s.keepDocuments(ctx, docs, fields)
	}()
	for _, other := range others {
		select {
		case <-other:
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
	return err
}

// keepFields is the projection for some fields of messages that are kept. It names our own member as a whole where all of
// it is asked for: that is less work than to pick from it.
func keepFields(fields store.Fields) bson.D {
	if cachedFields&^fields != 0 {
		return fetchFields(fields)
	}
	out := slices.DeleteFunc(fetchFields(fields), func(e bson.E) bool { return strings.HasPrefix(e.Key, memberMallard+".") })
	return append(out, bson.E{Key: memberMallard, Value: 1})
}

// small is a message that is read ahead.
type small struct {
	m    *hotMessage
	body *body
}

// keepDocuments keeps what documents say of messages, and the content of those that are small. What another program wrote
// and nobody has described yet is left out.
func (s *Store) keepDocuments(ctx context.Context, docs []bson.Raw, fields store.Fields) error {
	var list []small
	files := make(map[string][]byte) // of those that are needed, nil while they are not read
	for _, doc := range docs {
		m, err := hot(doc)
		if err != nil || m.Flags.Has(mail.Draft) || fresh(doc) == nil {
			continue
		}
		d, there := present(doc, fields)
		s.caches.keepRow(m, d, there)
		if fields&store.FieldBody == 0 {
			continue
		}
		if _, ok := s.caches.contents.Get(m.contentKey()); ok || d.size > aheadContent {
			continue
		}
		b, err := s.openBody(ctx, doc)
		if err != nil {
			continue
		}
		if needed, ok := smallFiles(b.segs, nil); ok {
			for _, f := range needed {
				files[string(f.id)] = nil
			}
			list = append(list, small{m, b})
		}
	}
	if err := s.readSmallFiles(ctx, files); err != nil {
		return err
	}
	for _, x := range list {
		x.body.read = func(_ context.Context, w io.Writer, id []byte, off, n int64) error {
			return writePart(w, files[string(id)], off, n)
		}
		buf := bytes.NewBuffer(make([]byte, 0, x.body.size))
		if x.body.WriteRange(buf, 0, x.body.size) == nil {
			s.caches.contents.Put(x.m.contentKey(), cachedContent{text: buf.Bytes()}, x.body.size)
		}
	}
	return nil
}

// smallFiles are the files that stretches are made from, false when one of them is too large.
func smallFiles(segs []stretch, out []*storedFile) ([]*storedFile, bool) {
	for i := range segs {
		g := &segs[i]
		if g.lf != nil {
			var ok bool
			if out, ok = smallFiles(g.lf, out); !ok {
				return nil, false
			}
		}
		if g.file != nil {
			if g.file.kept.length > aheadFile {
				return nil, false
			}
			out = append(out, g.file)
		}
	}
	return out, true
}

// readSmallFiles reads files that have one chunk.
func (s *Store) readSmallFiles(ctx context.Context, files map[string][]byte) error {
	if len(files) == 0 {
		return nil
	}
	ids := make(bson.A, 0, len(files))
	for id := range files {
		ids = append(ids, fileID([]byte(id)))
	}
	docs, err := findAll(ctx, s.chunks(), bson.D{{Key: "files_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "n", Value: 0}},
		bson.D{{Key: "files_id", Value: 1}, {Key: "data", Value: 1}}, nil)
	if err != nil {
		return err
	}
	for _, doc := range docs {
		_, id, _ := doc.Lookup("files_id").BinaryOK()
		_, files[string(id)], _ = doc.Lookup("data").BinaryOK()
	}
	return nil
}

// writePart writes a part of a file that must be whole.
func writePart(w io.Writer, data []byte, off, n int64) error {
	if off < 0 || n < 0 || off+n > int64(len(data)) {
		return errIncomplete
	}
	_, err := w.Write(data[off : off+n])
	return err
}

var errIncomplete = errors.New("the file is not whole")

// aheads are the messages that are being read into memory.
type aheads struct {
	mu sync.Mutex
	at map[rowKey]chan struct{}
}

// begin returns which of some messages the caller is to read, and the ends of the others.
func (a *aheads) begin(mbox bson.ObjectID, uids []mail.UID) (mine []mail.UID, others []<-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == nil {
		a.at = make(map[rowKey]chan struct{})
	}
	ended := make(chan struct{})
	for _, u := range uids {
		if c, ok := a.at[rowKey{mbox, u}]; ok {
			others = append(others, c)
			continue
		}
		a.at[rowKey{mbox, u}] = ended
		mine = append(mine, u)
	}
	return mine, others
}

// end says that messages were read.
func (a *aheads) end(mbox bson.ObjectID, mine []mail.UID) {
	if len(mine) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.at[rowKey{mbox, mine[0]}])
	for _, u := range mine {
		delete(a.at, rowKey{mbox, u})
	}
}
