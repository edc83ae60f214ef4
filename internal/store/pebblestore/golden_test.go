package pebblestore

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
)

// golden says what is in a golden store.
type golden struct {
	Account   string
	Mailboxes map[string]goldenBox
	Journal   int
	Records   map[string]string
	Aliases   map[string]string
	Addresses []string
	Names     []string `json:",omitempty"` // that are subscribed without a mailbox
}

type goldenBox struct {
	UIDNext  mail.UID
	ModSeq   mail.ModSeq
	Told     mail.UID
	Messages map[string]goldenMessage // by UID
}

type goldenMessage struct {
	SHA256    string
	Size      int64
	Flags     []string
	Date      time.Time
	MetaData  string
	EmailID   string
	ThreadID  string
	Envelope  string
	Summary   string
	PrefixLen int64
}

// describe reads everything that callers can see.
func (r *rig) describe() golden {
	r.Helper()
	g := golden{Mailboxes: map[string]goldenBox{}, Records: map[string]string{}, Aliases: map[string]string{}}
	a, err := r.s.AccountByName(r.ctx, "user")
	r.must(err)
	g.Account, r.acct = a.Username+" "+a.Address+fmt.Sprint(" ", a.StorageUsed), a.ID
	boxes, err := r.s.ListMailboxes(r.ctx, r.acct)
	r.must(err)
	for _, b := range boxes {
		told, err := r.s.TakeRecent(r.ctx, r.acct, b.ID, 0)
		r.must(err)
		box := goldenBox{b.UIDNext, b.HighestModSeq, told, map[string]goldenMessage{}}
		for row, err := range r.s.Fetch(r.ctx, r.acct, b.ID, store.FetchQuery{Fields: documentFields | store.FieldMeta}) {
			r.must(err)
			sum := sha256.Sum256(r.read(b.ID, row.UID))
			box.Messages[fmt.Sprint(row.UID)] = goldenMessage{
				hex.EncodeToString(sum[:]), row.Size, row.Flags.List(), row.InternalDate, row.MetaData,
				row.EmailID.String(), row.ThreadID.String(), string(row.Envelope), string(row.Summary), row.PrefixLen,
			}
		}
		g.Mailboxes[b.Path] = box
	}
	journal, err := r.s.ReadJournal(r.ctx, r.acct, mail.JournalID{}, 1000)
	r.must(err)
	g.Journal = len(journal)
	for k, v := range r.s.Records(r.ctx, "token") {
		g.Records[k] = string(v)
	}
	g.Aliases["alias.test"], err = r.s.DomainAlias(r.ctx, "alias.test")
	r.must(err)
	page, err := r.s.ListAddresses(r.ctx, store.AddressQuery{})
	r.must(err)
	for _, x := range page.Addresses {
		g.Addresses = append(g.Addresses, x.Address)
	}
	_, g.Names, err = r.s.Subscriptions(r.ctx, r.acct)
	r.must(err)
	return g
}

// makeGolden makes a store with one of everything: texts and content of each size, shared
// and not, flags, metadata, removed messages; in tables as well as in the log.
func makeGolden(t *testing.T, dir string) {
	o := options(vfs.Default)
	o.Dir = dir
	s, err := Open(t.Context(), o)
	r := &rig{TB: t, ctx: t.Context(), s: s}
	r.must(err)
	r.createAccount("user")
	_, err = r.s.CreateMailbox(r.ctx, r.acct, mail.Mailbox{Path: "Größe/Sent", SpecialUse: mail.UseSent, Subscribed: true}, 0)
	r.must(err)
	_, err = r.s.CreateAddress(r.ctx, mail.Address{Address: "Second@example.com", View: "second@example.com", Account: r.acct}, true)
	r.must(err)
	r.must(r.s.SetDomainAlias(r.ctx, "alias.test", "example.com"))
	r.must(r.s.PutRecord(r.ctx, "token", "abc", []byte("value")))
	b, err := r.s.CreateMailbox(r.ctx, r.acct, mail.Mailbox{Path: "Größe/gone", Subscribed: true}, 0)
	r.must(err)
	r.must(r.s.DeleteMailbox(r.ctx, r.acct, b.ID, 100))
	r.must(r.s.Subscribe(r.ctx, r.acct, "Größe", true, 100))
	for i, m := range []testMail{
		newMessage("inline", "short"), newMessage("own", strings.Repeat("a longer text ", 600)),
		newMessage("row", "x", randomBytes(5000, 1)), newMessage("file", "x", randomBytes(140_000, 2)),
		newMessage("chunks", strings.Repeat("many of the same lines\r\n", 12_000)), newMessage("shared", strings.Repeat("to several ", 200)),
		newMessage("gone", "x"),
	} {
		c := m.content()
		var b search.SignatureBuilder
		_, _ = b.Write(m.raw)
		c.Signature, c.References, c.Subject, c.Recipients = b.Finish(), []string{"ref@x"}, "subject", 1+i/5
		st, err := r.s.Stage(r.ctx, c)
		r.must(err)
		_, err = r.s.Append(r.ctx, r.acct, r.inbox, []store.Append{{
			Staged: st, Prefix: []byte(strings.Repeat("X: y\r\n", i)), InternalDate: time.Unix(1e9+int64(i), 0),
			Flags: mail.NewFlags(mail.SystemFlags(i), "kw"), MetaData: `{"n":1}`, Expires: time.Unix(4e9, 0),
		}})
		r.must(err)
		r.must(st.Close())
		if i == 3 {
			r.must(r.s.db.Flush())
		}
	}
	_, err = r.s.Copy(r.ctx, r.acct, r.inbox, r.trash, mail.UIDSetOf(2, 4), 0)
	r.must(err)
	_, err = r.s.Expunge(r.ctx, r.acct, r.inbox, mail.UIDSetOf(7), false)
	r.must(err)
	_, err = r.s.TakeRecent(r.ctx, r.acct, r.inbox, 3)
	r.must(err)
	r.must(maintain(r.ctx, r.s))
	g := r.describe()
	r.must(r.s.Close())
	text, err := json.MarshalIndent(g, "", "  ")
	r.must(err)
	r.must(os.WriteFile(dir+".json", append(text, '\n'), 0o600))
}

// Stores that earlier versions of the program made are opened, and everything is there.
// Each is opened in a copy, for reading only where it is of the present version.
func TestGoldenStores(t *testing.T) {
	// Stores of older versions are never made again.
	if os.Getenv("MALLARD_REWRITE_GOLDEN") != "" {
		dir := fmt.Sprintf("testdata/format-%d", formatVersion)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		makeGolden(t, dir)
	}
	for version := 1; version <= formatVersion; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			dir := fmt.Sprintf("testdata/format-%d", version)
			r := &rig{TB: t, ctx: t.Context()}
			text, err := os.ReadFile(dir + ".json")
			r.must(err)
			to := filepath.Join(t.TempDir(), "store")
			r.must(os.CopyFS(to, os.DirFS(dir)))
			o := options(vfs.Default)
			o.Dir = to
			for _, readOnly := range []bool{version == formatVersion, false, false} {
				o.ReadOnly = readOnly
				r.s, err = Open(r.ctx, o)
				r.must(err)
				if p := r.check(); len(p) > 0 {
					t.Errorf("read only %v: %q", readOnly, p)
				}
				got, err := json.MarshalIndent(r.describe(), "", "  ")
				r.must(err)
				if string(got)+"\n" != string(text) {
					t.Errorf("read only %v: the store holds\n%s\nwant\n%s", readOnly, got, text)
				}
				r.must(r.s.Close())
			}
		})
	}
}
