package pebblestore

import (
	"context"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/store"
)

const (
	// smallMailbox is the number of messages up to which a scan is cheaper than
	// reading the journal.
	smallMailbox = 128
	// maxJournalRows and maxJournalEntries bound what is read of the journal before
	// a scan of the mailbox is preferred.
	maxJournalRows    = 2048
	maxJournalEntries = 16384
)

// differ is one call of Changes. All is read with one iterator, so that it is of one
// moment.
type differ struct {
	s     *Store
	ctx   context.Context
	acct  mail.AccountID
	box   mail.MailboxID
	since uint64
	it    *pebble.Iterator
	head  mailboxHead
	out   *store.ChangeSet
	cache string // keywords of the last message
}

// Changes implements store.Messages.
func (s *Store) Changes(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, since mail.ModSeq) (*store.ChangeSet, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	a, err := s.account(ctx, acct)
	if err != nil {
		return nil, boxError(err)
	}
	defer s.accounts.release(a)
	m := a.set.Load().byID[mbox]
	if m == nil {
		return nil, noMailbox()
	}
	d := &differ{s: s, ctx: ctx, acct: acct, box: mbox, since: uint64(since)}
	d.out = &store.ChangeSet{}
	if h := m.head.Load(); h.knows(uint64(since), d.out) {
		d.head = *h
		return d.result(), nil
	}
	if d.it, err = s.db.NewIter(nil); err != nil {
		return nil, readError("read changes", err)
	}
	err = d.run()
	if cerr := d.it.Close(); err == nil && cerr != nil {
		err = readError("read changes", cerr)
	}
	if err != nil {
		return nil, err
	}
	return d.result(), nil
}

func (d *differ) result() *store.ChangeSet {
	d.out.To, d.out.UIDNext = mail.ModSeq(d.head.highest), mail.UID(min(d.head.uidNext, endOfUIDs-1))
	return d.out
}

func (d *differ) run() error {
	value, err := d.find(boxKey(tabMailboxHead, d.acct, d.box))
	if err != nil {
		return err
	}
	if value == nil {
		return noMailbox()
	}
	if d.head, err = decodeMailboxHead(value); err != nil {
		return corrupt(fmt.Sprintf("head of mailbox %s of account %s", d.box, d.acct), err)
	}
	for _, r := range d.head.lost {
		if r.from < d.since && d.since < r.to {
			d.out.Whole = true
		}
	}
	if d.out.Whole || d.since == 0 { // nobody who has nothing needs to know what went
		d.out.Whole = true
		d.out.Changed.Grow(int(d.head.messages))
		return d.scan(0)
	}
	if d.head.messages > smallMailbox {
		done, err := d.fromJournal()
		if done || err != nil {
			return err
		}
		*d.out = store.ChangeSet{}
	}
	if err := d.tombstones(); err != nil {
		return err
	}
	return d.scan(d.since)
}

// find returns the value of a key, nil when there is none.
func (d *differ) find(key []byte) ([]byte, error) {
	d.it.SetBounds(key, append(slices.Clone(key), 0))
	if !d.it.First() {
		if err := d.it.Error(); err != nil {
			return nil, readError("read changes", err)
		}
		return nil, nil
	}
	value, err := d.it.ValueAndErr()
	if err != nil {
		return nil, readError("read changes", err)
	}
	return value, nil
}

// each calls f for the rows of a range.
func (d *differ) each(lower, upper []byte, f func(key, value []byte) error) error {
	d.it.SetBounds(lower, upper)
	n := 0
	for ok := d.it.First(); ok; ok = d.it.Next() {
		if n++; n%1024 == 0 && d.ctx.Err() != nil {
			return canceled(d.ctx)
		}
		value, err := d.it.ValueAndErr()
		if err != nil {
			return readError("read changes", err)
		}
		if err := f(d.it.Key(), value); err != nil {
			return err
		}
	}
	if err := d.it.Error(); err != nil {
		return readError("read changes", err)
	}
	return nil
}

// fromJournal finds out from the journal what happened. It reports false when the
// journal does not reach back far enough or too much happened.
func (d *differ) fromJournal() (done bool, err error) {
	value, err := d.find(accountKey(tabAccountHead, d.acct))
	if err != nil {
		return false, err
	}
	head, err := decodeAccountHead(value)
	if err != nil {
		return false, corrupt(fmt.Sprintf("head of account %s", d.acct), err)
	}
	if d.since+1 < head.journalFrom {
		return false, nil
	}
	var touched []mail.UID
	var expunged []mail.UIDRange
	rows, entries := 0, 0
	err = d.each(journalKey(d.acct, d.since+1, 0), afterAccount(tabJournal, d.acct), func(key, value []byte) error {
		row, err := decodeJournalRow(key, value)
		if err != nil {
			return corrupt(fmt.Sprintf("journal of account %s", d.acct), err)
		}
		rows++
		entries += int(min(row.left, entriesPerRow))
		if rows > maxJournalRows || entries > maxJournalEntries {
			return errStop
		}
		var e rawEntry
		for row.next(&e) {
			switch {
			case e.box != d.box || e.uid == 0:
			case e.cmd == cmdExpunge:
				expunged = append(expunged, mail.UIDRange{First: e.uid, Last: e.uid})
			default:
				touched = append(touched, e.uid)
			}
		}
		return row.err()
	})
	if err != nil {
		return false, ignoreStop(err)
	}
	d.out.Expunged = mail.NormalizeUIDs(expunged)
	slices.Sort(touched)
	return true, d.lookUp(slices.Compact(touched))
}

func ignoreStop(err error) error {
	if err == errStop {
		return nil
	}
	return err
}

// lookUp adds the messages of a list that exist.
func (d *differ) lookUp(uids []mail.UID) error {
	prefix := boxKey(tabHot, d.acct, d.box)
	d.it.SetBounds(prefix, after(prefix))
	for _, uid := range uids {
		key := uidKey(tabHot, d.acct, d.box, uid)
		if !d.it.SeekGE(key) {
			if err := d.it.Error(); err != nil {
				return readError("read changes", err)
			}
			return nil
		}
		if keyUID(d.it.Key()) != uid {
			continue
		}
		value, err := d.it.ValueAndErr()
		if err != nil {
			return readError("read changes", err)
		}
		if err := d.add(uid, value, d.since); err != nil {
			return err
		}
	}
	return nil
}

// scan adds all messages with a greater mod-sequence.
func (d *differ) scan(since uint64) error {
	prefix := boxKey(tabHot, d.acct, d.box)
	return d.each(prefix, after(prefix), func(key, value []byte) error { return d.add(keyUID(key), value, since) })
}

func (d *differ) add(uid mail.UID, value []byte, since uint64) error {
	var h hot
	if err := h.decode(value); err != nil {
		return corrupt(fmt.Sprintf("message %d of mailbox %s of account %s", uid, d.box, d.acct), err)
	}
	if h.modseq <= since {
		return nil
	}
	if string(h.keywords) != d.cache {
		d.cache = string(h.keywords)
	}
	d.out.Changed.Append(mail.HotRow{
		UID: uid, ModSeq: mail.ModSeq(h.modseq), Flags: mail.FlagsFromKeywordString(h.system, d.cache), Octets: h.size,
	})
	return nil
}

// tombstones adds all UIDs that were removed.
func (d *differ) tombstones() error {
	var ranges mail.UIDSet
	prefix := boxKey(tabTombstone, d.acct, d.box)
	err := d.each(seqKey(tabTombstone, d.acct, d.box, d.since+1), after(prefix), func(_, value []byte) (err error) {
		if ranges, err = decodeUIDs(value, ranges); err != nil {
			return corrupt(fmt.Sprintf("removed messages of mailbox %s of account %s", d.box, d.acct), err)
		}
		return nil
	})
	d.out.Expunged = mail.NormalizeUIDs(ranges)
	return err
}
