package pebblestore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// coldRig is a store with messages none of which is in the cache.
func coldRig(t *testing.T, messages int) (*rig, map[mail.UID][]byte) {
	r := newRig(t, vfs.NewMem())
	random := rand.New(rand.NewPCG(1, 2))
	want := map[mail.UID][]byte{}
	for i := range messages {
		attachment := make([]byte, 3000+random.IntN(5000))
		for k := range attachment {
			attachment[k] = byte(random.Uint32())
		}
		if i%5 == 0 {
			attachment = bytes.Repeat([]byte("the same in many messages "), 200)
		}
		m := newMessage(fmt.Sprint("message ", i), fmt.Sprintf("%6000d", i), attachment)
		want[r.append(r.inbox, m, "").UID] = m.raw
	}
	r.must(r.s.db.Flush())
	r.close()
	r.open()
	r.s.opt.Helpers = 1
	return r, want
}

// Reading ahead changes nothing in what a Fetch gives, and ends with it.
func TestReadAhead(t *testing.T) {
	r, want := coldRig(t, 600)
	seen, helped := 0, 0
	for row, err := range r.s.Fetch(r.ctx, r.acct, r.inbox, store.FetchQuery{Fields: store.FieldBody}) {
		r.must(err)
		if r.s.helpers.Load() > 0 {
			helped++
		}
		body, err := row.Open()
		r.must(err)
		var got bytes.Buffer
		r.must(body.WriteRange(&got, 0, body.Size()))
		r.must(body.Close())
		if !bytes.Equal(got.Bytes(), want[row.UID]) {
			t.Fatalf("message %d differs", row.UID)
		}
		seen++
	}
	if seen != len(want) {
		t.Errorf("%d messages came, not %d", seen, len(want))
	}
	if helped == 0 {
		t.Error("nobody read ahead")
	}
	if n := r.s.helpers.Load(); n != 0 {
		t.Errorf("%d helpers are still there", n)
	}
}

// A Fetch that is left in the middle, at any place, leaves no helper and no iterator
// behind: the database could not be closed. One that opens no body neither.
func TestReadAheadIsLeft(t *testing.T) {
	for _, after := range []int{1, 9, 20, 100, 399} {
		r, _ := coldRig(t, 400)
		n := 0
		for _, err := range r.s.Fetch(r.ctx, r.acct, r.inbox, store.FetchQuery{Fields: store.FieldBody}) {
			r.must(err)
			if n++; n == after {
				break
			}
		}
		if n := r.s.helpers.Load(); n != 0 {
			t.Errorf("after %d messages %d helpers are still there", after, n)
		}
		r.close()
	}
}

// All helpers in use, none allowed, or messages that are in the cache: then nobody reads
// ahead.
func TestNobodyReadsAhead(t *testing.T) {
	r, want := coldRig(t, 200)
	fetch := func(allowed int) (helped int) {
		r.s.opt.Helpers = allowed
		n := 0
		for _, err := range r.s.Fetch(r.ctx, r.acct, r.inbox, store.FetchQuery{Fields: store.FieldHeader}) {
			r.must(err)
			helped = max(helped, int(r.s.helpers.Load()))
			n++
		}
		if n != len(want) {
			t.Errorf("%d messages came, not %d", n, len(want))
		}
		return helped
	}
	if n := fetch(-1); n != 0 {
		t.Errorf("%d helpers, none is allowed", n)
	}
	if n := fetch(1); n != 0 {
		t.Errorf("%d helpers for what is in the cache", n)
	}
}

// Who reads ahead leaves the messages in front of the Fetch to it when it is caught up,
// and does not do so again on its way to where it goes on.
func TestBeginAhead(t *testing.T) {
	for _, c := range []struct{ begin, at, visited, want int64 }{
		{12, 1, 0, 12},                           // on its way to the first message
		{12, 40, 8, 12},                          // far ahead
		{12, 40, 39 - aheadNear, 12},             // not caught up
		{12, 40, 38, 38 + aheadSkip},             // the next message is the one that the Fetch comes to next
		{12, 40, 40, 40 + aheadSkip},             // passed
		{38 + aheadSkip, 41, 40, 38 + aheadSkip}, // on its way again
	} {
		if got := beginAhead(c.begin, c.at, c.visited); got != c.want {
			t.Errorf("begin %d, at %d, the Fetch has done with %d: %d, not %d", c.begin, c.at, c.visited, got, c.want)
		}
	}
}
