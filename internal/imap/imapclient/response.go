package imapclient

import (
	"time"

	"mallard/internal/imap/imapwire"
)

// Response is one response of the server.
type Response struct {
	// Tag is "*" for untagged responses, "+" for continuation requests, else
	// the tag of a command.
	Tag string
	// Name is the condition (OK, NO, BAD, BYE, PREAUTH) or the kind of data
	// (EXISTS, FETCH, LIST, ...), in upper case.
	Name string
	// Code is the response code of a condition, or nil.
	Code *Code
	// Text is the human-readable text of a condition or continuation.
	Text string
	// Number is that of EXISTS, RECENT, EXPUNGE and FETCH.
	Number uint32

	// Atoms are the elements of CAPABILITY, ENABLED and FLAGS.
	Atoms   []string
	List    *List      // LIST, LSUB
	Status  *Status    // STATUS
	Search  *Search    // SEARCH, SORT
	ESearch *ESearch   // ESEARCH
	Fetch   *Fetch     // FETCH
	Gone    *Vanished  // VANISHED
	Quota   *Quota     // QUOTA
	Values  []Value    // ID, NAMESPACE, THREAD
	Root    *QuotaRoot // QUOTAROOT
}

// Code is a response code.
type Code struct {
	// Name is in upper case.
	Name string
	// Args is the text behind the name, as it is.
	Args string
	// Number is the argument of UIDNEXT, UIDVALIDITY, UNSEEN, HIGHESTMODSEQ,
	// and the UIDVALIDITY of APPENDUID and COPYUID.
	Number uint64
	// Source and Dest are the UIDs of COPYUID; Dest those of APPENDUID;
	// Source the numbers of MODIFIED.
	Source, Dest []imapwire.NumRange
	// Atoms are the elements of CAPABILITY, PERMANENTFLAGS and BADCHARSET.
	Atoms []string
}

// List is a mailbox of LIST or LSUB.
type List struct {
	Attributes []string
	// Delimiter is the hierarchy separator, empty for NIL.
	Delimiter string
	Mailbox   string
	// Extended holds the extended data items, name and value in turn.
	Extended []Value
}

// Status is a STATUS response.
type Status struct {
	Mailbox string
	// Numbers are by item name; APPENDLIMIT is missing when it was NIL.
	Numbers   map[string]uint64
	MailboxID string
}

// Search is a SEARCH or SORT response.
type Search struct {
	Numbers []uint32
	ModSeq  uint64
}

// ESearch is an ESEARCH response.
type ESearch struct {
	Tag              string
	UID              bool
	Min, Max         uint32
	Count            *uint32
	All              []imapwire.NumRange
	PartialRange     string
	Partial          []imapwire.NumRange
	ModSeq           uint64
	HasAll, HasRange bool
}

// Vanished is a VANISHED response.
type Vanished struct {
	Earlier bool
	UIDs    []imapwire.NumRange
}

// Quota is a QUOTA response: usage and limit by resource.
type Quota struct {
	Root  string
	Usage map[string][2]uint64
}

// QuotaRoot is a QUOTAROOT response.
type QuotaRoot struct {
	Mailbox string
	Roots   []string
}

// Fetch is the data of a message. Items that were not sent are zero.
type Fetch struct {
	// Items are the names as sent, in their order.
	Items         []string
	UID           uint32
	Flags         []string // not nil when sent
	ModSeq        uint64
	InternalDate  time.Time
	Size          int64
	Envelope      *Envelope
	Body          *Body // BODY
	BodyStructure *Body // BODYSTRUCTURE
	EmailID       string
	ThreadID      string
	SaveDate      time.Time
	Preview       *string
	// Sections are BODY[...], BINARY[...] and RFC822 items by name. With
	// OnLiteral, those sent as literals are not here.
	Sections map[string]Section
	// BinarySizes are BINARY.SIZE[...] items by name.
	BinarySizes map[string]uint64
}

// Section is text of a message.
type Section struct {
	Data []byte
	Nil  bool
}

// Envelope is an ENVELOPE (RFC 3501 section 7.4.2). Strings are nil for NIL.
type Envelope struct {
	Date, Subject                      *string
	From, Sender, ReplyTo, To, Cc, Bcc []Address
	InReplyTo, MessageID               *string
}

// Address is an address of an envelope.
type Address struct {
	Name, ADL, Mailbox, Host *string
}

// Body is a body structure. Multiparts have Parts and Subtype; for them the
// fields up to Lines are unused.
type Body struct {
	Type, Subtype string
	Params        []Param
	ID, Desc      *string
	Encoding      string
	Size          uint64
	// Envelope and Embedded are of MESSAGE/RFC822; Lines of that and TEXT.
	Envelope *Envelope
	Embedded *Body
	Lines    uint64
	Parts    []*Body

	// Extension data: Extended is how many fields were sent.
	Extended    int
	MD5         *string
	Disposition *Disposition
	Language    []string
	Location    *string
}

// Param is a parameter of a body structure.
type Param struct{ Name, Value string }

// Disposition is a Content-Disposition.
type Disposition struct {
	Type   string
	Params []Param
}
