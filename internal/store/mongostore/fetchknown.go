package mongostore

import (
	"slices"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// hit is a row that is in memory, and the message as the caller knows it.
type hit struct {
	known *mail.HotRow
	row   *cachedRow
}

func (f *fetch) descending() bool { return f.q.Order == store.ByUIDDescending }

// inOrder yields messages in the order of their UIDs: those that the caller knows from memory, as far as they are there.
func (f *fetch) inOrder() error {
	if f.q.Known == nil || f.q.Fields&store.FieldMeta != 0 || f.q.ChangedSince != 0 {
		return f.byUID(f.q.UIDs)
	}
	known := f.q.Known
	if f.q.UIDs != nil {
		known = slices.DeleteFunc(slices.Clone(known), func(k mail.HotRow) bool { return !f.q.UIDs.Contains(k.UID) })
	}
	if f.descending() {
		known = slices.Clone(known)
		slices.Reverse(known)
	}
	if f.q.Limit == 0 {
		return f.knownAhead(known)
	}
	for chunk := range slices.Chunk(known, fetchRows) {
		if err := f.knownChunk(chunk); err != nil {
			return err
		}
	}
	return nil
}

// knownChunk yields some of the messages that the caller knows. Those that are not in memory are read by one walk, between
// which the others are given.
func (f *fetch) knownChunk(known []mail.HotRow) error {
	f.hits = f.hits[:0]
	var missing mail.UIDSet
	for i := range known {
		k := &known[i]
		if row := f.cached(k); row != nil {
			f.hits = append(f.hits, hit{k, row})
		} else {
			missing = append(missing, mail.UIDRange{First: k.UID, Last: k.UID})
		}
	}
	if missing = mail.NormalizeUIDs(missing); len(missing) > 0 {
		if err := f.byUID(missing); err != nil {
			return err
		}
	}
	return f.giveHits(0)
}

// cached returns a row that is in memory with all that is asked for.
func (f *fetch) cached(known *mail.HotRow) *cachedRow {
	row := f.s.caches.row(oid(f.mbox), known, f.q.Fields)
	if row == nil || f.q.Fields&store.FieldBody == 0 {
		return row
	}
	if _, ok := f.s.caches.contents.Get(row.key); !ok {
		return nil
	}
	return row
}

// giveHits yields the rows from memory that come before a UID, 0 for all.
func (f *fetch) giveHits(before mail.UID) error {
	for len(f.hits) > 0 {
		h := f.hits[0]
		if before != 0 && (h.known.UID > before) != f.descending() {
			return nil
		}
		f.hits = f.hits[1:]
		h.fill(&f.row)
		if f.q.Fields&store.FieldSignature == 0 {
			f.row.Signature = nil
		}
		f.row.Open = func() (store.Body, error) { return f.s.openCached(f, h) }
		if err := f.yieldRow(); err != nil {
			return err
		}
	}
	return nil
}

// fill sets the fields of a row.
func (h hit) fill(row *store.Row) {
	r := h.row
	*row = store.Row{
		UID: h.known.UID, ModSeq: h.known.ModSeq, Flags: h.known.Flags, InternalDate: time.UnixMilli(r.idate).UTC(), Size: r.size,
		ID: mail.MessageID(r.id), EmailID: mail.EmailID(r.key.root), ThreadID: mail.ThreadID(r.thread),
		Envelope: r.desc.envelope, BodyStructure: r.desc.bodyStructure, Tree: r.desc.tree, Summary: r.desc.summary,
		Header: r.desc.header, Signature: r.desc.signature, PrefixLen: r.desc.prefixLen,
	}
}

// openCached opens the content of a row from memory; it is read when it has gone from there.
func (s *Store) openCached(f *fetch, h hit) (store.Body, error) {
	if c, ok := s.caches.contents.Get(h.row.key); ok {
		return memoryBody{c}, nil
	}
	return s.openMessage(f.ctx, messageFilter(oid(f.mbox), h.known.UID, h.row.id))
}
