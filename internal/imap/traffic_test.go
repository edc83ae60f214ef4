package imap_test

import (
	"context"
	"sync"
	"testing"

	"mallard/internal/imap"
	"mallard/internal/mail"
)

// traffic notes what was counted.
type traffic struct {
	mu       sync.Mutex
	up, down int64
	acct     mail.AccountID
}

func (t *traffic) Uploaded(_ context.Context, acct mail.AccountID, octets int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.up, t.acct = t.up+octets, acct
}

func (t *traffic) Downloaded(_ context.Context, acct mail.AccountID, octets int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.down, t.acct = t.down+octets, acct
}

func (t *traffic) take() (up, down int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	up, down = t.up, t.down
	t.up, t.down = 0, 0
	return up, down
}

func TestTraffic(t *testing.T) {
	count := &traffic{}
	w := newWorld(t, options(func(o *imap.Options) { o.Traffic = count }))
	c := w.client(t)
	size := int64(len(letter))
	for _, tc := range []struct {
		what, command, want string
		up, down            int64
	}{
		{"nothing", "NOOP", "OK", 0, 0},
		{"body", "FETCH 1:2 BODY.PEEK[]", "OK", 0, 2 * size},
		{"a part of the body", "FETCH 1 BODY.PEEK[]<3.10>", "OK", 0, 10},
		{"what is no body", "FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE)", "OK", 0, 0},
		{"refused", "APPEND nosuch {5+}\r\nx: y\n", "NO", 0, 0},
	} {
		if tc.what == "nothing" {
			c.add("INBOX", letter, letter)
			c.ok("SELECT INBOX")
			if up, down := count.take(); up != 2*size || down != 0 {
				t.Fatalf("two messages appended: %d up, %d down", up, down)
			}
		}
		c.do(tc.want, "%s", tc.command)
		if up, down := count.take(); up != tc.up || down != tc.down {
			t.Errorf("%s: %d up, %d down, want %d and %d", tc.what, up, down, tc.up, tc.down)
		}
	}
	if count.acct != w.acct.ID {
		t.Errorf("counted for %v", count.acct)
	}
}
