package mailbox

import (
	"context"
	"maps"
	"sync"

	"mallard/internal/mail"
)

// askState is what is known of a mailbox without a copy that was asked for its counters.
type askState uint8

const (
	askNever    askState = iota
	askRecent            // for what is recent alone
	askOnce              // the next time a copy is worth it
	askTooLarge          // a copy is larger than what may be kept
)

// countAtOnce is how many copies are brought up to date at the same time for one call.
const countAtOnce = 8

// Counters returns the counters of mailboxes, those that do not exist left out. With
// Options.CountCopies they are taken from the copies of the mailboxes, as the views
// show them: a mailbox that has no copy is counted by the engine the first time and
// gets one the second time, so that who looks again and again pays for what changed.
func (s *Service) Counters(ctx context.Context, acct mail.AccountID, ids ...mail.MailboxID) (map[mail.MailboxID]mail.Counters, error) {
	if !s.countCopies {
		return s.store.Counters(ctx, acct, ids...)
	}
	var copies []*shared
	var others []mail.MailboxID
	for _, id := range ids {
		if sh := s.views.forCounting(boxKey{acct, id}); sh != nil {
			copies = append(copies, sh)
		} else {
			others = append(others, id)
		}
	}
	out, err := s.fromCopies(ctx, copies)
	if err != nil || len(others) == 0 {
		return out, err
	}
	more, err := s.store.Counters(ctx, acct, others...)
	maps.Copy(out, more)
	return out, err
}

// forCounting returns the copy of a mailbox, nil when the engine should count. The
// caller releases it.
func (t *viewTable) forCounting(key boxKey) *shared {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.boxes[key] != nil || t.asked[key] == askOnce {
		return t.take(key)
	}
	if t.asked[key] < askOnce {
		t.noteAsked(key, askOnce)
	}
	return nil
}

// forRecent is forCounting for who wants to know only how many messages are recent. One
// command asks for both: that is not a second time.
func (t *viewTable) forRecent(key boxKey) *shared {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.boxes[key] != nil || t.asked[key] == askRecent {
		return t.take(key)
	}
	if t.asked[key] == askNever {
		t.noteAsked(key, askRecent)
	}
	return nil
}

func (t *viewTable) noteAsked(key boxKey, state askState) {
	if len(t.asked) >= t.limits.recentBoxes {
		clear(t.asked) // some are counted by the engine once more
	}
	t.asked[key] = state
}

// fromCopies counts from copies and releases them.
func (s *Service) fromCopies(ctx context.Context, copies []*shared) (map[mail.MailboxID]mail.Counters, error) {
	var mu sync.Mutex
	var failed error
	out := make(map[mail.MailboxID]mail.Counters, len(copies))
	var wg sync.WaitGroup
	free := make(chan struct{}, countAtOnce)
	for _, sh := range copies {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			defer s.views.release(sh)
			c, err := s.countCopy(ctx, sh)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				out[sh.key.mbox] = c
			case mail.CodeOf(err) != mail.CodeNoMailbox:
				failed = err
			}
		})
	}
	wg.Wait()
	return out, failed
}

func (s *Service) countCopy(ctx context.Context, sh *shared) (mail.Counters, error) {
	if err := s.sync(ctx, sh); err != nil {
		return mail.Counters{}, err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.rows.Counters(), nil
}

// sync brings a copy up to date, and drops it when its mailbox is gone.
func (s *Service) sync(ctx context.Context, sh *shared) error {
	err := sh.sync(ctx, s.store, &s.views)
	if err != nil && mail.CodeOf(err) == mail.CodeNoMailbox {
		s.forget(sh.key)
	}
	return err
}
