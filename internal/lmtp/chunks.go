package lmtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"mallard/internal/mail"
)

// bdat takes a message in chunks (RFC 3030), from the first one to the last.
func (s *session) bdat(ctx context.Context, args string) {
	n, last, ok := parseBDAT(args)
	if !ok {
		s.badBDAT()
		return
	}
	r := &chunkReader{ses: s, ctx: ctx, left: n, last: last, pace: s.newPace()}
	if len(s.rcpts) == 0 {
		r.last = true // this chunk only
		r.fail(answer{})
		if s.drain(r) {
			s.ready()
		}
		return
	}
	s.transfer(ctx, r)
	if r.after != "" && !s.finished {
		s.command(ctx, r.after)
	}
}

// badBDAT ends the session: nobody knows how many octets follow.
func (s *session) badBDAT() {
	s.reject(501, "5.5.4", "Syntax: BDAT size [LAST]")
	s.finished = true
}

func parseBDAT(args string) (n int64, last, ok bool) {
	size, rest, _ := strings.Cut(args, " ")
	u, err := strconv.ParseUint(size, 10, 62)
	if err != nil {
		return 0, false, false
	}
	switch strings.ToUpper(strings.TrimSpace(rest)) {
	case "":
		return int64(u), false, true
	case "LAST":
		return int64(u), true, true
	}
	return 0, false, false
}

// chunkReader reads a message that comes in chunks, replying to each but the
// last and reading the commands in between.
type chunkReader struct {
	ses    *session
	ctx    context.Context
	left   int64
	last   bool
	total  int64
	pace   pace
	failed *answer // what is wrong with the message
	err    error   // that ended it
	after  string  // the command that ended it before its last chunk
}

// fail gives the reply to the chunks that follow: the sender must not believe
// that they are of use.
func (r *chunkReader) fail(a answer) { r.failed = &a }

func (r *chunkReader) Read(p []byte) (int, error) {
	for r.left == 0 && r.err == nil && !r.last {
		r.err = r.nextChunk()
	}
	switch {
	case r.err != nil:
		return 0, r.err
	case r.failed == nil && r.left > r.ses.srv.o.MaxSize-r.total:
		// It is known before the octets are there.
		return 0, mail.NewError(mail.CodeTooBig, "the chunks exceed the limit")
	case r.left == 0:
		return 0, io.EOF
	}
	if r.err = r.pace.check(r.total); r.err != nil {
		return 0, r.err
	}
	n, err := r.ses.in.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	r.total += int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	r.err = err
	return n, err
}

// nextChunk replies to a chunk and reads commands up to the next one.
func (r *chunkReader) nextChunk() error {
	s := r.ses
	if r.failed != nil {
		s.answer(*r.failed)
	} else {
		s.reply(250, "2.0.0", fmt.Sprintf("%d octets received", r.total))
	}
	for s.refused <= s.srv.o.MaxErrors {
		line, err := s.next()
		if errors.Is(err, errLineTooLong) {
			s.reject(500, "5.5.2", "Line too long")
			continue
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // or what has come would be taken for a message
		}
		if err != nil {
			return err
		}
		verb, args, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "BDAT":
			var ok bool
			if r.left, r.last, ok = parseBDAT(args); ok {
				return nil
			}
			s.badBDAT()
			return errAborted
		case "RSET", "QUIT", "LHLO":
			r.after = line
			return errAborted
		case "NOOP", "VRFY", "HELP":
			s.command(r.ctx, line)
		default:
			s.reject(503, "5.5.1", "Only BDAT, RSET and QUIT are allowed between chunks")
		}
	}
	return errAborted // the session says goodbye
}
