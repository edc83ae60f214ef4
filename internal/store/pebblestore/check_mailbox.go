package pebblestore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"mallard/internal/mail"
	"mallard/internal/search"
)

// boxCheck is the check of one mailbox.
type boxCheck struct {
	*accountCheck
	id       mail.MailboxID
	where    string
	keywords []string // that the mailbox knows; nil when it knows too many
	head     mailboxHead
	seen     mailboxHead // counters as found
	uids     mail.UIDSet
	extras   mail.UIDSet // messages with a row in tabExtra
	known    string      // the keywords of a message that were looked at last
}

func (a *accountCheck) mailbox(id mail.MailboxID, value []byte) error {
	a.count("mailboxes")
	b := &boxCheck{accountCheck: a, id: id, where: fmt.Sprintf("mailbox %s of %s", id, a.where)}
	b.profile(value)
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
	if h := &b.head; h.epoch > b.runs.epoch || h.uidNext == 0 || h.reserved < h.uidNext || h.reserved > endOfUIDs || h.told >= h.uidNext {
		b.problem(b.where, "the record of its state makes no sense: %+v in run %d", *h, b.runs.epoch)
	}
	if b.head.highest > a.head.seq {
		b.problem(b.where, "its mod-sequence %d is above that of the account, %d", b.head.highest, a.head.seq)
	}
	err = b.each(b.where, boxKey(tabHot, a.id, id), func(key, value []byte) error {
		if len(key) != hotKeySize {
			b.problem(b.where, "the key of a message has %d octets", len(key))
			return nil
		}
		return b.message(keyUID(key), value)
	})
	if err != nil {
		return err
	}
	b.counters()
	for _, step := range []func() error{b.dates, b.metadata, b.tombstones} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// profile checks the row of the mailbox.
func (b *boxCheck) profile(value []byte) {
	p, err := decodeProfile(value)
	switch {
	case err != nil:
		b.problem(b.where, "the row cannot be decoded: %v", err)
		return
	case b.paths[p.path]:
		b.problem(b.where, "its name %q is that of another mailbox", p.path)
	case p.uidValidity == 0 || uint64(p.uidValidity) > b.accountCheck.head.uidValidity:
		b.problem(b.where, "its UIDVALIDITY is %d, that of the newest mailbox is %d", p.uidValidity, b.accountCheck.head.uidValidity)
	}
	b.paths[p.path] = true
	b.where = fmt.Sprintf("mailbox %q of %s", p.path, b.accountCheck.where)
	if len(p.keywords) < mail.MaxKeywords {
		b.keywords = append([]string{}, p.keywords...)
	}
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
	b.uids = b.uids.Append(uid)
	b.use(h.email)
	b.tally(&h)
	if uint64(uid) >= b.head.uidNext {
		b.problem(where, "its UID is not below the next one, %d", b.head.uidNext)
	}
	if h.modseq > b.head.highest {
		b.problem(where, "its mod-sequence %d is above that of the mailbox, %d", h.modseq, b.head.highest)
	} else if !b.inJournal(h.modseq) {
		b.problem(where, "its change at %d is missing in the journal", h.modseq)
	}
	if mail.FlagsFromKeywordString(h.system, "").System != h.system || h.bits&^(hotHasExtra|hotJunk) != 0 {
		b.problem(where, "it has unknown flags: %#x, %#x", byte(h.system), h.bits)
	}
	b.flags(where, h.keywords)
	if ok, err := b.has(appendDateKey(nil, b.accountCheck.id, b.id, h.date, uid)); err != nil || !ok {
		b.problem(where, "it is missing in the index by date")
	}
	if ok, err := b.has(appendMemberKey(nil, b.accountCheck.id, h.thread, b.id, uid)); err != nil || !ok {
		b.problem(where, "it is missing in the index by conversation")
	}
	b.members++
	if h.bits&hotHasExtra != 0 {
		b.extras = b.extras.Append(uid)
	}
	return b.content(where, uid, &h)
}

// flags checks that the mailbox knows the keywords of a message.
func (b *boxCheck) flags(where string, keywords []byte) {
	if len(keywords) == 0 || b.keywords == nil || string(keywords) == b.known {
		return
	}
	b.known = string(keywords)
	for k := range strings.SplitSeq(b.known, " ") {
		if !slices.ContainsFunc(b.keywords, func(have string) bool { return strings.EqualFold(have, k) }) {
			b.problem(where, "its keyword %q is not known to the mailbox", k)
		}
	}
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

// dates looks for entries of the index by date without a message. That each message
// has its entry is known, so that one more than there are messages is wrong.
func (b *boxCheck) dates() error {
	entries := int64(0)
	err := b.each(b.where, boxKey(tabDate, b.accountCheck.id, b.id), func(key, _ []byte) error {
		entries++
		if uid := keyUID(key); len(key) != dateKeySize || !b.uids.Contains(uid) {
			b.problem(b.where, "the index by date has message %d, which does not exist", uid)
		}
		return nil
	})
	if err == nil && entries > b.seen.messages {
		b.problem(b.where, "the index by date has %d entries for %d messages", entries, b.seen.messages)
	}
	return err
}

// metadata checks what few messages have.
func (b *boxCheck) metadata() error {
	var rows mail.UIDSet
	err := b.each(b.where, boxKey(tabExtra, b.accountCheck.id, b.id), func(key, value []byte) error {
		uid := keyUID(key)
		where := fmt.Sprintf("message %d of %s", uid, b.where)
		rows = rows.Append(uid)
		x, err := decodeExtra(value)
		switch {
		case err != nil:
			b.problem(where, "its metadata cannot be read: %v", err)
		case x.metaData != "" && !json.Valid([]byte(x.metaData)), x.info != "" && !json.Valid([]byte(x.info)):
			b.problem(where, "its metadata cannot be read: it is no JSON")
		case len(key) != hotKeySize || !b.extras.Contains(uid):
			b.problem(where, "it has metadata, but does not know of it")
		}
		return nil
	})
	for uid := range b.extras.All() {
		if !rows.Contains(uid) {
			b.problem(fmt.Sprintf("message %d of %s", uid, b.where), "its metadata cannot be read: it is missing")
		}
	}
	return err
}

// tombstones checks what is remembered of removed messages: together with the
// messages that are there it has each UID once, except those that a crash skipped.
func (b *boxCheck) tombstones() error {
	var all mail.UIDSet
	err := b.each(b.where, boxKey(tabTombstone, b.accountCheck.id, b.id), func(key, value []byte) error {
		seq := keySeq(key)
		if len(key) != boxKeySize+8 || seq > b.head.highest {
			b.problem(b.where, "messages were removed at mod-sequence %d, above that of the mailbox, %d", seq, b.head.highest)
		} else if !b.inJournal(seq) {
			b.problem(b.where, "the removal of messages at %d is missing in the journal", seq)
		}
		set, err := decodeUIDs(value, nil)
		if err != nil || len(set) == 0 {
			b.problem(b.where, "the record of removed messages cannot be decoded: %v", err)
		}
		all = append(all, set...)
		return nil
	})
	if err != nil {
		return err
	}
	count := uint64(b.seen.messages)
	for _, r := range all {
		count += uint64(r.Last-r.First) + 1
	}
	whole := mail.NormalizeUIDs(append(all, b.uids...))
	distinct := uint64(0)
	for _, r := range whole {
		distinct += uint64(r.Last-r.First) + 1
	}
	switch {
	case count != distinct:
		b.problem(b.where, "%d UIDs are recorded as removed twice, or as removed though their messages are there", count-distinct)
	case len(whole) > 0 && uint64(whole[len(whole)-1].Last) >= b.head.uidNext:
		b.problem(b.where, "message %d is recorded as removed, the next UID is %d", whole[len(whole)-1].Last, b.head.uidNext)
	case distinct != b.head.uidNext-1 && len(b.head.lost) == 0:
		b.problem(b.where, "%d UIDs are neither there nor recorded as removed", b.head.uidNext-1-distinct)
	}
	return nil
}

// content re-assembles a message and compares it with its checksum.
func (b *boxCheck) content(where string, uid mail.UID, h *hot) error {
	e := b.emails[h.email]
	if e.seen {
		return nil // another message with the same content
	}
	e.seen = true
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
	e.own = err != nil || l.textMode == textOwn
	b.emails[h.email] = e
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

// validSignature reports whether an index entry has the form that searches know.
func validSignature(value []byte) bool { return search.Signature(value).Valid() }
