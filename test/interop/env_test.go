//go:build e2e

package interop

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/test/e2e/harness"
	"mallard/test/servers"
)

// An env is one database with a node of each kind on it.
type env struct {
	mallard  *node
	wildduck *node
	mongoURL string          // with the name of the database
	redisURL string          // with the number of the database
	db       *mongo.Database // the main one
	users    *mongo.Database
	files    *mongo.Database // of attachments
	redis    *redis.Client
}

// A node is a server as its clients see it.
type node struct {
	name string
	api  string // http://host:port
	imap string // host:port
	lmtp string
	pop3 string // empty where there is none
}

// secret signs tokens; nodes that take each other's must have the same.
const secret = "[api.accessControl]\nsecret = \"interop-token-secret\"\n"

// names counts the users of this process: each test has its own.
var names = new(atomic.Int64)

// onlyWildDuck tells whether a second WildDuck stands in Mallard's place: a test that fails there too is wrong, or asks
// for more than WildDuck does.
func onlyWildDuck() bool { return os.Getenv("MALLARD_E2E_WILDDUCK") == "1" }

// start starts both nodes on an empty database, Mallard first. Options of the two are given as the contract's [dbs] has them,
// extra is more of Mallard's configuration.
func start(t *testing.T, o servers.WildDuckOptions, extra ...string) *env {
	t.Helper()
	e, o := open(t, o)
	e.startMallard(t, o, extra...)
	e.wildduck = wildduckNode("WildDuck", servers.StartWildDuck(t, o))
	return e
}

// join starts Mallard on the database of a WildDuck that is there already. It waits for a minute: for so long WildDuck keeps
// the lock of those who make indexes.
func join(t *testing.T, o servers.WildDuckOptions) *env {
	t.Helper()
	e, o := open(t, o)
	e.wildduck = wildduckNode("WildDuck", servers.StartWildDuck(t, o))
	e.startMallard(t, o)
	return e
}

// open makes an empty database, and the options of those that use it.
func open(t *testing.T, o servers.WildDuckOptions) (*env, servers.WildDuckOptions) {
	t.Helper()
	e := &env{mongoURL: servers.SharedMongo(t) + fmt.Sprintf("interop_%d_%d", os.Getpid(), names.Add(1))}
	r := servers.StartRedis(t, servers.RedisOptions{Password: "interop-secret"}) // its own: channels know no databases
	e.redisURL = r.Database(3)
	o.Mongo, o.Redis = e.mongoURL, e.redisURL
	o.Extra += secret
	e.connect(t, o)
	t.Cleanup(func() { e.drop(t) })
	return e, o
}

func (e *env) startMallard(t *testing.T, o servers.WildDuckOptions, extra ...string) {
	t.Helper()
	if onlyWildDuck() {
		e.mallard = wildduckNode("second WildDuck", servers.StartWildDuck(t, o))
		return
	}
	s := harness.Start(t, harness.Options{DBs: dbs(o), Extra: secret + strings.Join(extra, "")})
	e.mallard = &node{name: "Mallard", api: s.API, imap: s.IMAP, lmtp: s.LMTP}
}

func wildduckNode(name string, w *servers.WildDuck) *node {
	return &node{name: name, api: w.API, imap: w.IMAP, lmtp: w.LMTP, pop3: w.POP3}
}

// dbs is Mallard's configuration of what WildDuck is started with.
func dbs(o servers.WildDuckOptions) string {
	text := fmt.Sprintf("mongo = %q\nredis = %q\nsender = %q\n", o.Mongo, o.Redis, "zone-mta")
	if o.GridFS != "" {
		text += fmt.Sprintf("gridfs = %q\n", o.GridFS)
	}
	if o.Users != "" {
		text += fmt.Sprintf("users = %q\n", o.Users)
	}
	return text
}

func (e *env) connect(t *testing.T, o servers.WildDuckOptions) {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(e.mongoURL))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(e.mongoURL)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Trim(u.Path, "/")
	e.db, e.users, e.files = client.Database(name), client.Database(cmp.Or(o.Users, name)), client.Database(cmp.Or(o.GridFS, name))
	r, err := redis.ParseURL(e.redisURL)
	if err != nil {
		t.Fatal(err)
	}
	e.redis = redis.NewClient(r)
}

func (e *env) drop(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, db := range []*mongo.Database{e.db, e.users, e.files} {
		if err := db.Drop(ctx); err != nil {
			t.Logf("database %s is left behind: %v", db.Name(), err)
		}
	}
	e.db.Client().Disconnect(ctx)
	e.redis.Close()
}

// each runs a test in both directions.
func (e *env) each(t *testing.T, run func(t *testing.T, from, to *node)) {
	t.Helper()
	t.Run("Mallard to WildDuck", func(t *testing.T) { run(t, e.mallard, e.wildduck) })
	t.Run("WildDuck to Mallard", func(t *testing.T) { run(t, e.wildduck, e.mallard) })
}

func (e *env) nodes() []*node { return []*node{e.mallard, e.wildduck} }

// TestInterop runs everything on one database, as a cluster does.
func TestInterop(t *testing.T) {
	e := start(t, servers.WildDuckOptions{})
	t.Run("Accounts", e.accounts)
	t.Run("Passwords", e.passwords)
	t.Run("Mail", e.mail)
	t.Run("POP3", e.pop3)
	t.Run("Documents", e.documents)
	t.Run("Notifications", e.notifications)
	t.Run("Counters", e.counters)
	t.Run("Attachments", e.attachments)
	t.Run("Locks", e.locks)
	t.Run("Load", e.load)
	t.Run("MixedLoad", e.mixedLoad)
	t.Run("Plugin", e.plugin)
	t.Run("ZoneMTA", e.zonemta)
	t.Run("Haraka", e.haraka)
}

// TestSplitDatabases has users and attachments in databases of their own, as large installations do, and
// adds Mallard to a WildDuck that runs.
func TestSplitDatabases(t *testing.T) {
	id := fmt.Sprintf("%d_%d", os.Getpid(), names.Add(1))
	e := join(t, servers.WildDuckOptions{GridFS: "interop_files_" + id, Users: "interop_users_" + id})
	t.Run("Accounts", e.accounts)
	t.Run("Attachments", e.attachments)
}
