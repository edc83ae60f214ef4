package mongostore

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// The names of the collections in the main database.
const (
	colMailboxes = "mailboxes"
	colMessages  = "messages"
	colArchived  = "archived"
	colJournal   = "journal"
	colThreads   = "threads"
	colSettings  = "settings"
)

// The names of the collections in the users database.
const (
	colUsers         = "users"
	colDeletedUsers  = "deletedusers"
	colAddresses     = "addresses"
	colDomainAliases = "domainaliases"
	colDomainCache   = "domaincache"
)

// memberMallard is the member of messages and mailboxes in which Mallard keeps what WildDuck has no place for. WildDuck
// copies it along with a message and looks at nothing in it.
const memberMallard = "mallard"

// Members of memberMallard in users and mailboxes.
const (
	// keyCreating is there while an account is being made: since when. Until it goes the account is not there.
	keyCreating = "creating"
	// keyValidity is the greatest UIDVALIDITY that a mailbox of the account got from us.
	keyValidity = "uidValidity"
	// keyDeleted is there in the mailboxes of an account that was deleted and of which the mail is kept: since when.
	keyDeleted = "deleted"
	// keyCreated is when a mailbox was made; without it that is the time in its id.
	keyCreated = "created"
)

// oid is an identifier as it stands in the database.
func oid[Of any](id mail.ID[Of]) bson.ObjectID { return bson.ObjectID(id) }

// newID makes an identifier.
func newID[I ~[mail.IDSize]byte](s *Store) I { return mail.NewID[I](s.ids) }
