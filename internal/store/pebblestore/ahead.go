package pebblestore

import (
	"encoding/binary"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Reading ahead: what nobody has read for a while must be read from files and
// decompressed, which takes most of the time of a Fetch. A second goroutine does that
// for messages which the Fetch has not reached, so that it finds their blocks in the
// cache of the database. It begins when the Fetch meets blocks that are not there, and
// ends when it meets none itself. Content that it has found it hands over.

const (
	// aheadAfter is how many messages a Fetch reads alone before it looks, and between looks.
	aheadAfter = 8
	// aheadSkip is how far in front of the Fetch the goroutine begins, and begins again
	// when it has been caught up: what is nearer the Fetch reads itself, meanwhile.
	aheadSkip = 12
	// aheadNear is how near the Fetch may come until it has caught up. If the goroutine
	// went on with the next message, the Fetch would wait for it at each block from then on.
	aheadNear = 4
	// aheadMost is by how many messages the goroutine is ahead at most, and aheadBodies
	// when it reads their content, too.
	aheadMost, aheadBodies = 256, 64
	// aheadSize is the size of messages whose content is left to the Fetch.
	aheadSize = 512 << 10
	// aheadWarm is after how many messages that were in the cache it gives up.
	aheadWarm = 64
)

// ahead is the goroutine that reads ahead of one Fetch. The Fetch waits for its end
// before it lets go of the state of the database, or of content.
type ahead struct {
	s      *Store
	rows   *pebble.Iterator
	docs   cursor
	texts  cursor
	found  found
	bodies bool // content is read, too
	most   int64
	lay    layout
	key    [refKeySize]byte

	// visited is how many messages the Fetch has done with since the goroutine began:
	// the one that it is at has the position behind that.
	visited atomic.Int64
	waiting atomic.Int64 // until the Fetch has visited so many; 0 when not waiting
	stopped atomic.Bool
	ended   atomic.Bool
	last    int64         // the position that it came to; to be read when ended is set
	wake    chan struct{} // holds one
	done    chan struct{}

	cold uint64 // octets that were not in the cache so far
	warm int    // messages since there were any
}

// readAhead counts a message that the Fetch has come to, and begins or ends reading
// ahead.
func (f *fetch) readAhead() {
	a := f.ahead
	if a == nil {
		if f.count%aheadAfter == 0 && f.q.Order == store.ByUID && f.docs.it != nil {
			f.mayBegin()
		}
		return
	}
	n := a.visited.Add(1)
	if a.ended.Load() && n > a.last {
		f.endAhead()
	} else if w := a.waiting.Load(); w > 0 && n >= w {
		a.wakeUp()
	}
}

// mayBegin begins when blocks were not in the cache lately. On a machine that is busy
// with many clients it would do no good: then the helpers are all in use.
func (f *fetch) mayBegin() {
	cold := coldOctets(f.docs.it)
	if cold == f.cold || f.q.Limit > 0 && f.q.Limit < 2*aheadSkip {
		return
	}
	f.cold = cold
	if f.s.helpers.Add(1) > int64(f.s.opt.Helpers) {
		f.s.helpers.Add(-1)
		return
	}
	a := &ahead{s: f.s, most: aheadMost, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if a.bodies = f.q.Fields&store.FieldBody != 0; a.bodies {
		a.most = aheadBodies
	}
	if err := a.open(f); err != nil {
		a.close() // the Fetch will meet the same trouble
		f.s.helpers.Add(-1)
		return
	}
	f.ahead = a
	go a.run(boxKey(tabHot, f.acct, f.mbox), f.q.UIDs, f.row.UID+1)
}

// coldOctets is how many octets an iterator has had to read from files.
func coldOctets(it *pebble.Iterator) uint64 {
	s := it.Stats().InternalStats
	return s.BlockBytes - s.BlockBytesInCache
}

// open opens iterators on the state that the Fetch reads.
func (a *ahead) open(f *fetch) (err error) {
	if a.rows, err = f.rows.Clone(pebble.CloneOptions{}); err != nil {
		return readError("read ahead", err)
	}
	a.docs = cursor{tab: f.docs.tab, prefix: f.docs.prefix}
	a.texts = cursor{tab: f.texts.tab, prefix: f.texts.prefix}
	return nil
}

func (a *ahead) close() {
	for _, it := range []*pebble.Iterator{a.rows, a.docs.it, a.texts.it} {
		if it != nil {
			_ = it.Close() // the Fetch will meet the same trouble
		}
	}
}

// endAhead stops the goroutine, if there is one, and waits for it.
func (f *fetch) endAhead() {
	a := f.ahead
	if a == nil {
		return
	}
	f.ahead = nil
	a.stopped.Store(true)
	a.wakeUp()
	<-a.done
	a.found.drop(math.MaxInt64)
	f.s.helpers.Add(-1)
}

func (a *ahead) wakeUp() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run visits the messages of a set from a UID on.
func (a *ahead) run(prefix []byte, set mail.UIDSet, from mail.UID) {
	defer close(a.done)
	defer a.ended.Store(true)
	defer a.close()
	at, begin := int64(1), int64(aheadSkip)
	for _, r := range set {
		if r.Last < from {
			continue
		}
		first := binary.BigEndian.AppendUint32(prefix, uint32(max(from, r.First)))
		ok := a.rows.SeekGE(first)
		for ; ok && keyUID(a.rows.Key()) <= r.Last; ok = a.rows.Next() {
			if a.last = at; !a.keepDistance(at) {
				return
			}
			v := a.visited.Load()
			begin = beginAhead(begin, at, v)
			if at%aheadAfter == 0 {
				a.found.drop(v)
			}
			if at >= begin && !a.visit(at) {
				return
			}
			at++
		}
		if !ok { // there is nothing behind this range either
			return
		}
	}
}

// beginAhead is the position from which messages are read, when the goroutine has come to
// a position and the Fetch has done with so many.
func beginAhead(begin, at, visited int64) int64 {
	if at >= begin && at <= visited+aheadNear {
		return visited + aheadSkip
	}
	return begin
}

// keepDistance waits until the message at a position is not too far ahead of the Fetch.
// False means that the Fetch has ended.
func (a *ahead) keepDistance(at int64) bool {
	for at-a.visited.Load() > a.most && !a.stopped.Load() {
		until := at - a.most/2
		a.waiting.Store(until)
		if a.visited.Load() < until && !a.stopped.Load() {
			<-a.wake
		}
		a.waiting.Store(0)
	}
	return !a.stopped.Load()
}

// visit brings what belongs to the present message into the cache. False means that
// there is trouble, which the Fetch will meet, or that all is in the cache.
func (a *ahead) visit(at int64) bool {
	var h hot
	value, err := a.rows.ValueAndErr()
	if err != nil || h.decode(value) != nil {
		return false
	}
	value, err = a.docs.find(a.rows, append(append(a.key[:0], a.docs.prefix...), h.email[:]...))
	if err != nil {
		return false
	}
	if a.bodies && h.size <= aheadSize && !a.content(&h, value, at) {
		return false
	}
	cold := coldOctets(a.docs.it)
	if a.texts.it != nil {
		cold += coldOctets(a.texts.it)
	}
	if a.warm++; cold != a.cold {
		a.cold, a.warm = cold, 0
	}
	return a.warm < aheadWarm
}

// content reads the text and the content that a document names.
func (a *ahead) content(h *hot, value []byte, at int64) bool {
	var d document
	if d.decode(value) != nil {
		return false
	}
	if _, err := a.lay.decode(d.sections[secLayout]); err != nil {
		return false
	}
	if a.lay.textMode == textOwn {
		if _, err := a.texts.find(a.rows, append(append(a.key[:0], a.texts.prefix...), h.email[:]...)); err != nil {
			return false
		}
	}
	ok := true
	a.lay.hashes(func(h hash, size int64) {
		if size < blobFileFrom && ok {
			ok = a.found.fetch(a.s, h, at)
		}
	})
	return ok
}

// found keeps content that was read ahead for the Fetch, which need not look for it
// again. What the Fetch has passed without using it is let go.
type found struct {
	mu   sync.Mutex
	rows []foundRow
}

type foundRow struct {
	hash   hash
	at     int64 // position of the message
	value  []byte
	closer io.Closer
}

// fetch reads content; false means that there is trouble, which the Fetch will meet.
func (x *found) fetch(s *Store, h hash, at int64) bool {
	value, closer, err := s.db.Get(hashKey(tabBlob, h))
	if err != nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rows = append(x.rows, foundRow{h, at, value, closer})
	return true
}

// take gives content away, whose user closes it.
func (x *found) take(h hash) (value []byte, closer io.Closer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range x.rows {
		if r := x.rows[i]; r.hash == h {
			x.rows = slices.Delete(x.rows, i, i+1)
			return r.value, r.closer
		}
	}
	return nil, nil
}

// drop lets go of what belongs to messages before a position.
func (x *found) drop(before int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rows = slices.DeleteFunc(x.rows, func(r foundRow) bool {
		if r.at >= before {
			return false
		}
		_ = r.closer.Close() // it was only read
		return true
	})
}
