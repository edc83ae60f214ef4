package pebblestore

import (
	"context"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/search"
)

// searchStep is how many candidates are collected before they are given out. No
// iterator is open meanwhile: what is done with a candidate may take long.
const searchStep = 1024

// MayContain implements store.Messages.
func (s *Store) MayContain(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, needles [][]byte) iter.Seq2[mail.UID, error] {
	return func(yield func(mail.UID, error) bool) {
		if err := s.enter(ctx); err != nil {
			yield(0, err)
			return
		}
		defer s.leave()
		a, err := s.account(ctx, acct)
		if err != nil {
			yield(0, boxError(err))
			return
		}
		defer s.accounts.release(a)
		if a.set.Load().byID[mbox] == nil {
			yield(0, noMailbox())
			return
		}
		f := finder{s: s, ctx: ctx, acct: acct, box: mbox, probe: search.NewProbe(needles...)}
		for f.next = 1; !f.done; {
			if err := f.step(uids); err != nil {
				yield(0, err)
				return
			}
			for _, uid := range f.found {
				if !yield(uid, nil) {
					return
				}
			}
		}
	}
}

// finder is one call of MayContain.
type finder struct {
	s     *Store
	ctx   context.Context
	acct  mail.AccountID
	box   mail.MailboxID
	probe *search.Probe
	next  mail.UID // where to go on
	found []mail.UID
	done  bool
	signs cursor
	key   [emailSize]byte
}

// step collects candidates from f.next on.
func (f *finder) step(uids mail.UIDSet) (err error) {
	f.found = f.found[:0]
	prefix := boxKey(tabHot, f.acct, f.box)
	it, err := f.s.db.NewIter(&pebble.IterOptions{
		LowerBound: uidKey(tabHot, f.acct, f.box, f.next), UpperBound: after(prefix),
	})
	if err != nil {
		return readError("search", err)
	}
	f.signs = cursor{tab: tabSignature, prefix: accountKey(tabSignature, f.acct)}
	defer func() {
		if f.signs.it != nil {
			if cerr := f.signs.it.Close(); cerr != nil && err == nil {
				err = readError("search", cerr)
			}
		}
		if cerr := it.Close(); cerr != nil && err == nil {
			err = readError("search", cerr)
		}
	}()
	err = walkRanges(f.ctx, it, f.acct, f.box, uids, func(uid mail.UID, h *hot) error {
		if len(f.found) == searchStep {
			f.next = uid
			return errStop
		}
		may, err := f.may(it, h)
		if may {
			f.found = append(f.found, uid)
		}
		return err
	})
	f.done = err == nil
	return ignoreStop(err)
}

// may reports whether a message may contain the needles. One without a signature may.
func (f *finder) may(rows *pebble.Iterator, h *hot) (bool, error) {
	if f.probe.Any() {
		return true, nil
	}
	sign, err := f.signs.find(rows, append(append(f.key[:0], f.signs.prefix...), h.email[:]...))
	if mail.CodeOf(err) == mail.CodeCorrupt && err != nil {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return f.probe.MayMatch(sign), nil
}
