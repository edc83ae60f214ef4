package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func mailboxCases() []caseFunc {
	return []caseFunc{
		{"Create", mailboxCreate},
		{"CreateLimit", mailboxCreateLimit},
		{"UIDValidity", mailboxUIDValidity},
		{"List", mailboxList},
		{"Counters", mailboxCounters},
		{"Update", mailboxUpdate},
		{"RenameTree", mailboxRenameTree},
		{"RenameCollision", mailboxRenameCollision},
		{"RenameSwap", mailboxRenameSwap},
		{"RenameKeeps", mailboxRenameKeeps},
		{"Delete", mailboxDelete},
		{"OtherAccount", mailboxOtherAccount},
	}
}

func mailboxCreate(f *fixture) {
	in := mail.Mailbox{
		Path: "Ünïcode/日本語/a.b", SpecialUse: mail.UseArchive, Subscribed: true, Hidden: true, Retention: 90 * time.Minute, Encrypt: true,
		UIDNext: 77, HighestModSeq: 1 << 40, Created: testDate(0),
	}
	got, err := f.s.CreateMailbox(f.ctx, f.acct, in, 0)
	f.must(err)
	want := in
	want.ID, want.UIDValidity, want.HighestModSeq = got.ID, got.UIDValidity, got.HighestModSeq
	want.UIDNext = 1
	if diff := cmp.Diff(&want, got, loose()); diff != "" || got.ID.IsZero() || got.UIDValidity == 0 {
		f.Errorf("CreateMailbox (-want +got):\n%s", diff)
	}
	if got.HighestModSeq < 1 || got.HighestModSeq >= 1<<40 {
		f.Errorf("HighestModSeq is %d, want it assigned", got.HighestModSeq)
	}
	for name, b := range map[string]*mail.Mailbox{"by id": f.box(got.ID), "by path": f.path(in.Path)} {
		if diff := cmp.Diff(got, b, loose()); diff != "" {
			f.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	_, err = f.s.CreateMailbox(f.ctx, f.acct, mail.Mailbox{Path: in.Path}, 0)
	f.wants("the same path", err, mail.CodeExists)
	_, err = f.s.CreateMailbox(f.ctx, mail.AccountID{9}, mail.Mailbox{Path: "x"}, 0)
	f.wants("an unknown account", err, mail.CodeNoAccount)
	_, err = f.s.Mailbox(f.ctx, f.acct, mail.MailboxID{9})
	f.wants("an unknown id", err, mail.CodeNoMailbox)
	_, err = f.s.MailboxByPath(f.ctx, f.acct, "Ünïcode")
	f.wants("a parent that is not there", err, mail.CodeNoMailbox)
	f.mailbox("inbox") // canonical names are a matter of the layers above
}

func mailboxCreateLimit(f *fixture) {
	create := func(path string, limit int) error {
		_, err := f.s.CreateMailbox(f.ctx, f.acct, mail.Mailbox{Path: path}, limit)
		return err
	}
	f.must(create("three", 3))
	f.wants("a fourth of three", create("four", 3), mail.CodeLimit)
	f.must(create("four", 4))
	f.must(f.s.DeleteMailbox(f.ctx, f.acct, f.path("three").ID, 0))
	f.must(create("five", 4))
	f.wants("beyond again", create("six", 4), mail.CodeLimit)
}

// UIDVALIDITY must tell apart whatever had the same name at different times, by
// deletion or by renaming (RFC 3501, 2.3.1.1).
func mailboxUIDValidity(f *fixture) {
	highest := mail.UIDValidity(0)
	for i := range 10 {
		b := f.mailbox("again")
		if b.UIDValidity <= highest {
			f.Fatalf("mailbox %d has UIDVALIDITY %d, an earlier one %d", i, b.UIDValidity, highest)
		}
		highest = b.UIDValidity
		f.must(f.s.DeleteMailbox(f.ctx, f.acct, b.ID, 0))
	}
	other := f.mailbox("other")
	if other.UIDValidity <= highest {
		f.Errorf("another mailbox has %d, which a mailbox %q had before it is renamed to that", other.UIDValidity, "again")
	}
	f.must(f.s.RenameMailboxes(f.ctx, f.acct, []store.Rename{{ID: other.ID, Path: "again"}}))
	if b := f.path("again"); b.UIDValidity != other.UIDValidity {
		f.Errorf("a rename changed UIDVALIDITY from %d to %d", other.UIDValidity, b.UIDValidity)
	}
}

func mailboxList(f *fixture) {
	for _, p := range []string{"b", "a/z", "a", "ä", "a!", "B", "a/a"} {
		f.mailbox(p)
	}
	want := []string{"B", "INBOX", "Trash", "a", "a!", "a/a", "a/z", "b", "ä"}
	f.paths(want...)
	boxes, err := f.s.ListMailboxes(f.ctx, f.acct)
	f.must(err)
	boxes[0].Path = "changed" // the caller's own copy
	f.paths(want...)
	_, err = f.s.ListMailboxes(f.ctx, mail.AccountID{9})
	f.wants("unknown account", err, mail.CodeNoAccount)
}

// paths fails the test when the account has other mailboxes.
func (f *fixture) paths(want ...string) {
	f.Helper()
	boxes, err := f.s.ListMailboxes(f.ctx, f.acct)
	f.must(err)
	var got []string
	for _, b := range boxes {
		got = append(got, b.Path)
	}
	if !slices.Equal(got, want) {
		f.Errorf("mailboxes are %q, want %q", got, want)
	}
}

// Counters are those of the mailboxes that were asked for, empty ones included.
func mailboxCounters(f *fixture) {
	empty, gone := f.mailbox("empty"), f.mailbox("gone")
	a := f.append(f.inbox, note(1), store.Append{Flags: f.flags(`\Seen`)})
	b := f.append(f.inbox, note(2), store.Append{Flags: f.flags(`\Deleted`, "work")})
	c := f.append(f.path("Trash").ID, note(3), store.Append{Flags: f.flags(`\Seen`, `\Deleted`)})
	f.must(f.s.DeleteMailbox(f.ctx, f.acct, gone.ID, 0))
	trash := f.path("Trash").ID
	for _, tc := range []struct {
		name string
		acct mail.AccountID
		ids  []mail.MailboxID
		want map[mail.MailboxID]mail.Counters
	}{
		{"none", f.acct, nil, nil},
		{"all", f.acct, []mail.MailboxID{trash, empty.ID, gone.ID, f.inbox, {9}}, map[mail.MailboxID]mail.Counters{
			f.inbox: {Messages: 2, Unseen: 1, Deleted: 1, Size: a.Size + b.Size}, trash: {Messages: 1, Deleted: 1, Size: c.Size}, empty.ID: {},
		}},
		{"one", f.acct, []mail.MailboxID{empty.ID}, map[mail.MailboxID]mail.Counters{empty.ID: {}}},
		{"another account", f.account("other", mail.Inbox).ID, []mail.MailboxID{f.inbox}, nil},
		{"an unknown account", mail.AccountID{9}, []mail.MailboxID{f.inbox}, nil},
	} {
		got, err := f.s.Counters(f.ctx, tc.acct, tc.ids...)
		if f.must(err); !maps.Equal(got, tc.want) {
			f.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	// They follow every kind of change.
	flag := func(mode store.FlagMode, flags ...string) {
		_, err := f.s.UpdateFlags(f.ctx, f.acct, f.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Mode: mode, Flags: f.flags(flags...)})
		f.must(err)
	}
	check := func(when string, want mail.Counters) {
		f.Helper()
		if got := f.counted(f.inbox).Counters; got != want {
			f.Errorf("after %s: %+v, want %+v", when, got, want)
		}
	}
	flag(store.FlagsRemove, `\Seen`)
	check("unseen", mail.Counters{Messages: 2, Unseen: 2, Deleted: 1, Size: a.Size + b.Size})
	flag(store.FlagsReplace, `\Seen`)
	check("replaced", mail.Counters{Messages: 2, Size: a.Size + b.Size})
	_, err := f.s.Copy(f.ctx, f.acct, f.inbox, f.inbox, mail.OneUID(b.UID), 0)
	f.must(err)
	check("a copy", mail.Counters{Messages: 3, Size: a.Size + 2*b.Size})
	_, err = f.s.Move(f.ctx, f.acct, f.inbox, empty.ID, mail.OneUID(b.UID))
	f.must(err)
	check("a move", mail.Counters{Messages: 2, Size: a.Size + b.Size})
	_, err = f.s.Expunge(f.ctx, f.acct, f.inbox, mail.AllUIDs(), false)
	f.must(err)
	check("an expunge", mail.Counters{})
}

func mailboxUpdate(f *fixture) {
	f.fill(f.inbox, 2)
	before := f.box(f.inbox)
	got, err := f.s.UpdateMailbox(f.ctx, f.acct, f.inbox, func(b *mail.Mailbox) error {
		*b = mail.Mailbox{Path: "x", SpecialUse: mail.UseJunk, Hidden: true, Retention: time.Hour, Encrypt: true, UIDNext: 1}
		return nil
	})
	f.must(err)
	want := *before
	want.SpecialUse, want.Subscribed, want.Hidden, want.Retention, want.Encrypt = mail.UseJunk, false, true, time.Hour, true
	want.HighestModSeq = got.HighestModSeq
	if diff := cmp.Diff(&want, got, loose()); diff != "" || got.HighestModSeq < before.HighestModSeq {
		f.Errorf("UpdateMailbox (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(got, f.path("INBOX"), loose()); diff != "" {
		f.Errorf("after UpdateMailbox (-want +got):\n%s", diff)
	}
	mine := errors.New("mine")
	_, err = f.s.UpdateMailbox(f.ctx, f.acct, f.inbox, func(b *mail.Mailbox) error { b.Hidden = false; return mine })
	if !errors.Is(err, mine) || !f.box(f.inbox).Hidden {
		f.Errorf("a failed update: error %v, hidden %v", err, f.box(f.inbox).Hidden)
	}
	_, err = f.s.UpdateMailbox(f.ctx, f.acct, mail.MailboxID{9}, func(*mail.Mailbox) error { return nil })
	f.wants("unknown mailbox", err, mail.CodeNoMailbox)
}

func mailboxRenameTree(f *fixture) {
	var renames []store.Rename
	for i := range 40 {
		path := "old" + strings.Repeat("/x", i)
		renames = append(renames, store.Rename{ID: f.mailbox(path).ID, Path: "new" + path[3:]})
	}
	f.mailbox("older")
	f.must(f.s.RenameMailboxes(f.ctx, f.acct, renames))
	boxes, err := f.s.ListMailboxes(f.ctx, f.acct)
	f.must(err)
	if n := len(boxes); n != 43 {
		f.Errorf("there are %d mailboxes, want 43", n)
	}
	for _, r := range renames {
		if b := f.path(r.Path); b.ID != r.ID || f.box(r.ID).Path != r.Path {
			f.Errorf("%s is %s, want %s", r.Path, b.ID, r.ID)
		}
		_, err := f.s.MailboxByPath(f.ctx, f.acct, "old"+r.Path[3:])
		f.wants("old path", err, mail.CodeNoMailbox)
	}
	f.must(f.s.RenameMailboxes(f.ctx, f.acct, nil))
}

func mailboxRenameCollision(f *fixture) {
	a, b := f.mailbox("a"), f.mailbox("b")
	f.mailbox("c")
	for _, tc := range []struct {
		name    string
		renames []store.Rename
		want    mail.Code
	}{
		{"taken", []store.Rename{{ID: a.ID, Path: "b"}}, mail.CodeExists},
		{"second taken", []store.Rename{{ID: a.ID, Path: "x"}, {ID: b.ID, Path: "c"}}, mail.CodeExists},
		{"both the same", []store.Rename{{ID: a.ID, Path: "x"}, {ID: b.ID, Path: "x"}}, mail.CodeExists},
		{"unknown second", []store.Rename{{ID: a.ID, Path: "x"}, {ID: mail.MailboxID{9}, Path: "y"}}, mail.CodeNoMailbox},
	} {
		f.wants(tc.name, f.s.RenameMailboxes(f.ctx, f.acct, tc.renames), tc.want)
		f.paths("INBOX", "Trash", "a", "b", "c")
	}
	f.must(f.s.RenameMailboxes(f.ctx, f.acct, []store.Rename{{ID: a.ID, Path: "a"}})) // nothing to do
	f.paths("INBOX", "Trash", "a", "b", "c")
}

func mailboxRenameSwap(f *fixture) {
	a, b := f.mailbox("a"), f.mailbox("b")
	f.must(f.s.RenameMailboxes(f.ctx, f.acct, []store.Rename{{ID: a.ID, Path: "b"}, {ID: b.ID, Path: "a"}}))
	if f.path("a").ID != b.ID || f.path("b").ID != a.ID {
		f.Error("the mailboxes did not change places")
	}
	// Down one level: each takes the path of the next.
	below := f.mailbox("a/a")
	f.must(f.s.RenameMailboxes(f.ctx, f.acct, []store.Rename{{ID: b.ID, Path: "a/a"}, {ID: below.ID, Path: "a/a/a"}}))
	if f.path("a/a").ID != b.ID || f.path("a/a/a").ID != below.ID {
		f.Error("the chain of renames went wrong")
	}
	f.paths("INBOX", "Trash", "a/a", "a/a/a", "b")
}

func mailboxRenameKeeps(f *fixture) {
	b := f.mailbox("before")
	f.fill(b.ID, 3, `\Seen`, "kw")
	f.expunge(b.ID, 3)
	want := *f.box(b.ID)
	rows := f.rows(b.ID, store.FetchQuery{Fields: allFields})
	f.must(f.s.RenameMailboxes(f.ctx, f.acct, []store.Rename{{ID: b.ID, Path: "after"}}))
	got := f.path("after")
	want.Path, want.HighestModSeq = "after", max(want.HighestModSeq, got.HighestModSeq)
	if diff := cmp.Diff(&want, got, loose()); diff != "" {
		f.Errorf("mailbox (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(rows, f.rows(b.ID, store.FetchQuery{Fields: allFields}), rowOptions()); diff != "" {
		f.Errorf("messages (-want +got):\n%s", diff)
	}
	if a := f.append(b.ID, note(9), store.Append{}); a.UID != want.UIDNext && a.UID < 4 {
		f.Errorf("after the rename a message got UID %d", a.UID)
	}
}

func mailboxDelete(f *fixture) {
	b := f.mailbox("gone")
	child := f.mailbox("gone/child")
	f.fill(b.ID, 2)
	kept := f.fill(child.ID, 1)[0]
	used := f.used()
	f.must(f.s.DeleteMailbox(f.ctx, f.acct, b.ID, 0))
	f.wants("delete again", f.s.DeleteMailbox(f.ctx, f.acct, b.ID, 0), mail.CodeNoMailbox)
	f.paths("INBOX", "Trash", "gone/child")
	if got := f.used(); got != kept.Size || got >= used {
		f.Errorf("StorageUsed is %d, want %d", got, kept.Size)
	}
	f.missing(b.ID)
	again := f.mailbox("gone")
	if n := f.counted(again.ID).Messages; n != 0 || len(f.rows(again.ID, store.FetchQuery{})) != 0 {
		f.Errorf("a new mailbox of that name has %d messages", n)
	}
	if set := f.changes(again.ID, 0); set.Changed.Len() != 0 || len(set.Expunged) != 0 {
		f.Errorf("a new mailbox of that name has changes %+v", set)
	}
}

// missing fails the test when any method finds the mailbox.
func (f *fixture) missing(id mail.MailboxID) {
	f.Helper()
	st := f.stage(note(0))
	for name, run := range map[string]func() error{
		"Counters": func() error {
			all, err := f.s.Counters(f.ctx, f.acct, id)
			if err == nil && len(all) == 0 {
				err = mail.NewError(mail.CodeNoMailbox, "no counters")
			}
			return err
		},
		"Mailbox": func() error { _, err := f.s.Mailbox(f.ctx, f.acct, id); return err },
		"Append":  func() error { _, err := f.s.Append(f.ctx, f.acct, id, []store.Append{{Staged: st}}); return err },
		"Fetch":   func() error { _, err := readRows(f.ctx, f.s, f.acct, id, store.FetchQuery{}); return err },
		"UpdateFlags": func() error {
			_, err := f.s.UpdateFlags(f.ctx, f.acct, id, store.FlagUpdate{UIDs: mail.AllUIDs()})
			return err
		},
		"Copy from": func() error { _, err := f.s.Copy(f.ctx, f.acct, id, f.inbox, mail.AllUIDs(), 0); return err },
		"Move from": func() error { _, err := f.s.Move(f.ctx, f.acct, id, f.inbox, mail.AllUIDs()); return err },
		"Expunge":   func() error { _, err := f.s.Expunge(f.ctx, f.acct, id, mail.AllUIDs(), false); return err },
		"Delete":    func() error { _, err := f.s.Delete(f.ctx, f.acct, id, mail.AllUIDs(), true); return err },
		"Open":      func() error { _, err := f.s.Open(f.ctx, f.acct, id, 1); return err },
		"MayContain": func() error {
			_, err := collectUIDs(f.s.MayContain(f.ctx, f.acct, id, mail.AllUIDs(), nil))
			return err
		},
		"Changes":         func() error { _, err := f.s.Changes(f.ctx, f.acct, id, 0); return err },
		"DeleteMailbox":   func() error { return f.s.DeleteMailbox(f.ctx, f.acct, id, 0) },
		"RenameMailboxes": func() error { return f.s.RenameMailboxes(f.ctx, f.acct, []store.Rename{{ID: id, Path: "p"}}) },
	} {
		f.wants(name, run(), mail.CodeNoMailbox)
	}
	for name, run := range map[string]func() error{
		"Copy to": func() error { _, err := f.s.Copy(f.ctx, f.acct, f.inbox, id, mail.AllUIDs(), 0); return err },
		"Move to": func() error { _, err := f.s.Move(f.ctx, f.acct, f.inbox, id, mail.AllUIDs()); return err },
	} {
		err := run()
		f.wants(name, err, mail.CodeNoMailbox)
		if mail.PublicText(err) != "destination" {
			f.Errorf("%s: public text %q, want %q", name, mail.PublicText(err), "destination")
		}
	}
}

// A mailbox is found in its own account only, whatever the id says.
func mailboxOtherAccount(f *fixture) {
	f.fill(f.inbox, 1)
	theirs := f.inbox
	for i := range 2 {
		f.acct = f.account(fmt.Sprintf("other%d", i), "INBOX").ID
		f.inbox = f.path(mail.Inbox).ID
		f.missing(theirs)
	}
}
