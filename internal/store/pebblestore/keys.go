package pebblestore

import (
	"encoding/binary"
	"time"

	"mallard/internal/mail"
)

// The tables. The first octet of a key names its table; docs/format/pebble-keys.md
// documents keys and values.
const (
	tabMeta        = 'E' // -> meta
	tabAccount     = 'A' // account -> mail.Account
	tabAccountHead = 'B' // account -> accountHead
	tabUsername    = 'U' // view -> account
	tabAddress     = 'D' // address -> mail.Address
	tabAddressView = 'V' // view -> address
	tabAccountAddr = 'W' // account, view -> address
	tabDomainAlias = 'Z' // alias -> domain
	tabRecord      = 'K' // kind, 0, key -> value

	tabMailbox     = 'M' // account, mailbox -> mailbox profile
	tabMailboxHead = 'H' // account, mailbox -> mailboxHead
	tabHot         = 'm' // account, mailbox, uid -> hot
	tabExtra       = 'x' // account, mailbox, uid -> extra
	tabDate        = 'i' // account, mailbox, date, uid -> nothing
	tabTombstone   = 't' // account, mailbox, modseq -> removed UIDs
	tabJournal     = 'j' // account, modseq, index -> journal entries
	tabThread      = 'h' // account, hash -> thread, day

	tabDocument  = 'd' // account, email -> document
	tabText      = 'b' // account, email -> text
	tabSignature = 's' // account, email -> signature
	tabSharing   = 'r' // account, email, mailbox, uid -> nothing

	tabBlob     = 'c' // hash -> content
	tabBlobRef  = 'C' // hash, account, email -> nothing
	tabGarbage  = 'g' // hash, account, email -> kind of content
	tabDeletion = 'G' // account, mailbox or zero -> nothing
)

// accountTables are the tables whose keys start with an account.
func accountTables() []byte {
	return []byte{
		tabAccount, tabAccountHead, tabAccountAddr, tabMailbox, tabMailboxHead, tabHot, tabExtra, tabDate,
		tabTombstone, tabJournal, tabThread, tabDocument, tabText, tabSignature, tabSharing,
	}
}

// hash is the SHA-256 of content.
type hash [32]byte

const (
	idSize      = mail.IDSize
	boxKeySize  = 1 + 2*idSize
	hotKeySize  = boxKeySize + 4
	dateKeySize = boxKeySize + 8 + 4
	refKeySize  = 1 + 32 + 2*idSize
)

// accountKey is a key with an account alone: a row of a table, or the prefix of
// the account's rows in it.
func accountKey(tab byte, acct mail.AccountID) []byte {
	return appendAccountKey(make([]byte, 0, hotKeySize), tab, acct)
}

func appendAccountKey(b []byte, tab byte, acct mail.AccountID) []byte {
	return append(append(b, tab), acct[:]...)
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
	b := appendEmailKey(make([]byte, 0, 1+3*idSize+4), tabSharing, acct, email)
	return binary.BigEndian.AppendUint32(append(b, box[:]...), uint32(uid))
}

func threadKey(acct mail.AccountID, h [16]byte) []byte {
	return append(accountKey(tabThread, acct), h[:]...)
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
