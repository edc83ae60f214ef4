package imap_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"mallard/internal/imap"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// stageRaw stores a message whose parsed forms are as given, damaged or not.
func (w *world) stageRaw(t *testing.T, c *store.Content) {
	t.Helper()
	c.Source, c.Size = bytes.NewReader([]byte(letter)), int64(len(letter))
	st, err := w.boxes.Stage(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := w.boxes.Append(t.Context(), w.acct.ID, w.box(t, "INBOX"), store.Append{Staged: st, InternalDate: time.Now()}); err != nil {
		t.Fatal(err)
	}
}

// A message that is damaged in the store costs the client that message alone, and
// no response is cut off in the middle.
func TestFetchDamaged(t *testing.T) {
	w := newWorld(t)
	c := w.client(t)
	c.add("INBOX", letter)
	w.stageRaw(t, &store.Content{Header: []byte("x"), Envelope: []byte("NIL"), Tree: []byte("\xff\xff"), Summary: []byte("\xff\xff\xff")})
	c.add("INBOX", letter)
	c.ok("SELECT INBOX")
	for _, items := range []string{"BODY", "BODY.PEEK[1]", "FLAGS PREVIEW", "BODY.PEEK[1.HEADER.FIELDS (a)]"} {
		res := c.do("NO CORRUPTION", "FETCH 1:* (UID %s)", items)
		if got := res.Find("FETCH"); len(got) != 2 || got[0].Fetch.UID != 1 || got[1].Fetch.UID != 3 {
			t.Errorf("%s: told of %v", items, lines(res))
		}
	}
	c.ok("FETCH 1:* (UID FLAGS BODY.PEEK[])")
}

// The same, when the engine says that the record is damaged.
func TestFetchDamagedRow(t *testing.T) {
	row, bad := 0, 0
	w := newWorld(t, fault(func(op string) error {
		if op == "FetchRow" {
			if row++; row == bad {
				return mail.NewError(mail.CodeCorrupt, "checksum")
			}
		}
		return nil
	}))
	c := w.client(t)
	c.add("INBOX", letter, letter, letter, letter)
	c.ok("SELECT INBOX")
	row, bad = 0, 2
	res := c.do("OK", "FETCH 1:* (UID RFC822.SIZE)")
	c.wantLines(res, "1 FETCH UID 1", "2 FETCH UID 2", "3 FETCH UID 3", "4 FETCH UID 4")
	// The second row fails in the whole set, and again on its own.
	row, bad = 0, 0
	armed := false
	always := newWorld(t, fault(func(op string) error {
		if op == "FetchRow" && armed {
			if row++; row == 2 || row == 3 {
				return mail.NewError(mail.CodeCorrupt, "checksum")
			}
		}
		return nil
	}))
	c = always.client(t)
	c.add("INBOX", letter, letter, letter, letter)
	c.ok("SELECT INBOX")
	armed = true
	c.wantLines(c.do("NO CORRUPTION", "FETCH 1:* (UID RFC822.SIZE)"), "1 FETCH UID 1", "3 FETCH UID 3", "4 FETCH UID 4")
	// What the view knows needs no row.
	row = 0
	c.wantLines(c.do("OK", "FETCH 1:* UID"), "1 FETCH UID 1", "2 FETCH UID 2", "3 FETCH UID 3", "4 FETCH UID 4")
}

// When text that was announced cannot be read, the connection ends and nothing is
// sent that could be taken for the text.
func TestFetchBreaksOff(t *testing.T) {
	broken := false
	w := newWorld(t, fault(func(op string) error {
		if op == "WriteRange" && broken {
			return mail.NewError(mail.CodeUnavailable, "later")
		}
		return nil
	}))
	c := w.client(t)
	c.add("INBOX", letter)
	c.ok("SELECT INBOX")
	broken = true
	if err := c.Write("x FETCH 1 BODY.PEEK[]\r\n"); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Next(); err == nil {
		t.Errorf("got %+v", r)
	}
	c.srv.ended(t)
}

// Trouble with the store before a response has begun is answered.
func TestFetchTrouble(t *testing.T) {
	broken := ""
	w := newWorld(t, fault(func(op string) error {
		if op == broken {
			return mail.NewError(mail.CodeUnavailable, "later")
		}
		return nil
	}))
	c := w.client(t)
	c.add("INBOX", letter, letter)
	c.ok("SELECT INBOX")
	for _, broken = range []string{"Fetch", "FetchRow", "RowOpen"} {
		c.do("NO UNAVAILABLE", "FETCH 1:* BODY.PEEK[]")
	}
	broken = "UpdateFlags"
	c.do("NO UNAVAILABLE", "FETCH 1:* BODY[]")
	broken = ""
	c.wantLines(c.ok("FETCH 1:* FLAGS"), "1 FETCH []", "2 FETCH []")
	// \Seen was set and could not be told with the text: it is told all the same.
	broken = "RowOpen"
	c.wantLines(c.do("NO UNAVAILABLE", "FETCH 1:* BODY[]"), "1 FETCH [\\Seen]", "2 FETCH [\\Seen]")
	broken = ""
	c.wantLines(c.ok("NOOP"))
}

// CHANGEDSINCE selects before the command itself sets \Seen.
func TestFetchChangedSince(t *testing.T) {
	w := newWorld(t)
	c := w.client(t)
	c.add("INBOX", letter, letter, letter)
	sel := c.ok("SELECT INBOX (CONDSTORE)")
	since := sel.FindCode("HIGHESTMODSEQ").Number
	c.wantLines(c.ok("FETCH 1:* BODY[TEXT] (CHANGEDSINCE %d)", since))
	c.wantLines(c.ok("FETCH 1:* FLAGS"), "1 FETCH []", "2 FETCH []", "3 FETCH []")
	c.ok("STORE 2 +FLAGS.SILENT (\\Answered)")
	res := c.ok("FETCH 1:* (UID BODY[TEXT]) (CHANGEDSINCE %d)", since)
	if got := res.Find("FETCH"); len(got) != 1 || got[0].Number != 2 {
		t.Fatalf("told %v", lines(res))
	}
	got := res.Find("FETCH")[0].Fetch
	if s := strings.Join(got.Items, " "); s != "UID BODY[TEXT] MODSEQ FLAGS" {
		t.Errorf("items %s", s)
	}
	c.wantLines(c.ok("NOOP")) // no echo of its own \Seen
	c.wantLines(c.ok("FETCH 1:* FLAGS"), "1 FETCH []", `2 FETCH [\Seen \Answered]`, "3 FETCH []")
	c.wantLines(c.ok("FETCH 1:* UID (CHANGEDSINCE %d)", got.ModSeq))
}

// FETCH of text tells \Seen once, with the mod-sequence for those who know it, and
// no item twice.
func TestFetchSeen(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct {
		enable       bool
		items, first string
		second       string
	}{
		{false, "BODY[TEXT]", "BODY[TEXT] FLAGS", "BODY[TEXT]"},
		{false, "RFC822", "RFC822 FLAGS", "RFC822"},
		{false, "RFC822.TEXT", "RFC822.TEXT FLAGS", "RFC822.TEXT"},
		{false, "RFC822.HEADER", "RFC822.HEADER", "RFC822.HEADER"},
		{false, "BODY.PEEK[]", "BODY[]", "BODY[]"},
		{false, "(FLAGS BODY[1])", "FLAGS BODY[1]", "FLAGS BODY[1]"},
		{true, "BODY[HEADER]", "BODY[HEADER] FLAGS MODSEQ", "BODY[HEADER]"},
		{true, "(FLAGS BODY[HEADER.FIELDS (x)])", "FLAGS BODY[HEADER.FIELDS (X)] MODSEQ", "FLAGS BODY[HEADER.FIELDS (X)]"},
		{true, "(MODSEQ BODY[])", "MODSEQ BODY[] FLAGS", "MODSEQ BODY[]"},
	} {
		c := w.client(t)
		c.add("INBOX", letter)
		if tc.enable {
			c.ok("ENABLE CONDSTORE")
		}
		n := c.ok("SELECT INBOX").Find("EXISTS")[0].Number
		for _, want := range []string{tc.first, tc.second} {
			res := c.ok("FETCH %d %s", n, tc.items)
			if len(res.Untagged) != 1 || strings.ToUpper(strings.Join(res.Untagged[0].Fetch.Items, " ")) != want {
				t.Errorf("%s: told %v with %q, want %q once", tc.items, lines(res), res.Untagged[0].Fetch.Items, want)
			}
		}
		// Nor does it set \Seen in a mailbox that was opened to be read.
		c.add("INBOX", letter)
		c.ok("EXAMINE INBOX")
		res := c.ok("FETCH %d %s", n+1, tc.items)
		if got := strings.ToUpper(strings.Join(res.Untagged[0].Fetch.Items, " ")); got != tc.second {
			t.Errorf("EXAMINE, %s: %q, want %q", tc.items, got, tc.second)
		}
		c.ok("LOGOUT")
	}
}

// Messages that others have expunged: the client keeps its numbers and is told.
func TestFetchExpunged(t *testing.T) {
	w := newWorld(t)
	a, b := w.client(t), w.client(t)
	a.add("INBOX", letter, letter, letter, letter)
	a.ok("SELECT INBOX")
	b.ok("SELECT INBOX")
	b.ok("STORE 2:3 +FLAGS.SILENT (\\Deleted)")
	a.wantLines(a.ok("NOOP"), `2 FETCH [\Deleted]`, `3 FETCH [\Deleted]`)
	b.ok("EXPUNGE")
	b.add("INBOX", letter)
	a.wantLines(a.do("NO EXPUNGEISSUED", "FETCH 1:4 UID"), "1 FETCH UID 1", "4 FETCH UID 4", "5 EXISTS", "4 RECENT")
	a.wantLines(a.do("NO EXPUNGEISSUED", "FETCH 2 BODY[]"))
	a.wantLines(a.ok("FETCH 4:5 UID"), "4 FETCH UID 4", "5 FETCH UID 5")
	a.wantLines(a.do("NO EXPUNGEISSUED", "STORE 2:4 +FLAGS (\\Flagged)"), "4 FETCH [\\Flagged]")
	a.wantLines(a.ok("STORE 1 +FLAGS.SILENT (\\Flagged)"))
	a.wantLines(a.ok("SEARCH ALL"), "SEARCH [1 4 5]")
	a.wantLines(a.ok("SEARCH 2:3"), "SEARCH")
	a.wantLines(a.ok("UID FETCH 2:3 UID"), "3 EXPUNGE", "2 EXPUNGE")
	a.wantLines(a.ok("FETCH 1:* UID"), "1 FETCH UID 1", "2 FETCH UID 4", "3 FETCH UID 5")
}

// A set with thousands of elements, and thousands of items, in one command.
func TestFetchMany(t *testing.T) {
	w := newWorld(t, options(func(o *imap.Options) { o.MaxLine = 256 << 10 }))
	c := w.client(t)
	var b strings.Builder
	b.WriteString("APPEND INBOX")
	for range 90 {
		b.WriteString(" {4+}\r\n\r\nx\n")
	}
	for range 14 {
		c.ok("%s", b.String())
	}
	n := int(c.ok("SELECT INBOX").Find("EXISTS")[0].Number)
	if n != 90*14 {
		t.Fatalf("%d messages", n)
	}
	var set []string
	for i := 1; i <= n; i += 2 {
		set = append(set, itoa(i))
	}
	if got := len(c.ok("FETCH %s UID", strings.Join(set, ",")).Untagged); got != n/2 {
		t.Errorf("%d messages for a set of %d", got, n/2)
	}
	if got := len(c.ok("UID FETCH %s,1:*,5000:* FLAGS", strings.Join(set, ",")).Untagged); got != n {
		t.Errorf("%d messages for all of %d", got, n)
	}
	var items []string
	for i := range 4000 {
		items = append(items, "BODY.PEEK[]<"+itoa(i)+".1>")
	}
	c.do("NO LIMIT", "FETCH 1 (%s)", strings.Join(items, " "))
	res := c.ok("FETCH 1 (%s)", strings.Join(items[:200], " "))
	if got := len(res.Untagged[0].Fetch.Items); got != 200 {
		t.Errorf("%d items", got)
	}
	c.do("BAD", "FETCH 1 (%s)", strings.Repeat("UID ", 70000)+"UID")
	c.do("NO LIMIT", "FETCH 1 BODY[%s1]", strings.Repeat("1.", 5000))
	c.do("BAD", "FETCH 1 BODY[4294967296]")
	c.ok("FETCH 1 BODY[4294967295]")
	c.ok("FETCH 1 BODY[%s1.MIME]", strings.Repeat("4294967295.", 40))
	c.do("BAD", "FETCH 1 BODY[0]")
	c.do("BAD", "FETCH 0 UID")
	c.do("BAD", "FETCH 4294967296 UID")
	c.do("BAD", "FETCH %d UID", n+1)
	c.ok("UID FETCH 4294967295 UID")
}
