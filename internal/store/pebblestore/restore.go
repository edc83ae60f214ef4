package pebblestore

import (
	"context"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/store"
)

var _ store.Migration = (*Store)(nil)

// beginRestore is begin for a change that gives out no numbers: seq is the greatest
// mod-sequence that it stores. What the journal says of the account ends there.
func (s *Store) beginRestore(ctx context.Context, acct mail.AccountID, seq uint64) (*change, error) {
	c, err := s.beginBatch(ctx, acct, nil, true)
	if err != nil {
		return nil, err
	}
	c.seq = max(c.head.seq, seq)
	c.head.journalFrom = c.seq + 1
	if err := c.clear(accountKey(tabJournal, acct)); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// clear removes all rows with a prefix, if there are any: a removed range costs all who
// read near it.
func (c *change) clear(prefix []byte) error {
	found := false
	err := c.s.scan(prefix, func(_, _ []byte) error {
		found = true
		return errStop
	})
	if found {
		delRange(c.batch, prefix, after(prefix))
	}
	return err
}

// silent forgets the last changes of a mailbox, to which nothing is added.
func (b *boxChange) silent() {
	b.recent.tooMany, b.head.recent = true, nil
}

// RestoreAccount implements store.Migration.
func (s *Store) RestoreAccount(ctx context.Context, in mail.Account, view string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.writable(true); err != nil {
		return err
	}
	if err := s.finishDeletion(ctx, in.ID); err != nil {
		return err
	}
	s.directory.Lock()
	defer s.directory.Unlock()
	owner, err := s.get(textKey(tabUsername, view))
	if err != nil {
		return err
	}
	if owner != nil && string(owner) != string(in.ID[:]) {
		return exists("the username")
	}
	found, err := s.has(idKey(tabAccount, in.ID))
	if err != nil {
		return err
	}
	if found {
		return s.replaceAccount(ctx, &in, view)
	}
	b := s.db.NewBatch()
	defer b.Close()
	value, err := encodeAccount(&in, view)
	if err != nil {
		return err
	}
	set(b, idKey(tabAccount, in.ID), value)
	set(b, textKey(tabUsername, view), in.ID[:])
	s.firstMailboxes(b, in.ID, nil, millis(s.opt.Now()))
	if err := s.apply(b, pebble.Sync); err != nil {
		return err
	}
	s.counts.accounts++
	return s.wait(b)
}

// replaceAccount replaces the row of an account; the directory is locked.
func (s *Store) replaceAccount(ctx context.Context, in *mail.Account, view string) error {
	c, err := s.beginRestore(ctx, in.ID, 0)
	if err != nil {
		return err
	}
	defer c.end()
	_, old, err := s.readAccount(in.ID)
	if err != nil {
		return err
	}
	if old != view {
		del(c.batch, textKey(tabUsername, old))
	}
	set(c.batch, textKey(tabUsername, view), in.ID[:])
	if err := c.setAccount(in, view); err != nil {
		return err
	}
	return c.commit(true)
}

// RestoreAddress implements store.Migration.
func (s *Store) RestoreAddress(ctx context.Context, in mail.Address) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.changeAddress(ctx, in.Account, func(b *pebble.Batch) (string, error) {
		other, err := s.addressByView(in.View)
		if err != nil {
			return "", err
		}
		if other != nil && other.ID != in.ID {
			return "", exists("the address")
		}
		old, err := s.address(in.ID)
		switch {
		case err == nil:
			removeAddress(b, old)
		case mail.CodeOf(err) == mail.CodeNotFound:
			s.counts.addresses++
		default:
			return "", err
		}
		return "", putAddress(b, &in)
	})
}

// RestoreMailbox implements store.Migration.
func (s *Store) RestoreMailbox(ctx context.Context, acct mail.AccountID, in mail.Mailbox) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	c, err := s.beginRestore(ctx, acct, uint64(in.HighestModSeq))
	if err != nil {
		return err
	}
	defer c.end()
	if other := c.acct.set.Load().byPath(in.Path); other != nil && other.id != in.ID {
		return exists("the mailbox")
	}
	b, err := c.restoredBox(&in)
	if err != nil {
		return err
	}
	if _, err := c.takeName(in.Path); err != nil {
		return err
	}
	p := *b.current()
	p.path, p.use, p.subscribed, p.hidden, p.encrypt = in.Path, in.SpecialUse, in.Subscribed, in.Hidden, in.Encrypt
	p.retention, p.uidValidity, p.created = in.Retention, in.UIDValidity, millis(in.Created)
	p.keywords = slices.Clone(in.Keywords)
	b.profile = &p
	b.head.uidNext, b.head.highest, b.head.lost = uint64(in.UIDNext), uint64(in.HighestModSeq), nil
	c.applied = b.mailbox.lowerTold
	b.silent()
	c.head.uidValidity = max(c.head.uidValidity, uint64(in.UIDValidity))
	entries := slices.DeleteFunc(slices.Clone(c.acct.set.Load().sorted), func(e boxEntry) bool { return e.box == b.mailbox })
	c.set = newBoxSet(append(entries, boxEntry{in.Path, b.mailbox}))
	if err := c.settle(ctx, b); err != nil {
		return err
	}
	return c.commit(true)
}

// restoredBox returns the mailbox that is restored, a new one when it is not there.
func (c *change) restoredBox(in *mail.Mailbox) (*boxChange, error) {
	if c.acct.set.Load().byID[in.ID] != nil {
		return c.box(in.ID)
	}
	if err := c.s.mustBeFree("a mailbox with this id that was deleted", deletionKey(c.acct.id, in.ID)); err != nil {
		return nil, err
	}
	b := c.s.newMailbox(in, uint64(in.UIDValidity), c.seq, c.now)
	b.mailbox.id = in.ID
	c.boxes = append(c.boxes, b)
	return b, nil
}

// settle makes what the mailbox says of its messages true: it knows their keywords, and
// all UIDs without a message are removed at its highest mod-sequence.
func (c *change) settle(ctx context.Context, b *boxChange) error {
	if err := c.clear(boxKey(tabTombstone, c.acct.id, b.id)); err != nil {
		return err
	}
	var gone mail.UIDSet
	next := uint64(1)
	until := func(uid uint64) {
		if next < uid {
			gone = append(gone, mail.UIDRange{First: mail.UID(next), Last: mail.UID(uid - 1)})
		}
		next = uid + 1
	}
	known := ""
	err := c.s.walk(ctx, c.acct.id, b.id, mail.AllUIDs(), func(uid mail.UID, h *hot) error {
		until(uint64(uid))
		if string(h.keywords) != known {
			known = string(h.keywords)
			b.addKeywords(h.flags())
		}
		return nil
	})
	if err != nil {
		return err
	}
	until(b.head.uidNext)
	if len(gone) > 0 {
		set(c.batch, seqKey(tabTombstone, c.acct.id, b.id, b.head.highest), appendUIDs(nil, gone))
	}
	return nil
}

// DomainAliases implements store.Migration.
func (s *Store) DomainAliases(ctx context.Context) (map[string]string, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	out := make(map[string]string)
	err := s.scan([]byte{tabDomainAlias}, func(key, value []byte) error {
		out[string(key[1:])] = string(value)
		return nil
	})
	return out, err
}

// EachRecord implements store.Migration.
func (s *Store) EachRecord(ctx context.Context, f func(kind, key string, value []byte) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.scan([]byte{tabRecord}, func(key, value []byte) error {
		if ctx.Err() != nil {
			return canceled(ctx)
		}
		kind, name, _ := strings.Cut(string(key[1:]), "\x00")
		return f(kind, name, value)
	})
}
