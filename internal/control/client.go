package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Client makes calls. It is safe for concurrent use.
type Client struct {
	http *http.Client
	// Server is what the other end said about itself.
	Server Ping
	// Online says that a running server answers, not this process.
	Online bool
	stop   func() error
}

// base stands for the socket in URLs.
const base = "http://mallard"

// pingTimeout is how long a server may take to say that it is there.
const pingTimeout = 10 * time.Second

// Dial connects to the server that has the store in this directory open. The
// error is ErrNoServer when there is none.
func Dial(ctx context.Context, dir string) (*Client, error) {
	conn, err := dialSocket(ctx, dir)
	if err != nil {
		return nil, err
	}
	_ = conn.Close() // the question was whether somebody listens
	c := newClient(func(ctx context.Context) (net.Conn, error) { return dialSocket(ctx, dir) })
	c.Online = true
	pctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := c.Call(pctx, http.MethodGet, "/_control/ping", nil, &c.Server); err != nil {
		return nil, fmt.Errorf("the server does not answer on its control socket: %w", err)
	}
	if c.Server.Protocol != Protocol {
		return nil, fmt.Errorf("the running server is version %s, which this program cannot command: use the program of the same version", c.Server.Version)
	}
	return c, nil
}

// InProcess serves calls in this process. Closing the client ends the server.
func InProcess(s *Server) *Client {
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := s.HTTP()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(l) // ends with the listener
	}()
	c := newClient(l.dial)
	c.stop = func() error {
		err := srv.Close()
		<-ended
		return err
	}
	return c
}

func newClient(dial func(ctx context.Context) (net.Conn, error)) *Client {
	t := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true, MaxIdleConnsPerHost: 4, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
	}
	return &Client{http: &http.Client{Transport: t}}
}

// Close releases the client.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	if c.stop != nil {
		return c.stop()
	}
	return nil
}

// Error is a call that failed.
type Error struct {
	Status int
	Failure
}

// Error returns what the server said.
func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = http.StatusText(e.Status)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Details)) {
		if !strings.Contains(text, e.Details[name]) {
			text += "; " + name + ": " + e.Details[name]
		}
	}
	return text
}

// Call makes a call with JSON in and out; in and out may be nil.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	r, err := c.open(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer r.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(r).Decode(out); err != nil {
		return fmt.Errorf("read the answer of the server: %w", err)
	}
	return nil
}

// open makes a call and returns the body of the answer.
func (c *Client) open(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx) // the signal, where it was one
		}
		return nil, fmt.Errorf("call the server: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	e := &Error{Status: resp.StatusCode}
	if b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err != nil || json.Unmarshal(b, &e.Failure) != nil {
		e.Message = resp.Status
	}
	return nil, e
}

// Check runs a check and calls f with each line of the answer.
func (c *Client) Check(ctx context.Context, repair bool, f func(CheckLine)) error {
	path := "/_control/check"
	if repair {
		path += "?repair=true"
	}
	r, err := c.open(ctx, http.MethodPost, path, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	dec := json.NewDecoder(r)
	for {
		var l CheckLine
		if err := dec.Decode(&l); err != nil {
			return fmt.Errorf("the check ended early: %w", whole(err))
		}
		f(l)
		if l.Error != "" {
			return errors.New(l.Error)
		}
		if l.Report != nil {
			return nil
		}
	}
}

// pipeListener accepts connections of this process.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept waits for the next connection.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr is no address that could be dialled.
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
