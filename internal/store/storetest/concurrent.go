package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func concurrentCases() []caseFunc {
	return []caseFunc{
		{"Followers", concurrentFollowers},
		{"Moves", concurrentMoves},
		{"Flags", concurrentFlags},
		{"Conditional", concurrentConditional},
		{"Quota", concurrentQuota},
		{"Unique", concurrentUnique},
		{"Updates", concurrentUpdates},
		{"Accounts", concurrentAccounts},
		{"SharedContent", concurrentSharedContent},
		{"ReadersAndExpunge", concurrentReaders},
		{"Rename", concurrentRename},
		{"Subscriptions", concurrentSubscriptions},
		{"Subscribed", concurrentListing},
	}
}

// parallel runs n functions at the same time and fails the test with their errors.
func (f *fixture) parallel(n int, run func(i int) error) {
	f.Helper()
	var wg sync.WaitGroup
	errs := make([]error, n)
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = run(i)
		})
	}
	close(start)
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			f.Errorf("worker %d: %v", i, err)
		}
	}
	if f.Failed() {
		f.FailNow()
	}
}

// traffic is writers and readers of the same mailboxes.
type traffic struct {
	f      *fixture
	boxes  []mail.MailboxID
	staged []store.Staged
	done   atomic.Bool // writers have ended
	// acked is the greatest mod-sequence of a change of a mailbox that returned.
	acked []atomic.Uint64

	mu   sync.Mutex
	uids []map[mail.UID]bool // every UID given out, by mailbox
}

// returned notes a change of a mailbox that has returned.
func (tr *traffic) returned(box int, ms mail.ModSeq, uids ...mail.UID) error {
	for {
		old := tr.acked[box].Load()
		if uint64(ms) <= old || tr.acked[box].CompareAndSwap(old, uint64(ms)) {
			break
		}
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, u := range uids {
		if tr.uids[box][u] {
			return fmt.Errorf("UID %d was given out twice", u)
		}
		tr.uids[box][u] = true
	}
	return nil
}

// write does one random change.
func (tr *traffic) write(rng *rand.Rand) error {
	f, s, ctx := tr.f, tr.f.s, tr.f.ctx
	box, other := rng.IntN(len(tr.boxes)), rng.IntN(len(tr.boxes))
	set := ranges(mail.UID(1+rng.IntN(60)), mail.UID(60+rng.IntN(20)))
	set[0].Last = min(set[0].Last, set[0].First+mail.UID(rng.IntN(4)))
	switch rng.IntN(10) {
	case 0, 1, 2, 3:
		var in []store.Append
		for range 1 + rng.IntN(3) {
			in = append(in, store.Append{Staged: tr.staged[rng.IntN(len(tr.staged))]})
		}
		out, err := s.Append(ctx, f.acct, tr.boxes[box], in)
		if err != nil {
			return err
		}
		return tr.returned(box, out[len(out)-1].ModSeq, uidsOf(out)...)
	case 4, 5, 6:
		flags := mail.NewFlags(mail.SystemFlags(1<<rng.IntN(5)), fmt.Sprint("k", rng.IntN(4)))
		res, err := s.UpdateFlags(ctx, f.acct, tr.boxes[box], store.FlagUpdate{UIDs: set, Mode: store.FlagMode(rng.IntN(3)), Flags: flags})
		if err != nil {
			return err
		}
		return tr.returned(box, res.ModSeq)
	case 7:
		res, err := s.Expunge(ctx, f.acct, tr.boxes[box], set, rng.IntN(2) == 0)
		if err != nil {
			return err
		}
		return tr.returned(box, res.ModSeq)
	case 8:
		res, err := s.Copy(ctx, f.acct, tr.boxes[box], tr.boxes[other], set, 0)
		if err != nil {
			return err
		}
		return tr.returned(other, 0, res.To...)
	}
	res, err := s.Move(ctx, f.acct, tr.boxes[box], tr.boxes[other], set)
	if err != nil {
		return err
	}
	return errors.Join(tr.returned(box, res.SourceModSeq), tr.returned(other, 0, res.To...))
}

// catchUp is how long a reader of an engine with gaps may stay behind when nothing is written any more.
const catchUp = 30 * time.Second

// read follows a mailbox by its changes until the writers have ended and nothing
// new comes.
func (tr *traffic) read(box int) error {
	f := tr.f
	fo := newFollower()
	seen := make(map[mail.UID]bool)
	var from mail.UID // from which every UID must have shown or gone
	var end time.Time // by when a reader that may stay behind must have caught up
	for last := false; ; {
		acked := mail.ModSeq(tr.acked[box].Load())
		last = tr.done.Load()
		set, err := f.s.Changes(f.ctx, f.acct, tr.boxes[box], fo.to)
		if err != nil {
			return err
		}
		if last && end.IsZero() {
			end = time.Now().Add(catchUp)
		}
		if set.To < acked && (!f.engine.Gaps || last && time.Now().After(end)) {
			return fmt.Errorf("changes up to %d only, but a change with %d had returned", set.To, acked)
		}
		last = last && set.To >= acked
		for h := range set.Changed.All() {
			seen[h.UID] = true
		}
		if set.Whole { // what came and went before is not told
			from = set.UIDNext
		}
		if p := fo.apply(set); p != nil {
			return errors.New(strings.Join(p, "; "))
		}
		if last {
			break
		}
	}
	rows, err := readRows(f.ctx, f.s, f.acct, tr.boxes[box], store.FetchQuery{})
	if err != nil {
		return err
	}
	if d := fo.differs(rows); d != "" {
		return fmt.Errorf("the copy that followed has %s", d)
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for u := range tr.uids[box] {
		if u >= from && !seen[u] && !fo.gone[u] {
			return fmt.Errorf("UID %d never showed", u)
		}
	}
	return nil
}

// readJournal follows the journal of the account; it must see what one reading
// at the end sees.
func (tr *traffic) readJournal() error {
	f := tr.f
	var got []mail.JournalID
	var after mail.JournalID
	for last := false; !last; {
		last = tr.done.Load()
		for {
			page, err := f.s.ReadJournal(f.ctx, f.acct, after, 100)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				got, after = append(got, e.ID), e.ID
			}
		}
	}
	all, err := f.s.ReadJournal(f.ctx, f.acct, mail.JournalID{}, 1<<20)
	if err != nil {
		return err
	}
	var want []mail.JournalID
	for _, e := range all {
		want = append(want, e.ID)
	}
	byID := func(a, b mail.JournalID) int { return slices.Compare(a[:], b[:]) }
	if f.engine.Gaps { // what happens at the same time may come in any order
		slices.SortFunc(got, byID)
		slices.SortFunc(want, byID)
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("a reader that followed the journal saw %d entries, there are %d", len(got), len(want))
	}
	return nil
}

// concurrentFollowers has writers on all mailboxes and a reader for each of them
// that knows nothing but what Changes tells it.
func concurrentFollowers(f *fixture) {
	const writers = 4
	changes := scale(40, 150, 3000)
	tr := &traffic{f: f, boxes: []mail.MailboxID{f.inbox, f.mailbox("a").ID, f.mailbox("b").ID}}
	for i := range 3 {
		tr.staged = append(tr.staged, f.stage(note(i)))
	}
	tr.acked = make([]atomic.Uint64, len(tr.boxes))
	for range tr.boxes {
		tr.uids = append(tr.uids, make(map[mail.UID]bool))
	}
	var left atomic.Int32
	left.Store(writers)
	f.parallel(writers+len(tr.boxes)+1, func(i int) error {
		switch {
		case i < writers:
			defer func() {
				if left.Add(-1) == 0 {
					tr.done.Store(true)
				}
			}()
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for range changes {
				if err := tr.write(rng); err != nil {
					return err
				}
			}
			return nil
		case i < writers+len(tr.boxes):
			return tr.read(i - writers)
		}
		return tr.readJournal()
	})
	if _, err := dump(f.ctx, f.s); err != nil {
		f.Error(err)
	}
}

// Messages that several sessions move at the same time end up in one place.
func concurrentMoves(f *fixture) {
	boxes := []mail.MailboxID{f.inbox, f.mailbox("a").ID, f.mailbox("b").ID}
	const n = 30
	contents := make(map[string]bool)
	for i := range n {
		f.append(f.inbox, note(i), store.Append{})
		contents[string(sourceOf(note(i)))] = true
	}
	f.parallel(6, func(i int) error {
		rng := rand.New(rand.NewPCG(2, uint64(i)))
		for range scale(10, 40, 500) {
			if _, err := f.s.Move(f.ctx, f.acct, boxes[rng.IntN(3)], boxes[rng.IntN(3)], mail.AllUIDs()); err != nil {
				return err
			}
		}
		return nil
	})
	total := 0
	for _, b := range boxes {
		for _, u := range f.uids(b, store.FetchQuery{}) {
			total++
			delete(contents, string(f.content(b, u)))
		}
	}
	if total != n || len(contents) != 0 {
		f.Errorf("%d messages, %d contents are missing; want %d, 0", total, len(contents), n)
	}
}

// Flags that different sessions set on the same messages are all there.
func concurrentFlags(f *fixture) {
	f.fill(f.inbox, 5)
	const workers = 5
	rounds := scale(5, 15, 20)
	f.parallel(workers, func(i int) error {
		for r := range rounds {
			u := store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: mail.NewFlags(0, fmt.Sprintf("w%dr%d", i, r))}
			res, err := f.s.UpdateFlags(f.ctx, f.acct, f.inbox, u)
			if err != nil || len(res.Changed) != 5 {
				return fmt.Errorf("changed %v (%w)", res, err)
			}
			if r%2 == 1 { // every other one is taken away again
				u.Mode = store.FlagsRemove
				if _, err := f.s.UpdateFlags(f.ctx, f.acct, f.inbox, u); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, r := range f.rows(f.inbox, store.FetchQuery{}) {
		if n := len(r.Flags.List()); n != workers*((rounds+1)/2) {
			f.Errorf("UID %d has %d keywords, want %d: an update was lost", r.UID, n, workers*((rounds+1)/2))
		}
	}
}

// Of sessions that change a message on the condition that nobody else did, one wins.
func concurrentConditional(f *fixture) {
	u := f.fill(f.inbox, 1)[0].UID
	for range scale(5, 20, 200) {
		since := f.row(f.inbox, u).ModSeq
		var won atomic.Int32
		f.parallel(4, func(i int) error {
			res, err := f.s.UpdateFlags(f.ctx, f.acct, f.inbox, store.FlagUpdate{
				UIDs: mail.OneUID(u), Mode: store.FlagsReplace, UnchangedSince: &since,
				Flags: mail.NewFlags(0, fmt.Sprintf("since%d-worker%d", since, i)),
			})
			if err != nil {
				return err
			}
			if len(res.Changed) == 1 {
				won.Add(1)
			} else if !res.Modified.Contains(u) {
				return fmt.Errorf("neither changed nor modified: %+v", res)
			}
			return nil
		})
		if won.Load() != 1 {
			f.Fatalf("%d sessions changed a message that was unchanged since %d", won.Load(), since)
		}
	}
}

// A quota lets through exactly as many messages as fit.
func concurrentQuota(f *fixture) {
	st := f.stage(sized(100))
	other := f.mailbox("other").ID
	var stored atomic.Int32
	f.parallel(6, func(i int) error {
		for k := range 10 {
			box := []mail.MailboxID{f.inbox, other}[(i+k)%2]
			_, err := f.s.Append(f.ctx, f.acct, box, []store.Append{{Staged: st, Quota: 2050}})
			switch {
			case err == nil:
				stored.Add(1)
			case mail.CodeOf(err) != mail.CodeOverQuota:
				return err
			}
		}
		return nil
	})
	if stored.Load() != 20 || f.used() != 2000 {
		f.Errorf("%d messages were stored, StorageUsed %d; want 20, 2000", stored.Load(), f.used())
	}
}

// Of those who want the same name, one gets it.
func concurrentUnique(f *fixture) {
	for round := range scale(3, 10, 100) {
		name := fmt.Sprintf("name%d", round)
		for what, take := range map[string]func() error{
			"username": func() error {
				_, err := f.s.CreateAccount(f.ctx, store.NewAccount{View: name, Mailboxes: []mail.Mailbox{{Path: "INBOX"}}})
				return err
			},
			"address": func() error {
				_, err := f.s.CreateAddress(f.ctx, mail.Address{Address: name + "@x", View: name + "@x"}, false)
				return err
			},
			"mailbox": func() error {
				_, err := f.s.CreateMailbox(f.ctx, f.acct, mail.Mailbox{Path: name}, 0)
				return err
			},
		} {
			var won atomic.Int32
			f.parallel(5, func(int) error {
				err := take()
				if err == nil {
					won.Add(1)
				} else if mail.CodeOf(err) != mail.CodeExists {
					return err
				}
				return nil
			})
			if won.Load() != 1 {
				f.Errorf("%d took the %s %s, want 1", won.Load(), what, name)
			}
		}
	}
}

// Updates of one row are done one after another.
func concurrentUpdates(f *fixture) {
	const workers, each = 5, 10
	row, st := f.address("row@x"), f.stage(note(0))
	f.parallel(workers, func(int) error {
		for range each {
			if _, err := f.s.UpdateAccount(f.ctx, f.acct, func(a *mail.Account) error { a.SpamLevel++; return nil }); err != nil {
				return err
			}
			if _, err := f.s.UpdateAddress(f.ctx, row.ID, false, func(a *mail.Address) error { a.Forwards++; return nil }); err != nil {
				return err
			}
			if _, err := f.s.UpdateMailbox(f.ctx, f.acct, f.inbox, func(b *mail.Mailbox) error { b.Retention++; return nil }); err != nil {
				return err
			}
			if _, err := f.s.Append(f.ctx, f.acct, f.inbox, []store.Append{{Staged: st}}); err != nil {
				return err
			}
		}
		return nil
	})
	a, err := f.s.Account(f.ctx, f.acct)
	f.must(err)
	row, err = f.s.Address(f.ctx, row.ID)
	f.must(err)
	b := f.counted(f.inbox)
	if a.SpamLevel != workers*each || row.Forwards != workers*each || b.Retention != workers*each || b.Messages != workers*each {
		f.Errorf("level %d, forwards %d, retention %d, messages %d; want %d each", a.SpamLevel, row.Forwards, b.Retention, b.Messages, workers*each)
	}
}

// Accounts come and go beside each other and do not mix.
func concurrentAccounts(f *fixture) {
	c := multipart("shared", attachment(80_000, 76, "\r\n", 51))
	want := sourceOf(c)
	st := f.stage(c)
	f.parallel(5, func(i int) error {
		for k := range scale(2, 5, 50) {
			view := fmt.Sprintf("acct%d-%d", i, k)
			if err := accountLife(f.ctx, f.s, view, st, want); err != nil {
				return fmt.Errorf("%s: %w", view, err)
			}
		}
		return nil
	})
	page, err := f.s.ListAccounts(f.ctx, store.AccountQuery{})
	if f.must(err); page.Total != 1 {
		f.Errorf("%d accounts are left, want 1", page.Total)
	}
}

// accountLife makes an account, uses it and deletes it.
func accountLife(ctx context.Context, s store.Store, view string, st store.Staged, want []byte) error {
	a, err := s.CreateAccount(ctx, store.NewAccount{View: view, Mailboxes: []mail.Mailbox{{Path: "INBOX"}}})
	if err != nil {
		return err
	}
	box, err := s.MailboxByPath(ctx, a.ID, "INBOX")
	if err != nil {
		return err
	}
	for n := 1; n <= 3; n++ {
		out, err := s.Append(ctx, a.ID, box.ID, []store.Append{{Staged: st}})
		if err != nil {
			return err
		}
		b, err := s.Open(ctx, a.ID, box.ID, out[0].UID)
		if err != nil {
			return err
		}
		if got, err := readBody(b); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("message %d: %s (%w)", n, difference(got, want), err)
		}
	}
	return s.DeleteAccount(ctx, a.ID, time.Time{})
}

// The same large content comes and goes in several accounts at once: whoever has
// a message can read it.
func concurrentSharedContent(f *fixture) {
	contents := []*store.Content{
		multipart("one", attachment(200_000, 76, "\r\n", 61)),
		multipart("two", attachment(200_000, 72, "\r\n", 61)),
		multipart("three", attachment(200_000, 76, "\n", 62), attachment(200_000, 76, "\r\n", 61)),
	}
	var want [][]byte
	for _, c := range contents {
		want = append(want, sourceOf(c))
	}
	accts, boxes := []mail.AccountID{f.acct}, []mail.MailboxID{f.inbox}
	second := f.account("second", "INBOX").ID
	box, err := f.s.MailboxByPath(f.ctx, second, mail.Inbox)
	f.must(err)
	accts, boxes = append(accts, second), append(boxes, box.ID)
	var left atomic.Int32
	left.Store(4)
	f.parallel(5, func(i int) error {
		if i == 4 { // what nobody has any more is removed meanwhile
			for f.engine.Maintain != nil && left.Load() > 0 {
				if err := f.engine.Maintain(f.ctx, f.s); err != nil {
					return err
				}
			}
			return nil
		}
		defer left.Add(-1)
		rng := rand.New(rand.NewPCG(3, uint64(i)))
		for range scale(10, 30, 500) {
			k := rng.IntN(len(contents))
			acct, box := accts[i%2], boxes[i%2]
			c := *contents[k]
			c.Source = bytes.NewReader(want[k])
			st, err := f.s.Stage(f.ctx, &c)
			if err != nil {
				return err
			}
			out, err := f.s.Append(f.ctx, acct, box, []store.Append{{Staged: st}})
			if err := errors.Join(err, st.Close()); err != nil {
				return err
			}
			b, err := f.s.Open(f.ctx, acct, box, out[0].UID)
			if err != nil {
				return err
			}
			if _, err := f.s.Expunge(f.ctx, acct, box, mail.OneUID(out[0].UID), false); err != nil {
				return err
			}
			if got, err := readBody(b); err != nil || !bytes.Equal(got, want[k]) {
				return fmt.Errorf("content %d: %s (%w)", k, difference(got, want[k]), err)
			}
		}
		return nil
	})
}

// Readers of whole mailboxes see whole messages while others expunge and append.
func concurrentReaders(f *fixture) {
	c := multipart("whole", attachment(20_000, 76, "\r\n", 71))
	want := sourceOf(c)
	st := f.stage(c)
	for range 10 {
		f.append(f.inbox, c, store.Append{})
	}
	var done atomic.Bool
	f.parallel(4, func(i int) error {
		if i == 0 {
			defer done.Store(true)
			for range scale(10, 40, 500) {
				out, err := f.s.Append(f.ctx, f.acct, f.inbox, []store.Append{{Staged: st}})
				if err != nil {
					return err
				}
				if _, err := f.s.Expunge(f.ctx, f.acct, f.inbox, mail.OneUID(out[0].UID-10), false); err != nil {
					return err
				}
			}
			return nil
		}
		for !done.Load() {
			if err := readWhole(f, want); err != nil {
				return err
			}
		}
		return nil
	})
	if n := len(f.uids(f.inbox, store.FetchQuery{})); n != 10 {
		f.Errorf("%d messages, want 10", n)
	}
}

// readWhole reads a mailbox whose messages all have the same content.
func readWhole(f *fixture, want []byte) error {
	last := mail.UID(0)
	for row, err := range f.s.Fetch(f.ctx, f.acct, f.inbox, store.FetchQuery{Fields: allFields}) {
		if err != nil {
			return err
		}
		if row.UID <= last || row.Size != int64(len(want)) || !bytes.HasPrefix(want, row.Header) {
			return fmt.Errorf("row %d after %d has size %d and header %q", row.UID, last, row.Size, cut(row.Header))
		}
		last = row.UID
		b, err := row.Open()
		if err != nil && mail.CodeOf(err) == mail.CodeNotFound {
			continue // expunged in between
		}
		if err != nil {
			return err
		}
		if got, err := readBody(b); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("UID %d: %s (%w)", row.UID, difference(got, want), err)
		}
	}
	return nil
}

// Renaming back and forth beside readers never shows a path twice or loses one.
func concurrentRename(f *fixture) {
	a, b := f.mailbox("a"), f.mailbox("b")
	var done atomic.Bool
	f.parallel(3, func(i int) error {
		if i == 0 {
			defer done.Store(true)
			paths := []string{"a", "b"}
			for k := range scale(20, 60, 1000) {
				x, y := paths[(k+1)%2], paths[k%2]
				if err := f.s.RenameMailboxes(f.ctx, f.acct, []store.Rename{{ID: a.ID, Path: x}, {ID: b.ID, Path: y}}); err != nil {
					return err
				}
			}
			return nil
		}
		for !done.Load() {
			boxes, err := f.s.ListMailboxes(f.ctx, f.acct)
			if err != nil {
				return err
			}
			var got []string
			for _, x := range boxes {
				got = append(got, x.Path)
			}
			if !slices.Equal(got, []string{"INBOX", "Trash", "a", "b"}) {
				return fmt.Errorf("mailboxes are %q", got)
			}
			for _, p := range []string{"a", "b"} {
				if _, err := f.s.MailboxByPath(f.ctx, f.acct, p); err != nil {
					return fmt.Errorf("mailbox %s: %w", p, err)
				}
			}
		}
		return nil
	})
}
