package pebblestore

import (
	"encoding/binary"
	"sync"

	"mallard/internal/mail"
)

// A conversation is found by any of the message ids that a message refers to,
// together with the subject. A row per id and subject names the conversation and
// the day on which it was last seen.

// millisPerDay is the unit of the age of conversations.
const millisPerDay = 24 * 60 * 60 * 1000

// threadCache keeps the rows that were read or written last: most replies come soon.
// It is two maps; when the young one is full it becomes the old one.
type threadCache struct {
	mu         sync.Mutex
	young, old map[threadCacheKey]threadRow
}

type threadCacheKey struct {
	acct mail.AccountID
	hash [16]byte
}

// threadCacheSize is the number of rows in each of the two maps: 2 MB in all.
const threadCacheSize = 16 << 10

func (c *threadCache) get(k threadCacheKey) (threadRow, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.young[k]
	if !ok {
		if r, ok = c.old[k]; ok {
			c.add(k, r)
		}
	}
	return r, ok
}

func (c *threadCache) put(k threadCacheKey, r threadRow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(k, r)
}

// clear forgets everything.
func (c *threadCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.young, c.old = nil, nil
}

func (c *threadCache) add(k threadCacheKey, r threadRow) {
	if c.young == nil || len(c.young) >= threadCacheSize {
		c.old, c.young = c.young, make(map[threadCacheKey]threadRow, threadCacheSize)
	}
	c.young[k] = r
}

// threader finds conversations for the messages of one change.
type threader struct {
	c *change
	// made are the rows that this change writes.
	made map[[16]byte]threadRow
}

// remember puts the rows that were written into the cache, once they are there.
func (t *threader) remember() {
	for h, row := range t.made {
		t.c.s.threads.put(threadCacheKey{t.c.acct.id, h}, row)
	}
}

type threadRow struct {
	thread mail.ThreadID
	day    uint32
}

func (r *threadRow) append(b []byte) []byte {
	return binary.BigEndian.AppendUint32(append(b, r.thread[:]...), r.day)
}

func decodeThreadRow(b []byte) (r threadRow, err error) {
	if len(b) != idSize+4 {
		return r, errValue
	}
	return threadRow{mail.ThreadID(b[:idSize]), binary.BigEndian.Uint32(b[idSize:])}, nil
}

// find returns the conversation of a message and writes the rows by which the next
// message finds it. The first reference that is known decides.
func (t *threader) find(hashes [][16]byte) (mail.ThreadID, error) {
	var thread mail.ThreadID
	today := uint32(t.c.now / millisPerDay)
	rows := make([]threadRow, len(hashes))
	for i, h := range hashes {
		if row, ok := t.made[h]; ok {
			rows[i] = row
		} else if err := t.read(h, &rows[i]); err != nil {
			return thread, err
		}
		if thread.IsZero() && t.fresh(rows[i].day, today) {
			thread = rows[i].thread
		}
	}
	if thread.IsZero() {
		thread = mail.NewID[mail.ThreadID](t.c.s.ids)
	}
	for i, h := range hashes {
		known := !rows[i].thread.IsZero() && t.fresh(rows[i].day, today)
		if known && rows[i].day == today {
			continue
		}
		row := threadRow{thread, today}
		if known {
			row.thread = rows[i].thread
		}
		if t.made == nil {
			t.made = map[[16]byte]threadRow{}
		}
		t.made[h] = row
		t.c.s.setKnown(t.c.batch, threadKey(t.c.acct.id, h), row.append(nil))
	}
	return thread, nil
}

// fresh reports whether a conversation is remembered.
func (t *threader) fresh(day, today uint32) bool {
	return day+uint32(t.c.s.opt.ThreadAge.Milliseconds()/millisPerDay) >= today
}

func (t *threader) read(h [16]byte, row *threadRow) error {
	key := threadCacheKey{t.c.acct.id, h}
	cached, ok := t.c.s.threads.get(key)
	if ok {
		*row = cached
		return nil
	}
	at := threadKey(t.c.acct.id, h)
	if t.c.s.known.lacks(at) {
		return nil
	}
	value, closer, err := t.c.s.db.Get(at)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return readError("read a conversation", err)
	}
	*row, err = decodeThreadRow(value)
	if cerr := closer.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		// A damaged row is a conversation that is not known.
		*row = threadRow{}
		return nil
	}
	t.c.s.threads.put(key, *row)
	return nil
}
