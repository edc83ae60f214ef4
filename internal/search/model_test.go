package search

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mallard/internal/mail"

	"pgregory.net/rapid"
)

// model decides a query in the plainest way: no order, no laziness, no pieces.
func model(q Query, d *doc) bool {
	contains := func(text, s string) bool { return strings.Contains(string(FoldString(text)), string(FoldString(s))) }
	switch q := q.(type) {
	case nil, All:
		return true
	case And:
		for _, k := range q {
			if !model(k, d) {
				return false
			}
		}
		return true
	case Or:
		for _, k := range q {
			if model(k, d) {
				return true
			}
		}
		return false
	case Not:
		return !model(q.Query, d)
	case Header:
		for _, f := range d.header {
			if strings.EqualFold(f.name, q.Field) && contains(f.value, q.Contains) {
				return true
			}
		}
		return false
	case Body:
		return contains(d.text, string(q))
	case Text:
		return contains(d.headerText(), string(q)) || contains(d.text, string(q))
	case Words:
		return modelWords(q, contains, d.headerText(), d.text)
	}
	return modelRecord(q, d)
}

func modelWords(w Words, contains func(string, string) bool, texts ...string) bool {
	some, phrases, words := false, 0, 0
	for _, t := range w.Terms {
		found := contains(texts[0], t.Text) || contains(texts[1], t.Text)
		switch {
		case t.Exclude && found, !t.Exclude && !found && (t.Phrase || w.Every):
			return false
		case t.Exclude:
		case t.Phrase:
			phrases++
		default:
			words++
			some = some || found
		}
	}
	return words == 0 || phrases > 0 || some
}

func modelRecord(q Query, d *doc) bool {
	r := d.rec
	switch q := q.(type) {
	case Flags:
		return r.Flags.System&q.Set == q.Set && r.Flags.System&q.Unset == 0
	case Keyword:
		for k := range r.Flags.Keywords() {
			if strings.EqualFold(k, string(q)) {
				return true
			}
		}
		return false
	case UIDs:
		for _, x := range q {
			if x.First <= r.UID && r.UID <= x.Last {
				return true
			}
		}
		return false
	case UIDFunc:
		return q(r.UID)
	case ModSeq:
		return r.ModSeq >= mail.ModSeq(q)
	case Larger:
		return r.Size > int64(q)
	case Smaller:
		return r.Size < int64(q)
	case EmailID:
		return r.EmailID == mail.EmailID(q)
	case ThreadID:
		return d.thread == mail.ThreadID(q)
	case HasAttachment:
		return d.attachment
	case Arrived:
		return (q.From.IsZero() || r.InternalDate.Compare(q.From) >= 0) && (q.To.IsZero() || r.InternalDate.Compare(q.To) <= 0)
	case InternalDate:
		return modelDay(q.Compare, r.InternalDate, q.Day)
	case SentDate:
		if d.sent.IsZero() {
			return modelDay(q.Compare, r.InternalDate, q.Day)
		}
		return modelDay(q.Compare, d.sent, q.Day)
	}
	panic("unknown query")
}

// modelDay compares days as ISO 8601 text.
func modelDay(c DateCompare, t time.Time, d Day) bool {
	a, b := t.Format(time.DateOnly), time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
	return c == Before && a < b || c == On && a == b || c == Since && a >= b
}

// drawText draws from few words, so that searches often hit.
func drawText(t *rapid.T, label string, most int) string {
	words := []string{"fox", "FOX", "fo", "Straße", "strasse", "É", "e\u0301", "e", "  ", "\r\n", " ", "x", "\u00ad", "ox fo", "漢", "\xff"}
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(words), 0, most).Draw(t, label), "")
}

func drawDoc(t *rapid.T) *doc {
	zones := []*time.Location{time.UTC, time.FixedZone("", 14*3600), time.FixedZone("", -12*3600)}
	drawDate := func(label string) time.Time {
		sec := rapid.Int64Range(0, 4*86400).Draw(t, label)
		return time.Unix(1709078400+sec, 0).In(rapid.SampledFrom(zones).Draw(t, "zone")) // around 29 February 2024
	}
	d := &doc{
		rec: Record{
			UID:          mail.UID(rapid.IntRange(1, 10).Draw(t, "uid")),
			ModSeq:       mail.ModSeq(rapid.IntRange(1, 10).Draw(t, "modseq")),
			Flags:        mail.NewFlags(mail.SystemFlags(rapid.IntRange(0, 31).Draw(t, "flags")), rapid.SliceOfN(rapid.SampledFrom([]string{"a", "B", "ab"}), 0, 2).Draw(t, "keywords")...),
			Size:         rapid.Int64Range(0, 10).Draw(t, "size"),
			InternalDate: drawDate("internal date"),
			EmailID:      mail.EmailID{byte(rapid.IntRange(0, 1).Draw(t, "email"))},
		},
		thread:     mail.ThreadID{byte(rapid.IntRange(0, 1).Draw(t, "thread"))},
		attachment: rapid.Bool().Draw(t, "attachment"),
		text:       drawText(t, "text", 12),
	}
	if rapid.Bool().Draw(t, "dated") {
		d.sent = drawDate("sent")
	}
	for range rapid.IntRange(0, 3).Draw(t, "fields") {
		d.header = append(d.header, field{rapid.SampledFrom([]string{"To", "to", "Subject"}).Draw(t, "name"), drawText(t, "value", 4)})
	}
	return d
}

func drawQuery(t *rapid.T, depth int) Query {
	kinds := 20
	if depth == 0 {
		kinds = 16
	}
	num := func() int { return rapid.IntRange(0, 11).Draw(t, "n") }
	str := func() string { return drawText(t, "string", 3) }
	compare := func() DateCompare { return DateCompare(rapid.IntRange(0, 2).Draw(t, "compare")) }
	at := func() time.Time { return time.Unix(1709078400+rapid.Int64Range(0, 4*86400).Draw(t, "at"), 0) }
	switch rapid.IntRange(0, kinds).Draw(t, "kind") {
	case 0:
		return Flags{mail.SystemFlags(rapid.IntRange(0, 3).Draw(t, "set")), mail.SystemFlags(rapid.IntRange(0, 3).Draw(t, "unset"))}
	case 1:
		return Keyword(rapid.SampledFrom([]string{"A", "b", "AB"}).Draw(t, "keyword"))
	case 2:
		first := mail.UID(num())
		return UIDs{{First: first, Last: first + mail.UID(num())}}
	case 3:
		odd := mail.UID(num() % 2)
		return UIDFunc(func(u mail.UID) bool { return u%2 == odd })
	case 4:
		return ModSeq(num())
	case 5:
		return Larger(num() - 1)
	case 6:
		return Smaller(num() - 1)
	case 7:
		return EmailID{byte(num() % 2)}
	case 8:
		return ThreadID{byte(num() % 2)}
	case 9:
		return HasAttachment{}
	case 10:
		return rapid.SampledFrom([]Query{Arrived{From: at()}, Arrived{To: at()}, Arrived{From: at(), To: at()}}).Draw(t, "arrived")
	case 11:
		return InternalDate{compare(), DayOf(at())}
	case 12:
		return SentDate{compare(), DayOf(at())}
	case 13:
		return Header{rapid.SampledFrom([]string{"TO", "Subject", "Cc"}).Draw(t, "field"), str()}
	case 14:
		return Body(str())
	case 15:
		return Text(str())
	case 16:
		return ParseWords(str()+" "+rapid.SampledFrom([]string{"", "-", `"`, `-"`}).Draw(t, "sign")+str()+" "+str(), rapid.Bool().Draw(t, "every"))
	case 17:
		return Not{drawQuery(t, depth-1)}
	case 18:
		return Or(drawQueries(t, depth))
	}
	return And(drawQueries(t, depth))
}

func drawQueries(t *rapid.T, depth int) []Query {
	qs := make([]Query, rapid.IntRange(0, 3).Draw(t, "number"))
	for i := range qs {
		qs[i] = drawQuery(t, depth-1)
	}
	return qs
}

func TestMatchModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawQuery(t, 4)
		p, err := Compile(q, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			d := drawDoc(t)
			checkAgainstModel(t, p, d, model(q, d))
		}
	})
}

// checkAgainstModel checks all that a Program says of a document.
func checkAgainstModel(t *rapid.T, p *Program, d *doc, want bool) {
	got, err := p.Match(d)
	if err != nil || got != want {
		t.Fatalf("matches: %v (%v), want %v", got, err, want)
	}
	if d.used&^p.Needs() != 0 {
		t.Fatalf("read %b, needs %b", d.used, p.Needs())
	}
	inText := func(n Needle) bool {
		found := strings.Contains(string(FoldString(d.text)), string(n.Text))
		return found || !n.Body && strings.Contains(string(FoldString(d.headerText())), string(n.Text))
	}
	view, hot, indexed := p.View(d.rec.UID, d.rec.ModSeq, d.rec.Flags), p.Hot(&d.rec), p.Indexed(&d.rec, inText)
	for name, got := range map[string]Tri{"view": view, "hot": hot, "indexed": indexed} {
		if got != Unknown && (got == Yes) != want {
			t.Fatalf("%s says %v, want %v", name, got, want)
		}
	}
	if p.Needs()&^NeedRecord == 0 && hot == Unknown || p.Needs() == 0 && view == Unknown {
		t.Fatalf("needs %b: view says %v, hot %v", p.Needs(), view, hot)
	}
	if !want {
		return
	}
	if set, ok := p.UIDs(); ok && !set.Contains(d.rec.UID) {
		t.Fatalf("a match has UID %d, outside of %s", d.rec.UID, set)
	}
	if !hasCandidate(p.Candidates(), inText) {
		t.Fatal("a match has the needles of no alternative")
	}
}

func hasCandidate(alternatives [][]Needle, found func(Needle) bool) bool {
	for _, needles := range alternatives {
		all := true
		for _, n := range needles {
			all = all && found(n)
		}
		if all {
			return true
		}
	}
	return false
}

// With data that cannot be read the outcome is the right one or an error.
func TestMatchFailingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawQuery(t, 4)
		p, err := Compile(q, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		d := drawDoc(t)
		d.fail = Needs(rapid.IntRange(1, 15).Draw(t, "fail"))
		got, err := p.Match(d)
		if err == nil && got != model(q, d) || err != nil && !errors.Is(err, errDamaged) {
			t.Fatalf("got %v, %v", got, err)
		}
		if d.open != 0 || d.texts > 1 {
			t.Fatalf("text opened %d times, %d open", d.texts, d.open)
		}
	})
}

// FuzzMatch looks for text in text, by octets that a fuzzer chooses.
func FuzzMatch(f *testing.F) {
	f.Add("the quick brown fox", "Subject text", "QUICK  brown")
	f.Add("Stra\u00dfe e\u0301", "\xff", "STRASSE \u00e9")
	f.Add(strings.Repeat("a", 50_000)+"b", "", "aaaaaaaaaaaaaaaaaaaaab")
	f.Fuzz(func(t *testing.T, text, subject, s string) {
		q := Or{Body(s), Header{"Subject", s}, Not{Text(s)}, ParseWords(s, true)}
		p, err := Compile(q, Limits{})
		if err != nil {
			if !errors.Is(err, ErrTooComplex) {
				t.Error(err)
			}
			return
		}
		d := sample()
		d.text, d.header = text, []field{{"Subject", subject}}
		got, err := p.Match(d)
		if want := model(q, d); got != want || err != nil {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
		sig := signatureOf(FoldString(text))
		if got, err := mustCompile(t, Body(s)).Match(d); err == nil && got && !sig.MayContain(FoldString(s)) {
			t.Error("the signature denies what matches")
		}
	})
}
