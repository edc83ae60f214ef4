//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

const eximConfig = `exim_path = %[5]s
primary_hostname = exim.example.net
spool_directory = %[1]s/spool
log_file_path = %[1]s/%%slog
keep_environment =
add_environment =
message_size_limit = 100M
begin routers
local:
  driver = manualroute
  domains = %[2]s
  route_list = * 127.0.0.1 byname
  self = send
  transport = mallard
bounce:
  driver = accept
  transport = file
begin transports
mallard:
  driver = smtp
  protocol = lmtp
  port = %[3]s
  hosts_try_chunking = %[4]s
  hosts_pipe_connect =
file:
  driver = appendfile
  file = %[1]s/bounces
  user = Debian-exim
begin retry
* * F,1h,1s
`

// Debian's Exim insists on its user, which only the package would make: in a mount namespace of its own it has one.
const eximStart = `set -e
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
shift
exec "$@"
`

// An exim sends messages with one configuration.
type exim struct{ dir, program string }

func newExim(t *testing.T, s *harness.Server, chunking string) *exim {
	t.Helper()
	program, err := exec.LookPath("exim4")
	if err != nil {
		program = filepath.Join(harness.Cache(t), "exim", "usr", "sbin", "exim4")
	}
	if _, err := os.Stat(program); err != nil {
		harness.Missing(t, "Exim is not in %s: run test/rig/install.sh exim", program)
	}
	dir, err := os.MkdirTemp("/var/tmp", "mallard-e2e-exim-") // where Exim's own user can go
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	const id = 64999
	_, port, _ := net.SplitHostPort(s.LMTP)
	for name, text := range map[string]string{
		"passwd": system(t, "/etc/passwd") + fmt.Sprintf("Debian-exim:x:%d:%d::%s:/usr/sbin/nologin\n", id, id, dir),
		"group":  system(t, "/etc/group") + fmt.Sprintf("Debian-exim:x:%d:\n", id),
		"start":  eximStart,
		"conf":   fmt.Sprintf(eximConfig, dir, harness.Domain, port, chunking, filepath.Join(dir, "exim4")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "spool"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "spool")} {
		if err := os.Chown(path, id, id); err != nil {
			harness.Missing(t, "Exim starts as root only: %v", err)
		}
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	e := &exim{dir: dir, program: filepath.Join(dir, "exim4")}
	// Exim's own user, as which it runs itself again, must reach it.
	b, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(e.program, b, 0o755)
	}
	if err == nil {
		err = os.Chmod(e.program, 0o755|os.ModeSetuid)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r := e.command("-bV").Run(t); r.Status != 0 {
		harness.Missing(t, "Exim does not start: %s%s", r.Out, r.Err)
	}
	return e
}

// system is a file without the line of a user of the same name.
func system(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^Debian-exim:.*\n`).ReplaceAllString(string(b), "")
}

func (e *exim) command(args ...string) harness.Command {
	return harness.Command{
		Program: "unshare",
		Args:    append([]string{"--mount", "sh", filepath.Join(e.dir, "start"), e.dir, e.program, "-C", filepath.Join(e.dir, "conf")}, args...),
	}
}

// send hands a message in, delivers it and returns what Exim wrote.
func (e *exim) send(t *testing.T, message string, to ...string) (log, bounces string) {
	t.Helper()
	c := e.command(append([]string{"-odf", "-oi", "-f", "sender@example.net", "--"}, to...)...)
	c.In = strings.ReplaceAll(message, "\r\n", "\n") // Exim's own line end
	c.Must(t)
	l, _ := os.ReadFile(filepath.Join(e.dir, "mainlog"))
	b, _ := os.ReadFile(filepath.Join(e.dir, "bounces"))
	return string(l), string(b)
}

// Exim delivers with BDAT and with DATA; each recipient of one message has its own fate, and the sender is told.
func TestEximDelivers(t *testing.T) {
	harness.OnlyMallard(t)
	for name, chunking := range map[string]string{"BDAT": "*", "DATA": ""} {
		t.Run(name, func(t *testing.T) {
			s := harness.Start(t, harness.Options{LMTPMaxMB: 1})
			good, to := mixed(s)
			e := newExim(t, s, chunking)
			message := harness.Message(2)
			log, bounces := e.send(t, message, to...)
			for _, want := range []string{
				`\*\* nobody@[^\n]*550 5\.1\.1`, `\*\* full@[^\n]*552 5\.2\.2`, `\*\* small@[^\n]*552 5\.2\.2`, `\*\* off@[^\n]*550 5\.2\.1`,
				`[=-]> good@[^\n]*250 2\.0\.0`, `[=-]> g\.ood\+label@[^\n]*250 2\.0\.0`,
			} {
				if !regexp.MustCompile(want).MatchString(log) {
					t.Errorf("%s is not in the log:\n%s", want, log)
				}
			}
			if chunked := regexp.MustCompile(`good@[^\n]* K `).MatchString(log); chunked != (name == "BDAT") {
				t.Errorf("chunking: %v\n%s", chunked, log)
			}
			for _, who := range []string{"nobody@", "full@", "small@", "off@"} {
				if !strings.Contains(bounces, who+harness.Domain) {
					t.Errorf("the sender is not told about %s:\n%s", who, bounces)
				}
			}
			if strings.Contains(bounces, "good@"+harness.Domain+"\n") {
				t.Errorf("the sender is told that what was delivered was not:\n%s", bounces)
			}
			got := s.Login(good).Messages("INBOX")
			if len(got) != 2 {
				t.Fatalf("%d messages, want one for each of two addresses\n%s", len(got), log)
			}
			for _, m := range got {
				if !strings.HasSuffix(m, message[strings.Index(message, "\r\n\r\n"):]) || !strings.HasPrefix(m, "Delivered-To: ") {
					t.Errorf("not what was sent:\n%.3000q", m)
				}
			}
			// More than a mebibyte, with SIZE and without a chance.
			log, _ = e.send(t, "Subject: large\r\n\r\n"+strings.Repeat("a line of text\r\n", 1<<17), good.Address)
			if !regexp.MustCompile(`\*\* good@[^\n]*(552 5\.3\.4|message size exceeded)`).MatchString(log) {
				t.Errorf("a large message was taken, or put off:\n%s", log)
			}
		})
	}
}
