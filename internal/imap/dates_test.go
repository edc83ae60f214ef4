package imap_test

import (
	"testing"
	"time"
)

// INTERNALDATE is the instant that APPEND gave, and the days of SEARCH are those of
// the date that is told.
func TestInternalDate(t *testing.T) {
	w := newWorld(t)
	c := w.client(t)
	for _, date := range []string{
		"17-Jul-1996 02:44:25 -0700", " 1-Jan-2026 00:00:00 +0545", "03-Mar-2026 23:30:00 -0800",
		"31-Dec-1969 23:59:59 +0000", "29-Feb-2024 12:00:00 +0000", "31-Dec-2999 23:59:59 +1400",
	} {
		c.ok("APPEND INBOX %q {3+}\r\nabc", date)
		c.ok("SELECT INBOX")
		want, err := time.Parse("_2-Jan-2006 15:04:05 -0700", date)
		if err != nil {
			t.Fatal(err)
		}
		got := c.ok("FETCH * INTERNALDATE").Find("FETCH")[0].Fetch.InternalDate
		if !got.Equal(want) {
			t.Errorf("appended with %q, told %s", date, got)
		}
		day := got.Format("2-Jan-2006")
		next := got.AddDate(0, 0, 1).Format("2-Jan-2006")
		c.wantLines(c.ok("SEARCH * ON %s SINCE %s BEFORE %s NOT ON %s NOT BEFORE %s NOT SINCE %s", day, day, next, next, day, next),
			"SEARCH ["+itoa(int(c.Messages()))+"]")
	}
	// Without a date it is the time of arrival.
	before := time.Now().Truncate(time.Second)
	c.ok("APPEND INBOX {3+}\r\nabc")
	if got := c.ok("FETCH * INTERNALDATE").Find("FETCH")[0].Fetch.InternalDate; got.Before(before) || got.After(time.Now()) {
		t.Errorf("arrived at %s, told %s", before, got)
	}
}
