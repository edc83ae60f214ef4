package search

import (
	"io"
	"time"

	"mallard/internal/mail"
)

// A Record is what an engine keeps of a message in its small fixed records.
type Record struct {
	UID    mail.UID
	ModSeq mail.ModSeq
	Flags  mail.Flags
	// The fields above are those of a view, see [Program.View].
	Size         int64
	InternalDate time.Time // in the zone whose days BEFORE, ON and SINCE are about
	EmailID      mail.EmailID
}

// A Document is a message as [Program.Match] sees it. Its methods are called when they are needed only, cheap ones
// first, Text at most once and each of the others rarely more than once. They need not be safe for concurrent use.
//
// An error ends the match with that error, unless the outcome does not depend on what could not be read.
type Document interface {
	Record() *Record

	// ThreadID, HasAttachment and SentDate come from what was stored beside the message.
	ThreadID() (mail.ThreadID, error)
	HasAttachment() (bool, error)
	// SentDate is the Date header field in its own zone, the zero time when there is none that can be read.
	SentDate() (time.Time, error)

	// Header returns the values of all header fields of this name, which is in any case, unfolded and decoded
	// (RFC 2047) as UTF-8. Nil means that there is no such field.
	Header(field string) ([]string, error)

	// HeaderText returns the whole header decoded, a line "Name: value" for each field, for searches in any field.
	HeaderText() (string, error)

	// Text returns the decoded text of the message as UTF-8: all text parts and what else is to be found by BODY. It
	// need not be folded. It is closed after use, maybe before its end.
	Text() (io.ReadCloser, error)
}

// A FoldedDocument is a Document of which header and text are there as a whole and folded already, so that they need not be
// read and folded for each search. HeaderText and Text are not called then. The slices must not be changed, and are valid
// until the match ends.
type FoldedDocument interface {
	Document
	FoldedHeader() ([]byte, error) // what HeaderText gives, folded
	FoldedText() ([]byte, error)   // what Text gives, folded
}

// Needs is a set of kinds of data that a query needs.
type Needs uint8

// The kinds of data, in the order of their cost.
const (
	NeedRecord  Needs = 1 << iota // Record beyond UID, ModSeq and Flags
	NeedSummary                   // ThreadID, HasAttachment, SentDate
	NeedHeader                    // Header, HeaderText
	NeedText                      // Text
)

// Tri is a truth value of three-valued logic.
type Tri int8

// The truth values.
const (
	No      Tri = -1
	Unknown Tri = 0
	Yes     Tri = 1
)

func (t Tri) String() string {
	switch {
	case t < 0:
		return "no"
	case t > 0:
		return "yes"
	}
	return "unknown"
}

func tri(b bool) Tri {
	if b {
		return Yes
	}
	return No
}
