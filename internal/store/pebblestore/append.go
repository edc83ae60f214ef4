package pebblestore

import (
	"context"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
)

// incoming is a message of an Append call.
type incoming struct {
	*staged
	in    *store.Append
	email mail.EmailID
	id    mail.MessageID
	size  int64
}

// Append implements store.Messages.
func (s *Store) Append(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []store.Append) ([]store.Appended, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	messages, total, err := s.incoming(in)
	if err != nil {
		return nil, err
	}
	// What does not depend on the state of the account is done before it is locked.
	batch := s.db.NewBatchWithSize(int(min(total, math.MaxInt32)))
	for i := range messages {
		messages[i].write(batch, acct)
	}
	c, err := s.beginBatch(ctx, acct, batch, true)
	if err != nil {
		return nil, err
	}
	defer c.end()
	box, err := c.box(mbox)
	if err != nil {
		return nil, err
	}
	if err := c.checkQuota(messages); err != nil {
		return nil, err
	}
	if len(messages) == 0 {
		return nil, nil
	}
	out, err := c.append(box, messages)
	if err != nil {
		return nil, err
	}
	if err := c.commit(true); err != nil {
		return nil, err
	}
	for _, m := range messages {
		m.used.Store(true)
	}
	return out, nil
}

// incoming checks the input and gives identifiers.
func (s *Store) incoming(in []store.Append) (messages []incoming, total int64, err error) {
	messages = make([]incoming, len(in))
	for i := range in {
		x, ok := in[i].Staged.(*staged)
		if !ok || x.s != s || x.closed.Load() {
			return nil, 0, mail.NewError(mail.CodeInvalid, "the message was not staged or is closed")
		}
		if len(in[i].MetaData) > maxMetaData || len(in[i].Info) > maxMetaData {
			return nil, 0, mail.NewError(mail.CodeLimit, "the metadata is too long")
		}
		m := &messages[i]
		*m = incoming{
			staged: x, in: &in[i], size: x.size + int64(len(in[i].Prefix)),
			email: mail.NewID[mail.EmailID](s.ids), id: mail.NewID[mail.MessageID](s.ids),
		}
		total += int64(len(x.text)+len(x.sig)+len(in[i].Prefix)) + 1024 + 80*int64(len(x.hashes))
		for _, sec := range x.doc.sections {
			total += int64(len(sec))
		}
	}
	return messages, total, nil
}

// write adds the rows of the document to a batch.
func (m *incoming) write(b *pebble.Batch, acct mail.AccountID) {
	var key [refKeySize]byte
	op := b.SetDeferred(emailSize, m.doc.size(len(m.in.Prefix)))
	appendEmailKey(op.Key[:0], tabDocument, acct, m.email)
	m.doc.append(op.Value[:0], m.in.Prefix)
	if err := op.Finish(); err != nil {
		panic(err) // fails only by misuse
	}
	if m.text != nil {
		set(b, appendEmailKey(key[:0], tabText, acct, m.email), m.text)
	}
	if sig := m.signature(); len(sig) > 0 {
		set(b, appendEmailKey(key[:0], tabSignature, acct, m.email), sig)
	}
	for _, c := range m.hashes {
		set(b, blobRefKey(c.hash, acct, m.email), nil)
	}
}

// signature is that of the message with its prefix.
func (m *incoming) signature() []byte {
	if len(m.in.Prefix) == 0 || len(m.sig) == 0 {
		return m.sig
	}
	return search.Signature(m.sig).With(search.Fold(nil, m.in.Prefix))
}

// checkQuota refuses messages that the account has no room for.
func (c *change) checkQuota(messages []incoming) error {
	used := c.head.used
	for i := range messages {
		used += messages[i].size
		if q := messages[i].in.Quota; q > 0 && used > q {
			return overQuota()
		}
	}
	return nil
}

func overQuota() error { return mail.NewError(mail.CodeOverQuota, "the mailbox is full") }

// append puts messages at the end of a mailbox.
func (c *change) append(box *boxChange, messages []incoming) ([]store.Appended, error) {
	uid, err := box.takeUIDs(len(messages))
	if err != nil {
		return nil, err
	}
	box.head.highest = c.seq
	c.origin = messages[0].in.Origin
	out := make([]store.Appended, len(messages))
	threads := threader{c: c}
	c.applied = threads.remember
	for i := range messages {
		m := &messages[i]
		h := hot{
			modseq: c.seq, date: millis(m.in.InternalDate), size: m.size,
			id: m.id, email: m.email,
		}
		h.setFlags(m.in.Flags)
		if h.thread, err = threads.find(m.threads); err != nil {
			return nil, err
		}
		x := extra{expires: expiry(m.in.Expires), metaData: m.in.MetaData, info: m.in.Info}
		if r := box.current().retention; r > 0 && m.in.Expires.IsZero() {
			x.expires = c.now + r.Milliseconds()
		}
		c.insert(box, uid, &h, &x)
		box.addKeywords(m.in.Flags)
		out[i] = store.Appended{
			UID: uid, UIDValidity: box.current().uidValidity, ModSeq: mail.ModSeq(c.seq),
			ID: m.id, EmailID: m.email, ThreadID: h.thread, Size: m.size,
		}
		uid++
	}
	return out, nil
}

// insert adds the rows of a message in a mailbox, its journal entry and what it
// counts. The document is there already.
func (c *change) insert(box *boxChange, uid mail.UID, h *hot, x *extra) {
	c.insertAs(box, uid, h, x, cmdExists)
}

// insertAs is insert with the command of the journal entry.
func (c *change) insertAs(box *boxChange, uid mail.UID, h *hot, x *extra, cmd byte) {
	c.insertRows(box, uid, h, x)
	c.noteMessage(cmd, box.id, uid, h, false)
}

// insertRows is insert without the journal entry.
func (c *change) insertRows(box *boxChange, uid mail.UID, h *hot, x *extra) {
	var key [memberKeySize]byte
	var value [hotSize + 128]byte
	h.bits &^= hotHasExtra
	if !x.empty() {
		h.bits |= hotHasExtra
		set(c.batch, appendUIDKey(key[:0], tabExtra, c.acct.id, box.id, uid), x.append(nil))
	}
	set(c.batch, appendUIDKey(key[:0], tabHot, c.acct.id, box.id, uid), h.append(value[:0]))
	set(c.batch, appendDateKey(key[:0], c.acct.id, box.id, h.date, uid), nil)
	set(c.batch, appendMemberKey(key[:0], c.acct.id, h.thread, box.id, uid), nil)
	box.count(h, 1)
	c.head.used += h.size
}
