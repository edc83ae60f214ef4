package mongostore

import (
	"bytes"
	"context"
	"encoding/hex"
	"hash/maphash"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// A node that dies after it has counted a reference to a file and before its message is there leaves a count too much: the
// file is never garbage. CheckFiles finds such files by reading all messages. Beside a living cluster it must not take a
// file for unused that somebody refers to:
//
//   - Who refers to a file counts that, with the time, before the message is there, and only then stores it. A file of which
//     the counters were changed less than settledTime ago is left alone; its counters are changed only if they are still what
//     they were before the messages were read. So of the others every message is stored.
//   - A message that is moved while all are read, or goes into the archive or comes from there, is stored at its new place
//     before it goes from the old one. Messages are read in ascending order of their ids, and what is copied or moved gets
//     the id of the moment: it is further on. A move by Mallard gives an id of the same second as the old one; that is why
//     everything is read a second time, for the files that seem unused. The archive is read before the messages and after.
//   - Nothing is removed: the counters become 0, and garbage collection takes the file a day later, if they still are.
const (
	settledTime = time.Hour
	// maxUnused is how many unused files one check finds; the next one finds others.
	maxUnused = 50_000
	// filterBits is how many bits remember which files messages refer to: enough for 27 million references. With more of
	// them more unused files are taken for used ones; others each time, as seeds differ.
	filterBits = 1 << 28
	// filePage is how many documents are read at a time.
	filePage = 500
)

// FileCheck says how CheckFiles is done. Its functions are called one at a time.
type FileCheck struct {
	// Repair gives unused files the counters 0.
	Repair   bool
	Progress func(done, total int64)
	Problem  func(file, text string)
}

// FileReport is what CheckFiles found.
type FileReport struct {
	Messages, Files  int64 // that were looked at
	Unused, Repaired int64
}

// unusedFile is a file to which no message refers, with its counters.
type unusedFile struct {
	c, m, cu bson.RawValue
	length   int64
}

// CheckFiles looks for attachments that are counted as used and that no message refers to, archived ones included. It needs
// some 40 MiB of memory however many there are, and reads the ids of the attachments of every message two times or three.
func (s *Store) CheckFiles(ctx context.Context, o FileCheck) (r FileReport, err error) {
	done, err := s.enter(ctx, "CheckFiles")
	if err != nil {
		return r, err
	}
	defer done()
	before := s.o.Now().Add(-settledTime)
	total, err := s.messages().EstimatedDocumentCount(ctx)
	if err != nil {
		return r, readError("count messages", err)
	}
	used := newFileFilter()
	if err := s.eachReference(ctx, used.add, func(n int64) {
		r.Messages += n
		o.Progress(r.Messages, total)
	}); err != nil {
		return r, readError("read messages", err)
	}
	unused, err := s.unusedFiles(ctx, before, used, &r)
	if err != nil || len(unused) == 0 {
		return r, readError("read attachments", err)
	}
	if err := s.step("unused"); err != nil {
		return r, err
	}
	if err := s.eachReference(ctx, func(id []byte) { delete(unused, string(id)) }, func(int64) {}); err != nil {
		return r, readError("read messages", err)
	}
	for id, f := range unused {
		if err := s.tellUnused(ctx, []byte(id), f, o, &r); err != nil {
			return r, writeError("change the counters of an attachment", err)
		}
	}
	return r, nil
}

// eachReference calls a function with the ids of the files of all messages, also those in the archive.
func (s *Store) eachReference(ctx context.Context, found func(id []byte), read func(n int64)) error {
	for _, c := range []*mongo.Collection{s.archived(), s.messages(), s.archived()} {
		if err := s.eachPage(ctx, c, bson.D{}, referenceFields(), func(docs []bson.Raw) error {
			for _, doc := range docs {
				for _, id := range referencesOf(doc).ids {
					found(id)
				}
			}
			if c.Name() == colMessages {
				read(int64(len(docs)))
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// eachPage reads documents in ascending order of their ids, some at a time, so that no cursor is kept for long.
func (s *Store) eachPage(ctx context.Context, c *mongo.Collection, filter, fields bson.D, work func(docs []bson.Raw) error) error {
	var last bson.RawValue
	for {
		page := slices.Clone(filter)
		if last.Type != 0 {
			page = append(page, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: last}}})
		}
		var docs []bson.Raw
		err := s.again(ctx, func(ctx context.Context) (err error) {
			docs, err = findSome(ctx, c, page, fields, bson.D{{Key: "_id", Value: 1}}, filePage)
			return err
		})
		if err != nil || len(docs) == 0 {
			return err
		}
		if err := work(docs); err != nil {
			return err
		}
		last = docs[len(docs)-1].Lookup("_id")
	}
}

// unusedFiles are files with references whose counters were not changed since a time, and that are not known to be used.
func (s *Store) unusedFiles(ctx context.Context, before time.Time, used *fileFilter, r *FileReport) (map[string]unusedFile, error) {
	unused := make(map[string]unusedFile)
	filter := bson.D{{Key: "metadata.cu", Value: bson.D{{Key: "$lt", Value: before}}}}
	fields := bson.D{{Key: "length", Value: 1}, {Key: "metadata.c", Value: 1}, {Key: "metadata.m", Value: 1}, {Key: "metadata.cu", Value: 1}}
	err := s.eachPage(ctx, s.files(), filter, fields, func(docs []bson.Raw) error {
		for _, doc := range docs {
			r.Files++
			_, id, ok := doc.Lookup("_id").BinaryOK()
			f := unusedFile{doc.Lookup("metadata", "c"), doc.Lookup("metadata", "m"), doc.Lookup("metadata", "cu"), integer(doc.Lookup("length"))}
			if !ok || len(unused) >= maxUnused || integer(f.c) == 0 && integer(f.m) == 0 || used.has(id) {
				continue
			}
			unused[string(bytes.Clone(id))] = f
		}
		return nil
	})
	return unused, err
}

// tellUnused reports a file, and repairs its counters unless they have changed.
func (s *Store) tellUnused(ctx context.Context, id []byte, f unusedFile, o FileCheck, r *FileReport) error {
	r.Unused++
	text := "counted as used, and no message refers to it"
	if o.Repair {
		res, err := s.files().UpdateOne(ctx, bson.D{
			{Key: "_id", Value: fileID(id)}, {Key: "metadata.c", Value: f.c}, {Key: "metadata.m", Value: f.m}, {Key: "metadata.cu", Value: f.cu},
		}, bson.D{{Key: "$set", Value: bson.D{
			{Key: "metadata.c", Value: int32(0)}, {Key: "metadata.m", Value: int32(0)}, {Key: "metadata.cu", Value: s.o.Now()},
		}}})
		if err != nil {
			return err
		}
		if res.MatchedCount == 0 {
			r.Unused-- // somebody refers to it now
			return nil
		}
		r.Repaired++
		text = "was counted as used, and no message refers to it; it is removed in a day"
	}
	o.Problem(fileName(id), text)
	return nil
}

// fileName is how people see the id of a file.
func fileName(id []byte) string { return "attachment " + hex.EncodeToString(id) }

// fileFilter remembers files: it knows all that were added, and takes some others for them (a Bloom filter).
type fileFilter struct {
	seed maphash.Seed
	bits []uint64
}

// filterHashes is how many bits stand for a file.
const filterHashes = 5

func newFileFilter() *fileFilter {
	return &fileFilter{maphash.MakeSeed(), make([]uint64, filterBits/64)}
}

func (f *fileFilter) places(id []byte) (out [filterHashes]uint64) {
	h := maphash.Bytes(f.seed, id)
	step := h>>32 | 1
	for i := range out {
		out[i] = h % filterBits
		h += step * uint64(i+1)
	}
	return out
}

func (f *fileFilter) add(id []byte) {
	for _, p := range f.places(id) {
		f.bits[p/64] |= 1 << (p % 64)
	}
}

func (f *fileFilter) has(id []byte) bool {
	for _, p := range f.places(id) {
		if f.bits[p/64]&(1<<(p%64)) == 0 {
			return false
		}
	}
	return true
}
