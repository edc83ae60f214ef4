package account_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mallard/internal/account"
	"mallard/internal/event"
	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// markHasher stands in for the slow hash: tests here look at where a hash goes.
type markHasher struct{}

func (markHasher) Hash(_ context.Context, p string) (string, error) { return "hash of " + p, nil }

func (markHasher) Validate(h string) error {
	if !strings.HasPrefix(h, "$") {
		return errors.New("no such format")
	}
	return nil
}

// eventLog keeps what is published.
type eventLog struct {
	mu     sync.Mutex
	events []event.Event
}

func (l *eventLog) Publish(_ context.Context, e event.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	return nil
}

func (l *eventLog) take() []event.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.events
	l.events = nil
	return out
}

type env struct {
	*account.Service
	db     *memstore.Store
	events *eventLog
	clock  *clock
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newEnv(t *testing.T, change ...func(*account.Options)) *env {
	t.Helper()
	c := &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	e := &env{db: memstore.New(memstore.Options{Mangle: true, Now: c.Now}), events: &eventLog{}, clock: c}
	o := account.Options{Store: e.db, Hasher: markHasher{}, Events: e.events, EmailDomain: "Example.COM", Now: c.Now}
	for _, f := range change {
		f(&o)
	}
	var err error
	if e.Service, err = account.New(o); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *env) create(t *testing.T, in account.NewUser) *mail.Account {
	t.Helper()
	a, err := e.Create(t.Context(), in)
	if err != nil {
		t.Fatalf("create %s: %v", in.Username, err)
	}
	return a
}

func wantCode(t *testing.T, err error, code mail.Code, sentinel error) {
	t.Helper()
	if err == nil || mail.CodeOf(err) != code {
		t.Errorf("error %v, want code %v", err, code)
	}
	if sentinel != nil && !errors.Is(err, sentinel) {
		t.Errorf("error %v, want %v in its chain", err, sentinel)
	}
}

func TestCreateMainAddress(t *testing.T) {
	for _, tc := range []struct {
		name, username, address string
		none                    bool
		want                    string // of the main address, "" for none
		code                    mail.Code
		err                     error
	}{
		{name: "given", username: "alice", address: "Alice.Roe@Example.TEST", want: "alice.roe@example.test"},
		{name: "label is cut", username: "b", address: "b+x@x.y", want: "b@x.y"},
		{name: "IDN", username: "c", address: "C@XN--JGEVA-DUA.test", want: "c@jõgeva.test"},
		{name: "username is an address", username: "bob@example.net", want: "bob@example.net"},
		{name: "from username", username: "Carol.C", want: "carol.c@example.com"},
		{name: "username with a part that is no domain", username: "dora@under_score", want: "dora@example.com"},
		{name: "none wanted", username: "erik", address: "erik@x.y", none: true},
		{name: "asterisk", username: "f", address: "a*b@x.y", code: mail.CodeInvalid},
		{name: "only a label", username: "g", address: "+x@x.y", code: mail.CodeInvalid},
		{name: "no address", username: "h", address: "nonsense", code: mail.CodeInvalid},
		{name: "username", username: "a b", code: mail.CodeInvalid},
		{name: "no username", username: "", code: mail.CodeInvalid},
		{name: "long username", username: strings.Repeat("x", 129), code: mail.CodeInvalid},
		{name: "taken", username: "T.Aken", code: mail.CodeExists, err: account.ErrUsernameTaken},
		{name: "address taken", username: "other", address: "t.a.k.e.n@example.com", code: mail.CodeExists, err: account.ErrAddressTaken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEnv(t)
			e.create(t, account.NewUser{Username: "taken", Password: account.Password{Text: "x"}})
			a, err := e.Create(t.Context(), account.NewUser{Username: tc.username, Address: tc.address, NoAddress: tc.none})
			if tc.code != 0 {
				wantCode(t, err, tc.code, tc.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if a.Address != tc.want || a.Username != strings.ToLower(tc.username) {
				t.Errorf("created %q with address %q, want %q", a.Username, a.Address, tc.want)
			}
			rows, err := e.AccountAddresses(t.Context(), a.ID)
			if err != nil || (len(rows) == 1) != (tc.want != "") {
				t.Fatalf("%d address rows, %v", len(rows), err)
			}
		})
	}
}

func TestCreateStores(t *testing.T) {
	e := newEnv(t)
	a := e.create(t, account.NewUser{
		Username: "alice", Password: account.Password{Text: "secret"}, TagsOnAddress: true,
		Profile: account.Profile{
			Name: new("Alice"), Tags: []string{" Staff", "blue", "STAFF", ""}, Quota: new(int64(7)), Targets: []string{"x@far.test", "smtps://mx.test:25", "http://h.test/x", "x@far.test"},
			FromWhitelist: []string{"*@Carol.TEST", "Info@Example.com"}, DisabledScopes: []string{"smtp", "imap", "imap"},
			MetaData: new(`{"k":1}`), FeatureFlags: map[string]bool{"indexing": true}, MTARelay: new("smtp://relay.test:25"), UploadSent: new(true),
		},
	})
	got, err := e.Get(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Targets) != 3 || got.Targets[0].ID.IsZero() || got.Targets[0].ID == got.Targets[1].ID {
		t.Errorf("targets %v", got.Targets)
	}
	for i := range got.Targets {
		got.Targets[i].ID = mail.MessageID{}
	}
	want := &mail.Account{
		ID: a.ID, Username: "alice", Name: "Alice", Password: "hash of secret", Address: "alice@example.com", Quota: 7, SpamLevel: 50,
		Targets: []mail.Target{{Type: "mail", Value: "x@far.test"}, {Type: "relay", Value: "smtps://mx.test:25"}, {Type: "http", Value: "http://h.test/x"}},
		Tags:    []string{"blue", "Staff"}, FromWhitelist: []string{"*@carol.test", "info@example.com"}, DisabledScopes: []string{"imap", "smtp"},
		MetaData: `{"k":1}`, FeatureFlags: map[string]bool{"indexing": true}, MTARelay: "smtp://relay.test:25", UploadSent: true,
		SMIMECipher: "AES-CBC", SMIMETransport: "PKCS#1 v1.5", AuthVersion: 1, Activated: true, Created: e.clock.Now(),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	rows, err := e.AccountAddresses(t.Context(), a.ID)
	if err != nil || len(rows) != 1 || !slices.Equal(rows[0].Tags, want.Tags) {
		t.Errorf("rows %v, %v", rows, err)
	}
}

func TestCreatePassword(t *testing.T) {
	e := newEnv(t)
	temp := e.create(t, account.NewUser{Username: "temp", Password: account.Password{Text: "x"}, RequirePasswordChange: true})
	if temp.Password != "" || temp.TempPassword == nil || temp.TempPassword.Hash != "hash of x" || !temp.TempPassword.Created.Equal(e.clock.Now()) {
		t.Errorf("temporary password: %+v, master %q", temp.TempPassword, temp.Password)
	}
	if a := e.create(t, account.NewUser{Username: "none", RequirePasswordChange: true}); a.Password != "" || a.TempPassword != nil {
		t.Errorf("without a password: %+v", a)
	}
	if a := e.create(t, account.NewUser{Username: "hashed", Password: account.Password{Text: "$1$x", Hashed: true}}); a.Password != "$1$x" {
		t.Errorf("hashed: %q", a.Password)
	}
	_, err := e.Create(t.Context(), account.NewUser{Username: "bad", Password: account.Password{Text: "plain", Hashed: true}})
	wantCode(t, err, mail.CodeInvalid, account.ErrPasswordHash)
	_, err = e.Create(t.Context(), account.NewUser{Username: "long", Password: account.Password{Text: strings.Repeat("x", account.MaxPassword+1)}})
	wantCode(t, err, mail.CodeInvalid, nil)
	_, err = e.FindByName(t.Context(), "bad")
	wantCode(t, err, mail.CodeNoAccount, nil)
}

func TestCreateRefusesBadValues(t *testing.T) {
	e := newEnv(t)
	for name, p := range map[string]account.Profile{
		"quota":       {Quota: new(int64(-1))},
		"retention":   {Retention: new(-time.Second)},
		"spam level":  {SpamLevel: new(101)},
		"relay":       {MTARelay: new("http://x.y")},
		"target":      {Targets: []string{"nonsense"}},
		"target ftp":  {Targets: []string{"ftp://x.y"}},
		"empty relay": {Targets: []string{"smtp://"}},
		"scope":       {DisabledScopes: []string{"ftp"}},
		"tag":         {Tags: []string{strings.Repeat("x", account.MaxTag+1)}},
		"meta array":  {MetaData: new(`[1]`)},
		"meta broken": {MetaData: new(`{"a"`)},
		"internal":    {InternalData: new(`1`)},
		"both keys":   {PublicKey: new("k"), SMIMECerts: []string{"c"}},
	} {
		_, err := e.Create(t.Context(), account.NewUser{Username: "u", Profile: p})
		if err == nil {
			t.Errorf("%s was accepted", name)
			continue
		}
		wantCode(t, err, mail.CodeInvalid, nil)
	}
	for name, p := range map[string]account.Profile{
		"tags": {Tags: make([]string, 1001)}, "whitelist": {FromWhitelist: make([]string, 1001)}, "targets": {Targets: make([]string, 1001)},
		"meta": {MetaData: new(`{"a":"` + strings.Repeat("x", account.MaxObject) + `"}`)},
	} {
		if _, err := e.Create(t.Context(), account.NewUser{Username: "u", Profile: p}); mail.CodeOf(err) != mail.CodeLimit {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDefaultMailboxes(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		name, language     string
		folders            account.FolderNames
		retention          time.Duration
		want               map[string]string // special use to path
		retainBox, retainT time.Duration
		bad                bool
	}{
		{name: "English", want: map[string]string{"": "INBOX", `\Sent`: "Sent Mail", `\Trash`: "Trash", `\Drafts`: "Drafts", `\Junk`: "Junk"}, retainT: 30 * day},
		{name: "German", language: "de_DE", retention: day, want: map[string]string{"": "INBOX", `\Sent`: "Gesendet", `\Trash`: "Gelöscht", `\Drafts`: "Entwürfe", `\Junk`: "Spam"}, retainBox: day, retainT: day},
		{name: "Portuguese", language: "PT-br", retention: 90 * day, want: map[string]string{"": "INBOX", `\Sent`: "Enviados", `\Trash`: "Lixeira", `\Drafts`: "Rascunhos", `\Junk`: "Spam"}, retainBox: 90 * day, retainT: 30 * day},
		{name: "unknown", language: "tlh", want: map[string]string{"": "INBOX", `\Sent`: "Sent Mail", `\Trash`: "Trash", `\Drafts`: "Drafts", `\Junk`: "Junk"}, retainT: 30 * day},
		{name: "own names", folders: account.FolderNames{Sent: "A/Sent", Trash: "Bin", Junk: "Spam", Drafts: "inbox/Drafts"}, want: map[string]string{"": "INBOX", `\Sent`: "A/Sent", `\Trash`: "Bin", `\Drafts`: "INBOX/Drafts", `\Junk`: "Spam"}, retainT: 30 * day},
		{name: "duplicate", folders: account.FolderNames{Sent: "Same", Trash: "Same"}, bad: true},
		{name: "duplicate of a default", folders: account.FolderNames{Sent: "Junk"}, bad: true},
		{name: "inbox", folders: account.FolderNames{Junk: "inbox"}, bad: true},
		{name: "bad name", folders: account.FolderNames{Junk: "a//b"}, bad: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEnv(t)
			a, err := e.Create(t.Context(), account.NewUser{
				Username: "u", Folders: tc.folders, Profile: account.Profile{Language: &tc.language, Retention: &tc.retention},
			})
			if tc.bad {
				wantCode(t, err, mail.CodeInvalid, nil)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			boxes, err := e.db.ListMailboxes(t.Context(), a.ID)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, b := range boxes {
				got[string(b.SpecialUse)] = b.Path
				want := tc.retainBox
				if b.SpecialUse == mail.UseTrash || b.SpecialUse == mail.UseJunk {
					want = tc.retainT
				}
				if b.Retention != want || !b.Subscribed {
					t.Errorf("%s: retention %v, want %v; subscribed %v", b.Path, b.Retention, want, b.Subscribed)
				}
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestLanguageFolders looks at all languages at once: names that cannot be made or
// that collide would only be found by the users of that language.
func TestLanguageFolders(t *testing.T) {
	seen := map[account.FolderNames]string{}
	for _, lang := range strings.Fields("cs da de es et fi fr hu it ja lt lv nb nl pl pt ro ru sk sv tr uk zh en") {
		f := account.LanguageFolders(lang)
		names := []string{f.Sent, f.Trash, f.Drafts, f.Junk}
		for i, n := range names {
			if c, err := mail.CanonicalName(n); err != nil || c != n || slices.Contains(names[:i], n) {
				t.Errorf("%s: %q: %v", lang, n, err)
			}
		}
		if other, ok := seen[f]; ok {
			t.Errorf("%s has the names of %s", lang, other)
		}
		seen[f] = lang
	}
}

func TestCreateIsAtomicAmongMany(t *testing.T) {
	e := newEnv(t)
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wg.Go(func() {
			name := "us.er"
			if i%2 == 0 {
				name = "u.ser"
			}
			_, errs[i] = e.Create(context.Background(), account.NewUser{Username: name})
		})
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
			continue
		}
		if !errors.Is(err, account.ErrUsernameTaken) {
			t.Errorf("%v", err)
		}
	}
	if made != 1 {
		t.Errorf("%d accounts with one username", made)
	}
}

func TestUpdate(t *testing.T) {
	e := newEnv(t)
	a := e.create(t, account.NewUser{Username: "alice", Password: account.Password{Text: "old"}, RequirePasswordChange: true, Profile: account.Profile{
		Name: new("A"), Targets: []string{"x@y.z"}, FeatureFlags: map[string]bool{"a": true}, Tags: []string{"t"},
	}})
	e.events.take()

	b, err := e.Update(t.Context(), a.ID, account.Changes{Profile: account.Profile{
		Targets: []string{"new@y.z", "x@y.z"}, FeatureFlags: map[string]bool{"b": true}, Quota: new(int64(9)), Tags: []string{},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if b.Name != "A" || b.Quota != 9 || len(b.Tags) != 0 || !b.FeatureFlags["a"] || !b.FeatureFlags["b"] {
		t.Errorf("updated: %+v", b)
	}
	if b.Targets[1].ID != a.Targets[0].ID || b.Targets[0].ID.IsZero() {
		t.Errorf("targets %v, before %v", b.Targets, a.Targets)
	}
	if b.AuthVersion != 1 || len(e.events.take()) != 0 {
		t.Error("an ordinary change ended sessions")
	}

	b, err = e.Update(t.Context(), a.ID, account.Changes{Password: &account.Password{Text: "new"}})
	if err != nil {
		t.Fatal(err)
	}
	if b.Password != "hash of new" || b.TempPassword != nil || b.AuthVersion != 2 || !b.PasswordChange.Equal(e.clock.Now()) {
		t.Errorf("after a password change: %+v", b)
	}
	want := []event.Event{{Account: a.ID, Kind: event.Logout, Reason: account.AuthenticationRequired}}
	if d := cmp.Diff(want, e.events.take()); d != "" {
		t.Error(d)
	}

	b, err = e.Update(t.Context(), a.ID, account.Changes{Suspended: new(true)})
	if err != nil || !b.Suspended || b.AuthVersion != 3 || len(e.events.take()) != 1 {
		t.Errorf("suspended: %+v, %v", b, err)
	}
	b, err = e.Update(t.Context(), a.ID, account.Changes{Suspended: new(false), Password: &account.Password{}})
	if err != nil || b.Suspended || b.AuthVersion != 4 || b.Password != "" {
		t.Errorf("resumed without a password: %+v, %v", b, err)
	}

	_, err = e.Update(t.Context(), a.ID, account.Changes{Password: &account.Password{Text: "x", Hashed: true}})
	wantCode(t, err, mail.CodeInvalid, account.ErrPasswordHash)
	_, err = e.Update(t.Context(), mail.AccountID{1}, account.Changes{Password: &account.Password{Text: "x"}})
	wantCode(t, err, mail.CodeNoAccount, nil)
	_, err = e.Update(t.Context(), mail.AccountID{1}, account.Changes{})
	wantCode(t, err, mail.CodeNoAccount, nil)
}

func TestUpdateKeys(t *testing.T) {
	e := newEnv(t)
	a := e.create(t, account.NewUser{Username: "alice", Profile: account.Profile{SMIMECerts: []string{"c"}, SMIMECipher: new("AES-GCM")}})
	b, err := e.Update(t.Context(), a.ID, account.Changes{Profile: account.Profile{PublicKey: new("pgp")}})
	if err != nil || b.PublicKey != "pgp" || len(b.SMIMECerts) != 0 || b.SMIMECipher != "AES-CBC" {
		t.Errorf("after PGP: %+v, %v", b, err)
	}
	b, err = e.Update(t.Context(), a.ID, account.Changes{Profile: account.Profile{SMIMECerts: []string{"d"}}})
	if err != nil || b.PublicKey != "" || len(b.SMIMECerts) != 1 {
		t.Errorf("after S/MIME: %+v, %v", b, err)
	}
}

func TestResetPassword(t *testing.T) {
	e := newEnv(t)
	a := e.create(t, account.NewUser{Username: "alice", Password: account.Password{Text: "old"}})
	later := e.clock.Now().Add(time.Hour)
	password, after, err := e.ResetPassword(t.Context(), a.ID, later)
	if err != nil || !after.Equal(later) || len(password) != 12 {
		t.Fatalf("%q, %v, %v", password, after, err)
	}
	b, err := e.Get(t.Context(), a.ID)
	if err != nil || b.Password != "hash of old" || b.TempPassword == nil || b.TempPassword.Hash != "hash of "+password || !b.TempPassword.ValidAfter.Equal(later) {
		t.Errorf("%+v, %v", b, err)
	}
	if again, _, _ := e.ResetPassword(t.Context(), a.ID, time.Time{}); again == password {
		t.Error("the same password twice")
	}
	_, _, err = e.ResetPassword(t.Context(), mail.AccountID{1}, later)
	wantCode(t, err, mail.CodeNoAccount, nil)
}

func TestFindLogin(t *testing.T) {
	e := newEnv(t)
	alice := e.create(t, account.NewUser{Username: "a.lice", Address: "first.last@example.com"})
	bob := e.create(t, account.NewUser{Username: "bob@example.net", NoAddress: true})
	shadow := e.create(t, account.NewUser{Username: "first.last@example.com", NoAddress: true})
	if _, err := e.AddAddress(t.Context(), alice.ID, account.NewAddress{Address: "*@wild.test", AllowWildcard: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddForwarded(t.Context(), account.NewForwarded{Address: "fwd@example.com", Targets: []string{"x@y.z"}}); err != nil {
		t.Fatal(err)
	}
	e.create(t, account.NewUser{Username: "fwd@example.com", NoAddress: true})
	if err := e.AddDomainAlias(t.Context(), "alias.test", "example.com"); err != nil {
		t.Fatal(err)
	}
	for login, want := range map[string]mail.AccountID{
		"alice": alice.ID, "A.Lice": alice.ID, " alice ": alice.ID, "First.Last+x@Example.COM": alice.ID, "firstlast@alias.test": alice.ID,
		"bob@example.net": bob.ID, "b.ob+x@EXAMPLE.net": bob.ID,
		"nobody": {}, "any@wild.test": {}, "*@wild.test": {}, "fwd@example.com": {}, "": {}, "@": {}, "x@": {}, "@example.net": {},
		strings.Repeat("x", 5000): {}, "first.last@example.org": {},
	} {
		a, err := e.FindLogin(t.Context(), login)
		if want.IsZero() {
			wantCode(t, err, mail.CodeNoAccount, nil)
			continue
		}
		if err != nil || a.ID != want {
			t.Errorf("FindLogin(%q): %+v, %v", login, a, err)
		}
	}
	if a, err := e.FindByName(t.Context(), "first.last@example.com"); err != nil || a.ID != shadow.ID {
		t.Errorf("FindByName of a username that is somebody's address: %v, %v", a, err)
	}
}

func TestDeleteAndList(t *testing.T) {
	e := newEnv(t)
	a := e.create(t, account.NewUser{Username: "alice", Profile: account.Profile{Tags: []string{"Blue"}}})
	e.create(t, account.NewUser{Username: "bob"})
	page, err := e.List(t.Context(), store.AccountQuery{Limit: 10, Tags: []string{" BLUE"}})
	if err != nil || page.Total != 1 || page.Accounts[0].ID != a.ID {
		t.Errorf("list by tag: %+v, %v", page, err)
	}
	page, err = e.List(t.Context(), store.AccountQuery{Limit: 10, Contains: "ALI"})
	if err != nil || page.Total != 1 {
		t.Errorf("list by text: %+v, %v", page, err)
	}
	if err := e.EndSessions(t.Context(), a.ID, ""); err != nil {
		t.Fatal(err)
	}
	if err := e.Delete(t.Context(), a.ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	want := []event.Event{
		{Account: a.ID, Kind: event.Logout, Reason: account.DefaultLogoutReason},
		{Account: a.ID, Kind: event.Logout, Reason: "The account was deleted"},
	}
	if d := cmp.Diff(want, e.events.take()); d != "" {
		t.Error(d)
	}
	wantCode(t, e.Delete(t.Context(), a.ID, time.Time{}), mail.CodeNoAccount, nil)
	wantCode(t, e.EndSessions(t.Context(), a.ID, ""), mail.CodeNoAccount, nil)
	if got := e.events.take(); len(got) != 0 {
		t.Errorf("events %v", got)
	}
}
