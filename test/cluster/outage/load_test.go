//go:build e2e

package outage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mallard/test/e2e/harness"
)

// takenBack is how long a node may need to take back messages that it was told to store and then could not answer for: it
// waits longer between its attempts while the database is away.
const takenBack = 2 * time.Minute

// answerTime is how long an IMAP client waits for an answer, as the LMTP client does: longer than a node tries, so that each
// message is acknowledged or refused.
const answerTime = time.Minute

// A load is clients that write into one INBOX until they are stopped, as mail servers and mail programs do: what was not
// acknowledged is tried again.
type load struct {
	t      *testing.T
	user   harness.User
	stop   chan struct{}
	work   sync.WaitGroup
	errors atomic.Int64 // tries that failed

	mu         sync.Mutex
	acked      map[string]int // Message-IDs: how often they were acknowledged
	unanswered map[string]int // how often a try ended without an answer, so that it may be stored
}

// startLoad starts writers by LMTP and by IMAP APPEND on addresses.
func startLoad(t *testing.T, u harness.User, lmtp, imap []string) *load {
	l := &load{t: t, user: u, stop: make(chan struct{}), acked: map[string]int{}, unanswered: map[string]int{}}
	for i, addr := range lmtp {
		l.work.Go(func() { l.write(fmt.Sprintf("lmtp%d", i), func() (writer, error) { return newLMTP(addr, u) }) })
	}
	for i, addr := range imap {
		l.work.Go(func() { l.write(fmt.Sprintf("append%d", i), func() (writer, error) { return newAppend(addr, u) }) })
	}
	return l
}

// A writer is one connection. Errors are refused where the server has said no, and others where it has said nothing.
type writer interface {
	write(message string) error
	close()
}

type refused struct{ answer string }

func (e refused) Error() string { return e.answer }

func (l *load) write(name string, connect func() (writer, error)) {
	var w writer
	for i := 0; ; i++ {
		id := fmt.Sprintf("%s-%d", name, i)
		for done := false; !done; {
			select {
			case <-l.stop:
				if w != nil {
					w.close()
				}
				return
			default:
			}
			w, done = l.try(w, connect, id)
		}
	}
}

// try sends one message once; it gives back the connection when it is still good.
func (l *load) try(w writer, connect func() (writer, error), id string) (writer, bool) {
	var err error
	if w == nil {
		if w, err = connect(); err != nil {
			l.errors.Add(1)
			time.Sleep(50 * time.Millisecond)
			return nil, false
		}
	}
	err = w.write(message(id))
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.acked[id]++
		return w, true
	case !errors.As(err, new(refused)):
		l.unanswered[id]++
	}
	l.errors.Add(1)
	w.close()
	return nil, false
}

// count is how many messages were acknowledged until now.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// waitFor waits until that many more are acknowledged.
func (l *load) waitFor(more int) {
	l.t.Helper()
	want := l.count() + more
	if !harness.Until(time.Minute, func() bool { return l.count() >= want }) {
		l.t.Fatalf("%d messages acknowledged in a minute, want %d", l.count(), want)
	}
}

// end stops the writers and checks the INBOX: all that was acknowledged is there, and nothing is there more often than
// it was acknowledged or left without an answer. What a client was told to send again is taken back, so it is waited for.
func (l *load) end(n *harness.Server) {
	l.t.Helper()
	close(l.stop)
	l.work.Wait()
	var stored map[string]int
	harness.Until(takenBack, func() bool { stored = l.stored(n); return len(stored) >= len(l.acked) && !l.tooOften(stored) })
	for id, n := range l.acked {
		if stored[id] < n {
			l.t.Errorf("message %s was acknowledged and is not there", id)
		}
	}
	for id, n := range stored {
		if most := l.acked[id] + l.unanswered[id]; n > most {
			l.t.Errorf("message %s is there %d times, was acknowledged %d times and left without an answer %d times", id, n, l.acked[id], l.unanswered[id])
		}
	}
	l.t.Logf("%d messages acknowledged, %d tries failed, %d messages without an answer", len(l.acked), l.errors.Load(), len(l.unanswered))
}

// tooOften tells whether a message is there more often than it was acknowledged or left without an answer.
func (l *load) tooOften(stored map[string]int) bool {
	for id, n := range stored {
		if n > l.acked[id]+l.unanswered[id] {
			return true
		}
	}
	return false
}

// stored counts the messages in the INBOX by Message-ID.
func (l *load) stored(n *harness.Server) map[string]int {
	l.t.Helper()
	stored := map[string]int{}
	s := n.Login(l.user)
	for _, m := range s.Messages("INBOX") {
		_, rest, _ := strings.Cut(m, "Message-ID: <")
		id, _, _ := strings.Cut(rest, "@")
		stored[id]++
		if harness.Undelivered(m) != message(id) {
			l.t.Errorf("message %s is %q", id, m)
		}
	}
	s.OK("LOGOUT")
	return stored
}

type lmtpWriter struct {
	s  *harness.Sender
	to string
}

func newLMTP(addr string, u harness.User) (writer, error) {
	s, err := harness.NewSender(addr)
	if err != nil {
		return nil, err
	}
	return lmtpWriter{s, u.Address}, nil
}

func (w lmtpWriter) close() { w.s.Close() }

func (w lmtpWriter) write(message string) error {
	err := w.s.Send("sender@example.net", w.to, message)
	if err != nil && !lost(err) {
		return refused{err.Error()}
	}
	return err
}

// lost tells whether a connection broke, so that nobody knows what the server did.
func lost(err error) bool {
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "EOF")
}

type appendWriter struct {
	conn net.Conn
	r    *bufio.Reader
	tag  int
}

func newAppend(addr string, u harness.User) (writer, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	w := &appendWriter{conn: conn, r: bufio.NewReader(conn)}
	conn.SetDeadline(time.Now().Add(answerTime))
	if _, err = w.r.ReadString('\n'); err == nil {
		fmt.Fprintf(conn, "l LOGIN %q %q\r\n", u.Name, u.Password)
		err = w.answer("l ")
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return w, nil
}

func (w *appendWriter) close() { w.conn.Close() }

func (w *appendWriter) write(message string) error {
	w.tag++
	w.conn.SetDeadline(time.Now().Add(answerTime))
	tag := fmt.Sprintf("a%d ", w.tag)
	fmt.Fprintf(w.conn, "%sAPPEND INBOX {%d}\r\n", tag, len(message))
	for {
		line, err := w.r.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, tag) {
			return refused{line}
		}
		if strings.HasPrefix(line, "+") {
			break
		}
	}
	fmt.Fprintf(w.conn, "%s\r\n", message)
	return w.answer(tag)
}

func (w *appendWriter) answer(tag string) error {
	for {
		line, err := w.r.ReadString('\n')
		if err != nil {
			return err
		}
		rest, ok := strings.CutPrefix(line, tag)
		switch {
		case !ok:
		case strings.HasPrefix(rest, "OK"):
			return nil
		default:
			return refused{rest}
		}
	}
}

// A follower is a session that stays open and asks for what is new, as a mail program does.
type follower struct {
	s     *harness.Session
	exist int
}

func follow(n *harness.Server, u harness.User) *follower {
	f := &follower{s: n.Login(u)}
	f.take(f.s.OK("SELECT INBOX"))
	return f
}

// take counts the messages that the session is told of.
func (f *follower) take(responses []string) {
	for _, r := range responses {
		number, what, _ := strings.Cut(strings.TrimPrefix(r, "* "), " ")
		switch what {
		case "EXISTS":
			fmt.Sscan(number, &f.exist)
		case "EXPUNGE":
			f.exist--
		}
	}
}

// sees waits until the session, which was never selected again, knows exactly the messages that there are: what the
// database says at the time, as a node may yet move a message to another UID that came late.
func (f *follower) sees(t *testing.T, name string, there func() []int) {
	t.Helper()
	var got, want []int
	knows := func() bool {
		f.take(f.s.OK("NOOP"))
		responses := f.s.OK("UID SEARCH ALL")
		f.take(responses)
		got, want = found(responses), there()
		return f.exist == len(want) && slices.Equal(got, want)
	}
	if !harness.Until(settle, knows) {
		t.Errorf("%s knows %d messages, %v; there are %d, %v", name, f.exist, got, len(want), want)
	}
}
