//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"mallard/test/e2e/harness"
)

// residentMiB reads the memory of the server, in MiB; 0 where there is no /proc.
func residentMiB(t *testing.T, s *harness.Server) int {
	t.Helper()
	if harness.Dovecot() {
		return 0
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib / 1024
		}
	}
	return 0
}

// Mail that is not as it should be is kept and given back as it came, and costs the server no memory to speak of.
func TestOddMailComesBackVerbatim(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	u := s.User("odd", 0)
	nested := strings.Builder{}
	for i := range 10_000 {
		fmt.Fprintf(&nested, "Content-Type: multipart/mixed; boundary=\"b%d\"\r\n\r\n--b%d\r\n", i, i)
	}
	odd := map[string]string{
		"nested parts":       "Subject: nested parts\r\nMIME-Version: 1.0\r\n" + nested.String() + "\r\ntext\r\n",
		"endless header":     "Subject: endless header\r\n" + strings.Repeat("X-Filler: "+strings.Repeat("f", 70)+"\r\n", 30_000),
		"one long line":      "Subject: one long line\r\n\r\n" + strings.Repeat("0123456789", 100_000) + "\r\n",
		"octets":             "Subject: octets\r\nX-Raw: \xff\xfe\x80\r\n\r\n\x01\x02\xff\xc3\x28 bare\rCR\r\n",
		"no header":          "\r\nSubject: no header, this is text\r\n",
		"header only":        "Subject: header only\r\n",
		"unclosed multipart": "Subject: unclosed\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--y--\r\n",
	}
	before := residentMiB(t, s)
	for name, message := range odd {
		if harness.Dovecot() && name == "octets" {
			continue // its LMTP server changes a bare CR
		}
		s.Deliver(u, message)
	}
	c := s.Login(u)
	got := c.Messages("INBOX")
	have := map[string]bool{}
	for _, m := range got {
		have[harness.Undelivered(m)] = true
	}
	for name, message := range odd {
		if !have[message] && !(harness.Dovecot() && name == "octets") {
			t.Errorf("%s: did not come back as it was", name)
		}
	}
	c.OK(`FETCH 1:* (ENVELOPE BODYSTRUCTURE)`)
	c.OK(`SEARCH TEXT "nowhere to be found"`)
	if harness.Dovecot() {
		return
	}
	if after := residentMiB(t, s); after > before+150 {
		t.Errorf("memory grew from %d to %d MiB", before, after)
	}
	s.Check()
}

// Sessions that ask for everything and read nothing cost little and keep nobody from working.
func TestClientsThatNeverRead(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	u := s.User("silent", 0)
	large := "Subject: large\r\n\r\n" + strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 8<<20/72)
	for range 4 {
		s.Deliver(u, large)
	}
	before := residentMiB(t, s)
	for range 12 {
		conn, err := net.Dial("tcp", s.IMAP)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "a LOGIN %s %s\r\nb SELECT INBOX\r\nc FETCH 1:* BODY.PEEK[]\r\nd FETCH 1:* BODY.PEEK[]\r\n", u.Name, u.Password)
	}
	other := s.User("other", 0)
	begin := time.Now()
	for n := range 20 {
		s.Deliver(other, harness.Message(n))
	}
	if got := len(s.Login(other).Messages("INBOX")); got != 20 {
		t.Errorf("%d messages, want 20", got)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("20 deliveries beside silent sessions took %s", took)
	}
	if after := residentMiB(t, s); after > before+200 {
		t.Errorf("memory grew from %d to %d MiB", before, after)
	}
	s.Stop()
	s.Check()
}

// Commands that are out of bounds end in an answer or the end of the session, not in a server that waits or grows.
func TestCommandsOutOfBounds(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	u := s.User("bounds", 0)
	before := residentMiB(t, s)
	for name, input := range map[string]string{
		"literal of 4 GB":          "a LOGIN {4294967296}\r\n",
		"non-synchronizing 4 GB":   "a LOGIN {4294967296+}\r\n",
		"endless line":             "a " + strings.Repeat("x", 1<<20),
		"not IMAP":                 "GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n",
		"binary":                   "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
		"deep parentheses":         "a SEARCH " + strings.Repeat("(", 60_000) + "\r\n",
		"nonsense many times over": strings.Repeat("a NONSENSE\r\n", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", s.IMAP)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			go io.WriteString(conn, input)
			buf := make([]byte, 4096)
			var got strings.Builder
			for !strings.Contains(got.String(), " BAD ") && !strings.Contains(got.String(), " NO ") && !strings.Contains(got.String(), "* BYE") {
				n, err := conn.Read(buf)
				got.Write(buf[:n])
				if err != nil {
					break
				}
			}
			if lines := strings.Count(got.String(), "\n"); lines < 2 {
				t.Errorf("no answer but %q", got.String())
			}
		})
	}
	s.Login(u).OK("NOOP")
	if after := residentMiB(t, s); after > before+100 {
		t.Errorf("memory grew from %d to %d MiB", before, after)
	}
}

// A storm of wrong passwords is slowed down or refused, and the right password of somebody else still works.
func TestWrongPasswords(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	u, other := s.User("victim", 0), s.User("bystander", 0)
	accepted := 0
	for i := range 60 {
		c := harness.Dial(t, s.IMAP)
		if _, status := c.Do(fmt.Sprintf(`LOGIN %s "wrong %d"`, u.Name, i)); strings.HasPrefix(status, "OK") {
			accepted++
		}
	}
	if accepted > 0 {
		t.Fatalf("%d wrong passwords were accepted", accepted)
	}
	c := harness.Dial(t, s.IMAP)
	if _, status := c.Do(fmt.Sprintf("LOGIN %q %q", u.Name, u.Password)); strings.HasPrefix(status, "OK") {
		t.Error("guessing goes on at full speed: after 60 wrong passwords within a moment the next try is still judged")
	}
	s.Login(other).OK("NOOP")
}

// Recipients beyond the limit of 1,000 are put off with 452, which makes a sender come again with the rest (RFC 5321
// section 4.5.3.1.10); one that does not stop is cut off.
func TestManyRecipients(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	u := s.User("many", 0)
	answers := sendToMany(t, s, u.Address, 1050)
	if answers["452"] != 50 || answers["354"] != 1 || answers["221"] != 1 {
		t.Errorf("answers to 1,050 recipients: %v", answers)
	}
	// Eight lines answer LHLO and one MAIL, then there are the accepted recipients and a verdict for each.
	if n := len(s.Login(u).Messages("INBOX")); n != 1000 || answers["250"] != 8+1+1000+1000 {
		t.Errorf("%d messages: answers %v", n, answers)
	}
	before := residentMiB(t, s)
	answers = sendToMany(t, s, u.Address, 1_000_000)
	if answers["452"] == 0 || answers["354"] != 0 || answers["421"] != 1 {
		t.Errorf("answers to a million recipients: %v", answers)
	}
	if after := residentMiB(t, s); after > before+50 {
		t.Errorf("memory grew from %d to %d MiB", before, after)
	}
}

// sendToMany sends one message to the same address so many times and counts the answers by their code.
func sendToMany(t *testing.T, s *harness.Server, address string, count int) map[string]int {
	t.Helper()
	conn, err := net.Dial("tcp", s.LMTP)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	go func() {
		w := bufio.NewWriter(conn)
		w.WriteString("LHLO x\r\nMAIL FROM:<a@example.net>\r\n")
		for range count {
			if _, err := fmt.Fprintf(w, "RCPT TO:<%s>\r\n", address); err != nil {
				return
			}
		}
		w.WriteString("DATA\r\nSubject: many\r\n\r\ntext\r\n.\r\nQUIT\r\n")
		w.Flush()
	}()
	answers := map[string]int{}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		answers[lines.Text()[:min(3, len(lines.Text()))]]++
	}
	return answers
}
