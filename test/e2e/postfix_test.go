//go:build e2e

package e2e

import (
	"fmt"
	"net/smtp"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mallard/internal/testserver/freeport"
	"mallard/test/e2e/harness"
)

// postfixTime is how long Postfix may need for a message. What its queue manager takes up again while the agent that put it
// off has not let go of it ("skipped, still being delivered") it leaves alone for a minute, which no setting changes; it
// waits two seconds before it takes anything up again, so that this is rare.
const postfixTime = 3 * time.Minute

const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = mta.example.net
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_mailbox_domains = %[2]s
virtual_transport = lmtp:inet:%[3]s
maillog_file = %[1]s/log
minimal_backoff_time = 2s
queue_run_delay = 1s
notify_classes =
bounce_queue_lifetime = 0
lmtp_destination_recipient_limit = 500
`

// No service is in a chroot, and bounces go nowhere.
const postfixMaster = `127.0.0.1:%d inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
lmtp unix - - n - - lmtp
smtp unix - - n - - discard
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// startPostfix starts an instance of its own and returns its SMTP address and its log file.
func startPostfix(t *testing.T, lmtp string) (addr, logFile string) {
	t.Helper()
	program := harness.Need(t, "postfix", "postfix")
	if os.Geteuid() != 0 {
		harness.Missing(t, "Postfix starts as root only")
	}
	dir, err := os.MkdirTemp("/var/tmp", "mallard-e2e-postfix-") // where Postfix's own user can go, and below /var for its log
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	port := freeport.Take(t, 1)[0]
	files := map[string]string{
		"main.cf":   fmt.Sprintf(postfixMain, dir, harness.Domain, lmtp),
		"master.cf": fmt.Sprintf(postfixMaster, port),
	}
	for _, sub := range []string{"", "queue", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	harness.Command{Program: "chown", Args: []string{"postfix", filepath.Join(dir, "data")}}.Must(t)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The daemon must not keep a pipe of this process open.
	start := fmt.Sprintf("exec %s -c %s start >%s/start 2>&1 </dev/null", program, dir, dir)
	if r := (harness.Command{Program: "sh", Args: []string{"-c", start}}).Run(t); r.Status != 0 {
		why, _ := os.ReadFile(filepath.Join(dir, "start"))
		t.Fatalf("postfix start: status %d\n%s", r.Status, why)
	}
	t.Cleanup(func() { harness.Command{Program: program, Args: []string{"-c", dir, "stop"}}.Run(t) })
	return fmt.Sprintf("127.0.0.1:%d", port), filepath.Join(dir, "log")
}

func TestPostfixRelaysIn(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	u := s.User("postfix", 0)
	addr, logFile := startPostfix(t, s.LMTP)
	const count = 20
	want := map[string]bool{}
	for n := range count {
		want[harness.Message(n)] = true
		if err := smtp.SendMail(addr, nil, "sender@example.net", []string{u.Address}, []byte(harness.Message(n))); err != nil {
			t.Fatalf("message %d: %v", n, err)
		}
	}
	reader := s.Login(u)
	var got []string
	if !harness.Until(postfixTime, func() bool {
		got = reader.Messages("INBOX")
		return len(got) >= count
	}) {
		log, _ := os.ReadFile(logFile)
		t.Fatalf("%d of %d messages came through Postfix:\n%s", len(got), count, log)
	}
	for _, m := range got {
		if !want[harness.Undelivered(m)] {
			t.Errorf("not a message that was sent:\n%.1500q", m)
		}
		delete(want, harness.Undelivered(m))
	}
	if len(want) != 0 {
		t.Errorf("%d messages are missing or altered", len(want))
	}
}

// logged waits until each of these expressions is in a log of Postfix.
func logged(t *testing.T, logFile string, want ...string) string {
	t.Helper()
	var log []byte
	missing := ""
	if !harness.Until(postfixTime, func() bool {
		log, _ = os.ReadFile(logFile)
		for _, w := range want {
			if !regexp.MustCompile(w).Match(log) {
				missing = w
				return false
			}
		}
		return true
	}) {
		t.Fatalf("%s is not in the log:\n%s", missing, log)
	}
	return string(log)
}

// mixed makes the recipients that each get another verdict, the last one twice.
func mixed(s *harness.Server) (good harness.User, recipients []string) {
	full, small, off := s.User("full", 0), s.User("small", 200), s.User("off", 0)
	good = s.User("good", 0)
	s.Deliver(full, harness.Message(1))
	s.Call("PUT", "/users/"+full.ID, map[string]any{"quota": 100}, nil)
	s.Call("PUT", "/users/"+off.ID, map[string]any{"disabled": true}, nil)
	return good, []string{"nobody@" + harness.Domain, full.Address, small.Address, off.Address, good.Address, "g.ood+label@" + harness.Domain}
}

func TestPostfixBouncesUnknownRecipient(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	addr, logFile := startPostfix(t, s.LMTP)
	if err := smtp.SendMail(addr, nil, "sender@example.net", []string{"nobody@" + harness.Domain}, []byte(harness.Message(1))); err != nil {
		t.Fatal(err)
	}
	logged(t, logFile, `to=<nobody@[^\n]*dsn=5\.1\.1, status=bounced[^\n]*550 5\.1\.1`)
}

// Each recipient of one message has its own fate: delivered, or bounced for its own reason.
func TestPostfixVerdictsOfOneMessage(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	good, to := mixed(s)
	addr, logFile := startPostfix(t, s.LMTP)
	if err := smtp.SendMail(addr, nil, "sender@example.net", to, []byte(harness.Message(2))); err != nil {
		t.Fatal(err)
	}
	log := logged(t, logFile,
		`to=<nobody@[^\n]*dsn=5\.1\.1, status=bounced[^\n]*550 5\.1\.1`,
		`to=<full@[^\n]*dsn=5\.2\.2, status=bounced[^\n]*552 5\.2\.2[^\n]*RCPT TO`,
		`to=<small@[^\n]*dsn=5\.2\.2, status=bounced[^\n]*552 5\.2\.2[^\n]*end of DATA`,
		`to=<off@[^\n]*dsn=5\.2\.1, status=bounced[^\n]*550 5\.2\.1`,
		`to=<good@[^\n]*dsn=2\.0\.0, status=sent`,
		`to=<g\.ood\+label@[^\n]*dsn=2\.0\.0, status=sent`,
	)
	if strings.Contains(log, "status=deferred") {
		t.Errorf("something was put off:\n%s", log)
	}
	got := s.Login(good).Messages("INBOX")
	if len(got) != 2 {
		t.Fatalf("%d messages, want one for each of two addresses", len(got))
	}
	for _, m := range got {
		if harness.Undelivered(m) != harness.Message(2) {
			t.Errorf("not what was sent:\n%.1500q", m)
		}
	}
}

// What the server cannot take now is put off and delivered later, once.
func TestPostfixDefers(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{LMTP: "maxRecipients = 100"})
	u := s.User("patient", 0)
	addr, logFile := startPostfix(t, s.LMTP)
	s.Stop()
	if err := smtp.SendMail(addr, nil, "sender@example.net", []string{u.Address}, []byte(harness.Message(1))); err != nil {
		t.Fatal(err)
	}
	logged(t, logFile, `to=<patient@[^\n]*status=deferred[^\n]*refused`)
	s.Run()
	logged(t, logFile, `to=<patient@[^\n]*status=sent`)

	// More recipients than one transaction may have: the rest comes in further ones.
	const count = 250
	var to []string
	for n := range count {
		to = append(to, fmt.Sprintf("patient+%d@%s", n, harness.Domain))
	}
	if err := smtp.SendMail(addr, nil, "sender@example.net", to, []byte(harness.Message(2))); err != nil {
		t.Fatal(err)
	}
	reader := s.Login(u)
	var got []string
	harness.Until(postfixTime, func() bool {
		got = reader.Messages("INBOX")
		return len(got) >= 1+count
	})
	log := logged(t, logFile, `452 4\.5\.3`)
	if strings.Contains(log, "status=bounced") {
		t.Errorf("bounced:\n%s", log)
	}
	named := map[string]int{}
	for _, m := range got {
		line, _, _ := strings.Cut(m, "\r\n")
		named[line]++
	}
	for _, addr := range append(to, u.Address) {
		if n := named["Delivered-To: "+addr]; n != 1 {
			t.Errorf("%s has %d messages", addr, n)
		}
	}
}
