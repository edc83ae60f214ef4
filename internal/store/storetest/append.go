package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func appendCases() []caseFunc {
	return []caseFunc{
		{"Result", appendResult},
		{"Counters", appendCounters},
		{"Batch", appendBatch},
		{"Empty", appendEmpty},
		{"UIDsOnlyGrow", appendUIDsOnlyGrow},
		{"Prefix", appendPrefix},
		{"SharedStage", appendSharedStage},
		{"Quota", appendQuota},
		{"QuotaBatch", appendQuotaBatch},
		{"ClosedStage", appendClosedStage},
		{"BadSource", appendBadSource},
		{"MetaData", appendMetaData},
		{"Dates", appendDates},
		{"Keywords", appendKeywords},
	}
}

func appendResult(f *fixture) {
	before := f.box(f.inbox)
	c := note(1)
	got := f.append(f.inbox, c, store.Append{Flags: f.flags(`\Seen`, "kw")})
	if got.UID != before.UIDNext || got.UIDValidity != before.UIDValidity || got.Size != c.Size {
		f.Errorf("appended %+v to %+v", got, before)
	}
	if got.ModSeq <= before.HighestModSeq || got.ID.IsZero() || got.EmailID.IsZero() || got.ThreadID.IsZero() {
		f.Errorf("appended %+v, HighestModSeq was %d", got, before.HighestModSeq)
	}
	r := f.row(f.inbox, got.UID)
	if r.UID != got.UID || r.ModSeq != got.ModSeq || r.Size != got.Size || r.ID != got.ID || r.EmailID != got.EmailID || r.ThreadID != got.ThreadID {
		f.Errorf("row %+v is not what was appended: %+v", r, got)
	}
	if r.Flags != f.flags(`\Seen`, "kw") || !r.InternalDate.Equal(testDate(0)) {
		f.Errorf("row has flags %v and date %v", r.Flags.List(), r.InternalDate)
	}
	second := f.append(f.inbox, c, store.Append{})
	if second.UID <= got.UID || second.ModSeq <= got.ModSeq || second.ID == got.ID {
		f.Errorf("second message %+v after %+v", second, got)
	}
}

func appendCounters(f *fixture) {
	var size int64
	for i, flags := range [][]string{nil, {`\Seen`}, {`\Deleted`}, {`\Seen`, `\Deleted`}, {`\Flagged`, "a"}} {
		size += f.append(f.inbox, note(i), store.Append{Flags: f.flags(flags...)}).Size
	}
	b := f.counted(f.inbox)
	if b.Messages != 5 || b.Unseen != 3 || b.Deleted != 2 || b.Size != size || f.used() != size {
		f.Errorf("mailbox is %+v, StorageUsed %d; want 5 messages, 3 unseen, 2 deleted, %d octets", b, f.used(), size)
	}
	if rows := f.rows(f.inbox, store.FetchQuery{}); b.UIDNext <= rows[len(rows)-1].UID || b.HighestModSeq < rows[len(rows)-1].ModSeq {
		f.Errorf("mailbox is %+v, the last row %+v", b, rows[len(rows)-1])
	}
}

func appendBatch(f *fixture) {
	var in []store.Append
	for i := range 20 {
		in = append(in, store.Append{Staged: f.stage(note(i)), InternalDate: testDate(100 - i), Prefix: fmt.Appendf(nil, "X-Number: %d\r\n", i)})
	}
	out, err := f.s.Append(f.ctx, f.acct, f.inbox, in)
	f.must(err)
	if len(out) != len(in) {
		f.Fatalf("%d results for %d messages", len(out), len(in))
	}
	for i, a := range out {
		if i > 0 && (a.UID <= out[i-1].UID || a.ModSeq < out[i-1].ModSeq) {
			f.Errorf("message %d is %+v after %+v", i, a, out[i-1])
		}
		want := append(fmt.Appendf(nil, "X-Number: %d\r\n", i), sourceOf(note(i))...)
		if got := f.content(f.inbox, a.UID); !bytes.Equal(got, want) {
			f.Errorf("message %d is %q, want %q", i, got, want)
		}
	}
	f.sameUIDs("Fetch", f.uids(f.inbox, store.FetchQuery{}), uidsOf(out))
	if b := f.counted(f.inbox); b.Messages != 20 {
		f.Errorf("%d messages, want 20", b.Messages)
	}
}

func appendEmpty(f *fixture) {
	before := f.box(f.inbox)
	out, err := f.s.Append(f.ctx, f.acct, f.inbox, nil)
	if err != nil || len(out) != 0 {
		f.Errorf("append of nothing: %v, %v", out, err)
	}
	if b := f.counted(f.inbox); b.UIDNext != before.UIDNext || b.Messages != 0 {
		f.Errorf("append of nothing made %+v of %+v", b, before)
	}
	_, err = f.s.Append(f.ctx, mail.AccountID{9}, f.inbox, []store.Append{{Staged: f.stage(note(0))}})
	f.wants("unknown account", err, mail.CodeNoAccount)
}

// A UID is never used again, not even when the last message went and not after
// the mailbox was empty.
func appendUIDsOnlyGrow(f *fixture) {
	highest := mail.UID(0)
	for i := range 10 {
		out := f.fill(f.inbox, 2)
		if out[0].UID <= highest {
			f.Fatalf("round %d: UID %d, but %d was used before", i, out[0].UID, highest)
		}
		highest = out[1].UID
		switch i % 3 {
		case 0:
			f.expunge(f.inbox, out[1].UID)
		case 1:
			_, err := f.s.Expunge(f.ctx, f.acct, f.inbox, mail.AllUIDs(), false)
			f.must(err)
		case 2:
			_, err := f.s.Move(f.ctx, f.acct, f.inbox, f.path("Trash").ID, mail.AllUIDs())
			f.must(err)
		}
		if b := f.box(f.inbox); b.UIDNext <= highest {
			f.Errorf("round %d: UIDNEXT %d, but %d was used", i, b.UIDNext, highest)
		}
	}
}

func appendPrefix(f *fixture) {
	prefix := "Return-Path: <a@example.com>\r\nDelivered-To: user@example.com\r\n"
	for i, c := range []*store.Content{note(1), content(nil, "7bit"), multipart("m", attachment(100_000, 76, "\r\n", 1))} {
		raw := sourceOf(c)
		used := f.used()
		a := f.append(f.inbox, c, store.Append{Prefix: []byte(prefix)})
		if want := int64(len(prefix) + len(raw)); a.Size != want || f.used() != used+want {
			f.Errorf("%d: size %d, StorageUsed grew by %d; want %d", i, a.Size, f.used()-used, want)
		}
		if got := f.content(f.inbox, a.UID); string(got) != prefix+string(raw) {
			f.Errorf("%d: content is %q", i, cut(got))
		}
		r := f.row(f.inbox, a.UID)
		if r.PrefixLen != int64(len(prefix)) || string(r.Header) != prefix+string(c.Header) || r.Size != a.Size {
			f.Errorf("%d: PrefixLen %d, header %q, size %d", i, r.PrefixLen, r.Header, r.Size)
		}
		if !bytes.Equal(r.Tree, c.Tree) || !bytes.Equal(r.Envelope, c.Envelope) {
			f.Errorf("%d: the tree or the envelope changed with the prefix", i)
		}
	}
	for _, field := range []store.Fields{store.FieldTree, store.FieldHeader, store.FieldBody} {
		for _, r := range f.rows(f.inbox, store.FetchQuery{Fields: field}) {
			if r.PrefixLen != int64(len(prefix)) {
				f.Errorf("field %d: PrefixLen %d, want %d", field, r.PrefixLen, len(prefix))
			}
		}
	}
}

// cut shortens octets for a message.
func cut(b []byte) []byte { return b[:min(len(b), 200)] }

// One staged message goes to many mailboxes and accounts, with different prefixes.
func appendSharedStage(f *fixture) {
	c := multipart("shared", attachment(50_000, 76, "\r\n", 2), part{typ: "text/plain", encoding: "8bit", body: "b\xe4r"})
	raw := sourceOf(c)
	st, err := f.s.Stage(f.ctx, c)
	f.must(err)
	first := f.acct
	emails := make(map[mail.EmailID]string)
	for i := range 5 {
		acct := first
		if i > 2 {
			acct = f.account(fmt.Sprintf("rcpt%d", i), "INBOX").ID
		}
		f.acct = acct
		prefix := fmt.Sprintf("Delivered-To: %d\r\n", i)
		out, err := f.s.Append(f.ctx, acct, f.path("INBOX").ID, []store.Append{{Staged: st, Prefix: []byte(prefix)}})
		f.must(err)
		if got := f.content(f.path("INBOX").ID, out[0].UID); string(got) != prefix+string(raw) {
			f.Errorf("recipient %d got %q", i, cut(got))
		}
		if other, known := emails[out[0].EmailID]; known {
			f.Errorf("messages with prefixes %q and %q have the same EMAILID (RFC 8474, 5.1)", other, prefix)
		}
		emails[out[0].EmailID] = prefix
	}
	f.must(st.Close())
}

func appendQuota(f *fixture) {
	f.append(f.inbox, sized(600), store.Append{Quota: 1000})
	try := func(size, prefix int, quota int64) error {
		before := f.used()
		_, err := f.s.Append(f.ctx, f.acct, f.inbox, []store.Append{{
			Staged: f.stage(sized(size)), Quota: quota, Prefix: fieldOf(prefix),
		}})
		if err != nil && f.used() != before {
			f.Errorf("a refused message changed StorageUsed from %d to %d", before, f.used())
		}
		return err
	}
	f.wants("one octet too many", try(401, 0, 1000), mail.CodeOverQuota)
	f.wants("the prefix counts", try(380, 21, 1000), mail.CodeOverQuota)
	f.must(try(380, 20, 1000)) // exactly full
	f.wants("full", try(20, 0, 1000), mail.CodeOverQuota)
	f.must(try(500, 0, 0)) // no quota
	f.wants("far over", try(20, 0, 1000), mail.CodeOverQuota)
	if b := f.counted(f.inbox); b.Messages != 3 || f.used() != 1500 {
		f.Errorf("%d messages, %d octets; want 3, 1500", b.Messages, f.used())
	}
	// All mailboxes count, and what goes away makes room.
	_, err := f.s.Move(f.ctx, f.acct, f.inbox, f.path("Trash").ID, mail.OneUID(1))
	f.must(err)
	f.wants("moved is still there", try(101, 0, 1600), mail.CodeOverQuota)
	_, err = f.s.Expunge(f.ctx, f.acct, f.path("Trash").ID, mail.AllUIDs(), false)
	f.must(err)
	f.must(try(700, 0, 1600))
}

// fieldOf returns a header field of n octets, none for 0.
func fieldOf(n int) []byte {
	if n == 0 {
		return nil
	}
	return []byte("X: " + strings.Repeat("x", n-5) + "\r\n")
}

func appendQuotaBatch(f *fixture) {
	st := f.stage(sized(100))
	_, err := f.s.Append(f.ctx, f.acct, f.inbox, []store.Append{{Staged: st, Quota: 299}, {Staged: st, Quota: 299}, {Staged: st, Quota: 299}})
	f.wants("the third of a batch", err, mail.CodeOverQuota)
	if b := f.counted(f.inbox); b.Messages != 0 || f.used() != 0 || f.changes(f.inbox, 0).Changed.Len() != 0 {
		f.Errorf("a refused batch left %+v, StorageUsed %d", b, f.used())
	}
	if head, err := f.s.JournalHead(f.ctx, f.acct); err != nil || !head.IsZero() {
		f.Errorf("a refused batch left journal entries up to %v (%v)", head, err)
	}
	_, err = f.s.Append(f.ctx, f.acct, f.inbox, []store.Append{{Staged: st, Quota: 300}, {Staged: st, Quota: 300}, {Staged: st, Quota: 300}})
	f.must(err)
}

func appendClosedStage(f *fixture) {
	st, err := f.s.Stage(f.ctx, note(0))
	f.must(err)
	f.must(st.Close())
	_, err = f.s.Append(f.ctx, f.acct, f.inbox, []store.Append{{Staged: f.stage(note(1))}, {Staged: st}})
	f.wants("a closed staged message", err, mail.CodeInvalid)
	if b := f.counted(f.inbox); b.Messages != 0 {
		f.Errorf("%d messages, want none", b.Messages)
	}
	// Staged and never appended: nothing is seen of it.
	unused, err := f.s.Stage(f.ctx, multipart("unused", attachment(200_000, 76, "\r\n", 3)))
	f.must(err)
	f.must(unused.Close())
	if f.used() != 0 {
		f.Errorf("StorageUsed is %d, want 0", f.used())
	}
}

// brokenSource fails to read from an offset on.
type brokenSource struct {
	r   io.ReaderAt
	off int64
	err error
}

func (b brokenSource) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) <= b.off {
		return b.r.ReadAt(p, off)
	}
	n := max(0, b.off-off)
	m, _ := b.r.ReadAt(p[:n], off)
	return m, b.err
}

func appendBadSource(f *fixture) {
	torn := errors.New("torn")
	for _, size := range []int{100, 300_000} {
		c := sized(size)
		c.Source = brokenSource{c.Source, int64(size) - 1, torn}
		if _, err := f.s.Stage(f.ctx, c); !errors.Is(err, torn) {
			f.Errorf("source of %d octets that fails: error %v, want %v in its chain", size, err, torn)
		}
		c = sized(size)
		c.Size++
		_, err := f.s.Stage(f.ctx, c)
		f.wants("a source that is too short", err, mail.CodeInvalid)
	}
	f.append(f.inbox, sized(100), store.Append{}) // nothing is left broken
}

func appendMetaData(f *fixture) {
	big := `{"a":"` + strings.Repeat("\\u0000x", 149_000) + `"}`
	for i, meta := range []string{"", `{}`, `{"ä":"\u0000","n":[1,2,{}]}`, big} {
		info := strings.ReplaceAll(meta, "a", "b")
		expires := testDate(i * 100_000)
		a := f.append(f.inbox, note(i), store.Append{MetaData: meta, Info: info, Expires: expires})
		before := time.Now().Add(-time.Minute)
		r := f.row(f.inbox, a.UID)
		if r.MetaData != meta || r.Info != info || !r.Expires.Equal(expires) {
			f.Errorf("%d: MetaData %.40q, Info %.40q, Expires %v; want %.40q, %.40q, %v", i, r.MetaData, r.Info, r.Expires, meta, info, expires)
		}
		if r.SavedDate.Before(before) || r.SavedDate.After(time.Now().Add(time.Minute)) {
			f.Errorf("%d: SavedDate is %v", i, r.SavedDate)
		}
	}
	a := f.append(f.inbox, note(9), store.Append{})
	if r := f.row(f.inbox, a.UID); !r.Expires.IsZero() {
		f.Errorf("a message that never expires has Expires %v", r.Expires)
	}
}

func appendDates(f *fixture) {
	for i, date := range []time.Time{
		time.Unix(0, 0), time.Unix(-1, 0), time.Unix(1, 999_999_999), time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(1950, 6, 1, 2, 3, 4, 0, time.UTC), time.Date(2100, 12, 31, 23, 59, 59, 0, time.UTC),
		time.Date(2024, 2, 29, 12, 0, 0, 0, time.FixedZone("", -11*3600-1800)), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
	} {
		a := f.append(f.inbox, note(i), store.Append{InternalDate: date})
		r := f.row(f.inbox, a.UID)
		if d := r.InternalDate.Sub(date); d <= -time.Second || d >= time.Second {
			f.Errorf("date %v came back as %v", date, r.InternalDate)
		}
	}
}

func appendKeywords(f *fixture) {
	f.fill(f.inbox, 1, "Foo", "$Junk")
	f.fill(f.inbox, 1, "foo", "Bar")
	sameKeywords(f, f.box(f.inbox).Keywords, "$junk", "bar", "foo")
	rows := f.rows(f.inbox, store.FetchQuery{})
	if got := rows[0].Flags.KeywordString(); got != "$Junk Foo" {
		f.Errorf("keywords are %q, want the spelling that was given", got)
	}
	if got := rows[1].Flags.KeywordString(); got != "Bar foo" {
		f.Errorf("keywords are %q, want the spelling that was given", got)
	}
	for i := range mail.MaxKeywords {
		f.fill(f.inbox, 1, fmt.Sprintf("many%d", i))
	}
	if n := len(f.box(f.inbox).Keywords); n > mail.MaxKeywords || n < 3 {
		f.Errorf("a mailbox has %d keywords, at most %d may be kept", n, mail.MaxKeywords)
	}
}
