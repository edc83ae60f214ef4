package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"mallard/internal/config"
	"mallard/internal/draft"
	"mallard/internal/event/redisbus"
	"mallard/internal/limit"
	"mallard/internal/limit/memlimit"
	"mallard/internal/limit/redislimit"
	"mallard/internal/lock/redislock"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/redisconn"
	"mallard/internal/store"
	"mallard/internal/store/mongostore"
	"mallard/internal/store/rediscounts"
	"mallard/internal/store/redisrecord"
)

// cluster is what a node of a cluster talks to.
type cluster struct {
	redis  *redisconn.Conn
	locks  *redislock.Locker
	counts *rediscounts.Counts
	mongo  *mongostore.Store
}

// connectCluster connects to the databases and makes the engine on them. MongoDB must
// answer in time; without Redis a node serves mail all the same.
func (n *Node) connectCluster(ctx context.Context) error {
	o, err := redisconn.Parse(n.cfg.DBs.Redis)
	if err != nil {
		return err
	}
	o.Log = n.log
	n.cluster = &cluster{}
	if n.cluster.redis, err = redisconn.Open(o); err != nil {
		return fmt.Errorf("dbs.redis: %w", err)
	}
	n.cluster.locks = redislock.New(n.cluster.redis, n.log)
	n.cluster.counts = rediscounts.New(n.cluster.redis, n.log)
	n.closers = append(n.closers, n.cluster.redis.Close, n.cluster.locks.Close, n.cluster.counts.Close)
	if err := n.openMongo(ctx); err != nil {
		return err
	}
	n.waitForRedis(ctx)
	return nil
}

// openCluster makes the engine, the bus and the counters on the databases.
func (n *Node) openCluster(ctx context.Context) error {
	if err := n.connectCluster(ctx); err != nil {
		return err
	}
	bus, err := redisbus.New(ctx, redisbus.Options{
		Conn: n.cluster.redis, WorkerID: workerID(n.cfg.DBs.WorkerID), Log: n.log, WorkerChannels: n.workerChannels,
		WorkersTTL:     time.Duration(n.cfg.IMAP.NotifyUserWorkersTTL) * time.Second,
		WorkersRefresh: time.Duration(n.cfg.IMAP.NotifyUserWorkersRefresh) * time.Second,
	})
	if err != nil {
		return fmt.Errorf("make the bus between nodes: %w", err)
	}
	n.bus = bus
	n.closers = append(n.closers, bus.Close)
	limits, err := redislimit.New(redislimit.Options{Conn: n.cluster.redis, Log: n.log})
	if err != nil {
		return fmt.Errorf("make the counters that nodes share: %w", err)
	}
	n.limits = limit.NewFallback(limits, memlimit.New(memlimit.Options{}))
	n.closers = append(n.closers, limits.Close)
	return nil
}

// openMongo waits for MongoDB and makes the engine on it.
func (n *Node) openMongo(ctx context.Context) error {
	st, err := mongostore.Open(ctx, mongoOptions(n.cfg, n.o, n.cluster))
	if err != nil {
		return fmt.Errorf("open the databases of [dbs]: %w", err)
	}
	n.cluster.mongo = st
	n.engine, n.checker = st, checkCluster(st, st)
	n.closers = append(n.closers, st.Close)
	return nil
}

func mongoOptions(cfg *config.Config, o Options, c *cluster) mongostore.Options {
	d := cfg.DBs
	wait := time.Duration(d.StartWait)
	if o.Command {
		wait = 0
	}
	return mongostore.Options{
		URI: d.Mongo, Users: d.Users, GridFS: d.GridFS, Sender: d.Sender,
		Bucket: cfg.Attachments.Bucket, KeepEncoded: !cfg.Attachments.DecodeBase64, KeepExpired: cfg.IMAP.DisableRetention,
		MaxPool: d.MaxPool, Gather: offWhenZero(time.Duration(d.Gather)), Timeout: time.Duration(d.Timeout), Lease: time.Duration(d.Lease),
		Dead: time.Duration(d.DeadAfter), Wait: wait,
		DescriptionCache: offWhenZero(int64(d.DescriptionCacheMB) << 20), ContentCache: offWhenZero(int64(d.ContentCacheMB) << 20),
		Describe: describer(newReceiver(cfg)), Locks: c.locks, Counters: c.counts,
		Accounts: redisrecord.NewAccounts(c.redis), Tokens: redisrecord.NewTokens(c.redis, time.Now), Logger: o.Log,
	}
}

// searchCache is what is kept in memory for searches: nothing of a store that is in this process itself.
func (n *Node) searchCache() mailbox.SearchCache {
	if n.cluster == nil {
		return mailbox.SearchCache{}
	}
	return mailbox.SearchCache{Index: n.cfg.DBs.SearchIndexMB << 20, Text: n.cfg.DBs.SearchTextMB << 20}
}

// describer parses messages that other programs have stored.
func describer(receiver *draft.Receiver) func(ctx context.Context, source io.ReaderAt, size int64) (*store.Content, error) {
	return func(ctx context.Context, source io.ReaderAt, size int64) (*store.Content, error) {
		d, err := receiver.Receive(ctx, io.NewSectionReader(source, 0, size), 0)
		if err != nil {
			return nil, err
		}
		c := *d.Content() // it ends with the draft
		c.Source, c.Header, c.Envelope, c.BodyStructure = source, slices.Clone(c.Header), slices.Clone(c.Envelope), slices.Clone(c.BodyStructure)
		c.Tree, c.Summary, c.Signature = slices.Clone(c.Tree), slices.Clone(c.Summary), slices.Clone(c.Signature)
		c.Leaves, c.References = slices.Clone(c.Leaves), slices.Clone(c.References)
		return &c, d.Close()
	}
}

// waitForRedis gives Redis the time of the start, so that a node that is started together
// with it has it.
func (n *Node) waitForRedis(ctx context.Context) {
	wait := time.Duration(n.cfg.DBs.StartWait)
	if n.o.Command {
		wait = min(wait, commandWait)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if n.cluster.redis.Up() {
		return
	}
	first, stop := context.WithTimeout(ctx, time.Second)
	err := n.cluster.redis.Wait(first)
	stop()
	if err == nil {
		return
	}
	n.log.Warn("waiting for Redis, redis in [dbs]", "error", err, "wait", wait)
	if err := n.cluster.redis.Wait(ctx); err != nil {
		n.log.Error("Redis does not answer: going on without it; other nodes are told late", "error", err)
	}
}

// commandWait is how long a command of the operator waits for Redis, which it can do
// without.
const commandWait = 2 * time.Second

// workerID names this process to the other nodes.
func workerID(configured string) string {
	if configured == "" {
		configured = hostName()
	}
	return fmt.Sprintf("%s:%d", configured, os.Getpid())
}

// settingWorkerChannels is the run-time setting that sends events to the nodes that serve
// their account alone.
const settingWorkerChannels = "const:imap:use_wd_worker_channels"

func (n *Node) workerChannels(ctx context.Context) bool {
	value, err := n.engine.Record(ctx, "setting", settingWorkerChannels)
	return err == nil && string(value) == "true"
}

// clusterHealth says which database does not answer.
func (n *Node) clusterHealth(ctx context.Context) error {
	var down []string
	var errs []error
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	if err := n.cluster.mongo.Ping(ctx); err != nil {
		down, errs = append(down, "DB is down"), append(errs, fmt.Errorf("MongoDB: %w", err))
	}
	if _, err := n.cluster.redis.State(); err != nil {
		down, errs = append(down, "Redis is down"), append(errs, fmt.Errorf("redis: %w", err))
	}
	if len(down) == 0 {
		return nil
	}
	return mail.WrapError(mail.CodeUnavailable, strings.Join(down, "; "), errors.Join(errs...))
}

// healthTimeout bounds a question whether the databases answer.
const healthTimeout = 5 * time.Second
