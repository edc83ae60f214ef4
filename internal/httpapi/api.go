package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"mallard/internal/auth"
	"mallard/internal/mail"
)

// Options is what the API needs. Zero limits mean the defaults that are named.
type Options struct {
	Services

	Log     *slog.Logger
	Version string // reported by GET /health

	// AccessControl makes every call need a token, as a static token does.
	AccessControl bool
	Roles         auth.Roles // auth.DefaultRoles when nil

	CORSOrigins []string // "*" for all; nil means all

	MaxBody     int64 // octets of a message upload; 96 MiB
	MaxParams   int64 // octets of the parameters of other calls; 4 MiB
	LargeBodies int   // bodies above MaxParams that are held in memory at once; 4
	MaxMessage  int64 // octets of one message; 64 MiB

	ReadTimeout  time.Duration // greatest pause of a client that sends a body; 30 s
	WriteTimeout time.Duration // greatest pause of a client that reads a reply; 60 s
	BodyTimeout  time.Duration // greatest time for a whole body; 10 min

	SearchTimeout time.Duration // greatest time of a search; 2 min

	EventIdle    time.Duration // pause after which an event stream gets a comment; 15 s
	EventPoll    time.Duration // how often a stream looks without a hint, should one be lost; 1 min
	EventAgain   time.Duration // how soon it looks again after a hint of nothing; 3 s
	EventTimeout time.Duration // greatest life of an event stream; 30 min
	MaxStreams   int           // event streams at once; 10,000
	UserStreams  int           // event streams of one user at once; 100
}

func (o *Options) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.ReadTimeout, 30*time.Second)
	def(&o.WriteTimeout, time.Minute)
	def(&o.BodyTimeout, 10*time.Minute)
	def(&o.SearchTimeout, 2*time.Minute)
	def(&o.EventIdle, 15*time.Second)
	def(&o.EventPoll, time.Minute)
	def(&o.EventAgain, 3*time.Second)
	def(&o.EventTimeout, 30*time.Minute)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Roles == nil {
		o.Roles = auth.DefaultRoles()
	}
	if o.CORSOrigins == nil {
		o.CORSOrigins = []string{"*"}
	}
	if o.MaxBody <= 0 {
		o.MaxBody = 96 << 20
	}
	if o.MaxParams <= 0 {
		o.MaxParams = 4 << 20
	}
	if o.LargeBodies <= 0 {
		o.LargeBodies = 4
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 64 << 20
	}
	if o.MaxStreams <= 0 {
		o.MaxStreams = 10000
	}
	if o.UserStreams <= 0 {
		o.UserStreams = 100
	}
}

// API is the HTTP API. It is an http.Handler.
type API struct {
	opt     Options
	log     *slog.Logger
	roles   auth.Roles
	codes   map[mail.Code]mapping
	routes  []*Route
	router  router
	large   chan struct{} // one slot for each large body in memory
	streams chan struct{} // one slot for each event stream
	ids     *mail.IDGenerator
	openapi func() ([]byte, error) // the document, which is made when it is first asked for

	closing   chan struct{}
	closeOnce sync.Once
}

// New makes the API. It does not listen; see Server.
func New(opt Options) (*API, error) {
	opt.setDefaults()
	if err := opt.Services.validate(); err != nil {
		return nil, err
	}
	ids, err := mail.NewIDGenerator(nil)
	if err != nil {
		return nil, fmt.Errorf("http api: %w", err)
	}
	a := &API{
		ids: ids, opt: opt, log: opt.Log, roles: opt.Roles, codes: codeTable(),
		large:   make(chan struct{}, opt.LargeBodies),
		streams: make(chan struct{}, opt.MaxStreams),
		closing: make(chan struct{}),
	}
	a.routes = a.table()
	for _, r := range a.routes {
		a.router.add(r)
	}
	a.openapi = sync.OnceValues(func() ([]byte, error) { return encodeJSON(a.document()) })
	return a, nil
}

// newID makes an identifier for things that have no type of their own.
func (a *API) newID() string { return mail.NewID[mail.MessageID](a.ids).String() }

// Server returns an http.Server for the API with limits against slow clients.
// Its Shutdown ends the event streams.
func (a *API) Server() *http.Server {
	srv := &http.Server{
		Handler:           a,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	srv.RegisterOnShutdown(a.Close)
	return srv
}

// Close ends all event streams. Other calls run to their end.
func (a *API) Close() { a.closeOnce.Do(func() { close(a.closing) }) }

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w, timeout: a.opt.WriteTimeout, start: time.Now()}
	entry := &logEntry{id: requestID(r), method: r.Method}
	defer a.finish(rec, r, entry)
	h := w.Header()
	h.Set("Server", "Mallard")
	h.Set("Vary", "origin,access-control-request-method,access-control-request-headers")
	h.Set("Request-Id", entry.id)
	h.Set("X-Content-Type-Options", "nosniff")
	if a.preflight(rec, r) {
		return
	}
	route, values, allow := a.router.find(r.Method, r.URL.EscapedPath())
	if route == nil {
		entry.err = errNoRoute(r.URL.EscapedPath())
		if allow != nil {
			entry.err = errMethod(r.Method, allow)
		}
		a.writeError(rec, false, entry.err)
		return
	}
	entry.route = route
	a.boundBody(rec, r)
	a.allowOrigin(rec, r)
	c := &call{api: a, w: rec, r: r, route: route, id: entry.id}
	entry.err = a.serve(r.Context(), c, values, entry)
	if entry.err != nil && !rec.started {
		a.writeError(rec, route.PlainErrors, entry.err)
	}
}

// serve runs one call of a known route.
func (a *API) serve(ctx context.Context, c *call, values []string, entry *logEntry) error {
	query, err := parseQuery(c.r.URL.RawQuery, true)
	if err != nil {
		return invalid(err.Error())
	}
	if c.caller, err = a.authenticate(ctx, c.r, query); err != nil {
		return err
	}
	entry.caller = c.caller
	query.remove(tokenParam)
	for _, name := range c.route.HeaderParams {
		if v := c.r.Header.Get(name); v != "" {
			query.set(name, v)
		}
	}
	release, err := c.readBody(ctx, query)
	if err != nil {
		return err
	}
	defer release()
	c.setPath(values)
	entry.params = c.params
	out, err := c.route.run(ctx, c, c.params)
	if err != nil {
		return err
	}
	if _, done := out.(streamed); done {
		return nil
	}
	if c.route.Perm.Action != auth.Update { // what a role may not write says nothing about the reply
		out = hideFields(c.grant, out)
	}
	a.writeBody(c.w, http.StatusOK, typeJSON, out)
	return nil
}

// boundBody sets a term for the body even when nobody reads it: the server reads
// what is left of it after the reply.
func (a *API) boundBody(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	// Recorders of tests have no connection; others are cut off by the caller.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(a.opt.ReadTimeout))
}

// setPath adds the path parameters. They win over others of their name.
func (c *call) setPath(values []string) {
	o, ok := c.params.(*object)
	if !ok {
		return
	}
	for i, name := range c.route.names {
		v := values[i]
		if name == "user" && v == "me" && !c.caller.user.IsZero() && c.caller.role == auth.RoleUser {
			v = c.caller.user.String()
		}
		o.set(name, v)
	}
}

// finish logs a request, and answers it when the handler panicked.
func (a *API) finish(rec *recorder, r *http.Request, entry *logEntry) {
	if p := recover(); p != nil {
		if p == http.ErrAbortHandler {
			panic(p)
		}
		entry.err = fmt.Errorf("panic: %v", p)
		a.log.Error("panic in a handler", "request", entry.id, "panic", p, "stack", string(debug.Stack()))
		if !rec.started {
			a.writeError(rec, false, entry.err)
		}
	}
	a.logRequest(rec, r, entry)
}

// requestID takes over a sensible id of the client, so that logs can be joined,
// or makes one.
func requestID(r *http.Request) string {
	const most = 64
	id := r.Header.Get("X-Request-Id")
	if id != "" && len(id) <= most && isToken(id) {
		return id
	}
	var raw [9]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return ""
	}
	return hex.EncodeToString(raw[:])
}

// isToken reports whether s has only letters, digits and -_.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return true
}

// recorder notes what was written and bounds the time that a client may take to
// read it.
type recorder struct {
	http.ResponseWriter
	status  int
	size    int64
	started bool
	timeout time.Duration
	start   time.Time
}

// Unwrap gives http.ResponseController the way to the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the status.
func (w *recorder) WriteHeader(status int) {
	if !w.started {
		w.status, w.started = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write gives the client a new term for each piece.
func (w *recorder) Write(p []byte) (int, error) {
	if !w.started {
		w.status, w.started = http.StatusOK, true
	}
	err := http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.timeout))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, fmt.Errorf("set write deadline: %w", err)
	}
	n, err := w.ResponseWriter.Write(p)
	w.size += int64(n)
	return n, err
}
