package redisbus

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"mallard/internal/event"
	"mallard/internal/mail"
)

// The channels. The first two are WildDuck's; the third is only for nodes of Mallard.
const (
	sharedChannel = "wd_events"
	workerPrefix  = "wd_events:worker:"
	lookChannel   = "mallard_events"
)

// Bounds of a message in octets.
const (
	maxReason  = 1024
	maxPayload = 16 << 10 // of one that is read; longer ones are no events
)

// payload is a message on WildDuck's channels. It looks at E and P alone; N and M are ours: the bus that sent it, which
// need not be told, and the mailbox, which spares sessions of other mailboxes the look.
type payload struct {
	E string   `json:"e"`
	P *command `json:"p,omitempty"`
	N string   `json:"n,omitempty"`
	M string   `json:"m,omitempty"`
}

type command struct {
	Command string  `json:"command"`
	Reason  *string `json:"reason,omitempty"`
	Mailbox *string `json:"mailbox,omitempty"`
}

// encode writes an event as WildDuck understands it. Origin names this bus.
func encode(e event.Event, origin string) string {
	acct := e.Account.String()
	if e.Kind == event.Changed {
		// The common case, without the encoder: there is nothing to escape.
		s := `{"e":"` + acct + `","n":"` + origin
		if !e.Mailbox.IsZero() {
			s += `","m":"` + e.Mailbox.String()
		}
		return s + `"}`
	}
	p := payload{E: acct, N: origin, P: &command{}}
	switch e.Kind {
	case event.Logout:
		reason := cut(e.Reason, maxReason)
		p.P.Command, p.P.Reason = "LOGOUT", &reason
	case event.Drop:
		mailbox := ""
		if !e.Mailbox.IsZero() {
			mailbox = e.Mailbox.String()
		}
		p.P.Command, p.P.Mailbox = "DROP", &mailbox
	}
	b, _ := json.Marshal(p) // texts alone: it cannot fail
	return string(b)
}

// cut shortens a text to at most n octets of whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// decode reads a message of anybody; ok is false when it is no event or came from origin itself.
func decode(text, origin string) (e event.Event, ok bool) {
	const plain = len(`{"e":"123456789012345678901234"}`)
	if len(text) > maxPayload {
		return event.Event{}, false
	}
	if len(text) == plain && strings.HasPrefix(text, `{"e":"`) { // what WildDuck sends mostly
		e.Account, ok = id[mail.AccountID](text[6:30])
		return e, ok
	}
	var p payload
	if err := json.Unmarshal([]byte(text), &p); err != nil || p.N == origin {
		return event.Event{}, false
	}
	if e.Account, ok = id[mail.AccountID](p.E); !ok {
		return event.Event{}, false
	}
	e.Mailbox, _ = id[mail.MailboxID](p.M)
	if p.P == nil {
		return e, true
	}
	switch p.P.Command {
	case "LOGOUT":
		e.Kind, e.Mailbox = event.Logout, mail.MailboxID{}
		if p.P.Reason != nil {
			e.Reason = cut(*p.P.Reason, maxReason)
		}
	case "DROP":
		e.Kind, e.Mailbox = event.Drop, mail.MailboxID{}
		if p.P.Mailbox != nil {
			e.Mailbox, _ = id[mail.MailboxID](*p.P.Mailbox)
		}
	}
	// Another command is of no meaning to this version, but to look at the journal is never wrong.
	return e, true
}

// id reads an identifier; ok is false when it is none.
func id[I ~[mail.IDSize]byte](s string) (out I, ok bool) {
	v, err := mail.ParseID[struct{}](s)
	return I(v), err == nil && !v.IsZero()
}
