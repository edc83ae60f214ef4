package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func fetchCases() []caseFunc {
	return []caseFunc{
		{"Fields", fetchFields},
		{"Order", fetchOrder},
		{"Sets", fetchSets},
		{"DatePaging", fetchDatePaging},
		{"DatePagingGone", fetchDatePagingGone},
		{"Limit", fetchLimit},
		{"ChangedSince", fetchChangedSince},
		{"Known", fetchKnown},
		{"KnownChanges", fetchKnownChanges},
		{"RowOpen", fetchRowOpen},
		{"Break", fetchBreak},
		{"WhileExpunging", fetchWhileExpunging},
		{"ChangingInside", fetchChangingInside},
	}
}

// rowOptions compares rows as values.
func rowOptions() cmp.Options {
	return cmp.Options{
		loose(), cmpopts.IgnoreFields(store.Row{}, "Open"),
		cmp.Comparer(func(a, b mail.Flags) bool { return a == b }),
	}
}

func fetchFields(f *fixture) {
	c := multipart("fields", part{typ: "text/plain", encoding: "7bit", body: "text"}, attachment(3000, 76, "\r\n", 4))
	a := f.append(f.inbox, c, store.Append{
		Prefix: []byte("P: 1\r\n"), Flags: f.flags(`\Seen`, `\Draft`, "kw"), InternalDate: testDate(5),
		MetaData: `{"m":1}`, Info: `{"i":1}`, Expires: testDate(9),
	})
	full := store.Row{
		UID: a.UID, ModSeq: a.ModSeq, Flags: f.flags(`\Seen`, `\Draft`, "kw"), InternalDate: testDate(5), Size: a.Size, ID: a.ID, EmailID: a.EmailID,
		Envelope: c.Envelope, BodyStructure: c.BodyStructure, Tree: c.Tree, Summary: c.Summary,
		Header: append([]byte("P: 1\r\n"), c.Header...), PrefixLen: 6,
		ThreadID: a.ThreadID, Expires: testDate(9), MetaData: `{"m":1}`, Info: `{"i":1}`,
	}
	for fields := range allFields + 1 {
		rows := f.rows(f.inbox, store.FetchQuery{Fields: fields})
		if len(rows) != 1 {
			f.Fatalf("fields %b: %d rows", fields, len(rows))
		}
		// A field that was not asked for may be there or not.
		want, got := full, rows[0]
		want.SavedDate = got.SavedDate
		if fields&store.FieldMeta != 0 && got.SavedDate.IsZero() {
			f.Errorf("fields %b: no SavedDate", fields)
		}
		ignoreUnasked(fields, &want, &got)
		if diff := cmp.Diff(want, got, rowOptions()); diff != "" {
			f.Fatalf("fields %b (-want +got):\n%s", fields, diff)
		}
	}
}

// ignoreUnasked takes fields that were not asked for from the row that came.
func ignoreUnasked(fields store.Fields, want, got *store.Row) {
	for _, x := range []struct {
		field     store.Fields
		want, got *[]byte
	}{
		{store.FieldEnvelope, &want.Envelope, &got.Envelope},
		{store.FieldBodyStructure, &want.BodyStructure, &got.BodyStructure},
		{store.FieldTree, &want.Tree, &got.Tree},
		{store.FieldSummary, &want.Summary, &got.Summary},
		{store.FieldHeader, &want.Header, &got.Header},
	} {
		if fields&x.field == 0 {
			*x.want = *x.got
		}
	}
	if fields&(store.FieldTree|store.FieldHeader|store.FieldBody) == 0 {
		want.PrefixLen = got.PrefixLen
	}
	if fields&store.FieldMeta == 0 {
		want.Expires, want.MetaData, want.Info = got.Expires, got.MetaData, got.Info
	}
}

// dated appends messages with dates in seconds, so that UIDs and dates differ in order.
func (f *fixture) dated(seconds ...int) []mail.UID {
	var out []mail.UID
	for i, s := range seconds {
		out = append(out, f.append(f.inbox, note(i), store.Append{InternalDate: testDate(s)}).UID)
	}
	return out
}

func fetchOrder(f *fixture) {
	u := f.dated(50, 10, 40, 10, 50, -30, 10)
	pick := func(indexes ...int) []mail.UID {
		var out []mail.UID
		for _, i := range indexes {
			out = append(out, u[i])
		}
		return out
	}
	byDate := pick(5, 1, 3, 6, 2, 0, 4)
	backwards := func(in []mail.UID) []mail.UID {
		out := slices.Clone(in)
		slices.Reverse(out)
		return out
	}
	f.sameUIDs("ByUID", f.uids(f.inbox, store.FetchQuery{}), u)
	f.sameUIDs("ByUIDDescending", f.uids(f.inbox, store.FetchQuery{Order: store.ByUIDDescending}), backwards(u))
	f.sameUIDs("ByDate", f.uids(f.inbox, store.FetchQuery{Order: store.ByDate}), byDate)
	f.sameUIDs("ByDateDescending", f.uids(f.inbox, store.FetchQuery{Order: store.ByDateDescending}), backwards(byDate))
	set := mail.UIDSetOf(u[0], u[1], u[5])
	f.sameUIDs("ByDate of a set", f.uids(f.inbox, store.FetchQuery{Order: store.ByDate, UIDs: set}), pick(5, 1, 0))
	f.sameUIDs("ByUIDDescending of a set", f.uids(f.inbox, store.FetchQuery{Order: store.ByUIDDescending, UIDs: set}), pick(5, 1, 0))
}

func fetchSets(f *fixture) {
	u := uidsOf(f.fill(f.inbox, 12))
	f.expunge(f.inbox, u[4], u[5])
	last := u[len(u)-1]
	for _, tc := range []struct {
		set  mail.UIDSet
		want []mail.UID
	}{
		{nil, slices.Concat(u[:4], u[6:])},
		{mail.UIDSet{}, nil},
		{mail.AllUIDs(), slices.Concat(u[:4], u[6:])},
		{mail.OneUID(u[2]), u[2:3]},
		{mail.OneUID(u[4]), nil},
		{mail.OneUID(last + 1), nil},
		{ranges(last, ^mail.UID(0)), u[11:]},
		{ranges(^mail.UID(0), ^mail.UID(0)), nil},
		{ranges(u[3], u[6]), []mail.UID{u[3], u[6]}},
		{ranges(1, u[0], u[2], u[2], u[9], u[10], last+5, last+9), []mail.UID{u[0], u[2], u[9], u[10]}},
	} {
		f.sameUIDs("set "+tc.set.String(), f.uids(f.inbox, store.FetchQuery{UIDs: tc.set}), tc.want)
	}
}

func fetchDatePaging(f *fixture) {
	f.dated(7, 7, 7, 3, 3, 9, 7, 7, 1, 9, 9, 3, 7)
	for _, order := range []store.Order{store.ByDate, store.ByDateDescending} {
		want := f.uids(f.inbox, store.FetchQuery{Order: order})
		for _, limit := range []int{1, 2, 3, 5, 13, 20} {
			var got []mail.UID
			q := store.FetchQuery{Order: order, Limit: limit}
			for {
				rows := f.rows(f.inbox, q)
				if len(rows) > limit {
					f.Fatalf("limit %d: %d rows", limit, len(rows))
				}
				if len(rows) == 0 || len(got) > 20 {
					break
				}
				for _, r := range rows {
					got = append(got, r.UID)
				}
				last := rows[len(rows)-1]
				q.AfterDate, q.AfterUID = last.InternalDate, last.UID
			}
			f.sameUIDs("pages", got, want)
		}
	}
}

// The message behind which a page starts may be gone.
func fetchDatePagingGone(f *fixture) {
	u := f.dated(5, 5, 5, 5, 6)
	f.expunge(f.inbox, u[1])
	f.sameUIDs("ascending", f.uids(f.inbox, store.FetchQuery{Order: store.ByDate, AfterDate: testDate(5), AfterUID: u[1]}), u[2:])
	f.sameUIDs("descending", f.uids(f.inbox, store.FetchQuery{Order: store.ByDateDescending, AfterDate: testDate(5), AfterUID: u[1]}), u[:1])
	f.sameUIDs("between", f.uids(f.inbox, store.FetchQuery{Order: store.ByDate, AfterDate: testDate(5), AfterUID: u[4] + 9}), u[4:])
	f.sameUIDs("behind all", f.uids(f.inbox, store.FetchQuery{Order: store.ByDate, AfterDate: testDate(60), AfterUID: 1}), nil)
	f.sameUIDs("no UID", f.uids(f.inbox, store.FetchQuery{Order: store.ByDate, AfterDate: testDate(60)}), []mail.UID{u[0], u[2], u[3], u[4]})
}

func fetchLimit(f *fixture) {
	u := uidsOf(f.fill(f.inbox, 5))
	f.expunge(f.inbox, u[0])
	f.sameUIDs("first", f.uids(f.inbox, store.FetchQuery{Limit: 2}), u[1:3])
	f.sameUIDs("last", f.uids(f.inbox, store.FetchQuery{Limit: 2, Order: store.ByUIDDescending}), []mail.UID{u[4], u[3]})
	f.sameUIDs("of a set", f.uids(f.inbox, store.FetchQuery{Limit: 1, UIDs: ranges(u[0], u[2])}), u[1:2])
	f.sameUIDs("more than there are", f.uids(f.inbox, store.FetchQuery{Limit: 9}), u[1:])
}

func fetchChangedSince(f *fixture) {
	a := f.fill(f.inbox, 4)
	u := uidsOf(a)
	res := f.update(f.inbox, store.FlagUpdate{UIDs: mail.UIDSetOf(u[0], u[2]), Flags: f.flags(`\Seen`)})
	f.sameUIDs("since nothing", f.uids(f.inbox, store.FetchQuery{ChangedSince: 0}), u)
	f.sameUIDs("since the third", f.uids(f.inbox, store.FetchQuery{ChangedSince: a[2].ModSeq}), []mail.UID{u[0], u[2], u[3]})
	f.sameUIDs("since the last append", f.uids(f.inbox, store.FetchQuery{ChangedSince: a[3].ModSeq}), []mail.UID{u[0], u[2]})
	f.sameUIDs("of a set", f.uids(f.inbox, store.FetchQuery{ChangedSince: a[3].ModSeq, UIDs: ranges(u[1], u[3])}), u[2:3])
	f.sameUIDs("limited", f.uids(f.inbox, store.FetchQuery{ChangedSince: a[3].ModSeq, Limit: 1, Order: store.ByUIDDescending}), u[2:3])
	f.sameUIDs("since now", f.uids(f.inbox, store.FetchQuery{ChangedSince: res.ModSeq}), nil)
	f.sameUIDs("since the future", f.uids(f.inbox, store.FetchQuery{ChangedSince: 1 << 62}), nil)
}

// knownRows are the messages of a mailbox as Changes tells of them.
func (f *fixture) knownRows(mbox mail.MailboxID) []mail.HotRow {
	return slices.Collect(f.changes(mbox, 0).Changed.All())
}

// sameKnown compares the rows of a query of which the messages are known with those of one that reads them all.
func (f *fixture) sameKnown(what string, mbox mail.MailboxID, q store.FetchQuery) {
	f.Helper()
	want := f.rows(mbox, q)
	q.Known = f.knownRows(mbox)
	for round := range 2 { // an engine may have them in memory the second time
		got := f.rows(mbox, q)
		if len(got) != len(want) {
			f.Fatalf("%s, round %d: %d rows, want %d", what, round, len(got), len(want))
		}
		for i := range got {
			ignoreUnasked(q.Fields, &got[i], &want[i])
			if q.Fields&store.FieldMeta == 0 {
				got[i].SavedDate, got[i].Junk = want[i].SavedDate, want[i].Junk
			}
		}
		if diff := cmp.Diff(want, got, rowOptions()); diff != "" {
			f.Fatalf("%s, round %d (-want +got):\n%s", what, round, diff)
		}
	}
}

func fetchKnown(f *fixture) {
	var u []mail.UID
	for i := range 12 {
		c := multipart(fmt.Sprint("m", i), part{typ: "text/plain", encoding: "7bit", body: fmt.Sprint("text ", i)}, attachment(300*i, 76, "\r\n", uint64(i)))
		in := store.Append{InternalDate: testDate(i), Flags: f.flags(`\Seen`, "kw")}
		switch {
		case i%3 == 0:
			in.Prefix = []byte("P: 1\r\n")
		case i == 5:
			in.Flags = f.flags(`\Draft`)
		}
		u = append(u, f.append(f.inbox, c, in).UID)
	}
	f.expunge(f.inbox, u[3], u[4])
	trash := f.path("Trash").ID
	_, err := f.s.Copy(f.ctx, f.acct, f.inbox, trash, mail.UIDSetOf(u[0], u[1], u[5]), 0)
	f.must(err)
	_, err = f.s.Move(f.ctx, f.acct, f.inbox, trash, mail.UIDSetOf(u[2], u[6]))
	f.must(err)
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.UIDSetOf(u[0], u[7], u[5]), Flags: f.flags(`\Answered`)})
	for fields := range allFields + 1 {
		f.sameKnown(fmt.Sprintf("fields %b", fields), f.inbox, store.FetchQuery{Fields: fields})
	}
	f.sameKnown("of copies", trash, store.FetchQuery{Fields: allFields &^ store.FieldMeta})
	for _, q := range []store.FetchQuery{
		{Limit: 3}, {Order: store.ByUIDDescending}, {Order: store.ByUIDDescending, Limit: 2}, {Order: store.ByDate}, {Order: store.ByDateDescending, Limit: 4},
		{UIDs: ranges(u[1], u[8])}, {UIDs: mail.UIDSetOf(u[0], u[5], u[9]), Order: store.ByUIDDescending}, {UIDs: mail.UIDSet{}}, {UIDs: mail.OneUID(u[3])},
		{ChangedSince: f.knownRows(f.inbox)[4].ModSeq},
	} {
		q.Fields = store.FieldEnvelope
		f.sameKnown(fmt.Sprintf("query %+v", q), f.inbox, q)
	}
	// What is not known may be left out; what is must come.
	known := f.knownRows(f.inbox)
	rows := f.rows(f.inbox, store.FetchQuery{Known: known[1:3]})
	for _, k := range known[1:3] {
		if !slices.ContainsFunc(rows, func(r store.Row) bool { return r.UID == k.UID }) {
			f.Errorf("UID %d, which is known, does not come", k.UID)
		}
	}
}

// What is read of messages that are known is right also after they were changed, copied, moved and read by others, and
// their content is what it was.
func fetchKnownChanges(f *fixture) {
	c := multipart("known", part{typ: "text/plain", encoding: "7bit", body: "text"}, attachment(3000, 76, "\r\n", 4))
	raw := sourceOf(c)
	a := f.append(f.inbox, c, store.Append{InternalDate: testDate(1)})
	for i, name := range []string{`\Seen`, `\Draft`, "kw"} {
		f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(a.UID), Flags: f.flags(name)})
		known := f.knownRows(f.inbox)
		for row, err := range f.s.Fetch(f.ctx, f.acct, f.inbox, store.FetchQuery{Known: known, Fields: allFields &^ store.FieldMeta}) {
			f.must(err)
			if !row.Flags.Has(mail.Seen) || row.ModSeq != known[0].ModSeq || row.ID != a.ID || row.Size != a.Size {
				f.Errorf("change %d: %+v", i, row)
			}
			b, err := row.Open()
			f.must(err)
			if got, err := readBody(b); err != nil || !bytes.Equal(got, raw) {
				f.Errorf("change %d: %q (%v)", i, cut(got), err)
			}
		}
	}
	// A row of a message that was expunged meanwhile may come, and is right then.
	known := f.knownRows(f.inbox)
	f.expunge(f.inbox, a.UID)
	for row, err := range f.s.Fetch(f.ctx, f.acct, f.inbox, store.FetchQuery{Known: known, Fields: store.FieldEnvelope}) {
		f.must(err)
		if row.UID != a.UID || string(row.Envelope) != string(c.Envelope) {
			f.Errorf("after the expunge: %+v", row)
		}
	}
	if rows := f.rows(f.inbox, store.FetchQuery{Known: f.knownRows(f.inbox)}); len(rows) != 0 {
		f.Errorf("%d rows of messages that nobody knows", len(rows))
	}
}

func fetchRowOpen(f *fixture) {
	raws := [][]byte{}
	for i, c := range []*store.Content{note(1), multipart("big", attachment(300_000, 76, "\r\n", 5)), content(nil, "7bit")} {
		raws = append(raws, append([]byte("P: x\r\n"), sourceOf(c)...))
		f.append(f.inbox, c, store.Append{Prefix: []byte("P: x\r\n"), InternalDate: testDate(i)})
	}
	for _, fields := range []store.Fields{0, store.FieldBody, allFields} {
		i := 0
		for row, err := range f.s.Fetch(f.ctx, f.acct, f.inbox, store.FetchQuery{Fields: fields}) {
			f.must(err)
			for range 2 { // a row can be opened more than once
				b, err := row.Open()
				f.must(err)
				got, err := readBody(b)
				if f.must(err); !bytes.Equal(got, raws[i]) || b.Size() != row.Size {
					f.Errorf("fields %b, row %d: %q of %d, want %q", fields, i, cut(got), b.Size(), cut(raws[i]))
				}
			}
			i++
		}
		if i != len(raws) {
			f.Errorf("fields %b: %d rows", fields, i)
		}
	}
}

func fetchBreak(f *fixture) {
	u := uidsOf(f.fill(f.inbox, 10))
	for range 100 { // leaks of whatever a loop holds would show
		for row, err := range f.s.Fetch(f.ctx, f.acct, f.inbox, store.FetchQuery{Fields: allFields}) {
			if f.must(err); row.UID != u[0] {
				f.Fatalf("first row is %d", row.UID)
			}
			break
		}
	}
	func() {
		defer func() { _ = recover() }()
		for range f.s.Fetch(f.ctx, f.acct, f.inbox, store.FetchQuery{Fields: allFields}) {
			panic("in the middle of a loop")
		}
	}()
	seq := f.s.Fetch(f.ctx, f.acct, f.inbox, store.FetchQuery{})
	for range 2 { // the sequence can be read again
		n := 0
		for _, err := range seq {
			f.must(err)
			n++
		}
		if n != 10 {
			f.Errorf("%d rows, want 10", n)
		}
	}
	f.must(f.s.DeleteMailbox(f.ctx, f.acct, f.path("Trash").ID, 0)) // nothing is locked
}

// Messages that go away during a loop may be missing; each row that comes is whole.
func fetchWhileExpunging(f *fixture) {
	c := multipart("x", attachment(40_000, 76, "\r\n", 6))
	raw := sourceOf(c)
	for range 30 {
		f.append(f.inbox, c, store.Append{})
	}
	n := 0
	for row, err := range f.s.Fetch(f.ctx, f.acct, f.inbox, store.FetchQuery{Fields: allFields}) {
		f.must(err)
		if n == 3 {
			_, err := f.s.Expunge(f.ctx, f.acct, f.inbox, ranges(row.UID, ^mail.UID(0)), false)
			f.must(err)
		}
		n++
		if string(row.Envelope) != string(c.Envelope) || row.Size != c.Size {
			f.Errorf("row %d is %+v", row.UID, row)
		}
		b, err := row.Open()
		if mail.CodeOf(err) == mail.CodeNotFound && err != nil && n > 3 {
			continue // gone in between
		}
		f.must(err)
		if got, err := readBody(b); err != nil || !bytes.Equal(got, raw) {
			f.Errorf("row %d: %q (%v)", row.UID, cut(got), err)
		}
	}
	if n < 4 {
		f.Errorf("%d rows", n)
	}
}

// The store can be used inside a loop over its rows.
func fetchChangingInside(f *fixture) {
	f.fill(f.inbox, 10)
	trash := f.path("Trash").ID
	for row, err := range f.s.Fetch(f.ctx, f.acct, f.inbox, store.FetchQuery{Fields: allFields, Order: store.ByDate}) {
		f.must(err)
		f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(row.UID), Flags: f.flags(`\Answered`)})
		_, err := f.s.Copy(f.ctx, f.acct, f.inbox, trash, mail.OneUID(row.UID), 0)
		f.must(err)
		f.append(trash, note(1), store.Append{})
	}
	if b := f.counted(trash); b.Messages != 20 {
		f.Errorf("%d messages, want 20", b.Messages)
	}
	for _, r := range f.rows(f.inbox, store.FetchQuery{}) {
		if !r.Flags.Has(mail.Answered) {
			f.Errorf("UID %d has flags %v", r.UID, r.Flags.List())
		}
	}
}

// limitedWriter fails after n octets.
type limitedWriter struct {
	n   int64
	err error
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > w.n {
		n := int(w.n)
		w.n = 0
		return n, w.err
	}
	w.n -= int64(len(p))
	return len(p), nil
}

var _ io.Writer = (*limitedWriter)(nil)

// errPipe stands for a client that went away.
var errPipe = errors.New("broken pipe")
