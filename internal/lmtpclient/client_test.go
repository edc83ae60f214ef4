package lmtpclient

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

// fakeServer answers as a script says: replies maps the start of a command to the
// answer, which may be empty for none.
type fakeServer struct {
	lhlo    string
	replies map[string]string
	perRcpt []string // one answer each after the message

	commands []string
	message  bytes.Buffer
	done     chan error
}

func (f *fakeServer) start(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.done = make(chan error, 1)
	go func() {
		c, err := l.Accept()
		_ = l.Close()
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			err = f.serve(c)
			_ = c.Close()
		}
		f.done <- err
	}()
	return l.Addr().String()
}

func (f *fakeServer) serve(c net.Conn) error {
	r := bufio.NewReader(c)
	say := func(s string) { _, _ = io.WriteString(c, s) }
	say("220-hello\r\n220 there\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimSuffix(line, "\r\n")
		f.commands = append(f.commands, line)
		word, args, _ := strings.Cut(line, " ")
		if answer, ok := f.answer(line); ok {
			say(answer)
			continue
		}
		switch word {
		case "LHLO":
			say(f.lhlo)
		case "BDAT":
			var n int64
			var last string
			_, _ = fmt.Sscan(args, &n, &last)
			if _, err := io.CopyN(&f.message, r, n); err != nil {
				return err
			}
			if last == "" {
				say("250 2.0.0 got it\r\n")
			} else {
				say(strings.Join(f.perRcpt, ""))
			}
		case "DATA":
			say("354 go on\r\n")
			if err := f.dotted(r); err != nil {
				return err
			}
			say(strings.Join(f.perRcpt, ""))
		case "QUIT":
			say("221 bye\r\n")
			return nil
		default:
			say("250 2.1.0 ok\r\n")
		}
	}
}

func (f *fakeServer) answer(line string) (string, bool) {
	for start, answer := range f.replies {
		if strings.HasPrefix(line, start) {
			return answer, true
		}
	}
	return "", false
}

// dotted reads a message as RFC 5321, 4.5.2 says, with lines that end with CRLF.
func (f *fakeServer) dotted(r *bufio.Reader) error {
	start := true
	for {
		var line []byte
		for !bytes.HasSuffix(line, []byte("\r\n")) {
			c, err := r.ReadByte()
			if err != nil {
				return err
			}
			line = append(line, c)
		}
		if string(line) == ".\r\n" {
			return nil
		}
		if start && line[0] == '.' {
			line = line[1:]
		}
		f.message.Write(line)
	}
}

const plainLHLO = "250-me\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
const chunkLHLO = "250-me\r\n250-CHUNKING\r\n250-SIZE 1000000\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n"

// pieces reads a few octets at a time.
type pieces struct {
	r io.Reader
	n int
}

func (p pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.n)]) }

// With CHUNKING a message arrives octet for octet, with DATA as well when it ends
// with CRLF.
func TestVerbatim(t *testing.T) {
	big := strings.Repeat(".\r\n..\r\n\r.\n.\nx", 100_000)
	for _, text := range []string{"", "x", ".\r\n", "a\r\n.b\r\n..c\r\n", "a\n.b\n", "\r\n.\r\n", "nul \x00 and \xff\r\n", big, big[:256<<10], "\r"} {
		for _, lhlo := range []string{chunkLHLO, plainLHLO} {
			f := &fakeServer{lhlo: lhlo, perRcpt: []string{"250 2.0.0 ok\r\n"}}
			c, err := Dial(t.Context(), f.start(t), Options{})
			if err != nil {
				t.Fatal(err)
			}
			err = c.Send(t.Context(), "a@b", []string{"c@d"}, pieces{strings.NewReader(text), 1000})
			if err = errors.Join(err, c.Close(), <-f.done); err != nil {
				t.Fatalf("%.20q: %v", text, err)
			}
			want := text
			if lhlo == plainLHLO && !strings.HasSuffix(text, "\r\n") && text != "" {
				want += "\r\n"
			}
			if got := f.message.String(); got != want {
				t.Errorf("%.40q arrived as %.40q", want, got)
			}
		}
	}
}

// Dots are doubled whatever the sizes of reads are.
func TestDots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{".", "\r\n", "\r", "\n", "x", strings.Repeat("y", 70_000)})).Draw(t, "text"), "")
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		if err := writeDotted(w, pieces{strings.NewReader(text), rapid.IntRange(1, 100_000).Draw(t, "piece")}); err != nil {
			t.Fatal(err)
		}
		f := &fakeServer{}
		if err := f.dotted(bufio.NewReader(&out)); err != nil || out.Len() > 0 {
			t.Fatalf("%v, and %d octets behind the end", err, out.Len())
		}
		if !strings.HasSuffix(text, "\r\n") && text != "" {
			text += "\r\n"
		}
		if got := f.message.String(); got != text {
			t.Fatalf("%q arrived as %q", text, got)
		}
	})
}

func TestVerdicts(t *testing.T) {
	f := &fakeServer{
		lhlo: chunkLHLO, replies: map[string]string{"RCPT TO:<no@x>": "550 5.1.1 unknown\r\n"},
		perRcpt: []string{"250 2.0.0 stored\r\n", "552-5.2.2 full\r\n552 5.2.2 really\r\n"},
	}
	c, err := Dial(t.Context(), f.start(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	verdicts, err := c.Deliver(t.Context(), Envelope{From: "", To: []string{"jané@x", "no@x", "full@x"}, Size: 4}, strings.NewReader("text"))
	if err = errors.Join(err, c.Close(), <-f.done); err != nil {
		t.Fatal(err)
	}
	want := []Verdict{{"jané@x", Reply{250, "2.0.0 stored"}}, {"no@x", Reply{550, "5.1.1 unknown"}}, {"full@x", Reply{552, "5.2.2 full\n5.2.2 really"}}}
	if !slices.Equal(verdicts, want) {
		t.Errorf("verdicts %+v", verdicts)
	}
	commands := []string{"LHLO localhost", "MAIL FROM:<> SIZE=4 BODY=8BITMIME SMTPUTF8", "RCPT TO:<jané@x>", "RCPT TO:<no@x>", "RCPT TO:<full@x>", "BDAT 4 LAST", "QUIT"}
	if !slices.Equal(f.commands, commands) {
		t.Errorf("commands %q", f.commands)
	}
}

// When all recipients are refused, or the server wants no more of the message, the
// connection goes on to be of use.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name, start, answer string
	}{
		{"all recipients", "RCPT", "550 5.1.1 unknown\r\n"},
		{"DATA", "DATA", "451 4.3.0 later\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeServer{lhlo: plainLHLO, replies: map[string]string{tt.start: tt.answer}}
			c, err := Dial(t.Context(), f.start(t), Options{})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				err := c.Send(t.Context(), "a@b", []string{"c@d"}, strings.NewReader("x"))
				refusal, ok := errors.AsType[*RecipientError](err)
				if !ok || refusal.Recipient != "c@d" || !strings.HasPrefix(tt.answer, refusal.Err.Error()) {
					t.Errorf("error %v", err)
				}
			}
			if err := errors.Join(c.Close(), <-f.done); err != nil {
				t.Error(err)
			}
		})
	}
}

// Addresses cannot bring in commands or parameters.
func TestBadAddresses(t *testing.T) {
	f := &fakeServer{lhlo: plainLHLO}
	c, err := Dial(t.Context(), f.start(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"", "a@b>\r\nRSET", "a@b> SIZE=1", "a\x00b"} {
		if err := c.Send(t.Context(), "a@b", []string{to}, strings.NewReader("x")); err == nil {
			t.Errorf("%q was sent", to)
		}
	}
	if err := errors.Join(c.Close(), <-f.done); err != nil {
		t.Error(err)
	}
	for _, c := range f.commands {
		if c != "LHLO localhost" && c != "QUIT" {
			t.Errorf("command %q", c)
		}
	}
}

// A server that talks nonsense, too much or nothing at all is an error soon.
func TestBadServers(t *testing.T) {
	for _, lhlo := range []string{
		"nonsense\r\n", "99 x\r\n", "250", "500 no\r\n", "250x\r\n", "250 " + strings.Repeat("x", 10_000) + "\r\n",
		strings.Repeat("250-x\r\n", 1000),
	} {
		f := &fakeServer{lhlo: lhlo}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		c, err := Dial(ctx, f.start(t), Options{})
		if err == nil {
			t.Errorf("%.20q was taken for a greeting", lhlo)
			_ = c.Close()
		}
		cancel()
		<-f.done
	}
}

// A message that cannot be read to its end is not sent as a whole one, whatever
// the error is and wherever it comes.
func TestCutSource(t *testing.T) {
	for _, lhlo := range []string{plainLHLO, chunkLHLO} {
		for _, cut := range []error{errors.New("broken"), io.ErrUnexpectedEOF, io.ErrClosedPipe} {
			for _, size := range []int{0, 10, chunkSize, chunkSize + 10} {
				f := &fakeServer{lhlo: lhlo, perRcpt: []string{"250 stored\r\n"}}
				c, err := Dial(t.Context(), f.start(t), Options{})
				if err != nil {
					t.Fatal(err)
				}
				source := io.MultiReader(strings.NewReader(strings.Repeat("x", size)), iotest.ErrReader(cut))
				if _, err := c.Deliver(t.Context(), Envelope{To: []string{"a@b"}}, source); !errors.Is(err, cut) {
					t.Errorf("%d octets, then %v: %v", size, cut, err)
				}
				_ = c.conn.Close()
				<-f.done
				for _, command := range f.commands {
					if strings.HasSuffix(command, "LAST") {
						t.Errorf("%d octets, then %v: the client said %q", size, cut, f.commands)
					}
				}
			}
		}
	}
}
