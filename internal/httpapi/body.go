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
	release, err = c.reserve(ctx)
	if err != nil {
		return nothing, err
	}
	params, err := c.bodyParams(body, media, opts["boundary"])
	if err != nil {
		release()
		return nothing, err
	}
	c.merge(query, params)
	return release, nil
}

// reserve waits for one of the slots of large bodies when this may be one.
func (c *call) reserve(ctx context.Context) (func(), error) {
	if n := c.r.ContentLength; !c.route.Raw || n >= 0 && n <= c.api.opt.MaxParams {
		return func() {}, nil
	}
	select {
	case c.api.large <- struct{}{}:
		return func() { <-c.api.large }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
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

// minBodyRate is the least average rate in octets a second at which a body of
// known length must come: bodies hold memory and slots while they do.
const minBodyRate = 64 << 10

// timedBody is the body with a limit of its size, of the pause between two
// reads, and of the whole time.
func (c *call) timedBody(limit int64) io.ReadCloser {
	term := c.api.opt.BodyTimeout
	if n := c.r.ContentLength; n > 0 {
		term = min(term, c.api.opt.ReadTimeout+time.Duration(n/minBodyRate)*time.Second)
	}
	return &timedReader{
		ReadCloser: http.MaxBytesReader(c.w, c.r.Body, limit),
		ctl:        http.NewResponseController(c.w),
		pause:      c.api.opt.ReadTimeout,
		end:        time.Now().Add(term),
	}
}

type timedReader struct {
	io.ReadCloser
	ctl   *http.ResponseController
	pause time.Duration
	end   time.Time
}

// Read gives the client a new term for each piece.
func (t *timedReader) Read(p []byte) (int, error) {
	next := time.Now().Add(t.pause)
	if next.After(t.end) {
		next = t.end
	}
	if err := t.ctl.SetReadDeadline(next); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, fmt.Errorf("set read deadline: %w", err)
	}
	n, err := t.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		// The connection may carry another request, which has its own term. After
		// any other error the deadline stays: the server still reads the rest.
		_ = t.ctl.SetReadDeadline(time.Time{})
	}
	return n, err
}
