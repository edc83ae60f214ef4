package pebblestore

import (
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"

	"mallard/internal/mail"
)

// accounts checks everything that belongs to accounts.
func (c *checker) accounts() error {
	var ids []mail.AccountID
	err := c.each("accounts", []byte{tabAccount}, func(key, value []byte) error {
		c.count("accounts")
		if len(key) != 1+idSize {
			c.problem("accounts", "a key has %d octets", len(key))
			return nil
		}
		id := mail.AccountID(key[1:])
		if _, _, err := decodeAccount(value); err != nil {
			c.problem(fmt.Sprintf("account %s", id), "the row cannot be decoded: %v", err)
		}
		if !c.deletingAccount[id] {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, id := range ids {
		c.progress("accounts", int64(i), int64(len(ids)), "accounts")
		a := &accountCheck{checker: c, id: id, where: fmt.Sprintf("account %s", id), emails: map[mail.EmailID]bool{}}
		if err := a.run(); err != nil {
			return err
		}
	}
	return nil
}

// accountCheck is the check of one account.
type accountCheck struct {
	*checker
	id    mail.AccountID
	where string
	head  accountHead
	used  int64
	// members is how many messages were found.
	members int64
	// emails are the documents that messages use; true when the content was found
	// whole already.
	emails map[mail.EmailID]bool
}

func (a *accountCheck) run() error {
	value, err := a.get(accountKey(tabAccountHead, a.id))
	if err == nil && value == nil {
		a.problem(a.where, "the record of its state is missing")
		return nil
	}
	if err == nil {
		a.head, err = decodeAccountHead(value)
	}
	if err != nil {
		a.problem(a.where, "the record of its state cannot be read: %v", err)
		return nil
	}
	err = a.each(a.where, accountKey(tabMailbox, a.id), func(key, value []byte) error {
		return a.mailbox(mail.MailboxID(key[ownedSize:]), value)
	})
	if err != nil {
		return err
	}
	if a.used != a.head.used {
		a.problem(a.where, "it uses %d octets, %d are counted", a.used, a.head.used)
	}
	if err := a.conversations(); err != nil {
		return err
	}
	if err := a.documents(); err != nil {
		return err
	}
	return a.journal()
}

// boxCheck is the check of one mailbox.
type boxCheck struct {
	*accountCheck
	id    mail.MailboxID
	where string
	head  mailboxHead
	seen  mailboxHead // counters as found
	uids  mail.UIDSet
	last  mail.UID
}

func (a *accountCheck) mailbox(id mail.MailboxID, value []byte) error {
	if a.deletingBox[id] {
		return nil
	}
	a.count("mailboxes")
	b := &boxCheck{accountCheck: a, id: id, where: fmt.Sprintf("mailbox %s of %s", id, a.where)}
	if p, err := decodeProfile(value); err != nil {
		b.problem(b.where, "the row cannot be decoded: %v", err)
	} else {
		b.where = fmt.Sprintf("mailbox %q of %s", p.path, a.where)
	}
	value, err := b.get(boxKey(tabMailboxHead, a.id, id))
	if err == nil && value == nil {
		err = errors.New("it is missing")
	}
	if err == nil {
		b.head, err = decodeMailboxHead(value)
	}
	if err != nil {
		b.problem(b.where, "the record of its state cannot be read: %v", err)
		return nil
	}
	if b.head.highest > a.head.seq {
		b.problem(b.where, "its mod-sequence %d is above that of the account, %d", b.head.highest, a.head.seq)
	}
	err = b.each(b.where, boxKey(tabHot, a.id, id), func(key, value []byte) error {
		return b.message(keyUID(key), value)
	})
	if err != nil {
		return err
	}
	b.counters()
	if err := b.dates(); err != nil {
		return err
	}
	return b.tombstones()
}

func (b *boxCheck) message(uid mail.UID, value []byte) error {
	b.count("messages")
	if n := b.report.Counts["messages"]; n%100 == 0 {
		b.progress("messages", n, 0, "messages")
	}
	where := fmt.Sprintf("message %d of %s", uid, b.where)
	var h hot
	if err := h.decode(value); err != nil {
		b.problem(where, "the record cannot be decoded: %v", err)
		return nil
	}
	b.uids, b.last = b.uids.Append(uid), uid
	b.tally(&h)
	if uint64(uid) >= b.head.uidNext {
		b.problem(where, "its UID is not below the next one, %d", b.head.uidNext)
	}
	if h.modseq > b.head.highest {
		b.problem(where, "its mod-sequence %d is above that of the mailbox, %d", h.modseq, b.head.highest)
	}
	if ok, err := b.has(appendDateKey(nil, b.accountCheck.id, b.id, h.date, uid)); err != nil || !ok {
		b.problem(where, "it is missing in the index by date")
	}
	if ok, err := b.has(appendMemberKey(nil, b.accountCheck.id, h.thread, b.id, uid)); err != nil || !ok {
		b.problem(where, "it is missing in the index by conversation")
	}
	b.members++
	if h.bits&hotHasExtra != 0 {
		b.extra(where, uid)
	}
	return b.content(where, uid, &h)
}

func (b *boxCheck) tally(h *hot) {
	b.seen.messages++
	b.seen.size += h.size
	b.used += h.size
	if h.system&mail.Seen == 0 {
		b.seen.unseen++
	}
	if h.system&mail.Deleted != 0 {
		b.seen.deleted++
	}
}

func (b *boxCheck) extra(where string, uid mail.UID) {
	value, err := b.get(uidKey(tabExtra, b.accountCheck.id, b.id, uid))
	if err == nil && value == nil {
		err = errors.New("it is missing")
	}
	if err == nil {
		_, err = decodeExtra(value)
	}
	if err != nil {
		b.problem(where, "its metadata cannot be read: %v", err)
	}
}

// counters compares what is counted with what is there.
func (b *boxCheck) counters() {
	for _, n := range []struct {
		what        string
		have, count int64
	}{
		{"messages", b.seen.messages, b.head.messages}, {"unseen messages", b.seen.unseen, b.head.unseen},
		{"deleted messages", b.seen.deleted, b.head.deleted}, {"octets", b.seen.size, b.head.size},
	} {
		if n.have != n.count {
			b.problem(b.where, "it has %d %s, %d are counted", n.have, n.what, n.count)
		}
	}
}

// dates looks for entries of the index by date without a message.
func (b *boxCheck) dates() error {
	entries := int64(0)
	err := b.each(b.where, boxKey(tabDate, b.accountCheck.id, b.id), func(key, _ []byte) error {
		entries++
		if uid := keyUID(key); !b.uids.Contains(uid) {
			b.problem(b.where, "the index by date has message %d, which does not exist", uid)
		}
		return nil
	})
	if err == nil && entries > b.seen.messages {
		b.problem(b.where, "the index by date has %d entries for %d messages", entries, b.seen.messages)
	}
	return err
}

// tombstones checks what is remembered of removed messages.
func (b *boxCheck) tombstones() error {
	return b.each(b.where, boxKey(tabTombstone, b.accountCheck.id, b.id), func(key, value []byte) error {
		if seq := keySeq(key); seq > b.head.highest {
			b.problem(b.where, "messages were removed at mod-sequence %d, above that of the mailbox, %d", seq, b.head.highest)
		}
		set, err := decodeUIDs(value, nil)
		if err != nil {
			b.problem(b.where, "the record of removed messages cannot be decoded: %v", err)
			return nil
		}
		for uid := range set.All() {
			if uint64(uid) >= b.head.uidNext || b.uids.Contains(uid) {
				b.problem(b.where, "message %d is recorded as removed", uid)
			}
		}
		return nil
	})
}

// content re-assembles a message and compares it with its checksum.
func (b *boxCheck) content(where string, uid mail.UID, h *hot) error {
	if b.emails[h.email] {
		return nil // another message with the same content
	}
	b.emails[h.email] = false
	acct := b.accountCheck.id
	value, err := b.get(emailKey(tabDocument, acct, h.email))
	if err == nil && value == nil {
		err = errors.New("it is missing")
	}
	var d document
	if err == nil {
		err = d.decode(value)
	}
	var l layout
	if err == nil {
		_, err = l.decode(d.sections[secLayout])
	}
	if err != nil {
		b.problem(where, "its document cannot be read: %v", err)
		return nil
	}
	l.hashes(func(hs hash, _ int64) {
		if ok, err := b.has(blobRefKey(hs, acct, h.email)); err != nil || !ok {
			b.problem(where, "its use of content %x is not recorded", hs)
		}
	})
	sum, err := b.sum(acct, uid, d.prefixLen)
	switch {
	case mail.CodeOf(err) == mail.CodeNotFound && err != nil, mail.CodeOf(err) == mail.CodeNoMailbox && err != nil:
		return nil // expunged since the snapshot
	case mail.CodeOf(err) == mail.CodeCanceled && err != nil:
		return err
	case err != nil:
		b.problem(where, "its text cannot be read: %v", err)
	case sum != d.checksum:
		b.problem(where, "its text has checksum %016x, it came with %016x", sum, d.checksum)
	default:
		b.emails[h.email] = true
	}
	return nil
}

// sum is the checksum of a message behind its prefix.
func (b *boxCheck) sum(acct mail.AccountID, uid mail.UID, prefix int64) (sum uint64, err error) {
	body, err := b.s.Open(b.ctx, acct, b.id, uid)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	h := xxhash.New()
	if err := body.WriteRange(io.Writer(h), prefix, body.Size()-prefix); err != nil {
		return 0, err
	}
	return h.Sum64(), nil
}

// conversations looks for entries of the index by conversation without a message.
func (a *accountCheck) conversations() error {
	entries := int64(0)
	err := a.each(a.where, accountKey(tabMember, a.id), func(key, _ []byte) error {
		_, box, uid, ok := memberOf(key)
		if !ok {
			a.problem(a.where, "a key of the index by conversation has %d octets", len(key))
			return nil
		}
		if a.deletingBox[box] {
			return nil
		}
		entries++
		if there, err := a.has(uidKey(tabHot, a.id, box, uid)); err != nil || !there {
			a.problem(a.where, "the index by conversation has message %d of mailbox %s, which does not exist", uid, box)
		}
		return nil
	})
	if err == nil && entries > a.members {
		a.problem(a.where, "the index by conversation has %d entries for %d messages", entries, a.members)
	}
	return err
}

// documents looks for documents, texts and signatures that no message uses.
func (a *accountCheck) documents() error {
	for _, tab := range []struct {
		tab  byte
		name string
	}{{tabDocument, "document"}, {tabText, "text"}, {tabSignature, "signature"}} {
		err := a.each(a.where, accountKey(tab.tab, a.id), func(key, _ []byte) error {
			a.count(tab.name + "s")
			email := mail.EmailID(key[ownedSize:])
			if _, used := a.emails[email]; !used && len(a.deletingBox) == 0 {
				a.problem(a.where, "%s %s belongs to no message", tab.name, email)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// journal checks the order and the form of the journal.
func (a *accountCheck) journal() error {
	last := uint64(0)
	return a.each(a.where, accountKey(tabJournal, a.id), func(key, value []byte) error {
		a.count("journal rows")
		row, err := decodeJournalRow(key, value)
		var e rawEntry
		for err == nil && row.next(&e) {
			a.count("journal entries")
		}
		if err == nil {
			err = row.err()
		}
		if err != nil {
			a.problem(a.where, "a row of its journal cannot be decoded: %v", err)
			return nil
		}
		if row.seq < last || row.seq > a.head.seq {
			a.problem(a.where, "its journal has mod-sequence %d after %d, the account is at %d", row.seq, last, a.head.seq)
		}
		last = row.seq
		return nil
	})
}
