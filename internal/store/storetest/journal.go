package storetest

import (
	"slices"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func journalCases() []caseFunc {
	return []caseFunc{
		{"Entries", journalEntries},
		{"Junk", journalJunk},
		{"Paging", journalPaging},
		{"PerAccount", journalPerAccount},
	}
}

// journal returns the entries after an id.
func (f *fixture) journal(after mail.JournalID) []store.JournalEntry {
	f.Helper()
	out, err := f.s.ReadJournal(f.ctx, f.acct, after, 1<<20)
	f.must(err)
	return out
}

// news returns the entries since the last call of news.
func (f *fixture) news(last *mail.JournalID) []store.JournalEntry {
	f.Helper()
	out := f.journal(*last)
	for _, e := range out {
		// Of two processes that write within a second either may come first.
		if slices.Compare(e.ID[:], last[:]) <= 0 && !f.engine.Gaps {
			f.Errorf("journal entry %v after %v", e.ID, *last)
		}
		*last = e.ID
	}
	if head, err := f.s.JournalHead(f.ctx, f.acct); err != nil || head != *last {
		f.Errorf("the head of the journal is %v (%v), want %v", head, err, *last)
	}
	return out
}

// sameEntries compares entries by what the contract promises of each kind.
func (f *fixture) sameEntries(what string, got []store.JournalEntry, want ...store.JournalEntry) {
	f.Helper()
	got = slices.Clone(got)
	for i := range got {
		if got[i].Created.IsZero() || got[i].ModSeq == 0 {
			f.Errorf("%s: entry %+v has no time or no mod-sequence", what, got[i])
		}
		if i >= len(want) {
			continue
		}
		if want[i].ModSeq == 0 {
			want[i].ModSeq = got[i].ModSeq
		}
		if got[i].Command != store.JournalFetch { // flags are promised there
			want[i].Flags = got[i].Flags
		}
		if got[i].Command == store.JournalFetch || got[i].Command == store.JournalExpunge {
			want[i].InternalDate, want[i].Thread = got[i].InternalDate, got[i].Thread
		}
		if got[i].Command == store.JournalDelete {
			want[i].Path = got[i].Path
		}
	}
	opts := cmp.Options{
		loose(), cmpopts.IgnoreFields(store.JournalEntry{}, "ID", "Created"),
		cmp.Comparer(func(a, b mail.Flags) bool { return a == b }),
	}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		f.Errorf("%s: journal (-want +got):\n%s", what, diff)
	}
}

func journalEntries(f *fixture) {
	var last mail.JournalID
	f.sameEntries("new account", f.news(&last))

	box, err := f.s.CreateMailbox(f.ctx, f.acct, mail.Mailbox{Path: "a/b"}, 0)
	f.must(err)
	f.sameEntries("create", f.news(&last), store.JournalEntry{Command: store.JournalCreate, Mailbox: box.ID, Path: "a/b"})

	a := f.append(f.inbox, note(1), store.Append{Flags: f.flags(`\Seen`), InternalDate: testDate(3), Origin: "s1"})
	b := f.append(f.inbox, note(2), store.Append{InternalDate: testDate(4)})
	exists := func(mbox mail.MailboxID, x store.Appended, second int, origin string) store.JournalEntry {
		return store.JournalEntry{
			Command: store.JournalExists, Mailbox: mbox, ModSeq: x.ModSeq, UID: x.UID, Message: x.ID, Thread: x.ThreadID,
			InternalDate: testDate(second), Origin: origin,
		}
	}
	f.sameEntries("append", f.news(&last), exists(f.inbox, a, 3, "s1"), exists(f.inbox, b, 4, ""))

	fetch := func(x store.Appended, seen bool, flags ...string) store.JournalEntry {
		return store.JournalEntry{
			Command: store.JournalFetch, Mailbox: f.inbox, UID: x.UID, Message: x.ID, Flags: f.flags(flags...), SeenChanged: seen, Origin: "s2",
		}
	}
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: f.flags(`\Seen`, "kw"), Origin: "s2"})
	f.sameEntries("flags", f.news(&last), fetch(a, false, `\Seen`, "kw"), fetch(b, true, `\Seen`, "kw"))
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(b.UID), Mode: store.FlagsRemove, Flags: f.flags(`\Seen`), Origin: "s2"})
	f.sameEntries("unseen", f.news(&last), fetch(b, true, "kw"))

	res, err := f.s.Copy(f.ctx, f.acct, f.inbox, box.ID, mail.OneUID(a.UID), 0)
	f.must(err)
	c := f.row(box.ID, res.To[0])
	copied := store.Appended{UID: c.UID, ModSeq: c.ModSeq, ID: c.ID, ThreadID: c.ThreadID}
	f.sameEntries("copy", f.news(&last), exists(box.ID, copied, 3, ""))

	f.expunge(f.inbox, b.UID)
	gone := func(mbox mail.MailboxID, uid mail.UID, id mail.MessageID) store.JournalEntry {
		return store.JournalEntry{Command: store.JournalExpunge, Mailbox: mbox, UID: uid, Message: id}
	}
	f.sameEntries("expunge", f.news(&last), gone(f.inbox, b.UID, b.ID))

	moved, err := f.s.Move(f.ctx, f.acct, box.ID, f.inbox, mail.OneUID(c.UID))
	f.must(err)
	m := f.row(f.inbox, moved.To[0])
	entries := f.news(&last)
	slices.SortStableFunc(entries, func(a, b store.JournalEntry) int { return len(a.Command) - len(b.Command) }) // either order is right
	f.sameEntries("move", entries, exists(f.inbox, store.Appended{UID: m.UID, ModSeq: m.ModSeq, ID: m.ID, ThreadID: m.ThreadID}, 3, ""), gone(box.ID, c.UID, c.ID))

	f.must(f.s.RenameMailboxes(f.ctx, f.acct, []store.Rename{{ID: box.ID, Path: "c"}}))
	f.sameEntries("rename", f.news(&last), store.JournalEntry{Command: store.JournalRename, Mailbox: box.ID, Path: "c"})
	f.fill(box.ID, 1)
	f.news(&last)
	f.must(f.s.DeleteMailbox(f.ctx, f.acct, box.ID, 0))
	f.sameEntries("delete", f.news(&last), store.JournalEntry{Command: store.JournalDelete, Mailbox: box.ID})
}

// journalJunk follows a message into \Junk and out of it again.
func journalJunk(f *fixture) {
	create := func(path string, use mail.SpecialUse) mail.MailboxID {
		box, err := f.s.CreateMailbox(f.ctx, f.acct, mail.Mailbox{Path: path, SpecialUse: use}, 0)
		f.must(err)
		return box.ID
	}
	spam, bin, other := create("spam", mail.UseJunk), create("bin", mail.UseTrash), create("other", "")
	direct := f.append(spam, note(1), store.Append{})
	x := f.append(f.inbox, note(2), store.Append{})
	var last mail.JournalID
	f.news(&last)
	junk := func() (out []int8) {
		for _, e := range f.news(&last) {
			if e.Command == store.JournalExists {
				out = append(out, e.Junk)
			}
		}
		return out
	}
	wants := func(what string, want ...int8) {
		f.Helper()
		if got := junk(); !slices.Equal(got, want) {
			f.Errorf("%s: junk %v, want %v", what, got, want)
		}
	}
	box, uid := f.inbox, x.UID
	move := func(to mail.MailboxID) {
		f.Helper()
		res, err := f.s.Move(f.ctx, f.acct, box, to, mail.OneUID(uid))
		f.must(err)
		box, uid = to, res.To[0]
	}
	move(other)
	wants("between ordinary mailboxes", 0)
	move(spam)
	wants("into \\Junk", 1)
	f.update(box, store.FlagUpdate{UIDs: mail.OneUID(uid), Flags: f.flags(`\Flagged`)})
	move(spam)
	wants("within \\Junk", 0)
	f.reopen()
	move(bin)
	wants("into \\Trash", 0)
	move(other)
	wants("out of \\Trash", -1)
	move(f.inbox)
	wants("on", 0)
	_, err := f.s.Copy(f.ctx, f.acct, box, spam, mail.OneUID(uid), 0)
	f.must(err)
	wants("a copy into \\Junk", 1)
	move(other)
	wants("what was copied itself", 0)
	box, uid = spam, direct.UID
	move(other)
	if got := junk(); len(got) != 1 || got[0] > 0 { // an engine may take what was delivered there for junk as well
		f.Errorf("delivered into \\Junk: junk %v, want 0 or -1", got)
	}
}

func journalPaging(f *fixture) {
	f.fill(f.inbox, 20)
	all := f.journal(mail.JournalID{})
	if len(all) != 20 {
		f.Fatalf("%d entries, want 20", len(all))
	}
	for _, limit := range []int{1, 3, 20, 21} {
		var got []store.JournalEntry
		var after mail.JournalID
		for {
			page, err := f.s.ReadJournal(f.ctx, f.acct, after, limit)
			f.must(err)
			if len(page) > limit {
				f.Fatalf("limit %d: %d entries", limit, len(page))
			}
			if len(page) == 0 || len(got) > len(all) {
				break
			}
			got, after = append(got, page...), page[len(page)-1].ID
		}
		if diff := cmp.Diff(all, got, cmp.Comparer(func(a, b mail.Flags) bool { return a == b })); diff != "" {
			f.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
	}
	for i := 1; i < len(all); i++ {
		if slices.Compare(all[i-1].ID[:], all[i].ID[:]) >= 0 || all[i].UID <= all[i-1].UID {
			f.Errorf("entry %+v after %+v", all[i], all[i-1])
		}
	}
	last := mail.JournalID{}
	for i := range last {
		last[i] = 0xff
	}
	if got := f.journal(last); len(got) != 0 {
		f.Errorf("after the end: %+v", got)
	}
}

func journalPerAccount(f *fixture) {
	f.fill(f.inbox, 2)
	mine := f.acct
	f.acct = f.account("other", "INBOX").ID
	if got := f.journal(mail.JournalID{}); len(got) != 0 {
		f.Errorf("another account sees %+v", got)
	}
	_, err := f.s.JournalHead(f.ctx, mail.AccountID{5})
	f.wants("head of an unknown account", err, mail.CodeNoAccount)
	_, err = f.s.ReadJournal(f.ctx, mail.AccountID{5}, mail.JournalID{}, 1)
	f.wants("journal of an unknown account", err, mail.CodeNoAccount)
	f.acct = mine
	if got := f.journal(mail.JournalID{}); len(got) != 2 {
		f.Errorf("%d entries, want 2", len(got))
	}
}
