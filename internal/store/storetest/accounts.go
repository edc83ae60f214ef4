package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func accountCases() []caseFunc {
	return []caseFunc{
		{"Create", accountCreate},
		{"CreateGivenID", accountCreateGivenID},
		{"CreateTaken", accountCreateTaken},
		{"CreateInvalid", accountCreateInvalid},
		{"RoundTrip", accountRoundTrip},
		{"Update", accountUpdate},
		{"UpdateError", accountUpdateError},
		{"UpdateAddress", accountUpdateAddress},
		{"List", accountList},
		{"ListFilter", accountListFilter},
		{"Delete", accountDelete},
		{"IDAgain", accountIDAgain},
		{"DeleteLater", accountDeleteLater},
		{"Recount", accountRecount},
	}
}

func accountCreate(f *fixture) {
	before := time.Now().Add(-2 * time.Second)
	in := store.NewAccount{
		Account:   mail.Account{Username: "ann.e", StorageUsed: 99},
		View:      "anne",
		Address:   &mail.Address{Address: "ann.e@example.com", View: "anne@example.com", Tags: []string{"x"}},
		Mailboxes: []mail.Mailbox{{Path: "INBOX"}, {Path: "Sent", SpecialUse: mail.UseSent, Subscribed: true, Retention: time.Hour}},
	}
	a, err := f.s.CreateAccount(f.ctx, in)
	f.must(err)
	if a.ID.IsZero() || a.Username != "ann.e" || a.Address != "ann.e@example.com" || a.StorageUsed != 0 || a.Created.Before(before) {
		f.Errorf("created account is %+v", a)
	}
	rows, err := f.s.AddressesByView(f.ctx, "anne@example.com")
	f.must(err)
	if len(rows) != 1 || rows[0].Account != a.ID || rows[0].ID.IsZero() || !slices.Equal(rows[0].Tags, []string{"x"}) {
		f.Errorf("address rows are %+v", rows)
	}
	boxes, err := f.s.ListMailboxes(f.ctx, a.ID)
	f.must(err)
	if len(boxes) != 2 || boxes[0].Path != "INBOX" || boxes[1].Path != "Sent" {
		f.Fatalf("mailboxes are %+v", boxes)
	}
	if s := boxes[1]; s.SpecialUse != mail.UseSent || !s.Subscribed || s.Retention != time.Hour {
		f.Errorf("Sent is %+v", s)
	}
	for _, b := range boxes {
		if b.UIDNext != 1 || b.UIDValidity == 0 || b.HighestModSeq < 1 || b.ID.IsZero() {
			f.Errorf("new mailbox is %+v", b)
		}
	}
	if boxes[0].UIDValidity == boxes[1].UIDValidity {
		f.Errorf("both mailboxes have UIDVALIDITY %d", boxes[0].UIDValidity)
	}
	if head, err := f.s.JournalHead(f.ctx, a.ID); err != nil || !head.IsZero() {
		f.Errorf("a new account has a journal: %v, %v", head, err)
	}
	byName, err := f.s.AccountByName(f.ctx, "anne")
	if f.must(err); byName.ID != a.ID {
		f.Errorf("by name: %v, want %v", byName.ID, a.ID)
	}
	_, err = f.s.AccountByName(f.ctx, "ann.e")
	f.wants("a name that is no view", err, mail.CodeNoAccount)
	_, err = f.s.Account(f.ctx, mail.AccountID{1})
	f.wants("an unknown account", err, mail.CodeNoAccount)
}

func accountCreateGivenID(f *fixture) {
	id := mail.AccountID{1, 2, 3}
	in := store.NewAccount{Account: mail.Account{ID: id}, View: "given", Mailboxes: []mail.Mailbox{{Path: "INBOX"}}}
	a, err := f.s.CreateAccount(f.ctx, in)
	f.must(err)
	if a.ID != id || a.Address != "" {
		f.Errorf("account is %+v, want id %v and no address", a, id)
	}
	in.View = "other"
	_, err = f.s.CreateAccount(f.ctx, in)
	f.wants("an id that is taken", err, mail.CodeExists)
	_, err = f.s.AccountByName(f.ctx, "other")
	f.wants("the account that was refused", err, mail.CodeNoAccount)
}

func accountCreateTaken(f *fixture) {
	inbox := []mail.Mailbox{{Path: "INBOX"}}
	for _, tc := range []struct{ name, view, address string }{
		{"username", "user", "new@example.com"},
		{"address", "new", "user@example.com"},
		{"both", "user", "user@example.com"},
	} {
		_, err := f.s.CreateAccount(f.ctx, store.NewAccount{
			View: tc.view, Address: &mail.Address{Address: tc.address, View: tc.address}, Mailboxes: inbox,
		})
		f.wants("taken "+tc.name, err, mail.CodeExists)
	}
	_, err := f.s.AccountByName(f.ctx, "new")
	f.wants("after the refusal", err, mail.CodeNoAccount)
	rows, err := f.s.AddressesByView(f.ctx, "new@example.com")
	if f.must(err); len(rows) != 0 {
		f.Errorf("a refused account left the address %+v", rows)
	}
	f.account("new", "INBOX")
}

func accountCreateInvalid(f *fixture) {
	_, err := f.s.CreateAccount(f.ctx, store.NewAccount{View: "a", Mailboxes: []mail.Mailbox{{Path: "Sent"}}})
	f.wants("no INBOX", err, mail.CodeInvalid)
	_, err = f.s.CreateAccount(f.ctx, store.NewAccount{View: "a", Mailboxes: []mail.Mailbox{{Path: "INBOX"}, {Path: "INBOX"}}})
	f.wants("two of one path", err, mail.CodeInvalid)
	_, err = f.s.AccountByName(f.ctx, "a")
	f.wants("after the refusal", err, mail.CodeNoAccount)
}

// fullAccount has a value in every field that a caller can set.
func fullAccount() mail.Account {
	return mail.Account{
		Username: "full", Name: "Fülle \x01", Password: "$pbkdf2$x", Language: "et",
		Quota: 1 << 40, Recipients: 1, Forwards: 2, Filters: 3, IMAPMaxUpload: 4, IMAPMaxDownload: 5, POP3MaxDownload: 6,
		POP3MaxMessages: 7, IMAPMaxConnections: 8, ReceivedMax: 9,
		Targets:  []mail.Target{{ID: mail.MessageID{1}, Type: "mail", Value: "a@b"}, {Type: "http", Value: "http://x"}},
		MTARelay: "smtp://relay", SpamLevel: 77, Retention: 36 * time.Hour, DisabledScopes: []string{"imap", "pop3"},
		Enabled2FA: []string{"totp"}, AuthVersion: 12, Tags: []string{"Blue", "green"}, FromWhitelist: []string{"*@x"},
		MetaData: `{"a":"\u0000"}`, InternalData: `{"b":[1]}`, FeatureFlags: map[string]bool{"x": true, "y": false},
		PublicKey: "-----BEGIN", SMIMECerts: []string{"c1", "c2"}, SMIMECipher: "AES256", SMIMETransport: "oaep",
		EncryptMessages: true, EncryptForward: true, UploadSent: true, Autoreply: true, Require2FA: true,
		RequirePasswordChange: true, TempPassword: &mail.TempPassword{Hash: "h", ValidAfter: testDate(1), Created: testDate(2)},
		PasswordChange: testDate(3), Activated: true, Disabled: true, Suspended: true, Created: testDate(4),
		LastLogin: mail.LastLogin{Time: testDate(5), IP: "192.0.2.1"},
	}
}

// loose compares rows as values: nil and empty lists are alike, times are instants.
func loose() cmp.Options {
	return cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })}
}

func accountRoundTrip(f *fixture) {
	want := fullAccount()
	a, err := f.s.CreateAccount(f.ctx, store.NewAccount{Account: want, View: "full", Mailboxes: []mail.Mailbox{{Path: "INBOX"}}})
	f.must(err)
	want.ID = a.ID
	if diff := cmp.Diff(&want, a, loose()); diff != "" {
		f.Errorf("CreateAccount (-want +got):\n%s", diff)
	}
	got, err := f.s.Account(f.ctx, a.ID)
	f.must(err)
	if diff := cmp.Diff(&want, got, loose()); diff != "" {
		f.Errorf("Account (-want +got):\n%s", diff)
	}
	// What a caller does to a row that it was given is its own business.
	got.Tags[0], got.FeatureFlags["x"], got.TempPassword.Hash = "changed", false, "changed"
	again, err := f.s.Account(f.ctx, a.ID)
	f.must(err)
	if diff := cmp.Diff(&want, again, loose()); diff != "" {
		f.Errorf("after the caller changed its copy (-want +got):\n%s", diff)
	}
}

func accountUpdate(f *fixture) {
	f.fill(f.inbox, 1)
	used := f.used()
	before, err := f.s.Account(f.ctx, f.acct)
	f.must(err)
	want := fullAccount()
	want.ID, want.Username, want.Created = before.ID, before.Username, before.Created
	want.StorageUsed, want.Address = used, before.Address
	got, err := f.s.UpdateAccount(f.ctx, f.acct, func(a *mail.Account) error {
		address := a.Address
		*a = fullAccount()
		a.ID, a.StorageUsed, a.Address = mail.AccountID{9}, 12345, address // the first two are ignored
		return nil
	})
	f.must(err)
	if diff := cmp.Diff(&want, got, loose()); diff != "" {
		f.Errorf("UpdateAccount (-want +got):\n%s", diff)
	}
	got, err = f.s.AccountByName(f.ctx, "user")
	f.must(err)
	if diff := cmp.Diff(&want, got, loose()); diff != "" {
		f.Errorf("after UpdateAccount (-want +got):\n%s", diff)
	}
	_, err = f.s.UpdateAccount(f.ctx, mail.AccountID{7}, func(*mail.Account) error { return nil })
	f.wants("unknown account", err, mail.CodeNoAccount)
}

func accountUpdateError(f *fixture) {
	mine := errors.New("mine")
	_, err := f.s.UpdateAccount(f.ctx, f.acct, func(a *mail.Account) error {
		a.Name = "changed"
		return mine
	})
	if !errors.Is(err, mine) {
		f.Errorf("error is %v, want that of the function", err)
	}
	if a, err := f.s.Account(f.ctx, f.acct); err != nil || a.Name != "Name of user" {
		f.Errorf("after a failed update the name is %q (%v)", a.Name, err)
	}
}

func accountUpdateAddress(f *fixture) {
	other := f.account("other", "INBOX")
	_, err := f.s.CreateAddress(f.ctx, mail.Address{Address: "second@example.com", View: "second@example.com", Account: f.acct}, false)
	f.must(err)
	set := func(address string) error {
		_, err := f.s.UpdateAccount(f.ctx, f.acct, func(a *mail.Account) error { a.Address = address; return nil })
		return err
	}
	f.must(set("second@example.com"))
	f.wants("another account's address", set(other.Address), mail.CodeNotFound)
	f.wants("an unknown address", set("x@y"), mail.CodeNotFound)
	if a, err := f.s.Account(f.ctx, f.acct); err != nil || a.Address != "second@example.com" {
		f.Errorf("main address is %q (%v)", a.Address, err)
	}
	f.must(set(""))
}

func accountList(f *fixture) {
	var want []mail.AccountID
	for i := range 6 {
		want = append(want, f.account(fmt.Sprintf("list%d", i), "INBOX").ID)
	}
	want = append(want, f.acct)
	slices.SortFunc(want, func(a, b mail.AccountID) int { return slices.Compare(a[:], b[:]) })
	list := func(q store.AccountQuery, more bool, want []mail.AccountID) {
		f.Helper()
		page, err := f.s.ListAccounts(f.ctx, q)
		f.must(err)
		var got []mail.AccountID
		for _, a := range page.Accounts {
			got = append(got, a.ID)
		}
		if !slices.Equal(got, want) || page.More != more || page.Total != 7 {
			f.Errorf("%+v: ids %v, more %v, total %d; want %v, %v, 7", q, got, page.More, page.Total, want, more)
		}
	}
	list(store.AccountQuery{}, false, want)
	list(store.AccountQuery{Limit: 7}, false, want)
	list(store.AccountQuery{Limit: 3}, true, want[:3])
	list(store.AccountQuery{Limit: 3, After: want[2]}, true, want[3:6])
	list(store.AccountQuery{Limit: 3, After: want[5]}, false, want[6:])
	list(store.AccountQuery{Limit: 3, After: want[6]}, false, nil)
	list(store.AccountQuery{Limit: 3, Before: want[6]}, true, want[3:6])
	list(store.AccountQuery{Limit: 3, Before: want[3]}, false, want[:3])
	list(store.AccountQuery{Limit: 3, Before: want[2]}, false, want[:2])
	list(store.AccountQuery{Limit: 3, Before: want[0]}, false, nil)
}

func accountListFilter(f *fixture) {
	for i, tags := range [][]string{{"Red"}, {"red", "Blue"}, {"blue"}, nil} {
		a := f.account(fmt.Sprintf("filter%d", i), "INBOX")
		_, err := f.s.UpdateAccount(f.ctx, a.ID, func(a *mail.Account) error { a.Tags = tags; return nil })
		f.must(err)
	}
	for _, tc := range []struct {
		q    store.AccountQuery
		want string
	}{
		{store.AccountQuery{Contains: "filter"}, "filter0 filter1 filter2 filter3"},
		{store.AccountQuery{Contains: "r2@exam"}, "filter2"},
		{store.AccountQuery{Contains: "nothing"}, ""},
		{store.AccountQuery{Tags: []string{"red"}}, "filter0 filter1"},
		{store.AccountQuery{Tags: []string{"red", "blue"}}, "filter0 filter1 filter2"},
		{store.AccountQuery{Tags: []string{"red", "blue"}, AllTags: true}, "filter1"},
		{store.AccountQuery{Tags: []string{"blue"}, AllTags: true, Contains: "2"}, "filter2"},
	} {
		page, err := f.s.ListAccounts(f.ctx, tc.q)
		f.must(err)
		var got []string
		for _, a := range page.Accounts {
			got = append(got, a.Username)
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != tc.want || page.Total != int64(len(got)) || page.More {
			f.Errorf("%+v: %q (total %d, more %v), want %q", tc.q, s, page.Total, page.More, tc.want)
		}
	}
}

// accountDeleteLater deletes an account of which the mail is kept for some time.
func accountDeleteLater(f *fixture) {
	f.fill(f.inbox, 3)
	later := time.Now().Add(time.Hour)
	f.must(f.s.DeleteAccount(f.ctx, f.acct, later))
	for range 2 {
		_, err := f.s.Account(f.ctx, f.acct)
		f.wants("Account", err, mail.CodeNoAccount)
		_, err = f.s.Mailbox(f.ctx, f.acct, f.inbox)
		f.wants("Mailbox", err, mail.CodeNoMailbox)
		_, err = f.s.Open(f.ctx, f.acct, f.inbox, 1)
		f.wants("Open", err, mail.CodeNoMailbox)
		_, _, err = f.s.RecountQuota(f.ctx, f.acct)
		f.wants("RecountQuota", err, mail.CodeNoAccount)
		rows, err := f.s.AddressesByView(f.ctx, "user@example.com")
		if f.must(err); len(rows) != 0 {
			f.Errorf("addresses left: %+v", rows)
		}
		f.reopen()
	}
	other := f.account("user", "INBOX") // name and address can be given away
	f.wants("delete again", f.s.DeleteAccount(f.ctx, f.acct, later), mail.CodeNoAccount)
	f.wants("delete at once", f.s.DeleteAccount(f.ctx, f.acct, time.Time{}), mail.CodeNoAccount)
	f.maintain()
	if _, err := f.s.Account(f.ctx, other.ID); err != nil {
		f.Errorf("the next account of that name: %v", err)
	}
}

func accountDelete(f *fixture) {
	f.fill(f.inbox, 3)
	_, err := f.s.CreateAddress(f.ctx, mail.Address{Address: "more@example.com", View: "more@example.com", Account: f.acct}, false)
	f.must(err)
	keep := f.account("keep", "INBOX")
	f.must(f.s.DeleteAccount(f.ctx, f.acct, time.Time{}))
	f.wants("delete again", f.s.DeleteAccount(f.ctx, f.acct, time.Time{}), mail.CodeNoAccount)
	_, err = f.s.Account(f.ctx, f.acct)
	f.wants("Account", err, mail.CodeNoAccount)
	_, err = f.s.AccountByName(f.ctx, "user")
	f.wants("AccountByName", err, mail.CodeNoAccount)
	_, err = f.s.ListMailboxes(f.ctx, f.acct)
	f.wants("ListMailboxes", err, mail.CodeNoAccount)
	_, err = f.s.Mailbox(f.ctx, f.acct, f.inbox)
	f.wants("Mailbox", err, mail.CodeNoMailbox)
	_, err = f.s.Open(f.ctx, f.acct, f.inbox, 1)
	f.wants("Open", err, mail.CodeNoMailbox)
	rows, err := f.s.AddressesByView(f.ctx, "user@example.com", "more@example.com", "keep@example.com")
	if f.must(err); len(rows) != 1 || rows[0].Account != keep.ID {
		f.Errorf("addresses left: %+v, want that of the other account only", rows)
	}
	page, err := f.s.ListAccounts(f.ctx, store.AccountQuery{})
	if f.must(err); page.Total != 1 || page.Accounts[0].ID != keep.ID {
		f.Errorf("accounts left: %+v", page)
	}
	// The names are free again, and nothing of the old account shows through.
	f.acct = f.account("user", "INBOX").ID
	if b := f.counted(f.path(mail.Inbox).ID); b.Messages != 0 || f.used() != 0 || len(f.rows(b.ID, store.FetchQuery{})) != 0 {
		f.Errorf("the new account's INBOX is %+v", b)
	}
}

func accountRecount(f *fixture) {
	box := f.mailbox("Other")
	f.fill(f.inbox, 3)
	_, err := f.s.Copy(f.ctx, f.acct, f.inbox, box.ID, mail.AllUIDs(), 0)
	f.must(err)
	f.expunge(f.inbox, 2)
	want := f.used()
	before, after, err := f.s.RecountQuota(f.ctx, f.acct)
	if f.must(err); before != want || after != want {
		f.Errorf("recount: %d and %d, want %d", before, after, want)
	}
	if got := f.counted(f.inbox).Size + f.counted(box.ID).Size; got != want {
		f.Errorf("mailboxes hold %d octets, the account %d", got, want)
	}
	_, _, err = f.s.RecountQuota(f.ctx, mail.AccountID{7})
	f.wants("unknown account", err, mail.CodeNoAccount)
}

// An account that is made with the id of one that was deleted has nothing of it, and
// what it gets stays.
func accountIDAgain(f *fixture) {
	attach := multipart("old", attachment(200_000, 76, "\r\n", 5))
	for i := range 20 {
		f.append(f.inbox, note(i), store.Append{Flags: f.flags("old")})
	}
	f.append(f.inbox, attach, store.Append{})
	old := f.inbox
	f.must(f.s.DeleteAccount(f.ctx, f.acct, time.Time{}))
	a, err := f.s.CreateAccount(f.ctx, store.NewAccount{
		Account: mail.Account{ID: f.acct, Username: "again"}, View: "again", Mailboxes: []mail.Mailbox{{Path: "INBOX"}},
	})
	f.must(err)
	if a.ID != f.acct || a.StorageUsed != 0 {
		f.Errorf("the new account is %+v", a)
	}
	if head, err := f.s.JournalHead(f.ctx, f.acct); err != nil || head != (mail.JournalID{}) {
		f.Errorf("its journal has head %v (%v)", head, err)
	}
	f.inbox = f.path(mail.Inbox).ID
	if _, err := f.s.Mailbox(f.ctx, f.acct, old); f.inbox == old || mail.CodeOf(err) != mail.CodeNoMailbox {
		f.Errorf("mailbox of the old account: %v", err)
	}
	uids := uidsOf(f.fill(f.inbox, 3))
	big := multipart("old", attachment(200_000, 76, "\r\n", 5))
	uids = append(uids, f.append(f.inbox, big, store.Append{}).UID)
	f.maintain()
	f.sameUIDs("after maintenance", f.uids(f.inbox, store.FetchQuery{}), uids)
	if got := f.content(f.inbox, uids[3]); !bytes.Equal(got, sourceOf(big)) {
		f.Errorf("content: %s", difference(got, sourceOf(big)))
	}
}
