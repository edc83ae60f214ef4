package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
)

func searchCases() []caseFunc {
	return []caseFunc{
		{"NeverMisses", searchNeverMisses},
		{"Sets", searchSets},
		{"Prefix", searchPrefix},
	}
}

// collectUIDs reads a sequence of UIDs up to its end or an error.
func collectUIDs(seq iter.Seq2[mail.UID, error]) ([]mail.UID, error) {
	var out []mail.UID
	for uid, err := range seq {
		if err != nil {
			return out, err
		}
		out = append(out, uid)
	}
	return out, nil
}

func searchNeverMisses(f *fixture) {
	texts := []string{
		"", "a", "ab", "abc", "the quick brown fox", "Grüße aus KÖLN", "ﬁn ῼ ﷺ", "日本語のテキスト", "\xff\xfe broken",
		strings.Repeat("common words in a long text ", 5000), "x\x00y", "tab\tand  spaces\r\nand lines",
	}
	var uids []mail.UID
	for i, text := range texts {
		c := content(fmt.Appendf(nil, "Subject: %d\r\n\r\n%s", i, text), "8bit")
		c.Signature = signature(text)
		uids = append(uids, f.append(f.inbox, c, store.Append{}).UID)
	}
	unsigned := content([]byte("Subject: no index entry\r\n\r\nx"), "8bit")
	unsigned.Signature = nil
	last := f.append(f.inbox, unsigned, store.Append{}).UID
	for i, text := range texts {
		folded := search.FoldString(text)
		for _, n := range []int{1, 2, 3, 4, 7, 30} {
			for at := 0; at+n <= len(folded) && at < 60; at += max(1, n/2) {
				needles := [][]byte{[]byte(folded[at : at+n]), []byte(folded[:min(n, len(folded))])}
				got, err := collectUIDs(f.s.MayContain(f.ctx, f.acct, f.inbox, mail.AllUIDs(), needles))
				f.must(err)
				if !slices.Contains(got, uids[i]) || !slices.Contains(got, last) || !slices.IsSorted(got) {
					f.Fatalf("needles %q of message %d: %v", needles, uids[i], got)
				}
			}
		}
	}
}

// searchPrefix looks for what stands in the header lines of the delivery only. Whoever has the signatures must find it too.
func searchPrefix(f *fixture) {
	prefix := "Delivered-To: marmalade+zebra@example.test\r\n"
	uid := f.append(f.inbox, note(1), store.Append{Prefix: []byte(prefix)}).UID
	for _, needle := range []string{"marmalade+zebra", "delivered-to: marm", "number 1"} {
		folded := search.FoldString(needle)
		got, err := collectUIDs(f.s.MayContain(f.ctx, f.acct, f.inbox, mail.AllUIDs(), [][]byte{folded}))
		f.must(err)
		f.sameUIDs(needle, got, []mail.UID{uid})
		rows := 0
		for row, err := range f.s.Fetch(f.ctx, f.acct, f.inbox, store.FetchQuery{Fields: store.FieldSignature}) {
			f.must(err)
			if rows++; !search.Signature(row.Signature).MayContain(folded) {
				f.Errorf("the signature of the row denies %q", needle)
			}
		}
		if rows != 1 {
			f.Errorf("%d rows", rows)
		}
	}
}

func searchSets(f *fixture) {
	u := uidsOf(f.fill(f.inbox, 10))
	f.expunge(f.inbox, u[3], u[4])
	for _, needles := range [][][]byte{nil, {}, {[]byte("")}, {[]byte("n")}, {[]byte("number")}} {
		for _, tc := range []struct {
			set  mail.UIDSet
			want []mail.UID
		}{
			{nil, nil},
			{mail.AllUIDs(), slices.Concat(u[:3], u[5:])},
			{ranges(u[2], u[5]), []mail.UID{u[2], u[5]}},
			{ranges(u[9], u[9]+100), u[9:]},
			{ranges(u[9]+1, u[9]+100), nil},
		} {
			got, err := collectUIDs(f.s.MayContain(f.ctx, f.acct, f.inbox, tc.set, needles))
			f.must(err)
			f.sameUIDs(fmt.Sprintf("%q in %s", needles, tc.set), got, tc.want)
		}
	}
	for range f.s.MayContain(f.ctx, f.acct, f.inbox, mail.AllUIDs(), nil) {
		break
	}
}

func threadCases() []caseFunc { return []caseFunc{{"Threads", threadMessages}} }

func threadMessages(f *fixture) {
	add := func(c *store.Content) mail.ThreadID { return f.append(f.inbox, c, store.Append{}).ThreadID }
	root := add(thread("plans", "1@x"))
	for name, tc := range map[string]struct {
		c    *store.Content
		same bool
	}{
		"an answer":                  {thread("plans", "2@x", "1@x"), true},
		"an answer that names both":  {thread("plans", "3@x", "2@x", "1@x"), true},
		"the same again":             {thread("plans", "1@x"), true},
		"another subject":            {thread("other", "4@x", "1@x"), false},
		"another reference":          {thread("plans", "5@x"), false},
		"no references":              {thread("plans"), false},
		"no subject and no id known": {thread("", "6@x"), false},
	} {
		if got := add(tc.c); (got == root) != tc.same || got.IsZero() {
			f.Errorf("%s: thread %v, the first message's is %v; want the same: %v", name, got, root, tc.same)
		}
	}
	chain := add(thread("chain", "c1@x", "c0@x"))
	if got := add(thread("chain", "c2@x", "c1@x")); got != chain {
		f.Errorf("second of a chain: thread %v, want %v", got, chain)
	}
	if got := add(thread("chain", "c3@x", "c2@x")); got != chain { // knows the second only
		f.Errorf("third of a chain: thread %v, want %v", got, chain)
	}
	if got := add(thread("chain", "c0@x")); got != chain { // came late
		f.Errorf("root of a chain that comes last: thread %v, want %v", got, chain)
	}
	if a, b := add(thread("")), add(thread("")); a == b {
		f.Error("two messages without references share a thread")
	}
	f.acct = f.account("other", "INBOX").ID
	if got := f.append(f.path("INBOX").ID, thread("plans", "1@x"), store.Append{}).ThreadID; got == root {
		f.Error("two accounts share a thread")
	}
}

func registryCases() []caseFunc {
	return []caseFunc{{"Registry", registryRecords}, {"Limits", registryLimits}}
}

func registryRecords(f *fixture) {
	_, err := f.s.Record(f.ctx, "token", "a")
	f.wants("unknown", err, mail.CodeNotFound)
	f.must(f.s.PutRecord(f.ctx, "token", "gone", nil)) // nothing to remove
	put := map[string]string{"b": "2", "a": "1", "a\x00b": "\x00\xff", "ä": strings.Repeat("v", 1<<20), "z/z": "3"}
	for k, v := range put {
		f.must(f.s.PutRecord(f.ctx, "token", k, []byte(v)))
	}
	f.must(f.s.PutRecord(f.ctx, "toke", "na", []byte("other kind")))
	list := func(want ...string) {
		f.Helper()
		var keys []string
		for k, v := range f.s.Records(f.ctx, "token") {
			keys = append(keys, k)
			if string(v) != put[k] {
				f.Errorf("record %q is %.40q, want %.40q", k, v, put[k])
			}
		}
		if !slices.Equal(keys, want) {
			f.Errorf("keys are %q, want %q", keys, want)
		}
	}
	list("a", "a\x00b", "b", "z/z", "ä")
	for k, v := range put {
		if got, err := f.s.Record(f.ctx, "token", k); err != nil || string(got) != v {
			f.Errorf("record %q is %.40q (%v), want %.40q", k, got, err, v)
		}
	}
	put["a"] = ""
	f.must(f.s.PutRecord(f.ctx, "token", "a", []byte{})) // an empty value is a value
	if got, err := f.s.Record(f.ctx, "token", "a"); err != nil || len(got) != 0 {
		f.Errorf("an empty record is %q (%v)", got, err)
	}
	f.must(f.s.PutRecord(f.ctx, "token", "b", nil))
	_, err = f.s.Record(f.ctx, "token", "b")
	f.wants("removed", err, mail.CodeNotFound)
	list("a", "a\x00b", "z/z", "ä")
	for range f.s.Records(f.ctx, "token") {
		break
	}
	for k := range f.s.Records(f.ctx, "nothing") {
		f.Errorf("record %q of an unknown kind", k)
	}
}

func registryLimits(f *fixture) {
	long := strings.Repeat("k", 256)
	f.must(f.s.PutRecord(f.ctx, "kind", long, []byte("v")))
	if got, err := f.s.Record(f.ctx, "kind", long); err != nil || string(got) != "v" {
		f.Errorf("record is %q (%v)", got, err)
	}
	f.wants("key too long", f.s.PutRecord(f.ctx, "kind", long+"k", []byte("v")), mail.CodeInvalid)
	f.wants("no key", f.s.PutRecord(f.ctx, "kind", "", []byte("v")), mail.CodeInvalid)
	f.wants("value too long", f.s.PutRecord(f.ctx, "kind", "k", make([]byte, 1<<20+1)), mail.CodeInvalid)
	_, err := f.s.Record(f.ctx, "kind", "k")
	f.wants("refused", err, mail.CodeNotFound)
}

func errorCases() []caseFunc {
	return []caseFunc{
		{"Closed", errorClosed},
		{"CanceledReads", errorCanceledReads},
		{"CanceledChanges", errorCanceledChanges},
	}
}

func errorClosed(f *fixture) {
	f.fill(f.inbox, 1)
	st := f.stage(note(0))
	s := f.s
	f.close()
	for name, err := range map[string]error{
		"Account":     second(s.Account(f.ctx, f.acct)),
		"Append":      second(s.Append(f.ctx, f.acct, f.inbox, []store.Append{{Staged: st}})),
		"Stage":       second(s.Stage(f.ctx, note(1))),
		"Fetch":       second(readRows(f.ctx, s, f.acct, f.inbox, store.FetchQuery{})),
		"UpdateFlags": second(s.UpdateFlags(f.ctx, f.acct, f.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: f.flags("a")})),
		"Changes":     second(s.Changes(f.ctx, f.acct, f.inbox, 0)),
		"MayContain":  second(collectUIDs(s.MayContain(f.ctx, f.acct, f.inbox, mail.AllUIDs(), nil))),
		"ReadJournal": second(s.ReadJournal(f.ctx, f.acct, mail.JournalID{}, 1)),
		"Record":      second(s.Record(f.ctx, "a", "b")),
		"PutRecord":   s.PutRecord(f.ctx, "a", "b", []byte("c")),
		"Open":        second(s.Open(f.ctx, f.acct, f.inbox, 1)),
	} {
		if !errors.Is(err, store.ErrClosed) || mail.CodeOf(err) != mail.CodeUnavailable {
			f.Errorf("%s after Close: %v with code %q, want ErrClosed with code %q", name, err, code(err), mail.CodeUnavailable)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func errorCanceledReads(f *fixture) {
	f.fill(f.inbox, 5)
	gone, cancel := context.WithCancel(f.ctx)
	cancel()
	for name, err := range map[string]error{
		"Fetch":      second(readRows(gone, f.s, f.acct, f.inbox, store.FetchQuery{Fields: allFields})),
		"MayContain": second(collectUIDs(f.s.MayContain(gone, f.acct, f.inbox, mail.AllUIDs(), nil))),
	} {
		f.wants(name, err, mail.CodeCanceled)
		if !errors.Is(err, context.Canceled) {
			f.Errorf("%s: %v, want context.Canceled in its chain", name, err)
		}
	}
	// In the middle of a loop: rows that were read ahead may come, not all.
	var in []store.Append
	for st := f.stage(note(0)); len(in) < 500; {
		in = append(in, store.Append{Staged: st})
	}
	for range 6 {
		_, err := f.s.Append(f.ctx, f.acct, f.inbox, in)
		f.must(err)
	}
	half, stop := context.WithCancel(f.ctx)
	defer stop()
	n := 0
	var last error
	for _, err := range f.s.Fetch(half, f.acct, f.inbox, store.FetchQuery{Fields: allFields}) {
		if err != nil {
			last = err
			break
		}
		n++
		stop()
	}
	if n > 2500 || last == nil {
		f.Errorf("a loop whose context ended gave %d rows and error %v", n, last)
	}
	f.wants("loop", last, mail.CodeCanceled)
}

// A change whose context has ended happens in whole or not at all, and says which.
func errorCanceledChanges(f *fixture) {
	u := uidsOf(f.fill(f.inbox, 3))
	gone, cancel := context.WithCancel(f.ctx)
	cancel()
	check := func(name string, err error, happened bool) {
		f.Helper()
		if err != nil && mail.CodeOf(err) != mail.CodeCanceled {
			f.Errorf("%s: error %v with code %q", name, err, code(err))
		}
		if (err == nil) != happened {
			f.Errorf("%s: error %v, but it happened: %v", name, err, happened)
		}
	}
	_, err := f.s.Append(gone, f.acct, f.inbox, []store.Append{{Staged: f.stage(note(7))}})
	check("Append", err, f.counted(f.inbox).Messages == 4)
	_, err = f.s.UpdateFlags(gone, f.acct, f.inbox, store.FlagUpdate{UIDs: mail.OneUID(u[0]), Flags: f.flags(`\Seen`)})
	check("UpdateFlags", err, f.row(f.inbox, u[0]).Flags.Has(mail.Seen))
	_, err = f.s.Move(gone, f.acct, f.inbox, f.path("Trash").ID, mail.OneUID(u[1]))
	check("Move", err, f.counted(f.path("Trash").ID).Messages == 1)
	_, err = f.s.Expunge(gone, f.acct, f.inbox, mail.OneUID(u[2]), false)
	check("Expunge", err, len(f.rows(f.inbox, store.FetchQuery{UIDs: mail.OneUID(u[2])})) == 0)
}

func reopenCases() []caseFunc {
	return []caseFunc{{"Everything", reopenEverything}, {"Empty", reopenEmpty}, {"OnlyGrow", reopenOnlyGrow}}
}

func reopenEmpty(f *fixture) {
	f.must(f.s.DeleteAccount(f.ctx, f.acct, time.Time{}))
	for range 3 {
		f.reopen()
		if page, err := f.s.ListAccounts(f.ctx, store.AccountQuery{}); err != nil || page.Total != 0 {
			f.Errorf("accounts %+v (%v)", page, err)
		}
	}
}

func reopenEverything(f *fixture) {
	f.rich(f.inbox)
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(1), Flags: f.flags("late", `\Flagged`)})
	f.expunge(f.inbox, 3)
	_, err := f.s.Copy(f.ctx, f.acct, f.inbox, f.path("Trash").ID, mail.AllUIDs(), 0)
	f.must(err)
	f.must(f.s.PutRecord(f.ctx, "k", "v", []byte("x")))
	f.must(f.s.SetDomainAlias(f.ctx, "a.example", "b.example"))
	f.must(f.s.Subscribe(f.ctx, f.acct, "not there", true, 100))
	before, err := dump(f.ctx, f.s)
	f.must(err)
	for range 2 {
		f.reopen()
		after, err := dump(f.ctx, f.s)
		f.must(err)
		if d := before.differs(after); d != "" {
			f.Fatalf("after reopening (-before +after):\n%s", d)
		}
		if v, err := f.s.Record(f.ctx, "k", "v"); err != nil || !bytes.Equal(v, []byte("x")) {
			f.Errorf("record is %q (%v)", v, err)
		}
		if d, err := f.s.DomainAlias(f.ctx, "a.example"); err != nil || d != "b.example" {
			f.Errorf("alias is %q (%v)", d, err)
		}
	}
}

func reopenOnlyGrow(f *fixture) {
	var uid mail.UID
	var ms mail.ModSeq
	var validity mail.UIDValidity
	var head mail.JournalID
	for i := range 4 {
		a := f.append(f.inbox, note(i), store.Append{})
		b := f.mailbox("again")
		f.must(f.s.DeleteMailbox(f.ctx, f.acct, b.ID, 0))
		now, err := f.s.JournalHead(f.ctx, f.acct)
		f.must(err)
		if a.UID <= uid || a.ModSeq <= ms || b.UIDValidity <= validity || slices.Compare(now[:], head[:]) <= 0 && !f.engine.Gaps {
			f.Errorf("round %d: UID %d after %d, mod-sequence %d after %d, UIDVALIDITY %d after %d, journal %v after %v",
				i, a.UID, uid, a.ModSeq, ms, b.UIDValidity, validity, now, head)
		}
		uid, validity, head = a.UID, b.UIDValidity, now
		ms = f.expunge(f.inbox, a.UID).ModSeq
		if head, err = f.s.JournalHead(f.ctx, f.acct); err != nil {
			f.Fatal(err)
		}
		f.reopen()
	}
}
