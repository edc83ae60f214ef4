package storetest

import (
	"fmt"
	"slices"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func flagCases() []caseFunc {
	return []caseFunc{
		{"Modes", flagModes},
		{"Spelling", flagSpelling},
		{"Result", flagResult},
		{"NoChange", flagNoChange},
		{"UnchangedSince", flagUnchangedSince},
		{"Counters", flagCounters},
		{"MetaData", flagMetaData},
		{"KeywordLimit", flagKeywordLimit},
		{"Empty", flagEmpty},
	}
}

func flagModes(f *fixture) {
	for i, tc := range []struct {
		start []string
		mode  store.FlagMode
		flags []string
		want  []string
	}{
		{nil, store.FlagsAdd, []string{`\Seen`, "a"}, []string{`\Seen`, "a"}},
		{[]string{`\Seen`, "a"}, store.FlagsAdd, []string{`\Draft`, "b"}, []string{`\Seen`, `\Draft`, "a", "b"}},
		{[]string{`\Seen`, "a", "b"}, store.FlagsRemove, []string{`\Seen`, "a", "c"}, []string{"b"}},
		{[]string{`\Seen`, "a", "b"}, store.FlagsReplace, []string{`\Deleted`, "b", "c"}, []string{`\Deleted`, "b", "c"}},
		{[]string{`\Seen`, "a"}, store.FlagsReplace, nil, nil},
		{[]string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`}, store.FlagsRemove, []string{`\Flagged`}, []string{`\Seen`, `\Answered`, `\Deleted`, `\Draft`}},
	} {
		a := f.append(f.inbox, note(i), store.Append{Flags: f.flags(tc.start...)})
		res := f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(a.UID), Mode: tc.mode, Flags: f.flags(tc.flags...)})
		want := f.flags(tc.want...)
		if len(res.Changed) != 1 || res.Changed[0].Flags != want {
			f.Errorf("%d: changed %+v, want flags %v", i, res.Changed, want.List())
		}
		if got := f.row(f.inbox, a.UID).Flags; got != want {
			f.Errorf("%d: flags %v, want %v", i, got.List(), want.List())
		}
	}
}

// Keywords compare without regard to case and keep their first spelling.
func flagSpelling(f *fixture) {
	u := f.fill(f.inbox, 1, "$Label1", "Work")[0].UID
	for _, tc := range []struct {
		mode    store.FlagMode
		flags   []string
		want    string
		changed bool
	}{
		{store.FlagsAdd, []string{"WORK", "$label1"}, "$Label1 Work", false},
		{store.FlagsReplace, []string{"work", "$LABEL1"}, "$Label1 Work", false},
		{store.FlagsAdd, []string{"wORK", "New"}, "$Label1 New Work", true},
		{store.FlagsRemove, []string{"NEW"}, "$Label1 Work", true},
		{store.FlagsReplace, []string{"wORK", "Other"}, "Other Work", true},
		{store.FlagsRemove, []string{"work"}, "Other", true},
		{store.FlagsAdd, []string{"wORK"}, "Other wORK", true},
	} {
		res := f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(u), Mode: tc.mode, Flags: f.flags(tc.flags...)})
		if got := f.row(f.inbox, u).Flags.KeywordString(); got != tc.want || (len(res.Changed) == 1) != tc.changed {
			f.Errorf("mode %d with %v: keywords %q, changed %v; want %q, %v", tc.mode, tc.flags, got, res.Changed, tc.want, tc.changed)
		}
	}
	sameKeywords(f, f.box(f.inbox).Keywords, "$label1", "new", "other", "work")
}

// sameKeywords compares keywords in lower case; want is sorted.
func sameKeywords(f *fixture, got []string, want ...string) {
	f.Helper()
	if got := lowerSorted(got); !slices.Equal(got, want) {
		f.Errorf("the mailbox has keywords %q, want %q", got, want)
	}
}

func flagResult(f *fixture) {
	u := uidsOf(f.fill(f.inbox, 6))
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(u[2]), Flags: f.flags(`\Seen`)})
	f.expunge(f.inbox, u[4])
	before := f.box(f.inbox).HighestModSeq
	res := f.update(f.inbox, store.FlagUpdate{UIDs: ranges(u[1], u[5], u[5]+3, u[5]+90), Flags: f.flags(`\Seen`)})
	f.sameUIDs("changed", hotUIDs(res.Changed), []mail.UID{u[1], u[3], u[5]})
	f.sameUIDs("existing", hotUIDs(res.Existing), []mail.UID{u[1], u[2], u[3], u[5]})
	if res.ModSeq <= before || len(res.Modified) != 0 || f.box(f.inbox).HighestModSeq < res.ModSeq {
		f.Errorf("result is %+v, HighestModSeq was %d and is %d", res, before, f.box(f.inbox).HighestModSeq)
	}
	byUID := make(map[mail.UID]mail.HotRow)
	for _, r := range f.rows(f.inbox, store.FetchQuery{}) {
		byUID[r.UID] = mail.HotRow{UID: r.UID, ModSeq: r.ModSeq, Flags: r.Flags, Octets: r.Size}
	}
	for _, h := range slices.Concat(res.Changed, res.Existing) {
		if byUID[h.UID] != h {
			f.Errorf("result has %+v, the message is %+v", h, byUID[h.UID])
		}
	}
	for _, h := range res.Changed {
		if h.ModSeq != res.ModSeq {
			f.Errorf("changed %+v, want mod-sequence %d for all", h, res.ModSeq)
		}
	}
	if byUID[u[2]].ModSeq >= res.ModSeq || byUID[u[0]].ModSeq >= res.ModSeq {
		f.Error("a message that did not change got the new mod-sequence")
	}
}

func hotUIDs(rows []mail.HotRow) []mail.UID {
	var out []mail.UID
	for _, r := range rows {
		out = append(out, r.UID)
	}
	return out
}

func flagNoChange(f *fixture) {
	u := f.fill(f.inbox, 2, `\Seen`, "a")
	before := f.box(f.inbox).HighestModSeq
	head, err := f.s.JournalHead(f.ctx, f.acct)
	f.must(err)
	for _, upd := range []store.FlagUpdate{
		{Mode: store.FlagsAdd, Flags: f.flags(`\Seen`)},
		{Mode: store.FlagsAdd},
		{Mode: store.FlagsRemove, Flags: f.flags(`\Draft`, "b")},
		{Mode: store.FlagsReplace, Flags: f.flags("A", `\Seen`)},
	} {
		upd.UIDs = mail.AllUIDs()
		res := f.update(f.inbox, upd)
		if res.ModSeq != 0 || len(res.Changed) != 0 || len(res.Existing) != 2 {
			f.Errorf("%+v: %+v, want no change", upd, res)
		}
	}
	if b := f.box(f.inbox); b.HighestModSeq != before {
		f.Errorf("HighestModSeq went from %d to %d without a change", before, b.HighestModSeq)
	}
	if set := f.changes(f.inbox, before); set.Changed.Len() != 0 {
		f.Errorf("changes %+v without a change", set)
	}
	if now, err := f.s.JournalHead(f.ctx, f.acct); err != nil || now != head {
		f.Errorf("journal entries without a change (%v)", err)
	}
	if r := f.row(f.inbox, u[0].UID); r.ModSeq != u[0].ModSeq {
		f.Errorf("mod-sequence went from %d to %d without a change", u[0].ModSeq, r.ModSeq)
	}
}

func flagUnchangedSince(f *fixture) {
	u := f.fill(f.inbox, 4)
	touched := f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(u[1].UID), Flags: f.flags(`\Flagged`)})
	try := func(since mail.ModSeq, want ...mail.UID) *store.FlagResult {
		f.Helper()
		res := f.update(f.inbox, store.FlagUpdate{UIDs: ranges(1, u[3].UID+9), UnchangedSince: &since, Mode: store.FlagsAdd, Flags: f.flags(fmt.Sprintf("since%d", since))})
		f.sameUIDs(fmt.Sprintf("modified since %d", since), collect(res.Modified), want)
		f.sameUIDs("existing", hotUIDs(res.Existing), uidsOf(u))
		return res
	}
	// All have changed since 0.
	if res := try(0, uidsOf(u)...); res.ModSeq != 0 {
		f.Errorf("result is %+v, want no change", res)
	}
	res := try(u[3].ModSeq, u[1].UID)
	f.sameUIDs("changed", hotUIDs(res.Changed), []mail.UID{u[0].UID, u[2].UID, u[3].UID})
	if got := f.row(f.inbox, u[1].UID); got.ModSeq != touched.ModSeq || got.Flags != f.flags(`\Flagged`) {
		f.Errorf("the modified message is %+v", got)
	}
	// Exactly the mod-sequence is not a change since then.
	res = try(touched.ModSeq, u[0].UID, u[2].UID, u[3].UID)
	f.sameUIDs("changed", hotUIDs(res.Changed), []mail.UID{u[1].UID})
	// It is checked before whether anything would change at all.
	since := u[0].ModSeq
	res = f.update(f.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), UnchangedSince: &since, Mode: store.FlagsAdd})
	f.sameUIDs("modified without a change", collect(res.Modified), uidsOf(u))
}

// collect returns the UIDs of a small set.
func collect(set mail.UIDSet) []mail.UID { return slices.Collect(set.All()) }

func flagCounters(f *fixture) {
	f.fill(f.inbox, 3)
	f.fill(f.inbox, 2, `\Seen`, `\Deleted`)
	for i, tc := range []struct {
		set             mail.UIDSet
		mode            store.FlagMode
		flags           []string
		unseen, deleted int64
	}{
		{ranges(1, 2), store.FlagsAdd, []string{`\Seen`}, 1, 2},
		{ranges(1, 2), store.FlagsAdd, []string{`\Seen`}, 1, 2},
		{ranges(4, 4), store.FlagsRemove, []string{`\Seen`, `\Deleted`}, 2, 1},
		{mail.AllUIDs(), store.FlagsReplace, []string{`\Deleted`}, 5, 5},
		{mail.AllUIDs(), store.FlagsReplace, []string{`\Seen`}, 0, 0},
		{mail.AllUIDs(), store.FlagsReplace, nil, 5, 0},
	} {
		f.update(f.inbox, store.FlagUpdate{UIDs: tc.set, Mode: tc.mode, Flags: f.flags(tc.flags...)})
		if b := f.counted(f.inbox); b.Unseen != tc.unseen || b.Deleted != tc.deleted || b.Messages != 5 {
			f.Errorf("%d: %d unseen, %d deleted of %d; want %d, %d of 5", i, b.Unseen, b.Deleted, b.Messages, tc.unseen, tc.deleted)
		}
	}
}

func flagMetaData(f *fixture) {
	a := f.append(f.inbox, note(0), store.Append{Flags: f.flags("kw"), MetaData: `{"a":1}`, Info: `{"i":1}`})
	meta, expires := `{"b":2}`, testDate(77)
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(a.UID), MetaData: &meta, Expires: &expires})
	r := f.row(f.inbox, a.UID)
	if r.MetaData != meta || !r.Expires.Equal(expires) || r.Flags != f.flags("kw") || r.Info != `{"i":1}` {
		f.Errorf("row is %+v", r)
	}
	if r.ModSeq < a.ModSeq || f.box(f.inbox).HighestModSeq < r.ModSeq {
		f.Errorf("mod-sequence went from %d to %d", a.ModSeq, r.ModSeq)
	}
	// Flags alone leave the rest as it is.
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(a.UID), Flags: f.flags(`\Seen`)})
	if r := f.row(f.inbox, a.UID); r.MetaData != meta || !r.Expires.Equal(expires) || r.Flags != f.flags(`\Seen`, "kw") {
		f.Errorf("row is %+v", r)
	}
	none, never := "", time.Time{}
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(a.UID), MetaData: &none, Expires: &never})
	if r := f.row(f.inbox, a.UID); r.MetaData != "" || !r.Expires.IsZero() {
		f.Errorf("after they were removed: MetaData %q, Expires %v", r.MetaData, r.Expires)
	}
}

func flagKeywordLimit(f *fixture) {
	var names []string
	for i := range mail.MaxKeywords {
		names = append(names, fmt.Sprintf("k%d", i))
	}
	f.fill(f.inbox, 2)
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(2), Flags: f.flags(names...)})
	before := f.rows(f.inbox, store.FetchQuery{})
	_, err := f.s.UpdateFlags(f.ctx, f.acct, f.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: f.flags("one-more")})
	f.wants("a keyword too many for one of two", err, mail.CodeLimit)
	after := f.rows(f.inbox, store.FetchQuery{})
	for i := range before {
		if before[i].Flags != after[i].Flags || before[i].ModSeq != after[i].ModSeq {
			f.Errorf("a refused update changed %v to %v", before[i].Flags.List(), after[i].Flags.List())
		}
	}
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: f.flags("K1")})
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(2), Mode: store.FlagsRemove, Flags: f.flags("k0")})
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: f.flags("one-more")})
}

func flagEmpty(f *fixture) {
	f.fill(f.inbox, 1)
	for _, set := range []mail.UIDSet{nil, {}, ranges(50, 60)} {
		res := f.update(f.inbox, store.FlagUpdate{UIDs: set, Flags: f.flags(`\Seen`)})
		if res.ModSeq != 0 || len(res.Changed)+len(res.Existing)+len(res.Modified) != 0 {
			f.Errorf("set %q: %+v, want nothing", set.String(), res)
		}
	}
}
