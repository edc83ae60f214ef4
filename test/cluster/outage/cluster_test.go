//go:build e2e

package outage

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/test/e2e/harness"
	"mallard/test/servers"
)

// serial counts databases and users of this process.
var serial = new(atomic.Int64)

// Times that are shorter than their defaults, so that a test sees what they do.
const (
	timeout = 3 * time.Second // of an operation on MongoDB
	lease   = 6 * time.Second // for a message to be stored after its UID was taken

	// settle is when all is right at the latest: what is behind a UID whose message did not come is shown when its lease is
	// over, and what a node left undone is put right after twice the time that it had for it.
	settle = 3 * (timeout + lease)
)

// A cluster is some nodes on one database and one Redis.
type cluster struct {
	t     *testing.T
	nodes []*harness.Server
	mongo *servers.Mongo // nil where it is shared with other tests
	redis *servers.Redis // nil where Sentinels watch it
	url   string         // of the database
}

// options say what a cluster runs on.
type options struct {
	ownMongo bool                               // a server that can be killed
	mongo    func(serverURL string) string      // puts something between
	redis    func(t *testing.T) (config string) // TOML in place of a Redis of its own
}

// start starts a cluster of two nodes.
func start(t *testing.T, o options) *cluster {
	t.Helper()
	c := &cluster{t: t}
	server := ""
	if o.ownMongo {
		c.mongo = servers.StartMongo(t, servers.MongoOptions{})
		server = c.mongo.URL
	} else {
		server = servers.SharedMongo(t)
	}
	c.url = server + fmt.Sprintf("cluster_%d_%d", os.Getpid(), serial.Add(1))
	t.Cleanup(c.drop)
	redis := ""
	if o.redis != nil {
		redis = o.redis(t)
	} else {
		c.redis = servers.StartRedis(t, servers.RedisOptions{Password: "cluster-secret"})
		redis = fmt.Sprintf("%q", c.redis.Database(3))
	}
	database := c.url
	if o.mongo != nil {
		database = o.mongo(database)
	}
	for i := range 2 {
		c.nodes = append(c.nodes, harness.Start(t, harness.Options{
			DBs: fmt.Sprintf("mongo = %q\nredis = %s\nworkerId = \"node%d\"\ntimeout = %q\nlease = %q\n", database, redis, i, timeout, lease),
		}))
	}
	return c
}

func (c *cluster) client() *mongo.Client {
	c.t.Helper()
	client, err := mongo.Connect(mongooptions.Client().ApplyURI(c.url))
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

func (c *cluster) database(client *mongo.Client) *mongo.Database {
	u, err := url.Parse(c.url)
	if err != nil {
		c.t.Fatal(err)
	}
	return client.Database(strings.Trim(u.Path, "/"))
}

func (c *cluster) drop() {
	if c.mongo != nil {
		return // it goes with the server
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := c.client()
	defer client.Disconnect(ctx)
	if err := c.database(client).Drop(ctx); err != nil {
		c.t.Logf("the database is left behind: %v", err)
	}
}

// user makes an account on the first node that runs.
func (c *cluster) user() harness.User {
	c.t.Helper()
	return c.nodes[0].User(fmt.Sprintf("user%d", serial.Add(1)), 0)
}

// inbox is what the database has of a user's messages, which are all in INBOX.
type inbox struct {
	uids   []int
	used   int64 // octets
	unseen int
}

func (c *cluster) inbox(u harness.User) (in inbox) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := c.client()
	defer client.Disconnect(ctx)
	owner, err := bson.ObjectIDFromHex(u.ID)
	if err != nil {
		c.t.Fatal(err)
	}
	rows, err := c.database(client).Collection("messages").Find(ctx, bson.D{{Key: "user", Value: owner}})
	if err != nil {
		c.t.Fatal(err)
	}
	var messages []struct {
		UID    int
		Size   int64
		Unseen bool
	}
	if err := rows.All(ctx, &messages); err != nil {
		c.t.Fatal(err)
	}
	for _, m := range messages {
		in.uids, in.used = append(in.uids, m.UID), in.used+m.Size
		if m.Unseen {
			in.unseen++
		}
	}
	slices.Sort(in.uids)
	if len(slices.Compact(slices.Clone(in.uids))) != len(in.uids) {
		c.t.Errorf("a UID is used twice: %v", in.uids)
	}
	return in
}

// truth waits until both nodes say about a user's INBOX what the database says at the time, and returns the UIDs.
func (c *cluster) truth(u harness.User) []int {
	c.t.Helper()
	var in inbox
	for i, n := range c.nodes {
		s := n.Login(u)
		says := func(command string, format func() string) {
			c.t.Helper()
			var got, want string
			if !harness.Until(settle, func() bool {
				in = c.inbox(u)
				got, want = fmt.Sprint(s.OK(command)), format()
				return strings.Contains(got, want)
			}) {
				c.t.Errorf("node %d: %s, want %s", i, got, want)
			}
		}
		says("STATUS INBOX (MESSAGES UNSEEN)", func() string { return fmt.Sprintf("MESSAGES %d UNSEEN %d", len(in.uids), in.unseen) })
		if c.mongo == nil {
			says(`GETQUOTA ""`, func() string { return fmt.Sprintf("(STORAGE %d ", (in.used+1023)/1024) })
		}
		var seen []int
		if !harness.Until(settle, func() bool { in = c.inbox(u); s.OK("SELECT INBOX"); seen = uids(s); return slices.Equal(seen, in.uids) }) {
			c.t.Errorf("node %d has %v, the database %v", i, seen, in.uids)
		}
	}
	return in.uids
}

// uids lists the UIDs of the selected mailbox.
func uids(s *harness.Session) []int { return found(s.OK("UID SEARCH ALL")) }

// found lists what a SEARCH has found.
func found(responses []string) []int {
	var list []int
	for _, r := range responses {
		rest, ok := strings.CutPrefix(r, "* SEARCH")
		if !ok {
			continue
		}
		for _, f := range strings.Fields(rest) {
			n := 0
			fmt.Sscan(f, &n)
			list = append(list, n)
		}
	}
	return list
}

// message makes one with a Message-ID of its own.
func message(id string) string {
	return "From: <sender@example.net>\r\nTo: <reader@mallard.test>\r\nSubject: " + id + "\r\nMessage-ID: <" + id +
		"@cluster.test>\r\nDate: Mon, 02 Nov 2026 08:00:00 +0000\r\n\r\nThis is " + id + ".\r\n"
}
