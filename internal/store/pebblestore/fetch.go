package pebblestore

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// refreshAfter is how long a Fetch reads from one state of the database: an old
// state keeps files on the disk that are needed no more.
const refreshAfter = 5 * time.Second

// documentFields are the fields that come from the document.
const documentFields = store.FieldEnvelope | store.FieldBodyStructure | store.FieldTree | store.FieldSummary | store.FieldHeader | store.FieldBody

// fetch is one call of Fetch.
type fetch struct {
	s     *Store
	ctx   context.Context
	acct  mail.AccountID
	mbox  mail.MailboxID
	q     store.FetchQuery
	yield func(*store.Row, error) bool

	rows    *pebble.Iterator // tabHot of the mailbox
	docs    cursor           // tabDocument of the account
	texts   cursor           // tabText of the account
	extras  cursor           // tabExtra of the mailbox
	opened  time.Time
	reader  reader
	key     [dateKeySize]byte
	dateKey []byte
	hot     hot
	doc     document
	hasDoc  bool
	row     store.Row
	body    body
	count   int
	stopped bool // the caller wants no more, or an error was yielded

	keywords map[string]string

	ahead *ahead // reads ahead, or nil
	cold  uint64 // coldOctets of docs when it was last looked at
}

// cursor is a second iterator on the state that fetch.rows reads, opened when it is
// needed. It expects keys that mostly follow each other.
type cursor struct {
	it     *pebble.Iterator
	tab    byte
	prefix []byte
}

// Fetch implements store.Messages.
func (s *Store) Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error] {
	return func(yield func(*store.Row, error) bool) {
		if err := s.enter(ctx); err != nil {
			yield(nil, err)
			return
		}
		defer s.leave()
		f := &fetch{s: s, ctx: ctx, acct: acct, mbox: mbox, q: q, yield: yield}
		s.blobs.readers.begin(&f.reader)
		defer func() { s.blobs.readers.end(&f.reader) }()
		if err := f.run(); err != nil && !f.stopped {
			yield(nil, err)
		}
	}
}

func (f *fetch) run() (err error) {
	a, err := f.s.account(f.ctx, f.acct)
	if err != nil {
		return boxError(err)
	}
	defer f.s.accounts.release(a)
	if a.set.Load().byID[f.mbox] == nil {
		return noMailbox()
	}
	if f.q.UIDs == nil {
		f.q.UIDs = mail.AllUIDs()
	}
	f.row.Open = f.openBody
	if err := f.open(); err != nil {
		return err
	}
	defer func() {
		if cerr := f.close(); err == nil {
			err = cerr
		}
	}()
	switch f.q.Order {
	case store.ByUIDDescending:
		return f.descend()
	case store.ByDate, store.ByDateDescending:
		return f.byDate(f.q.Order == store.ByDateDescending)
	}
	return f.ascend()
}

// open opens the iterator over the hot records.
func (f *fetch) open() error {
	prefix := boxKey(tabHot, f.acct, f.mbox)
	it, err := f.s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return readError("fetch messages", err)
	}
	f.rows, f.opened = it, time.Now()
	f.docs = cursor{tab: tabDocument, prefix: accountKey(tabDocument, f.acct)}
	f.texts = cursor{tab: tabText, prefix: accountKey(tabText, f.acct)}
	f.extras = cursor{tab: tabExtra, prefix: boxKey(tabExtra, f.acct, f.mbox)}
	return nil
}

func (f *fetch) close() error {
	f.endAhead()
	f.cold = 0
	var err error
	for _, it := range []*pebble.Iterator{f.rows, f.docs.it, f.texts.it, f.extras.it} {
		if it == nil {
			continue
		}
		if cerr := it.Close(); cerr != nil && err == nil && !f.stopped {
			err = readError("fetch messages", cerr)
		}
	}
	f.rows, f.docs.it, f.texts.it, f.extras.it = nil, nil, nil, nil
	return err
}

// refresh moves to the present state of the database when the one in use is old,
// and reports whether it did: then f.rows must be positioned again.
func (f *fetch) refresh() (bool, error) {
	if f.count%8 != 0 || time.Since(f.opened) < refreshAfter {
		return false, nil
	}
	if err := f.close(); err != nil {
		return false, err
	}
	f.s.blobs.readers.end(&f.reader)
	f.s.blobs.readers.begin(&f.reader)
	return true, f.open()
}

func (f *fetch) hotKey(uid mail.UID) []byte {
	return appendUIDKey(f.key[:0], tabHot, f.acct, f.mbox, uid)
}

// ascend visits the messages in order of UID.
func (f *fetch) ascend() error {
	for _, r := range f.q.UIDs {
		ok := f.rows.SeekGE(f.hotKey(r.First))
		for ok {
			uid := keyUID(f.rows.Key())
			if uid > r.Last {
				break
			}
			if !f.visit(uid, f.rows) {
				return f.ctxErr()
			}
			again, err := f.refresh()
			if err != nil {
				return err
			}
			if !again {
				ok = f.rows.Next()
			} else if uid == r.Last {
				break
			} else {
				ok = f.rows.SeekGE(f.hotKey(uid + 1))
			}
		}
		if !ok { // there is nothing behind this range either
			break
		}
	}
	if err := f.rows.Error(); err != nil {
		return readError("fetch messages", err)
	}
	return nil
}

// descend visits the messages in descending order of UID.
func (f *fetch) descend() error {
	for i := len(f.q.UIDs) - 1; i >= 0; i-- {
		r := f.q.UIDs[i]
		end := appendUIDKey(f.key[:0], tabHot, f.acct, f.mbox, r.Last)
		ok := f.rows.SeekLT(append(end, 0))
		for ok {
			uid := keyUID(f.rows.Key())
			if uid < r.First {
				break
			}
			if !f.visit(uid, f.rows) {
				return f.ctxErr()
			}
			again, err := f.refresh()
			if err != nil {
				return err
			}
			if again {
				ok = f.rows.SeekLT(f.hotKey(uid))
			} else {
				ok = f.rows.Prev()
			}
		}
		if err := f.rows.Error(); err != nil {
			return readError("fetch messages", err)
		}
	}
	return nil
}

// byDate visits the messages in the order of the index by date.
func (f *fetch) byDate(descending bool) (err error) {
	dates := cursor{tab: tabDate, prefix: boxKey(tabDate, f.acct, f.mbox)}
	if err := dates.open(f.rows); err != nil {
		return err
	}
	defer func() {
		if cerr := dates.it.Close(); cerr != nil && err == nil && !f.stopped {
			err = readError("fetch messages by date", cerr)
		}
	}()
	for ok := f.startDates(dates.it, descending); ok; {
		key := dates.it.Key()
		uid := keyUID(key)
		if f.q.UIDs.Contains(uid) {
			if f.rows.SeekGE(f.hotKey(uid)) && keyUID(f.rows.Key()) == uid {
				if !f.visit(uid, f.rows) {
					return f.ctxErr()
				}
			} else if err := f.rows.Error(); err != nil {
				return readError("fetch messages by date", err)
			}
		}
		if again, err := f.refreshDates(&dates, key); err != nil {
			return err
		} else if again {
			key = f.dateKey
			if !descending {
				key = append(key, 0)
			}
			ok = f.seekDates(dates.it, key, descending)
		} else if descending {
			ok = dates.it.Prev()
		} else {
			ok = dates.it.Next()
		}
	}
	return nil
}

// refreshDates is refresh for the index as well. The key is kept in f.dateKey.
func (f *fetch) refreshDates(dates *cursor, key []byte) (bool, error) {
	f.dateKey = append(f.dateKey[:0], key...)
	again, err := f.refresh()
	if err != nil || !again {
		return false, err
	}
	if err := dates.it.Close(); err != nil {
		return false, readError("fetch messages by date", err)
	}
	return true, dates.open(f.rows)
}

func (f *fetch) seekDates(it *pebble.Iterator, key []byte, descending bool) bool {
	if descending {
		return it.SeekLT(key)
	}
	return it.SeekGE(key)
}

// startDates positions the index on the first message of the query.
func (f *fetch) startDates(it *pebble.Iterator, descending bool) bool {
	if f.q.AfterUID == 0 {
		if descending {
			return it.Last()
		}
		return it.First()
	}
	key := appendDateKey(nil, f.acct, f.mbox, millis(f.q.AfterDate), f.q.AfterUID)
	if !descending {
		key = append(key, 0)
	}
	return f.seekDates(it, key, descending)
}

// ctxErr is the error after visit returned false.
func (f *fetch) ctxErr() error {
	if f.stopped {
		return nil
	}
	if f.ctx.Err() != nil {
		return canceled(f.ctx)
	}
	return nil
}

// visit gives a message to the caller when the query selects it. False ends the
// iteration.
func (f *fetch) visit(uid mail.UID, it *pebble.Iterator) bool {
	if f.count++; f.ctx.Err() != nil {
		return false
	}
	f.readAhead()
	value, err := it.ValueAndErr()
	f.row = store.Row{UID: uid, Open: f.row.Open}
	f.hasDoc = false
	if err != nil {
		err = readError(f.what(), err)
	} else {
		err = f.hot.decode(value)
	}
	if err == nil {
		if f.hot.modseq <= uint64(f.q.ChangedSince) && f.q.ChangedSince > 0 {
			return true
		}
		err = f.fill()
	}
	if err != nil && mail.CodeOf(err) == mail.CodeInternal {
		err = corrupt(f.what(), err)
	}
	ok := f.yield(&f.row, err)
	if f.body.open {
		_ = f.body.Close() // its owner forgot it; nothing can be done with an error
	}
	f.q.Limit--
	if !ok || f.q.Limit == 0 {
		f.stopped = true
	}
	return !f.stopped
}

func (f *fetch) what() string {
	return fmt.Sprintf("message %d of mailbox %s of account %s", f.row.UID, f.mbox, f.acct)
}

// fill sets the fields of the row.
func (f *fetch) fill() error {
	h, r := &f.hot, &f.row
	r.ModSeq, r.Size, r.ID, r.EmailID, r.ThreadID = mail.ModSeq(h.modseq), h.size, h.id, h.email, h.thread
	r.InternalDate = fromMillis(h.date)
	r.Flags = mail.FlagsFromKeywordString(h.system, f.intern(h.keywords))
	if f.q.Fields&store.FieldMeta != 0 {
		r.SavedDate, r.Junk = h.id.Time(), h.bits&hotJunk != 0
		if err := f.fillExtra(); err != nil {
			return err
		}
	}
	if f.q.Fields&documentFields == 0 {
		return nil
	}
	if err := f.document(); err != nil {
		return err
	}
	d := &f.doc
	r.PrefixLen = d.prefixLen
	r.Envelope = f.section(secEnvelope, store.FieldEnvelope)
	r.BodyStructure = f.section(secBodyStructure, store.FieldBodyStructure)
	r.Tree = f.section(secTree, store.FieldTree)
	r.Summary = f.section(secSummary, store.FieldSummary)
	r.Header = f.section(secHeader, store.FieldHeader)
	return nil
}

func (f *fetch) section(i int, field store.Fields) []byte {
	if f.q.Fields&field == 0 {
		return nil
	}
	return f.doc.sections[i]
}

// intern returns keywords as a string without allocating it for each message.
func (f *fetch) intern(k []byte) string {
	if len(k) == 0 {
		return ""
	}
	if s, ok := f.keywords[string(k)]; ok {
		return s
	}
	if f.keywords == nil || len(f.keywords) > 256 {
		f.keywords = map[string]string{}
	}
	s := string(k)
	f.keywords[s] = s
	return s
}

// fillExtra reads what few messages have.
func (f *fetch) fillExtra() error {
	if f.hot.bits&hotHasExtra == 0 {
		return nil
	}
	key := binary.BigEndian.AppendUint32(append(f.key[:0], f.extras.prefix...), uint32(f.row.UID))
	value, err := f.extras.find(f.rows, key)
	if err != nil {
		return err
	}
	x, err := decodeExtra(value)
	if err != nil {
		return err
	}
	f.row.Expires, f.row.MetaData, f.row.Info = x.expiresAt(), x.metaData, x.info
	if x.saved != 0 {
		f.row.SavedDate = fromMillis(x.saved)
	}
	return nil
}

// document reads the document of the current message into f.doc.
func (f *fetch) document() error {
	if f.hasDoc {
		return nil
	}
	value, err := f.docs.find(f.rows, append(append(f.key[:0], f.docs.prefix...), f.hot.email[:]...))
	if err == nil {
		err = f.doc.decode(value)
	}
	f.hasDoc = err == nil
	return err
}

// openBody is Row.Open.
func (f *fetch) openBody() (store.Body, error) {
	b := &f.body
	if b.open || f.rows == nil {
		return nil, mail.WrapError(mail.CodeInternal, "", fmt.Errorf("the row has ended or its body is open"))
	}
	if b.s == nil {
		b.s, b.inner = f.s, true
	}
	b.what, b.ahead = "", f.ahead
	err := f.document()
	if err == nil {
		b.header = f.doc.sections[secHeader]
		err = f.bodyText(b)
	}
	if err != nil {
		if mail.CodeOf(err) == mail.CodeInternal {
			err = corrupt(f.what(), err)
		}
		return nil, err
	}
	b.open = true
	return b, nil
}

func (f *fetch) bodyText(b *body) error {
	rest, err := b.lay.decode(f.doc.sections[secLayout])
	if err != nil {
		return err
	}
	if b.size = int64(len(b.header)) + rest; b.size != f.hot.size {
		return fmt.Errorf("%w: %d octets, not %d", errValue, b.size, f.hot.size)
	}
	b.value = nil
	if b.lay.textMode == textOwn {
		b.value, err = f.texts.find(f.rows, append(append(f.key[:0], f.texts.prefix...), f.hot.email[:]...))
	}
	return err
}

func (c *cursor) open(rows *pebble.Iterator) error {
	it, err := rows.Clone(pebble.CloneOptions{IterOptions: &pebble.IterOptions{
		LowerBound: c.prefix, UpperBound: after(c.prefix),
	}})
	if err != nil {
		return readError("fetch messages", err)
	}
	c.it = it
	return nil
}

// find returns the value of a key, valid until the next call. That there is none is
// damage: all iterators of a Fetch see one state.
func (c *cursor) find(rows *pebble.Iterator, key []byte) ([]byte, error) {
	if c.it == nil {
		if err := c.open(rows); err != nil {
			return nil, err
		}
	}
	// Mostly the next one is wanted, which is much cheaper to reach than by seeking.
	found := c.it.Valid() && c.it.Next() && string(c.it.Key()) == string(key)
	if !found {
		found = c.it.SeekGE(key) && string(c.it.Key()) == string(key)
	}
	if !found {
		if err := c.it.Error(); err != nil {
			return nil, readError("read a record", err)
		}
		return nil, corrupt("read a record", fmt.Errorf("a record of table %q is missing", c.tab))
	}
	value, err := c.it.ValueAndErr()
	if err != nil {
		return nil, readError("read a record", err)
	}
	return value, nil
}
