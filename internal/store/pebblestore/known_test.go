package pebblestore

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func numberKey(n int) []byte { return binary.BigEndian.AppendUint64([]byte("key"), uint64(n)) }

// What was added is never said to be missing, whoever adds at the same time, and most of
// what was not added is.
func TestKnownKeys(t *testing.T) {
	var k knownKeys
	if k.lacks(numberKey(1)) {
		t.Fatal("a filter that is not complete says that a key is missing")
	}
	k.ready.Store(true)
	if !k.lacks(numberKey(1)) {
		t.Fatal("a key that nobody added is not known to be missing")
	}
	const each, writers = 50_000, 4 // more than the first two layers have room for
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				key := numberKey(w*each + i)
				k.add(key)
				if k.lacks(key) {
					t.Errorf("key %d is missing right after it was added", w*each+i)
					return
				}
			}
		})
	}
	wg.Wait()
	for i := range each * writers {
		if k.lacks(numberKey(i)) {
			t.Fatalf("key %d is missing", i)
		}
	}
	wrong := 0
	for i := range 100_000 {
		if !k.lacks(numberKey(each*writers + i)) {
			wrong++
		}
	}
	if wrong > 4000 {
		t.Errorf("%d of 100,000 keys that were not added seem to be there", wrong)
	}
}

// A filter with more keys than it may hold says nothing any more.
func TestKnownKeysOverflow(t *testing.T) {
	var k knownKeys
	k.ready.Store(true)
	full := newKeyLayer(1)
	full.count.Store(1)
	layers := make([]*keyLayer, maxLayers)
	for i := range layers {
		layers[i] = full
	}
	k.layers.Store(&layers)
	k.add([]byte("one too many"))
	if k.lacks([]byte("one too many")) || k.lacks([]byte("another")) {
		t.Error("a filter without room says that a key is missing")
	}
	k.add([]byte("and one more"))
	if k.layers.Load() != nil {
		t.Error("a filter that was given up holds memory")
	}
}

func waitLearned(t *testing.T, s *Store) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !s.known.ready.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the known keys were not learned")
		}
	}
}

// After a start the conversations and contents of before are known, those of an account
// among them that is deleted and may come back.
func TestKnownKeysOfBefore(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	defer func() { r.close() }()
	attachment := []byte(fmt.Sprintf("%5000d", 7))
	appendTo := func(references ...string) store.Appended {
		m := newMessage("hello", "text", attachment)
		c := m.content()
		c.References, c.Subject = references, "hello"
		st, err := r.s.Stage(r.ctx, c)
		r.must(err)
		defer st.Close()
		out, err := r.s.Append(r.ctx, r.acct, r.inbox, []store.Append{{Staged: st, InternalDate: time.Unix(1e9, 0)}})
		r.must(err)
		return out[0]
	}
	r.createAccount("gone")
	gone := r.acct
	appendTo("gone@example.com")
	r.must(r.s.DeleteAccount(r.ctx, gone, time.Now().Add(time.Hour)))
	r.createAccount("here")
	one := appendTo("a@example.com")
	r.close()
	r.open()
	waitLearned(t, r.s)
	for acct, id := range map[mail.AccountID]string{gone: "gone@example.com", r.acct: "a@example.com"} {
		if r.s.known.lacks(threadKey(acct, threadHashes([]string{id}, "hello")[0])) {
			t.Errorf("the conversation of %s is not known", id)
		}
	}
	rows := 0
	r.must(r.s.scan([]byte{tabBlob}, func(key, _ []byte) error {
		if rows++; r.s.known.lacks(key) {
			t.Errorf("content %x is not known", key)
		}
		return nil
	}))
	if rows != 1 {
		t.Errorf("there are %d contents, not one", rows)
	}
	if two := appendTo("b@example.com", "a@example.com"); two.ThreadID != one.ThreadID {
		t.Errorf("a reply is in conversation %v, its message in %v", two.ThreadID, one.ThreadID)
	}
}
