//go:build e2e

package e2e

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mallard/test/e2e/harness"
)

// swaks sends one message by LMTP and returns its transcript.
func swaks(t *testing.T, s *harness.Server, message string, to ...string) harness.Ran {
	t.Helper()
	host, port, err := net.SplitHostPort(s.LMTP)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "message.eml")
	// swaks ends the data with a line break of its own.
	if err := os.WriteFile(file, []byte(strings.TrimSuffix(message, "\r\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return harness.Command{
		Program: harness.Need(t, "swaks", "swaks"),
		Args: []string{"--protocol", "LMTP", "--server", host, "--port", port, "--data", "@" + file,
			"--from", "sender@example.net", "--to", strings.Join(to, ","), "--suppress-data"},
	}.Run(t)
}

// refusedWith checks that the server's side of a transcript has an answer that begins so.
func refusedWith(t *testing.T, r harness.Ran, answer string) {
	t.Helper()
	if !regexp.MustCompile(`(?m)^<\*\*\s+` + regexp.QuoteMeta(answer)).MatchString(r.Out) {
		t.Errorf("no answer %q in\n%s%s", answer, r.Out, r.Err)
	}
}

func TestSwaksDelivers(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	u := s.User("swaks", 0)
	sent := harness.Message(3)
	if r := swaks(t, s, sent, u.Address); r.Status != 0 {
		t.Fatalf("swaks ended with %d\n%s%s", r.Status, r.Out, r.Err)
	}
	got := s.Login(u).Messages("INBOX")
	if len(got) != 1 {
		t.Fatalf("%d messages in INBOX, want 1", len(got))
	}
	if harness.Undelivered(got[0]) != sent {
		t.Errorf("what was delivered is not what was sent:\n%.2000q", got[0])
	}
	for _, field := range []string{"Return-Path: <sender@example.net>\r\n", "Delivered-To: " + u.Address + "\r\n"} {
		if head, _, _ := strings.Cut(got[0], "Subject:"); !strings.Contains(head, field) {
			t.Errorf("no %q before the message: %q", field, head)
		}
	}
}

func TestSwaksUnknownRecipient(t *testing.T) {
	harness.OnlyMallard(t) // the rig's Dovecot takes any name
	s := harness.Start(t, harness.Options{})
	u := s.User("known", 0)
	refusedWith(t, swaks(t, s, harness.Message(1), "nobody@"+harness.Domain), "550 5.1.1")
	r := swaks(t, s, harness.Message(2), "nobody@"+harness.Domain, u.Address)
	refusedWith(t, r, "550 5.1.1")
	if got := s.Login(u).Messages("INBOX"); len(got) != 1 || harness.Undelivered(got[0]) != harness.Message(2) {
		t.Errorf("the known recipient beside an unknown one has %d messages, want the one", len(got))
	}
}

func TestSwaksOverQuota(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	u, other := s.User("full", 10_000), s.User("other", 0)
	text := "Subject: fills the mailbox\r\n\r\n" + strings.Repeat("sixty-four octets of text in every line of this message, really\r\n", 95)
	if r := swaks(t, s, text, u.Address); r.Status != 0 {
		t.Fatalf("a message below the quota was refused\n%s%s", r.Out, r.Err)
	}
	refusedWith(t, swaks(t, s, text, u.Address, other.Address), "552 5.2.2")
	if n := len(s.Login(u).Messages("INBOX")); n != 1 {
		t.Errorf("%d messages in the full mailbox, want 1", n)
	}
	if n := len(s.Login(other).Messages("INBOX")); n != 1 {
		t.Errorf("%d messages of the recipient beside the full mailbox, want 1", n)
	}
}

func TestSwaksTooLarge(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{LMTPMaxMB: 1})
	u := s.User("small", 0)
	line := strings.Repeat("0123456789", 7) + "\r\n"
	refusedWith(t, swaks(t, s, "Subject: large\r\n\r\n"+strings.Repeat(line, 2<<20/len(line)), u.Address), "552 5.3.4")
	if n := len(s.Login(u).Messages("INBOX")); n != 0 {
		t.Errorf("%d messages, want none", n)
	}
	if r := swaks(t, s, "Subject: fits\r\n\r\n"+strings.Repeat(line, 1<<19/len(line)), u.Address); r.Status != 0 {
		t.Errorf("half of the limit was refused\n%s%s", r.Out, r.Err)
	}
}

// Many deliveries at once to a mailbox that is nearly full: what was acknowledged is there, the rest was refused, and the
// quota holds.
func TestRaceToTheQuota(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	const quota = 30_000
	u := s.User("nearly", quota)
	var acked, refused atomic.Int32
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for n := range 20 {
				sender, err := harness.NewSender(s.LMTP)
				if err != nil {
					t.Error(err)
					return
				}
				err = sender.Send("a@example.net", u.Address, harness.Message(20*c+n))
				sender.Close()
				switch {
				case err == nil:
					acked.Add(1)
				case strings.HasPrefix(err.Error(), "552"):
					refused.Add(1)
				default:
					t.Errorf("refused with %v", err)
				}
			}
		})
	}
	wg.Wait()
	got := s.Login(u).Messages("INBOX")
	size := 0
	for _, m := range got {
		size += len(m)
	}
	if len(got) != int(acked.Load()) || size > quota || refused.Load() == 0 {
		t.Errorf("%d acknowledged, %d refused, %d stored, %d octets of %d", acked.Load(), refused.Load(), len(got), size, quota)
	}
	var answer struct {
		Limits struct{ Quota struct{ Used int } }
	}
	s.Call("GET", "/users/"+u.ID, nil, &answer)
	if answer.Limits.Quota.Used != size {
		t.Errorf("%d octets are accounted for, %d are stored", answer.Limits.Quota.Used, size)
	}
}
