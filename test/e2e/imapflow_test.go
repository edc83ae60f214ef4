//go:build e2e

package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"mallard/test/e2e/harness"
)

// An imapflow is the Node program of testdata in a conversation: a step in, events out.
type imapflow struct {
	t      *testing.T
	in     io.Writer
	events chan flowEvent
}

type flowEvent struct {
	Event     string   `json:"event"`
	Step      string   `json:"step"`
	Message   string   `json:"message"`
	Response  string   `json:"response"`
	Count     int      `json:"count"`
	Previous  int      `json:"previous"`
	Exists    int      `json:"exists"`
	UID       int      `json:"uid"`
	UIDs      []int    `json:"uids"`
	Seq       int      `json:"seq"`
	Size      int      `json:"size"`
	SHA256    string   `json:"sha256"`
	Subject   string   `json:"subject"`
	Type      string   `json:"type"`
	Flags     []string `json:"flags"`
	Mailboxes []struct{ Path, Use string }
}

func startImapflow(t *testing.T, s *harness.Server, u harness.User) *imapflow {
	t.Helper()
	node := harness.Need(t, "node", "nodejs")
	modules := filepath.Join(harness.Cache(t), "npm", "node_modules")
	if _, err := os.Stat(filepath.Join(modules, "imapflow")); err != nil {
		harness.Missing(t, "the npm module imapflow is not in %s: run test/rig/install.sh npm", modules)
	}
	host, port, _ := net.SplitHostPort(s.IMAP)
	cmd := exec.Command(node, filepath.Join("testdata", "imapflow.cjs"), host, port, u.Name, u.Password)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := &imapflow{t: t, in: in, events: make(chan flowEvent, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(f.events)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			e := flowEvent{}
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				e = flowEvent{Event: "error", Message: lines.Text()}
			}
			f.events <- e
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
		cmd.Wait()
	})
	return f
}

// await returns the next event of a kind; those before it are returned too.
func (f *imapflow) await(kind string) (flowEvent, []flowEvent) {
	f.t.Helper()
	return f.awaitWithin(20*time.Second, kind)
}

func (f *imapflow) awaitWithin(within time.Duration, kind string) (flowEvent, []flowEvent) {
	f.t.Helper()
	limit := time.NewTimer(within)
	defer limit.Stop()
	var before []flowEvent
	for {
		select {
		case e, ok := <-f.events:
			if !ok {
				f.t.Fatalf("imapflow ended while %q was awaited, after %+v", kind, before)
			}
			if e.Event == "error" {
				f.t.Fatalf("imapflow: %s %s", e.Message, e.Response)
			}
			if e.Event == kind {
				return e, before
			}
			before = append(before, e)
		case <-limit.C:
			f.t.Fatalf("no %q from imapflow, only %+v", kind, before)
		}
	}
}

// step does one step to its end and returns what was told meanwhile.
func (f *imapflow) step(name string) []flowEvent {
	f.t.Helper()
	if _, err := io.WriteString(f.in, name+"\n"); err != nil {
		f.t.Fatal(err)
	}
	_, told := f.await("done")
	return told
}

func TestImapflow(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	u := s.User("imapflow", 0)
	s.Deliver(u, harness.Message(1))
	f := startImapflow(t, s, u)
	opened, _ := f.awaitWithin(2*time.Minute, "open") // Node has to start
	if opened.Exists != 1 {
		t.Errorf("INBOX has %d messages, want 1", opened.Exists)
	}
	uses := map[string]bool{}
	for _, m := range opened.Mailboxes {
		uses[m.Use] = true
	}
	for _, use := range []string{`\Inbox`, `\Sent`, `\Trash`, `\Junk`, `\Drafts`} {
		if !uses[use] {
			t.Errorf("no mailbox for %s among %+v", use, opened.Mailboxes)
		}
	}

	f.step("idle")
	begin := time.Now()
	s.Deliver(u, harness.Message(2))
	if e, _ := f.await("exists"); e.Count != 2 || e.Previous != 1 {
		t.Errorf("told of %d messages after %d, want 2 after 1", e.Count, e.Previous)
	}
	t.Logf("told %s after the delivery began", time.Since(begin).Round(time.Millisecond))

	other := s.Login(u)
	other.OK("SELECT INBOX")
	other.OK(`STORE 2 +FLAGS (\Answered)`)
	if e, _ := f.await("flags"); e.Seq != 2 || !contains(e.Flags, `\Answered`) {
		t.Errorf("told of flags %+v, want \\Answered on message 2", e)
	}

	checkFlowMessages(t, f.step("fetch"), s.Login(u).Messages("INBOX"))
	for _, e := range f.step("search") {
		if e.Event == "found" && (len(e.UIDs) != 1 || e.UIDs[0] != 2) {
			t.Errorf("search found %v, want UID 2", e.UIDs)
		}
	}
	f.step("store")
	f.step("append")
	f.step("move")
	got := serverState(t, s, u)
	if !holds(got["Moved"], "F", "message 1") {
		t.Errorf("the moved message is not as it was:\n%v", got)
	}
	if len(got["INBOX"]) != 2 || !holds(got["INBOX"], "R", "message 2") {
		t.Errorf("INBOX is not as it should be:\n%v", got)
	}

	f.step("idle")
	other.OK("NOOP")
	other.OK(`STORE 1 +FLAGS (\Deleted)`)
	other.OK("EXPUNGE")
	if e, _ := f.await("expunge"); e.Seq != 1 {
		t.Errorf("told that message %d is gone, want 1", e.Seq)
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// checkFlowMessages compares what imapflow has read with what the server gives to a plain session.
func checkFlowMessages(t *testing.T, events []flowEvent, messages []string) {
	t.Helper()
	seen := 0
	for _, e := range events {
		if e.Event != "message" {
			continue
		}
		if e.UID < 1 || e.UID > len(messages) {
			t.Fatalf("UID %d, want 1 to %d", e.UID, len(messages))
		}
		seen++
		want := messages[e.UID-1]
		if subject := fmt.Sprintf("message %d", e.UID); e.Subject != subject || e.Type != "text/plain" {
			t.Errorf("UID %d is a %s with subject %q, want text/plain and %q", e.UID, e.Type, e.Subject, subject)
		}
		if sum := sha256.Sum256([]byte(want)); e.SHA256 != hex.EncodeToString(sum[:]) || e.Size != len(want) {
			t.Errorf("UID %d came as %d octets that are not those of the message (%d)", e.UID, e.Size, len(want))
		}
	}
	if seen != 2 || len(messages) != 2 {
		t.Errorf("fetched %d of %d messages, want 2: %+v", seen, len(messages), events)
	}
}
