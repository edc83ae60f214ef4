package mail

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// IDSize is the length of an identifier in octets.
const IDSize = 12

// ID is a 12-octet identifier: four octets of seconds since the Unix epoch,
// five random octets that name the generator, three octets of a counter. The
// text form is 24 lower-case hexadecimal digits. The layout is that of a BSON
// ObjectID, which lets the same identifiers live in MongoDB.
//
// The type parameter keeps identifiers of different things apart at compile
// time; it has no run-time meaning.
type ID[Of any] [IDSize]byte

type (
	accountKind struct{}
	mailboxKind struct{}
	messageKind struct{}
	emailKind   struct{}
	threadKind  struct{}
	addressKind struct{}
	journalKind struct{}
)

// Identifiers of the things that the mail store keeps.
type (
	// AccountID names a user account. It is the first argument of every
	// storage operation, because an account is the unit of placement.
	AccountID = ID[accountKind]
	// MailboxID names a mailbox for life; renames keep it (RFC 8474 MAILBOXID).
	MailboxID = ID[mailboxKind]
	// MessageID names one message in one mailbox; COPY and MOVE give a new one.
	// It is the POP3 UIDL.
	MessageID = ID[messageKind]
	// EmailID names the content of a message and survives COPY and MOVE
	// (RFC 8474 EMAILID).
	EmailID = ID[emailKind]
	// ThreadID names a conversation (RFC 8474 THREADID).
	ThreadID = ID[threadKind]
	// AddressID names an address row.
	AddressID = ID[addressKind]
	// JournalID names a journal entry. Within an account they grow.
	JournalID = ID[journalKind]
)

// ErrBadID is returned when a text is not 24 hexadecimal digits.
var ErrBadID = errors.New("not an identifier of 24 hexadecimal digits")

// ParseID reads the text form of an identifier, in either case.
func ParseID[Of any](s string) (ID[Of], error) {
	var id ID[Of]
	if len(s) != 2*IDSize {
		return id, ErrBadID
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID[Of]{}, ErrBadID
	}
	return id, nil
}

// IsZero reports whether the identifier is unset.
func (id ID[Of]) IsZero() bool { return id == ID[Of]{} }

// String returns the 24 hexadecimal digits.
func (id ID[Of]) String() string { return hex.EncodeToString(id[:]) }

// Time returns the second in which the identifier was made.
func (id ID[Of]) Time() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint32(id[:4])), 0).UTC()
}

// MarshalText gives the text form, so that JSON shows hexadecimal digits.
func (id ID[Of]) MarshalText() ([]byte, error) {
	return hex.AppendEncode(nil, id[:]), nil
}

// UnmarshalText reads the text form.
func (id *ID[Of]) UnmarshalText(b []byte) error {
	v, err := ParseID[Of](string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// IDGenerator makes identifiers that are unique and, within one generator,
// ascending within a second. It is safe for concurrent use.
type IDGenerator struct {
	machine [5]byte
	counter atomic.Uint32
	now     func() time.Time
}

// NewIDGenerator returns a generator with a random machine part and a random
// start of the counter. now may be nil for the system clock.
func NewIDGenerator(now func() time.Time) (*IDGenerator, error) {
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("seed identifier generator: %w", err)
	}
	if now == nil {
		now = time.Now
	}
	g := &IDGenerator{now: now}
	copy(g.machine[:], seed[:5])
	// The top bit stays clear so that a second holds at least 8 million
	// ascending identifiers before the counter wraps.
	g.counter.Store(binary.BigEndian.Uint32([]byte{0, seed[5] & 0x7f, seed[6], seed[7]}))
	return g, nil
}

// NewID returns the next identifier of g as an identifier of the wanted kind.
func NewID[I ~[IDSize]byte](g *IDGenerator) I {
	var id [IDSize]byte
	binary.BigEndian.PutUint32(id[:4], uint32(g.now().Unix()))
	copy(id[4:9], g.machine[:])
	n := g.counter.Add(1)
	id[9], id[10], id[11] = byte(n>>16), byte(n>>8), byte(n)
	return I(id)
}
