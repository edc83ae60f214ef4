// Package lmtp is the LMTP server (RFC 2033): mail comes in here, and each
// recipient gets a verdict of its own, given only after the message is durable.
//
// Extensions: PIPELINING (RFC 2920), 8BITMIME (6152), SMTPUTF8 (6531), CHUNKING
// (3030), SIZE (1870), ENHANCEDSTATUSCODES (2034), STARTTLS (3207).
//
// The package speaks the wire format and asks a Backend for everything else. It
// must not import the store or another protocol.
package lmtp

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"time"

	"mallard/internal/delivery"
	"mallard/internal/draft"
)

// Backend does the work behind the protocol; *delivery.Service is one.
type Backend interface {
	// Resolve finds the mailbox owner of an address.
	Resolve(ctx context.Context, address string) (*delivery.Recipient, error)
	// Receive reads one message to its end.
	Receive(ctx context.Context, r io.Reader, maxSize int64) (*draft.Draft, error)
	// Deliver stores a message for each recipient, with one verdict for each.
	Deliver(ctx context.Context, env delivery.Envelope, d *draft.Draft) []delivery.Verdict
}

// Options configures a Server. A zero number means its default.
type Options struct {
	Backend Backend
	Log     *slog.Logger
	// Name is the host name in greetings, Banner the text after it.
	Name, Banner string
	// TLS, when set, offers STARTTLS. It is not used for implicit TLS.
	TLS *tls.Config
	// MaxSize is the greatest message in octets. Default 64 MiB.
	MaxSize int64
	// MaxRecipients is the number of recipients of one transaction, refused ones
	// included. Default 1000.
	MaxRecipients int
	// MaxErrors is the number of refused commands since the last message that was
	// stored after which a connection is closed. Default 100.
	MaxErrors int
	// MaxLine is the length of a command line in octets. Default 4096.
	MaxLine int
	// ReadTimeout is the time for one command, and the longest wait for the next
	// octets of a message; WriteTimeout the time for the client to take a reply;
	// TLSTimeout bounds the handshake of STARTTLS. Default 5 minutes, 1 minute and
	// 1 minute.
	ReadTimeout, WriteTimeout, TLSTimeout time.Duration
	// LingerTime is how long a connection that the server ends stays open for the
	// client to read the last reply. Default 2 seconds.
	LingerTime time.Duration
	// MaxDataTime bounds the time in which one message must arrive. Default 1 hour.
	MaxDataTime time.Duration
	// MinRate is the rate in octets per second that a message must have on the
	// average, once it has taken ReadTimeout. Default 100.
	MinRate int64
	// HostName begins to look for the host name of a client and returns a function that
	// waits for it; nil does not look for names.
	HostName func(remote net.Addr) func() string
}

// Defaults of Options.
const (
	DefaultMaxSize       = 64 << 20
	DefaultMaxRecipients = 1000
	DefaultMaxErrors     = 100
	DefaultMaxLine       = 4096
	DefaultReadTimeout   = 5 * time.Minute
	DefaultWriteTimeout  = time.Minute
	DefaultTLSTimeout    = time.Minute
	DefaultLingerTime    = 2 * time.Second
	DefaultMaxDataTime   = time.Hour
	DefaultMinRate       = 100
)

func (o *Options) setDefaults() {
	setDefault(&o.MaxSize, DefaultMaxSize)
	setDefault(&o.MaxRecipients, DefaultMaxRecipients)
	setDefault(&o.MaxErrors, DefaultMaxErrors)
	setDefault(&o.MaxLine, DefaultMaxLine)
	setDefault(&o.ReadTimeout, DefaultReadTimeout)
	setDefault(&o.WriteTimeout, DefaultWriteTimeout)
	setDefault(&o.TLSTimeout, DefaultTLSTimeout)
	setDefault(&o.LingerTime, DefaultLingerTime)
	setDefault(&o.MaxDataTime, DefaultMaxDataTime)
	setDefault(&o.MinRate, DefaultMinRate)
	setDefault(&o.Name, "localhost")
	setDefault(&o.Banner, "Welcome to Mallard")
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

// Server serves LMTP connections.
type Server struct{ o Options }

// New returns a server.
func New(o Options) *Server {
	o.setDefaults()
	return &Server{o: o}
}

// Serve runs one connection until it ends. It is a netserve.Handler.
func (s *Server) Serve(ctx context.Context, c net.Conn) {
	ses := newSession(s, c)
	stop := context.AfterFunc(ctx, ses.interrupt)
	defer stop()
	ses.run(ctx)
}
