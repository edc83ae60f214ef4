package imap_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"mallard/internal/mail"
)

// A change that is made is told as made, also when the database is lost before it can be told what else is new: a client
// that is answered NO would make it again. What is new is told later.
func TestOutageAfterAChange(t *testing.T) {
	var out atomic.Bool
	w := newWorld(t, fault(func(op string) error {
		if op == "Changes" && out.Load() {
			return mail.WrapError(mail.CodeUnavailable, "the mail store is not available", errors.New("connection closed"))
		}
		return nil
	}))
	c := w.client(t)
	c.add("INBOX", letter, letter, letter, letter)
	c.ok("SELECT INBOX")
	out.Store(true)
	for _, command := range []string{
		"APPEND INBOX {5+}\r\nx: y\n", `STORE 1 +FLAGS (\Seen)`, "COPY 1 Sent", "MOVE 2 Sent", `STORE 3 +FLAGS (\Deleted)`, "EXPUNGE", "CREATE other",
	} {
		c.ok("%s", command)
	}
	c.do("NO UNAVAILABLE", "NOOP")
	out.Store(false)
	if told := c.ok("NOOP").Untagged; len(told) == 0 {
		t.Error("the client is not told what is new")
	}
	for box, want := range map[string]int{"INBOX": 3, "Sent": 2} { // one came, one moved, one was expunged
		set, err := w.store.Changes(t.Context(), w.acct.ID, w.box(t, box), 0)
		if err != nil || set.Changed.Len() != want {
			t.Errorf("%s: %v, %v; want %d messages", box, set, err, want)
		}
	}
}
