package faultproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mallard/internal/clocktest"
	"mallard/internal/testserver/freeport"
)

const short = 200 * time.Millisecond // nothing is expected within it

// A lineServer answers each line with "ok " and the line, and remembers lines. What it has read without a line end is in
// rest when the connection ends.
type lineServer struct {
	addr string

	mu    sync.Mutex
	lines []string
	ends  []error // how connections ended
}

func startLines(t *testing.T) *lineServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &lineServer{addr: l.Addr().String()}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); work.Wait() })
	return s
}

func (s *lineServer) serve(c net.Conn) {
	defer c.Close()
	b := make([]byte, 1000)
	var text string
	for {
		n, err := c.Read(b)
		text += string(b[:n])
		if line, rest, ok := strings.Cut(text, "\n"); ok {
			text = rest
			s.note(line, nil)
			io.WriteString(c, "ok "+line+"\n")
		}
		if err != nil {
			s.note(text, err)
			return
		}
	}
}

func (s *lineServer) note(line string, end error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if line != "" {
		s.lines = append(s.lines, line)
	}
	if end != nil {
		s.ends = append(s.ends, end)
	}
}

func (s *lineServer) saw() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

func (s *lineServer) ended() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ends)
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends a line and returns what comes until a line end, an error or the time is over.
func ask(c net.Conn, line string, limit time.Duration) (string, error) {
	if line != "" {
		if _, err := io.WriteString(c, line+"\n"); err != nil {
			return "", err
		}
	}
	c.SetReadDeadline(time.Now().Add(limit))
	var text []byte
	b := make([]byte, 1)
	for {
		if _, err := c.Read(b); err != nil {
			return string(text), err
		}
		if b[0] == '\n' {
			return string(text), nil
		}
		text = append(text, b[0])
	}
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	const patience = 30 * time.Second
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// The second request meets each fault; the server and the client see what they should.
func TestFaults(t *testing.T) {
	const all = -1
	for _, tt := range []struct {
		fault  Fault
		server string // what it sees of the second request
		client string // what it reads
		err    error
		end    error // how the server's connection ended; nil when any way will do
	}{
		{Fault{}, "", "", syscall.ECONNRESET, nil},
		{Fault{Octets: 2}, "", "", syscall.ECONNRESET, nil}, // RST may overtake what was sent
		{Fault{How: Close}, "", "", io.EOF, io.EOF},
		{Fault{How: Close, Octets: 2}, "tw", "", io.EOF, io.EOF},
		{Fault{How: HalfClose}, "", "", io.EOF, io.EOF},
		{Fault{How: HalfClose, Octets: all}, "two", "ok two", nil, io.EOF},
		{Fault{How: Wait, Time: short}, "two", "ok two", nil, nil},
		{Fault{Where: Answer}, "two", "", syscall.ECONNRESET, syscall.ECONNRESET},
		{Fault{Where: Answer, How: Close}, "two", "", io.EOF, io.EOF},
		{Fault{Where: Answer, How: Close, Octets: 4}, "two", "ok t", io.EOF, io.EOF},
		{Fault{Where: Answer, How: HalfClose, Octets: 4}, "two", "ok t", io.EOF, nil},
		{Fault{Where: Answer, How: Wait, Time: short}, "two", "ok two", nil, nil},
	} {
		t.Run(tt.fault.String(), func(t *testing.T) {
			s := startLines(t)
			p := Start(t, s.addr, Raw)
			c := dial(t, p.Addr)
			p.Fail(2, tt.fault)
			if got, err := ask(c, "one", time.Minute); got != "ok one" || err != nil || p.Fired() {
				t.Fatalf("the first request gives %q, %v; fired %v", got, err, p.Fired())
			}
			begin := time.Now()
			got, err := ask(c, "two", time.Minute)
			if got != tt.client || !errors.Is(err, tt.err) {
				t.Errorf("the client reads %q, %v; want %q, %v", got, err, tt.client, tt.err)
			}
			if took := time.Since(begin); tt.fault.How == Wait && took < tt.fault.Time {
				t.Errorf("the answer came after %s, want at least %s", took, tt.fault.Time)
			}
			if !p.Fired() || p.Count() != 2 {
				t.Errorf("fired %v, %d requests", p.Fired(), p.Count())
			}
			if tt.end != nil {
				until(t, "the server's connection ends", func() bool { return len(s.ended()) == 1 })
				if end := s.ended()[0]; !errors.Is(end, tt.end) {
					t.Errorf("the server's connection ended with %v, want %v", end, tt.end)
				}
			}
			want := []string{"one"}
			if tt.server != "" {
				want = append(want, tt.server)
			}
			if got := s.saw(); tt.fault != (Fault{Octets: 2}) && !slices.Equal(got, want) {
				t.Errorf("the server saw %q, want %q", got, want)
			}
			if got, err := ask(dial(t, p.Addr), "three", time.Minute); got != "ok three" || err != nil {
				t.Errorf("a new connection gives %q, %v", got, err)
			}
		})
	}
}

// A half-closed answer leaves the way to the server open.
func TestHalfClosedAnswer(t *testing.T) {
	s := startLines(t)
	p := Start(t, s.addr, Raw)
	c := dial(t, p.Addr)
	p.Fail(1, Fault{Where: Answer, How: HalfClose})
	if got, err := ask(c, "one", time.Minute); got != "" || err != io.EOF {
		t.Errorf("the client reads %q, %v", got, err)
	}
	if _, err := io.WriteString(c, "two\n"); err != nil {
		t.Fatal(err)
	}
	until(t, "the server sees the second line", func() bool { return slices.Equal(s.saw(), []string{"one", "two"}) })
}

func TestHold(t *testing.T) {
	for _, f := range []Fault{{How: Hold}, {How: Hold, Octets: 2}, {Where: Answer, How: Hold}, {Where: Answer, How: Hold, Octets: 1}} {
		t.Run(f.String(), func(t *testing.T) {
			s := startLines(t)
			p := Start(t, s.addr, Raw)
			c := dial(t, p.Addr)
			p.Fail(1, f)
			got, err := ask(c, "one", short)
			if want := "ok one"[:f.Octets*int(f.Where)]; got != want || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("the client reads %q, %v; want %q", got, err, want)
			}
			if other, err := ask(dial(t, p.Addr), "two", time.Minute); other != "ok two" || err != nil {
				t.Errorf("another connection gives %q, %v", other, err)
			}
			p.Heal()
			more, err := ask(c, "", time.Minute)
			if got+more != "ok one" || err != nil {
				t.Errorf("after Heal the client reads %q, %v", more, err)
			}
		})
	}
}

func TestHoldAll(t *testing.T) {
	s := startLines(t)
	p := Start(t, s.addr, Raw)
	old := dial(t, p.Addr)
	if got, err := ask(old, "one", time.Minute); got != "ok one" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	p.Hold()
	fresh := dial(t, p.Addr)
	for _, c := range []net.Conn{old, fresh} {
		if got, err := ask(c, "two", short); got != "" || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("while held the client reads %q, %v", got, err)
		}
	}
	p.Heal()
	for _, c := range []net.Conn{old, fresh} {
		if got, err := ask(c, "", time.Minute); got != "ok two" || err != nil {
			t.Errorf("after Heal the client reads %q, %v", got, err)
		}
	}
}

func TestRefuse(t *testing.T) {
	s := startLines(t)
	p := Start(t, s.addr, Raw)
	c := dial(t, p.Addr)
	if _, err := ask(c, "one", time.Minute); err != nil {
		t.Fatal(err)
	}
	p.Refuse()
	if got, err := ask(c, "", time.Minute); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection gives %q, %v", got, err)
	}
	if c, err := net.Dial("tcp", p.Addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v, %v", c, err)
	}
	p.Heal()
	if got, err := ask(dial(t, p.Addr), "two", time.Minute); got != "ok two" || err != nil {
		t.Errorf("after Heal: %q, %v", got, err)
	}
	p.Cut()
	if got, err := ask(dial(t, p.Addr), "three", time.Minute); got != "ok three" || err != nil {
		t.Errorf("after Cut: %q, %v", got, err)
	}
}

// A server that is gone shows as a connection that is reset at once, as nothing else can be told through a proxy.
func TestNoServer(t *testing.T) {
	nobody := fmt.Sprintf("127.0.0.1:%d", freeport.Take(t, 1)[0])
	c, err := net.Dial("tcp", Start(t, nobody, Raw).Addr)
	if err == nil {
		defer c.Close()
		_, err = ask(c, "one", time.Minute)
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the client is told %v", err)
	}
}

func TestDelay(t *testing.T) {
	p := Start(t, startLines(t).addr, Raw)
	c := dial(t, p.Addr)
	p.Delay(short)
	begin := time.Now()
	if got, err := ask(c, "one", time.Minute); got != "ok one" || err != nil || time.Since(begin) < 2*short {
		t.Errorf("%q, %v after %s", got, err, time.Since(begin))
	}
	p.Heal()
	var got string
	var err error
	took := clocktest.Took(func() { got, err = ask(c, "two", time.Minute) })
	if got != "ok two" || err != nil || took >= 2*short {
		t.Errorf("%q, %v after %s", got, err, took)
	}
}

func TestFailAll(t *testing.T) {
	p := Start(t, startLines(t).addr, Raw)
	p.FailAll(Fault{How: Close})
	for range 3 {
		if got, err := ask(dial(t, p.Addr), "one", time.Minute); got != "" || err != io.EOF {
			t.Errorf("%q, %v", got, err)
		}
	}
	p.Heal()
	if got, err := ask(dial(t, p.Addr), "two", time.Minute); got != "ok two" || err != nil {
		t.Errorf("after Heal: %q, %v", got, err)
	}
}

// Octets are counted over all connections: "ok one\n" has seven.
func TestFailOctet(t *testing.T) {
	for _, tt := range []struct {
		where Where
		n     int64
		want  []string // answers until the cut
	}{
		{Request, 1, nil},
		{Request, 4, nil},
		{Request, 5, []string{"ok one"}},
		{Answer, 7, nil}, // the line end is lost
		{Answer, 8, []string{"ok one"}},
		{Answer, 100, []string{"ok one", "ok two", "ok six"}},
	} {
		s := startLines(t)
		p := Start(t, s.addr, Raw)
		p.FailOctet(tt.where, tt.n)
		var got []string
		for _, line := range []string{"one", "two", "six"} {
			answer, err := ask(dial(t, p.Addr), line, time.Minute)
			if err != nil {
				break
			}
			got = append(got, answer)
		}
		if !slices.Equal(got, tt.want) || p.Fired() != (tt.n < 100) {
			t.Errorf("octet %d of direction %d: answers %q, want %q; fired %v", tt.n, tt.where, got, tt.want, p.Fired())
		}
	}
}

// Nothing is changed on the way, however large.
func TestPassesEverything(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, c)
	}()
	p := Start(t, l.Addr().String(), Raw)
	c := dial(t, p.Addr).(*net.TCPConn)
	data := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18)
	go func() {
		c.Write(data)
		c.CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d octets of %d come back, %v", len(got), len(data), err)
	}
}

func TestIn(t *testing.T) {
	p := &Proxy{Addr: "127.0.0.1:5"}
	for in, want := range map[string]string{
		"mongodb://127.0.0.1:27017":       "mongodb://127.0.0.1:5",
		"mongodb://h:1/db?a=b":            "mongodb://127.0.0.1:5/db?a=b",
		"mongodb://u:p@h:1,h2:2?a=b":      "mongodb://u:p@127.0.0.1:5?a=b",
		"redis://:secret@127.0.0.1:9/3":   "redis://:secret@127.0.0.1:5/3",
		"redis://127.0.0.1:9?protocol=2":  "redis://127.0.0.1:5?protocol=2",
		"mongodb://127.0.0.1:27017/x@y":   "mongodb://127.0.0.1:5/x@y",
		"mongodb://127.0.0.1:27017/?a=@/": "mongodb://127.0.0.1:5/?a=@/",
	} {
		if got := p.In(in); got != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
}

// An operation of three requests is failed at each, and once not at all.
func TestEach(t *testing.T) {
	s := startLines(t)
	p := Start(t, s.addr, Raw)
	var runs, failures int
	p.Each(t, Fault{Where: Answer}, func(t *testing.T, n int) {
		runs++
		c := dial(t, p.Addr)
		for i, line := range []string{"a", "b", "c"} {
			if _, err := ask(c, line, time.Minute); err != nil {
				failures++
				if i+1 != n {
					t.Errorf("request %d failed, want %d", i+1, n)
				}
				return
			}
		}
	})
	if runs != 4 || failures != 3 {
		t.Errorf("%d runs, %d failures", runs, failures)
	}
	if got := strings.Join(s.saw(), ""); got != "a"+"ab"+"abc"+"abc" {
		t.Errorf("the server saw %q", got)
	}
}
