package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"mallard/internal/draft"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// Accounts finds accounts; *account.Service is one.
type Accounts interface {
	FindLogin(ctx context.Context, login string) (*mail.Account, error)
}

// Mailboxes is what is done with mailboxes; *mailbox.Service is one.
type Mailboxes interface {
	List(ctx context.Context, acct mail.AccountID) ([]*mail.Mailbox, error)
	Get(ctx context.Context, acct mail.AccountID, id mail.MailboxID) (*mail.Mailbox, error)
	Lookup(ctx context.Context, acct mail.AccountID, name string) (*mail.Mailbox, error)
	Counters(ctx context.Context, acct mail.AccountID, ids ...mail.MailboxID) (map[mail.MailboxID]mail.Counters, error)
	Create(ctx context.Context, acct mail.AccountID, in mail.Mailbox, parents bool) (*mail.Mailbox, error)
	Stage(ctx context.Context, c *store.Content) (store.Staged, error)
	Append(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in ...store.Append) ([]store.Appended, error)
	Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error]
}

// Receiver takes messages in; *draft.Receiver is one.
type Receiver interface {
	Receive(ctx context.Context, r io.Reader, maxSize int64) (*draft.Draft, error)
}

// Options are the parts and limits of a Server. The parts are required but for
// Check, Migrate and Log.
type Options struct {
	API       http.Handler // the HTTP API, for role root
	Accounts  Accounts
	Mailboxes Mailboxes
	Receiver  Receiver
	// Check verifies the store; nil where the engine cannot be checked.
	Check Checker
	// Migrate copies the store to another one; nil where that cannot be.
	Migrate Migrator
	Log     *slog.Logger
	Version string

	// MaxMessage is the greatest message of an append in octets. Default 1 GiB.
	MaxMessage int64
	// Streams is how many appends and exports run at the same time; more wait.
	// Default 8.
	Streams int
	// Pause is the greatest pause of a client in the middle of a call. Default 2 min.
	Pause time.Duration
}

// Defaults of Options.
const (
	DefaultMaxMessage = 1 << 30
	DefaultStreams    = 8
	DefaultPause      = 2 * time.Minute
)

// Server answers the calls on the socket.
type Server struct {
	o       Options
	mux     *http.ServeMux
	streams chan struct{}
	// appends is held for reading by every append, and for writing by those who
	// must not miss one that is under way.
	appends sync.RWMutex
	// migrating is held by the migration that runs.
	migrating sync.Mutex
}

// NewServer returns a server. It listens nowhere; see HTTP.
func NewServer(o Options) (*Server, error) {
	if o.API == nil || o.Accounts == nil || o.Mailboxes == nil || o.Receiver == nil {
		return nil, errors.New("control: a part is missing")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.Streams <= 0 {
		o.Streams = DefaultStreams
	}
	if o.Pause <= 0 {
		o.Pause = DefaultPause
	}
	s := &Server{o: o, mux: http.NewServeMux(), streams: make(chan struct{}, o.Streams)}
	const box = "/_control/users/{user}/mailboxes/{mailbox}/"
	s.mux.Handle("/", o.API)
	s.mux.HandleFunc("GET /_control/ping", s.ping)
	s.mux.HandleFunc("GET /_control/user", s.user)
	s.mux.HandleFunc("GET /_control/users/{user}/mailboxes", s.mailboxes)
	s.mux.HandleFunc("POST /_control/users/{user}/mailboxes", s.mailbox)
	s.mux.HandleFunc("POST "+box+"append", s.stream(s.append))
	s.mux.HandleFunc("GET "+box+"digests", s.stream(s.digests))
	s.mux.HandleFunc("GET "+box+"messages", s.stream(s.messages))
	if o.Check != nil {
		s.mux.HandleFunc("POST /_control/check", s.stream(s.check))
	}
	if o.Migrate != nil {
		s.mux.HandleFunc("POST /_control/migrate", s.stream(s.migrate))
	}
	return s, nil
}

// HTTP returns an HTTP server for the calls.
func (s *Server) HTTP() *http.Server {
	return &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) ping(w http.ResponseWriter, r *http.Request) {
	s.reply(w, r, Ping{Protocol: Protocol, Version: s.o.Version, PID: os.Getpid()}, nil)
}

func (s *Server) user(w http.ResponseWriter, r *http.Request) {
	acct, err := s.o.Accounts.FindLogin(r.Context(), r.URL.Query().Get("name"))
	if err != nil {
		s.reply(w, r, nil, err)
		return
	}
	s.reply(w, r, User{ID: acct.ID, Username: acct.Username, Address: acct.Address}, nil)
}

func (s *Server) mailboxes(w http.ResponseWriter, r *http.Request) {
	acct, err := accountOf(r)
	if err != nil {
		s.reply(w, r, nil, err)
		return
	}
	boxes, err := s.o.Mailboxes.List(r.Context(), acct)
	if err != nil {
		s.reply(w, r, nil, err)
		return
	}
	out, err := s.describe(r.Context(), acct, boxes...)
	s.reply(w, r, out, err)
}

func (s *Server) describe(ctx context.Context, acct mail.AccountID, boxes ...*mail.Mailbox) ([]Mailbox, error) {
	counters, err := s.o.Mailboxes.Counters(ctx, acct, mail.MailboxIDs(boxes)...)
	if err != nil {
		return nil, err
	}
	out := make([]Mailbox, len(boxes))
	for i, b := range boxes {
		out[i] = Mailbox{
			ID: b.ID, Path: b.Path, SpecialUse: b.SpecialUse, UIDValidity: b.UIDValidity, UIDNext: b.UIDNext,
			Messages: counters[b.ID].Messages, Size: counters[b.ID].Size,
		}
	}
	return out, nil
}

// mailbox finds a mailbox or makes it, with those above it.
func (s *Server) mailbox(w http.ResponseWriter, r *http.Request) {
	acct, err := accountOf(r)
	if err != nil {
		s.reply(w, r, nil, err)
		return
	}
	var in MailboxRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&in); err != nil {
		s.reply(w, r, nil, mail.WrapError(mail.CodeInvalid, "The request is not JSON", err))
		return
	}
	b, err := s.findOrMake(r.Context(), acct, in.Path)
	if err != nil {
		s.reply(w, r, nil, err)
		return
	}
	out, err := s.describe(r.Context(), acct, b)
	if err != nil {
		s.reply(w, r, nil, err)
		return
	}
	s.reply(w, r, out[0], nil)
}

func (s *Server) findOrMake(ctx context.Context, acct mail.AccountID, path string) (*mail.Mailbox, error) {
	if _, err := mail.CanonicalName(path); err != nil {
		return nil, err
	}
	b, err := s.o.Mailboxes.Lookup(ctx, acct, path)
	if err == nil || mail.CodeOf(err) != mail.CodeNoMailbox {
		return b, err
	}
	b, err = s.o.Mailboxes.Create(ctx, acct, mail.Mailbox{Path: path, Subscribed: true}, true)
	if mail.CodeOf(err) == mail.CodeExists {
		return s.o.Mailboxes.Lookup(ctx, acct, path)
	}
	return b, err
}

func accountOf(r *http.Request) (id mail.AccountID, err error) {
	if err := id.UnmarshalText([]byte(r.PathValue("user"))); err != nil {
		return id, mail.WrapError(mail.CodeInvalid, "The id of the user is not valid", err)
	}
	return id, nil
}

// target is the mailbox of a call.
func target(r *http.Request) (acct mail.AccountID, box mail.MailboxID, err error) {
	if acct, err = accountOf(r); err != nil {
		return acct, box, err
	}
	if err := box.UnmarshalText([]byte(r.PathValue("mailbox"))); err != nil {
		return acct, box, mail.WrapError(mail.CodeInvalid, "The id of the mailbox is not valid", err)
	}
	return acct, box, nil
}

// stream bounds how many large calls run at once and how long a client may pause.
func (s *Server) stream(h func(w http.ResponseWriter, r *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.streams <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		defer func() { <-s.streams }()
		p := &patient{ResponseWriter: w, ctl: http.NewResponseController(w), body: r.Body, pause: s.o.Pause}
		r.Body = p
		h(p, r)
	}
}

// patient gives each read and write of a call the same time.
type patient struct {
	http.ResponseWriter
	ctl   *http.ResponseController
	body  io.ReadCloser
	pause time.Duration
}

// Unwrap gives http.ResponseController the way to the connection.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Close closes the body of the request.
func (p *patient) Close() error { return p.body.Close() }

// Read reads the body of the request.
func (p *patient) Read(b []byte) (int, error) {
	if err := p.ctl.SetReadDeadline(time.Now().Add(p.pause)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, fmt.Errorf("set read deadline: %w", err)
	}
	return p.body.Read(b)
}

// Write writes the answer.
func (p *patient) Write(b []byte) (int, error) {
	if err := p.ctl.SetWriteDeadline(time.Now().Add(p.pause)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, fmt.Errorf("set write deadline: %w", err)
	}
	return p.ResponseWriter.Write(b)
}

// reply sends v, or err in the form of the API's errors.
func (s *Server) reply(w http.ResponseWriter, r *http.Request, v any, err error) {
	status := http.StatusOK
	if err != nil {
		code := mail.CodeOf(err)
		status, v = statusOf(code), Failure{Message: publicText(err), Code: code.String()}
		s.o.Log.WarnContext(r.Context(), "control call failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil && !errors.Is(err, net.ErrClosed) {
		s.o.Log.DebugContext(r.Context(), "control answer", "error", err)
	}
}

// publicText tells the operator, who may see everything, the whole error.
func publicText(err error) string { return err.Error() }

func statusOf(c mail.Code) int {
	switch c {
	case mail.CodeNotFound, mail.CodeNoMailbox, mail.CodeNoAccount:
		return http.StatusNotFound
	case mail.CodeInvalid, mail.CodeExists, mail.CodeForbidden, mail.CodeLimit, mail.CodeOverQuota, mail.CodeTooBig:
		return http.StatusBadRequest
	case mail.CodeUnavailable, mail.CodeNoSpace, mail.CodeCanceled, mail.CodeConflict:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
