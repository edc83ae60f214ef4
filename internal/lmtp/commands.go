package lmtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"mallard/internal/address"
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
		s.flush()
	case "VRFY":
		s.reply(252, "2.5.0", "Send a message to find out")
		s.flush()
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
	s.flush()
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
	path, params, wrong := parsePath(args, "FROM:")
	if wrong != "" {
		s.reject(501, "5.1.7", wrong)
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
	key, value, hasValue := strings.Cut(param, "=")
	switch strings.ToUpper(key) {
	case "SIZE":
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			s.reject(501, "5.5.4", "SIZE needs a number")
			return false
		}
		if err != nil || int64(n) > s.srv.o.MaxSize {
			s.refused++
			s.answer(s.tooBig())
			return false
		}
	case "BODY":
		if v := strings.ToUpper(value); v != "7BIT" && v != "8BITMIME" {
			s.reject(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
			return false
		}
	case "SMTPUTF8":
		if hasValue {
			s.reject(501, "5.5.4", "SMTPUTF8 takes no value")
			return false
		}
		sender.UTF8 = true
	default:
		s.reject(555, "5.5.4", fmt.Sprintf("Parameter %q is not supported", key))
		return false
	}
	return true
}

func (s *session) tooBig() answer {
	return answer{552, "5.3.4", fmt.Sprintf("Message exceeds the limit of %d octets", s.srv.o.MaxSize)}
}

// excess is how many times the greatest number of recipients a client may name
// before it is taken for an attacker. One that sends its commands together learns
// of the limit after the last of them, and must get those through that fit.
const excess = 10

func (s *session) rcpt(ctx context.Context, args string) {
	if s.sender == nil {
		s.reject(503, "5.5.1", "Say MAIL first")
		return
	}
	// Those that were refused count too, or a client could ask for ever.
	if most := s.srv.o.MaxRecipients; s.tried >= most {
		if s.tried++; s.tried > excess*most {
			s.refused++
		}
		s.reply(452, "4.5.3", fmt.Sprintf("Too many recipients, at most %d in one transaction", most))
		return
	}
	path, params, wrong := parsePath(args, "TO:")
	switch {
	case wrong != "":
		s.reject(501, "5.1.3", wrong)
		return
	case path == "":
		s.reject(501, "5.1.3", "The recipient is empty")
		return
	case !strings.Contains(path, "@"):
		s.reject(501, "5.1.3", "The recipient has no domain")
		return
	case len(params) > 0:
		s.reject(555, "5.5.4", fmt.Sprintf("Parameter %q is not supported", params[0]))
		return
	}
	s.tried++
	r, err := s.srv.o.Backend.Resolve(ctx, withoutQuotes(path))
	if err != nil {
		s.answer(verdict(err))
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
	hctx, cancel := context.WithTimeout(ctx, s.srv.o.TLSTimeout)
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

// maxPath keeps the line that Return-Path makes of a path within the length
// that RFC 5322, 2.1.1 allows. RFC 5321, 4.5.3.1.3 asks for 256.
const maxPath = 998 - len("Return-Path: <>")

// parsePath reads "FROM:<path> params" (RFC 5321, 4.1.2). A source route is
// dropped, as its appendix C allows. wrong is the text of the reply when the
// syntax is.
func parsePath(args, keyword string) (path string, params []string, wrong string) {
	if len(args) < len(keyword) || !strings.EqualFold(args[:len(keyword)], keyword) {
		return "", nil, "Syntax: " + keyword + "<address>"
	}
	rest := strings.TrimLeft(args[len(keyword):], " ")
	if !utf8.ValidString(rest) {
		return "", nil, "The address is not valid UTF-8"
	}
	if !strings.HasPrefix(rest, "<") {
		return "", nil, "Syntax: " + keyword + "<address>"
	}
	end := closingBracket(rest)
	if end < 0 {
		return "", nil, "The address has no closing bracket"
	}
	path, rest = rest[1:end], rest[end+1:]
	if rest != "" && rest[0] != ' ' {
		return "", nil, "A space must follow the address"
	}
	if strings.HasPrefix(path, "@") {
		if _, after, ok := strings.Cut(path, ":"); ok {
			path = after
		}
	}
	switch {
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", nil, "The address holds control characters"
	case len(path) > maxPath:
		return "", nil, "The address is too long"
	}
	return path, strings.Fields(rest), ""
}

// withoutQuotes is an address without the quotes around its local part, when it says
// the same without them (RFC 5321, 4.1.2): no account has an address with quotes.
func withoutQuotes(path string) string {
	local, domain := address.Split(path)
	if len(local) < 2 || local[0] != '"' || local[len(local)-1] != '"' {
		return path
	}
	var b strings.Builder
	for i := 1; i < len(local)-1; i++ {
		if local[i] == '\\' {
			i++
		}
		b.WriteByte(local[i])
	}
	if plain := b.String() + "@" + domain; address.ValidEmail(plain) {
		return plain
	}
	return path
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
