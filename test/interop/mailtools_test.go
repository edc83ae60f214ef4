//go:build e2e

package interop

import (
	"fmt"
	"io"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mallard/test/e2e/harness"
)

// login opens an IMAP session.
func (n *node) login(t testing.TB, u user) *harness.Session {
	t.Helper()
	s := harness.Dial(t, n.imap)
	s.OK(fmt.Sprintf("LOGIN %q %q", u.name, u.password))
	return s
}

// loginFails tries a password that must not work.
func (n *node) loginFails(t testing.TB, name, password string) {
	t.Helper()
	if _, status := harness.Dial(t, n.imap).Do(fmt.Sprintf("LOGIN %q %q", name, password)); !strings.HasPrefix(status, "NO") {
		t.Errorf("%s: LOGIN %s %s gives %s", n.name, name, password, status)
	}
}

// deliver sends a message by LMTP.
func (n *node) deliver(t testing.TB, to string, messages ...string) {
	t.Helper()
	for i, err := range n.send(to, messages...) {
		if err != nil {
			t.Fatalf("%s: deliver message %d to %s: %v", n.name, i, to, err)
		}
	}
}

// send is deliver that returns errors.
func (n *node) send(to string, messages ...string) []error {
	errs := make([]error, len(messages))
	c, err := harness.NewSender(n.lmtp)
	for i, m := range messages {
		if err == nil {
			errs[i] = c.Send("sender@example.net", to, m)
		} else {
			errs[i] = err
		}
	}
	if err == nil {
		c.Close()
	}
	return errs
}

// upload stores a message by the API, unseen, and returns its UID.
func (n *node) upload(t testing.TB, u user, mailbox, message string) int {
	t.Helper()
	return n.must(t, "POST", u.path("/mailboxes/%s/messages", mailbox), answer{"raw": message, "unseen": true}).obj("message").num("id")
}

// uids lists the UIDs of the selected mailbox.
func uids(t testing.TB, s *harness.Session) []int {
	t.Helper()
	return search(t, s, "ALL")
}

// search lists the UIDs that a search finds.
func search(t testing.TB, s *harness.Session, criteria string) []int {
	t.Helper()
	var all []int
	for _, r := range s.OK("UID SEARCH " + criteria) {
		rest, ok := strings.CutPrefix(r, "* SEARCH")
		if !ok {
			continue
		}
		for _, f := range strings.Fields(rest) {
			n, err := strconv.Atoi(f)
			if err != nil {
				t.Fatalf("%q", r)
			}
			all = append(all, n)
		}
	}
	return all
}

// fetch returns what FETCH says about the message with a UID: item and value, literals without their length, so that a
// literal and a quoted string are the same.
func fetch(t testing.TB, s *harness.Session, uid int, items string) map[string]value {
	t.Helper()
	message := fetchAll(t, s, strconv.Itoa(uid), items)[uid]
	if message == nil {
		t.Fatalf("no message with UID %d", uid)
	}
	return message
}

// fetchAll is fetch for a set of UIDs.
func fetchAll(t testing.TB, s *harness.Session, set, items string) map[int]map[string]value {
	t.Helper()
	messages := map[int]map[string]value{}
	for _, r := range s.OK(fmt.Sprintf("UID FETCH %s (UID %s)", set, items)) {
		i := strings.Index(r, " FETCH (")
		if !strings.HasPrefix(r, "* ") || i < 0 {
			continue
		}
		v, rest, err := parseValue(r[i+len(" FETCH "):])
		if err != nil || rest != "" {
			t.Fatalf("cannot read %q: %v, %q is left", clip(r), err, clip(rest))
		}
		all := map[string]value{}
		for j := 0; j+1 < len(v.list); j += 2 {
			all[strings.ToUpper(v.list[j].text)] = v.list[j+1]
		}
		if uid, err := strconv.Atoi(all["UID"].text); err == nil {
			messages[uid] = all
		}
	}
	return messages
}

// A value is an atom, a string, NIL or a list of IMAP.
type value struct {
	text string
	null bool
	list []value
	kind byte // 'a' atom or string, '(' list
}

func (v value) String() string {
	switch {
	case v.null:
		return "NIL"
	case v.kind != '(':
		return strconv.Quote(v.text)
	}
	var parts []string
	for _, e := range v.list {
		parts = append(parts, e.String())
	}
	return "(" + strings.Join(parts, " ") + ")"
}

var literalStart = regexp.MustCompile(`^\{(\d+)\}\r\n`)

func parseValue(s string) (v value, rest string, err error) {
	switch {
	case s == "":
		return v, "", io.ErrUnexpectedEOF
	case s[0] == '(':
		return parseList(s[1:])
	case s[0] == '"':
		return parseQuoted(s[1:])
	case literalStart.MatchString(s):
		m := literalStart.FindStringSubmatch(s)
		n, _ := strconv.Atoi(m[1])
		s = s[len(m[0]):]
		if n > len(s) {
			return v, "", io.ErrUnexpectedEOF
		}
		return value{kind: 'a', text: s[:n]}, s[n:], nil
	}
	depth, end := 0, len(s) // an atom ends at a space or parenthesis, but BODY[HEADER.FIELDS (A B)] is one
	for i, c := range s {
		if c == '[' {
			depth++
		}
		if c == ']' {
			depth--
		}
		if depth <= 0 && (c == ' ' || c == ')' || c == '(') {
			end = i
			break
		}
	}
	if strings.EqualFold(s[:end], "NIL") {
		return value{null: true}, s[end:], nil
	}
	return value{kind: 'a', text: s[:end]}, s[end:], nil
}

func parseList(s string) (v value, rest string, err error) {
	v.kind = '('
	for {
		s = strings.TrimLeft(s, " ")
		if strings.HasPrefix(s, ")") {
			return v, s[1:], nil
		}
		var e value
		if e, s, err = parseValue(s); err != nil {
			return v, "", err
		}
		v.list = append(v.list, e)
	}
}

func parseQuoted(s string) (v value, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return value{kind: 'a', text: b.String()}, s[i+1:], nil
		case '\\':
			i++
			if i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return v, "", io.ErrUnexpectedEOF
}

// idle is a session in IDLE.
type idle struct {
	*harness.Session
}

// startIdle selects a mailbox and goes into IDLE.
func (n *node) startIdle(t testing.TB, u user, mailbox string) idle {
	t.Helper()
	s := n.login(t, u)
	s.OK(fmt.Sprintf("SELECT %q", mailbox))
	s.Send("i IDLE")
	for !strings.HasPrefix(s.Line(), "+") {
	}
	return idle{s}
}

// wait reads until a line matches, and returns when it came.
func (s idle) wait(pattern string) time.Time {
	re := regexp.MustCompile(pattern)
	for !re.MatchString(s.Line()) {
	}
	return time.Now()
}

// all reads until lines have matched all patterns, each another line, in any order, and returns when the last came.
func (s idle) all(patterns ...string) time.Time {
	for len(patterns) > 0 {
		line := s.Line()
		i := slices.IndexFunc(patterns, func(p string) bool { return regexp.MustCompile(p).MatchString(line) })
		if i >= 0 {
			patterns = slices.Delete(patterns, i, i+1)
		}
	}
	return time.Now()
}

// A pop is a POP3 session.
type pop struct {
	t testing.TB
	c *textproto.Conn
}

func (n *node) pop(t testing.TB, u user) *pop {
	t.Helper()
	c, err := textproto.Dial("tcp", n.pop3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p := &pop{t, c}
	p.line()
	p.ok("USER " + u.name)
	p.ok("PASS " + u.password)
	return p
}

func (p *pop) line() string {
	p.t.Helper()
	line, err := p.c.ReadLine()
	if err != nil || !strings.HasPrefix(line, "+OK") {
		p.t.Fatalf("POP3: %q, %v", line, err)
	}
	return line
}

func (p *pop) ok(command string) string {
	p.t.Helper()
	if err := p.c.PrintfLine("%s", command); err != nil {
		p.t.Fatal(err)
	}
	return p.line()
}

// lines sends a command whose answer has more lines.
func (p *pop) lines(command string) []string {
	p.t.Helper()
	p.ok(command)
	all, err := p.c.ReadDotLines()
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}
