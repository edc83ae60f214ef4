//go:build e2e

package e2e

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"mallard/test/e2e/harness"
)

const (
	crashRounds  = 20
	crashSenders = 16
	crashUsers   = 4
)

// crashMessage makes message n: from a few hundred octets to some ten thousand, so that some are stored apart.
func crashMessage(n int) string {
	rng := rand.New(rand.NewPCG(uint64(n), 7))
	size := 200 + rng.IntN(4000)
	if n%10 == 0 {
		size += rng.IntN(80_000)
	}
	raw := make([]byte, size/2)
	for i := range raw {
		raw[i] = byte(rng.Uint32())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Message-ID: <crash-%d@example.net>\r\nFrom: a@example.net\r\nSubject: crash %d\r\n\r\n", n, n)
	for text := hex.EncodeToString(raw); text != ""; {
		line := text[:min(76, len(text))]
		b.WriteString(line + "\r\n")
		text = text[len(line):]
	}
	return b.String()
}

// deliveries is what the senders have tried and what was acknowledged, over all rounds.
type deliveries struct {
	mu    sync.Mutex
	next  int
	acked map[int]int // message -> user
}

func (d *deliveries) take() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	return d.next - 1
}

func (d *deliveries) ack(n, user int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.acked[n] = user
}

// The server is killed while 16 connections deliver, twenty times. Everything that it had acknowledged is there
// afterwards, octet for octet; what it had not is there whole or not at all; and its own check finds nothing wrong.
func TestKilledWhileDelivering(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	var users []harness.User
	for i := range crashUsers {
		users = append(users, s.User(fmt.Sprintf("crash%d", i), 1<<40))
	}
	d := &deliveries{acked: map[int]int{}}
	seen := make([]map[int]string, crashUsers) // message -> UID, per user
	uidValidity := make([]string, crashUsers)
	for i := range seen {
		seen[i] = map[int]string{}
	}
	rng := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	for round := range crashRounds {
		killWhileDelivering(t, s, d, users, 20+rng.IntN(400))
		s.Check()
		s.Run()
		for i, u := range users {
			c := s.Login(u)
			selected := c.OK(`EXAMINE "INBOX"`)
			validity := c.Expect(selected, `UIDVALIDITY (\d+)`)[1]
			if uidValidity[i] != "" && uidValidity[i] != validity {
				t.Fatalf("round %d: UIDVALIDITY of user %d changed from %s to %s", round, i, uidValidity[i], validity)
			}
			uidValidity[i] = validity
			checkMailbox(t, c, round, i, d, seen[i])
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d messages acknowledged, %d not, in %d rounds", len(d.acked), d.next-len(d.acked), crashRounds)
	if len(d.acked) < crashRounds*crashSenders {
		t.Errorf("only %d messages were acknowledged before the kills: the test has tested little", len(d.acked))
	}
	s.Stop()
	s.Check()
}

// killWhileDelivering delivers from all senders, kills the server after some milliseconds from the first
// acknowledgement of the round, and waits for the senders to notice.
func killWhileDelivering(t *testing.T, s *harness.Server, d *deliveries, users []harness.User, milliseconds int) {
	t.Helper()
	var wg sync.WaitGroup
	first := make(chan struct{}, 1)
	for i := range crashSenders {
		sender, err := harness.NewSender(s.LMTP)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer sender.Close()
			user := i % len(users)
			for {
				n := d.take()
				if err := sender.Send("sender@example.net", users[user].Address, crashMessage(n)); err != nil {
					return
				}
				d.ack(n, user)
				select {
				case first <- struct{}{}:
				default:
				}
			}
		})
	}
	select {
	case <-first:
	case <-time.After(30 * time.Second):
		t.Error("nothing was acknowledged within 30 s")
	}
	<-time.After(time.Duration(milliseconds) * time.Millisecond)
	s.Kill()
	wg.Wait()
}

var crashID = regexp.MustCompile(`Message-ID: <crash-(\d+)@example\.net>`)

// checkMailbox reads all mail of a user and compares it with what was sent. Messages of earlier rounds must still be
// there under the same UIDs.
func checkMailbox(t *testing.T, c *harness.Session, round, user int, d *deliveries, seen map[int]string) {
	t.Helper()
	there := map[int]string{}
	for _, r := range c.OK("UID FETCH 1:* (UID BODY.PEEK[])") {
		body := regexp.MustCompile(`BODY\[\] \{(\d+)\}\r\n`).FindStringSubmatchIndex(r)
		if body == nil {
			continue
		}
		uid := regexp.MustCompile(`[( ]UID (\d+)`).FindStringSubmatch(r[:body[0]] + r[len(r)-40:])
		var size, n int
		fmt.Sscan(r[body[2]:body[3]], &size)
		message := r[body[1] : body[1]+size]
		id := crashID.FindStringSubmatch(message)
		if id == nil || uid == nil {
			t.Errorf("round %d: user %d has a message that was never sent: %.300q", round, user, r)
			continue
		}
		fmt.Sscan(id[1], &n)
		if harness.Undelivered(message) != crashMessage(n) {
			t.Errorf("round %d: message %d of user %d is not what was sent", round, n, user)
		}
		if _, twice := there[n]; twice {
			t.Errorf("round %d: message %d of user %d is there twice", round, n, user)
		}
		there[n] = uid[1]
	}
	for n, to := range d.acked {
		if _, ok := there[n]; to == user && !ok {
			t.Errorf("round %d: message %d of user %d was acknowledged and is lost", round, n, user)
		}
	}
	for n, uid := range seen {
		if there[n] != uid {
			t.Errorf("round %d: message %d of user %d had UID %s and now has %q", round, n, user, uid, there[n])
		}
	}
	clear(seen)
	for n, uid := range there {
		seen[n] = uid
	}
}
