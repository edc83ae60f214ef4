package mailbox

import (
	"context"
	"slices"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Recent is the number of messages of a mailbox that no session was told of, which
// are the ones that would be recent for a session that opens it now (RFC 3501,
// 6.3.10, RECENT). It counts what has come since the process started.
// Errors: NoMailbox.
func (s *Service) Recent(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID) (int, error) {
	key := boxKey{acct, mbox}
	from, ok := s.views.unclaimed(key)
	if !ok {
		return 0, nil
	}
	n := 0
	q := store.FetchQuery{UIDs: mail.UIDSet{{First: from, Last: ^mail.UID(0)}}}
	for _, err := range s.store.Fetch(ctx, acct, mbox, q) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// unclaimed returns the first UID that no session was told of, false when that is
// not known and so none.
func (t *viewTable) unclaimed(key boxKey) (mail.UID, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if sh := t.boxes[key]; sh != nil && sh.known {
		return sh.unclaimed(), true
	}
	from, ok := t.recent[key]
	return from, ok
}

// takeRecent sets recentFrom after loading.
func (sh *shared) takeRecent(t *viewTable) {
	from := t.recentFrom(sh, sh.uidNext) // only sync, which is running, changes it
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.recentFrom = from
}

// arrived notes that messages came from a UID on. Where there is a copy of the
// mailbox, it will find them itself.
func (t *viewTable) arrived(key boxKey, first mail.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if sh := t.boxes[key]; sh != nil && sh.known {
		return
	}
	if _, ok := t.recent[key]; !ok {
		t.noteRecent(key, first)
	}
}

func (t *viewTable) noteRecent(key boxKey, from mail.UID) {
	if len(t.recent) >= t.limits.recentBoxes {
		clear(t.recent) // some messages will not be recent, which does no harm
	}
	t.recent[key] = from
}

// recentFrom returns the first UID that no session was told of, and otherwise if
// that is not known. From now on the copy itself knows.
func (t *viewTable) recentFrom(sh *shared, otherwise mail.UID) mail.UID {
	t.mu.Lock()
	defer t.mu.Unlock()
	sh.known = true
	from, ok := t.recent[sh.key]
	if !ok {
		return otherwise
	}
	delete(t.recent, sh.key)
	return from
}

func (sh *shared) unclaimed() mail.UID {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.recentFrom
}

// claimRecent finds the recent ones of messages that the client is about to be
// told of. It must run with sh.mu held.
func (v *View) claimRecent(uids []mail.UID) {
	i, _ := slices.BinarySearch(uids, v.sh.recentFrom)
	for _, u := range uids[i:] {
		v.recent = v.recent.Append(u)
	}
	if n := len(uids); v.claim && n > 0 {
		v.sh.recentFrom = max(v.sh.recentFrom, uids[n-1]+1)
	}
}

// Recent reports whether a message is recent in this session.
func (v *View) Recent(uid mail.UID) bool { return v.recent.Contains(uid) }

// RecentCount is the number of recent messages.
func (v *View) RecentCount() int { return v.recent.Count() }
