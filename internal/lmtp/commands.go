package lmtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mallard/internal/delivery"
)

func (s *session) command(ctx context.Context, line string) {
	verb, args, _ := strings.Cut(line, " ")
	args = strings.TrimSpace(args)
	switch strings.ToUpper(verb) {
	case "LHLO":
		s.lhlo(args)
	case "MAIL":
		s.mail(args)
	case "RCPT":
		s.rcpt(ctx, args)
	case "DATA":
		s.data(ctx, args)
	case "BDAT":
		s.bdat(ctx, args)
	case "STARTTLS":
		s.startTLS(ctx, args)
	case "RSET":
		s.reset()
		s.reply(250, "2.0.0", "Flushed")
	case "NOOP":
		s.reply(250, "2.0.0", "OK")
	case "VRFY":
		s.reply(252, "2.5.0", "Send a message to find out")
	case "HELP":
		s.reply(214, "2.0.0", "LMTP as in RFC 2033: LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY STARTTLS QUIT")
	case "QUIT":
		s.reply(221, "2.0.0", "Bye")
		s.finished = true
	case "HELO", "EHLO":
		s.reject(500, "5.5.1", "This is LMTP, say LHLO")
	default:
		s.reject(500, "5.5.1", "Command not recognized")
	}
}

func (s *session) lhlo(name string) {
	if name == "" {
		s.reject(501, "5.5.4", "LHLO needs your host name")
		return
	}
	s.reset()
	s.client = name
	lines := []string{
		s.srv.o.Name, "PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES",
		"SIZE " + strconv.FormatInt(s.srv.o.MaxSize, 10),
	}
	if s.srv.o.TLS != nil && !s.secure {
		lines = append(lines, "STARTTLS")
	}
	s.reply(250, "", lines...)
}

func (s *session) mail(args string) {
	switch {
	case s.client == "":
		s.reject(503, "5.5.1", "Say LHLO first")
		return
	case s.sender != nil:
		s.reject(503, "5.5.1", "Sender already given")
		return
	}
	path, params, err := parsePath(args, "FROM:")
	if err != nil {
		s.reject(501, "5.1.7", err.Error())
		return
	}
	sender := &delivery.Sender{Address: path}
	for _, p := range params {
		if !s.mailParam(sender, p) {
			return
		}
	}
	s.sender = sender
	s.reply(250, "2.1.0", "Sender accepted")
}

// mailParam takes one ESMTP parameter of MAIL; when it returns false it has
// replied.
func (s *session) mailParam(sender *delivery.Sender, param string) bool {
	key, value, _ := strings.Cut(param, "=")
	switch strings.ToUpper(key) {
	case "SIZE":
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil {
			s.reject(501, "5.5.4", "SIZE needs a number")
			return false
		}
		if int64(n) > s.srv.o.MaxSize {
			s.reject(552, "5.3.4", s.tooBig())
			return false
		}
	case "BODY":
		if v := strings.ToUpper(value); v != "7BIT" && v != "8BITMIME" {
			s.reject(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
			return false
		}
	case "SMTPUTF8":
		sender.UTF8 = true
	default:
		s.reject(555, "5.5.4", fmt.Sprintf("Parameter %q is not supported", key))
		return false
	}
	return true
}

func (s *session) tooBig() string {
	return fmt.Sprintf("Message exceeds the limit of %d octets", s.srv.o.MaxSize)
}

func (s *session) rcpt(ctx context.Context, args string) {
	if s.sender == nil {
		s.reject(503, "5.5.1", "Say MAIL first")
		return
	}
	if len(s.rcpts) >= s.srv.o.MaxRecipients {
		s.reject(452, "4.5.3", fmt.Sprintf("Too many recipients, at most %d in one transaction", s.srv.o.MaxRecipients))
		return
	}
	path, params, err := parsePath(args, "TO:")
	switch {
	case err != nil:
		s.reject(501, "5.1.3", err.Error())
		return
	case path == "":
		s.reject(501, "5.1.3", "The recipient is empty")
		return
	case len(params) > 0:
		s.reject(555, "5.5.4", fmt.Sprintf("Parameter %q is not supported", params[0]))
		return
	}
	r, err := s.srv.o.Backend.Resolve(ctx, path)
	if err != nil {
		v := verdict(err)
		s.refused++
		s.reply(v.code, v.enhanced, v.text)
		return
	}
	s.rcpts = append(s.rcpts, r)
	s.reply(250, "2.1.5", "Recipient accepted")
}

func (s *session) startTLS(ctx context.Context, args string) {
	switch {
	case s.srv.o.TLS == nil:
		s.reject(502, "5.5.1", "STARTTLS is not configured")
		return
	case s.secure:
		s.reject(503, "5.5.1", "TLS is already active")
		return
	case args != "":
		s.reject(501, "5.5.4", "STARTTLS takes no parameter")
		return
	case s.in.Buffered() > 0:
		// Octets sent before the handshake could be another's (RFC 3207, 6).
		s.reply(554, "5.5.1", "Data after STARTTLS, closing connection")
		s.finished = true
		return
	}
	s.reply(220, "2.0.0", "Ready to start TLS")
	if s.out.Flush() != nil {
		s.finished = true
		return
	}
	tc := tls.Server(s.conn, s.srv.o.TLS)
	hctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := tc.HandshakeContext(hctx); err != nil {
		s.srv.o.Log.DebugContext(ctx, "LMTP STARTTLS", "remote", s.conn.RemoteAddr().String(), "error", err)
		s.finished = true
		return
	}
	s.attach(tc)
	s.secure, s.client = true, ""
	s.reset()
}

// parsePath reads "FROM:<path> params" (RFC 5321, 4.1.2). A source route is
// dropped, as its appendix C allows; angle brackets may be missing.
func parsePath(args, keyword string) (path string, params []string, err error) {
	if len(args) < len(keyword) || !strings.EqualFold(args[:len(keyword)], keyword) {
		return "", nil, fmt.Errorf("Syntax: %s<address>", keyword)
	}
	rest := strings.TrimLeft(args[len(keyword):], " ")
	if !utf8.ValidString(rest) {
		return "", nil, errors.New("The address is not valid UTF-8")
	}
	if strings.HasPrefix(rest, "<") {
		end := closingBracket(rest)
		if end < 0 {
			return "", nil, errors.New("The address has no closing bracket")
		}
		path, rest = rest[1:end], rest[end+1:]
	} else {
		path, rest, _ = strings.Cut(rest, " ")
	}
	if strings.HasPrefix(path, "@") {
		if _, after, ok := strings.Cut(path, ":"); ok {
			path = after
		}
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", nil, errors.New("The address holds control characters")
	}
	return path, strings.Fields(rest), nil
}

// closingBracket finds the end of a path, past quoted local parts.
func closingBracket(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}
