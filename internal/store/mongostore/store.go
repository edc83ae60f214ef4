package mongostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"mallard/internal/mail"
)

// Store is the engine. It is safe for concurrent use.
type Store struct {
	o       Options
	clients []*mongo.Client
	db      databases
	ids     *mail.IDGenerator
	owned   owned

	tracks   tracks
	journals journals
	caches   caches
	together together
	seen     seenBoxes
	// unhinted says that the index that findUIDs names was not there, and until when it is not asked for again.
	unhinted atomic.Pointer[time.Time]

	// removing are the locks of those who remove messages, by mailbox; seed says which.
	removing [256]sync.Mutex
	seed     maphash.Seed

	// naming are the locks of those who store what must be unique, by its value.
	naming [64]sync.Mutex

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup

	// closing ends work in the background, which background waits for.
	closing     context.Context
	stop        context.CancelFunc
	background  sync.WaitGroup
	leftOver    atomic.Int32
	authLogKept atomic.Pointer[authLogSetting]
	register    *register

	// ledger are the charges that are not done, pulse says when others last heard of this node.
	ledger ledger
	pulse  pulse

	// taskMade says that there is a task that Redate does.
	taskMade chan struct{}

	// hook is called between the writes of a change; tests interrupt it there.
	hook func(step string) error
}

// databases are the databases by their role. Writes go to a majority, reads to the primary: a node must see what it and
// others have been told is stored.
type databases struct {
	main, users, gridfs, sender *mongo.Database
	collections                 collections
}

// collections are those that every delivery uses; the driver would make a new handle of a kilobyte at each call.
type collections struct {
	users, messages, mailboxes, archived, journal, threads *mongo.Collection
}

// open makes the handles, once the databases are known.
func (c *collections) open(d *databases) {
	*c = collections{
		users: d.users.Collection(colUsers), messages: d.main.Collection(colMessages), mailboxes: d.main.Collection(colMailboxes),
		archived: d.main.Collection(colArchived), journal: d.main.Collection(colJournal), threads: d.main.Collection(colThreads),
	}
}

// Open connects to the databases, waits for them as long as Options.Wait, and makes the indexes that are missing.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	o.setDefaults()
	ids, err := mail.NewIDGenerator(o.Now)
	if err != nil {
		return nil, err
	}
	s := &Store{o: o, ids: ids, caches: newCaches(&o), seed: maphash.MakeSeed(), taskMade: make(chan struct{}, 1)}
	s.ledger.init()
	s.closing, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.tracks.init()
	defer func() {
		if err != nil {
			s.stop()
			s.disconnect()
		}
	}()
	if err := s.connect(); err != nil {
		return nil, err
	}
	s.startTogether()
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	if err := s.ensureIndexes(ctx); err != nil {
		return nil, fmt.Errorf("create the indexes: %w", err)
	}
	s.background.Go(s.live)
	s.background.Go(s.watchOthers)
	s.startRegister()
	return s, nil
}

func (s *Store) connect() error {
	main, err := s.dial(s.o.URI)
	if err != nil {
		return fmt.Errorf("dbs.mongo: %w", err)
	}
	s.db.main = main
	for _, d := range []struct {
		key, value string
		db         **mongo.Database
	}{{"users", s.o.Users, &s.db.users}, {"gridfs", s.o.GridFS, &s.db.gridfs}, {"sender", s.o.Sender, &s.db.sender}} {
		switch {
		case d.value == "":
			*d.db = main
		case strings.ContainsAny(d.value, ":/"):
			if *d.db, err = s.dial(d.value); err != nil {
				return fmt.Errorf("dbs.%s: %w", d.key, err)
			}
		default:
			*d.db = main.Client().Database(d.value)
		}
	}
	s.db.collections.open(&s.db)
	return nil
}

// dial opens a client and returns the database that the URL names.
func (s *Store) dial(uri string) (*mongo.Database, error) {
	name, err := databaseOf(uri)
	if err != nil {
		return nil, err
	}
	client, err := mongo.Connect(options.Client().ApplyURI(uri).
		SetMaxPoolSize(uint64(s.o.MaxPool)).
		SetAppName("mallard").
		SetMonitor(s.o.monitor).
		SetTimeout(cmp.Or(s.o.patient, s.o.Timeout)).
		SetServerSelectionTimeout(cmp.Or(s.o.patient, s.o.Timeout)).
		SetReadPreference(readpref.Primary()).
		SetWriteConcern(writeconcern.Majority()).
		// Small integers are Int32, as WildDuck writes them.
		SetBSONOptions(&options.BSONOptions{IntMinSize: true, NilSliceAsEmpty: true}))
	if err != nil {
		return nil, err
	}
	s.clients = append(s.clients, client)
	return client.Database(name), nil
}

// databaseOf is the database that a URL names. It may list several hosts, which net/url does not read, and the error must
// not show a password.
func databaseOf(uri string) (string, error) {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok || scheme != "mongodb" && scheme != "mongodb+srv" {
		return "", errors.New("not a URL such as mongodb://127.0.0.1:27017/wildduck")
	}
	rest, _, _ = strings.Cut(rest, "?")
	_, name, _ := strings.Cut(rest[strings.LastIndexByte(rest, '@')+1:], "/")
	if name == "" {
		return "", errors.New("the URL names no database: mongodb://host:port/NAME")
	}
	return name, nil
}

// silentWait is how long a start that may wait does so without a word: the first ping that fails takes up to Timeout.
const silentWait = time.Second

// wait pings every server until it answers.
func (s *Store) wait(ctx context.Context) error {
	until := s.o.Now().Add(s.o.Wait)
	if s.o.Wait > 0 {
		late := time.AfterFunc(silentWait, func() { s.o.Logger.Warn("waiting for the database, mongo in [dbs]", "wait", s.o.Wait) })
		defer late.Stop()
	}
	for {
		err := s.Ping(ctx)
		if err == nil {
			return nil
		}
		if !s.o.Now().Before(until) || ctx.Err() != nil {
			return fmt.Errorf("reach the database: %w", err)
		}
		s.o.Logger.Warn("waiting for the database, mongo in [dbs]", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// Ping tells whether every database server answers.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	for _, c := range s.clients {
		if err := c.Ping(ctx, readpref.Primary()); err != nil {
			return err
		}
	}
	return nil
}

// enter counts a call as running, so that Close waits for it; the caller calls the function it returns at its end.
func (s *Store) enter(ctx context.Context, op string) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, mail.WrapError(mail.CodeCanceled, op, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed(op)
	}
	s.running.Add(1)
	return s.running.Done, nil
}

// Close waits for running calls and closes the connections.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
	s.stop()
	s.background.Wait()
	s.signOff()
	return s.disconnect()
}

func (s *Store) disconnect() error {
	var errs []error
	for _, c := range s.clients {
		ctx, cancel := context.WithTimeout(context.Background(), s.o.Timeout)
		errs = append(errs, c.Disconnect(ctx))
		cancel()
	}
	return errors.Join(errs...)
}
