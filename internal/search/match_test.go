package search

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mallard/internal/mail"
)

// doc is a Document in memory that counts what is read and can fail.
type doc struct {
	rec        Record
	thread     mail.ThreadID
	attachment bool
	sent       time.Time
	header     []field
	text       string

	fail  Needs // kinds of data that cannot be read
	used  Needs
	texts int // how often Text was called
	open  int
}

type field struct{ name, value string }

var errDamaged = errors.New("damaged")

func (d *doc) use(n Needs) error {
	d.used |= n
	if d.fail&n != 0 {
		return errDamaged
	}
	return nil
}

func (d *doc) Record() *Record                  { return &d.rec }
func (d *doc) ThreadID() (mail.ThreadID, error) { return d.thread, d.use(NeedSummary) }
func (d *doc) HasAttachment() (bool, error)     { return d.attachment, d.use(NeedSummary) }
func (d *doc) SentDate() (time.Time, error)     { return d.sent, d.use(NeedSummary) }

func (d *doc) Header(name string) ([]string, error) {
	var values []string
	for _, f := range d.header {
		if strings.EqualFold(f.name, name) {
			values = append(values, f.value)
		}
	}
	return values, d.use(NeedHeader)
}

func (d *doc) HeaderText() (string, error) {
	return d.headerText(), d.use(NeedHeader)
}

func (d *doc) headerText() string {
	var b strings.Builder
	for _, f := range d.header {
		b.WriteString(f.name + ": " + f.value + "\n")
	}
	return b.String()
}

func (d *doc) Text() (io.ReadCloser, error) {
	d.texts++
	d.open++
	if err := d.use(NeedText); err != nil {
		return text{iotest.ErrReader(err), d}, nil
	}
	return text{strings.NewReader(d.text), d}, nil
}

type text struct {
	io.Reader
	d *doc
}

func (t text) Close() error {
	t.d.open--
	return nil
}

func date(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func sample() *doc {
	return &doc{
		rec: Record{
			UID: 7, ModSeq: 42, Size: 1000, Flags: mail.NewFlags(mail.Seen|mail.Flagged, "$Label1", "work"),
			InternalDate: date("2024-05-10T23:30:00-05:00"), EmailID: mail.EmailID{1},
		},
		thread:     mail.ThreadID{2},
		attachment: true,
		sent:       date("2024-05-09T01:00:00+09:00"),
		header: []field{
			{"From", "José Álvarez <jose@example.com>"}, {"To", "Anna <anna@example.org>"}, {"To", "Bob <bob@example.org>"},
			{"Subject", "Größenänderung  im Café"}, {"X-Empty", ""}, {"Date", "Thu, 9 May 2024 01:00:00 +0900"},
		},
		text: "Hello Anna,\r\nthe quick\r\nbrown fox costs 5\u00a0€ in the STRASSE.\r\n漢字かな ｶﾞ\r\n",
	}
}

func mustCompile(t testing.TB, q Query) *Program {
	t.Helper()
	p, err := Compile(q, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func day(y int, m time.Month, d int) Day { return Day{y, m, d} }

func TestMatch(t *testing.T) {
	now := date("2024-05-11T05:30:00Z") // an hour after the sample arrived
	for _, tc := range []struct {
		name string
		q    Query
		want bool
	}{
		{"nil", nil, true},
		{"ALL", All{}, true},
		{"empty And", And{}, true},
		{"empty Or", Or{}, false},
		{"NOT ALL", Not{All{}}, false},
		{"SEEN", Flags{Set: mail.Seen}, true},
		{"SEEN FLAGGED", Flags{Set: mail.Seen | mail.Flagged}, true},
		{"SEEN DELETED", Flags{Set: mail.Seen | mail.Deleted}, false},
		{"UNSEEN", Flags{Unset: mail.Seen}, false},
		{"UNDELETED", Flags{Unset: mail.Deleted}, true},
		{"FLAGGED UNDRAFT", Flags{Set: mail.Flagged, Unset: mail.Draft}, true},
		{"KEYWORD", Keyword("$label1"), true},
		{"KEYWORD other", Keyword("$label"), false},
		{"UID", UIDs{{First: 1, Last: 3}, {First: 7, Last: 9}}, true},
		{"UID other", UIDs{{First: 1, Last: 6}}, false},
		{"UID none", UIDs{}, false},
		{"predicate", UIDFunc(func(u mail.UID) bool { return u == 7 }), true},
		{"MODSEQ equal", ModSeq(42), true},
		{"MODSEQ greater", ModSeq(43), false},
		{"LARGER", Larger(999), true},
		{"LARGER equal", Larger(1000), false},
		{"LARGER huge", Larger(1<<63 - 1), false},
		{"LARGER negative", Larger(-5), true},
		{"SMALLER", Smaller(1001), true},
		{"SMALLER equal", Smaller(1000), false},
		{"SMALLER zero", Smaller(0), false},
		{"SMALLER negative", Smaller(-5), false},
		{"EMAILID", EmailID(mail.EmailID{1}), true},
		{"EMAILID other", EmailID(mail.EmailID{2}), false},
		{"THREADID", ThreadID(mail.ThreadID{2}), true},
		{"THREADID other", ThreadID(mail.ThreadID{1}), false},
		{"attachment", HasAttachment{}, true},
		{"BEFORE", InternalDate{Before, day(2024, 5, 11)}, true},
		{"BEFORE same day", InternalDate{Before, day(2024, 5, 10)}, false},
		{"ON, in the zone of the date", InternalDate{On, day(2024, 5, 10)}, true},
		{"ON, in UTC", InternalDate{On, day(2024, 5, 11)}, false},
		{"SINCE same day", InternalDate{Since, day(2024, 5, 10)}, true},
		{"SINCE next day", InternalDate{Since, day(2024, 5, 11)}, false},
		{"SINCE earlier month", InternalDate{Since, day(2024, 4, 30)}, true},
		{"SINCE later year", InternalDate{Since, day(2025, 1, 1)}, false},
		{"SENTON, in its zone", SentDate{On, day(2024, 5, 9)}, true},
		{"SENTON, in UTC", SentDate{On, day(2024, 5, 8)}, false},
		{"SENTBEFORE", SentDate{Before, day(2024, 5, 10)}, true},
		{"SENTSINCE", SentDate{Since, day(2024, 5, 10)}, false},
		{"YOUNGER", Younger(now, 2*time.Hour), true},
		{"YOUNGER exactly", Younger(now, time.Hour), true},
		{"YOUNGER not", Younger(now, time.Hour-time.Second), false},
		{"OLDER", Older(now, time.Minute), true},
		{"OLDER exactly", Older(now, time.Hour), true},
		{"OLDER not", Older(now, time.Hour+time.Second), false},
		{"FROM", Header{"from", "ALVAREZ"}, false},
		{"FROM with accent", Header{"from", "áLVAREZ"}, true},
		{"FROM decomposed", Header{"From", "JOSE\u0301"}, true},
		{"FROM address", Header{"From", "@example.COM>"}, true},
		{"TO second", Header{"To", "bob"}, true},
		{"TO other", Header{"To", "jose"}, false},
		{"CC", Header{"Cc", ""}, false},
		{"HEADER present", Header{"to", ""}, true},
		{"HEADER empty present", Header{"X-Empty", ""}, true},
		{"HEADER empty with string", Header{"X-Empty", "a"}, false},
		{"SUBJECT", Header{"Subject", "GRÖSSENÄNDERUNG im"}, true},
		{"SUBJECT up to the accent", Header{"Subject", "cafe"}, true},
		{"BODY", Body("quick brown"), true},
		{"BODY case", Body("straße."), true},
		{"BODY space", Body("5 €"), true},
		{"BODY full width", Body("ガ"), true},
		{"BODY ideographs", Body("字か"), true},
		{"BODY only in header", Body("Café"), false},
		{"BODY empty", Body(""), true},
		{"BODY invisible", Body("\u00ad"), true},
		{"TEXT in header", Text("café"), true},
		{"TEXT field name", Text("x-empty:"), true},
		{"TEXT in text", Text("FOX"), true},
		{"TEXT nowhere", Text("wolf"), false},
		{"TEXT across", Text("+0900 hello"), false},
		{"AND", And{Body("fox"), Header{"To", "anna"}, Flags{Set: mail.Seen}}, true},
		{"AND not", And{Body("fox"), Header{"To", "zoe"}}, false},
		{"OR", Or{Body("wolf"), Header{"To", "anna"}}, true},
		{"OR both wrong", Or{Body("wolf"), Header{"To", "zoe"}}, false},
		{"NOT BODY", Not{Body("fox")}, false},
		{"NOT TEXT", Not{Text("wolf")}, true},
		{"NOT OR", Not{Or{Text("wolf"), Flags{Set: mail.Draft}}}, true},
		{"words any", ParseWords("wolf fox", false), true},
		{"words every", ParseWords("wolf fox", true), false},
		{"words phrase", ParseWords(`"quick brown" wolf`, false), true},
		{"words other phrase", ParseWords(`"brown quick" fox`, false), false},
		{"words excluded", ParseWords(`fox -anna`, false), false},
		{"words excluded phrase", ParseWords(`fox -"anna karenina"`, false), true},
		{"words none", ParseWords(` - "" ... `, false), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := sample()
			p := mustCompile(t, tc.q)
			for range 2 { // the second time with used buffers
				got, err := p.Match(d)
				if err != nil {
					t.Fatal(err)
				}
				if got != tc.want {
					t.Errorf("got %v", got)
				}
			}
			if d.open != 0 {
				t.Errorf("%d texts were not closed", d.open)
			}
			f := &foldedDoc{doc: sample()}
			if got, err := p.Match(f); got != tc.want || err != nil || f.texts != 0 {
				t.Errorf("folded before: %v, %v, text read %d times", got, err, f.texts)
			}
			if d.used&^p.Needs() != 0 {
				t.Errorf("used %b, but needs %b", d.used, p.Needs())
			}
		})
	}
}

// foldedDoc has header and text folded.
type foldedDoc struct{ *doc }

func (d *foldedDoc) FoldedHeader() ([]byte, error) {
	return FoldString(d.headerText()), d.use(NeedHeader)
}
func (d *foldedDoc) FoldedText() ([]byte, error) { return FoldString(d.text), d.use(NeedText) }

func TestSentDateMissing(t *testing.T) {
	d := sample()
	d.sent = time.Time{}
	if got, err := mustCompile(t, SentDate{On, day(2024, 5, 10)}).Match(d); !got || err != nil {
		t.Errorf("got %v, %v: a message without Date is taken by its internal date", got, err)
	}
}

// Dear data is not read when cheap data decides.
func TestMatchLazy(t *testing.T) {
	fox, anna, draft := Body("fox"), Header{"To", "anna"}, Flags{Set: mail.Draft}
	for _, tc := range []struct {
		name string
		q    Query
		want bool
		used Needs
	}{
		{"flags", And{fox, anna, HasAttachment{}, draft}, false, 0},
		{"flags in OR", Or{fox, anna, Flags{Set: mail.Seen}}, true, 0},
		{"size", And{fox, Larger(5000)}, false, 0},
		{"summary", And{fox, anna, Not{HasAttachment{}}}, false, NeedSummary},
		{"header", Or{fox, anna}, true, NeedHeader},
		{"nested", And{Or{fox, draft}, Or{Body("x"), Header{"To", "zoe"}, Not{Flags{Set: mail.Seen}}}, Not{anna}}, false, NeedHeader},
		{"text in header", Text("café"), true, NeedHeader},
		{"text not in header", And{Text("fox"), Header{"To", "zoe"}}, false, NeedHeader},
		{"text", Text("fox"), true, NeedHeader | NeedText},
		{"body", fox, true, NeedText},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := sample()
			got, err := mustCompile(t, tc.q).Match(d)
			if err != nil || got != tc.want {
				t.Errorf("got %v, %v", got, err)
			}
			if d.used != tc.used {
				t.Errorf("read %b, want %b", d.used, tc.used)
			}
		})
	}
}

// The text is read once for all strings, and only as far as it must be.
func TestMatchReadsOnce(t *testing.T) {
	d := sample()
	got, err := mustCompile(t, And{Body("fox"), Body("FOX"), Not{Body("wolf")}, Or{Text("bear"), Body("hello")}}).Match(d)
	if !got || err != nil || d.texts != 1 {
		t.Errorf("%v, %v, text read %d times", got, err, d.texts)
	}
	d.text = "fox" + strings.Repeat(" and more", 100_000)
	r := &counter{}
	if got, err := mustCompile(t, Body("fox")).Match(counted{d, r}); !got || err != nil || r.n > 64<<10 {
		t.Errorf("%v, %v, %d octets read", got, err, r.n)
	}
}

type counter struct {
	io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

type counted struct {
	*doc
	r *counter
}

func (c counted) Text() (io.ReadCloser, error) {
	c.r.Reader = strings.NewReader(c.text)
	return io.NopCloser(c.r), nil
}

func TestMatchErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		q    Query
		fail Needs
		want bool
		err  bool
	}{
		{"text", Body("fox"), NeedText, false, true},
		{"not text", Not{Body("fox")}, NeedText, false, true},
		{"header", Header{"To", "anna"}, NeedHeader, false, true},
		{"summary", HasAttachment{}, NeedSummary, false, true},
		{"thread", ThreadID{2}, NeedSummary, false, true},
		{"sent", SentDate{On, day(2024, 5, 9)}, NeedSummary, false, true},
		{"no matter in OR", Or{Header{"To", "anna"}, Body("fox")}, NeedHeader, true, false},
		{"no matter in AND", And{Header{"To", "anna"}, Body("wolf")}, NeedHeader, false, false},
		{"text found although the header is damaged", Text("fox"), NeedHeader, true, false},
		{"not found, and the header is damaged", Text("wolf"), NeedHeader, false, true},
		{"header found although the text is damaged", Text("café"), NeedText, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := sample()
			d.fail = tc.fail
			p := mustCompile(t, tc.q)
			got, err := p.Match(d)
			if got != tc.want || errors.Is(err, errDamaged) != tc.err {
				t.Errorf("got %v, %v", got, err)
			}
			if d.texts > 1 || d.open != 0 {
				t.Errorf("text opened %d times, %d open", d.texts, d.open)
			}
			d.fail = 0
			if _, err := p.Match(d); err != nil {
				t.Errorf("after an error: %v", err)
			}
		})
	}
}

type idleReader struct{}

func (idleReader) Read([]byte) (int, error) { return 0, nil }

type wrappedEOF struct{ done bool }

func (w *wrappedEOF) Read(p []byte) (int, error) {
	if w.done {
		return 0, errors.Join(io.EOF, errDamaged)
	}
	w.done = true
	return copy(p, "hello"), nil
}

type readerDoc struct {
	*doc
	r io.Reader
}

func (d readerDoc) Text() (io.ReadCloser, error) { return io.NopCloser(d.r), nil }

func TestMatchBadReaders(t *testing.T) {
	p := mustCompile(t, Body("fox"))
	if _, err := p.Match(readerDoc{sample(), idleReader{}}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a text that gives nothing: %v", err)
	}
	if got, err := p.Match(readerDoc{sample(), &wrappedEOF{}}); got || !errors.Is(err, errDamaged) {
		t.Errorf("a failure that looks like an end: %v, %v", got, err)
	}
	for name, r := range map[string]io.Reader{
		"by octet": iotest.OneByteReader(strings.NewReader("the F\u00adOX")), "data with end": iotest.DataErrReader(strings.NewReader("FOX")),
	} {
		if got, err := p.Match(readerDoc{sample(), r}); !got || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// A text that is not read to its end leaves nothing behind for the next message.
func TestMatchLeavesNothing(t *testing.T) {
	p := mustCompile(t, And{Body("fox"), Header{"X-Space", " x"}})
	for _, rest := range []string{" ", "\u0301", "\xe2", " \u0301\xe2\x82"} {
		d := sample()
		d.text, d.header = "fox"+rest, []field{{"X-Space", " x"}}
		for i := range 3 {
			if got, err := p.Match(d); !got || err != nil {
				t.Errorf("%q: match %d: %v, %v", rest, i, got, err)
			}
		}
	}
}

func TestView(t *testing.T) {
	rec := &sample().rec
	for _, tc := range []struct {
		q         Query
		view, hot Tri
	}{
		{Flags{Set: mail.Seen}, Yes, Yes},
		{Not{Flags{Set: mail.Seen}}, No, No},
		{Larger(10), Unknown, Yes},
		{Not{Larger(10)}, Unknown, No},
		{HasAttachment{}, Unknown, Unknown},
		{Body("x"), Unknown, Unknown},
		{And{Body("x"), Larger(10)}, Unknown, Unknown},
		{And{Body("x"), Smaller(10)}, Unknown, No},
		{Or{Body("x"), Larger(10)}, Unknown, Yes},
		{Or{Body("x"), UIDs(mail.OneUID(7))}, Yes, Yes},
	} {
		p := mustCompile(t, tc.q)
		if view, hot := p.View(rec.UID, rec.ModSeq, rec.Flags), p.Hot(rec); view != tc.view || hot != tc.hot {
			t.Errorf("%#v: view %v, hot %v; want %v, %v", tc.q, view, hot, tc.view, tc.hot)
		}
	}
}

func BenchmarkHot(b *testing.B) {
	p := mustCompile(b, And{Flags{Set: mail.Seen}, Larger(10), Or{InternalDate{Before, day(2020, 1, 1)}, Body("x"), Keyword("none")}})
	rec := &sample().rec
	b.ReportAllocs()
	for b.Loop() {
		p.Hot(rec)
	}
}

func BenchmarkMatch(b *testing.B) {
	d := sample()
	d.text = string(corpus(4096))
	for name, q := range map[string]Query{"header": Header{"Subject", "wolf"}, "text 4096": Text("wolf"), "5 texts 4096": Or{Text("wolf"), Text("bear"), Text("fox"), Text("lion"), Text("x-ray")}} {
		p := mustCompile(b, q)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Match(d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
