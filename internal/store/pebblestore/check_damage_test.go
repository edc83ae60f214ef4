package pebblestore

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
)

// everything is a store with rows in every table, in which nothing is removed in the
// background any more.
func everything(t *testing.T) *rig {
	o := options(vfs.NewMem())
	o.SweepInterval, o.deletionStep = time.Hour, 1000
	s, err := Open(t.Context(), o)
	r := &rig{TB: t, ctx: t.Context(), fs: o.FS, s: s}
	r.must(err)
	t.Cleanup(r.close)
	r.createAccount("user")
	_, err = r.s.CreateAddress(r.ctx, mail.Address{Address: "Second@example.com", View: "second@example.com", Account: r.acct, Tags: []string{"T"}}, false)
	r.must(err)
	_, err = r.s.CreateAddress(r.ctx, mail.Address{Address: "forward@example.com", View: "forward@example.com"}, false)
	r.must(err)
	r.must(r.s.SetDomainAlias(r.ctx, "alias.test", "example.com"))
	r.must(r.s.PutRecord(r.ctx, "token", "abc", []byte(`{"a":1}`)))
	r.must(r.s.Subscribe(r.ctx, r.acct, "not there", true, 100))
	for _, m := range []testMail{
		newMessage("plain", "short"), newMessage("text", strings.Repeat("text ", 2000), randomBytes(5000, 2)),
		newMessage("both", strings.Repeat("more ", 2000), randomBytes(200<<10, 3), randomBytes(5000, 2)), newMessage("gone", "x"),
	} {
		c := m.content()
		var b search.SignatureBuilder
		_, _ = b.Write(m.raw)
		c.Signature, c.References, c.Subject = b.Finish(), []string{"ref@x"}, "subject"
		st, err := r.s.Stage(r.ctx, c)
		r.must(err)
		_, err = r.s.Append(r.ctx, r.acct, r.inbox, []store.Append{{
			Staged: st, Prefix: []byte("X: y\r\n"), InternalDate: time.Unix(1e9, 0), Flags: mail.NewFlags(mail.Answered, "kw"), MetaData: `{"n":1}`, Origin: "session",
		}})
		r.must(err)
		r.must(st.Close())
	}
	_, err = r.s.Copy(r.ctx, r.acct, r.inbox, r.trash, mail.UIDSetOf(2, 3), 0)
	r.must(err)
	_, err = r.s.Expunge(r.ctx, r.acct, r.inbox, mail.UIDSetOf(4), false)
	r.must(err)
	// Content that was staged and not used, with its note. Nobody wakes the sweeper, which
	// would remove both.
	data := randomBytes(4000, 7)
	h := hash(sha256.Sum256(data))
	b := r.s.db.NewBatch()
	set(b, hashKey(tabBlob, h), appendPlain(nil, data))
	set(b, garbageKey(h, mail.AccountID{}, mail.EmailID{}), []byte{contentRow})
	r.must(b.Commit(pebble.Sync))
	if p := r.check(); len(p) != 0 {
		t.Fatalf("problems of a good store: %q", p)
	}
	return r
}

// hashIn returns the hash in a key, zero when there is none.
func (r *rig) hashIn(key []byte) (h hash) {
	copy(h[:], key[1:])
	return h
}

// row is a row of the database.
type row struct{ key, value []byte }

// rowsOf returns rows of a table of the whole store, or of the account.
func (r *rig) rowsOf(tab byte, owned bool) (out []row) {
	prefix := []byte{tab}
	if owned {
		prefix = accountKey(tab, r.acct)
	}
	r.must(r.s.scan(prefix, func(k, v []byte) error {
		out = append(out, row{slices.Clone(k), slices.Clone(v)})
		return nil
	}))
	return out
}

// unchecked says for some tables why not every damage to a row can be seen from the
// rows themselves. All of it is seen on the disk, where each block has a checksum.
type unchecked struct{ removed, altered, added string }

func uncheckable() map[byte]unchecked {
	return map[byte]unchecked{
		tabMeta:        {altered: "the run may have any number, and may have ended in any way", added: "there is one key"},
		tabAccount:     {altered: "what is only in the JSON stands nowhere else"},
		tabAddressView: {altered: "what is only in the JSON stands nowhere else"},
		tabDomainAlias: {"nothing depends on it", "it may be any domain", "it may be any domain"},
		tabRecord:      {"nothing depends on it", "it may be anything", "it may be anything"},
		tabGarbage:     {altered: "it may be of either kind", added: "notes may outlive content"},
		tabAccountHead: {altered: "a reservation may have any size; when the journal was trimmed is known nowhere else", added: "there is one key"},
		tabSubscribed:  {removed: "nothing depends on it", added: "it may be any path"},
		tabMailbox:     {altered: "subscription, use, retention and date stand nowhere else"},
		tabMailboxHead: {altered: "a reservation may have any size"},
		tabHot:         {altered: "\\Answered, \\Flagged and \\Draft are not counted"},
		tabExtra:       {altered: "any expiry and any JSON is good"},
		tabJournal:     {removed: "changes that are not the last of a message", altered: "times and origins may be any", added: "changes may be of messages that are gone"},
		tabThread:      {"it is a hint: the next reply starts a conversation", "it may be any conversation", "it may be any reference"},
		tabSignature:   {removed: "a message need not have one", altered: "it may be the signature of any text"},
		tabDocument:    {altered: "what is derived from the message, and its prefix, have no checksum of their own"},
	}
}

// damaged runs a check with some rows changed, and puts them back.
func (r *rig) damaged(change func(b *pebble.Batch), original ...row) []string {
	r.Helper()
	b := r.s.db.NewBatch()
	change(b)
	r.must(b.Commit(pebble.NoSync))
	problems := r.check()
	b = r.s.db.NewBatch()
	for _, x := range original {
		if x.value == nil {
			del(b, x.key)
		} else {
			set(b, x.key, x.value)
		}
	}
	r.must(b.Commit(pebble.NoSync))
	return problems
}

// Every table is damaged in every way: a row is removed, an octet of a value is changed,
// a row is added. The check reports it, or there is a reason why it cannot.
func TestCheckFindsDamageInEveryTable(t *testing.T) {
	r := everything(t)
	for _, tables := range []struct {
		names string
		owned bool
	}{{strings.Trim(storeTables, "Gu"), false}, {accountTables, true}} {
		for i := range len(tables.names) {
			tab := tables.names[i]
			t.Run(string(tab), func(t *testing.T) {
				all, known := r.rowsOf(tab, tables.owned), uncheckable()[tab]
				if len(all) == 0 {
					t.Fatal("the table is empty")
				}
				removed, altered, added := 0, 0, 0
				for _, x := range all[:min(len(all), 4)] {
					if used, err := r.s.referenced(r.hashIn(x.key)); tab == tabBlob && (err != nil || !used) {
						continue // it may go at any time
					}
					if p := r.damaged(func(b *pebble.Batch) { del(b, x.key) }, x); len(p) == 0 {
						removed++
						t.Logf("removal of %q is not seen", x.key)
					}
					for at := 0; at < len(x.value); at += max(1, len(x.value)/60) {
						v := slices.Clone(x.value)
						v[at] ^= 1 << (at % 7)
						if p := r.damaged(func(b *pebble.Batch) { set(b, x.key, v) }, x); len(p) == 0 {
							altered++
							t.Logf("change of octet %d of %d of %q is not seen", at, len(v), x.key)
						}
					}
					stray := slices.Clone(x.key)
					stray[len(stray)-1] ^= 0x10
					if p := r.damaged(func(b *pebble.Batch) { set(b, stray, x.value) }, row{stray, nil}); len(p) == 0 {
						added++
						t.Logf("%q is not seen", stray)
					}
				}
				for _, kind := range []struct {
					what, reason string
					missed       int
				}{{"removed", known.removed, removed}, {"altered", known.altered, altered}, {"added", known.added, added}} {
					if kind.missed > 0 && kind.reason == "" {
						t.Errorf("%d rows that were %s are not seen", kind.missed, kind.what)
					}
				}
			})
		}
	}
	if p := r.check(); len(p) > 0 {
		t.Errorf("after all was put back: %q", p)
	}
}

// Rows that belong to nothing, and rows that would make the background remove what is
// there, are reported, and what is there stays.
func TestCheckFindsStrays(t *testing.T) {
	r := everything(t)
	nobody, nowhere := mail.AccountID{9}, mail.MailboxID{9}
	for _, tt := range []struct {
		name, want string
		key        []byte
	}{
		{"unknown table", "unknown table", []byte("!x")},
		{"unknown table of an account", "unknown table", accountKey('!', r.acct)},
		{"row beside the record of runs", "unknown table", []byte{tabMeta, 'x'}},
		{"row of an unknown account", "it does not exist, but there are rows", accountKey(tabAccountHead, nobody)},
		{"row of an unknown mailbox", "it does not exist, but there are rows of table 'm'", uidKey(tabHot, r.acct, nowhere, 1)},
		{"deletion of an account that is there", "it is noted as deleted", deletionKey(r.acct, mail.MailboxID{})},
		{"deletion of a mailbox that is there", "it is noted as deleted", deletionKey(r.acct, r.inbox)},
		{"deletion of nothing", "deletions", []byte{tabDeletion, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := r.damaged(func(b *pebble.Batch) { set(b, tt.key, nil) }, row{tt.key, nil})
			if !strings.Contains(strings.Join(p, "\n"), tt.want) {
				t.Errorf("problems %q, want one with %q", p, tt.want)
			}
		})
	}
	for _, key := range [][]byte{deletionKey(r.acct, mail.MailboxID{}), deletionKey(r.acct, r.inbox)} {
		r.must(r.s.db.Set(key, nil, pebble.Sync))
	}
	r.must(r.s.runDeletions(func() bool { return false }))
	if p := r.check(); len(p) > 0 {
		t.Errorf("after the background has met them: %q", p)
	}
	r.read(r.inbox, 1)
}

// Files of content are cut, altered, emptied, made longer, removed, added.
func TestCheckFindsDamagedFiles(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		change     func(r *rig, path string, data []byte) error
	}{
		{"cut", "its octets have hash", func(r *rig, path string, data []byte) error { return writeFile(r.fs, path, data[:len(data)-1]) }},
		{"emptied", "its octets have hash", func(r *rig, path string, _ []byte) error { return writeFile(r.fs, path, nil) }},
		{"altered", "its octets have hash", func(r *rig, path string, data []byte) error {
			data[len(data)/2] ^= 1
			return writeFile(r.fs, path, data)
		}},
		{"longer", "its octets have hash", func(r *rig, path string, data []byte) error { return writeFile(r.fs, path, append(data, 0)) }},
		{"removed", "the content is missing", func(r *rig, path string, _ []byte) error { return r.fs.Remove(path) }},
		{"added", "nothing refers to it", func(r *rig, path string, data []byte) error {
			return writeFile(r.fs, path[:len(path)-1]+string("0123456789abcdef"[(strings.IndexByte("0123456789abcdef", path[len(path)-1])+1)%16]), data)
		}},
		{"too short for a file", "should be in the database", func(r *rig, _ string, _ []byte) error {
			path := r.s.blobs.path(sha256.Sum256([]byte("short")))
			return errors.Join(r.fs.MkdirAll(r.fs.PathDir(path), 0o700), writeFile(r.fs, path, []byte("short")))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := everything(t)
			var path string
			r.must(r.s.blobs.each(func(_ hash, p string) error { path = p; return nil }))
			data := make([]byte, 200<<10)
			f, err := r.fs.Open(path)
			r.must(err)
			_, err = f.ReadAt(data, 0)
			r.must(err)
			r.must(f.Close())
			r.must(tt.change(r, path, data))
			p := strings.Join(r.check(), "\n")
			if !strings.Contains(p, tt.want) || !strings.Contains(p, r.s.blobs.dir) && !strings.Contains(p, "content ") {
				t.Errorf("problems %s, want one with %q and the file", p, tt.want)
			}
		})
	}
}

// A report is the same for scripts: counts have names that JSON can hold.
func TestCheckReportIsJSON(t *testing.T) {
	report, err := everything(t).s.Check(t.Context(), CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := json.Marshal(report); err != nil || !strings.Contains(string(b), `"messages":5`) {
		t.Errorf("%s (%v)", b, err)
	}
}
