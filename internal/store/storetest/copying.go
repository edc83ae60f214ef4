package storetest

import (
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func copyCases() []caseFunc {
	return []caseFunc{
		{"Copy", copyMessages},
		{"SameMailbox", copySameMailbox},
		{"Nothing", copyNothing},
		{"Quota", copyQuota},
		{"Expires", copyExpires},
		{"AppendExpires", appendExpires},
		{"OriginalGoes", copyOriginalGoes},
		{"Move", moveMessages},
		{"MoveSameMailbox", moveSameMailbox},
		{"MoveAll", moveAll},
		{"MoveQuota", moveQuota},
	}
}

// rich appends messages that differ in everything.
func (f *fixture) rich(mbox mail.MailboxID) []store.Appended {
	contents := []*store.Content{note(1), multipart("rich", attachment(200_000, 76, "\r\n", 7)), content([]byte("X: y\r\n\r\nno more"), "7bit"), thread("t", "a@b")}
	var out []store.Appended
	for i, c := range contents {
		out = append(out, f.append(mbox, c, store.Append{
			Prefix: []byte("X: y\r\n")[:6*(i%2)], Flags: f.flags([]string{`\Seen`, `\Deleted`, "Kw", `\Draft`}[i], "all"),
			InternalDate: testDate(i * 1000), MetaData: `{"m":1}`[:7*(i/2)], Info: `{"i":1}`[:7*(i%2)], Expires: testDate(i),
		}))
	}
	return out
}

// sameMessages fails the test when copies differ from originals in what they share.
func (f *fixture) sameMessages(from, to []store.Row) {
	f.Helper()
	if len(from) != len(to) {
		f.Fatalf("%d messages, %d copies", len(from), len(to))
	}
	for i := range from {
		want, got := from[i], to[i]
		if want.ID == got.ID {
			f.Errorf("the copy of UID %d has the same id", want.UID)
		}
		want.ID, want.UID, want.ModSeq, want.SavedDate, want.Expires = got.ID, got.UID, got.ModSeq, got.SavedDate, got.Expires
		if diff := cmp.Diff(want, got, rowOptions()); diff != "" {
			f.Errorf("copy (-original +copy):\n%s", diff)
		}
	}
}

func copyMessages(f *fixture) {
	src := uidsOf(f.rich(f.inbox))
	dst := f.mailbox("dst")
	f.fill(dst.ID, 2)
	f.expunge(f.inbox, src[2])
	before, used := f.rows(f.inbox, store.FetchQuery{Fields: allFields}), f.used()
	dstBefore := f.box(dst.ID)
	res, err := f.s.Copy(f.ctx, f.acct, f.inbox, dst.ID, ranges(src[0], src[3], src[3]+5, src[3]+9), 0)
	f.must(err)
	f.sameUIDs("From", res.From, []mail.UID{src[0], src[1], src[3]})
	if res.UIDValidity != dst.UIDValidity || len(res.To) != 3 || !slices.IsSorted(res.To) || res.To[0] < dstBefore.UIDNext {
		f.Errorf("result is %+v, UIDVALIDITY %d, UIDNEXT was %d", res, dst.UIDValidity, dstBefore.UIDNext)
	}
	copies := f.rows(dst.ID, store.FetchQuery{Fields: allFields, UIDs: mail.UIDSetOf(res.To...)})
	f.sameMessages(before, copies)
	for i, c := range copies {
		if got, want := f.content(dst.ID, c.UID), f.content(f.inbox, res.From[i]); string(got) != string(want) {
			f.Errorf("copy %d is %q, want %q", c.UID, cut(got), cut(want))
		}
		if c.ModSeq <= dstBefore.HighestModSeq {
			f.Errorf("copy %d has mod-sequence %d, the mailbox had %d before", c.UID, c.ModSeq, dstBefore.HighestModSeq)
		}
	}
	if diff := cmp.Diff(before, f.rows(f.inbox, store.FetchQuery{Fields: allFields}), rowOptions()); diff != "" {
		f.Errorf("originals (-before +after):\n%s", diff)
	}
	b := f.counted(dst.ID)
	if b.Messages != 5 || b.Unseen != 4 || b.Deleted != 1 || f.used() != used+copies[0].Size+copies[1].Size+copies[2].Size {
		f.Errorf("destination is %+v, StorageUsed %d", b, f.used())
	}
	sameKeywords(f, b.Keywords, "all")
}

func copySameMailbox(f *fixture) {
	f.rich(f.inbox)
	before := f.rows(f.inbox, store.FetchQuery{Fields: allFields})
	for range 3 {
		res, err := f.s.Copy(f.ctx, f.acct, f.inbox, f.inbox, ranges(1, before[3].UID), 0)
		f.must(err)
		f.sameMessages(before, f.rows(f.inbox, store.FetchQuery{Fields: allFields, UIDs: mail.UIDSetOf(res.To...)}))
	}
	if b := f.counted(f.inbox); b.Messages != 16 || f.used() != b.Size {
		f.Errorf("mailbox is %+v, StorageUsed %d", b, f.used())
	}
	// Copying all does not copy the copies that this makes.
	res, err := f.s.Copy(f.ctx, f.acct, f.inbox, f.inbox, mail.AllUIDs(), 0)
	if f.must(err); len(res.To) != 16 {
		f.Errorf("%d copies of 16", len(res.To))
	}
}

func copyNothing(f *fixture) {
	dst := f.mailbox("dst")
	f.fill(f.inbox, 1)
	head, err := f.s.JournalHead(f.ctx, f.acct)
	f.must(err)
	before := f.box(dst.ID)
	for _, set := range []mail.UIDSet{nil, ranges(7, 9)} {
		res, err := f.s.Copy(f.ctx, f.acct, f.inbox, dst.ID, set, 1)
		f.must(err)
		moved, err := f.s.Move(f.ctx, f.acct, f.inbox, dst.ID, set)
		f.must(err)
		for _, r := range []*store.CopyResult{res, moved} {
			if len(r.From)+len(r.To) != 0 || r.UIDValidity != dst.UIDValidity || r.SourceModSeq != 0 {
				f.Errorf("result is %+v", r)
			}
		}
	}
	if b := f.box(dst.ID); b.UIDNext != before.UIDNext || b.HighestModSeq != before.HighestModSeq {
		f.Errorf("copying nothing made %+v of %+v", b, before)
	}
	if now, err := f.s.JournalHead(f.ctx, f.acct); err != nil || now != head {
		f.Errorf("copying nothing made journal entries (%v)", err)
	}
}

func copyQuota(f *fixture) {
	dst := f.mailbox("dst")
	f.append(f.inbox, sized(100), store.Append{})
	f.append(f.inbox, sized(100), store.Append{})
	_, err := f.s.Copy(f.ctx, f.acct, f.inbox, dst.ID, mail.AllUIDs(), 399)
	f.wants("one octet too many", err, mail.CodeOverQuota)
	if b := f.counted(dst.ID); b.Messages != 0 || f.used() != 200 {
		f.Errorf("a refused copy left %+v, StorageUsed %d", b, f.used())
	}
	_, err = f.s.Copy(f.ctx, f.acct, f.inbox, dst.ID, mail.AllUIDs(), 400)
	f.must(err)
	_, err = f.s.Copy(f.ctx, f.acct, f.inbox, dst.ID, mail.OneUID(1), 400)
	f.wants("full", err, mail.CodeOverQuota)
	_, err = f.s.Copy(f.ctx, f.acct, f.inbox, dst.ID, mail.OneUID(1), 0)
	f.must(err)
}

// What is stored in a mailbox with retention is removed after it, unless the append says when.
func appendExpires(f *fixture) {
	box, err := f.s.CreateMailbox(f.ctx, f.acct, mail.Mailbox{Path: "short", Retention: 48 * time.Hour}, 0)
	f.must(err)
	now := time.Now()
	f.append(box.ID, note(0), store.Append{})
	f.append(box.ID, note(1), store.Append{Expires: testDate(9)})
	f.append(f.inbox, note(2), store.Append{})
	rows := f.rows(box.ID, store.FetchQuery{Fields: store.FieldMeta})
	if d := rows[0].Expires.Sub(now) - 48*time.Hour; d < -2*time.Second || d > time.Minute {
		f.Errorf("in a mailbox with retention a message expires at %v, it is %v", rows[0].Expires, now)
	}
	if !rows[1].Expires.Equal(testDate(9)) {
		f.Errorf("a message that expires at %v expires at %v", testDate(9), rows[1].Expires)
	}
	if rows := f.rows(f.inbox, store.FetchQuery{Fields: store.FieldMeta}); !rows[0].Expires.IsZero() {
		f.Errorf("in a mailbox without retention a message expires at %v", rows[0].Expires)
	}
}

// What comes out of the trash must not be removed later because it was in it.
func copyExpires(f *fixture) {
	keep := f.mailbox("keep")
	trash, err := f.s.CreateMailbox(f.ctx, f.acct, mail.Mailbox{Path: "short", Retention: 48 * time.Hour}, 0)
	f.must(err)
	a := f.append(f.inbox, note(0), store.Append{Expires: testDate(0)})
	b := f.append(f.inbox, note(1), store.Append{})
	set := mail.UIDSetOf(a.UID, b.UID)
	now := time.Now()
	res, err := f.s.Copy(f.ctx, f.acct, f.inbox, trash.ID, set, 0)
	f.must(err)
	for _, r := range f.rows(trash.ID, store.FetchQuery{Fields: store.FieldMeta}) {
		if d := r.Expires.Sub(now) - 48*time.Hour; d < -2*time.Second || d > time.Minute {
			f.Errorf("in a mailbox with retention a copy expires at %v, it is %v", r.Expires, now)
		}
	}
	_, err = f.s.Move(f.ctx, f.acct, trash.ID, keep.ID, mail.UIDSetOf(res.To...))
	f.must(err)
	_, err = f.s.Copy(f.ctx, f.acct, f.inbox, keep.ID, set, 0)
	f.must(err)
	for _, r := range f.rows(keep.ID, store.FetchQuery{Fields: store.FieldMeta}) {
		if !r.Expires.IsZero() {
			f.Errorf("in a mailbox without retention a copy expires at %v", r.Expires)
		}
	}
}

// A copy lives on when the original and everything around it is gone.
func copyOriginalGoes(f *fixture) {
	src, dst := f.mailbox("src"), f.mailbox("dst")
	f.rich(src.ID)
	want := make(map[mail.UID][]byte)
	res, err := f.s.Copy(f.ctx, f.acct, src.ID, dst.ID, mail.AllUIDs(), 0)
	f.must(err)
	for i, u := range res.To {
		want[u] = f.content(src.ID, res.From[i])
	}
	_, err = f.s.Expunge(f.ctx, f.acct, src.ID, ranges(1, 2), false)
	f.must(err)
	f.must(f.s.DeleteMailbox(f.ctx, f.acct, src.ID, 0))
	f.maintain()
	for u, w := range want {
		if got := f.content(dst.ID, u); string(got) != string(w) {
			f.Errorf("UID %d is %q, want %q", u, cut(got), cut(w))
		}
	}
}

func moveMessages(f *fixture) {
	src := uidsOf(f.rich(f.inbox))
	dst := f.mailbox("dst")
	before, used := f.rows(f.inbox, store.FetchQuery{Fields: allFields}), f.used()
	contents := make([][]byte, len(before))
	for i, r := range before {
		contents[i] = f.content(f.inbox, r.UID)
	}
	srcBefore := f.box(f.inbox).HighestModSeq
	res, err := f.s.Move(f.ctx, f.acct, f.inbox, dst.ID, mail.UIDSetOf(src[1:]...))
	f.must(err)
	f.sameUIDs("From", res.From, src[1:])
	if res.UIDValidity != dst.UIDValidity || len(res.To) != 3 || res.SourceModSeq <= srcBefore {
		f.Errorf("result is %+v, HighestModSeq of the source was %d", res, srcBefore)
	}
	f.sameUIDs("source", f.uids(f.inbox, store.FetchQuery{}), src[:1])
	f.sameUIDs("destination", f.uids(dst.ID, store.FetchQuery{}), res.To)
	f.sameMessages(before[1:], f.rows(dst.ID, store.FetchQuery{Fields: allFields}))
	for i, u := range res.To {
		if got := f.content(dst.ID, u); string(got) != string(contents[i+1]) {
			f.Errorf("UID %d is %q, want %q", u, cut(got), cut(contents[i+1]))
		}
	}
	if set := f.changes(f.inbox, srcBefore); !slices.Equal(collect(set.Expunged), src[1:]) || set.Changed.Len() != 0 {
		f.Errorf("changes of the source are %+v", set)
	}
	s, d := f.counted(f.inbox), f.counted(dst.ID)
	if s.Messages != 1 || d.Messages != 3 || s.Size+d.Size != used || f.used() != used || s.HighestModSeq < res.SourceModSeq {
		f.Errorf("source %+v, destination %+v, StorageUsed %d; want it to stay %d", s, d, f.used(), used)
	}
	if s.Unseen != 0 || d.Unseen != 3 || s.Deleted != 0 || d.Deleted != 1 {
		f.Errorf("unseen %d and %d, deleted %d and %d", s.Unseen, d.Unseen, s.Deleted, d.Deleted)
	}
}

func moveSameMailbox(f *fixture) {
	src := uidsOf(f.rich(f.inbox))
	before, used := f.rows(f.inbox, store.FetchQuery{Fields: allFields}), f.used()
	res, err := f.s.Move(f.ctx, f.acct, f.inbox, f.inbox, mail.UIDSetOf(src[0], src[2]))
	f.must(err)
	if len(res.To) != 2 || res.To[0] <= src[3] {
		f.Fatalf("result is %+v", res)
	}
	f.sameUIDs("after", f.uids(f.inbox, store.FetchQuery{}), []mail.UID{src[1], src[3], res.To[0], res.To[1]})
	f.sameMessages([]store.Row{before[0], before[2]}, f.rows(f.inbox, store.FetchQuery{Fields: allFields, UIDs: mail.UIDSetOf(res.To...)}))
	if b := f.counted(f.inbox); b.Messages != 4 || b.Size != used || f.used() != used {
		f.Errorf("mailbox is %+v, StorageUsed %d, want %d", b, f.used(), used)
	}
}

// All messages move back and forth; content and UIDs stay right.
func moveAll(f *fixture) {
	f.rich(f.inbox)
	boxes := []mail.MailboxID{f.inbox, f.mailbox("other").ID}
	var want []string
	for _, r := range f.rows(f.inbox, store.FetchQuery{}) {
		want = append(want, string(f.content(f.inbox, r.UID)))
	}
	highest := map[mail.MailboxID]mail.UID{f.inbox: f.box(f.inbox).UIDNext - 1}
	for i := range 6 {
		from, to := boxes[i%2], boxes[(i+1)%2]
		res, err := f.s.Move(f.ctx, f.acct, from, to, mail.AllUIDs())
		f.must(err)
		if len(res.To) != len(want) || res.To[0] <= highest[to] {
			f.Fatalf("round %d: %+v, the highest UID was %d", i, res, highest[to])
		}
		highest[to] = res.To[len(res.To)-1]
		for k, u := range res.To {
			if got := string(f.content(to, u)); got != want[k] {
				f.Errorf("round %d: UID %d is %q, want %q", i, u, cut([]byte(got)), cut([]byte(want[k])))
			}
		}
	}
}

func moveQuota(f *fixture) {
	f.append(f.inbox, sized(5000), store.Append{})
	_, err := f.s.Move(f.ctx, f.acct, f.inbox, f.path("Trash").ID, mail.AllUIDs())
	f.must(err)
	if f.used() != 5000 {
		f.Errorf("StorageUsed is %d, want 5000", f.used())
	}
}
