package imap

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// A client that reads slowly must not hold on to the engine, whose old states cost
// memory and disk as long as somebody reads them. So nothing waits for the client
// while rows are read, but for moments: answers are kept in the encoder's buffers. When
// these stay full, or a message is too large for them, reading ends, the client gets its
// time, and reading goes on behind the last message. A client that reads fast is now and
// then a moment behind, and to begin reading anew costs more than that moment: see
// Options.ReadPatience.

// reading is one look at the engine.
type reading struct {
	last mail.UID // the last message that was read
	over bool     // there is nothing behind it
	// large is a message that is told when the engine is let go, under its number.
	large *store.Row
	seq   uint32
}

// rows tells the messages of a query and returns the last one that was read.
func (f *fetching) rows(ctx context.Context, q store.FetchQuery) (mail.UID, error) {
	for {
		r, err := f.read(ctx, q)
		if err != nil {
			return r.last, err
		}
		if err := f.s.w.Drain(); err != nil {
			return r.last, err
		}
		if r.large != nil {
			if err := f.row(ctx, r.seq, r.large); err != nil {
				return r.last, fmt.Errorf("fetch message %d: %w", r.last, err)
			}
		}
		if q.UIDs = behind(q.UIDs, r.last); r.over || len(q.UIDs) == 0 {
			return r.last, f.s.w.Err()
		}
	}
}

// read tells messages until the client would have to be waited for.
func (f *fetching) read(ctx context.Context, q store.FetchQuery) (r reading, err error) {
	f.s.w.Hold(true)
	defer f.s.w.Hold(false)
	q.Known = f.known(q.UIDs)
	patience := f.s.srv.o.ReadPatience
	for row, err := range f.s.srv.o.Mailboxes.Fetch(ctx, f.s.acct.ID, f.s.view.Mailbox(), q) {
		if err != nil {
			return r, err
		}
		r.last = row.UID
		seq, ok := f.number(row.UID)
		if !ok {
			continue
		}
		if !f.fits(f.weight(row), &patience) {
			r.seq, r.large = seq, f.keep(ctx, row)
			return r, nil
		}
		if err := f.row(ctx, seq, row); err != nil {
			return r, fmt.Errorf("fetch message %d: %w", r.last, err)
		}
		if !f.s.w.Pass() && !f.await(0, &patience) {
			return r, nil
		}
	}
	r.over = true
	return r, nil
}

// fits reports whether there is room for a response, for which it may wait for the client
// a little.
func (f *fetching) fits(n int, patience *time.Duration) bool {
	return f.s.w.Fits(n) || f.await(n, patience)
}

func (f *fetching) await(n int, patience *time.Duration) (ok bool) {
	*patience, ok = f.s.w.Await(n, *patience)
	return ok
}

// weight is about how many octets the response of a message has, at most.
func (f *fetching) weight(row *store.Row) int {
	n := len(row.Envelope) + len(row.BodyStructure) + 2*len(row.Tree)
	for i := range f.items {
		n += 256
		switch item := &f.items[i]; item.Kind {
		case imapwire.FetchBodySection, imapwire.FetchRFC822, imapwire.FetchRFC822Header, imapwire.FetchRFC822Text:
			n += sectionWeight(item, row)
		default:
		}
	}
	return n
}

func sectionWeight(item *imapwire.FetchItem, row *store.Row) int {
	n := row.Size
	if len(item.Section.Part) == 0 && sectionFields(&item.Section)&store.FieldBody == 0 && item.Kind == imapwire.FetchBodySection {
		n = int64(len(row.Header))
	}
	if item.Partial != nil && item.Partial.Length > 0 {
		n = min(n, int64(min(item.Partial.Length, 1<<40)))
	}
	return int(n)
}

// keep copies a row, so that it outlives the reading.
func (f *fetching) keep(ctx context.Context, row *store.Row) *store.Row {
	k := *row
	k.Envelope, k.BodyStructure = bytes.Clone(row.Envelope), bytes.Clone(row.BodyStructure)
	k.Tree, k.Summary, k.Header = bytes.Clone(row.Tree), bytes.Clone(row.Summary), bytes.Clone(row.Header)
	acct, mbox := f.s.acct.ID, f.s.view.Mailbox()
	k.Open = func() (store.Body, error) { return f.s.srv.o.Mailboxes.Open(ctx, acct, mbox, k.UID) }
	return &k
}

// behind returns what of a set is behind a UID.
func behind(set mail.UIDSet, uid mail.UID) mail.UIDSet {
	for len(set) > 0 && set[0].Last <= uid {
		set = set[1:]
	}
	if len(set) > 0 && set[0].First <= uid {
		set = slices.Clone(set)
		set[0].First = uid + 1
	}
	return set
}
