package lmtp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"mallard/internal/delivery"
	"mallard/internal/mail"
)

var (
	// errAborted ends a message that the client gave up with RSET or QUIT.
	errAborted = errors.New("the client gave up the message")
	// errTooSlow ends a message that takes longer than MaxDataTime.
	errTooSlow = errors.New("the message took too long")
)

func (s *session) data(ctx context.Context, args string) {
	if args != "" {
		s.reject(501, "5.5.4", "DATA takes no parameter")
		return
	}
	if !s.ready() {
		return
	}
	s.reply(354, "", "End data with <CR><LF>.<CR><LF>")
	if err := s.out.Flush(); err != nil {
		s.finished = true
		return
	}
	r := &dotReader{in: s.in, lineStart: true, until: time.Now().Add(s.srv.o.MaxDataTime)}
	s.transfer(ctx, r)
}

// ready checks that a transaction has recipients.
func (s *session) ready() bool {
	if len(s.rcpts) > 0 {
		return true
	}
	if s.sender == nil {
		s.reject(503, "5.5.1", "Say MAIL first")
	} else {
		s.reject(503, "5.5.1", "No valid recipients")
	}
	return false
}

// transfer receives a message, delivers it and replies once for each recipient
// (RFC 2033, 4.2).
func (s *session) transfer(ctx context.Context, r io.Reader) {
	defer s.reset()
	start := time.Now()
	d, err := s.srv.o.Backend.Receive(ctx, r, s.srv.o.MaxSize)
	if err != nil {
		s.receiveFailed(ctx, r, err)
		return
	}
	defer d.Close()
	env := delivery.Envelope{
		Sender: *s.sender, Recipients: s.rcpts, Client: s.client, Remote: s.conn.RemoteAddr(), Protocol: "LMTP", Secure: s.secure,
	}
	for i, v := range s.srv.o.Backend.Deliver(ctx, env, d) {
		a := answer{250, "2.0.0", "Message stored as " + v.ID.String()}
		level := s.srv.o.Log.InfoContext
		if v.Err != nil {
			a, level = verdict(v.Err), s.srv.o.Log.WarnContext
		}
		s.reply(a.code, a.enhanced, a.text)
		level(ctx, "delivery", "recipient", s.rcpts[i].Address, "account", s.rcpts[i].Account, "sender", s.sender.Address,
			"size", d.Size(), "message", v.ID, "status", a.code, "error", v.Err, "ms", time.Since(start).Milliseconds())
	}
}

// receiveFailed answers for a message that was not taken. The rest of it is read
// and forgotten, so that the session stays in step.
func (s *session) receiveFailed(ctx context.Context, r io.Reader, err error) {
	if errors.Is(err, errAborted) {
		return // the command that gave up the message has its own reply
	}
	s.srv.o.Log.WarnContext(ctx, "message not received", "sender", s.sender.Address, "recipients", len(s.rcpts), "error", err)
	rest, derr := io.Copy(io.Discard, io.LimitReader(r, 4*s.srv.o.MaxSize+1))
	if errors.Is(derr, errAborted) {
		return
	}
	if derr != nil || rest > 4*s.srv.o.MaxSize {
		s.reply(421, "4.4.2", "The message could not be read to its end, closing connection")
		s.finished = true
		return
	}
	a := verdict(err)
	if mail.CodeOf(err) == mail.CodeTooBig {
		a.text = s.tooBig()
	}
	for range s.rcpts {
		s.reply(a.code, a.enhanced, a.text)
	}
}

// dotReader reads the text of a message up to <CR><LF>.<CR><LF> and removes the
// dots that hide dots (RFC 5321, 4.5.2). Only a dot between real CRLFs ends the
// message: anything else would let one message smuggle another. All other
// octets pass as they are.
type dotReader struct {
	in        *bufio.Reader
	lineStart bool // the next octet starts a line
	ended     bool
	until     time.Time
}

func (d *dotReader) Read(p []byte) (int, error) {
	for !d.ended {
		if d.in.Buffered() == 0 && time.Now().After(d.until) {
			return 0, errTooSlow
		}
		if d.lineStart {
			if err := d.startLine(); err != nil {
				return 0, err
			}
			continue
		}
		n, err := d.copyLines(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

// startLine looks at the first octets of a line: it swallows a hiding dot and
// recognises the end.
func (d *dotReader) startLine() error {
	b, err := d.peek(1)
	if err != nil {
		return err
	}
	d.lineStart = false
	if b[0] != '.' {
		return nil
	}
	if b, err = d.peek(3); err != nil {
		return err
	}
	if b[1] == '\r' && b[2] == '\n' {
		d.ended = true
		_, err = d.in.Discard(3)
		return err
	}
	_, err = d.in.Discard(1)
	return err
}

func (d *dotReader) peek(n int) ([]byte, error) {
	b, err := d.in.Peek(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// copyLines copies what is buffered, up to a CRLF that a dot follows or may
// follow.
func (d *dotReader) copyLines(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := d.peek(1)
	if err != nil {
		return 0, err
	}
	if b, err = d.in.Peek(min(d.in.Buffered(), len(p))); err != nil {
		return 0, err
	}
	n := 0
	for {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			n = len(b)
			// A CR at the very end may be half of a CRLF: leave it for the next
			// turn, when the LF can be seen with it.
			if n > 1 && b[n-1] == '\r' {
				n--
			} else if b[n-1] == '\r' {
				return d.copyCR(p)
			}
			break
		}
		n += i + 1
		if n < 2 || b[n-2] != '\r' {
			continue
		}
		if n == len(b) || b[n] == '.' {
			d.lineStart = true
			break
		}
	}
	copy(p, b[:n])
	_, err = d.in.Discard(n)
	return n, err
}

// copyCR copies a CR together with what tells whether it ends a line.
func (d *dotReader) copyCR(p []byte) (int, error) {
	b, err := d.peek(2)
	if err != nil {
		return 0, err
	}
	p[0] = '\r'
	n := 1
	if b[1] == '\n' && len(p) > 1 {
		p[1] = '\n'
		n, d.lineStart = 2, true
	} else if b[1] == '\n' {
		return 0, io.ErrShortBuffer
	}
	_, err = d.in.Discard(n)
	return n, err
}

func (s *session) bdat(ctx context.Context, args string) {
	n, last, err := parseBDAT(args)
	if err != nil {
		s.reject(501, "5.5.4", err.Error())
		s.finished = true // the length of what follows is unknown
		return
	}
	r := &chunkReader{ses: s, ctx: ctx, left: n, last: last, until: time.Now().Add(s.srv.o.MaxDataTime)}
	if len(s.rcpts) == 0 {
		if err := r.skip(); err != nil {
			s.finished = true
			return
		}
		s.ready()
		return
	}
	s.transfer(ctx, r)
	if r.after != "" && !s.finished {
		s.command(ctx, r.after)
	}
}

func parseBDAT(args string) (n int64, last bool, err error) {
	size, rest, _ := strings.Cut(args, " ")
	u, err := strconv.ParseUint(size, 10, 62)
	if err != nil {
		return 0, false, errors.New("Syntax: BDAT size [LAST]")
	}
	switch strings.ToUpper(strings.TrimSpace(rest)) {
	case "":
	case "LAST":
		last = true
	default:
		return 0, false, errors.New("Syntax: BDAT size [LAST]")
	}
	return int64(u), last, nil
}

// chunkReader reads a message that comes in chunks (RFC 3030), replying to each
// but the last and reading the commands in between.
type chunkReader struct {
	ses   *session
	ctx   context.Context
	left  int64
	last  bool
	total int64
	until time.Time
	after string // the command that ended the message before its last chunk
}

func (r *chunkReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		if r.last {
			return 0, io.EOF
		}
		if r.after != "" {
			return 0, errAborted
		}
		if err := r.nextChunk(); err != nil {
			return 0, err
		}
	}
	if time.Now().After(r.until) {
		return 0, errTooSlow
	}
	n, err := r.ses.in.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	r.total += int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// skip reads the current chunk away.
func (r *chunkReader) skip() error {
	_, err := io.CopyN(io.Discard, r.ses.in, r.left)
	r.left = 0
	return err
}

func (r *chunkReader) nextChunk() error {
	r.ses.reply(250, "2.0.0", fmt.Sprintf("%d octets received", r.total))
	for {
		line, err := r.ses.next()
		if err != nil {
			return err
		}
		verb, args, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "BDAT":
			r.left, r.last, err = parseBDAT(args)
			return err
		case "NOOP":
			r.ses.reply(250, "2.0.0", "OK")
		case "RSET", "QUIT", "LHLO":
			r.after = line
			return errAborted
		default:
			r.ses.reject(503, "5.5.1", "Only BDAT, RSET and QUIT are allowed between chunks")
			if r.ses.refused > r.ses.srv.o.MaxErrors {
				return errors.New("too many errors")
			}
		}
	}
}
