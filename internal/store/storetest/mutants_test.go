package storetest_test

import (
	"bytes"
	"context"
	"io"
	"iter"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
	"mallard/internal/store/storetest"
)

// mutantEnv names the mutant that TestMutant runs as an engine.
const mutantEnv = "MALLARD_STORETEST_MUTANT"

// mutants are engines with one fault each, and the case that must find it.
func mutants() map[string]struct {
	find string
	wrap func(store.Store) store.Store
} {
	return map[string]struct {
		find string
		wrap func(store.Store) store.Store
	}{
		"none":                 {"", func(s store.Store) store.Store { return s }},
		"append ignores quota": {"Append/Quota$", func(s store.Store) store.Store { return noQuota{s} }},
		"batches one by one":   {"Append/QuotaBatch", func(s store.Store) store.Store { return oneByOne{s} }},
		"LF becomes CRLF":      {"Content/Verbatim", func(s store.Store) store.Store { return cleaned{s} }},
		"last octet lost":      {"Content/Large", func(s store.Store) store.Store { return shortBody{s} }},
		"any range is fine":    {"Content/BadRanges", func(s store.Store) store.Store { return lenientBody{s} }},
		"condition ignored":    {"Flags/UnchangedSince", func(s store.Store) store.Store { return unconditional{s} }},
		"changes forget":       {"Changes/Follow", func(s store.Store) store.Store { return forgetful{s, 0} }},
		"changes off by one":   {"Changes/Since", func(s store.Store) store.Store { return forgetful{s, 1} }},
		"expunges everything":  {"Expunge/OnlyDeleted", func(s store.Store) store.Store { return eager{s} }},
		"copies keep expiry":   {"Copy/Expires", func(s store.Store) store.Store { return moveByCopy{s} }},
		"renames one by one":   {"Mailboxes/RenameSwap", func(s store.Store) store.Store { return slowRename{s} }},
		"journal inclusive":    {"Journal/Paging", func(s store.Store) store.Store { return inclusive{s} }},
		"search misses":        {"Search/NeverMisses", func(s store.Store) store.Store { return blind{s} }},
		"date ties reversed":   {"Fetch/Order", func(s store.Store) store.Store { return reversedTies{s} }},
		"total of the page":    {"Accounts/List$", func(s store.Store) store.Store { return pageTotal{s} }},
		"dates not restored":   {"Migration/Everything", func(s store.Store) store.Store { return undated{s, s.(store.Migration)} }},
		"recent for everyone":  {"Recent/AtOnce", func(s store.Store) store.Store { return generous{s, s.(store.Recents)} }},
		"flags unlike model":   {"Machine", func(s store.Store) store.Store { return unconditional{addOnly{s}} }},
	}
}

// TestMutants shows that the suite finds faults: each mutant must fail its case,
// and the engine without a fault must pass.
func TestMutants(t *testing.T) {
	for name, m := range mutants() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := "^TestMutant$/^" + strings.ReplaceAll(m.find, "/", "$/^")
			if m.find == "" {
				run = "^TestMutant$/^(Append|Changes|Search)$"
			}
			cmd := exec.Command(os.Args[0], "-test.run="+run, "-test.short", "-rapid.nofailfile", "-rapid.shrinktime=0s",
				"-rapid.checks=100", "-rapid.seed=1")
			cmd.Env = append(os.Environ(), mutantEnv+"="+name)
			out, err := cmd.CombinedOutput()
			if (err == nil) != (m.find == "") || bytes.Contains(out, []byte("no tests to run")) {
				t.Errorf("the suite ended with %v:\n%s", err, out)
			}
			if m.find != "" && !bytes.Contains(out, []byte("--- FAIL: TestMutant/"+strings.TrimSuffix(m.find, "$"))) {
				t.Errorf("case %s did not fail:\n%s", m.find, out)
			}
		})
	}
}

// TestMutant is what TestMutants runs in another process.
func TestMutant(t *testing.T) {
	m, ok := mutants()[os.Getenv(mutantEnv)]
	if !ok {
		t.Skip("run by TestMutants")
	}
	storetest.Run(t, storetest.Engine{Name: "mutant", New: func(testing.TB) *storetest.Disk {
		return &storetest.Disk{Volatile: true, Open: func() (store.Store, error) { return m.wrap(memstore.New(memstore.Options{})), nil }}
	}})
}

type noQuota struct{ store.Store }

func (s noQuota) Append(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []store.Append) ([]store.Appended, error) {
	in = slices.Clone(in)
	for i := range in {
		in[i].Quota = 0
	}
	return s.Store.Append(ctx, acct, mbox, in)
}

// generous tells all sessions of a message that it is recent, until one was told of a later one.
type generous struct {
	store.Store
	recents store.Recents
}

func (s generous) TakeRecent(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, upTo mail.UID) (mail.UID, error) {
	_, err := s.recents.TakeRecent(ctx, acct, mbox, upTo)
	return max(upTo, 1) - 1, err
}

type oneByOne struct{ store.Store }

func (s oneByOne) Append(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []store.Append) ([]store.Appended, error) {
	var out []store.Appended
	for i := range in {
		one, err := s.Store.Append(ctx, acct, mbox, in[i:i+1])
		if err != nil {
			return nil, err
		}
		out = append(out, one...)
	}
	return out, nil
}

type cleaned struct{ store.Store }

func (s cleaned) Stage(ctx context.Context, c *store.Content) (store.Staged, error) {
	raw, err := io.ReadAll(io.NewSectionReader(c.Source, 0, c.Size))
	if err != nil {
		return nil, err
	}
	raw = bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	d := *c
	d.Source, d.Size = bytes.NewReader(raw), int64(len(raw))
	return s.Store.Stage(ctx, &d)
}

type shortBody struct{ store.Store }

func (s shortBody) Open(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uid mail.UID) (store.Body, error) {
	b, err := s.Store.Open(ctx, acct, mbox, uid)
	return short{b}, err
}

type short struct{ store.Body }

func (b short) WriteRange(w io.Writer, off, n int64) error {
	if n > 1<<20 {
		n--
	}
	return b.Body.WriteRange(w, off, n)
}

type lenientBody struct{ store.Store }

func (s lenientBody) Open(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uid mail.UID) (store.Body, error) {
	b, err := s.Store.Open(ctx, acct, mbox, uid)
	return lenient{b}, err
}

type lenient struct{ store.Body }

func (b lenient) WriteRange(w io.Writer, off, n int64) error {
	off = min(max(off, 0), b.Size())
	return b.Body.WriteRange(w, off, min(max(n, 0), b.Size()-off))
}

type unconditional struct{ store.Store }

func (s unconditional) UpdateFlags(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, u store.FlagUpdate) (*store.FlagResult, error) {
	u.UnchangedSince = nil
	return s.Store.UpdateFlags(ctx, acct, mbox, u)
}

type addOnly struct{ store.Store }

func (s addOnly) UpdateFlags(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, u store.FlagUpdate) (*store.FlagResult, error) {
	if u.Mode == store.FlagsReplace {
		u.Mode = store.FlagsAdd
	}
	return s.Store.UpdateFlags(ctx, acct, mbox, u)
}

type forgetful struct {
	store.Store
	off mail.ModSeq
}

func (s forgetful) Changes(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, since mail.ModSeq) (*store.ChangeSet, error) {
	set, err := s.Store.Changes(ctx, acct, mbox, since+s.off)
	if err == nil && s.off == 0 {
		set.Expunged = nil
	}
	return set, err
}

type eager struct{ store.Store }

func (s eager) Expunge(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, _ bool) (*store.ExpungeResult, error) {
	return s.Store.Expunge(ctx, acct, mbox, uids, false)
}

type moveByCopy struct{ store.Store }

func (s moveByCopy) Copy(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet, quota int64) (*store.CopyResult, error) {
	res, err := s.Store.Copy(ctx, acct, from, to, uids, quota)
	if err != nil {
		return nil, err
	}
	i := 0
	for row, err := range s.Store.Fetch(ctx, acct, from, store.FetchQuery{UIDs: uids, Fields: store.FieldMeta}) {
		if err != nil {
			return nil, err
		}
		expires := row.Expires
		if _, err := s.Store.UpdateFlags(ctx, acct, to, store.FlagUpdate{UIDs: mail.OneUID(res.To[i]), Expires: &expires}); err != nil {
			return nil, err
		}
		i++
	}
	return res, nil
}

type slowRename struct{ store.Store }

func (s slowRename) RenameMailboxes(ctx context.Context, acct mail.AccountID, renames []store.Rename) error {
	for i := range renames {
		if err := s.Store.RenameMailboxes(ctx, acct, renames[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

type inclusive struct{ store.Store }

func (s inclusive) ReadJournal(ctx context.Context, acct mail.AccountID, after mail.JournalID, limit int) ([]store.JournalEntry, error) {
	for i := len(after) - 1; i >= 0; i-- { // the id just before
		after[i]--
		if after[i] != 0xff {
			break
		}
	}
	if after[0] == 0xff {
		after = mail.JournalID{}
	}
	return s.Store.ReadJournal(ctx, acct, after, min(limit, 50))
}

type blind struct{ store.Store }

func (s blind) MayContain(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, needles [][]byte) iter.Seq2[mail.UID, error] {
	return func(yield func(mail.UID, error) bool) {
		for uid, err := range s.Store.MayContain(ctx, acct, mbox, uids, needles) {
			short := slices.ContainsFunc(needles, func(n []byte) bool { return len(n) < 2 })
			if short && uid%5 == 2 {
				continue
			}
			if !yield(uid, err) {
				return
			}
		}
	}
}

type reversedTies struct{ store.Store }

func (s reversedTies) Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error] {
	if q.Order != store.ByDateDescending || q.AfterUID != 0 {
		return s.Store.Fetch(ctx, acct, mbox, q)
	}
	return func(yield func(*store.Row, error) bool) {
		var rows []*store.Row
		for r, err := range s.Store.Fetch(ctx, acct, mbox, q) {
			if err != nil {
				yield(nil, err)
				return
			}
			rows = append(rows, r)
		}
		slices.SortStableFunc(rows, func(a, b *store.Row) int {
			if c := b.InternalDate.Compare(a.InternalDate); c != 0 {
				return c
			}
			return int(a.UID) - int(b.UID)
		})
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

type pageTotal struct{ store.Store }

func (s pageTotal) ListAccounts(ctx context.Context, q store.AccountQuery) (*store.AccountPage, error) {
	page, err := s.Store.ListAccounts(ctx, q)
	if err == nil {
		page.Total = int64(len(page.Accounts))
	}
	return page, err
}

// undated restores messages as if they had come now.
type undated struct {
	store.Store
	store.Migration
}

func (u undated) RestoreMessages(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []store.Restored) error {
	in = slices.Clone(in)
	for i := range in {
		in[i].SavedDate = in[i].SavedDate.Add(time.Second)
	}
	return u.Migration.RestoreMessages(ctx, acct, mbox, in)
}
