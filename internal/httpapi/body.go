package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"time"
)

// Media types of bodies that hold parameters.
const (
	mediaJSON      = "application/json"
	mediaForm      = "application/x-www-form-urlencoded"
	mediaMultipart = "multipart/form-data"
	mediaOctets    = "application/octet-stream"
)

// readBody merges the parameters of the body into those of the query, which win,
// or keeps the body as a stream for a raw route. The returned function gives
// back what the body held; it is never nil when err is.
func (c *call) readBody(ctx context.Context, query *object) (release func(), err error) {
	c.params = query
	nothing := func() {}
	if c.r.Method == http.MethodGet || c.r.Body == nil || c.r.Body == http.NoBody {
		return nothing, nil
	}
	media, opts, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	limit := c.api.opt.MaxParams
	if c.route.Raw {
		limit = c.api.opt.MaxBody
	}
	if c.r.ContentLength > limit {
		return nothing, errBodyTooLarge(limit)
	}
	body := c.timedBody(limit)
	switch media {
	case mediaJSON, mediaForm, mediaMultipart:
	case "", mediaOctets:
		return nothing, nil
	default:
		if c.route.Raw {
			c.body = body
		}
		return nothing, nil
	}
	held := &slotReader{ctx: ctx, r: body, slots: c.api.large, free: c.api.opt.MaxParams}
	params, err := c.bodyParams(held, media, opts["boundary"])
	if err != nil {
		held.release()
		return nothing, err
	}
	c.merge(query, params)
	return held.release, nil
}

// slotReader waits for one of the slots of large bodies as soon as it has read more
// than what needs none: who announces a large body and does not send it takes no slot.
type slotReader struct {
	ctx   context.Context
	r     io.Reader
	slots chan struct{}
	free  int64 // octets that may be read without a slot
	taken bool
}

// Read reads at most up to the octet from which on a slot is needed.
func (s *slotReader) Read(p []byte) (int, error) {
	if s.free == 0 && !s.taken {
		select {
		case s.slots <- struct{}{}:
			s.taken = true
		case <-s.ctx.Done():
			return 0, s.ctx.Err()
		}
	}
	if !s.taken && int64(len(p)) > s.free {
		p = p[:s.free]
	}
	n, err := s.r.Read(p)
	if !s.taken {
		s.free -= int64(n)
	}
	return n, err
}

func (s *slotReader) release() {
	if s.taken {
		s.taken = false
		<-s.slots
	}
}

func (c *call) bodyParams(body io.Reader, media, boundary string) (any, error) {
	if media == mediaMultipart {
		return readMultipart(body, boundary)
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, readError(err)
	}
	if media == mediaForm {
		o, err := parseQuery(string(raw), false)
		if err != nil {
			return nil, invalid(err.Error())
		}
		return o, nil
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, nil
	}
	v, err := parseJSON(raw)
	if err != nil {
		return nil, errContent(err)
	}
	return v, nil
}

// merge adds the parameters of a body. A body that is not an object spoils them all.
func (c *call) merge(query *object, body any) {
	if body == nil {
		return
	}
	o, ok := body.(*object)
	if !ok {
		c.params = body
		return
	}
	for _, key := range o.keys {
		if _, taken := query.get(key); !taken {
			query.set(key, o.vals[key])
		}
	}
}

func readMultipart(body io.Reader, boundary string) (any, error) {
	if boundary == "" {
		return nil, invalid("multipart boundary is missing")
	}
	o := newObject()
	mr := multipart.NewReader(body, boundary)
	for n := 0; ; n++ {
		part, err := mr.NextPart()
		if errors.Is(err, io.EOF) {
			return o, nil
		}
		if err != nil {
			return nil, readError(err)
		}
		if n >= maxParams {
			return nil, invalid(errTooManyParams.Error())
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return nil, readError(err)
		}
		name := part.FormName()
		if name == "" {
			continue
		}
		if part.FileName() == "" {
			setNested(o, splitName(name, false), string(data))
			continue
		}
		setNested(o, splitName(name, false), &file{name: part.FileName(), contentType: part.Header.Get("Content-Type"), data: data})
	}
}

// readError is the failure of a client to send what it announced.
func readError(err error) error {
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errBodyTooLarge(e.Limit)
	}
	return newError(http.StatusBadRequest, "InvalidContent", "The request body could not be read").because(err)
}

// minBodyRate is the least average rate in octets a second at which a body must
// come: bodies hold memory and slots while they do.
const minBodyRate = 64 << 10

// timedBody is the body with a limit of its size, of the pause between two
// reads, and of the whole time.
func (c *call) timedBody(limit int64) io.ReadCloser {
	return &timedReader{
		ReadCloser: http.MaxBytesReader(c.w, c.r.Body, limit),
		ctl:        http.NewResponseController(c.w),
		pause:      c.api.opt.ReadTimeout,
		end:        time.Now().Add(c.api.opt.BodyTimeout),
	}
}

type timedReader struct {
	io.ReadCloser
	ctl   *http.ResponseController
	pause time.Duration
	end   time.Time
	// waited is the time that was spent waiting for the client, who sent n octets.
	waited time.Duration
	n      int64
}

// Read gives the client a new term for each piece, within what the rate leaves.
func (t *timedReader) Read(p []byte) (int, error) {
	start := time.Now()
	left := t.pause + time.Duration(t.n)*time.Second/minBodyRate - t.waited
	next := start.Add(min(t.pause, left))
	if next.After(t.end) {
		next = t.end
	}
	if err := t.ctl.SetReadDeadline(next); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, fmt.Errorf("set read deadline: %w", err)
	}
	n, err := t.ReadCloser.Read(p)
	t.waited, t.n = t.waited+time.Since(start), t.n+int64(n)
	if errors.Is(err, io.EOF) {
		// The connection may carry another request, which has its own term. After
		// any other error the deadline stays: the server still reads the rest.
		_ = t.ctl.SetReadDeadline(time.Time{})
	}
	return n, err
}
