package pebblestore

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
)

const (
	// agingInterval is the pause between two looks for old journals and
	// conversations.
	agingInterval = time.Hour
	// agingStep is how many rows of conversations are looked at each time.
	agingStep = 200_000
	// maxForget is how many conversations of an account are forgotten at once.
	maxForget = 10_000
)

// maintain does the work of the background: deletions that were begun, garbage,
// journals and conversations that have grown old. It is one goroutine, so that this
// work never takes more than one processor.
func (s *Store) maintain() {
	stopped := func() bool {
		select {
		case <-s.stop:
			return true
		default:
			return false
		}
	}
	s.background("look for unused content", func() error { return s.findOrphans(stopped) })
	pause := time.NewTicker(s.opt.SweepInterval)
	defer pause.Stop()
	aging := time.NewTicker(agingInterval)
	defer aging.Stop()
	var threads []byte // where the look for old conversations goes on
	for {
		s.background("delete", func() error { return s.runDeletions(stopped) })
		more := false
		s.background("collect garbage", func() (err error) {
			more, err = s.collectGarbage()
			return err
		})
		s.sweep.mu.Lock()
		s.sweep.done++
		s.sweep.mu.Unlock()
		if more && !stopped() {
			continue
		}
		select {
		case <-s.stop:
			return
		case <-pause.C:
		case <-s.sweeps:
		case <-aging.C:
			s.background("trim journals", func() error { return s.trimJournals(stopped) })
			s.background("forget conversations", func() (err error) {
				threads, err = s.forgetThreads(threads, stopped)
				return err
			})
		}
	}
}

// background runs work whose errors nobody waits for. It is tried again in the next
// round.
func (s *Store) background(what string, work func() error) {
	if s.writable(false) != nil {
		return
	}
	if err := work(); err != nil && err != errStop && !s.closed.Load() {
		s.log.Error("maintenance: "+what, "err", err)
	}
}

// runDeletions goes on with the removal of deleted accounts and mailboxes.
func (s *Store) runDeletions(stopped func() bool) error {
	type job struct {
		acct mail.AccountID
		box  mail.MailboxID
	}
	var todo []job
	err := s.scan([]byte{tabDeletion}, func(key, value []byte) error {
		if len(key) != 1+2*idSize {
			return fmt.Errorf("%w: deletion %x", errValue, key)
		}
		if due, err := s.deletionDue(value); err != nil {
			return fmt.Errorf("deletion %x: %w", key, err)
		} else if !due {
			return nil
		}
		todo = append(todo, job{mail.AccountID(key[1 : 1+idSize]), mail.MailboxID(key[1+idSize:])})
		return nil
	})
	if err != nil {
		return err
	}
	for _, j := range todo {
		for done := false; !done; {
			if stopped() {
				return nil
			}
			if j.box.IsZero() {
				done, err = s.deleteDocuments(j.acct)
			} else {
				done, err = s.deleteMessages(j.acct, j.box)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// deleteMessages removes some messages of a deleted mailbox, and reports whether it
// was the last of it.
func (s *Store) deleteMessages(acct mail.AccountID, box mail.MailboxID) (done bool, err error) {
	c, err := s.begin(context.Background(), acct)
	if mail.CodeOf(err) == mail.CodeNoAccount && err != nil {
		return true, s.forgetDeletion(acct, box) // the deletion of the account does it all
	}
	if err != nil {
		return false, err
	}
	defer c.end()
	if c.acct.set.Load().byID[box] != nil {
		s.log.Error("a mailbox that is there is noted as deleted: it stays", "account", acct, "mailbox", box)
		return true, s.forgetDeletion(acct, box)
	}
	var messages []copied
	err = s.walk(context.Background(), acct, box, mail.AllUIDs(), func(uid mail.UID, h *hot) error {
		m := copied{uid, *h}
		m.hot.keywords = nil
		if messages = append(messages, m); len(messages) == s.opt.deletionStep {
			return errStop
		}
		return nil
	})
	if err != nil && err != errStop {
		return false, err
	}
	if _, err := c.discard(box, messages, func(m *copied) { c.removeRows(box, m.uid, &m.hot) }); err != nil {
		return false, err
	}
	done = len(messages) < s.opt.deletionStep
	if done {
		for _, tab := range []byte{tabHot, tabExtra, tabDate, tabTombstone} {
			prefix := boxKey(tab, acct, box)
			delRange(c.batch, prefix, after(prefix))
		}
		del(c.batch, deletionKey(acct, box))
	}
	return done, c.commit(false)
}

func delRange(b *pebble.Batch, from, to []byte) {
	if err := b.DeleteRange(from, to, nil); err != nil {
		panic(fmt.Sprintf("add to a batch: %v", err))
	}
}

func (s *Store) forgetDeletion(acct mail.AccountID, box mail.MailboxID) error {
	b := s.db.NewBatch()
	del(b, deletionKey(acct, box))
	return s.applyClose(b)
}

func (s *Store) applyClose(b *pebble.Batch) error {
	if err := s.apply(b, pebble.NoSync); err != nil {
		return err
	}
	return b.Close()
}

// deleteDocuments removes some documents of a deleted account; with the last of them
// it removes everything else. Nobody else writes rows of that account any more: its
// id is free again only when all is gone, see finishDeletion.
func (s *Store) deleteDocuments(acct mail.AccountID) (done bool, err error) {
	s.deletion.Lock()
	defer s.deletion.Unlock()
	if under, err := s.has(deletionKey(acct, mail.MailboxID{})); err != nil || !under {
		return true, err
	}
	if there, err := s.has(idKey(tabAccount, acct)); err != nil || there {
		if there {
			s.log.Error("an account that is there is noted as deleted: it stays", "account", acct)
			err = s.forgetDeletion(acct, mail.MailboxID{})
		}
		return true, err
	}
	b := s.db.NewBatch()
	n := 0
	err = s.scan(accountKey(tabDocument, acct), func(key, value []byte) error {
		var d document
		var l layout
		if err := d.decode(value); err == nil {
			if _, err := l.decode(d.sections[secLayout]); err == nil {
				dropContent(b, &l, acct, mail.EmailID(key[ownedSize:]))
			}
		}
		del(b, key)
		if n++; n == s.opt.deletionStep {
			return errStop
		}
		return nil
	})
	if err != nil {
		_ = b.Close()
		return false, err
	}
	if done = n < s.opt.deletionStep; done {
		prefix := idKey(tabOwned, acct)
		delRange(b, prefix, after(prefix))
		del(b, deletionKey(acct, mail.MailboxID{}))
	}
	return done, s.applyClose(b)
}

// finishDeletion does now what is left to remove of a deleted account, so that an
// account with the same id does not find it, and is not taken for it. While the mail
// of that account is kept its id is taken.
func (s *Store) finishDeletion(ctx context.Context, acct mail.AccountID) error {
	value, err := s.get(deletionKey(acct, mail.MailboxID{}))
	if err != nil {
		return err
	}
	if due, err := s.deletionDue(value); err != nil {
		return corrupt(fmt.Sprintf("deletion of account %s", acct), err)
	} else if !due {
		return exists("the mail of a deleted account with this id")
	}
	for {
		if ctx.Err() != nil {
			return canceled(ctx)
		}
		if done, err := s.deleteDocuments(acct); err != nil || done {
			return err
		}
	}
}

// trimJournals removes what is older than JournalAge from the journals of accounts
// that have changed since they were trimmed last.
func (s *Store) trimJournals(stopped func() bool) error {
	cutoff := millis(s.opt.Now().Add(-s.opt.JournalAge))
	var todo []mail.AccountID
	_, err := s.eachAccount(nil, func(id mail.AccountID) error {
		value, err := s.get(accountKey(tabAccountHead, id))
		if err != nil {
			return err
		}
		head, err := decodeAccountHead(value)
		if err == nil && head.trimmed < cutoff && s.trimmable(id, cutoff) {
			todo = append(todo, id)
		}
		if stopped() {
			return errStop
		}
		return nil // damage is for Check to find
	})
	if err != nil {
		return err
	}
	for _, id := range todo {
		if stopped() {
			return nil
		}
		if err := s.trimJournal(id, cutoff); err != nil && mail.CodeOf(err) != mail.CodeNoAccount {
			return err
		}
	}
	return nil
}

// trimmable reports whether an account has entries that are too old, and not only the
// newest, which stays: accounts at rest are not written again and again.
func (s *Store) trimmable(id mail.AccountID, cutoff int64) bool {
	rows, old := 0, false
	err := s.scan(accountKey(tabJournal, id), func(key, value []byte) error {
		if rows++; rows == 2 {
			return errStop
		}
		row, err := decodeJournalRow(key, value)
		old = err == nil && row.created < cutoff
		return nil
	})
	return err == nil && rows == 2 && old
}

// trimJournal removes the entries of an account that are older than cutoff, except
// the newest, from which the head of the journal is known.
func (s *Store) trimJournal(id mail.AccountID, cutoff int64) error {
	c, err := s.begin(context.Background(), id)
	if err != nil {
		return err
	}
	defer c.end()
	var from uint64 // the first mod-sequence that stays
	last := uint64(0)
	err = s.scan(accountKey(tabJournal, id), func(key, value []byte) error {
		row, err := decodeJournalRow(key, value)
		if err != nil {
			return corrupt(fmt.Sprintf("journal of account %s", id), err)
		}
		from, last = row.seq, row.seq
		if row.created >= cutoff {
			return errStop
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.head.trimmed = c.now
	if last > c.head.journalFrom {
		delRange(c.batch, journalKey(id, 0, 0), journalKey(id, from, 0))
		c.head.journalFrom = from
	}
	return c.commit(false)
}

// eachAccount calls f for the accounts from a key on. It returns the key where f
// stopped with errStop, nil at the end.
func (s *Store) eachAccount(from []byte, f func(id mail.AccountID) error) (next []byte, err error) {
	if from == nil {
		from = []byte{tabAccount}
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: after([]byte{tabAccount})})
	if err != nil {
		return nil, readError("go through the accounts", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if len(it.Key()) != 1+idSize {
			continue
		}
		if err := f(mail.AccountID(it.Key()[1:])); err == errStop {
			return append([]byte(nil), it.Key()...), nil
		} else if err != nil {
			return nil, err
		}
	}
	if err := it.Error(); err != nil {
		return nil, readError("go through the accounts", err)
	}
	return nil, nil
}

// forgetThreads removes conversations that are too old from some accounts, from a
// key on. It returns where to go on, nil from the start.
func (s *Store) forgetThreads(from []byte, stopped func() bool) (next []byte, err error) {
	today := uint32(millis(s.opt.Now()) / millisPerDay)
	limit := uint32(s.opt.ThreadAge.Milliseconds() / millisPerDay)
	rows := 0
	return s.eachAccount(from, func(id mail.AccountID) error {
		if rows > agingStep || stopped() {
			return errStop
		}
		rows++
		var old [][]byte
		err := s.scan(accountKey(tabThread, id), func(key, value []byte) error {
			rows++
			if row, err := decodeThreadRow(value); err == nil && row.day+limit < today {
				old = append(old, append([]byte(nil), key...))
			}
			if len(old) == maxForget {
				return errStop
			}
			return nil
		})
		if err != nil || len(old) == 0 {
			return err
		}
		err = s.forgetKeys(id, old, today-limit)
		if err != nil && mail.CodeOf(err) == mail.CodeNoAccount {
			return nil
		}
		return err
	})
}

// forgetKeys removes rows of conversations that were not used since a day, with the
// account locked, so that no message finds them meanwhile.
func (s *Store) forgetKeys(id mail.AccountID, keys [][]byte, day uint32) error {
	c, err := s.begin(context.Background(), id)
	if err != nil {
		return err
	}
	defer c.end()
	for _, key := range keys {
		value, err := s.get(key)
		if err != nil {
			return err
		}
		if len(value) == idSize+4 && binary.BigEndian.Uint32(value[idSize:]) < day {
			del(c.batch, key)
		}
	}
	return c.commit(false)
}
