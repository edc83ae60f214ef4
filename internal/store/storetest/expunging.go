package storetest

import (
	"slices"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func expungeCases() []caseFunc {
	return []caseFunc{
		{"Expunge", expungeSome},
		{"OnlyDeleted", expungeOnlyDeleted},
		{"Nothing", expungeNothing},
		{"Delete", expungeDelete},
		{"OpenBody", expungeOpenBody},
		{"DeletedMailboxBody", expungeDeletedMailboxBody},
		{"OpenBodyOfDeletedAccount", expungeDeletedAccountBody},
	}
}

func expungeSome(f *fixture) {
	u := uidsOf(f.fill(f.inbox, 8, `\Deleted`))
	before := f.box(f.inbox)
	res, err := f.s.Expunge(f.ctx, f.acct, f.inbox, ranges(u[1], u[3], u[6], u[6], u[7]+4, u[7]+9), false)
	f.must(err)
	f.sameUIDs("result", collect(res.UIDs), []mail.UID{u[1], u[2], u[3], u[6]})
	f.sameUIDs("left", f.uids(f.inbox, store.FetchQuery{}), []mail.UID{u[0], u[4], u[5], u[7]})
	b := f.counted(f.inbox)
	if res.ModSeq <= before.HighestModSeq || b.HighestModSeq < res.ModSeq || b.Messages != 4 || b.Deleted != 4 || b.Unseen != 4 || b.Size != f.used() {
		f.Errorf("result %+v, mailbox %+v, StorageUsed %d", res, b, f.used())
	}
	if b.UIDNext < before.UIDNext {
		f.Errorf("UIDNEXT went from %d to %d", before.UIDNext, b.UIDNext)
	}
	_, err = f.s.Open(f.ctx, f.acct, f.inbox, u[1])
	f.wants("open of an expunged message", err, mail.CodeNotFound)
	_, err = f.s.Open(f.ctx, f.acct, f.inbox, u[7]+20)
	f.wants("open of a message that never was", err, mail.CodeNotFound)
	res, err = f.s.Expunge(f.ctx, f.acct, f.inbox, mail.AllUIDs(), false)
	if f.must(err); res.UIDs.Count() != 4 || f.used() != 0 {
		f.Errorf("the rest: %+v, StorageUsed %d", res, f.used())
	}
}

// expungeDelete: what Delete removes is gone from the mailbox, kept somewhere or not.
func expungeDelete(f *fixture) {
	u := uidsOf(f.fill(f.inbox, 4))
	left := u
	for i, keep := range []bool{true, false} {
		before := f.box(f.inbox)
		res, err := f.s.Delete(f.ctx, f.acct, f.inbox, ranges(u[i], u[i], u[3]+5, u[3]+9), keep)
		f.must(err)
		left = left[1:]
		f.sameUIDs("result", collect(res.UIDs), []mail.UID{u[i]})
		f.sameUIDs("left", f.uids(f.inbox, store.FetchQuery{}), left)
		if b := f.counted(f.inbox); res.ModSeq <= before.HighestModSeq || b.HighestModSeq < res.ModSeq || b.Size != f.used() {
			f.Errorf("result %+v, mailbox %+v, StorageUsed %d", res, b, f.used())
		}
	}
}

func expungeOnlyDeleted(f *fixture) {
	u := uidsOf(f.fill(f.inbox, 4))
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.UIDSetOf(u[0], u[2], u[3]), Flags: f.flags(`\Deleted`)})
	res, err := f.s.Expunge(f.ctx, f.acct, f.inbox, ranges(u[0], u[2]), true)
	f.must(err)
	f.sameUIDs("result", collect(res.UIDs), []mail.UID{u[0], u[2]})
	f.sameUIDs("left", f.uids(f.inbox, store.FetchQuery{}), []mail.UID{u[1], u[3]})
	if b := f.counted(f.inbox); b.Deleted != 1 || b.Messages != 2 {
		f.Errorf("mailbox is %+v", b)
	}
}

func expungeNothing(f *fixture) {
	f.fill(f.inbox, 2)
	before := f.box(f.inbox)
	head, err := f.s.JournalHead(f.ctx, f.acct)
	f.must(err)
	for _, try := range []struct {
		set         mail.UIDSet
		onlyDeleted bool
	}{{nil, false}, {ranges(9, 10), false}, {mail.AllUIDs(), true}} {
		res, err := f.s.Expunge(f.ctx, f.acct, f.inbox, try.set, try.onlyDeleted)
		if f.must(err); len(res.UIDs) != 0 || res.ModSeq != 0 {
			f.Errorf("%+v: %+v, want nothing", try, res)
		}
	}
	if b := f.counted(f.inbox); b.HighestModSeq != before.HighestModSeq || b.Messages != 2 {
		f.Errorf("expunging nothing made %+v of %+v", b, before)
	}
	if now, err := f.s.JournalHead(f.ctx, f.acct); err != nil || now != head {
		f.Errorf("expunging nothing made journal entries (%v)", err)
	}
}

// A body that is open stays readable when its message goes.
func expungeOpenBody(f *fixture) {
	u := uidsOf(f.rich(f.inbox))
	var bodies []store.Body
	var want [][]byte
	for _, uid := range u {
		want = append(want, f.content(f.inbox, uid))
		b, err := f.s.Open(f.ctx, f.acct, f.inbox, uid)
		f.must(err)
		bodies = append(bodies, b)
	}
	_, err := f.s.Expunge(f.ctx, f.acct, f.inbox, mail.AllUIDs(), false)
	f.must(err)
	f.fill(f.inbox, 5)
	f.maintain()
	f.sameBodies(bodies, want)
}

func expungeDeletedMailboxBody(f *fixture) {
	box := f.mailbox("gone")
	a := f.rich(box.ID)[1]
	want := f.content(box.ID, a.UID)
	b, err := f.s.Open(f.ctx, f.acct, box.ID, a.UID)
	f.must(err)
	f.must(f.s.DeleteMailbox(f.ctx, f.acct, box.ID, 0))
	f.maintain()
	f.sameBodies([]store.Body{b}, [][]byte{want})
}

// A message that is being read stays readable when its whole account goes.
func expungeDeletedAccountBody(f *fixture) {
	other := f.account("other", "INBOX").ID
	box, err := f.s.MailboxByPath(f.ctx, other, mail.Inbox)
	f.must(err)
	c := multipart("large", attachment(200_000, 76, "\r\n", 8), attachment(5_000, 76, "\r\n", 9))
	st := f.stage(c)
	out, err := f.s.Append(f.ctx, other, box.ID, []store.Append{{Staged: st}})
	f.must(err)
	f.must(st.Close())
	b, err := f.s.Open(f.ctx, other, box.ID, out[0].UID)
	f.must(err)
	f.must(f.s.DeleteAccount(f.ctx, other, time.Time{}))
	f.maintain()
	f.maintain()
	f.sameBodies([]store.Body{b}, [][]byte{sourceOf(c)})
	f.maintain() // now it may go
}

// sameBodies reads bodies and closes them.
func (f *fixture) sameBodies(bodies []store.Body, want [][]byte) {
	f.Helper()
	for i, b := range bodies {
		got, err := readBody(b)
		if err != nil || !slices.Equal(got, want[i]) {
			f.Errorf("body %d is %q (%v), want %q", i, cut(got), err, cut(want[i]))
		}
	}
}
