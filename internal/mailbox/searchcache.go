package mailbox

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
)

// SearchCache bounds what is kept in memory for searches, in octets. It is for engines that are far away: an embedded one
// reads what it needs as fast. Nothing is kept with a zero Index.
type SearchCache struct {
	// Index bounds the facts about messages and the signatures of their texts; a message costs 200 octets and a signature,
	// which is 2 to 13 per cent of its text.
	Index int64
	// Text bounds the texts themselves, folded, of messages whose signatures once said that they may be wanted.
	Text int64
}

// searchCache holds what searches need of messages: of the mailboxes that were searched last the facts, and of the
// messages that were looked into last the texts. Which messages there are and what their flags are is not in it: that is
// asked for each time. What it knows of a message holds for the mod-sequence at which it was read; after that it is found
// out first whether the message is still the same. Drafts, which other programs rewrite when they send them, are not kept.
type searchCache struct {
	limits SearchCache

	mu    sync.Mutex
	boxes map[boxKey]*indexedBox
	used  *list.List // of *indexedBox, the last used first
	size  int64
	texts *list.List // of *indexed that have a text, the last used first
	room  int64      // what texts have
}

func newSearchCache(limits SearchCache) *searchCache {
	if limits.Index <= 0 {
		return nil
	}
	return &searchCache{limits: limits, boxes: make(map[boxKey]*indexedBox), used: list.New(), texts: list.New()}
}

// indexedBox is what is known of the messages of one mailbox.
type indexedBox struct {
	key     boxKey
	epoch   uint64 // of the copy of the rows, see shared
	place   *list.Element
	loading chan struct{} // holds a token while somebody loads
	// msgs are in order of UID. The slice is never changed, but replaced. Guarded by searchCache.mu.
	msgs []*indexed
	size int64
	full bool // some messages were left out because there is no room for them
	gone bool // no longer in the cache
}

// indexed is what is known of one message.
type indexed struct {
	uid         mail.UID
	modSeq      atomic.Uint64 // as of which this is what the message is
	attachments bool
	size        int64
	date, sent  time.Time
	id          mail.MessageID
	email       mail.EmailID
	thread      mail.ThreadID
	sign        atomic.Pointer[search.Signature] // never nil

	text  *content      // nil when it is not kept; guarded by searchCache.mu
	place *list.Element // in searchCache.texts; guarded likewise
	box   *indexedBox
}

// content is what can be looked for in a message. It is not changed.
type content struct {
	head   []byte // the header as it stands
	folded []byte // the header's text and then the message's, both folded
	cut    int    // where the message's text begins
	whole  bool   // folded is there
}

func (c *content) cost() int64 { return int64(len(c.head) + len(c.folded) + 150) }

// fixedCost is about what an indexed message costs besides its signature, in octets.
const fixedCost = 232

func (m *indexed) cost() int64 { return fixedCost + int64(len(*m.sign.Load())) }

// valid reports whether this is the message that a row shows.
func (m *indexed) valid(row *mail.HotRow) bool {
	return m.modSeq.Load() >= uint64(row.ModSeq) && !row.Flags.Has(mail.Draft)
}

// same reports whether another reading is of the same message in the same state.
func (m *indexed) same(n *indexed) bool {
	return m.id == n.id && m.email == n.email && m.size == n.size && m.sent.Equal(n.sent) && m.date.Equal(n.date)
}

// box returns the entry of a mailbox, which becomes the last used one. What is known from another epoch is forgotten.
func (c *searchCache) box(key boxKey, epoch uint64) *indexedBox {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.boxes[key]
	if b != nil && b.epoch != epoch {
		c.drop(b)
		b = nil
	}
	if b == nil {
		b = &indexedBox{key: key, epoch: epoch, loading: make(chan struct{}, 1)}
		b.place = c.used.PushFront(b)
		c.boxes[key] = b
	}
	c.used.MoveToFront(b.place)
	return b
}

// forget drops what is known of a mailbox.
func (c *searchCache) forget(key boxKey) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.boxes[key]; b != nil {
		c.drop(b)
	}
}

func (c *searchCache) drop(b *indexedBox) {
	delete(c.boxes, b.key)
	c.used.Remove(b.place)
	c.size -= b.size
	b.gone = true
	for _, m := range b.msgs {
		c.dropText(m)
	}
}

func (c *searchCache) dropText(m *indexed) {
	if m.place != nil {
		c.texts.Remove(m.place)
		c.room -= m.text.cost()
		m.text, m.place = nil, nil
	}
}

// messages returns what is known of a mailbox, in order of UID, and whether there is no room for more.
func (c *searchCache) messages(b *indexedBox) (known []*indexed, full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return b.msgs, b.full
}

// put takes up messages that were read, in order of UID, in place of those that are known under the same UIDs, and forgets
// those that are not in live, which is everything there is. What does not fit after other mailboxes were forgotten is left
// out.
func (c *searchCache) put(b *indexedBox, read []*indexed, live []mail.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.gone {
		return
	}
	b.full = false
	merged := make([]*indexed, 0, len(live))
	old, size := b.msgs, int64(0)
	for _, uid := range live {
		var m *indexed
		for len(old) > 0 && old[0].uid <= uid {
			if old[0].uid == uid {
				m = old[0]
			}
			if m == nil {
				c.dropText(old[0])
			}
			old = old[1:]
		}
		for len(read) > 0 && read[0].uid <= uid {
			if n := read[0]; n.uid == uid && (m == nil || m.modSeq.Load() <= n.modSeq.Load()) {
				if m != nil {
					c.dropText(m)
				}
				m = n
			}
			read = read[1:]
		}
		if m == nil {
			continue
		}
		if !c.fits(b, size+m.cost()) {
			c.dropText(m)
			b.full = true
			continue
		}
		m.box = b
		size += m.cost()
		merged = append(merged, m)
	}
	for _, m := range old {
		c.dropText(m)
	}
	c.size += size - b.size
	b.msgs, b.size = merged, size
}

// fits reports whether a mailbox may have a size. Others that were not used for longer give way.
func (c *searchCache) fits(b *indexedBox, size int64) bool {
	for c.size-b.size+size > c.limits.Index {
		last := c.used.Back().Value.(*indexedBox)
		if last == b {
			return false
		}
		c.drop(last)
	}
	return true
}

// content returns the text of a message, nil when it is not kept.
func (c *searchCache) content(m *indexed) *content {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.place == nil {
		return nil
	}
	c.texts.MoveToFront(m.place)
	return m.text
}

// textShare is how many texts of the greatest size must fit at least.
const textShare = 16

// keep keeps a text. Others that were not used for longer give way.
func (c *searchCache) keep(m *indexed, text *content) {
	if text.cost() > c.limits.Text/textShare {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.box == nil || m.box.gone {
		return
	}
	if i, ok := m.box.find(m.uid); !ok || m.box.msgs[i] != m {
		return
	}
	if m.text != nil && m.text.whole && !text.whole {
		return
	}
	c.dropText(m)
	m.text, m.place = text, c.texts.PushFront(m)
	c.room += text.cost()
	for c.room > c.limits.Text {
		c.dropText(c.texts.Back().Value.(*indexed))
	}
}

// sign takes up the signature of a message of which the engine has none.
func (c *searchCache) sign(m *indexed, sign search.Signature) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.box == nil || m.box.gone {
		return
	}
	if i, ok := m.box.find(m.uid); !ok || m.box.msgs[i] != m || !c.fits(m.box, m.box.size+int64(len(sign))) {
		return
	}
	before := m.cost()
	m.sign.Store(&sign)
	m.box.size += m.cost() - before
	c.size += m.cost() - before
}

func (b *indexedBox) find(uid mail.UID) (int, bool) {
	return slices.BinarySearchFunc(b.msgs, uid, func(m *indexed, uid mail.UID) int { return int(int64(m.uid) - int64(uid)) })
}

// load sees to it that the messages of rows are known, as far as there is room, and returns what is known.
func (s *Service) load(ctx context.Context, b *indexedBox, rows *snapshot, wanted []int) ([]*indexed, error) {
	known, full := s.cache.messages(b)
	if len(notValid(known, rows, wanted, full)) == 0 {
		return known, nil
	}
	select {
	case b.loading <- struct{}{}:
		defer func() { <-b.loading }()
	case <-ctx.Done():
		return nil, mail.WrapError(mail.CodeCanceled, "search", ctx.Err())
	}
	known, full = s.cache.messages(b)
	if err := s.confirm(ctx, b, notValid(known, rows, wanted, true)); err != nil {
		return nil, err
	}
	missing := notValid(known, rows, wanted, full)
	if len(missing) == 0 {
		return known, nil
	}
	read, err := s.readIndexed(ctx, b.key, store.FetchQuery{UIDs: uidsOf(missing), Fields: store.FieldSummary | store.FieldSignature, Known: missing})
	if err != nil {
		return nil, err
	}
	s.cache.put(b, read, rows.UIDs())
	known, _ = s.cache.messages(b)
	return known, nil
}

// notValid returns the wanted rows of which it is not known that what is known is still true, without those of drafts. With
// known only, these are rows of which something is known.
func notValid(msgs []*indexed, rows *snapshot, wanted []int, known bool) []mail.HotRow {
	var out []mail.HotRow
	for _, i := range wanted {
		row := rows.At(i)
		for len(msgs) > 0 && msgs[0].uid < row.UID {
			msgs = msgs[1:]
		}
		there := len(msgs) > 0 && msgs[0].uid == row.UID
		if row.Flags.Has(mail.Draft) || known && !there || there && msgs[0].valid(&row) {
			continue
		}
		out = append(out, row)
	}
	return out
}

func uidsOf(rows []mail.HotRow) mail.UIDSet {
	var set mail.UIDSet
	for _, r := range rows {
		set = set.Append(r.UID)
	}
	return set
}

// confirm finds out whether messages that have new mod-sequences are still the same. Mostly their flags have changed.
func (s *Service) confirm(ctx context.Context, b *indexedBox, rows []mail.HotRow) error {
	if len(rows) == 0 {
		return nil
	}
	read, err := s.readIndexed(ctx, b.key, store.FetchQuery{UIDs: uidsOf(rows), Fields: store.FieldSummary, Known: rows})
	if err != nil {
		return err
	}
	s.cache.confirm(b, read)
	return nil
}

// confirm gives messages that are the same the mod-sequences at which they were read.
func (c *searchCache) confirm(b *indexedBox, read []*indexed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range read {
		if i, ok := b.find(n.uid); ok && b.msgs[i].same(n) {
			b.msgs[i].modSeq.Store(max(n.modSeq.Load(), b.msgs[i].modSeq.Load()))
		}
	}
}

// readIndexed reads what is known of messages, up to one more than could be kept, and without drafts.
func (s *Service) readIndexed(ctx context.Context, key boxKey, q store.FetchQuery) ([]*indexed, error) {
	var read []*indexed
	size := int64(0)
	for row, err := range s.store.Fetch(ctx, key.acct, key.mbox, q) {
		if err != nil {
			return nil, fmt.Errorf("read what is searched: %w", err)
		}
		if row.Flags.Has(mail.Draft) {
			continue
		}
		m, err := indexedOf(row)
		if err != nil {
			return nil, err
		}
		read = append(read, m)
		if size += m.cost(); size > s.cache.limits.Index {
			break
		}
	}
	return read, nil
}

func indexedOf(row *store.Row) (*indexed, error) {
	sum, err := decodeSummary(row.Summary)
	if err != nil {
		return nil, err
	}
	m := &indexed{
		uid: row.UID, attachments: sum.HasAttachments, size: row.Size, date: row.InternalDate, sent: sum.Date, id: row.ID, email: row.EmailID, thread: row.ThreadID,
	}
	m.modSeq.Store(uint64(row.ModSeq))
	sign := search.Signature(slices.Clone(row.Signature))
	m.sign.Store(&sign)
	return m, nil
}
