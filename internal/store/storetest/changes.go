package storetest

import (
	"slices"
	"strings"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func changesCases() []caseFunc {
	return []caseFunc{
		{"HighestModSeq", changesHighestModSeq},
		{"Since", changesSince},
		{"Everything", changesEverything},
		{"Follow", changesFollow},
		{"OtherMailbox", changesOtherMailbox},
		{"Future", changesFuture},
	}
}

// Every change raises the mod-sequence of its mailbox.
func changesHighestModSeq(f *fixture) {
	a, b := f.mailbox("a").ID, f.mailbox("b").ID
	last := map[mail.MailboxID]mail.ModSeq{a: f.box(a).HighestModSeq, b: f.box(b).HighestModSeq}
	if last[a] < 1 || last[b] < 1 {
		f.Errorf("empty mailboxes have HighestModSeq %d and %d", last[a], last[b])
	}
	for i, step := range []struct {
		touched []mail.MailboxID
		run     func()
	}{
		{[]mail.MailboxID{a}, func() { f.fill(a, 2) }},
		{[]mail.MailboxID{b}, func() { f.fill(b, 2) }},
		{[]mail.MailboxID{a}, func() { f.update(a, store.FlagUpdate{UIDs: mail.OneUID(1), Flags: f.flags(`\Seen`)}) }},
		{[]mail.MailboxID{b}, func() { f.expunge(b, 1) }},
		{[]mail.MailboxID{b}, func() { _, err := f.s.Copy(f.ctx, f.acct, a, b, mail.OneUID(1), 0); f.must(err) }},
		{[]mail.MailboxID{a, b}, func() { _, err := f.s.Move(f.ctx, f.acct, a, b, mail.OneUID(1)); f.must(err) }},
	} {
		step.run()
		for _, id := range step.touched {
			now := f.box(id).HighestModSeq
			if now <= last[id] {
				f.Errorf("step %d: HighestModSeq is %d, an earlier change of the mailbox had %d", i, now, last[id])
			}
			if to := f.changes(id, 0).To; to < now {
				f.Errorf("step %d: changes up to %d, HighestModSeq %d", i, to, now)
			}
		}
		last[a], last[b] = f.box(a).HighestModSeq, f.box(b).HighestModSeq
	}
}

func changesSince(f *fixture) {
	a := f.fill(f.inbox, 5)
	start := f.changes(f.inbox, 0).To
	flagged := f.update(f.inbox, store.FlagUpdate{UIDs: mail.UIDSetOf(a[1].UID, a[3].UID), Flags: f.flags(`\Seen`)})
	gone := f.expunge(f.inbox, a[0].UID, a[3].UID)
	added := f.fill(f.inbox, 1)[0]
	for _, tc := range []struct {
		name     string
		since    mail.ModSeq
		changed  []mail.UID
		expunged []mail.UID
	}{
		{"start", start, []mail.UID{a[1].UID, added.UID}, []mail.UID{a[0].UID, a[3].UID}},
		{"flags", flagged.ModSeq, []mail.UID{added.UID}, []mail.UID{a[0].UID, a[3].UID}},
		{"expunge", gone.ModSeq, []mail.UID{added.UID}, nil},
		{"append", added.ModSeq, nil, nil},
		{"third append", a[2].ModSeq, []mail.UID{a[1].UID, a[4].UID, added.UID}, []mail.UID{a[0].UID, a[3].UID}},
	} {
		set := f.changes(f.inbox, tc.since)
		if set.Whole {
			continue // it may know no better; Follow shows that it is right
		}
		f.sameUIDs("changed since "+tc.name, set.Changed.UIDs(), tc.changed)
		f.sameUIDs("expunged since "+tc.name, collect(set.Expunged), tc.expunged)
		if set.UIDNext <= added.UID || set.To < added.ModSeq {
			f.Errorf("since %s: %+v", tc.name, set)
		}
	}
}

func changesEverything(f *fixture) {
	f.fill(f.inbox, 4, "kw")
	f.expunge(f.inbox, 2)
	set := f.changes(f.inbox, 0)
	f.sameUIDs("changed", set.Changed.UIDs(), []mail.UID{1, 3, 4})
	for i, r := range f.rows(f.inbox, store.FetchQuery{}) {
		if h := set.Changed.At(i); h.ModSeq != r.ModSeq || h.Flags != r.Flags || h.Octets != r.Size {
			f.Errorf("change %+v, row %+v", h, r)
		}
	}
}

// follower is a copy of a mailbox that lives on change sets alone.
type follower struct {
	to      mail.ModSeq
	uidNext mail.UID
	rows    map[mail.UID]mail.HotRow
	shown   mail.UID // highest UID that was ever shown
	gone    map[mail.UID]bool
}

func newFollower() *follower {
	return &follower{rows: make(map[mail.UID]mail.HotRow), gone: make(map[mail.UID]bool)}
}

// clone returns a copy that goes its own way.
func (fo *follower) clone() *follower {
	c := newFollower()
	c.to, c.uidNext, c.shown = fo.to, fo.uidNext, fo.shown
	for u, r := range fo.rows {
		c.rows[u] = r
	}
	return c
}

// apply takes over a change set and returns what is wrong with it.
func (fo *follower) apply(set *store.ChangeSet) (problems []string) {
	bad := func(s string) { problems = append(problems, s) }
	if set.To < fo.to {
		bad("To went back")
	}
	if set.UIDNext < fo.uidNext {
		bad("UIDNext went back")
	}
	if set.Whole {
		if len(set.Expunged) > 0 {
			bad("a whole set has expunged UIDs")
		}
		clear(fo.rows)
	}
	for _, r := range set.Expunged {
		for u := range fo.rows {
			if r.First <= u && u <= r.Last {
				delete(fo.rows, u)
			}
		}
		for u := r.First; r.Last-r.First < 1<<20 && u <= r.Last; u++ {
			fo.gone[u] = true
		}
	}
	before, last := fo.shown, mail.UID(0)
	for h := range set.Changed.All() {
		if h.UID <= last {
			bad("Changed is not in ascending order")
		}
		last = h.UID
		if _, known := fo.rows[h.UID]; !known && h.UID <= before && !set.Whole {
			bad("a message appeared below one that was shown")
		}
		if h.UID >= set.UIDNext {
			bad("a message has a UID from UIDNext on")
		}
		if fo.rows[h.UID].ModSeq > h.ModSeq {
			bad("a message went back to an older mod-sequence")
		}
		fo.rows[h.UID] = h
		fo.shown = max(fo.shown, h.UID)
	}
	fo.to, fo.uidNext = set.To, set.UIDNext
	return problems
}

// differs compares with the mailbox and returns the first difference.
func (fo *follower) differs(rows []store.Row) string {
	if len(rows) != len(fo.rows) {
		return "another number of messages"
	}
	for _, r := range rows {
		if h := fo.rows[r.UID]; h.ModSeq != r.ModSeq || h.Flags != r.Flags {
			return "another state of UID " + mail.OneUID(r.UID).String()
		}
	}
	return ""
}

// follow applies the changes and fails the test when the copy is not the mailbox.
func (f *fixture) follow(fo *follower, mbox mail.MailboxID) {
	f.Helper()
	if p := fo.apply(f.changes(mbox, fo.to)); p != nil {
		f.Errorf("change set: %s", strings.Join(p, "; "))
	}
	if d := fo.differs(f.rows(mbox, store.FetchQuery{})); d != "" {
		f.Errorf("the copy that follows by changes has %s", d)
	}
}

// Copies of every age become the mailbox by one change set.
func changesFollow(f *fixture) {
	other := f.mailbox("other").ID
	copies := []*follower{newFollower()}
	steps := []func(){
		func() { f.fill(f.inbox, 3) },
		func() { f.update(f.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: f.flags(`\Seen`, "a")}) },
		func() { f.expunge(f.inbox, 2) },
		func() { f.fill(f.inbox, 2, `\Deleted`) },
		func() {
			f.update(f.inbox, store.FlagUpdate{UIDs: ranges(1, 4), Mode: store.FlagsReplace, Flags: f.flags("b")})
		},
		func() { _, err := f.s.Copy(f.ctx, f.acct, f.inbox, f.inbox, ranges(3, 5), 0); f.must(err) },
		func() { _, err := f.s.Move(f.ctx, f.acct, f.inbox, other, ranges(1, 3)); f.must(err) },
		func() { _, err := f.s.Move(f.ctx, f.acct, f.inbox, f.inbox, mail.AllUIDs()); f.must(err) },
		func() { _, err := f.s.Expunge(f.ctx, f.acct, f.inbox, mail.AllUIDs(), false); f.must(err) },
		func() { f.fill(f.inbox, 1) },
		func() { _, err := f.s.Move(f.ctx, f.acct, other, f.inbox, mail.AllUIDs()); f.must(err) },
	}
	for _, step := range steps {
		step()
		for _, c := range copies {
			f.follow(c.clone(), f.inbox)
		}
		next := copies[len(copies)-1].clone()
		f.follow(next, f.inbox)
		copies = append(copies, next)
	}
	// A set that overlaps with what the copy has already does no harm.
	newest := copies[len(copies)-1]
	for _, c := range copies {
		overlap := newest.clone()
		set := f.changes(f.inbox, c.to)
		if overlap.apply(set); overlap.differs(f.rows(f.inbox, store.FetchQuery{})) != "" {
			f.Errorf("a set since %d makes a newer copy wrong: %+v", c.to, set)
		}
	}
}

func changesOtherMailbox(f *fixture) {
	other := f.mailbox("other").ID
	f.fill(f.inbox, 2)
	to := f.changes(f.inbox, 0).To
	f.fill(other, 3)
	f.expunge(other, 1)
	if set := f.changes(f.inbox, to); set.Changed.Len()+len(set.Expunged) != 0 || set.Whole || set.To < to {
		f.Errorf("changes of another mailbox show: %+v", set)
	}
	f.sameUIDs("other", f.changes(other, 0).Changed.UIDs(), []mail.UID{2, 3})
}

// A client may come with a mod-sequence of a server that lost data: it gets an
// answer, not an error.
func changesFuture(f *fixture) {
	f.fill(f.inbox, 1)
	set := f.changes(f.inbox, 1<<62)
	if !set.Whole && set.Changed.Len() != 0 || slices.Contains(set.Changed.UIDs(), 2) {
		f.Errorf("since the future: %+v", set)
	}
}
