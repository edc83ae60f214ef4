package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"mallard/internal/mail"
)

// errValue is in the chain of errors about values that cannot be decoded.
var errValue = errors.New("the stored value is damaged")

// corrupt is the error for damaged data at a key.
func corrupt(what string, err error) error {
	return mail.WrapError(mail.CodeCorrupt, "the stored message is damaged", fmt.Errorf("%s: %w", what, err))
}

// decoder reads the primitive encodings. After the first fault every read gives
// zero values and err is set, so that callers check once, at the end.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() {
	d.b = nil
	if d.err == nil {
		d.err = errValue
	}
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// length reads a number of octets that must still be there.
func (d *decoder) length() int {
	v := d.uvarint()
	if v > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(v)
}

// take returns the next n octets without copying them.
func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail()
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) octet() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uint64() uint64 {
	if p := d.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

func (d *decoder) text() string { return string(d.take(d.length())) }

// takeID reads an identifier.
func takeID[I ~[mail.IDSize]byte](d *decoder) I {
	var id I
	if p := d.take(mail.IDSize); p != nil {
		id = I([mail.IDSize]byte(p))
	}
	return id
}

func (d *decoder) hash() hash {
	var h hash
	copy(h[:], d.take(len(h)))
	return h
}

// version reads the version of a value, which must be the only one there is.
func (d *decoder) version() {
	if d.octet() != valueVersion {
		d.fail()
	}
}

// end reports whether the value was read whole and without fault.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) != 0 {
		return fmt.Errorf("%w: %d octets too many", errValue, len(d.b))
	}
	return d.err
}

// valueVersion is the first octet of values that have no other first octet with a
// meaning. A change of such a value's layout is a new format of the store.
const valueVersion = 1

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBytes(b, s []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// accountHead is what every change of an account updates.
type accountHead struct {
	epoch       uint64 // of the start of the store that wrote it, see meta
	used        int64  // StorageUsed
	seq         uint64 // the last mod-sequence that was given out
	reserved    uint64 // no greater mod-sequence may be given out before this head is replaced on the disk
	uidValidity uint64 // the last one that was given out
	journalFrom uint64 // entries with a smaller mod-sequence have been removed
	trimmed     int64  // when the journal was last trimmed, milliseconds
}

func (h *accountHead) append(b []byte) []byte {
	b = append(b, valueVersion)
	b = binary.AppendUvarint(b, h.epoch)
	b = binary.AppendVarint(b, h.used)
	b = binary.AppendUvarint(b, h.seq)
	b = binary.AppendUvarint(b, h.reserved)
	b = binary.AppendUvarint(b, h.uidValidity)
	b = binary.AppendUvarint(b, h.journalFrom)
	return binary.AppendVarint(b, h.trimmed)
}

func decodeAccountHead(b []byte) (h accountHead, err error) {
	d := decoder{b: b}
	d.version()
	h.epoch, h.used, h.seq, h.reserved = d.uvarint(), d.varint(), d.uvarint(), d.uvarint()
	h.uidValidity, h.journalFrom, h.trimmed = d.uvarint(), d.uvarint(), d.varint()
	return h, d.end()
}

// seqRange is a range of mod-sequences: from < seq < to.
type seqRange struct{ from, to uint64 }

// mailboxHead is what every change of a mailbox's messages updates.
type mailboxHead struct {
	epoch    uint64
	uidNext  uint64 // up to 1<<32, so that the last UID can be given out
	reserved uint64 // UIDs from here on must not be given out before this head is replaced on the disk
	highest  uint64 // HighestModSeq
	messages int64
	unseen   int64
	deleted  int64
	size     int64
	// told is the UID up to which sessions were told of the messages, see store.Recents. That of
	// the mailbox in memory counts; this is the one that is on the disk.
	told uint64
	// lost are mod-sequences that sessions may have seen and a crash took back.
	lost []seqRange
	// recent are the last changes, the newest first; nil when they are not known. It
	// is not stored.
	recent *recentChange
}

func (h *mailboxHead) append(b []byte) []byte {
	b = append(b, valueVersion)
	b = binary.AppendUvarint(b, h.epoch)
	b = binary.AppendUvarint(b, h.uidNext)
	b = binary.AppendUvarint(b, h.reserved)
	b = binary.AppendUvarint(b, h.highest)
	b = binary.AppendVarint(b, h.messages)
	b = binary.AppendVarint(b, h.unseen)
	b = binary.AppendVarint(b, h.deleted)
	b = binary.AppendVarint(b, h.size)
	b = binary.AppendUvarint(b, uint64(len(h.lost)))
	for _, r := range h.lost {
		b = binary.AppendUvarint(b, r.from)
		b = binary.AppendUvarint(b, r.to)
	}
	return binary.AppendUvarint(b, h.told)
}

func decodeMailboxHead(b []byte) (h mailboxHead, err error) {
	d := decoder{b: b}
	d.version()
	h.epoch, h.uidNext, h.reserved, h.highest = d.uvarint(), d.uvarint(), d.uvarint(), d.uvarint()
	h.messages, h.unseen, h.deleted, h.size = d.varint(), d.varint(), d.varint(), d.varint()
	for range d.length() {
		h.lost = append(h.lost, seqRange{d.uvarint(), d.uvarint()})
	}
	if len(d.b) > 0 {
		h.told = d.uvarint()
	} else if d.err == nil && h.uidNext > 0 { // format 2: what is there at a start is not recent
		h.told = h.uidNext - 1
	}
	return h, d.end()
}

// hot is the record of a message that flags, dates and sizes are read from. The
// keywords follow the fixed part as they stand in mail.Flags.
type hot struct {
	system   mail.SystemFlags
	bits     byte
	modseq   uint64
	date     int64 // internal date, milliseconds
	size     int64 // with prefix
	id       mail.MessageID
	email    mail.EmailID
	thread   mail.ThreadID
	keywords []byte
}

const (
	hotSize = 2 + 3*8 + 3*idSize
	// hotHasExtra says that there is a row in tabExtra.
	hotHasExtra = 1 << 0
	// hotJunk says that a copy or a move made the message junk.
	hotJunk = 1 << 1
)

func (h *hot) append(b []byte) []byte {
	b = append(b, byte(h.system), h.bits)
	b = binary.BigEndian.AppendUint64(b, h.modseq)
	b = binary.BigEndian.AppendUint64(b, uint64(h.date))
	b = binary.BigEndian.AppendUint64(b, uint64(h.size))
	b = append(b, h.id[:]...)
	b = append(b, h.email[:]...)
	b = append(b, h.thread[:]...)
	return append(b, h.keywords...)
}

// decode reads a record; keywords point into b.
func (h *hot) decode(b []byte) error {
	if len(b) < hotSize {
		return errValue
	}
	h.system, h.bits = mail.SystemFlags(b[0]), b[1]
	h.modseq = binary.BigEndian.Uint64(b[2:])
	h.date = int64(binary.BigEndian.Uint64(b[10:]))
	h.size = int64(binary.BigEndian.Uint64(b[18:]))
	h.id = mail.MessageID(b[26:38])
	h.email = mail.EmailID(b[38:50])
	h.thread = mail.ThreadID(b[50:62])
	h.keywords = b[hotSize:]
	return nil
}

// flags returns the flags; the keywords are copied.
func (h *hot) flags() mail.Flags {
	return mail.FlagsFromKeywordString(h.system, string(h.keywords))
}

func (h *hot) setFlags(f mail.Flags) {
	h.system, h.keywords = f.System, []byte(f.KeywordString())
}

// extra is what few messages have.
type extra struct {
	expires  int64 // milliseconds, noExpiry for never
	metaData string
	info     string
	// saved is when the message came into the mailbox, in milliseconds, where that is not
	// the time in its id: another engine has moved it without a new one. Else 0.
	saved int64
}

const noExpiry = -1 << 63

func (x *extra) empty() bool {
	return x.expires == noExpiry && x.metaData == "" && x.info == "" && x.saved == 0
}

func (x *extra) append(b []byte) []byte {
	b = append(b, valueVersion)
	b = binary.AppendVarint(b, x.expires)
	b = appendText(b, x.metaData)
	b = appendText(b, x.info)
	if x.saved != 0 {
		b = binary.AppendVarint(b, x.saved)
	}
	return b
}

func decodeExtra(b []byte) (x extra, err error) {
	d := decoder{b: b}
	d.version()
	x.expires, x.metaData, x.info = d.varint(), d.text(), d.text()
	if len(d.b) > 0 && d.err == nil {
		x.saved = d.varint()
	}
	return x, d.end()
}

// appendUIDs encodes a set as distances.
func appendUIDs(b []byte, set mail.UIDSet) []byte {
	b = append(b, valueVersion)
	last := uint64(0)
	for _, r := range set {
		b = binary.AppendUvarint(b, uint64(r.First)-last)
		b = binary.AppendUvarint(b, uint64(r.Last)-uint64(r.First))
		last = uint64(r.Last)
	}
	return b
}

func decodeUIDs(b []byte, into mail.UIDSet) (mail.UIDSet, error) {
	d := decoder{b: b}
	d.version()
	last := uint64(0)
	for len(d.b) > 0 {
		first := last + d.uvarint()
		last = first + d.uvarint()
		if d.err != nil || first == 0 || last > uint64(^mail.UID(0)) || last < first {
			d.fail()
			break
		}
		into = append(into, mail.UIDRange{First: mail.UID(first), Last: mail.UID(last)})
	}
	return into, d.end()
}

// expiry is the stored form of a time of expiry.
func expiry(t time.Time) int64 {
	if t.IsZero() {
		return noExpiry
	}
	return millis(t)
}

func (x *extra) expiresAt() time.Time {
	if x.expires == noExpiry {
		return time.Time{}
	}
	return fromMillis(x.expires)
}
