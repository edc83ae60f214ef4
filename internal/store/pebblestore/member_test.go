package pebblestore

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
)

// A store of version 1 has no index by conversation: the upgrade makes it.
func TestUpgradeIndexesConversations(t *testing.T) {
	r, mem := upgradable(t)
	o := options(mem)
	o.version = 1
	s, err := Open(r.ctx, o)
	r.must(err)
	r.s = s
	const n = 40
	for range n {
		r.append(r.trash, newMessage("more", "text"), "")
	}
	_, err = s.Move(r.ctx, r.acct, r.trash, r.inbox, mail.OneUID(3))
	r.must(err)
	prefix := accountKey(tabMember, r.acct)
	r.must(s.db.DeleteRange(prefix, after(prefix), pebble.Sync))
	r.close()

	r.open()
	if got := r.rows(accountKey(tabMember, r.acct)); got != n+1 {
		t.Errorf("%d messages are in the index, want %d", got, n+1)
	}
	report, err := r.s.Check(r.ctx, CheckOptions{})
	if r.must(err); report.Problems > 0 {
		t.Errorf("check: %d problems", report.Problems)
	}
	r.must(indexMembers(context.Background(), r.s)) // once more, as after a crash
	if got := r.rows(accountKey(tabMember, r.acct)); got != n+1 {
		t.Errorf("%d messages are in the index after a second run", got)
	}
}

// Check tells what the index by conversation has too much and too little.
func TestCheckConversations(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	a := r.append(r.inbox, newMessage("a", "text"), "")
	key := appendMemberKey(nil, r.acct, a.ThreadID, r.inbox, a.UID)
	stray := appendMemberKey(nil, r.acct, a.ThreadID, r.inbox, a.UID+1)
	for _, tc := range []struct {
		what        string
		remove, add []byte
		problems    int64
	}{
		{"whole", nil, nil, 0},
		{"missing", key, nil, 1},
		{"too much", nil, stray, 2}, // the entry, and their number
		{"short", nil, stray[:len(stray)-1], 1},
	} {
		if tc.remove != nil {
			r.must(r.s.db.Delete(tc.remove, pebble.Sync))
		}
		if tc.add != nil {
			r.must(r.s.db.Set(tc.add, nil, pebble.Sync))
		}
		report, err := r.s.Check(r.ctx, CheckOptions{})
		if r.must(err); report.Problems != tc.problems {
			t.Errorf("%s: %d problems, want %d", tc.what, report.Problems, tc.problems)
		}
		r.must(r.s.db.Set(key, nil, pebble.Sync))
		if tc.add != nil {
			r.must(r.s.db.Delete(tc.add, pebble.Sync))
		}
	}
}
