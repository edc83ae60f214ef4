// Package store is the storage contract: what a storage engine promises to the
// mail store above it. Engines live in sub-packages; storetest is the suite that
// every one of them passes, memstore the model it is compared with.
//
// The contract speaks mail, not tables. Its rules:
//
//   - Each method that changes something is one atomic unit for one account: all
//     of it is visible at once, or none. There are no transactions on top of that.
//     An engine whose database has no transactions either does it message by
//     message: each is there in whole or not at all, in the order of the UIDs,
//     and what a crash interrupts may have happened to the first ones only. So
//     may an engine with transactions, in steps of thousands of messages, so that
//     the memory of a change has a bound. A Copy that fails is taken back, unless
//     the store refuses every change by then.
//   - When a method that changes something returns nil, the change is durable:
//     it survives a crash of the process and of the machine. The exception is
//     UpdateFlags, see there.
//   - When it returns an error, nothing of the change is visible now or after a
//     crash, unless the error has code Unavailable with the text of
//     ErrOutcomeUnknown in its chain: then it happened in whole or not at all.
//     UpdateFlags, Move, Expunge and Delete may have happened to the first
//     messages also when they fail: those that were changed stay so.
//     An engine may take back an append that it finds to have happened.
//   - Order: of two changes of one mailbox the one that returned before the other
//     started has the smaller mod-sequences. Mod-sequences of different mailboxes
//     do not compare. A change is durable no later than those that started after
//     it returned: a crash loses the end of the history, never its middle.
//   - Several processes may work on one store, each with an engine of its own,
//     where the engine is made for that. Changes that are made at the same time
//     may then become visible in another order than that of their numbers; see
//     Changes and ReadJournal for what readers can rely on all the same.
//   - Buffers passed in are not kept after the call returns, and buffers passed
//     out are not valid after the moment that the method names. Engines may reuse
//     and overwrite them.
//   - Every method is safe for concurrent use. A cancelled context ends waiting
//     and reading; it does not undo a change that is being committed.
//
// Errors are *mail.Error with the codes that each method lists. Any method may
// also fail with Unavailable, NoSpace, Corrupt, Canceled or Internal. An unknown
// account has no mailboxes: methods that list NoMailbox only fail with that.
//
// The package imports internal/mail only.
package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"mallard/internal/mail"
)

// ErrOutcomeUnknown is in the chain of the error of a change that happened in
// whole or not at all, where the engine could not find out which.
var ErrOutcomeUnknown = errors.New("the outcome of the change is unknown")

// ErrClosed is in the chain of errors of a store that was closed or that had to
// stop because the disk refused a write.
var ErrClosed = errors.New("the store is closed")

// Store is a whole storage engine.
type Store interface {
	Accounts
	Addresses
	Mailboxes
	Messages
	Journal
	Registry

	// Close waits for running calls, makes everything durable and releases the
	// engine. Calls after it fail with ErrClosed in the chain.
	Close() error
}

// Accounts keeps users.
type Accounts interface {
	// CreateAccount stores an account, its main address (nil for none) and its
	// first mailboxes together, as CreateMailbox would but without journal entries.
	// It assigns the ids, the address's Account, Account.Address, and Created where
	// that is zero; StorageUsed starts at zero. It returns the account as stored.
	// Errors: Exists when the id, the username's view or the address's view is
	// taken; Invalid without INBOX or with two mailboxes of one path.
	CreateAccount(ctx context.Context, in NewAccount) (*mail.Account, error)

	// Account returns an account. Errors: NoAccount.
	Account(ctx context.Context, id mail.AccountID) (*mail.Account, error)

	// AccountByName returns the account with this username view: lower case, no
	// dots in the local part. Errors: NoAccount.
	AccountByName(ctx context.Context, view string) (*mail.Account, error)

	// ListAccounts returns accounts in ascending order of their ids.
	ListAccounts(ctx context.Context, q AccountQuery) (*AccountPage, error)

	// UpdateAccount reads an account, lets change modify it and stores the
	// result, atomically; change may run more than once, each time on a fresh
	// copy, must not block and must not call the store.
	// ID, Username, StorageUsed and Created cannot be changed that way: what change
	// does to them is ignored. Address must be "" or one of the account's own
	// addresses. An error of change is returned as it is and nothing is stored.
	// Errors: NoAccount, NotFound (address).
	UpdateAccount(ctx context.Context, id mail.AccountID, change func(*mail.Account) error) (*mail.Account, error)

	// DeleteAccount removes the account, its addresses, mailboxes and messages.
	// The account, its addresses and every way to it are gone when the call
	// returns. What it held is kept until keepUntil, and may be reclaimed later; the
	// zero time keeps nothing. Deleting the account again changes that time while it
	// has not passed, and fails all the same. Errors: NoAccount.
	DeleteAccount(ctx context.Context, id mail.AccountID, keepUntil time.Time) error

	// RecountQuota sets StorageUsed and the mailbox counters from the messages
	// and returns StorageUsed before and after, in octets. Errors: NoAccount.
	RecountQuota(ctx context.Context, id mail.AccountID) (before, after int64, err error)
}

// NewAccount is the input of CreateAccount.
type NewAccount struct {
	Account   mail.Account // ID is assigned when zero
	View      string       // unique form of the username
	Address   *mail.Address
	Mailboxes []mail.Mailbox // INBOX must be among them
}

// AccountQuery selects accounts.
type AccountQuery struct {
	After  mail.AccountID // first id not returned; zero for the start
	Before mail.AccountID // when set: the Limit accounts just before this id, in ascending order
	Limit  int            // 0 for no limit
	// Contains filters by a substring of the username or the main address, lower case.
	Contains string
	// Tags: every one (AllTags) or any of these lower-case tags. An account's own
	// tags are compared without regard to case.
	Tags    []string
	AllTags bool
}

// AccountPage is a page of accounts.
type AccountPage struct {
	Accounts []*mail.Account
	Total    int64 // of all that match
	More     bool  // there are accounts beyond this page in the direction of the query
}

// Addresses keeps address rows and domain aliases.
type Addresses interface {
	// CreateAddress stores an address row; the id is assigned, and Created where
	// that is zero. With main set it becomes the account's main address in the
	// same step. Errors: Exists, NoAccount.
	CreateAddress(ctx context.Context, in mail.Address, main bool) (*mail.Address, error)

	// Address returns a row. Errors: NotFound.
	Address(ctx context.Context, id mail.AddressID) (*mail.Address, error)

	// AddressesByView returns the rows with any of these views, in no order.
	AddressesByView(ctx context.Context, views ...string) ([]*mail.Address, error)

	// ListAddresses returns rows in ascending order of their views.
	ListAddresses(ctx context.Context, q AddressQuery) (*AddressPage, error)

	// UpdateAddress is UpdateAccount for an address row; ID, Account and Created
	// cannot be changed. With main set it becomes the account's main address. A
	// main address that changes changes Account.Address as well.
	// Errors: NotFound, Exists.
	UpdateAddress(ctx context.Context, id mail.AddressID, main bool, change func(*mail.Address) error) (*mail.Address, error)

	// DeleteAddress removes a row. Errors: NotFound, Forbidden (main address of
	// an account).
	DeleteAddress(ctx context.Context, id mail.AddressID) error

	// DomainAlias returns the domain that an alias stands for, "" when it is none.
	DomainAlias(ctx context.Context, alias string) (string, error)

	// SetDomainAlias makes alias stand for domain; an empty domain removes it.
	SetDomainAlias(ctx context.Context, alias, domain string) error
}

// AddressQuery selects address rows.
type AddressQuery struct {
	Account  mail.AccountID // zero for all
	Contains string         // filters by a substring of the address, lower case
	Tags     []string       // as in AccountQuery
	AllTags  bool
	After    string // view; first not returned
	Before   string // view; when set: the Limit rows just before it, in ascending order
	Limit    int    // 0 for no limit
}

// AddressPage is a page of address rows.
type AddressPage struct {
	Addresses []*mail.Address
	Total     int64
	More      bool
}

// Mailboxes keeps the mailboxes of an account.
type Mailboxes interface {
	// CreateMailbox stores a mailbox. ID, UIDValidity, UIDNext and HighestModSeq are
	// assigned, and Created where that is zero. UIDValidity is greater than that of
	// any earlier mailbox of the account, so that no RENAME brings back a pair of
	// name and UIDVALIDITY. maxMailboxes limits their number when positive.
	// Errors: NoAccount, Exists, Limit.
	CreateMailbox(ctx context.Context, acct mail.AccountID, in mail.Mailbox, maxMailboxes int) (*mail.Mailbox, error)

	// ListMailboxes returns all mailboxes in ascending order of their paths
	// (octets). Errors: NoAccount.
	ListMailboxes(ctx context.Context, acct mail.AccountID) ([]*mail.Mailbox, error)

	// Mailbox returns a mailbox. It costs one small read, however many messages there
	// are. Errors: NoMailbox.
	Mailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID) (*mail.Mailbox, error)

	// MailboxByPath is Mailbox for a canonical path. Errors: NoMailbox.
	MailboxByPath(ctx context.Context, acct mail.AccountID, path string) (*mail.Mailbox, error)

	// Counters returns the counters of mailboxes of the account, those that do not
	// exist left out. It may cost what the mailboxes are large. Each is of one moment,
	// no earlier than the call.
	Counters(ctx context.Context, acct mail.AccountID, ids ...mail.MailboxID) (map[mail.MailboxID]mail.Counters, error)

	// UpdateMailbox changes subscription, visibility, retention, special use and
	// encryption; other fields cannot be changed that way. Errors: NoMailbox.
	UpdateMailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID, change func(*mail.Mailbox) error) (*mail.Mailbox, error)

	// RenameMailboxes renames all the given mailboxes in one step, as RENAME with
	// inferiors needs (RFC 3501, 6.3.5). Only the paths afterwards must differ:
	// mailboxes may take the paths of others that are renamed too. A mailbox takes its
	// subscription along: its old path is not subscribed any more.
	// Errors: NoMailbox, Exists.
	RenameMailboxes(ctx context.Context, acct mail.AccountID, renames []Rename) error

	// DeleteMailbox removes a mailbox and its messages. When it is subscribed its name stays
	// subscribed, see Subscribe, if all names without a mailbox have at most nameOctets octets
	// with it; otherwise, so with nameOctets 0, its subscription ends. Errors: NoMailbox.
	DeleteMailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID, nameOctets int) error

	// Subscribe makes a canonical path subscribed, or not; doing it again changes nothing.
	// The subscription of a mailbox is its field Subscribed. A path that no mailbox has
	// stays subscribed all the same (RFC 3501, 6.3.6 and 6.3.9), until it is unsubscribed
	// or a mailbox gets it: one that is created or renamed with that path is subscribed.
	// The paths without a mailbox have at most nameOctets octets together.
	// Errors: NoAccount, Limit.
	Subscribe(ctx context.Context, acct mail.AccountID, path string, on bool, nameOctets int) error

	// Subscriptions returns what ListMailboxes does, and in ascending order the paths that
	// are subscribed without a mailbox. What is subscribed during the whole call is in one
	// of the two, whatever happens to mailboxes meanwhile. Errors: NoAccount.
	Subscriptions(ctx context.Context, acct mail.AccountID) (boxes []*mail.Mailbox, names []string, err error)
}

// Rename is one mailbox's new path.
type Rename struct {
	ID   mail.MailboxID
	Path string
}

// Messages keeps messages.
type Messages interface {
	// Stage takes in the content of a message once, however many mailboxes it
	// goes to: it does what needs no account (hashing, compression, writing
	// large parts). The content's reader is not used after Stage returns.
	// Nothing is visible and nothing needs to be durable until Append.
	// The caller closes the result. Errors: Invalid when Source has fewer octets
	// than Size; another error of Source is in the chain.
	Stage(ctx context.Context, c *Content) (Staged, error)

	// Append stores messages at the end of a mailbox, all of them or none, in
	// this order. Errors: NoAccount, NoMailbox, OverQuota, Invalid (closed Staged).
	Append(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []Append) ([]Appended, error)

	// Fetch yields the messages of a mailbox that the query selects. A row is
	// valid until the next one is asked for or the loop ends. Rows are of one
	// moment each: a message that is expunged meanwhile may be missing, never
	// half there. Errors (as the last pair): NoMailbox.
	Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q FetchQuery) iter.Seq2[*Row, error]

	// UpdateFlags changes flags and metadata. Every message that really changes gets
	// the same new mod-sequence, or a later one where another change came between. A keyword that stays, in whatever case it is named,
	// keeps its spelling, so that naming it in another case is no change. It may
	// return before the change is durable, by at most one second; if the machine
	// crashes in between, no mod-sequence and no journal id handed out is used
	// again for something else.
	// Errors: NoMailbox, Limit (a message would get more than mail.MaxKeywords).
	UpdateFlags(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, u FlagUpdate) (*FlagResult, error)

	// Copy stores the messages again at the end of another (or the same)
	// mailbox, in ascending order of UID, sharing their content. UIDs that do not
	// exist are left out. A message that comes into a \Junk mailbox that way, and with
	// some engines also by Append, counts as junk until a copy or move takes it into one that is neither \Junk nor \Trash; see
	// JournalEntry.Junk. A copy has an ID of its own, SavedDate now, and
	// Expires after the Retention of the destination, never when that is zero;
	// everything else is as in the original. quota is that of Append.
	// Errors: NoMailbox (the destination has Public "destination"), OverQuota.
	Copy(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet, quota int64) (*CopyResult, error)

	// Move is Copy and expunge in one step (RFC 6851); quota does not matter.
	Move(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet) (*CopyResult, error)

	// Expunge removes the messages of the set, of those only the ones with
	// \Deleted when onlyDeleted is set. It returns what was removed.
	// Errors: NoMailbox.
	Expunge(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, onlyDeleted bool) (*ExpungeResult, error)

	// Delete is Expunge of messages that a user deletes by other means than IMAP. It is another one for an engine with an
	// archive of removed messages: Expunge leaves out drafts and messages that there are copies of, Delete leaves out drafts
	// alone, and everything without keep. Errors: NoMailbox.
	Delete(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, keep bool) (*ExpungeResult, error)

	// Open returns the verbatim content of a message, which stays readable until
	// it is closed even when the message is expunged meanwhile.
	// Errors: NotFound, NoMailbox.
	Open(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uid mail.UID) (Body, error)

	// MayContain yields, in ascending order, the UIDs of the messages of the set
	// whose folded text may contain all of the needles (folded, UTF-8). It never
	// leaves out a message that does; an engine without an index yields the whole set.
	MayContain(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, needles [][]byte) iter.Seq2[mail.UID, error]

	// Thread yields the messages of a conversation in all mailboxes of the account, in no
	// order; none for a conversation that is not known. It costs what the conversation
	// is large, not what the mailboxes are. Errors (as the last pair): NoAccount.
	Thread(ctx context.Context, acct mail.AccountID, thread mail.ThreadID) iter.Seq2[ThreadMember, error]

	// Changes returns what happened in a mailbox after since, as state: applying
	// it to a copy that has everything up to since, or to a newer one, gives the
	// mailbox as of ChangeSet.To or newer. A set may be ahead of To and tell the
	// same change again: applying it twice alters nothing. Whoever goes on from To
	// each time misses nothing, whoever else writes. since 0 asks for the mailbox
	// as it is, which may come as a Whole set.
	//
	// A set holds every change that returned before the call, but for new messages:
	// they become visible in the order of their UIDs, so that no later set shows a
	// new message with a UID below one that was shown. Where another process took
	// a lower UID and has not stored its message yet, those above it wait, at most
	// as long as the engine gives that process.
	// Errors: NoMailbox.
	Changes(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, since mail.ModSeq) (*ChangeSet, error)
}

// Content is a parsed message that is to be stored. The encoded forms are those
// of package message; an engine stores them as they are.
type Content struct {
	// Source gives the verbatim octets, Size of them.
	Source io.ReaderAt
	Size   int64
	// Whole is the same in one piece when it is in memory anyway, else nil. It is
	// only read, until Stage returns.
	Whole []byte
	// Header is the verbatim root header with its blank line; the message
	// starts with it. It may be cut at a limit: then it is only the beginning.
	Header []byte
	// Envelope and BodyStructure are IMAP text, Tree and Summary binary.
	Envelope, BodyStructure, Tree, Summary []byte
	// Signature is the index entry of the decoded text, see package search.
	Signature []byte
	// Leaves are the parts without children in ascending order of offset.
	Leaves []Leaf
	// References are the message ids that tie the message to a thread, without
	// brackets, its own included; Subject is the subject without prefixes.
	References     []string
	Subject        string
	MessageID      string    // with brackets, "" when missing
	Date           time.Time // Date header, zero when missing or unreadable
	HasAttachments bool
	// Recipients is how many mailboxes the message will probably go to; with
	// more than one an engine shares the whole content among them. 0 means 1.
	Recipients int
}

// Leaf is a part without children.
type Leaf struct {
	Start, End int64  // octets of the body in the message
	Encoding   string // lower-case Content-Transfer-Encoding
	Type       string // lower-case type/subtype
	Attachment bool   // not text that is shown inline
}

// Staged is a message on its way into mailboxes. It can be given to any number
// of Append calls, also at the same time, until it is closed.
type Staged interface {
	Close() error
}

// Append is one message for one mailbox.
type Append struct {
	Staged Staged
	// Prefix is put before the message: complete header lines. Messages that
	// differ in their prefix have different EmailIDs.
	Prefix       []byte
	Flags        mail.Flags
	InternalDate time.Time // kept to the second at least
	// Quota is the account's limit in octets; 0 means none. The append fails
	// with OverQuota when StorageUsed would exceed it: the octets of all messages
	// of the account with their prefixes, shared content counted each time.
	Quota int64
	// Expires is when the message is to be removed; zero for what the Retention of
	// the mailbox says, never when that is zero too.
	Expires time.Time
	// MetaData is a JSON object for the HTTP API, at most 1 MiB, or "".
	MetaData string
	// Info is a JSON object that says where the message came from, or "".
	Info string
	// Origin is the id of the session that makes the change; it comes back in
	// the journal, so that the session can recognise its own change.
	Origin string
}

// Appended says where an appended message is.
type Appended struct {
	UID         mail.UID
	UIDValidity mail.UIDValidity
	ModSeq      mail.ModSeq
	ID          mail.MessageID
	EmailID     mail.EmailID
	ThreadID    mail.ThreadID
	Size        int64 // octets with the prefix
}

// Fields says how much of a message is wanted; more fields cost more reads.
type Fields uint16

// The groups of fields. UID, ModSeq, Flags, InternalDate, Size and the ids are
// always there: they are read from a small record of their own.
const (
	FieldEnvelope Fields = 1 << iota
	FieldBodyStructure
	FieldTree
	FieldSummary
	FieldHeader
	FieldMeta // MetaData, Info, Expires, SavedDate, Junk
	FieldBody // makes Row.Open cheap
	FieldSignature
)

// Order is the order of Fetch.
type Order uint8

// The orders of Fetch. Messages of equal date are in order of UID, so that the
// descending orders are the ascending ones backwards.
const (
	ByUID Order = iota
	ByUIDDescending
	ByDate // internal date
	ByDateDescending
)

// FetchQuery selects messages and fields.
type FetchQuery struct {
	UIDs   mail.UIDSet // nil selects all
	Fields Fields
	Order  Order
	// AfterDate and AfterUID continue an order by date behind that message,
	// whether it still exists or not; AfterDate is as Row.InternalDate gave it. A
	// zero AfterUID starts at the beginning.
	AfterDate time.Time
	AfterUID  mail.UID
	Limit     int // 0 for no limit
	// ChangedSince selects messages with a greater mod-sequence.
	ChangedSince mail.ModSeq
	// Known, when it is not nil, are the messages of UIDs that the caller knows of from Changes, or from a later answer
	// of the engine, in ascending order of UID and with what he knows of them. That spares an engine that has the rest in
	// memory the reading. Rows of these messages may have the ModSeq and Flags that are given here, and may come although
	// the message was expunged meanwhile; messages of UIDs that are not among them may be left out.
	Known []mail.HotRow
}

// Row is a message as Fetch gives it. Slices point into the engine's buffers.
type Row struct {
	UID          mail.UID
	ModSeq       mail.ModSeq
	Flags        mail.Flags
	InternalDate time.Time
	Size         int64 // octets, RFC822.SIZE
	ID           mail.MessageID
	EmailID      mail.EmailID

	Envelope, BodyStructure, Tree, Summary []byte
	// Signature is Content.Signature with the text of the prefix added, nil where the
	// engine has none at hand; an engine that is as fast with MayContain may never.
	Signature []byte
	// Header is the root header, prefix included, with its blank line. It is cut
	// like Content.Header.
	Header []byte
	// PrefixLen is the length of the prefix: offsets of the Tree count from there.
	// It is there with FieldTree, FieldHeader and FieldBody.
	PrefixLen int64

	ThreadID       mail.ThreadID
	SavedDate      time.Time // when it came into this mailbox (RFC 8514)
	Expires        time.Time
	MetaData, Info string
	// Junk says that a copy or a move into a \Junk mailbox made it junk, see Copy.
	Junk bool

	// Open gives the content; the Body must be closed before the row ends.
	Open func() (Body, error)
}

// Body is the verbatim content of a message.
type Body interface {
	// Size is the exact number of octets.
	Size() int64
	// WriteRange writes n octets from offset off, without holding more than a
	// bounded part in memory. The range must lie within the size: otherwise it
	// fails with Invalid before it writes anything. An error of w is in the chain.
	WriteRange(w io.Writer, off, n int64) error
	Close() error
}

// ThreadMember is where a message of a conversation is.
type ThreadMember struct {
	Mailbox mail.MailboxID
	UID     mail.UID
}

// FlagUpdate changes flags of a set of messages.
type FlagUpdate struct {
	UIDs  mail.UIDSet
	Mode  FlagMode
	Flags mail.Flags
	// UnchangedSince, when not nil, leaves messages alone whose mod-sequence is
	// greater (RFC 7162, 3.1.3).
	UnchangedSince *mail.ModSeq
	// MetaData and Expires, when not nil, are set as well.
	MetaData *string
	Expires  *time.Time
	Origin   string
}

// FlagMode says what FlagUpdate.Flags means.
type FlagMode uint8

// The flag modes.
const (
	FlagsAdd FlagMode = iota
	FlagsRemove
	FlagsReplace
)

// FlagResult is the outcome of UpdateFlags.
type FlagResult struct {
	ModSeq   mail.ModSeq   // the greatest of the changed messages; 0 when nothing changed
	Changed  []mail.HotRow // really changed, ascending
	Modified mail.UIDSet   // left alone because of UnchangedSince
	// Existing are all messages of the set that exist, changed or not, ascending.
	Existing []mail.HotRow
}

// CopyResult is the outcome of Copy and Move: pairs of UIDs, ascending.
type CopyResult struct {
	UIDValidity mail.UIDValidity // of the destination
	From, To    []mail.UID
	// SourceModSeq is the mod-sequence of the expunge of a Move.
	SourceModSeq mail.ModSeq
}

// ExpungeResult is the outcome of Expunge.
type ExpungeResult struct {
	UIDs   mail.UIDSet
	ModSeq mail.ModSeq // 0 when nothing was removed
}

// ChangeSet is the difference between two states of a mailbox.
type ChangeSet struct {
	// To is the mod-sequence up to which the set is complete, and the since of the
	// next call. It does not go back. Where one process writes it is at least that of
	// every change that returned before the call.
	To mail.ModSeq
	// UIDNext is a UID below which no new message will show.
	UIDNext mail.UID
	// Changed are the messages that exist and came or changed after since, by UID. They
	// are the caller's own.
	Changed mail.HotRows
	// Expunged are UIDs removed after since.
	Expunged mail.UIDSet
	// Whole is set when the engine no longer knows what was removed after since:
	// Changed then holds every message of the mailbox and Expunged is empty.
	Whole bool
	// Replaced is another one than before when messages may have been put in the place of
	// others, under their UIDs and mod-sequences, as a migration that is run again does.
	Replaced string
}

// Journal is the history of an account, for event streams and webhooks.
type Journal interface {
	// JournalHead returns the id of the newest entry, zero when there is none.
	// Errors: NoAccount.
	JournalHead(ctx context.Context, acct mail.AccountID) (mail.JournalID, error)

	// ReadJournal returns at most limit entries after the given id, in the order in
	// which this process learnt of them: that of the changes, but for changes made at
	// the same time. Ids mostly grow in that order, but those of different processes
	// need not. Whoever asks each time for what comes after the last entry that he
	// got, gets each entry once; with an id from another process, or from before a
	// restart, he may get one twice. Entries live for some hours at least.
	// Errors: NoAccount.
	ReadJournal(ctx context.Context, acct mail.AccountID, after mail.JournalID, limit int) ([]JournalEntry, error)
}

// JournalCommand is the kind of a journal entry.
type JournalCommand string

// The kinds of journal entries.
const (
	JournalExists  JournalCommand = "EXISTS"
	JournalExpunge JournalCommand = "EXPUNGE"
	JournalFetch   JournalCommand = "FETCH"
	JournalCreate  JournalCommand = "CREATE"
	JournalRename  JournalCommand = "RENAME"
	JournalDelete  JournalCommand = "DELETE"
)

// JournalEntry is one change as clients of the event stream see it: one for each
// message that came (EXISTS), went (EXPUNGE) or changed (FETCH), one for each
// mailbox that was created, renamed or deleted. A mailbox that is deleted takes
// its messages along without entries of their own.
type JournalEntry struct {
	ID           mail.JournalID
	Command      JournalCommand
	Mailbox      mail.MailboxID
	ModSeq       mail.ModSeq
	UID          mail.UID
	Message      mail.MessageID
	Thread       mail.ThreadID
	Flags        mail.Flags // FETCH: all flags now
	SeenChanged  bool       // FETCH: \Seen was set or cleared
	InternalDate time.Time  // EXISTS
	// Junk says of EXISTS that a copy or a move made the message junk (1) or that it no
	// longer is (-1).
	Junk    int8
	Path    string // CREATE, RENAME
	Origin  string
	Created time.Time
}

// Registry keeps small things that belong to no mailbox: access tokens and
// run-time settings.
type Registry interface {
	// PutRecord stores a value under a kind and a key; nil removes it, whether
	// it is there or not; an empty value is a value.
	// Keys have 1 to 256 octets, values at most 1 MiB. Errors: Invalid.
	PutRecord(ctx context.Context, kind, key string, value []byte) error

	// Record returns a value. Errors: NotFound.
	Record(ctx context.Context, kind, key string) ([]byte, error)

	// Records yields all records of a kind in ascending order of key. A value is
	// valid until the next one is asked for.
	Records(ctx context.Context, kind string) iter.Seq2[string, []byte]
}
