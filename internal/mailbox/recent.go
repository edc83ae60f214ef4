package mailbox

import (
	"context"
	"math"
	"slices"
	"sync"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Recent is the number of messages of a mailbox that no session was told of, which
// are the ones that would be recent for a session that opens it now (RFC 3501,
// 6.3.10, RECENT). Without a copy of the mailbox the engine counts them where they are
// all of its messages, the first time; else they are read, up to some thousands. When
// there are more, or it is asked again, the mailbox gets a copy, so that who asks again
// pays for what changed. Errors: NoMailbox.
func (s *Service) Recent(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID) (int, error) {
	told, err := s.recents.TakeRecent(ctx, acct, mbox, 0)
	if err != nil {
		return 0, err
	}
	key := boxKey{acct, mbox}
	if sh := s.views.existing(key); sh != nil {
		return s.recentInCopy(ctx, sh, told)
	}
	switch told {
	case 0:
		if s.countCopies {
			if sh := s.views.forRecent(key); sh != nil {
				return s.recentInCopy(ctx, sh, told)
			}
		}
		all, err := s.store.Counters(ctx, acct, mbox)
		c, found := all[mbox]
		if err == nil && !found {
			err = mail.NewError(mail.CodeNoMailbox, "no such mailbox")
		}
		return int(c.Messages), err
	case ^mail.UID(0):
		return 0, nil
	}
	most := s.views.limits.recentRows
	if s.views.tooLarge(key) {
		most = math.MaxInt // to read all of it for a copy would cost more
	}
	n, err := s.countAfter(ctx, key, told, most)
	if err != nil || n <= most {
		return n, err
	}
	return s.recentInCopy(ctx, s.views.acquire(key), told)
}

// recentInCopy counts from a copy and releases it.
func (s *Service) recentInCopy(ctx context.Context, sh *shared, told mail.UID) (int, error) {
	defer s.views.release(sh)
	if err := s.sync(ctx, sh); err != nil {
		return 0, err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return len(after(sh.rows.UIDs(), told)), nil
}

// countAfter counts the messages above a UID; more than most says that there are more.
func (s *Service) countAfter(ctx context.Context, key boxKey, uid mail.UID, most int) (n int, err error) {
	q := store.FetchQuery{UIDs: mail.UIDSet{{First: uid + 1, Last: ^mail.UID(0)}}}
	for _, err := range s.store.Fetch(ctx, key.acct, key.mbox, q) {
		if err != nil {
			return 0, err
		}
		if n++; n > most {
			break
		}
	}
	return n, nil
}

// existing returns the copy of a mailbox, nil when there is none. The caller releases it.
func (t *viewTable) existing(key boxKey) *shared {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.boxes[key] == nil {
		return nil
	}
	return t.take(key)
}

// tooLarge reports whether a copy of a mailbox turned out to be larger than what may be kept.
func (t *viewTable) tooLarge(key boxKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asked[key] == askTooLarge
}

// after returns the UIDs of an ascending list above one.
func after(uids []mail.UID, uid mail.UID) []mail.UID {
	i, found := slices.BinarySearch(uids, uid)
	if found {
		i++
	}
	return uids[i:]
}

// findRecent finds the recent ones of messages that the client is about to be told of,
// which are in ascending order. Where that is not known it adds nothing.
func (v *View) findRecent(ctx context.Context, uids []mail.UID) error {
	if len(uids) == 0 {
		return nil
	}
	upTo := mail.UID(0)
	if v.claim {
		upTo = uids[len(uids)-1]
	}
	told, err := v.svc.recents.TakeRecent(ctx, v.sh.key.acct, v.sh.key.mbox, upTo)
	if err != nil {
		return err
	}
	v.addRecent(after(uids, told))
	return nil
}

func (v *View) addRecent(uids []mail.UID) {
	for _, u := range uids {
		v.recent = v.recent.Append(u)
	}
}

// Recent reports whether a message is recent in this session.
func (v *View) Recent(uid mail.UID) bool { return v.recent.Contains(uid) }

// RecentCount is the number of recent messages.
func (v *View) RecentCount() int { return v.recent.Count() }

// localRecents remembers for this process what an engine has no place for. What it
// forgets is recent once more.
type localRecents struct {
	mu    sync.Mutex
	limit int // mailboxes
	told  map[boxKey]mail.UID
}

// TakeRecent implements store.Recents.
func (r *localRecents) TakeRecent(_ context.Context, acct mail.AccountID, mbox mail.MailboxID, upTo mail.UID) (mail.UID, error) {
	key := boxKey{acct, mbox}
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.told[key]
	if upTo <= told {
		return told, nil
	}
	if told == 0 && len(r.told) >= r.limit {
		clear(r.told)
	}
	r.told[key] = upTo
	return told, nil
}

// recentsOf returns where a service remembers what sessions were told of.
func recentsOf(o *Options) store.Recents {
	if o.Recents != nil {
		return o.Recents
	}
	if r, ok := o.Store.(store.Recents); ok {
		return r
	}
	return &localRecents{limit: defaultViewLimits().recentBoxes, told: make(map[boxKey]mail.UID)}
}
