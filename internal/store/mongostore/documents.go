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

// oid is an identifier as it stands in the database.
func oid[Of any](id mail.ID[Of]) bson.ObjectID { return bson.ObjectID(id) }

// newID makes an identifier.
func newID[I ~[mail.IDSize]byte](s *Store) I { return mail.NewID[I](s.ids) }
