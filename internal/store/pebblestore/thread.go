package pebblestore

import (
	"encoding/binary"

	"mallard/internal/mail"
)

// A conversation is found by any of the message ids that a message refers to,
// together with the subject. A row per id and subject names the conversation and
// the day on which it was last seen.

// millisPerDay is the unit of the age of conversations.
const millisPerDay = 24 * 60 * 60 * 1000

// threader finds conversations for the messages of one change.
type threader struct {
	c *change
	// made are the rows that this change writes.
	made map[[16]byte]mail.ThreadID
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
		if id, ok := t.made[h]; ok {
			rows[i] = threadRow{id, today}
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
			t.made = map[[16]byte]mail.ThreadID{}
		}
		t.made[h] = row.thread
		set(t.c.batch, threadKey(t.c.acct.id, h), row.append(nil))
	}
	return thread, nil
}

// fresh reports whether a conversation is remembered.
func (t *threader) fresh(day, today uint32) bool {
	return day+uint32(t.c.s.opt.ThreadAge.Milliseconds()/millisPerDay) >= today
}

func (t *threader) read(h [16]byte, row *threadRow) error {
	value, closer, err := t.c.s.db.Get(threadKey(t.c.acct.id, h))
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
	}
	return nil
}
