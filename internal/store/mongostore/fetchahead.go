package mongostore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Where a Fetch is about the content of messages that are not in memory, they are read some at a time, with the small
// attachments of all of them by one query, and the next ones while these are given.
const (
	// aheadMessages is how many are read at a time: in all some 1 MB of documents.
	aheadMessages = 32
	// aheadContent and aheadFile bound the messages, and the attachments of each, that are read that way: somebody may want
	// a part only.
	aheadContent = 128 << 10
	aheadFile    = 64 << 10
)

// knownBodies yields messages that the caller knows with their content.
func (f *fetch) knownBodies(known []mail.HotRow) error {
	groups := slices.Collect(slices.Chunk(known, aheadMessages))
	var ready <-chan struct{}
	for i, g := range groups {
		if i == 0 {
			ready = f.ahead(g)
		}
		select {
		case <-ready:
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
		if i+1 < len(groups) {
			ready = f.ahead(groups[i+1])
		}
		if err := f.knownChunk(g); err != nil {
			return err
		}
	}
	return nil
}

// ahead reads what is not in memory of some messages into it, in the background; the channel is closed at the end. It goes
// on when the caller stops, who may only be waiting for his client. What goes wrong is met again by who reads one by one.
func (f *fetch) ahead(known []mail.HotRow) <-chan struct{} {
	ready := make(chan struct{})
	var missing []mail.UID
	if f.s.caches.contents.Takes(aheadContent) {
		for i := range known {
			if k := &known[i]; !k.Flags.Has(mail.Draft) && f.cached(k) == nil {
				missing = append(missing, k.UID)
			}
		}
	}
	if len(missing) < 2 {
		close(ready)
		return ready
	}
	f.s.running.Add(1) // this call is counted already
	go func() {
		defer f.s.running.Done()
		defer close(ready)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(f.ctx), f.s.o.Timeout)
		defer cancel()
		if err := f.s.keepAhead(ctx, oid(f.mbox), missing, f.q.Fields, f.fields); err != nil {
			f.s.o.Logger.Debug("messages are not read ahead", "mailbox", f.mbox, "error", err)
		}
	}()
	return ready
}

// keepAhead reads messages into memory. Those that another call is reading already it waits for.
func (s *Store) keepAhead(ctx context.Context, mbox bson.ObjectID, uids []mail.UID, fields store.Fields, members bson.D) error {
	mine, others := s.caches.ahead.begin(mbox, uids)
	err := func() error {
		defer s.caches.ahead.end(mbox, mine)
		if len(mine) == 0 {
			return nil
		}
		docs, err := findAll(ctx, s.messages(), bson.D{{Key: "mailbox", Value: mbox}, {Key: "uid", Value: uidList(mine)}}, members, nil)
		if err != nil {
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
		d, err := s.described(ctx, doc, fields)
		if err != nil {
			return err
		}
		s.caches.keepRow(m, d, fields)
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
