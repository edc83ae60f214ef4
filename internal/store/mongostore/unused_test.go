package mongostore

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// A file to which no message refers, and that is counted all the same, is found and freed; one that a message refers to, here
// or in the archive, is not, nor one of which the counters changed lately, or while the messages were read.
func TestCheckFiles(t *testing.T) {
	t.Parallel()
	clock := newClock(time.Now().Truncate(time.Millisecond))
	s := openStore(t, func(o *Options) { o.Now = clock.Now })
	ids := map[string][]byte{}
	add := func(name string, seed uint64) bson.Raw {
		t.Helper()
		doc, _ := s.insertForTest(t, contentOf(mixed("\r\n", wrapped(random(1000, seed), 76, "\r\n"))), "")
		ids[name] = referencesOf(doc).ids[0]
		return doc
	}
	gone := func(doc bson.Raw) {
		t.Helper()
		if _, err := s.messages().DeleteOne(t.Context(), bson.D{{Key: "_id", Value: doc.Lookup("_id")}}); err != nil {
			t.Fatal(err)
		}
	}
	add("used", 1)
	archived := add("archived", 2)
	if _, err := s.archived().InsertOne(t.Context(), archived); err != nil {
		t.Fatal(err)
	}
	gone(archived)
	gone(add("leaked", 3))
	gone(add("racing", 4))
	clock.pass(2 * settledTime)
	gone(add("fresh", 5)) // as one whose message is about to be stored
	s.hook = func(step string) error {
		if step == "unused" { // another message refers to it now, and is not there yet
			return s.addReferences(t.Context(), references{ids: [][]byte{ids["racing"]}, magic: 7})
		}
		return nil
	}
	want := map[string]int64{}
	for name, id := range ids {
		want[name], _, _ = s.counters(t, id)
		if want[name] != 1 {
			t.Fatalf("%s: counted %d times", name, want[name])
		}
	}
	for _, repair := range []bool{false, true} {
		var told []string
		var progress int64
		r, err := s.CheckFiles(t.Context(), FileCheck{
			Repair: repair, Progress: func(done, _ int64) { progress = done }, Problem: func(file, text string) { told = append(told, file+": "+text) },
		})
		if err != nil || r.Messages != 1 || progress != 1 {
			t.Fatalf("%+v, %v; progress %d", r, err, progress)
		}
		wantUnused, wantRepaired := int64(2), int64(0) // the first run has seen racing before it was referred to
		if repair {
			wantUnused, wantRepaired = 1, 1
			want["leaked"] = 0
		}
		want["racing"]++
		if r.Unused != wantUnused || r.Repaired != wantRepaired || int64(len(told)) != wantUnused {
			t.Errorf("repair %v: %+v, told %q", repair, r, told)
		}
		for name, id := range ids {
			if c, _, _ := s.counters(t, id); c != want[name] {
				t.Errorf("repair %v: %s is counted %d times, want %d", repair, name, c, want[name])
			}
		}
	}
	s.hook = nil
	removed, err := s.collectGarbage(t.Context())
	if err != nil || removed != 0 {
		t.Errorf("%d files are removed at once, %v", removed, err)
	}
	clock.pass(garbageAge + time.Hour)
	if removed, err = s.collectGarbage(t.Context()); err != nil || removed != 1 {
		t.Errorf("%d files are removed a day later, %v", removed, err)
	}
	if _, _, there := s.counters(t, ids["leaked"]); there {
		t.Error("the file that nobody refers to is still there")
	}
}

// The filter knows everything that was added, and not much else.
func TestFileFilter(t *testing.T) {
	f := newFileFilter()
	const n = 30_000 // random has 65536 seeds
	for i := range n {
		f.add(random(32, uint64(i)))
	}
	wrong := 0
	for i := range n {
		if !f.has(random(32, uint64(i))) {
			t.Fatal("a file is forgotten")
		}
		if f.has(random(32, uint64(n+i))) {
			wrong++
		}
	}
	if wrong > n/1000 {
		t.Errorf("%d of %d files are taken for others", wrong, n)
	}
}
