package pebblestore

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

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
		ids = append(ids, id)
		return c.profile(id, value)
	})
	if err != nil {
		return err
	}
	for i, id := range ids {
		c.progress("accounts", int64(i), int64(len(ids)), "accounts")
		a := &accountCheck{
			checker: c, id: id, where: fmt.Sprintf("account %s", id),
			emails: map[mail.EmailID]emailCheck{}, paths: map[string]bool{},
		}
		if err := a.run(); err != nil {
			return err
		}
	}
	return nil
}

// profile checks the row of an account.
func (c *checker) profile(id mail.AccountID, value []byte) error {
	where := fmt.Sprintf("account %s", id)
	a, view, err := decodeAccount(value)
	if err == nil {
		err = indexMatches(value, index{view, a.Username, a.Address, a.Tags})
	}
	if err == nil && a.ID != id {
		err = fmt.Errorf("%w: it is that of %s", errValue, a.ID)
	}
	if err != nil {
		c.problem(where, "the row cannot be decoded: %v", err)
		return nil
	}
	if owner, err := c.get(textKey(tabUsername, view)); err != nil || string(owner) != string(id[:]) {
		c.problem(where, "it is not found by its name %q, which has %x (%v)", view, owner, err)
	}
	main := a.Address == ""
	err = c.each(where, accountKey(tabAccountAddr, id), func(key, value []byte) error {
		name := string(key[ownedSize:])
		row, err := c.address(name)
		switch {
		case err != nil:
			c.problem(where, "its address %s cannot be read: %v", name, err)
		case row == nil:
			c.problem(where, "its address %s does not exist", name)
		case row.Account != id:
			c.problem(where, "its address %s belongs to %s", name, row.Account)
		default:
			main = main || row.Address == a.Address
		}
		return nil
	})
	if err == nil && !main {
		c.problem(where, "its main address %s is none of its addresses", a.Address)
	}
	return err
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
	paths   map[string]bool
	// emails are the documents that messages use.
	emails map[mail.EmailID]emailCheck
	// seq is the last mod-sequence that was looked for in the journal, found whether
	// it is there.
	seq   uint64
	found bool
}

// emailCheck is what is known of a document.
type emailCheck struct {
	users  int32 // messages that use it
	shared int32 // rows of tabSharing
	seen   bool  // its content was looked at
	own    bool  // it has a row in tabText
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
	if h := &a.head; h.epoch > a.runs.epoch || h.reserved < h.seq || h.journalFrom > h.seq+1 {
		a.problem(a.where, "the record of its state makes no sense: %+v in run %d", *h, a.runs.epoch)
	}
	err = a.each(a.where, accountKey(tabMailbox, a.id), func(key, value []byte) error {
		if len(key) != boxKeySize {
			a.problem(a.where, "the key of a mailbox has %d octets", len(key))
			return nil
		}
		return a.mailbox(mail.MailboxID(key[ownedSize:]), value)
	})
	if err != nil {
		return err
	}
	if a.used != a.head.used {
		a.problem(a.where, "it uses %d octets, %d are counted", a.used, a.head.used)
	}
	for _, step := range []func() error{a.names, a.leaving, a.sharing, a.conversations, a.documents, a.texts, a.signatures, a.journal, a.threads} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// names checks the paths that are subscribed without a mailbox.
func (a *accountCheck) names() error {
	return a.each(a.where, accountKey(tabSubscribed, a.id), func(key, value []byte) error {
		path := string(key[ownedSize:])
		if path == "" || !utf8.ValidString(path) || len(value) > 0 {
			a.problem(a.where, "the row of a subscribed path makes no sense: %q with %d octets", path, len(value))
		}
		if a.paths[path] {
			a.problem(a.where, "%q is subscribed as a path without a mailbox, but there is one", path)
		}
		return nil
	})
}

// leaving counts the messages of mailboxes that are being removed: they still use
// their documents.
func (a *accountCheck) leaving() error {
	for _, box := range a.deletingBoxes[a.id] {
		err := a.each(a.where, boxKey(tabHot, a.id, box), func(_, value []byte) error {
			var h hot
			if h.decode(value) == nil {
				a.use(h.email)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *accountCheck) use(email mail.EmailID) {
	e := a.emails[email]
	e.users++
	a.emails[email] = e
}

// sharing checks who shares documents: without its row a message could lose its
// document when another goes.
func (a *accountCheck) sharing() error {
	prefix := accountKey(tabSharing, a.id)
	err := a.each(a.where, prefix, func(key, _ []byte) error {
		if len(key) != len(prefix)+2*idSize+4 {
			a.problem(a.where, "a key about sharing has %d octets", len(key))
			return nil
		}
		email, box := mail.EmailID(key[len(prefix):]), mail.MailboxID(key[len(prefix)+idSize:])
		value, err := a.get(uidKey(tabHot, a.id, box, keyUID(key)))
		var h hot
		if err == nil && value != nil {
			err = h.decode(value)
		}
		if err != nil || value == nil || h.email != email {
			a.problem(a.where, "message %d of mailbox %s shares document %s, but does not use it", keyUID(key), box, email)
			return nil
		}
		e := a.emails[email]
		e.shared++
		a.emails[email] = e
		return nil
	})
	if err != nil {
		return err
	}
	for email, e := range a.emails {
		if e.shared != e.users && (e.users > 1 || e.shared > 1) {
			a.problem(a.where, "%d messages share document %s, %d are noted", e.users, email, e.shared)
		}
	}
	return nil
}

// conversations looks for entries of the index by conversation without a message. That
// each message has its entry is known.
func (a *accountCheck) conversations() error {
	entries := int64(0)
	err := a.each(a.where, accountKey(tabMember, a.id), func(key, _ []byte) error {
		_, box, uid, ok := memberOf(key)
		if !ok {
			a.problem(a.where, "a key of the index by conversation has %d octets", len(key))
			return nil
		}
		if slices.Contains(a.deletingBoxes[a.id], box) {
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

// rowsByEmail calls f for the rows of a table whose keys end with a document, and
// reports those of documents that nobody uses.
func (a *accountCheck) rowsByEmail(tab byte, name string, f func(email mail.EmailID, e emailCheck, value []byte)) error {
	return a.each(a.where, accountKey(tab, a.id), func(key, value []byte) error {
		a.count(name + "s")
		if len(key) != emailSize {
			a.problem(a.where, "the key of a %s has %d octets", name, len(key))
			return nil
		}
		email := mail.EmailID(key[ownedSize:])
		e, used := a.emails[email]
		if !used {
			a.problem(a.where, "%s %s belongs to no message", name, email)
			return nil
		}
		f(email, e, value)
		return nil
	})
}

func (a *accountCheck) documents() error {
	return a.rowsByEmail(tabDocument, "document", func(mail.EmailID, emailCheck, []byte) {})
}

func (a *accountCheck) texts() error {
	return a.rowsByEmail(tabText, "text", func(email mail.EmailID, e emailCheck, _ []byte) {
		if e.seen && !e.own {
			a.problem(a.where, "text %s is not used by its document", email)
		}
	})
}

func (a *accountCheck) signatures() error {
	return a.rowsByEmail(tabSignature, "signature", func(email mail.EmailID, _ emailCheck, value []byte) {
		if !validSignature(value) {
			a.problem(a.where, "signature %s has an unknown form", email)
		}
	})
}

// journal checks the form and the order of the journal, and its entries against the
// messages.
func (a *accountCheck) journal() error {
	last, next := uint64(0), uint32(0)
	return a.each(a.where, accountKey(tabJournal, a.id), func(key, value []byte) error {
		a.count("journal rows")
		row, err := decodeJournalRow(key, value)
		if err == nil && row.seq == last && row.index != next || row.seq != last && row.index != 0 {
			err = fmt.Errorf("%w: entry %d comes where %d should", errValue, row.index, next)
		}
		index := row.index
		var e rawEntry
		for err == nil && row.next(&e) {
			a.count("journal entries")
			index++
			a.entry(row.seq, &e)
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
		last, next = row.seq, index
		return nil
	})
}

// entry compares an entry of the journal with the message, if it is still there.
func (a *accountCheck) entry(seq uint64, e *rawEntry) {
	if e.uid == 0 { // about a mailbox
		return
	}
	value, err := a.get(uidKey(tabHot, a.id, e.box, e.uid))
	var h hot
	if err != nil || value == nil || h.decode(value) != nil {
		return // gone since then, or reported already
	}
	where := fmt.Sprintf("message %d of mailbox %s of %s", e.uid, e.box, a.where)
	switch {
	case e.cmd == cmdExpunge:
		a.problem(where, "the journal says that it was removed at %d", seq)
	case h.modseq < seq:
		a.problem(where, "the journal says that it changed at %d, it has mod-sequence %d", seq, h.modseq)
	case h.modseq == seq && (h.id != e.id || h.thread != e.thread):
		a.problem(where, "the journal has it as %s of conversation %s, it is %s of %s", e.id, e.thread, h.id, h.thread)
	}
}

// inJournal reports whether the journal has a change; changes that are too old count
// as found.
func (a *accountCheck) inJournal(seq uint64) bool {
	if seq < a.head.journalFrom {
		return true
	}
	if seq != a.seq {
		found, err := a.has(journalKey(a.id, seq, 0))
		a.seq, a.found = seq, found || err != nil // a row that cannot be read is reported by journal
	}
	return a.found
}

func (a *accountCheck) threads() error {
	return a.each(a.where, accountKey(tabThread, a.id), func(key, value []byte) error {
		a.count("conversations")
		row, err := decodeThreadRow(value)
		if err == nil && len(key) != ownedSize+16 {
			err = errors.New("its key has a wrong length")
		}
		if err != nil || row.thread.IsZero() {
			a.problem(a.where, "the record of a conversation cannot be decoded: %v", err)
		}
		return nil
	})
}
