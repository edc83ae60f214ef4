package mongostore

import (
	"bytes"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/mongostore/hotcache"
)

// caches are what this node keeps in memory of messages: what their rows say that does not change, and their octets.
// Nobody tells a node that an entry is out of date; these rules see to it that one that is is not used:
//
//   - What is at a UID of a mailbox changes only together with the message's mod-sequence. An entry of rows holds for the
//     mod-sequence at which it was read, and is used for a caller who names that one: he has it from Changes. Flags,
//     expiry and metadata are not in it.
//   - Of the octets and what describes them, WildDuck changes those of a draft that is sent, by updates of which the
//     contract does not say that they are one with that of the mod-sequence. So drafts are neither kept nor taken from
//     here.
//   - A copy, a move and a delivery that encrypts insert documents. They have other UIDs, and their octets another key:
//     the first id of the message with what fresh looks at, the size and date of the document.
//   - A UID means the same message for ever, unless messages are restored over others (package migrate): that forgets the
//     mailbox, on other nodes as soon as they read the mailbox's document.
//   - Our own changes of flags leave the rest alone. They are guarded by the flags, so that the entry holds for the new
//     mod-sequence as well, and need not be read again.
//
// A message that was expunged stays until its place is needed. Only who was told of it and not yet of its end can ask.
type caches struct {
	rows     *hotcache.Cache[rowKey, *cachedRow]
	contents *hotcache.Cache[contentKey, cachedContent]
	restores restores
	ahead    aheads
}

func newCaches(o *Options) caches {
	return caches{
		rows:     hotcache.New[rowKey, *cachedRow](o.DescriptionCache),
		contents: hotcache.New[contentKey, cachedContent](o.ContentCache),
	}
}

// rowKey is where a message is.
type rowKey struct {
	mbox bson.ObjectID
	uid  mail.UID
}

// contentKey names the octets of a message, in all its copies.
type contentKey struct {
	root        bson.ObjectID
	size, hdate int64
}

// cachedRow is what does not change of a row, and as of which mod-sequence that was seen. It is not changed itself.
type cachedRow struct {
	modSeq mail.ModSeq
	id     bson.ObjectID
	thread bson.ObjectID
	idate  int64 // milliseconds
	size   int64 // verbatim
	key    contentKey
	fields store.Fields // those of desc that are there; documentRead when prefixLen is
	desc   description
}

// cachedContent are the octets of a message in two pieces.
type cachedContent struct{ prefix, text []byte }

func (c cachedContent) size() int64 { return int64(len(c.prefix) + len(c.text)) }

// maxCached bounds the messages of which the octets are kept; to read one it is in memory as a whole.
const maxCached = 1 << 20

// cachedFields are the fields that cached rows can have.
const cachedFields = store.FieldEnvelope | store.FieldBodyStructure | store.FieldTree | store.FieldSummary | store.FieldHeader | store.FieldSignature

// documentRead is a bit of cachedRow.fields that says that more than the small members was read.
const documentRead store.Fields = 1 << 15

// haves are the bits of cachedRow.fields that a Fetch of some fields gives, and needs.
func haves(fields store.Fields) store.Fields {
	out := fields & cachedFields
	if fields&documentFields != 0 {
		out |= documentRead
	}
	return out
}

// contentKey names the octets of a message.
func (m *hotMessage) contentKey() contentKey {
	return contentKey{root: m.Root, size: m.Counted, hdate: m.HDate}
}

// row returns what is kept of a message that a caller knows in this state, if it has these fields.
func (c *caches) row(mbox bson.ObjectID, known *mail.HotRow, fields store.Fields) *cachedRow {
	if known.Flags.Has(mail.Draft) {
		return nil
	}
	r, ok := c.rows.Get(rowKey{mbox, known.UID})
	if !ok || r.modSeq != known.ModSeq || haves(fields)&^r.fields != 0 {
		return nil
	}
	return r
}

// keepRow keeps what was read of a message: d has the fields, nil when none of the document's are asked for.
func (c *caches) keepRow(m *hotMessage, d *description, fields store.Fields) {
	if m.Flags.Has(mail.Draft) || m.IDate.IsZero() {
		return
	}
	r := &cachedRow{
		modSeq: m.ModSeq, id: m.ID, thread: m.Thread, idate: m.IDate.UnixMilli(), size: m.Size, key: m.contentKey(), fields: haves(fields),
	}
	if d != nil {
		r.desc, r.size = d.clone(), d.size
	}
	at := rowKey{m.Mailbox, m.UID}
	if old, ok := c.rows.Get(at); ok && old.modSeq >= r.modSeq {
		if old.modSeq > r.modSeq || old.fields|r.fields == old.fields {
			return
		}
		r.merge(old)
	}
	c.rows.Put(at, r, r.octets())
}

// merge takes over the fields of an older entry about the same state of the message.
func (r *cachedRow) merge(old *cachedRow) {
	if old.key != r.key || old.id != r.id {
		return
	}
	for _, m := range describedMembers {
		if old.fields&^r.fields&m.field != 0 {
			*m.get(&r.desc) = *m.get(&old.desc)
		}
	}
	if old.fields&documentRead != 0 {
		r.desc.prefixLen, r.size = old.desc.prefixLen, old.size
	}
	r.fields |= old.fields
}

// clone copies a description.
func (d *description) clone() description {
	return description{
		envelope: bytes.Clone(d.envelope), bodyStructure: bytes.Clone(d.bodyStructure), tree: bytes.Clone(d.tree),
		summary: bytes.Clone(d.summary), header: bytes.Clone(d.header), signature: bytes.Clone(d.signature), prefixLen: d.prefixLen, size: d.size,
	}
}

// rowOctets is the size of a cachedRow itself.
const rowOctets = 320

func (r *cachedRow) octets() int64 {
	d := &r.desc
	return rowOctets + int64(cap(d.envelope)+cap(d.bodyStructure)+cap(d.tree)+cap(d.summary)+cap(d.header)+cap(d.signature))
}

// arrived keeps a message that was stored. What it is made of is not changed any more.
func (c *caches) arrived(m *hotMessage, p *prepared) {
	if m.Flags.Has(mail.Draft) {
		return
	}
	st := p.st
	if st.mem != nil && p.verbatim <= maxCached && c.contents.Takes(p.verbatim) {
		c.contents.Put(m.contentKey(), cachedContent{prefix: p.prefix, text: st.mem}, p.verbatim)
	}
	d := st.desc
	d.signature, d.prefixLen, d.size = p.signature, int64(len(p.prefix)), p.verbatim
	if len(p.prefix) > 0 {
		d.header = append(append(make([]byte, 0, len(p.prefix)+len(d.header)), p.prefix...), d.header...)
	}
	r := &cachedRow{modSeq: m.ModSeq, id: m.ID, thread: m.Thread, idate: m.IDate.UnixMilli(), size: p.verbatim, key: m.contentKey(), fields: cachedFields | documentRead, desc: d}
	c.rows.Put(rowKey{m.Mailbox, m.UID}, r, r.octets())
}

// flagged says that a change of flags gave a message a new mod-sequence and left the rest alone.
func (c *caches) flagged(before *hotMessage, ms mail.ModSeq, after mail.Flags) {
	if before.Flags.Has(mail.Draft) || after.Has(mail.Draft) {
		return
	}
	at := rowKey{before.Mailbox, before.UID}
	if r, ok := c.rows.Get(at); ok && r.modSeq == before.ModSeq && r.id == before.ID {
		now := *r
		now.modSeq = ms
		c.rows.Put(at, &now, now.octets())
	}
}

// copied says that a message was stored again elsewhere.
func (c *caches) copied(source, to *hotMessage) {
	if to.Flags.Has(mail.Draft) || source.Flags.Has(mail.Draft) {
		return
	}
	if r, ok := c.rows.Get(rowKey{source.Mailbox, source.UID}); ok && r.modSeq == source.ModSeq && r.id == source.ID {
		now := *r
		now.modSeq, now.id = to.ModSeq, to.ID
		c.rows.Put(rowKey{to.Mailbox, to.UID}, &now, now.octets())
	}
}

// forget drops what is known of a mailbox.
func (c *caches) forget(mbox bson.ObjectID) {
	c.rows.DeleteFunc(func(k rowKey) bool { return k.mbox == mbox })
}

// memoryBody is the content of a message that is in memory.
type memoryBody struct{ cachedContent }

// Size implements store.Body.
func (b memoryBody) Size() int64 { return b.size() }

// Close implements store.Body.
func (b memoryBody) Close() error { return nil }

// WriteRange implements store.Body.
func (b memoryBody) WriteRange(w io.Writer, off, n int64) error {
	if off < 0 || n < 0 || off > b.size() || n > b.size()-off {
		return mail.NewError(mail.CodeInvalid, "the range lies outside of the message")
	}
	for _, piece := range [][]byte{b.prefix, b.text} {
		skip := min(off, int64(len(piece)))
		piece = piece[skip:]
		piece = piece[:min(n, int64(len(piece)))]
		off -= skip
		n -= int64(len(piece))
		if len(piece) == 0 {
			continue
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// keptBody is a body that is kept when half of it or more is read at once.
type keptBody struct {
	*body
	key contentKey
}

// keeping makes a body that is kept when it is read, if it is one to keep.
func (s *Store) keeping(b *body, m *hotMessage) store.Body {
	if b.size > maxCached || !s.caches.contents.Takes(b.size) || m.Flags.Has(mail.Draft) {
		return b
	}
	return &keptBody{body: b, key: m.contentKey()}
}

// WriteRange implements store.Body.
func (b *keptBody) WriteRange(w io.Writer, off, n int64) error {
	if off < 0 || n < b.size/2 || n > b.size-off {
		return b.body.WriteRange(w, off, n)
	}
	c, err := b.load()
	if err != nil {
		return err
	}
	return memoryBody{c}.WriteRange(w, off, n)
}

// load reads the body and keeps it.
func (b *keptBody) load() (cachedContent, error) {
	buf := bytes.NewBuffer(make([]byte, 0, b.size))
	if err := b.body.WriteRange(buf, 0, b.size); err != nil {
		return cachedContent{}, err
	}
	c := cachedContent{text: buf.Bytes()}
	b.s.caches.contents.Put(b.key, c, b.size)
	return c, nil
}
