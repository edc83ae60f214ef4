package mongostore

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
)

const (
	lockUpload    = "wildduck:gs." // + base64 of the hash
	lockUploadTTL = 2 * time.Minute
	// uploadTries is how often an upload is tried that others are in the way of.
	uploadTries = 20
	// adoptAfter is the age from which on a chunk without a file is taken for one that its writer will not come back to. Its
	// writer may still do so and finds the file then.
	adoptAfter = time.Minute
	// staleAfter is the age from which on chunks without a file are removed.
	staleAfter = 30 * time.Minute
)

func (s *Store) files() *mongo.Collection  { return s.db.gridfs.Collection(s.o.Bucket + ".files") }
func (s *Store) chunks() *mongo.Collection { return s.db.gridfs.Collection(s.o.Bucket + ".chunks") }

// fileID is an id as documents have it.
func fileID(id []byte) bson.Binary { return bson.Binary{Data: id} }

// errBusy says that somebody else is storing the file.
var errBusy = errors.New("the file is being stored by somebody else")

// referTo counts n references to a file, and says how it is kept; found is false when it is not there.
func (s *Store) referTo(ctx context.Context, a *attached, n int, magic int32) (k kept, found bool, err error) {
	update := bson.D{{Key: "$set", Value: bson.D{{Key: "metadata.cu", Value: s.o.Now()}}}}
	if n > 0 {
		update = append(bson.D{{Key: "$inc", Value: bson.D{{Key: "metadata.c", Value: n}, {Key: "metadata.m", Value: int64(n) * int64(magic)}}}}, update...)
	}
	doc, err := s.files().FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: fileID(a.id[:])}}, update,
		options.FindOneAndUpdate().SetProjection(keptFields())).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return kept{}, false, nil
	}
	if err != nil {
		return kept{}, false, err
	}
	return keptOf(doc), true, nil
}

// keptFields is the projection for keptOf.
func keptFields() bson.D {
	return bson.D{{Key: "length", Value: 1}, {Key: "metadata.decoded", Value: 1}, {Key: "metadata.lineLen", Value: 1}}
}

// keptOf reads from a file's document how it is kept.
func keptOf(doc bson.Raw) kept {
	k := kept{length: integer(doc.Lookup("length"))}
	if decoded, _ := doc.Lookup("metadata", "decoded").BooleanOK(); decoded {
		k.line = int(integer(doc.Lookup("metadata", "lineLen")))
	}
	return k
}

// store sees to it that a file is there and counts n references to it; none while nobody is known to refer to it, so that
// garbage collection takes it after a day. It says how the file is kept, and whether this call has stored it.
func (s *Store) storeFile(ctx context.Context, src io.ReaderAt, a *attached, n int, magic int32) (k kept, fresh bool, err error) {
	k, found, err := s.referTo(ctx, a, n, magic)
	if found || err != nil {
		return k, false, err
	}
	locked := false
	if a.size >= chunkSize && s.o.Locks != nil {
		release, lost, err := s.o.Locks.Lock(ctx, lockUpload+base64.StdEncoding.EncodeToString(a.id[:]), lockUploadTTL)
		if err == nil {
			defer release()
			locked = true
			var cancel context.CancelFunc
			if ctx, cancel = cancelWhen(ctx, lost); true {
				defer cancel()
			}
		} else {
			// The indexes see to it that nothing is stored twice.
			s.o.Logger.Warn("an attachment is stored without the lock of the nodes", "error", err)
		}
	}
	wait := 10 * time.Millisecond
	for try := 0; ; try++ {
		if try > 0 || locked {
			if k, found, err = s.referTo(ctx, a, n, magic); found || err != nil {
				return k, false, err
			}
		}
		err = s.upload(ctx, src, a, n, magic, locked)
		if err == nil {
			return a.kept, true, nil
		}
		if !errors.Is(err, errBusy) || try == uploadTries {
			return kept{}, false, err
		}
		select {
		case <-ctx.Done():
			return kept{}, false, ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, 500*time.Millisecond)
	}
}

// cancelWhen is a context that ends when a lock is lost.
func cancelWhen(ctx context.Context, lost <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		select {
		case <-lost:
			cancel(errors.New("the lock for the upload was lost"))
		case <-done:
		}
	}()
	return ctx, func() { close(done); cancel(nil) }
}

// upload stores chunks and then the file's document. errBusy says that chunks are there.
func (s *Store) upload(ctx context.Context, src io.ReaderAt, a *attached, n int, magic int32, locked bool) (err error) {
	w := &chunkWriter{s: s, ctx: ctx, file: a, locked: locked}
	defer func() {
		if err != nil {
			w.remove()
		}
	}()
	if err := a.open(src, w); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	if w.total != a.kept.length {
		return fmt.Errorf("an attachment of %d octets has %d now", a.kept.length, w.total)
	}
	err = s.insertNamed(ctx, s.files(), string(a.id[:]), s.fileDoc(a, n, magic))
	if mongo.IsDuplicateKeyError(err) {
		return errBusy
	}
	if outcomeUnknown(err) {
		w.ids = nil // the document may be there, and needs its chunks
	}
	return err
}

// fileDoc is the document of a file.
func (s *Store) fileDoc(a *attached, n int, magic int32) bson.D {
	now := s.o.Now()
	meta := bson.D{
		{Key: "m", Value: int64(n) * int64(magic)}, {Key: "c", Value: n}, {Key: "cu", Value: now},
		{Key: "esize", Value: numberOf(a.size)}, {Key: "transferEncoding", Value: a.encoding},
	}
	if a.kept.line > 0 {
		meta = append(meta, bson.E{Key: "decoded", Value: true}, bson.E{Key: "lineLen", Value: a.kept.line})
	}
	meta = append(meta, bson.E{Key: "fileContentHash", Value: a.hash()})
	return bson.D{
		{Key: "_id", Value: fileID(a.id[:])}, {Key: "length", Value: numberOf(a.kept.length)}, {Key: "chunkSize", Value: chunkSize},
		{Key: "uploadDate", Value: now}, {Key: "filename", Value: nil}, {Key: "contentType", Value: a.contentType}, {Key: "metadata", Value: meta},
	}
}

// chunkWriter stores what is written to it as the chunks of a file.
type chunkWriter struct {
	s      *Store
	ctx    context.Context
	file   *attached
	locked bool
	buf    []byte
	n      int
	total  int64
	ids    []bson.ObjectID // of the chunks that this writer has stored
}

func (w *chunkWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if w.buf == nil {
			w.buf = make([]byte, 0, min(chunkSize, max(int64(len(p)), w.file.kept.length)))
		}
		k := min(len(p), chunkSize-len(w.buf))
		w.buf = append(w.buf, p[:k]...)
		p = p[k:]
		if len(w.buf) == chunkSize {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// flush stores the chunk that was collected.
func (w *chunkWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	id := bson.NewObjectID()
	w.ids = append(w.ids, id)
	err := w.s.insertNamed(w.ctx, w.s.chunks(), fmt.Sprintf("%s %d", w.file.id[:], w.n), bson.D{
		{Key: "_id", Value: id}, {Key: "files_id", Value: fileID(w.file.id[:])}, {Key: "n", Value: w.n}, {Key: "data", Value: bson.Binary{Data: w.buf}},
	})
	if mongo.IsDuplicateKeyError(err) {
		w.ids = w.ids[:len(w.ids)-1]
		err = w.conflict()
	}
	if err != nil {
		return err
	}
	w.n++
	w.total += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// conflict decides what becomes of a chunk that is there although the file is not: its writer is at work, or has died.
func (w *chunkWriter) conflict() error {
	c := w.s.chunks()
	there := bson.D{{Key: "files_id", Value: fileID(w.file.id[:])}}
	doc, err := c.FindOne(w.ctx, append(there, bson.E{Key: "n", Value: w.n})).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return errBusy // it was just removed
	}
	if err != nil {
		return err
	}
	id, _ := doc.Lookup("_id").ObjectIDOK()
	age := w.s.o.Now().Sub(id.Timestamp())
	_, data, _ := doc.Lookup("data").BinaryOK()
	switch {
	case w.file.kept.length <= chunkSize && age > adoptAfter && bytes.Equal(data, w.buf):
		return nil
	case age > staleAfter || w.locked && w.n == 0:
		return w.removeStale(there)
	}
	return errBusy
}

// removeStale removes the chunks that are there now, those of this writer excepted.
func (w *chunkWriter) removeStale(there bson.D) error {
	ids, err := w.s.chunkIDs(w.ctx, there)
	if err != nil {
		return err
	}
	mine := make(map[bson.ObjectID]bool, len(w.ids))
	for _, id := range w.ids {
		mine[id] = true
	}
	var stale []bson.ObjectID
	for _, id := range ids {
		if !mine[id] {
			stale = append(stale, id)
		}
	}
	if err := w.s.removeChunks(w.ctx, w.file.id[:], stale); err != nil {
		return err
	}
	w.s.o.Logger.Info("an upload that was not finished was removed", "chunks", len(stale))
	return errBusy
}

// remove removes what this writer has stored.
func (w *chunkWriter) remove() {
	if len(w.ids) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), w.s.o.Timeout)
	defer cancel()
	if err := w.s.removeChunks(ctx, w.file.id[:], w.ids); err != nil {
		w.s.o.Logger.Warn("chunks of an upload that failed are left behind", "chunks", len(w.ids), "error", err)
	}
}

// chunkIDs lists the ids of chunks.
func (s *Store) chunkIDs(ctx context.Context, filter bson.D) ([]bson.ObjectID, error) {
	cursor, err := s.chunks().Find(ctx, filter, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, err
	}
	defer cursor.Close(ctx)
	var ids []bson.ObjectID
	for cursor.Next(ctx) {
		if id, ok := cursor.Current.Lookup("_id").ObjectIDOK(); ok {
			ids = append(ids, id)
		}
	}
	return ids, cursor.Err()
}

// removeChunks removes chunks by their own ids: others of the same file that come meanwhile stay.
func (s *Store) removeChunks(ctx context.Context, file []byte, ids []bson.ObjectID) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := s.chunks().DeleteMany(ctx, bson.D{{Key: "files_id", Value: fileID(file)}, {Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
	return err
}

// readFile writes n octets of a file from an offset on.
func (s *Store) readFile(ctx context.Context, w io.Writer, id []byte, off, n int64) error {
	if n == 0 {
		return nil
	}
	next := off / chunkSize
	last := (off + n - 1) / chunkSize
	filter := bson.D{{Key: "files_id", Value: fileID(id)}, {Key: "n", Value: bson.D{{Key: "$gte", Value: next}, {Key: "$lte", Value: last}}}}
	cursor, err := s.chunks().Find(ctx, filter, options.Find().SetSort(bson.D{{Key: "n", Value: 1}}).
		SetProjection(bson.D{{Key: "n", Value: 1}, {Key: "data", Value: 1}}).SetBatchSize(8))
	if err != nil {
		return readError("read an attachment", err)
	}
	defer cursor.Close(context.WithoutCancel(ctx))
	for ; cursor.Next(ctx); next++ {
		_, data, ok := cursor.Current.Lookup("data").BinaryOK()
		if !ok || integer(cursor.Current.Lookup("n")) != next {
			break
		}
		data = data[min(int64(len(data)), max(0, off-next*chunkSize)):]
		data = data[:min(int64(len(data)), n)]
		if _, err := w.Write(data); err != nil {
			return err
		}
		off += int64(len(data))
		if n -= int64(len(data)); n == 0 {
			return nil
		}
	}
	if err := cursor.Err(); err != nil {
		return readError("read an attachment", err)
	}
	return mail.NewError(mail.CodeCorrupt, "an attachment of the message is not whole")
}
