package pebblestore

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Check tells of names that are subscribed without a mailbox and have one, and of what is
// none.
func TestCheckSubscribedNames(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.must(r.s.Subscribe(r.ctx, r.acct, "Größe/not there", true, 100))
	if p := r.check(); len(p) > 0 {
		t.Fatalf("problems of a good store: %q", p)
	}
	for _, tt := range []struct {
		path, value, want string
	}{
		{"INBOX", "", `"INBOX" is subscribed as a path without a mailbox, but there is one`},
		{"", "", "makes no sense"},
		{"\xff", "", "makes no sense"},
		{"x", "x", "makes no sense"},
	} {
		key := accountTextKey(tabSubscribed, r.acct, tt.path)
		r.must(r.s.db.Set(key, []byte(tt.value), pebble.Sync))
		if p := r.check(); len(p) != 1 || !strings.Contains(p[0], tt.want) {
			t.Errorf("%q with %q: problems %q, want one with %q", tt.path, tt.value, p, tt.want)
		}
		r.must(r.s.db.Delete(key, pebble.Sync))
	}
}
