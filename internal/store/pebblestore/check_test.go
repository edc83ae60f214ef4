package pebblestore

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
)

// check returns the problems that a check finds.
func (r *rig) check() []string {
	r.Helper()
	var problems []string
	report, err := r.s.Check(r.ctx, CheckOptions{
		Problem:  func(where, text string) { problems = append(problems, where+": "+text) },
		Progress: func(string, int64, int64, string) {},
	})
	r.must(err)
	if report.Problems != int64(len(problems)) {
		r.Errorf("%d problems counted, %d told", report.Problems, len(problems))
	}
	return problems
}

// filled returns a store with messages of every layout.
func filled(t *testing.T) *rig {
	r := newRig(t, vfs.NewMem())
	for i, attachments := range [][][]byte{nil, {randomBytes(100, 1)}, {randomBytes(5000, 2)}, {randomBytes(300<<10, 3), randomBytes(5000, 2)}} {
		r.append(r.inbox, newMessage("check", strings.Repeat("text ", 4000*i), attachments...), "Delivered-To: a@b.test\r\n")
	}
	_, err := r.s.Copy(r.ctx, r.acct, r.inbox, r.inbox, mail.UIDSetOf(2, 3), 0)
	r.must(err)
	_, err = r.s.Expunge(r.ctx, r.acct, r.inbox, mail.UIDSetOf(1), false)
	r.must(err)
	return r
}

func TestCheckFindsNothingInAGoodStore(t *testing.T) {
	r := filled(t)
	if p := r.check(); len(p) != 0 {
		t.Errorf("problems: %q", p)
	}
	r.close()
	r.open()
	if p := r.check(); len(p) != 0 {
		t.Errorf("problems after reopening: %q", p)
	}
}

// Each kind of damage is found, and is named.
func TestCheckFindsDamage(t *testing.T) {
	first := func(r *rig, tab byte) (key, value []byte) {
		r.must(r.s.scan(accountKey(tab, r.acct), func(k, v []byte) error {
			key, value = append([]byte(nil), k...), append([]byte(nil), v...)
			return errStop
		}))
		if key == nil {
			t.Fatalf("no row in table %c", tab)
		}
		return key, value
	}
	remove := func(tab byte) func(*rig) {
		return func(r *rig) {
			k, _ := first(r, tab)
			r.must(r.s.db.Delete(k, pebble.Sync))
		}
	}
	flip := func(tab byte, at func(n int) int) func(*rig) {
		return func(r *rig) {
			k, v := first(r, tab)
			v[at(len(v))] ^= 1
			r.must(r.s.db.Set(k, v, pebble.Sync))
		}
	}
	last := func(n int) int { return n - 1 }
	zero := func(int) int { return 0 }
	for _, tt := range []struct {
		name, want string
		damage     func(*rig)
	}{
		{"document gone", "its document cannot be read", remove(tabDocument)},
		{"text gone", "its text cannot be read", remove(tabText)},
		{"text altered", "its text has checksum", flip(tabText, last)},
		{"message gone", "are counted", remove(tabHot)},
		{"message unseen", "unseen messages", flip(tabHot, zero)},
		{"date gone", "index by date", remove(tabDate)},
		{"head gone", "record of its state", remove(tabMailboxHead)},
		{"account head gone", "record of its state is missing", remove(tabAccountHead)},
		{"tombstone altered", "removed", flip(tabTombstone, zero)},
		{"journal altered", "journal", flip(tabJournal, zero)},
		{"document altered", "document cannot be read", flip(tabDocument, zero)},
		{"content altered", "its octets have hash", func(r *rig) {
			var key, value []byte
			r.must(r.s.scan([]byte{tabBlob}, func(k, v []byte) error {
				key, value = append([]byte(nil), k...), append([]byte(nil), v...)
				return errStop
			}))
			value[len(value)-1] ^= 1
			r.must(r.s.db.Set(key, value, pebble.Sync))
		}},
		{"use of content gone", "is not recorded", func(r *rig) {
			r.must(r.s.scan([]byte{tabBlobRef}, func(k, _ []byte) error {
				r.must(r.s.db.Delete(append([]byte(nil), k...), pebble.Sync))
				return errStop
			}))
		}},
		{"file altered", "its octets have hash", func(r *rig) {
			r.must(r.s.blobs.each(func(_ hash, path string) error {
				f, err := r.s.fs.Create(path, vfs.WriteCategoryUnspecified)
				r.must(err)
				_, err = f.Write([]byte("other"))
				r.must(err)
				return f.Close()
			}))
		}},
		{"file gone", "the content is missing", func(r *rig) {
			r.must(r.s.blobs.each(func(_ hash, path string) error { return r.s.fs.Remove(path) }))
		}},
		{"name without account", "its account is missing", func(r *rig) {
			r.must(r.s.db.Set(textKey(tabUsername, "ghost"), make([]byte, idSize), pebble.Sync))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := filled(t)
			tt.damage(r)
			all := strings.Join(r.check(), "\n")
			if !strings.Contains(all, tt.want) {
				t.Errorf("problems found:\n%s\nwant one with %q", all, tt.want)
			}
		})
	}
}
