package store

import (
	"context"
	"time"

	"mallard/internal/mail"
)

// Migration is what an engine offers besides Store to move what it holds to another
// engine and back, with everything that clients and other programs remember: ids, UIDs,
// UIDVALIDITY, mod-sequences.
//
// What is restored is not served meanwhile: nobody logs in, nothing is delivered. A
// method that restores makes a row what it is told, whatever was there; doing it again
// changes nothing, so that a migration that was interrupted just goes on. It writes no
// journal entries. It is durable when it returns.
//
// Afterwards the engine goes on from there: numbers that it gives out are greater than
// all that were restored, and replies find the conversations of restored messages.
type Migration interface {
	// RestoreAccount stores the account with its ID, and without mailboxes, or replaces
	// all of it but StorageUsed, which the engine maintains. Address is taken as it is: its
	// row may come later. view is the unique form of the username.
	// Errors: Exists when another account has the view.
	RestoreAccount(ctx context.Context, a mail.Account, view string) error

	// RestoreAddress stores an address row with its ID, or replaces it.
	// Errors: Exists when another row has the view, NoAccount.
	RestoreAddress(ctx context.Context, a mail.Address) error

	// RestoreMailbox stores a mailbox with its ID, UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ and
	// keywords, or makes an existing one the same, also when these numbers become smaller;
	// the counters are the engine's. UIDs below UIDNEXT without a message count as
	// expunged at HIGHESTMODSEQ. A mailbox is ready when it is restored after its
	// messages; until then its HIGHESTMODSEQ may be smaller than theirs. It is subscribed
	// as it says, also when its path was subscribed without a mailbox.
	// Errors: NoAccount, Exists when another mailbox has the path.
	RestoreMailbox(ctx context.Context, acct mail.AccountID, m mail.Mailbox) error

	// RestoreMessages stores messages with the UIDs given, in ascending order of UID, all
	// or none. A message that is there with the same UID, ID and EmailID gets the flags,
	// the mod-sequence and what else can change, and its content is left alone, so that
	// Staged may be nil; one with another ID or EmailID is replaced.
	// Messages of one account with the same EmailID share their content.
	// Errors: NoMailbox, Invalid (nothing staged for a message that is not there).
	RestoreMessages(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []Restored) error

	// RemoveRestored takes messages away again, as if they had not been restored.
	// Errors: NoMailbox.
	RemoveRestored(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet) error

	// DomainAliases returns the domains that aliases stand for.
	DomainAliases(ctx context.Context) (map[string]string, error)

	// EachRecord calls f for all records of the registry, in no order, until it fails. The
	// value is valid until f returns.
	EachRecord(ctx context.Context, f func(kind, key string, value []byte) error) error
}

// Restored is a message with everything that Fetch told of it.
type Restored struct {
	UID          mail.UID
	ModSeq       mail.ModSeq
	ID           mail.MessageID
	EmailID      mail.EmailID
	ThreadID     mail.ThreadID
	Flags        mail.Flags
	InternalDate time.Time
	SavedDate    time.Time
	Expires      time.Time
	MetaData     string
	Info         string
	Junk         bool
	Prefix       []byte
	Staged       Staged // the content behind the prefix
}
