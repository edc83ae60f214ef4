package store

import (
	"context"

	"mallard/internal/mail"
)

// Recents remembers which messages of a mailbox some session was told of, for \Recent
// (RFC 3501, 2.3.2): those up to a UID, as new messages come in ascending order. An engine
// that has a place for that implements it besides Store.
//
// What it remembers need not be durable: a crash may take it back, and so may a cache that
// was emptied. Messages are then recent once more, which the RFC wants where it is not
// known. It never comes that a message counts as told of which no session was.
type Recents interface {
	// TakeRecent notes that a session is told of the messages up to a UID, and returns
	// the UID up to which sessions had been told before: messages above are recent in
	// this one. 0 notes nothing; a UID that was not given out yet stands for the last that
	// was. Of sessions that come at the same time one gets each message. It waits for no
	// flush of its own. Errors: NoMailbox.
	TakeRecent(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, upTo mail.UID) (mail.UID, error)
}

// RecentsBeside are Recents that are kept beside the engine, so that they do not see when a
// mailbox is restored with fewer UIDs than it had.
type RecentsBeside interface {
	Recents
	// LimitRecent forgets that sessions were told of messages above a UID, the last that
	// the mailbox has given out. Other processes may remember it. Errors:
	// Unavailable, Canceled.
	LimitRecent(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, last mail.UID) error
}
