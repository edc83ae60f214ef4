// Package imap is the IMAP server: IMAP4rev1 (RFC 3501) and its extensions.
//
// The wire format is package imapwire's, the mailbox as a session sees it is
// mailbox.View's; what is here is the protocol: states, commands, and when a
// client may be told what. Each family of commands has its file, and an extension
// is an entry in the capability table and a file. The package must not import the
// storage engines or another protocol.
package imap

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"time"

	"mallard/internal/draft"
	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/netserve"
)

// Authenticator checks who a client is.
type Authenticator interface {
	// Login returns the account for a name and password. session names the
	// connection in logs. Errors: AuthFailed, AuthScope, RateLimited, Disabled.
	Login(ctx context.Context, username, password string, remote net.Addr, session string) (*mail.Account, error)
}

// Accounts answers what the server wants to know of an account.
type Accounts interface {
	// Quota returns used and allowed octets; allowed is 0 when there is no limit.
	Quota(ctx context.Context, acct mail.AccountID) (used, allowed int64, err error)
	// Acquire counts a session of the account. When there are too many it returns
	// an error with code Limit; otherwise release must be called once.
	Acquire(ctx context.Context, acct *mail.Account) (release func(), err error)
}

// Traffic counts the octets of messages that an account moves.
type Traffic interface {
	// Uploaded counts what was appended, Downloaded what bodies were fetched.
	Uploaded(ctx context.Context, acct mail.AccountID, octets int64)
	Downloaded(ctx context.Context, acct mail.AccountID, octets int64)
}

// Receiver takes in messages; *draft.Receiver is one.
type Receiver interface {
	Receive(ctx context.Context, r io.Reader, maxSize int64) (*draft.Draft, error)
}

// Options configures a Server. A zero number means its default.
type Options struct {
	Auth      Authenticator
	Accounts  Accounts
	Mailboxes *mailbox.Service
	Receiver  Receiver
	Traffic   Traffic // may be nil
	Log       *slog.Logger

	// TLS, when set, offers STARTTLS on connections that are not secure.
	TLS *tls.Config
	// AllowPlain permits LOGIN without TLS. Connections from loopback may always
	// log in.
	AllowPlain bool
	// Secured says that something in front of the server does TLS, so that a connection without TLS is as good as one with it.
	// It is not where the proxy says that its client came without TLS, nor, with Proxied, where no header of a proxy has come.
	Secured bool
	// Proxied says that connections from what is in front begin with a PROXY header.
	Proxied bool
	// Name, Version and Vendor are told in the greeting and in ID (RFC 2971).
	Name, Version, Vendor string
	// MaxAppend is the greatest message that APPEND takes, in octets. Default 64 MiB.
	MaxAppend int64
	// MaxLine is the length of a command without its literals, and the length of all
	// its literals together, those of APPEND apart. Default 64 KiB.
	MaxLine int
	// MaxErrors is the number of bad commands after which a connection is closed.
	// Default 50.
	MaxErrors int
	// MaxLogins is the number of refused logins after which a connection is
	// closed. Default 10.
	MaxLogins int
	// LoginTimeout is the time from the connection to the login, IdleTimeout the
	// time without a command after that, WriteTimeout the longest wait for the
	// client to take 256 KiB. Defaults 2, 35 and 5 minutes.
	LoginTimeout, IdleTimeout, WriteTimeout time.Duration
	// Grace is how long a command may go on when the server is shut down.
	// Default 5 seconds.
	Grace time.Duration
	// TLSTimeout is how long the handshake after STARTTLS may take. Default 1 minute.
	TLSTimeout time.Duration
	// KeepAlive is the time after which an idling client is sent something, so
	// that it and the boxes on the way know that the connection lives. Default 4
	// minutes; negative for never.
	KeepAlive time.Duration
	// RestAfter is the time after which a session that waits for its client gives back
	// what it needs for carrying out commands. Default 1 second.
	RestAfter time.Duration
	// ReadPatience is how long one reading of the engine waits, in all, for a client that is
	// behind, before the engine is let go and read anew later. Default 50 milliseconds;
	// negative for not at all.
	ReadPatience time.Duration
}

// Defaults of Options.
const (
	DefaultMaxAppend    = 64 << 20
	DefaultMaxLine      = 64 << 10
	DefaultMaxErrors    = 50
	DefaultMaxLogins    = 10
	DefaultLoginTimeout = 2 * time.Minute
	DefaultIdleTimeout  = 35 * time.Minute
	DefaultWriteTimeout = 5 * time.Minute
	DefaultGrace        = 5 * time.Second
	DefaultKeepAlive    = 4 * time.Minute
	DefaultTLSTimeout   = time.Minute
	DefaultRestAfter    = time.Second
	DefaultReadPatience = 50 * time.Millisecond
)

func (o *Options) setDefaults() {
	setDefault(&o.MaxAppend, DefaultMaxAppend)
	setDefault(&o.MaxLine, DefaultMaxLine)
	setDefault(&o.MaxErrors, DefaultMaxErrors)
	setDefault(&o.MaxLogins, DefaultMaxLogins)
	setDefault(&o.Grace, DefaultGrace)
	setDefault(&o.LoginTimeout, DefaultLoginTimeout)
	setDefault(&o.IdleTimeout, DefaultIdleTimeout)
	setDefault(&o.WriteTimeout, DefaultWriteTimeout)
	setDefault(&o.KeepAlive, DefaultKeepAlive)
	setDefault(&o.TLSTimeout, DefaultTLSTimeout)
	setDefault(&o.RestAfter, DefaultRestAfter)
	setDefault(&o.ReadPatience, DefaultReadPatience)
	setDefault(&o.Name, "Mallard")
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Server serves IMAP connections.
type Server struct {
	o     Options
	table *imapwire.Table
}

// New returns a server.
func New(o Options) *Server {
	o.setDefaults()
	return &Server{o: o, table: imapwire.NewTable().Without(notYet()...)}
}

// notYet are commands that the wire layer can read and the server does not offer.
func notYet() []string {
	return []string{"COMPRESS", "SORT", "THREAD", "UNAUTHENTICATE"}
}

// Serve runs one connection until it ends. It is a netserve.Handler: when ctx
// ends, the command that is being carried out is finished, within Grace, and the
// client is told good-bye.
func (s *Server) Serve(ctx context.Context, c net.Conn) {
	ses := newSession(s, c)
	ses.greet()
	stop := context.AfterFunc(ctx, ses.interrupt)
	defer stop()
	defer ses.end()
	for !ses.done {
		netserve.Aside(func() { s.work(ctx, ses) })
		ses.await()
	}
}

// work lets a session do what there is to do. When ctx ends, it has Grace.
func (s *Server) work(ctx context.Context, ses *session) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(s.o.Grace):
			cancel()
		case <-work.Done():
		}
	})
	defer stop()
	ses.run(work)
}
