package pebblestore

import (
	"encoding/binary"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
)

// A row of tabDeletion without a value is a deletion that is under way. That of an
// account which is kept for some time has the time and what the deletion took out of
// the tables of the whole store, so that the account could be put back; everything
// else is where it was.

// keptAccount is an account that is deleted and whose mail is kept for some time.
type keptAccount struct {
	until     int64 // milliseconds
	account   []byte
	head      []byte
	addresses [][]byte
}

// value is that of the row, nothing when the time has passed.
func (k *keptAccount) value(now int64) []byte {
	if k.until <= now {
		return nil
	}
	b := binary.BigEndian.AppendUint64([]byte{valueVersion}, uint64(k.until))
	b = appendBytes(appendBytes(b, k.account), k.head)
	b = binary.AppendUvarint(b, uint64(len(k.addresses)))
	for _, a := range k.addresses {
		b = appendBytes(b, a)
	}
	return b
}

// decodeKept reads the value of a row of tabDeletion.
func decodeKept(value []byte) (k keptAccount, err error) {
	if len(value) == 0 {
		return k, nil
	}
	d := decoder{b: value}
	d.version()
	if b := d.take(8); len(b) == 8 {
		k.until = int64(binary.BigEndian.Uint64(b))
	}
	k.account, k.head = d.take(d.length()), d.take(d.length())
	for range d.length() {
		k.addresses = append(k.addresses, d.take(d.length()))
	}
	return k, d.end()
}

// deletionDue reports whether what a row of tabDeletion names may be removed now.
func (s *Store) deletionDue(value []byte) (bool, error) {
	k, err := decodeKept(value)
	return k.until <= millis(s.opt.Now()), err
}

// reschedule changes the time until which a deleted account is kept, unless it has
// passed.
func (s *Store) reschedule(id mail.AccountID, keepUntil time.Time) error {
	s.deletion.Lock()
	defer s.deletion.Unlock()
	key := deletionKey(id, mail.MailboxID{})
	value, err := s.get(key)
	if err != nil || len(value) == 0 {
		return err
	}
	now := millis(s.opt.Now())
	k, err := decodeKept(value)
	if err != nil || k.until <= now {
		return err
	}
	k.until = millis(keepUntil)
	b := s.db.NewBatch()
	set(b, key, k.value(now))
	if err := s.apply(b, pebble.Sync); err != nil {
		return err
	}
	defer b.Close()
	if err := s.wait(b); err != nil {
		return err
	}
	s.wakeSweeper()
	return nil
}
