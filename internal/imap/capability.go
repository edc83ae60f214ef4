package imap

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"mallard/internal/imap/imapwire"
	"mallard/internal/netserve"
)

// capability is one entry of the capability table.
type capability struct {
	name string
	// when says in which state of a session it is offered; nil means always.
	when func(*session) bool
}

// capabilityTable is everything that the server can do, in the order in which it
// is told.
func capabilityTable() []capability {
	loggedOut := func(s *session) bool { return !s.loggedIn() }
	return []capability{
		{"IMAP4rev1", nil},
		{"LITERAL+", nil},      // RFC 7888
		{"SASL-IR", loggedOut}, // RFC 4959
		{"STARTTLS", func(s *session) bool { return loggedOut(s) && !s.secure && s.srv.o.TLS != nil }},
		{"LOGINDISABLED", func(s *session) bool { return loggedOut(s) && !s.mayLogin() }},
		{"AUTH=PLAIN", func(s *session) bool { return loggedOut(s) && s.mayLogin() }},
		{"ENABLE", nil},        // RFC 5161
		{"ID", nil},            // RFC 2971
		{"IDLE", nil},          // RFC 2177
		{"NAMESPACE", nil},     // RFC 2342
		{"UIDPLUS", nil},       // RFC 4315
		{"MOVE", nil},          // RFC 6851
		{"UNSELECT", nil},      // RFC 3691
		{"CHILDREN", nil},      // RFC 3348
		{"SPECIAL-USE", nil},   // RFC 6154
		{"CONDSTORE", nil},     // RFC 7162
		{"ESEARCH", nil},       // RFC 4731
		{"WITHIN", nil},        // RFC 5032
		{"QUOTA", nil},         // RFC 2087
		{"STATUS=SIZE", nil},   // RFC 8438
		{"LIST-EXTENDED", nil}, // RFC 5258
		{"LIST-STATUS", nil},   // RFC 5819
	}
}

// capabilities lists what the session offers now.
func (s *session) capabilities() []string {
	var out []string
	for _, c := range capabilityTable() {
		if c.when == nil || c.when(s) {
			out = append(out, c.name)
		}
	}
	return append(out, "APPENDLIMIT="+strconv.FormatInt(s.srv.o.MaxAppend, 10)) // RFC 7889
}

// mayLogin reports whether a password may be sent over this connection.
func (s *session) mayLogin() bool {
	if s.secure || s.srv.o.AllowPlain || s.secured() {
		return true
	}
	a, ok := s.conn.RemoteAddr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// secured reports whether something in front of the server has done TLS with the client.
func (s *session) secured() bool {
	if !s.srv.o.Secured {
		return false
	}
	if plain, told := netserve.Plain(s.conn); told {
		return !plain
	}
	return !s.srv.o.Proxied
}

// enable switches extensions on (RFC 5161).
func (s *session) enable(ctx context.Context, cmd *imapwire.Command, a *imapwire.Enable) error {
	var on []string
	for _, name := range a.Capabilities {
		if name == "CONDSTORE" && !s.enabled.condStore {
			s.enabled.condStore = true
			on = append(on, name)
		}
	}
	s.w.Enabled(on)
	return s.ok(ctx, cmd, "")
}

// identify answers ID (RFC 2971).
func (s *session) identify(ctx context.Context, cmd *imapwire.Command, a *imapwire.ID) error {
	for _, f := range a.Fields {
		if f.Name == "name" {
			s.log().DebugContext(ctx, "IMAP client", "name", fmt.Sprintf("%.80q", f.Value))
		}
	}
	s.w.ID([]imapwire.IDField{
		{Name: "name", Value: s.srv.o.Name},
		{Name: "version", Value: s.srv.o.Version, Nil: s.srv.o.Version == ""},
		{Name: "vendor", Value: s.srv.o.Vendor, Nil: s.srv.o.Vendor == ""},
	})
	return s.ok(ctx, cmd, "")
}
