package pebblestore

import (
	"encoding/binary"
	"time"

	"mallard/internal/mail"
)

// The tables of the whole store. The first octet of a key names its table;
// docs/format/pebble-keys.md documents keys and values.
const (
	tabMeta        = 'E' // -> meta; 'o' -> nothing
	tabAccount     = 'A' // account -> mail.Account
	tabUsername    = 'U' // view -> account
	tabAddress     = 'D' // address -> view
	tabAddressView = 'V' // view -> mail.Address
	tabDomainAlias = 'Z' // alias -> domain
	tabRecord      = 'K' // kind, 0, key -> value

	tabBlob     = 'c' // hash -> content
	tabBlobRef  = 'C' // hash, account, email -> nothing
	tabGarbage  = 'g' // hash, account, email -> kind of content
	tabDeletion = 'G' // account, mailbox or zero -> nothing, or what is kept of an account

	// tabOwned holds all that belongs to one account: account, table, key.
	tabOwned = 'u'
)

// The tables of an account. The account comes first in the key, so that what one
// account writes is in one place, and its mail is read from one place.
const (
	tabAccountHead = 'B' // -> accountHead
	tabAccountAddr = 'W' // view -> nothing
	tabSubscribed  = 'N' // path without a mailbox -> nothing
	tabMailbox     = 'M' // mailbox -> profile
	tabMailboxHead = 'H' // mailbox -> mailboxHead
	tabHot         = 'm' // mailbox, uid -> hot
	tabExtra       = 'x' // mailbox, uid -> extra
	tabDate        = 'i' // mailbox, date, uid -> nothing
	tabTombstone   = 't' // mailbox, modseq -> removed UIDs
	tabJournal     = 'j' // modseq, index -> journal entries
	tabThread      = 'h' // hash -> thread, day
	tabMember      = 'n' // thread, mailbox, uid -> nothing
	tabDocument    = 'd' // email -> document
	tabText        = 'b' // email -> text
	tabSignature   = 's' // email -> signature
	tabSharing     = 'r' // email, mailbox, uid -> nothing
)

// orphansKey is a row beside that of meta: it is there while content without a
// reference may lie about that has no note, see findOrphans.
func orphansKey() []byte { return []byte{tabMeta, 'o'} }

// hash is the SHA-256 of content.
type hash [32]byte

const (
	idSize      = mail.IDSize
	ownedSize   = 2 + idSize // table, account, table
	boxKeySize  = ownedSize + idSize
	emailSize   = ownedSize + idSize
	hotKeySize  = boxKeySize + 4
	dateKeySize = boxKeySize + 8 + 4
	// memberKeySize is the greatest size of a key with a UID.
	memberKeySize = boxKeySize + idSize + 4
	refKeySize    = 1 + 32 + 2*idSize
)

// accountKey is a key with an account alone: a row of a table, or the prefix of
// the account's rows in it.
func accountKey(tab byte, acct mail.AccountID) []byte {
	return appendAccountKey(make([]byte, 0, hotKeySize), tab, acct)
}

func appendAccountKey(b []byte, tab byte, acct mail.AccountID) []byte {
	b = append(append(b, tabOwned), acct[:]...)
	return append(b, tab)
}

// idKey is a key of a table of the whole store with an identifier.
func idKey[I ~[idSize]byte](tab byte, id I) []byte { return append([]byte{tab}, id[:]...) }

// deletionKey is the key of a deletion that is under way: of a mailbox, or with a
// zero mailbox of an account.
func deletionKey(acct mail.AccountID, box mail.MailboxID) []byte {
	return append(idKey(tabDeletion, acct), box[:]...)
}

// boxKey is a key with account and mailbox.
func boxKey(tab byte, acct mail.AccountID, box mail.MailboxID) []byte {
	return appendBoxKey(make([]byte, 0, dateKeySize), tab, acct, box)
}

func appendBoxKey(b []byte, tab byte, acct mail.AccountID, box mail.MailboxID) []byte {
	return append(appendAccountKey(b, tab, acct), box[:]...)
}

// uidKey is a key with account, mailbox and UID.
func uidKey(tab byte, acct mail.AccountID, box mail.MailboxID, uid mail.UID) []byte {
	return appendUIDKey(make([]byte, 0, hotKeySize), tab, acct, box, uid)
}

func appendUIDKey(b []byte, tab byte, acct mail.AccountID, box mail.MailboxID, uid mail.UID) []byte {
	return binary.BigEndian.AppendUint32(appendBoxKey(b, tab, acct, box), uint32(uid))
}

// keyUID returns the UID at the end of a key.
func keyUID(key []byte) mail.UID { return mail.UID(binary.BigEndian.Uint32(key[len(key)-4:])) }

// appendDateKey is the key of the index by date. Milliseconds since 1970 are
// shifted so that they sort as unsigned numbers.
func appendDateKey(b []byte, acct mail.AccountID, box mail.MailboxID, date int64, uid mail.UID) []byte {
	b = appendBoxKey(b, tabDate, acct, box)
	b = binary.BigEndian.AppendUint64(b, uint64(date)^(1<<63))
	return binary.BigEndian.AppendUint32(b, uint32(uid))
}

// seqKey is a key with account, mailbox and mod-sequence.
func seqKey(tab byte, acct mail.AccountID, box mail.MailboxID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(boxKey(tab, acct, box), seq)
}

func keySeq(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

func journalKey(acct mail.AccountID, seq uint64, index uint32) []byte {
	b := binary.BigEndian.AppendUint64(accountKey(tabJournal, acct), seq)
	return binary.BigEndian.AppendUint32(b, index)
}

// emailKey is a key with account and document.
func emailKey(tab byte, acct mail.AccountID, email mail.EmailID) []byte {
	return appendEmailKey(make([]byte, 0, boxKeySize), tab, acct, email)
}

func appendEmailKey(b []byte, tab byte, acct mail.AccountID, email mail.EmailID) []byte {
	return append(appendAccountKey(b, tab, acct), email[:]...)
}

func sharingKey(acct mail.AccountID, email mail.EmailID, box mail.MailboxID, uid mail.UID) []byte {
	b := appendEmailKey(make([]byte, 0, emailSize+idSize+4), tabSharing, acct, email)
	return binary.BigEndian.AppendUint32(append(b, box[:]...), uint32(uid))
}

func threadKey(acct mail.AccountID, h [16]byte) []byte {
	return append(accountKey(tabThread, acct), h[:]...)
}

// appendMemberKey is the key of the index by conversation.
func appendMemberKey(b []byte, acct mail.AccountID, thread mail.ThreadID, box mail.MailboxID, uid mail.UID) []byte {
	b = append(appendAccountKey(b, tabMember, acct), thread[:]...)
	return binary.BigEndian.AppendUint32(append(b, box[:]...), uint32(uid))
}

// memberPrefix is what the keys of a conversation begin with.
func memberPrefix(acct mail.AccountID, thread mail.ThreadID) []byte {
	return append(accountKey(tabMember, acct), thread[:]...)
}

// memberOf reads a key of the index by conversation.
func memberOf(key []byte) (thread mail.ThreadID, box mail.MailboxID, uid mail.UID, ok bool) {
	if len(key) != memberKeySize {
		return thread, box, 0, false
	}
	return mail.ThreadID(key[ownedSize : ownedSize+idSize]), mail.MailboxID(key[ownedSize+idSize : ownedSize+2*idSize]), keyUID(key), true
}

func hashKey(tab byte, h hash) []byte { return append([]byte{tab}, h[:]...) }

func blobRefKey(h hash, acct mail.AccountID, email mail.EmailID) []byte {
	b := make([]byte, 0, refKeySize)
	b = append(append(b, tabBlobRef), h[:]...)
	return append(append(b, acct[:]...), email[:]...)
}

// garbageKey notes that a document stopped to use content. It names the document, so
// that a note which was dealt with is not mistaken for a newer one.
func garbageKey(h hash, acct mail.AccountID, email mail.EmailID) []byte {
	b := blobRefKey(h, acct, email)
	b[0] = tabGarbage
	return b
}

func textKey(tab byte, text string) []byte { return append([]byte{tab}, text...) }

func accountTextKey(tab byte, acct mail.AccountID, text string) []byte {
	return append(accountKey(tab, acct), text...)
}

func recordKey(kind, key string) []byte {
	b := append([]byte{tabRecord}, kind...)
	return append(append(b, 0), key...)
}

// after returns the smallest key that is greater than every key with this prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// millis is the stored form of a time; the zero time keeps its identity.
func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
