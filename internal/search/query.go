package search

import (
	"time"

	"mallard/internal/mail"
)

// A Query is a condition that a message meets or not: a tree of the types of this package. Search strings are UTF-8 as
// the client gave them; they are compared as the package comment says. Queries are not changed by this package.
type Query interface {
	isQuery()
}

type (
	// And is met when all its queries are; an empty And always is.
	And []Query
	// Or is met when one of its queries is; an empty Or never is.
	Or []Query
	// Not is met when its query is not.
	Not struct{ Query Query }
	// All is always met.
	All struct{}
)

type (
	// Flags is met by messages with all flags of Set and none of Unset.
	Flags struct{ Set, Unset mail.SystemFlags }
	// Keyword is met by messages with this keyword, in any case.
	Keyword string
	// UIDs is met by the messages of a set. Sequence numbers are turned into UIDs by the session, which knows them.
	UIDs mail.UIDSet
	// UIDFunc is met when the function returns true. It is for what only a session knows, such as \Recent. It must be
	// cheap, without side effects, and safe for concurrent use.
	UIDFunc func(mail.UID) bool
	// ModSeq is met by messages with this mod-sequence or a greater one (RFC 7162, 3.1.5).
	ModSeq mail.ModSeq
)

type (
	// Larger is met by messages of more octets than this.
	Larger int64
	// Smaller is met by messages of fewer octets than this.
	Smaller int64
	// EmailID is met by messages with this EMAILID (RFC 8474).
	EmailID mail.EmailID
	// ThreadID is met by messages with this THREADID (RFC 8474).
	ThreadID mail.ThreadID
	// HasAttachment is met by messages with an attachment.
	HasAttachment struct{}
)

// Arrived is met by messages whose internal date is not before From and not after To. A zero time is no bound.
type Arrived struct{ From, To time.Time }

// Younger returns the query of YOUNGER (RFC 5032): messages that arrived at most interval before now.
func Younger(now time.Time, interval time.Duration) Query { return Arrived{From: now.Add(-interval)} }

// Older returns the query of OLDER (RFC 5032): messages that arrived at least interval before now.
func Older(now time.Time, interval time.Duration) Query { return Arrived{To: now.Add(-interval)} }

// InternalDate compares the day of the internal date, in the zone that the record gives it in (RFC 3501, 6.4.4: BEFORE,
// ON, SINCE).
type InternalDate struct {
	Compare DateCompare
	Day     Day
}

// SentDate compares the day of the Date header field as it is written there, whatever its zone (RFC 3501, 6.4.4:
// SENTBEFORE, SENTON, SENTSINCE). For a message without a readable Date it is the internal date.
type SentDate struct {
	Compare DateCompare
	Day     Day
}

// A DateCompare says how a day is compared.
type DateCompare uint8

// The comparisons of days.
const (
	Before DateCompare = iota // earlier than the day
	On                        // on the day
	Since                     // on the day or later
)

// A Day is a date in the calendar, without time and zone.
type Day struct {
	Year  int
	Month time.Month
	Day   int
}

// DayOf returns the day of a time in its own zone.
func DayOf(t time.Time) Day {
	y, m, d := t.Date()
	return Day{y, m, d}
}

// Cmp returns -1, 0 or 1 as d is before, the same as or after e.
func (d Day) Cmp(e Day) int { return compareInts(d.ordinal(), e.ordinal()) }

// ordinal orders days; it is not a count.
func (d Day) ordinal() int { return (d.Year*16+int(d.Month))*64 + d.Day }

func compareInts(a, b int) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (c DateCompare) holds(d, limit Day) bool {
	switch cmp := d.Cmp(limit); c {
	case Before:
		return cmp < 0
	case On:
		return cmp == 0
	default:
		return cmp >= 0
	}
}

// Header is met by messages that have a header field of this name whose decoded value contains the string. An empty
// string is met by every value (RFC 3501, 6.4.4: HEADER, and FROM, TO, CC, BCC, SUBJECT).
type Header struct{ Field, Contains string }

// Body is met by messages whose text contains the string (RFC 3501, 6.4.4: BODY). An empty string always is contained.
type Body string

// Text is met by messages whose header or text contains the string (RFC 3501, 6.4.4: TEXT).
type Text string

func (And) isQuery()           {}
func (Or) isQuery()            {}
func (Not) isQuery()           {}
func (All) isQuery()           {}
func (Flags) isQuery()         {}
func (Keyword) isQuery()       {}
func (UIDs) isQuery()          {}
func (UIDFunc) isQuery()       {}
func (ModSeq) isQuery()        {}
func (Larger) isQuery()        {}
func (Smaller) isQuery()       {}
func (EmailID) isQuery()       {}
func (ThreadID) isQuery()      {}
func (HasAttachment) isQuery() {}
func (Arrived) isQuery()       {}
func (InternalDate) isQuery()  {}
func (SentDate) isQuery()      {}
func (Header) isQuery()        {}
func (Body) isQuery()          {}
func (Text) isQuery()          {}
func (Words) isQuery()         {}
