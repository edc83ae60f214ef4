package mongostore

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Options says where the data is and what the engine may use. URI is required.
type Options struct {
	// URI is the main database: a MongoDB URL with the name of the database in its path.
	URI string
	// Users, GridFS and Sender are where these collections are: the name of a database on the main server, or a URL;
	// "" for the main database.
	Users, GridFS, Sender string
	// Bucket is the name of the GridFS bucket of attachments, "attachments" when empty.
	Bucket string
	// KeepEncoded stores base64 attachments as they came, where false stores them decoded if that can be undone.
	KeepEncoded bool
	// MaxPool bounds the connections to each server; 100 when zero.
	MaxPool int
	// Gather is how long a message waits at most for others that come at the same time, while several are on their way into the
	// database, which is then given one command where each would have its own; 4 ms when zero, none when negative.
	Gather time.Duration
	// Timeout bounds each operation on the database, retries included; 10 s when zero.
	Timeout time.Duration
	// KeepExpired leaves messages that have expired, and archived ones, where they are.
	KeepExpired bool
	// Lease is how long a writer has between taking a UID and storing its message, and how long a reader waits for it before
	// it goes past; 3 s when zero. Messages that come after another one is stored are seen at most that much later when its
	// writer dies.
	Lease time.Duration
	// Dead is how long a node may be silent before the others take it for dead and settle what it has left; six times Timeout
	// and at least 1 min when zero. It is longer than a charge to a quota and a change of a mailbox take. Of two nodes that
	// differ in it the longer one counts.
	Dead time.Duration
	// Wait is how long Open waits for the databases; it tries once when zero.
	Wait time.Duration

	// DescriptionCache and ContentCache bound what is kept in memory of messages, in octets: what rows say of them that
	// does not change (4 to 8 kB each), and their text. 16 and 48 MiB when zero, nothing when negative. Memory is taken as
	// they fill.
	DescriptionCache, ContentCache int64

	// Describe parses a message that another program wrote, so that it can be served as if it had come through Stage.
	Describe func(ctx context.Context, source io.ReaderAt, size int64) (*store.Content, error)
	// Locks are locks shared with the other nodes; nil for none, as on a single node.
	Locks Locks
	// Counters are told about changes in the numbers of messages; nil for none.
	Counters Counters
	// Accounts is told about changes of accounts that other nodes have in caches; nil for none.
	Accounts AccountCache
	// Tokens keeps the records of kind "token" where WildDuck nodes have access tokens; nil keeps them in the database.
	Tokens Records
	Logger *slog.Logger // nil discards
	Now    func() time.Time

	monitor *event.CommandMonitor // for tests
	asleep  func() bool           // for tests: the node does not beat
	patient time.Duration         // for tests: what the driver waits, where that is not Timeout

	redateBatch int // for tests: where that is not the constant
}

// Locks are leases that all nodes share.
type Locks interface {
	// Lock waits until the lock is free, at most as long as ctx lives, and takes it for ttl. The lease is renewed until
	// release is called or the node dies. lost is closed when the lease could not be renewed in time.
	Lock(ctx context.Context, name string, ttl time.Duration) (release func(), lost <-chan struct{}, err error)
}

// Counters are the cached numbers of messages in a mailbox that all nodes share. They are a cache: an error is logged
// and nothing else, and the entry ends by its time.
type Counters interface {
	// Count adds to the cached numbers of messages. unseenUnknown drops the number of unseen ones instead of adding.
	Count(ctx context.Context, mbox mail.MailboxID, total, unseen int64, unseenUnknown bool) error
}

// AccountCache is what nodes share about accounts beside the database. It is a cache: an error is logged and nothing
// else.
type AccountCache interface {
	// Forget drops the cached limits of an account.
	Forget(ctx context.Context, id mail.AccountID) error
	// Features adds an account to the sets of some feature flags and takes it out of others.
	Features(ctx context.Context, id mail.AccountID, on, off []string) error
}

// Records keep the records of one kind; see store.Registry for what the methods promise.
type Records interface {
	PutRecord(ctx context.Context, key string, value []byte) error
	Record(ctx context.Context, key string) ([]byte, error)
	Records(ctx context.Context) iter.Seq2[string, []byte]
}

func (o *Options) setDefaults() {
	if o.Bucket == "" {
		o.Bucket = "attachments"
	}
	if o.MaxPool == 0 {
		o.MaxPool = 100
	}
	if o.Gather == 0 {
		o.Gather = 4 * time.Millisecond
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Lease == 0 {
		o.Lease = 3 * time.Second
	}
	if o.Dead == 0 {
		o.Dead = max(time.Minute, 6*o.Timeout)
	}
	if o.DescriptionCache == 0 {
		o.DescriptionCache = 16 << 20
	}
	if o.ContentCache == 0 {
		o.ContentCache = 48 << 20
	}
	if o.redateBatch == 0 {
		o.redateBatch = redateBatch
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}
