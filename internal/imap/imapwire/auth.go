package imapwire

import (
	"encoding/base64"
	"errors"
)

// Login is LOGIN (RFC 3501 section 6.2.3). The strings are the client's
// octets; they need not be UTF-8.
type Login struct {
	Username, Password string
}

// Authenticate is AUTHENTICATE (RFC 3501 section 6.2.2).
type Authenticate struct {
	// Mechanism is in upper case.
	Mechanism string
	// Initial is the decoded initial response of RFC 4959: nil when there was
	// none, empty for "=".
	Initial []byte
}

func (*Login) args()        {}
func (*Authenticate) args() {}

// ErrAuthCancelled is returned by [Reader.ReadSASL] when the client gave up
// with "*". The command is answered with BAD.
var ErrAuthCancelled = errors.New("imap: authentication was cancelled by the client")

func authCommands() []Spec {
	return []Spec{
		{Name: "LOGIN", States: StateNotAuthenticated, parse: parseLogin},
		{Name: "AUTHENTICATE", States: StateNotAuthenticated, parse: parseAuthenticate},
	}
}

func parseLogin(p *parser) Args {
	a := &Login{}
	p.sp()
	a.Username = p.astring()
	p.sp()
	a.Password = p.astring()
	return a
}

func parseAuthenticate(p *parser) Args {
	p.sp()
	a := &Authenticate{Mechanism: string(p.word())}
	if !p.more() {
		return a
	}
	raw := p.run(func(c byte) bool { return c != ' ' }, "an initial response")
	if !p.ok() {
		return a
	}
	initial, err := decodeSASL([]byte(raw))
	if err != nil {
		p.bad("Invalid base64 in initial response")
	}
	a.Initial = initial
	return a
}

// decodeSASL decodes base64; "=" is the empty response.
func decodeSASL(raw []byte) ([]byte, error) {
	if len(raw) == 1 && raw[0] == '=' {
		return []byte{}, nil
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
	n, err := base64.StdEncoding.Strict().Decode(out, raw)
	return out[:n], err
}

// ReadSASL reads the client's answer to a challenge of AUTHENTICATE, decoded.
// It returns [ErrAuthCancelled] for "*", and an [*Error] without a tag for
// what is not base64; the connection is in step in both cases.
func (r *Reader) ReadSASL() ([]byte, error) {
	line, err := r.readExtraLine(r.opt.Limits.MaxLine)
	if err != nil {
		return nil, err
	}
	if len(line) == 1 && line[0] == '*' {
		return nil, ErrAuthCancelled
	}
	out, err := decodeSASL(line)
	if err != nil {
		return nil, &Error{Kind: Bad, Text: "Invalid base64 in response"}
	}
	return out, nil
}
