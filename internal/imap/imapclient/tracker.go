package imapclient

import (
	"slices"
	"strings"
)

// maxAnnounced is how many keywords a server is expected to announce.
const maxAnnounced = 100

// tracker holds what the session knows, to find responses that may not come.
type tracker struct {
	pending  []pendingCmd // in the order sent
	selected bool
	messages uint32
	flags    []string    // of the last FLAGS response
	early    *Result     // answer that came in place of a continuation
	before   []*Response // untagged responses before a continuation
}

type pendingCmd struct {
	tag, name string
	uid       bool
}

// sent records a command.
func (t *tracker) sent(tag, line string) {
	words := strings.Fields(strings.ToUpper(line) + " -")
	cmd := pendingCmd{tag: tag, name: words[0]}
	if cmd.name == "UID" {
		cmd.uid, cmd.name = true, words[1]
	}
	t.pending = append(t.pending, cmd)
}

// current returns the command that the server is answering: the oldest one.
func (t *tracker) current() pendingCmd {
	if len(t.pending) == 0 {
		return pendingCmd{}
	}
	return t.pending[0]
}

// answered records a tagged response.
func (t *tracker) answered(r *Response) {
	for i, cmd := range t.pending {
		if cmd.tag != r.Tag {
			continue
		}
		t.pending = append(t.pending[:i], t.pending[i+1:]...)
		switch cmd.name {
		case "SELECT", "EXAMINE":
			t.selected = r.Name == "OK"
		case "CLOSE", "UNSELECT", "UNAUTHENTICATE":
			if r.Name == "OK" {
				t.selected = false
			}
		}
		return
	}
}

// selecting reports whether a mailbox is being opened.
func (t *tracker) selecting() bool {
	name := t.current().name
	return name == "SELECT" || name == "EXAMINE"
}

// check compares a response with what is known (RFC 3501 sections 7.3 and
// 7.4, RFC 7162 section 3.2.10).
func (c *Client) check(r *Response) {
	t, l := &c.state, &c.lex
	if !l.ok() {
		return
	}
	switch r.Name {
	case "EXISTS":
		if !t.selecting() {
			c.wantSelected(r)
			if r.Number < t.messages {
				l.failf("EXISTS went from %d to %d without EXPUNGE", t.messages, r.Number)
			}
		}
		t.messages = r.Number
	case "EXPUNGE":
		c.mayExpunge(r)
		if r.Number == 0 || r.Number > t.messages {
			l.failf("EXPUNGE %d of %d messages", r.Number, t.messages)
		}
		t.messages--
	case "VANISHED":
		c.checkVanished(r)
	case "FETCH":
		c.wantSelected(r)
		if r.Number == 0 || r.Number > t.messages {
			l.failf("FETCH %d of %d messages", r.Number, t.messages)
		}
	case "FLAGS":
		t.flags = r.Atoms
	case "SEARCH", "SORT", "THREAD":
		if name := t.current().name; name != r.Name {
			l.failf("%s response to %q", r.Name, name)
		}
	}
}

// wantSelected refuses mailbox data without a mailbox.
func (c *Client) wantSelected(r *Response) {
	if !c.state.selected && !c.state.selecting() {
		c.lex.failf("%s without a selected mailbox", r.Name)
	}
}

// wantAnnounced refuses keywords that no FLAGS response has told of (RFC 3501
// section 7.2.6).
func (c *Client) wantAnnounced(r *Response) {
	if !c.lex.ok() {
		return
	}
	for _, f := range r.Fetch.Flags {
		known := strings.HasPrefix(f, `\`) || slices.ContainsFunc(c.state.flags, func(s string) bool { return strings.EqualFold(s, f) })
		if !known && len(c.state.flags) < maxAnnounced {
			c.lex.failf("keyword %s was not announced", f)
		}
	}
}

// mayExpunge refuses EXPUNGE where sequence numbers are in use.
func (c *Client) mayExpunge(r *Response) {
	c.wantSelected(r)
	cmd := c.state.current()
	switch {
	case cmd.name == "":
		c.lex.failf("%s while no command is in progress", r.Name)
	case cmd.uid:
	case cmd.name == "FETCH" || cmd.name == "STORE" || cmd.name == "SEARCH" || cmd.name == "SORT" || cmd.name == "THREAD":
		c.lex.failf("%s during %s", r.Name, cmd.name)
	}
}

func (c *Client) checkVanished(r *Response) {
	if r.Gone.Earlier {
		c.wantSelected(r)
		return
	}
	c.mayExpunge(r)
	n := setLen(r.Gone.UIDs)
	if n > uint64(c.state.messages) {
		c.lex.failf("VANISHED %d of %d messages", n, c.state.messages)
		return
	}
	c.state.messages -= uint32(n)
}
