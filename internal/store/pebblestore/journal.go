package pebblestore

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// The stored form of journal commands.
const (
	cmdExists = iota + 1
	cmdExpunge
	cmdFetch
	cmdCreate
	cmdRename
	cmdDelete
	cmdExistsJunk // EXISTS of a message that a copy or a move made junk
	cmdExistsHam  // and of one that it made no longer junk
)

// commandName returns the contract's name of a stored command.
func commandName(c byte) (store.JournalCommand, bool) {
	names := [...]store.JournalCommand{
		cmdExists: store.JournalExists, cmdExpunge: store.JournalExpunge, cmdFetch: store.JournalFetch,
		cmdCreate: store.JournalCreate, cmdRename: store.JournalRename, cmdDelete: store.JournalDelete,
		cmdExistsJunk: store.JournalExists, cmdExistsHam: store.JournalExists,
	}
	if c == 0 || int(c) >= len(names) {
		return "", false
	}
	return names[c], true
}

// journalSeen is set in the flags of a FETCH entry when \Seen changed.
const journalSeen = 0x80

// noteMessage adds an entry about a message to the journal.
func (c *change) noteMessage(cmd byte, box mail.MailboxID, uid mail.UID, h *hot, seenChanged bool) {
	c.noteRecent(cmd, box, uid, h)
	b := append(c.entries.add(), cmd)
	b = append(b, box[:]...)
	b = binary.AppendUvarint(b, uint64(uid))
	b = append(b, h.id[:]...)
	b = append(b, h.thread[:]...)
	switch cmd {
	case cmdExists, cmdExistsJunk, cmdExistsHam:
		b = binary.AppendVarint(b, h.date)
	case cmdFetch:
		flags := byte(h.system)
		if seenChanged {
			flags |= journalSeen
		}
		b = appendBytes(append(b, flags), h.keywords)
	}
	c.entries.put(b)
}

// noteMailbox adds an entry about a mailbox to the journal.
func (c *change) noteMailbox(cmd byte, box mail.MailboxID, path string) {
	b := append(c.entries.add(), cmd)
	b = append(b, box[:]...)
	if cmd != cmdDelete {
		b = appendText(b, path)
	}
	c.entries.put(b)
}

// journalRow is a decoded head of a row; its entries are read with next.
type journalRow struct {
	seq     uint64
	index   uint32
	created int64
	origin  string
	left    uint64
	d       decoder
}

// rawEntry is an entry; keywords point into the row.
type rawEntry struct {
	cmd      byte
	box      mail.MailboxID
	uid      mail.UID
	id       mail.MessageID
	thread   mail.ThreadID
	flags    byte
	keywords []byte
	date     int64
	path     string
}

func decodeJournalRow(key, value []byte) (r journalRow, err error) {
	if len(key) != ownedSize+12 {
		return r, errValue
	}
	r.seq = binary.BigEndian.Uint64(key[ownedSize:])
	r.index = binary.BigEndian.Uint32(key[ownedSize+8:])
	r.d = decoder{b: value}
	r.d.version()
	r.created, r.origin, r.left = r.d.varint(), r.d.text(), r.d.uvarint()
	return r, r.d.err
}

// next reads an entry; false at the end and on damage, see err.
func (r *journalRow) next(e *rawEntry) bool {
	if r.left == 0 || r.d.err != nil {
		return false
	}
	r.left--
	d := &r.d
	*e = rawEntry{cmd: d.octet(), box: takeID[mail.MailboxID](d)}
	switch e.cmd {
	case cmdCreate, cmdRename:
		e.path = d.text()
	case cmdDelete:
	case cmdExists, cmdExistsJunk, cmdExistsHam, cmdExpunge, cmdFetch:
		e.uid = mail.UID(d.uvarint())
		e.id, e.thread = takeID[mail.MessageID](d), takeID[mail.ThreadID](d)
		switch e.cmd {
		case cmdFetch:
			e.flags, e.keywords = d.octet(), d.take(d.length())
		case cmdExists, cmdExistsJunk, cmdExistsHam:
			e.date = d.varint()
		}
	default:
		d.fail()
	}
	return d.err == nil
}

// err reports damage after the last entry was read.
func (r *journalRow) err() error {
	if r.left > 0 && r.d.err == nil {
		return nil // not read to the end
	}
	return r.d.end()
}

// journalID joins the mod-sequence of a change and the number of the entry in it.
func journalID(seq uint64, index uint32) (id mail.JournalID) {
	binary.BigEndian.PutUint64(id[:], seq)
	binary.BigEndian.PutUint32(id[8:], index)
	return id
}

func (r *journalRow) entry(e *rawEntry, index uint32) store.JournalEntry {
	cmd, _ := commandName(e.cmd)
	out := store.JournalEntry{
		ID: journalID(r.seq, index), Command: cmd, Mailbox: e.box, ModSeq: mail.ModSeq(r.seq), UID: e.uid,
		Message: e.id, Thread: e.thread, Path: e.path, Origin: r.origin, Created: fromMillis(r.created),
	}
	switch e.cmd {
	case cmdExists, cmdExistsJunk, cmdExistsHam:
		out.InternalDate = fromMillis(e.date)
		out.Junk = junkChange(e.cmd)
	case cmdFetch:
		out.Flags = mail.FlagsFromKeywordString(mail.SystemFlags(e.flags&^journalSeen), string(e.keywords))
		out.SeenChanged = e.flags&journalSeen != 0
	}
	return out
}

func junkChange(cmd byte) int8 {
	switch cmd {
	case cmdExistsJunk:
		return 1
	case cmdExistsHam:
		return -1
	}
	return 0
}

// JournalHead implements store.Journal.
func (s *Store) JournalHead(ctx context.Context, acct mail.AccountID) (mail.JournalID, error) {
	var head mail.JournalID
	if err := s.enter(ctx); err != nil {
		return head, err
	}
	defer s.leave()
	a, err := s.account(ctx, acct)
	if err != nil {
		return head, err
	}
	defer s.accounts.release(a)
	prefix := accountKey(tabJournal, acct)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return head, readError("read the journal", err)
	}
	if it.Last() {
		row, err := decodeJournalRow(it.Key(), it.Value())
		if err == nil {
			head = journalID(row.seq, row.index+uint32(row.left)-1)
		} else {
			head = journalID(keySeq(it.Key()[:ownedSize+8]), ^uint32(0))
		}
	}
	if err := it.Close(); err != nil {
		return head, readError("read the journal", err)
	}
	return head, nil
}

// ReadJournal implements store.Journal.
func (s *Store) ReadJournal(ctx context.Context, acct mail.AccountID, after mail.JournalID, limit int) ([]store.JournalEntry, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	a, err := s.account(ctx, acct)
	if err != nil {
		return nil, err
	}
	defer s.accounts.release(a)
	var out []store.JournalEntry
	seq, index := binary.BigEndian.Uint64(after[:]), binary.BigEndian.Uint32(after[8:])
	err = s.scanRange(journalKey(acct, seq, index-index%entriesPerRow), afterAccount(tabJournal, acct), func(key, value []byte) error {
		row, err := decodeJournalRow(key, value)
		if err != nil {
			return corrupt(fmt.Sprintf("journal of account %s", acct), err)
		}
		var e rawEntry
		for i := row.index; row.next(&e); i++ {
			if row.seq == seq && i <= index {
				continue
			}
			if len(out) >= limit {
				return errStop
			}
			out = append(out, row.entry(&e, i))
		}
		if err := row.err(); err != nil {
			return corrupt(fmt.Sprintf("journal of account %s", acct), err)
		}
		return nil
	})
	return out, err
}

func afterAccount(tab byte, acct mail.AccountID) []byte { return after(accountKey(tab, acct)) }
