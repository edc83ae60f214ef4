package imap

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"strings"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
)

// startTLS begins TLS (RFC 3501, 6.2.1).
func (s *session) startTLS(ctx context.Context, cmd *imapwire.Command) error {
	switch {
	case s.secure:
		return &imapwire.Error{Kind: imapwire.Bad, Text: "TLS is already active"}
	case s.srv.o.TLS == nil:
		return &imapwire.Error{Kind: imapwire.Bad, Text: "STARTTLS is not configured"}
	}
	s.w.OK(cmd.Tag, "", "Begin TLS negotiation")
	if err := s.w.Flush(); err != nil {
		return err
	}
	if err := s.arm(false); err != nil { // the wait for the command was a brief one
		return err
	}
	tc := tls.Server(s.conn, s.srv.o.TLS)
	hctx, cancel := context.WithTimeout(ctx, s.srv.o.TLSTimeout)
	defer cancel()
	if err := tc.HandshakeContext(hctx); err != nil {
		s.log().DebugContext(ctx, "IMAP STARTTLS", "error", err)
		s.done = true
		return nil
	}
	s.attach(tc)
	s.secure = true
	return nil
}

// authenticate is AUTHENTICATE (RFC 3501, 6.2.2) with PLAIN (RFC 4616).
func (s *session) authenticate(ctx context.Context, cmd *imapwire.Command, a *imapwire.Authenticate) error {
	if a.Mechanism != "PLAIN" {
		s.w.NO(cmd.Tag, imapwire.CodeCannot, "This mechanism is not supported; use PLAIN")
		return nil
	}
	if !s.mayLogin() {
		return s.needTLS(cmd)
	}
	response := a.Initial
	if response == nil {
		s.w.Challenge(nil)
		if err := s.w.Flush(); err != nil {
			return err
		}
		var err error
		if response, err = s.r.ReadSASL(); errors.Is(err, imapwire.ErrAuthCancelled) {
			return &imapwire.Error{Kind: imapwire.Bad, Text: "Authentication cancelled"}
		} else if err != nil {
			return err
		}
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 {
		return &imapwire.Error{Kind: imapwire.Bad, Text: "Invalid PLAIN response"}
	}
	if authz := string(parts[0]); authz != "" && authz != string(parts[1]) {
		s.w.NO(cmd.Tag, imapwire.CodeAuthorizationFailed, "Acting for another user is not supported")
		return nil
	}
	return s.login(ctx, cmd, string(parts[1]), string(parts[2]))
}

func (s *session) needTLS(cmd *imapwire.Command) error {
	s.w.NO(cmd.Tag, imapwire.CodePrivacyRequired, "Start TLS first")
	return nil
}

// login checks a name and a password.
func (s *session) login(ctx context.Context, cmd *imapwire.Command, username, password string) error {
	if !s.mayLogin() {
		return s.needTLS(cmd)
	}
	username = strings.TrimSpace(username)
	acct, err := s.srv.o.Auth.Login(ctx, username, password, s.conn.RemoteAddr(), s.id)
	if err != nil {
		s.fail(ctx, cmd, err)
		if s.logins++; s.logins >= s.srv.o.MaxLogins {
			s.bye("", "Too many refused logins")
		}
		return nil
	}
	release, err := s.srv.o.Accounts.Acquire(ctx, acct)
	if err != nil {
		s.w.NO(cmd.Tag, imapwire.CodeLimit, mail.PublicText(err))
		return nil
	}
	events, err := s.srv.o.Mailboxes.Subscribe(ctx, acct.ID)
	if err != nil {
		release()
		return err
	}
	s.acct = owner{acct.ID, strings.Clone(acct.Username), acct.Retention}
	s.release, s.events = release, events
	events.OnReady(s.wake)
	s.r.SetLimits(s.limits())
	s.w.OK(cmd.Tag, imapwire.CodeCapability(s.capabilities()), "Logged in")
	return nil
}

// limits are those of a client that is known.
func (s *session) limits() imapwire.Limits {
	l := imapwire.DefaultLimits()
	l.MaxLine, l.MaxLiteral = s.srv.o.MaxLine, int64(s.srv.o.MaxLine)
	l.MaxAppend = s.srv.o.MaxAppend
	// A refused message that is on its way already is read to its end.
	l.MaxDiscard = max(l.MaxDiscard, l.MaxAppend+int64(l.MaxLine))
	return l
}
