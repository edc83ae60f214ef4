package pebblestore

import (
	"errors"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
)

// knownKeys tells of most keys that the database does not have that it does not have
// them. Each delivery looks for a conversation by the message's own id, and for its
// attachments by their hashes; nearly always there is nothing, which the database finds
// out by looking into all of its levels. This is a Bloom filter of the keys of both
// tables in memory. It is filled in the background after the start; until then, and
// when there are more keys than it has room for, it knows nothing and costs nothing.
type knownKeys struct {
	mu     sync.Mutex // held by who adds a layer
	layers atomic.Pointer[[]*keyLayer]
	// ready is set when the keys that were there at the start are in the filter.
	ready atomic.Bool
	off   atomic.Bool
}

// A layer has ten bits for each of its keys; a key that is not in it seems to be with a
// probability of about one in a hundred. Each layer has room for four times as many keys
// as the one before: five take 27 MB and 22 million keys.
const (
	firstLayerKeys = 64 << 10
	layerGrowth    = 4
	maxLayers      = 5
	layerBits      = 10
	keyBlockWords  = 8 // a key has one bit in each word of a block, which is a line of the processor's cache
)

type keyLayer struct {
	words []atomic.Uint64
	count atomic.Int64
	room  int64
}

func newKeyLayer(keys int64) *keyLayer {
	blocks := keys*layerBits/(64*keyBlockWords) + 1
	return &keyLayer{words: make([]atomic.Uint64, blocks*keyBlockWords), room: keys}
}

// block returns the words of a hash, and the bits to look at: six for each word.
func (l *keyLayer) block(h uint64) ([]atomic.Uint64, uint64) {
	blocks := uint64(len(l.words) / keyBlockWords)
	i, _ := bits.Mul64(h, blocks)
	return l.words[i*keyBlockWords:][:keyBlockWords], (h ^ h>>32) * 0x9e3779b97f4a7c15
}

func (l *keyLayer) has(h uint64) bool {
	words, at := l.block(h)
	for i := range words {
		if words[i].Load()&(1<<(at>>(6*i+16)&63)) == 0 {
			return false
		}
	}
	return true
}

func (l *keyLayer) add(h uint64) {
	words, at := l.block(h)
	for i := range words {
		words[i].Or(1 << (at >> (6*i + 16) & 63))
	}
	l.count.Add(1)
}

// lacks reports whether the database surely has no such key.
func (k *knownKeys) lacks(key []byte) bool {
	if !k.ready.Load() || k.off.Load() {
		return false
	}
	return !k.seen(xxhash.Sum64(key))
}

func (k *knownKeys) seen(h uint64) bool {
	layers := k.layers.Load()
	if layers == nil {
		return false
	}
	for _, l := range *layers {
		if l.has(h) {
			return true
		}
	}
	return false
}

// add must be called before the key can be found in the database.
func (k *knownKeys) add(key []byte) {
	if k.off.Load() {
		return
	}
	h := xxhash.Sum64(key)
	if k.seen(h) {
		return
	}
	if layers := k.layers.Load(); layers != nil {
		if last := (*layers)[len(*layers)-1]; last.count.Load() < last.room {
			last.add(h)
			return
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.grow()
	if layers := k.layers.Load(); layers != nil {
		(*layers)[len(*layers)-1].add(h)
	}
}

// grow adds a layer when the last one is full, unless there are all already: then the
// filter is given up. k.mu is held.
func (k *knownKeys) grow() {
	var have []*keyLayer
	keys := int64(firstLayerKeys)
	if p := k.layers.Load(); p != nil {
		have = *p
		last := have[len(have)-1]
		if last.count.Load() < last.room {
			return
		}
		keys = last.room * layerGrowth
	}
	if len(have) == maxLayers || k.off.Load() {
		k.off.Store(true)
		k.layers.Store(nil)
		return
	}
	grown := append(append([]*keyLayer(nil), have...), newKeyLayer(keys))
	k.layers.Store(&grown)
}

// setKnown adds a row of one of the tables whose keys are known.
func (s *Store) setKnown(b *pebble.Batch, key, value []byte) {
	s.known.add(key)
	set(b, key, value)
}

// setContent is setKnown for content, which is copied once only.
func (s *Store) setContent(b *pebble.Batch, key, data []byte) {
	s.known.add(key)
	op := b.SetDeferred(len(key), len(data)+1)
	copy(op.Key, key)
	appendPlain(op.Value[:0], data)
	if err := op.Finish(); err != nil {
		panic(err) // fails only by misuse
	}
}

// Learning keys leaves time for others, and lets go of the state of the database: so many
// keys, then a pause.
const (
	learnStep  = 4096
	learnPause = time.Millisecond
)

// learnKeys puts the keys into the filter that are in the database at the start: those
// of accounts that are deleted and may come back, too.
func (s *Store) learnKeys() {
	err := s.learnRange([]byte{tabBlob}, after([]byte{tabBlob}))
	for at := []byte{tabOwned}; err == nil && at != nil; {
		var acct []byte
		if acct, err = s.firstOwner(at); err != nil || acct == nil {
			break
		}
		threads := append(append([]byte(nil), acct...), tabThread)
		err = s.learnRange(threads, after(threads))
		if at = after(acct); s.stopping() {
			err = errClosing
		}
	}
	switch {
	case err == nil:
		s.known.ready.Store(true)
	case !errors.Is(err, errClosing):
		s.log.Warn("deliveries are slower until the next start: the known keys cannot be read", "err", err)
	}
}

// firstOwner returns the beginning of the keys of the first account from a key on, nil
// when there is none.
func (s *Store) firstOwner(from []byte) (acct []byte, err error) {
	err = s.scanRange(from, after([]byte{tabOwned}), func(key, _ []byte) error {
		acct = append(acct, key[:1+idSize]...)
		return errStop
	})
	return acct, err
}

// stopping reports whether the store is being closed.
func (s *Store) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// errClosing ends a job that the end of the store interrupts.
var errClosing = errors.New("the store is being closed")

func (s *Store) learnRange(lower, upper []byte) error {
	for {
		last, err := s.learnSome(lower, upper)
		if err != nil || last == nil || s.known.off.Load() {
			return err
		}
		lower = append(last, 0)
		select {
		case <-s.stop:
			return errClosing
		case <-time.After(learnPause):
		}
	}
}

// learnSome puts some keys into the filter and returns the last of them, nil at the end.
func (s *Store) learnSome(lower, upper []byte) (last []byte, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, readError("read the known keys", err)
	}
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		s.known.add(it.Key())
		if n++; n == learnStep {
			last = append(last, it.Key()...)
			break
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return nil, readError("read the known keys", err)
	}
	return last, nil
}
