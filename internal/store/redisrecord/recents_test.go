package redisrecord

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"mallard/internal/mail"
)

// counted is a connection that counts what it is asked for.
type counted struct {
	*conn
	n int
}

func (c *counted) Do(ctx context.Context, f func(context.Context) error) error {
	c.n++
	return c.conn.Do(ctx, f)
}

var (
	recentAcct = mail.AccountID{1}
	recentBox  = mail.MailboxID{2}
)

func take(t *testing.T, r *Recents, upTo, want mail.UID) {
	t.Helper()
	if got, err := r.TakeRecent(t.Context(), recentAcct, recentBox, upTo); err != nil || got != want {
		t.Errorf("up to %d: told up to %d (%v), want %d", upTo, got, err, want)
	}
}

// One session of all nodes is given a message, and who has no new one asks for nothing.
func TestRecentsOfNodes(t *testing.T) {
	c := connect(t)
	first, second := &counted{conn: c}, &counted{conn: c}
	a, b := NewRecents(first, RecentsOptions{}), NewRecents(second, RecentsOptions{})
	take(t, a, 0, 0)
	take(t, a, 5, 0)
	take(t, b, 0, 5)
	take(t, b, 5, 5)
	take(t, b, 7, 5)
	take(t, a, 7, 7)
	if first.n != 3 || second.n != 2 {
		t.Errorf("%d and %d commands", first.n, second.n)
	}
	for range 3 {
		take(t, a, 7, 7)
		take(t, b, 2, 7)
	}
	if first.n != 3 || second.n != 2 {
		t.Errorf("%d and %d commands, when nothing was new", first.n, second.n)
	}
	take(t, a, ^mail.UID(0), 7)
	take(t, NewRecents(first, RecentsOptions{}), 0, ^mail.UID(0))
	if got, err := a.TakeRecent(t.Context(), recentAcct, mail.MailboxID{3}, 1); err != nil || got != 0 {
		t.Errorf("another mailbox: %d, %v", got, err)
	}
	if got, err := a.TakeRecent(t.Context(), mail.AccountID{9}, mail.MailboxID{4}, 0); err != nil || got != 0 {
		t.Errorf("another account: %d, %v", got, err)
	}
	if life := c.client.TTL(t.Context(), "mallard:recent:"+recentAcct.String()).Val(); life < 89*24*time.Hour || life > 90*24*time.Hour {
		t.Errorf("it is kept for %v", life)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.TakeRecent(ctx, recentAcct, mail.MailboxID{5}, 1); mail.CodeOf(err) != mail.CodeCanceled {
		t.Errorf("canceled: %v", err)
	}
	take(t, NewRecents(first, RecentsOptions{}), 0, ^mail.UID(0))
}

// Without Redis a node goes by what it has told itself; what Redis has lost it knows still.
func TestRecentsWithoutRedis(t *testing.T) {
	c := connect(t)
	a, b := NewRecents(c, RecentsOptions{}), NewRecents(c, RecentsOptions{})
	take(t, a, 4, 0)
	c.down = true
	take(t, a, 0, 4)
	take(t, a, 6, 4)
	take(t, a, 6, 6)
	take(t, b, 6, 0)
	take(t, b, 6, 6)
	c.down = false
	take(t, NewRecents(c, RecentsOptions{}), 0, 4)
	take(t, a, 8, 6)
	take(t, b, 8, 8)
	must(t, c.client.FlushDB(t.Context()).Err())
	take(t, a, 9, 8)
	take(t, b, 9, 9)
	take(t, NewRecents(c, RecentsOptions{}), 9, 9)
}

// lost is a connection whose answers do not arrive.
type lost struct{ *conn }

func (c lost) Do(ctx context.Context, f func(context.Context) error) error {
	_ = c.conn.Do(ctx, f)
	return mail.NewError(mail.CodeUnavailable, "no answer")
}

// Messages of which nobody knows who was given them are recent twice rather than never.
func TestRecentsAnswerLost(t *testing.T) {
	c := connect(t)
	take(t, NewRecents(lost{c}, RecentsOptions{}), 3, 0)
	take(t, NewRecents(c, RecentsOptions{}), 3, 3)
	a := NewRecents(c, RecentsOptions{})
	take(t, a, 5, 3)
	a.c = lost{c}
	take(t, a, 7, 5)
}

// Sessions of several nodes at the same time.
func TestRecentsAtOnce(t *testing.T) {
	c := connect(t)
	nodes := []*Recents{NewRecents(c, RecentsOptions{}), NewRecents(c, RecentsOptions{}), NewRecents(c, RecentsOptions{})}
	const last = 60
	var mu sync.Mutex
	taken := map[mail.UID]int{}
	var wg sync.WaitGroup
	for i := range 9 {
		wg.Go(func() {
			for upTo := mail.UID(1 + i%4); upTo <= last; upTo += mail.UID(1 + i%3) {
				told, err := nodes[i%3].TakeRecent(t.Context(), recentAcct, recentBox, upTo)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for u := told + 1; u <= upTo; u++ {
					taken[u]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for u := mail.UID(1); u <= last; u++ {
		if taken[u] != 1 {
			t.Errorf("message %d is recent in %d sessions", u, taken[u])
		}
	}
}

// The bounds are settings.
func TestRecentsOptions(t *testing.T) {
	c := connect(t)
	a := NewRecents(c, RecentsOptions{Life: time.Hour, Mailboxes: 2, Known: 1})
	key := recentPrefix + recentAcct.String()
	for i, want := range []int64{1, 2, 1, 2} {
		_, err := a.TakeRecent(t.Context(), recentAcct, mail.MailboxID{2, byte(i)}, 1)
		must(t, err)
		if n := c.client.HLen(t.Context(), key).Val(); n != want || len(a.told) != 1 {
			t.Errorf("mailbox %d: %d are kept and %d known, want %d and 1", i, n, len(a.told), want)
		}
	}
	if life := c.client.PTTL(t.Context(), key).Val(); life > time.Hour || life < time.Hour-time.Minute {
		t.Errorf("kept for %v", life)
	}
}

// What is kept of an account and in a node has a bound.
func TestRecentsBounds(t *testing.T) {
	c := connect(t)
	fields := make([]any, 0, 2*DefaultRecentMailboxes)
	for i := range DefaultRecentMailboxes {
		fields = append(fields, fmt.Sprint("mailbox ", i), 1)
	}
	key := recentPrefix + recentAcct.String()
	must(t, c.client.HSet(t.Context(), key, fields...).Err())
	a := NewRecents(c, RecentsOptions{})
	take(t, a, 3, 0)
	if n := c.client.HLen(t.Context(), key).Val(); n != 1 {
		t.Errorf("%d mailboxes are kept", n)
	}
	c.down = true
	for i := range DefaultRecentKnown + 10 {
		_, err := a.TakeRecent(t.Context(), recentAcct, mail.MailboxID{1, byte(i), byte(i >> 8), byte(i >> 16)}, 1)
		must(t, err)
	}
	if n := len(a.told); n > DefaultRecentKnown || n == 0 {
		t.Errorf("%d mailboxes are known", n)
	}
	c.down = false
	take(t, a, 3, 3)
}

// Of a mailbox that was restored with fewer UIDs, sessions were told of no more than it has.
func TestRecentsLimited(t *testing.T) {
	c := connect(t)
	a := NewRecents(c, RecentsOptions{})
	limit := func(last mail.UID) {
		t.Helper()
		must(t, a.LimitRecent(t.Context(), recentAcct, recentBox, last))
	}
	limit(3)
	take(t, a, 9, 0)
	limit(10)
	take(t, a, 0, 9)
	limit(5)
	take(t, a, 0, 5)
	take(t, NewRecents(c, RecentsOptions{}), 0, 5)
	take(t, a, 7, 5)
	take(t, a, 7, 7)
	limit(0)
	take(t, NewRecents(c, RecentsOptions{}), 0, 0)
	take(t, a, 2, 0)
	c.down = true
	if err := a.LimitRecent(t.Context(), recentAcct, recentBox, 1); err == nil {
		t.Error("no error without Redis")
	}
}
