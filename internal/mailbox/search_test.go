package mailbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mallard/internal/draft"
	"mallard/internal/event/membus"
	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// letter is a message of which the test knows everything that can be searched.
type letter struct {
	uid      mail.UID
	modSeq   mail.ModSeq
	prefix   [][2]string // header fields that the delivery adds
	header   [][2]string
	body     string
	flags    mail.Flags
	date     time.Time // internal
	sent     time.Time
	size     int64
	parts    bool
	id       mail.MessageID
	threadID mail.ThreadID
	emailID  mail.EmailID
}

func fieldText(fields [][2]string) string {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
	}
	return b.String()
}

func (l *letter) octets() string {
	head := fieldText(l.header)
	if l.parts {
		return head + "Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\n" + l.body +
			"\r\n--bb\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment\r\n\r\nbinary\r\n--bb--\r\n"
	}
	return head + "\r\n" + l.body
}

// put stores a letter.
func (f *fixture) put(t failer, rc *draft.Receiver, l *letter) {
	ctx := context.Background()
	d, err := rc.Receive(ctx, strings.NewReader(l.octets()), 0)
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	st, err := f.Stage(ctx, d.Content())
	if err := errors.Join(err, d.Close()); err != nil {
		t.Fatalf("stage: %v", err)
	}
	defer st.Close()
	out, err := f.Append(ctx, f.acct, f.boxes[0], store.Append{
		Staged: st, Prefix: []byte(fieldText(l.prefix)), Flags: l.flags, InternalDate: l.date,
	})
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	l.uid, l.modSeq, l.size = out[0].UID, out[0].ModSeq, out[0].Size
	l.id, l.threadID, l.emailID = out[0].ID, out[0].ThreadID, out[0].EmailID
}

func fold(s string) string { return strings.Join(strings.Fields(" "+strings.ToLower(s)+" "), " ") }

func contains(text, what string) bool { return strings.Contains(fold(text), fold(what)) }

// holds is what a query means, without any index or order.
func holds(q search.Query, l *letter) bool {
	switch q := q.(type) {
	case search.And:
		return !slices.ContainsFunc(q, func(q search.Query) bool { return !holds(q, l) })
	case search.Or:
		return slices.ContainsFunc(q, func(q search.Query) bool { return holds(q, l) })
	case search.Not:
		return !holds(q.Query, l)
	case search.All:
		return true
	case search.Flags:
		return l.flags.Has(q.Set) && l.flags.System&q.Unset == 0
	case search.Keyword:
		return l.flags.HasKeyword(string(q))
	case search.UIDs:
		return mail.UIDSet(q).Contains(l.uid)
	case search.ModSeq:
		return l.modSeq >= mail.ModSeq(q)
	case search.Larger:
		return l.size > int64(q)
	case search.Smaller:
		return l.size < int64(q)
	case search.ThreadID:
		return l.threadID == mail.ThreadID(q)
	case search.EmailID:
		return l.emailID == mail.EmailID(q)
	case search.HasAttachment:
		return l.parts
	case search.InternalDate:
		return compareDay(q.Compare, l.date, q.Day)
	case search.SentDate:
		if l.sent.IsZero() {
			return compareDay(q.Compare, l.date, q.Day)
		}
		return compareDay(q.Compare, l.sent, q.Day)
	case search.Header:
		return slices.ContainsFunc(slices.Concat(l.prefix, l.header), func(f [2]string) bool {
			return strings.EqualFold(f[0], q.Field) && contains(f[1], q.Contains)
		})
	case search.Body:
		return contains(l.body, string(q))
	case search.Text:
		return contains(l.body, string(q)) || contains(fieldText(l.prefix)+l.octets()[:strings.Index("\r\n"+l.octets(), "\r\n\r\n")], string(q))
	}
	panic(fmt.Sprintf("unknown query %T", q))
}

func compareDay(c search.DateCompare, t time.Time, day search.Day) bool {
	cmp := search.DayOf(t.UTC()).Cmp(day)
	switch c {
	case search.Before:
		return cmp < 0
	case search.On:
		return cmp == 0
	default:
		return cmp >= 0
	}
}

var words = []string{"lemon", "melon", "Tree", "apple pie", "ONE", "twenty-one", "x"}

func drawText(t *rapid.T, label string) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(words), 0, 4).Draw(t, label), " ")
}

func drawLetter(t *rapid.T) *letter {
	l := &letter{
		flags: rapid.SampledFrom(someFlags).Draw(t, "flags"),
		date:  time.Date(2026, 3, rapid.IntRange(1, 4).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "hour"), 0, 0, 0, time.UTC),
		body:  drawText(t, "body") + "\r\n",
		parts: rapid.Bool().Draw(t, "parts"),
	}
	if rapid.Bool().Draw(t, "delivered") {
		l.prefix = [][2]string{{"Delivered-To", drawText(t, "recipient")}, {"Return-Path", "<" + drawText(t, "sender") + ">"}}
	}
	if rapid.Bool().Draw(t, "dated") {
		l.sent = time.Date(2026, 3, rapid.IntRange(1, 4).Draw(t, "sent"), 12, 0, 0, 0, time.UTC)
		l.header = append(l.header, [2]string{"Date", l.sent.Format(time.RFC1123Z)})
	}
	for range rapid.IntRange(0, 3).Draw(t, "fields") {
		name := rapid.SampledFrom([]string{"Subject", "To", "X-Note"}).Draw(t, "name")
		l.header = append(l.header, [2]string{name, drawText(t, "value")})
	}
	return l
}

func drawQuery(t *rapid.T, all []*letter, depth int) search.Query {
	kinds := []string{
		"all", "flags", "keyword", "uids", "modseq", "larger", "smaller", "thread", "email", "attachment",
		"internal", "sent", "header", "body", "text", "text", "body",
	}
	if depth > 0 {
		kinds = append(kinds, "and", "or", "not", "and", "or", "not")
	}
	pick := func() *letter { return rapid.SampledFrom(all).Draw(t, "of") }
	day := func() search.Day {
		return search.Day{Year: 2026, Month: 3, Day: rapid.IntRange(1, 4).Draw(t, "day")}
	}
	compare := func() search.DateCompare {
		return rapid.SampledFrom([]search.DateCompare{search.Before, search.On, search.Since}).Draw(t, "compare")
	}
	needle := func() string {
		w := rapid.SampledFrom(append([]string{"", "delivered-to", "nowhere", "one lemon", "subject: x"}, words...)).Draw(t, "needle")
		return strings.TrimSpace(w[rapid.IntRange(0, len(w)/2).Draw(t, "from"):])
	}
	several := func() (out []search.Query) {
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			out = append(out, drawQuery(t, all, depth-1))
		}
		return out
	}
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "and":
		return search.And(several())
	case "or":
		return search.Or(several())
	case "not":
		return search.Not{Query: drawQuery(t, all, depth-1)}
	case "flags":
		return search.Flags{Set: mail.Seen, Unset: rapid.SampledFrom([]mail.SystemFlags{0, mail.Flagged}).Draw(t, "unset")}
	case "keyword":
		return search.Keyword(rapid.SampledFrom([]string{"a", "B", "c"}).Draw(t, "keyword"))
	case "uids":
		return search.UIDs(mail.UIDSetOf(rapid.SliceOf(rapid.Custom(func(t *rapid.T) mail.UID {
			return mail.UID(rapid.IntRange(1, 9).Draw(t, "uid"))
		})).Draw(t, "uids")...))
	case "modseq":
		return search.ModSeq(pick().modSeq)
	case "larger":
		return search.Larger(pick().size)
	case "smaller":
		return search.Smaller(pick().size)
	case "thread":
		return search.ThreadID(pick().threadID)
	case "email":
		return search.EmailID(pick().emailID)
	case "attachment":
		return search.HasAttachment{}
	case "internal":
		return search.InternalDate{Compare: compare(), Day: day()}
	case "sent":
		return search.SentDate{Compare: compare(), Day: day()}
	case "header":
		return search.Header{Field: rapid.SampledFrom([]string{"subject", "TO", "Return-Path", "X-Other"}).Draw(t, "field"), Contains: needle()}
	case "body":
		return search.Body(needle())
	case "text":
		return search.Text(needle())
	}
	return search.All{}
}

// caches are those with which searches are tried: none, a large one, some that have no room for a message's text, for all
// texts, for all facts.
var caches = map[string]SearchCache{
	"none": {}, "large": {1 << 20, 1 << 20}, "no texts": {1 << 20, 1}, "few texts": {1 << 20, 8 << 10}, "few facts": {800, 1 << 20}, "nothing fits": {1, 1},
}

// A search finds what a reading of every message finds, whatever was searched before and has changed since, here or on
// another node.
func TestSearchProperties(t *testing.T) {
	rc := draft.New(draft.Options{})
	rapid.Check(t, func(t *rapid.T) {
		cache := caches[rapid.SampledFrom(slices.Sorted(maps.Keys(caches))).Draw(t, "cache")]
		f := newSearchFixture(t, memstore.Options{}, nil, cache)
		nodes := []*Service{f.Service, New(Options{Store: f.store, Bus: membus.New()})}
		var all []*letter
		for range rapid.IntRange(1, 5).Draw(t, "letters") {
			l := drawLetter(t)
			f.put(t, rc, l)
			all = append(all, l)
		}
		for range 5 {
			f.searchAgrees(t, drawQuery(t, all, 3), all)
			all = f.drawChange(t, rc, nodes[rapid.IntRange(0, 1).Draw(t, "node")], all)
		}
	})
}

// searchAgrees compares a search with a reading of every message.
func (f *fixture) searchAgrees(t *rapid.T, q search.Query, all []*letter) {
	p, err := search.Compile(q, search.Limits{})
	if err != nil {
		t.Fatalf("compile %#v: %v", q, err)
	}
	found, err := f.Search(context.Background(), f.acct, f.boxes[0], p)
	if err != nil {
		t.Fatalf("search %#v: %v", q, err)
	}
	hits, err := f.Find(context.Background(), f.acct, f.boxes[0], p)
	if err != nil {
		t.Fatalf("find %#v: %v", q, err)
	}
	want := []Found{}
	var wantHits []Hit
	for _, l := range all {
		if holds(q, l) {
			want = append(want, Found{l.uid, l.modSeq})
			wantHits = append(wantHits, Hit{
				Mailbox: f.boxes[0], UID: l.uid, ModSeq: l.modSeq, Flags: l.flags, ID: l.id, Thread: l.threadID, InternalDate: l.date,
			})
		}
	}
	if !slices.Equal(found, want) {
		t.Fatalf("%#v finds %v, want %v", q, found, want)
	}
	if !slices.Equal(hits, wantHits) {
		t.Fatalf("%#v finds %v, want %v", q, hits, wantHits)
	}
}

// drawChange changes the mailbox through one of its services.
func (f *fixture) drawChange(t *rapid.T, rc *draft.Receiver, node *Service, all []*letter) []*letter {
	i := rapid.IntRange(0, len(all)-1).Draw(t, "which")
	switch kind := rapid.SampledFrom([]string{"add", "flag", "flag", "expunge", "nothing"}).Draw(t, "change"); {
	case kind == "add":
		l := drawLetter(t)
		(&fixture{Service: node, acct: f.acct, boxes: f.boxes}).put(t, rc, l)
		return append(all, l)
	case kind == "nothing":
		return all
	case kind == "expunge" && len(all) > 1:
		if _, err := node.Expunge(context.Background(), f.acct, f.boxes[0], mail.OneUID(all[i].uid), false); err != nil {
			t.Fatalf("expunge: %v", err)
		}
		return slices.Delete(all, i, i+1)
	}
	res, err := node.UpdateFlags(context.Background(), f.acct, f.boxes[0], store.FlagUpdate{
		UIDs: mail.OneUID(all[i].uid), Mode: store.FlagsReplace, Flags: rapid.SampledFrom(someFlags).Draw(t, "flags"),
	})
	if err != nil {
		t.Fatalf("change flags: %v", err)
	}
	all[i].modSeq, all[i].flags = res.Existing[0].ModSeq, res.Existing[0].Flags
	return all
}

// What only the delivery's own header lines hold is found by TEXT and HEADER, and
// not by BODY.
func TestSearchPrefix(t *testing.T) {
	for name, cache := range caches {
		t.Run(name, func(t *testing.T) { searchPrefix(t, cache) })
	}
}

func searchPrefix(t *testing.T, cache SearchCache) {
	f := newSearchFixture(t, memstore.Options{}, nil, cache)
	rc := draft.New(draft.Options{})
	f.put(t, rc, &letter{prefix: [][2]string{{"Delivered-To", "jane+marmalade@example.test"}}, body: "x\r\n"})
	f.put(t, rc, &letter{prefix: [][2]string{{"Delivered-To", "bob@example.test"}}, body: "x\r\n"})
	for name, tc := range map[string]struct {
		q    search.Query
		want []mail.UID
	}{
		"text":   {search.Text("MARMALADE@"), []mail.UID{1}},
		"name":   {search.Text("delivered-to: bob"), []mail.UID{2}},
		"header": {search.Header{Field: "delivered-to", Contains: "marmalade"}, []mail.UID{1}},
		"body":   {search.Body("marmalade"), nil},
	} {
		p, err := search.Compile(tc.q, search.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		found, err := f.Search(t.Context(), f.acct, f.boxes[0], p)
		if err != nil {
			t.Fatal(err)
		}
		var got []mail.UID
		for _, m := range found {
			got = append(got, m.UID)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: found %v, want %v", name, got, tc.want)
		}
	}
}

// A search of a mailbox that does not exist, or in trouble, is an error.
func TestSearchErrors(t *testing.T) {
	broken := ""
	f := newFixture(t, memstore.Options{Fault: func(op string) error {
		if op == broken {
			return mail.NewError(mail.CodeUnavailable, "later")
		}
		return nil
	}}, nil)
	f.put(t, draft.New(draft.Options{}), &letter{body: "x\r\n"})
	p, err := search.Compile(search.Text("x"), search.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Search(t.Context(), f.acct, mail.MailboxID{1}, p); mail.CodeOf(err) != mail.CodeNoMailbox {
		t.Errorf("no such mailbox: %v", err)
	}
	for _, broken = range []string{"Fetch", "FetchRow", "MayContain", "RowOpen", "WriteRange"} {
		if _, err := f.Search(t.Context(), f.acct, f.boxes[0], p); mail.CodeOf(err) != mail.CodeUnavailable {
			t.Errorf("%s fails: %v", broken, err)
		}
	}
	cached := New(Options{Store: f.store, Bus: membus.New(), Search: SearchCache{Index: 1 << 20, Text: 1 << 20}})
	for _, broken = range []string{"Changes", "Fetch", "FetchRow", "RowOpen", "WriteRange"} {
		if _, err := cached.Search(t.Context(), f.acct, f.boxes[0], p); mail.CodeOf(err) != mail.CodeUnavailable {
			t.Errorf("with a cache, %s fails: %v", broken, err)
		}
	}
	broken = ""
	if found, err := cached.Search(t.Context(), f.acct, f.boxes[0], p); err != nil || len(found) != 1 {
		t.Errorf("after the trouble: %v, %v", found, err)
	}
	if _, err := cached.Search(t.Context(), f.acct, mail.MailboxID{1}, p); mail.CodeOf(err) != mail.CodeNoMailbox {
		t.Errorf("with a cache, no such mailbox: %v", err)
	}
}
