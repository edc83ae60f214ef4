package mongostore

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// counters are those of a file: c, m, and whether it is there.
func (s *Store) counters(t testing.TB, id []byte) (c, m int64, there bool) {
	t.Helper()
	doc, err := s.files().FindOne(t.Context(), bson.D{{Key: "_id", Value: fileID(id)}}).Raw()
	if err != nil {
		return 0, 0, false
	}
	return integer(doc.Lookup("metadata", "c")), integer(doc.Lookup("metadata", "m")), true
}

// The arithmetic of references: a message counts each entry, a copy each file, and so back.
func TestReferences(t *testing.T) {
	s := openStore(t)
	a, b := wrapped(random(1000, 1), 76, "\r\n"), wrapped(random(1000, 2), 76, "\r\n")
	one, p := s.insertForTest(t, contentOf(mixed("\r\n", a, a, b)), "")
	two, q := s.insertForTest(t, contentOf(mixed("\r\n", a)), "Delivered-To: x\r\n")
	refs, others := referencesOf(one), referencesOf(two)
	if len(refs.ids) != 3 || refs.magic != p.refs.magic || len(others.ids) != 1 || len(p.refs.ids) != 3 {
		t.Fatalf("references are %v and %v", refs, others)
	}
	m, n := int64(p.refs.magic), int64(q.refs.magic)
	check := func(when string, c1, m1, c2, m2 int64) {
		t.Helper()
		for i, want := range [][2]int64{{c1, m1}, {c2, m2}} {
			if c, m, there := s.counters(t, refs.ids[1+i]); c != want[0] || m != want[1] || !there {
				t.Errorf("%s: file %d has %d and %d, want %v", when, i, c, m, want)
			}
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	check("stored", 3, 2*m+n, 1, m)
	do(s.addReferences(ctx, refs, refs))
	check("copied twice", 5, 4*m+n, 3, 3*m)
	do(s.undoReferences(ctx, refs))
	check("one copy taken back", 4, 3*m+n, 2, 2*m)
	do(s.dropReferences(ctx, refs, others))
	check("two messages gone", 1, m, 1, m)
	do(s.dropReferences(ctx))
	if files := rowsIn(t, s, s.o.Bucket+".files"); files != 2 {
		t.Errorf("there are %d files, want 2", files)
	}
}

func rowsIn(t testing.TB, s *Store, collection string) int64 {
	t.Helper()
	n, err := s.db.gridfs.Collection(collection).CountDocuments(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Many messages with one file at the same time store it once.
func TestSameFileAtOnce(t *testing.T) {
	for _, size := range []int{3000, 700_000} {
		s := openStore(t, func(o *Options) { o.Locks = &localLocks{} })
		raw := mixed("\r\n", wrapped(random(size, 5), 76, "\r\n"))
		const n = 8
		var wg sync.WaitGroup
		var mu sync.Mutex
		sum := int64(0)
		var docs []bson.Raw
		for range n {
			wg.Go(func() {
				doc, p := s.insertForTest(t, contentOf(raw), "")
				mu.Lock()
				defer mu.Unlock()
				sum += int64(p.refs.magic)
				docs = append(docs, doc)
			})
		}
		wg.Wait()
		for _, doc := range docs {
			if got := s.readForTest(t, doc); !bytes.Equal(got, raw) {
				t.Error(difference(got, raw))
			}
		}
		c, m, _ := s.counters(t, referencesOf(docs[0]).ids[0])
		if c != n || m != sum || rowsIn(t, s, s.o.Bucket+".files") != 1 || rowsIn(t, s, s.o.Bucket+".chunks") != int64(size/chunkSize+1) {
			t.Errorf("%d octets: counted %d, %d of %d", size, c, m, sum)
		}
	}
}

// localLocks are locks within a test.
type localLocks struct {
	mu   sync.Mutex
	held map[string]bool
	lose bool // the next lock is lost at once
}

func (l *localLocks) Lock(ctx context.Context, name string, _ time.Duration) (func(), <-chan struct{}, error) {
	for {
		l.mu.Lock()
		if !l.held[name] {
			break
		}
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]bool{}
	}
	l.held[name] = true
	lost := make(chan struct{})
	if l.lose {
		close(lost)
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, name)
	}, lost, nil
}

// What an upload has left behind that was cut off does not keep the file from being stored.
func TestStaleUploads(t *testing.T) {
	clock := newClock(time.Now())
	s := openStore(t, func(o *Options) { o.Locks = &localLocks{}; o.Now = clock.Now })
	for _, tt := range []struct {
		name string
		size int
		age  time.Duration
		same bool // the chunk is the beginning of the file
		ok   bool
	}{
		{"fresh", 3000, 0, true, false},
		{"a minute old", 3000, 2 * time.Minute, true, true},
		{"a minute old, of another kind", 3000, 2 * time.Minute, false, false},
		{"an hour old, of another kind", 3000, time.Hour, false, true},
		{"under the lock", 700_000, 0, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := mixed("\r\n", wrapped(random(tt.size, uint64(len(tt.name))), 76, "\r\n"))
			st := &staged{s: s, size: int64(len(raw)), mem: raw, src: bytes.NewReader(raw)}
			if err := st.takeApart(st.src); err != nil {
				t.Fatal(err)
			}
			a := st.files[0]
			var data bytes.Buffer
			if err := a.open(st.src, &data); err != nil {
				t.Fatal(err)
			}
			left := data.Bytes()[:min(chunkSize, data.Len())]
			if !tt.same {
				left = []byte("other")
			}
			_, err := s.chunks().InsertOne(t.Context(), bson.D{
				{Key: "_id", Value: bson.NewObjectIDFromTimestamp(clock.Now().Add(-tt.age))}, {Key: "files_id", Value: fileID(a.id[:])}, {Key: "n", Value: 0}, {Key: "data", Value: bson.Binary{Data: left}},
			})
			if err != nil {
				t.Fatal(err)
			}
			patience := 3 * time.Second
			if tt.ok {
				patience = time.Minute
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			staged0, err := s.Stage(ctx, contentOf(raw))
			if err != nil {
				t.Fatal(err)
			}
			defer staged0.Close()
			p, err := s.prepare(ctx, staged0.(*staged), nil)
			if err == nil {
				err = s.storeAttachments(ctx, p)
			}
			if !tt.ok {
				if e, ok := errors.AsType[*mail.Error](err); !ok || (e.Code != mail.CodeUnavailable && e.Code != mail.CodeCanceled) {
					t.Errorf("error is %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := s.readFile(ctx, &got, a.id[:], 0, a.kept.length); err != nil || !bytes.Equal(got.Bytes(), data.Bytes()) {
				t.Errorf("%s (%v)", difference(got.Bytes(), data.Bytes()), err)
			}
		})
	}
}

// Garbage is what nobody refers to since a day. What is stored anew while it is removed stays whole.
func TestGarbage(t *testing.T) {
	clock := newClock(time.Now())
	locks := &localLocks{}
	s := openStore(t, func(o *Options) { o.Locks = locks; o.Now = clock.Now })
	var docs []bson.Raw
	for i := range 3 {
		doc, _ := s.insertForTest(t, contentOf(mixed("\r\n", wrapped(random(400_000, uint64(i)), 76, "\r\n"))), "")
		docs = append(docs, doc)
	}
	large := bytes.Repeat([]byte("x"), inMemory+1) // stored early and never referred to
	st, err := s.Stage(t.Context(), contentOf(append([]byte("Content-Type: image/png\r\n\r\n"), large...)))
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
	if err := s.dropReferences(t.Context(), referencesOf(docs[0]), referencesOf(docs[1])); err != nil {
		t.Fatal(err)
	}
	removed := func(want int) {
		t.Helper()
		if done, err := s.Maintain(t.Context()); done.Files != want || err != nil {
			t.Errorf("%d were removed, want %d (%v)", done.Files, want, err)
		}
	}
	removed(0)
	clock.pass(25 * time.Hour)
	again, _ := s.insertForTest(t, contentOf(mixed("\r\n", wrapped(random(400_000, 1), 76, "\r\n"))), "")
	release, _, err := locks.Lock(t.Context(), lockMaintain, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	removed(0) // as another node is at it
	release()
	removed(2)
	if files, chunks := rowsIn(t, s, s.o.Bucket+".files"), rowsIn(t, s, s.o.Bucket+".chunks"); files != 2 || chunks != 4 {
		t.Errorf("there are %d files and %d chunks", files, chunks)
	}
	for _, doc := range []bson.Raw{docs[2], again} {
		s.readForTest(t, doc)
	}
	b, err := s.openBody(t.Context(), docs[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WriteRange(&bytes.Buffer{}, 0, b.Size()); err == nil {
		t.Error("a message without its attachment is read")
	}
}

// A lock that is lost ends the upload: another node may be at it.
func TestUploadLosesLock(t *testing.T) {
	s := openStore(t, func(o *Options) { o.Locks = &localLocks{lose: true} })
	raw := mixed("\r\n", wrapped(random(5_000_000, 1), 76, "\r\n"))
	_, err := s.Stage(t.Context(), contentOf(raw))
	if err == nil {
		t.Fatal("the message is stored all the same")
	}
	if n := rowsIn(t, s, s.o.Bucket+".files") + rowsIn(t, s, s.o.Bucket+".chunks"); n != 0 {
		t.Errorf("%d documents are left behind (%v)", n, err)
	}
}
