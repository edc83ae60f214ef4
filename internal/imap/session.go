package imap

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base32"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"mallard/internal/event"
	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/netserve"
)

// session is one connection.
type session struct {
	srv  *Server
	id   string
	conn net.Conn
	line *netserve.Conn // beneath TLS
	r    *imapwire.Reader
	w    *imapwire.Encoder

	mu      sync.Mutex // guards these, and conn's read deadline against who ends a wait
	waiting waiting
	stopped bool
	woken   bool // there are events, or there were

	readBy time.Time         // when the present wait for the client is over; zero before it
	idling *imapwire.Command // IDLE, when that is going on
	tickBy time.Time         // when the idling client is sent something; zero for never
	heeded bool              // events were told of, and the client has not been listened to since

	secure  bool
	enabled extensions
	errors  int
	logins  int  // that were refused
	done    bool // the connection is to be closed
	loginBy time.Time

	acct    owner
	release func() // nil before login
	events  event.Subscription

	view     *mailbox.View // nil unless selected
	readOnly bool
	keywords keywords
}

// owner is what a session keeps of the account.
type owner struct {
	ID        mail.AccountID
	Username  string
	Retention time.Duration // of new mailboxes
}

// extensions are those that a client has switched on.
type extensions struct {
	condStore bool // RFC 7162
}

func newSession(srv *Server, c net.Conn) *session {
	s := &session{srv: srv, id: sessionID(), loginBy: time.Now().Add(srv.o.LoginTimeout)}
	_, s.secure = c.(*tls.Conn)
	c, s.line = netserve.Waitable(c)
	s.attach(c)
	return s
}

// log names the session and its account. It is made when something is to be said,
// which is seldom.
func (s *session) log() *slog.Logger {
	l := s.srv.o.Log.With("session", s.id, "remote", s.conn.RemoteAddr().String())
	if s.loggedIn() {
		l = l.With("account", s.acct.ID)
	}
	return l
}

// sessionID returns 16 lower-case base32 characters, which tell sessions apart
// in logs and journals.
func sessionID() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails, see its documentation
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// attach starts to talk over c. What was read before from another connection is
// forgotten: before a TLS handshake it could be anybody's.
func (s *session) attach(c net.Conn) {
	s.mu.Lock()
	s.conn = c
	s.mu.Unlock()
	limits := imapwire.PreAuthLimits()
	limits.MaxAppend = s.srv.o.MaxAppend
	s.r = imapwire.NewReader((*patientReader)(s), imapwire.Options{
		Limits: limits, Commands: s.srv.table, Continue: s.goAhead,
	})
	s.w = imapwire.NewEncoder((*patientWriter)(s))
}

// goAhead lets the client send a literal.
func (s *session) goAhead() error {
	s.w.Continue("Go ahead")
	return s.w.Flush()
}

// end releases what the session holds.
func (s *session) end() {
	s.w.Abandon(func() { _ = s.conn.SetWriteDeadline(time.Unix(1, 0)) })
	s.deselect()
	if s.events != nil {
		s.events.Close()
	}
	if s.release != nil {
		s.release()
	}
}

func (s *session) deselect() {
	if s.view != nil {
		s.view.Close()
		s.view = nil
		s.keywords = keywords{}
	}
}

func (s *session) loggedIn() bool { return s.release != nil }

func (s *session) state() imapwire.State {
	switch {
	case !s.loggedIn():
		return imapwire.StateNotAuthenticated
	case s.view == nil:
		return imapwire.StateAuthenticated
	}
	return imapwire.StateSelected
}

func (s *session) greet() {
	s.w.Status("*", imapwire.CondOK, imapwire.CodeCapability(s.capabilities()), s.srv.o.Name+" ready")
}

// run carries out what the client asks for until it has been waiting for a while,
// or the session is over.
func (s *session) run(ctx context.Context) {
	for !s.done {
		if s.idling != nil {
			if !s.idleOn(ctx) {
				return
			}
			continue
		}
		cmd, err := s.next()
		switch {
		case errors.Is(err, errQuiet):
			return
		case err != nil:
			s.readFailed(err)
			continue
		}
		if reason, ended := s.loggedOut(); ended {
			s.bye("", reason)
			break
		}
		s.answer(ctx, cmd, s.dispatch(ctx, cmd))
	}
	_ = s.w.Flush()
}

// next reads a command. Answers are sent when there is nothing more to be read
// at once: those to commands that came together go out together.
func (s *session) next() (*imapwire.Command, error) {
	if s.setWaiting(forCommand) {
		return nil, errStopped
	}
	defer s.setWaiting(busy)
	return s.r.ReadCommand(s.state())
}

// readFailed answers to a command that could not be read.
func (s *session) readFailed(err error) {
	var bad *imapwire.Error
	var timeout net.Error
	switch {
	case errors.As(err, &bad):
		s.refuse("*", bad)
		return
	case s.setWaiting(busy) || errors.Is(err, errStopped):
		s.bye(imapwire.CodeUnavailable, "The server is shutting down")
	case errors.As(err, &timeout) && timeout.Timeout():
		s.bye("", "Idle for too long")
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		s.log().Debug("IMAP connection", "error", err)
	}
	s.done = true
}

// refuse answers to a command that was not accepted. Errors are counted: those of
// syntax alone, since what is refused for another reason may be well meant.
func (s *session) refuse(tag string, e *imapwire.Error) {
	if e.Command == "SELECT" || e.Command == "EXAMINE" {
		s.deselect() // a SELECT that fails leaves no mailbox selected (RFC 3501, 6.3.1)
	}
	s.w.Error(tag, e)
	if e.Kind == imapwire.Bad {
		s.errors++
	}
	switch {
	case e.Kind == imapwire.Bye:
		s.done = true
	case s.errors > s.srv.o.MaxErrors:
		s.bye("", "Too many protocol errors")
	}
}

func (s *session) bye(code imapwire.Code, text string) {
	s.w.Status("*", imapwire.CondBYE, code, text)
	s.done = true
}

// loggedOut reports whether the account's sessions were told to end.
func (s *session) loggedOut() (reason string, ended bool) {
	if !s.wasWoken() {
		return "", false
	}
	return logoutReason(s.events.Take())
}

func logoutReason(events []event.Event) (string, bool) {
	for _, e := range events {
		if e.Kind == event.Logout {
			if e.Reason == "" {
				return "Logged out", true
			}
			return e.Reason, true
		}
	}
	return "", false
}

// answer answers a command that has failed with err; who succeeds has answered.
func (s *session) answer(ctx context.Context, cmd *imapwire.Command, err error) {
	if err == nil {
		return
	}
	var bad *imapwire.Error
	if errors.As(err, &bad) {
		s.refuse(cmd.Tag, bad)
		return
	}
	if s.w.Err() != nil {
		s.done = true
		return
	}
	s.fail(ctx, cmd, err)
}

// dispatch calls the handler of a command. A handler answers success itself; an
// error is answered by the caller.
func (s *session) dispatch(ctx context.Context, cmd *imapwire.Command) error {
	switch a := cmd.Args.(type) {
	case *imapwire.Capability:
		s.w.Capability(s.capabilities())
		return s.ok(ctx, cmd, "")
	case *imapwire.Noop, *imapwire.Check:
		return s.ok(ctx, cmd, "")
	case *imapwire.Logout:
		s.bye("", "Logging out")
		s.w.OK(cmd.Tag, "", "LOGOUT completed")
		return nil
	case *imapwire.ID:
		return s.identify(ctx, cmd, a)
	case *imapwire.StartTLS:
		return s.startTLS(ctx, cmd)
	case *imapwire.Login:
		return s.login(ctx, cmd, a.Username, a.Password)
	case *imapwire.Authenticate:
		return s.authenticate(ctx, cmd, a)
	case *imapwire.Enable:
		return s.enable(ctx, cmd, a)
	case *imapwire.Namespace:
		s.w.Namespaces([]imapwire.NamespaceData{{Delimiter: mail.Separator[0]}}, nil, nil)
		return s.ok(ctx, cmd, "")
	case *imapwire.Idle:
		return s.idle(ctx, cmd)
	}
	if s.view != nil {
		if handled, err := s.dispatchSelected(ctx, cmd); handled {
			return err
		}
	}
	return s.dispatchMailboxes(ctx, cmd)
}

func (s *session) dispatchMailboxes(ctx context.Context, cmd *imapwire.Command) error {
	switch a := cmd.Args.(type) {
	case *imapwire.Select:
		return s.selectMailbox(ctx, cmd, a)
	case *imapwire.List:
		return s.list(ctx, cmd, a)
	case *imapwire.LSub:
		return s.lsub(ctx, cmd, a)
	case *imapwire.Create:
		return s.create(ctx, cmd, a)
	case *imapwire.Delete:
		return s.delete(ctx, cmd, a)
	case *imapwire.Rename:
		return s.rename(ctx, cmd, a)
	case *imapwire.Subscribe:
		return s.subscribe(ctx, cmd, a.Mailbox, true)
	case *imapwire.Unsubscribe:
		return s.subscribe(ctx, cmd, a.Mailbox, false)
	case *imapwire.Status:
		return s.status(ctx, cmd, a)
	case *imapwire.Append:
		return s.append(ctx, cmd, a)
	case *imapwire.GetQuota:
		return s.getQuota(ctx, cmd, a)
	case *imapwire.GetQuotaRoot:
		return s.getQuotaRoot(ctx, cmd, a)
	case *imapwire.SetQuota:
		return s.setQuota(ctx, cmd)
	}
	return &imapwire.Error{Kind: imapwire.Bad, Text: "Unknown command: " + cmd.Name}
}

func (s *session) dispatchSelected(ctx context.Context, cmd *imapwire.Command) (bool, error) {
	switch a := cmd.Args.(type) {
	case *imapwire.Close:
		return true, s.closeMailbox(ctx, cmd)
	case *imapwire.Unselect:
		s.deselect()
		return true, s.ok(ctx, cmd, "")
	case *imapwire.Expunge:
		return true, s.expunge(ctx, cmd, a)
	case *imapwire.Fetch:
		return true, s.fetch(ctx, cmd, a)
	case *imapwire.Store:
		return true, s.store(ctx, cmd, a)
	case *imapwire.Copy:
		return true, s.copy(ctx, cmd, a)
	case *imapwire.Move:
		return true, s.move(ctx, cmd, a)
	case *imapwire.Search:
		return true, s.search(ctx, cmd, a)
	}
	return false, nil
}

// ok tells what is new and completes the command.
func (s *session) ok(ctx context.Context, cmd *imapwire.Command, code imapwire.Code) error {
	return s.okText(ctx, cmd, code, cmd.Name+" completed")
}

func (s *session) okText(ctx context.Context, cmd *imapwire.Command, code imapwire.Code, text string) error {
	if err := s.tell(ctx, mayExpunge(cmd)); err != nil {
		if asks(cmd) || !mail.CodeOf(err).Temporary() {
			return err
		}
		// What was done is done: a client that is told otherwise does it again. What is new it is told later.
		s.log().WarnContext(ctx, "what is new in the mailbox is told later", "command", cmd.Name, "error", err)
	}
	s.w.OK(cmd.Tag, code, text)
	return nil
}

// asks reports whether a command is about what is new and nothing else.
func asks(cmd *imapwire.Command) bool {
	switch cmd.Args.(type) {
	case *imapwire.Noop, *imapwire.Check:
		return true
	}
	return false
}
