package mongostore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	// garbageAge is how long a file without references is kept: an upload that is not referred to yet, a message that
	// somebody is reading.
	garbageAge = 24 * time.Hour
	// maxGarbage is how many files are removed in one run.
	maxGarbage = 1000
)

// references are the GridFS files that a message refers to, one for each entry of its attachmentMap, and the number by
// which each counts.
type references struct {
	ids   [][]byte
	magic int32
}

// referenceFields is the projection for referencesOf.
func referenceFields() bson.D {
	return bson.D{{Key: "magic", Value: 1}, {Key: "mimeTree.attachmentMap", Value: 1}}
}

// referencesOf are the references of a document. They do not alias it.
func referencesOf(doc bson.Raw) references {
	r := references{magic: int32(integer(doc.Lookup("magic")))}
	m, ok := doc.Lookup("mimeTree", "attachmentMap").DocumentOK()
	if !ok {
		return r
	}
	elements, err := m.Elements()
	if err != nil {
		return r
	}
	for _, e := range elements {
		if _, id, ok := e.Value().BinaryOK(); ok {
			r.ids = append(r.ids, slices.Clone(id))
		}
	}
	return r
}

// countedOf are the references of a message that can be taken off when it is removed for good: what was counted for it, or
// fewer. A message that was stored counts each entry of its attachmentMap, a copy each file once, see addReferences. One that has
// another id than its first was copied or moved. That we have moved it shows in its id; where a WildDuck has given it that id
// nothing says for sure which, and it counts as a copy. Of one that was moved so and has a file more than once that file then
// stays counted until CheckFiles finds it, where else a file would be removed that another message has still.
func countedOf(doc bson.Raw, m *hotMessage) references {
	r := referencesOf(doc)
	seen := make(map[string]bool, len(r.ids))
	var once [][]byte
	for _, id := range r.ids {
		if !seen[string(id)] {
			once = append(once, id)
		}
		seen[string(id)] = true
	}
	if len(once) < len(r.ids) && !onlyMoved(m) {
		r.ids = once
	}
	return r
}

// maxMoves is how many moves of one message are followed, a hash each.
const maxMoves = 10_000

// onlyMoved reports whether a message is the one that was stored first, or what moves have made of it that were ours.
func onlyMoved(m *hotMessage) bool {
	id := m.Root
	for range maxMoves {
		if id == m.ID {
			return true
		}
		if id.Timestamp() != m.ID.Timestamp() { // movedID keeps it
			return false
		}
		id = movedID(id)
	}
	return false
}

// tally is what a file's counters are changed by.
type tally struct{ c, m int64 }

// addReferences counts documents that were copied: each file once, however often a message has it.
func (s *Store) addReferences(ctx context.Context, refs ...references) error {
	return s.count(ctx, refs, true, 1)
}

// undoReferences undoes addReferences; the purge of archived messages counts that way, too.
func (s *Store) undoReferences(ctx context.Context, refs ...references) error {
	return s.count(ctx, refs, true, -1)
}

// dropReferences says that messages are gone: each entry of their attachmentMap counts. It undoes storeAttachments.
func (s *Store) dropReferences(ctx context.Context, refs ...references) error {
	return s.count(ctx, refs, false, -1)
}

func (s *Store) count(ctx context.Context, refs []references, distinct bool, sign int64) error {
	sums := map[string]*tally{}
	var order []string
	for _, r := range refs {
		seen := map[string]bool{}
		for _, id := range r.ids {
			key := string(id)
			if distinct && seen[key] {
				continue
			}
			seen[key] = true
			t := sums[key]
			if t == nil {
				t = &tally{}
				sums[key] = t
				order = append(order, key)
			}
			t.c += sign
			t.m += sign * int64(r.magic)
		}
	}
	if len(order) == 0 {
		return nil
	}
	now := s.o.Now()
	models := make([]mongo.WriteModel, 0, len(order))
	for _, key := range order {
		t := sums[key]
		models = append(models, mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: fileID([]byte(key))}}).SetUpdate(bson.D{
			{Key: "$inc", Value: bson.D{{Key: "metadata.c", Value: numberOf(t.c)}, {Key: "metadata.m", Value: numberOf(t.m)}}},
			{Key: "$set", Value: bson.D{{Key: "metadata.cu", Value: now}}},
		}))
	}
	_, err := s.files().BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	return writeError("count references to attachments", err)
}

// collectGarbage removes attachments that nobody refers to, and has done for a day. It returns how many there were.
func (s *Store) collectGarbage(ctx context.Context) (removed int, err error) {
	ids, err := s.garbage(ctx)
	if err != nil {
		return 0, readError("look for attachments without references", err)
	}
	for _, id := range ids {
		gone, err := s.removeFile(ctx, id)
		if err != nil {
			return removed, writeError("remove an attachment without references", err)
		}
		if gone {
			removed++
		}
	}
	return removed, nil
}

// unreferenced are the conditions under which a file is garbage.
func (s *Store) unreferenced() bson.D {
	return bson.D{
		{Key: "metadata.c", Value: 0}, {Key: "metadata.m", Value: 0},
		{Key: "$or", Value: bson.A{
			bson.D{{Key: "metadata.cu", Value: nil}},
			bson.D{{Key: "metadata.cu", Value: bson.D{{Key: "$lt", Value: s.o.Now().Add(-garbageAge)}}}},
		}},
	}
}

func (s *Store) garbage(ctx context.Context) ([][]byte, error) {
	cursor, err := s.files().Find(ctx, s.unreferenced(), options.Find().SetHint("related_attachments_cu").SetLimit(maxGarbage).
		SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, err
	}
	defer cursor.Close(ctx)
	var ids [][]byte
	for cursor.Next(ctx) {
		if _, id, ok := cursor.Current.Lookup("_id").BinaryOK(); ok {
			ids = append(ids, slices.Clone(id))
		}
	}
	return ids, cursor.Err()
}

// removeFile removes a file if nobody refers to it still: its document first, then the chunks that it had. A file of the
// same id that is stored meanwhile has others.
func (s *Store) removeFile(ctx context.Context, id []byte) (gone bool, err error) {
	chunks, err := s.chunkIDs(ctx, bson.D{{Key: "files_id", Value: fileID(id)}})
	if err != nil {
		return false, err
	}
	res, err := s.files().DeleteOne(ctx, append(bson.D{{Key: "_id", Value: fileID(id)}}, s.unreferenced()...))
	if err != nil {
		return false, fmt.Errorf("its document: %w", err)
	}
	if res.DeletedCount == 0 {
		return false, nil
	}
	if err := s.removeChunks(ctx, id, chunks); err != nil {
		return true, fmt.Errorf("its chunks: %w", err)
	}
	return true, nil
}
