package pebblestore

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// What is in the log alone goes into tables once nothing more is written.
func TestStoreAtRestIsFlushed(t *testing.T) {
	o := options(vfs.NewMem())
	o.MemTableSize = 64 << 20 // never full here
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{TB: t, ctx: t.Context(), s: s}
	defer r.close()
	r.createAccount("still")
	for i := range 5 << 20 / (100 << 10) {
		r.append(r.inbox, newMessage("still", "text", randomBytes(100<<10, uint64(i))), "")
	}
	before := s.db.Metrics().Flush.Count
	for end := time.Now().Add(20 * stillInterval); s.db.Metrics().Flush.Count == before; {
		if time.Now().After(end) {
			t.Fatalf("%d octets stay in the log", s.logged.Load())
		}
		<-time.After(20 * time.Millisecond)
	}
	if n := s.logged.Load(); n >= flushFrom {
		t.Errorf("%d octets count as not flushed", n)
	}
}
