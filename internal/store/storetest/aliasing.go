package storetest

import (
	"bytes"

	"github.com/google/go-cmp/cmp"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func aliasingCases() []caseFunc {
	return []caseFunc{
		{"Stage", aliasStage},
		{"Append", aliasAppend},
		{"Sets", aliasSets},
		{"Rows", aliasRows},
		{"Results", aliasResults},
		{"Writer", aliasWriter},
		{"Account", aliasAccount},
		{"Records", aliasRecords},
	}
}

// scribble overwrites buffers.
func scribble(buffers ...[]byte) {
	for _, b := range buffers {
		for i := range b {
			b[i] ^= 0x55
		}
	}
}

// What was passed to Stage can be reused when it returns, and is not changed before,
// whether the message is given in one piece or to be read.
func aliasStage(f *fixture) {
	aliasStageOf(f, false)
	aliasStageOf(f, true)
}

func aliasStageOf(f *fixture, whole bool) {
	for _, c := range []*store.Content{note(1), multipart("m", attachment(200_000, 76, "\r\n", 41), part{typ: "text/plain", body: "x"})} {
		raw := sourceOf(c)
		memory := bytes.Clone(raw)
		c.Source = bytes.NewReader(memory)
		c.Header = memory[:len(c.Header)]
		if whole {
			c.Whole = memory
		}
		want := store.Row{
			Header: bytes.Clone(c.Header), Envelope: bytes.Clone(c.Envelope), BodyStructure: bytes.Clone(c.BodyStructure),
			Tree: bytes.Clone(c.Tree), Summary: bytes.Clone(c.Summary),
		}
		st := f.stage(c)
		if !bytes.Equal(memory, raw) {
			f.Errorf("Stage changed the message: %s", difference(memory, raw))
		}
		scribble(memory, c.Envelope, c.BodyStructure, c.Tree, c.Summary, c.Signature)
		clear(c.Leaves)
		clear(c.References)
		*c = store.Content{}
		out, err := f.s.Append(f.ctx, f.acct, f.inbox, []store.Append{{Staged: st}})
		f.must(err)
		if got := f.content(f.inbox, out[0].UID); !bytes.Equal(got, raw) {
			f.Errorf("content: %s", difference(got, raw))
		}
		got := f.row(f.inbox, out[0].UID)
		got = store.Row{Header: got.Header, Envelope: got.Envelope, BodyStructure: got.BodyStructure, Tree: got.Tree, Summary: got.Summary}
		if diff := cmp.Diff(want, got, rowOptions()); diff != "" {
			f.Errorf("row (-want +got):\n%s", diff)
		}
	}
}

func aliasAppend(f *fixture) {
	st := f.stage(note(1))
	prefix := []byte("Prefix: a\r\n")
	in := []store.Append{{Staged: st, Prefix: prefix}, {Staged: st, Prefix: prefix}}
	out, err := f.s.Append(f.ctx, f.acct, f.inbox, in)
	f.must(err)
	scribble(prefix)
	clear(in)
	for _, a := range out {
		if got := f.content(f.inbox, a.UID); !bytes.HasPrefix(got, []byte("Prefix: a\r\n")) {
			f.Errorf("content is %q", got)
		}
		if r := f.row(f.inbox, a.UID); !bytes.HasPrefix(r.Header, []byte("Prefix: a\r\n")) {
			f.Errorf("header is %q", r.Header)
		}
	}
}

// Sets of UIDs are the caller's, before and after.
func aliasSets(f *fixture) {
	f.fill(f.inbox, 6)
	dst := f.path("Trash").ID
	set := ranges(2, 3, 5, 5)
	keep := ranges(2, 3, 5, 5)
	since := mail.ModSeq(1 << 40)
	seq := f.s.Fetch(f.ctx, f.acct, f.inbox, store.FetchQuery{UIDs: set})
	for _, err := range seq {
		f.must(err)
	}
	_, err := f.s.Copy(f.ctx, f.acct, f.inbox, dst, set, 0)
	f.must(err)
	f.update(f.inbox, store.FlagUpdate{UIDs: set, Flags: f.flags("a"), UnchangedSince: &since})
	res, err := f.s.Expunge(f.ctx, f.acct, f.inbox, set, false)
	f.must(err)
	if !cmp.Equal(set, keep) || since != 1<<40 {
		f.Errorf("the set was changed to %v", set)
	}
	clear(set)
	if res.UIDs.String() != "2:3,5" {
		f.Errorf("the result changed with the argument: %v", res.UIDs)
	}
	clear(res.UIDs)
	f.sameUIDs("expunged", collect(f.changes(f.inbox, 1).Expunged), []mail.UID{2, 3, 5})
}

// A row is right at its time, whatever else is read meanwhile.
func aliasRows(f *fixture) {
	f.rich(f.inbox)
	want := f.rows(f.inbox, store.FetchQuery{Fields: allFields})
	i := 0
	for row, err := range f.s.Fetch(f.ctx, f.acct, f.inbox, store.FetchQuery{Fields: allFields}) {
		f.must(err)
		for range 2 { // other reads do not disturb a row that is valid
			if diff := cmp.Diff(want[i], detach(row), rowOptions()); diff != "" {
				f.Errorf("row %d (-want +got):\n%s", i, diff)
			}
			f.rows(f.inbox, store.FetchQuery{Fields: allFields, Order: store.ByUIDDescending})
		}
		i++
	}
}

// Results belong to the caller: changing one changes nothing else.
func aliasResults(f *fixture) {
	f.fill(f.inbox, 3, "Kw")
	box := f.box(f.inbox)
	box.Keywords[0] = "changed"
	sameKeywords(f, f.box(f.inbox).Keywords, "kw")
	set := f.changes(f.inbox, 0)
	set.Changed.Set(0, 77, mail.Flags{})
	set.Changed.Remove(mail.UIDSetOf(1, 2))
	f.sameUIDs("changes", f.changes(f.inbox, 0).Changed.UIDs(), []mail.UID{1, 2, 3})
	journal := f.journal(mail.JournalID{})
	clear(journal)
	if again := f.journal(mail.JournalID{}); len(again) != 3 || again[0].UID != 1 {
		f.Errorf("journal is %+v", again)
	}
	res := f.update(f.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: f.flags(`\Seen`)})
	clear(res.Changed)
	if len(res.Existing) != 3 || res.Existing[0].UID != 1 {
		f.Errorf("existing changed with changed: %+v", res.Existing)
	}
}

// Two bodies that are read in turns do not share buffers.
func aliasWriter(f *fixture) {
	u := uidsOf(f.rich(f.inbox))
	var bodies []store.Body
	var want [][]byte
	got := make([]bytes.Buffer, len(u))
	for _, uid := range u {
		want = append(want, f.content(f.inbox, uid))
		b, err := f.s.Open(f.ctx, f.acct, f.inbox, uid)
		f.must(err)
		bodies = append(bodies, b)
	}
	for off, more := int64(0), true; more; off += 5000 {
		more = false
		for i, b := range bodies {
			if n := min(5000, b.Size()-off); n > 0 {
				f.must(b.WriteRange(&got[i], off, n))
				more = true
			}
		}
	}
	for i, b := range bodies {
		if !bytes.Equal(got[i].Bytes(), want[i]) {
			f.Errorf("body %d: %s", i, difference(got[i].Bytes(), want[i]))
		}
		f.must(b.Close())
	}
}

func aliasAccount(f *fixture) {
	in := store.NewAccount{
		Account: fullAccount(), View: "alias", Mailboxes: []mail.Mailbox{{Path: "INBOX"}},
		Address: &mail.Address{Address: "alias@x", View: "alias@x", Tags: []string{"t"}, Targets: []mail.Target{{Value: "v"}}},
	}
	a, err := f.s.CreateAccount(f.ctx, in)
	f.must(err)
	in.Account.Tags[0], in.Account.Targets[0].Value, in.Account.TempPassword.Hash = "changed", "changed", "changed"
	in.Account.FeatureFlags["x"] = false
	in.Address.Tags[0], in.Mailboxes[0].Path = "changed", "changed"
	got, err := f.s.Account(f.ctx, a.ID)
	f.must(err)
	want := fullAccount()
	want.ID, want.Address = a.ID, "alias@x"
	if diff := cmp.Diff(&want, got, loose()); diff != "" {
		f.Errorf("account (-want +got):\n%s", diff)
	}
	var kept *mail.Account
	tags := []string{"one"}
	_, err = f.s.UpdateAccount(f.ctx, a.ID, func(a *mail.Account) error { a.Tags, kept = tags, a; return nil })
	f.must(err)
	tags[0], kept.Name = "changed", "changed"
	if got, err = f.s.Account(f.ctx, a.ID); err != nil || got.Tags[0] != "one" || got.Name == "changed" {
		f.Errorf("the account changed with what the function kept: %+v (%v)", got, err)
	}
	rows, err := f.s.AddressesByView(f.ctx, "alias@x")
	f.must(err)
	if rows[0].Tags[0] != "t" {
		f.Errorf("the address changed with the argument: %+v", rows[0])
	}
	rows[0].Tags[0] = "changed"
	if row, err := f.s.Address(f.ctx, rows[0].ID); err != nil || row.Tags[0] != "t" {
		f.Errorf("the address changed with a result: %+v (%v)", row, err)
	}
}

func aliasRecords(f *fixture) {
	value := []byte("value")
	f.must(f.s.PutRecord(f.ctx, "k", "a", value))
	scribble(value)
	got, err := f.s.Record(f.ctx, "k", "a")
	if f.must(err); string(got) != "value" {
		f.Errorf("record is %q", got)
	}
	scribble(got)
	for k, v := range f.s.Records(f.ctx, "k") {
		if string(v) != "value" {
			f.Errorf("record %q is %q", k, v)
		}
	}
}
