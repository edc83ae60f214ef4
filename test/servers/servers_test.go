//go:build e2e

package servers

import (
	"context"
	"fmt"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/testserver/freeport"
)

// What a server has acknowledged is there after it was killed, and a paused one answers late and not never.
func TestMongo(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m := StartMongo(t, MongoOptions{})
	client, err := mongo.Connect(options.Client().ApplyURI(m.URL).SetServerSelectionTimeout(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(ctx)
	c := client.Database("d").Collection("c")
	for i := range 3 {
		for range 50 {
			if _, err := c.InsertOne(ctx, bson.D{}); err != nil {
				t.Fatal(err)
			}
		}
		m.Kill()
		if pingMongo(m.URL) {
			t.Fatal("it answers after Kill")
		}
		m.Run()
		if n, err := c.CountDocuments(ctx, bson.D{}); err != nil || n != int64(50*(i+1)) {
			t.Fatalf("%d documents after kill %d, %v; want %d", n, i, err, 50*(i+1))
		}
	}
	m.Pause()
	begin := time.Now()
	time.AfterFunc(500*time.Millisecond, m.Resume)
	if err := client.Ping(ctx, nil); err != nil || time.Since(begin) < 400*time.Millisecond {
		t.Errorf("ping of a paused server took %s, %v", time.Since(begin), err)
	}
	m.Stop()
	if pingMongo(m.URL) {
		t.Error("it answers after Stop")
	}
}

func TestNothingIsLeftOfMongo(t *testing.T) {
	var data string
	t.Run("use", func(t *testing.T) { data = StartMongo(t, MongoOptions{}).data })
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", data, err)
	}
	dead := filepath.Join(t.TempDir(), "test-4194304-1") // above the largest process id there can be
	own := filepath.Join(filepath.Dir(dead), fmt.Sprintf("test-%d-1", os.Getpid()))
	for _, dir := range []string{dead, own} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	removeLeftovers(filepath.Dir(dead))
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("the data of a dead process is left: %v", err)
	}
	if _, err := os.Stat(own); err != nil {
		t.Errorf("the data of a living process is gone: %v", err)
	}
}

func TestRedis(t *testing.T) {
	ctx := context.Background()
	r := StartRedis(t, RedisOptions{Password: "a secret", Persist: true, Args: []string{"--appendfsync", "always"}})
	if pingRedis(r.Addr, "") {
		t.Error("it answers without the password")
	}
	o, err := redis.ParseURL(r.Database(700))
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	defer c.Close()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	r.Kill()
	if err := c.Ping(ctx).Err(); err == nil {
		t.Error("it answers after Kill")
	}
	r.Run()
	if v, err := c.Get(ctx, "k").Result(); err != nil || v != "v" {
		t.Errorf("k is %q, %v after Kill and Run", v, err)
	}
}

func TestSentinel(t *testing.T) {
	ctx := context.Background()
	s := StartSentinel(t, "a-secret")
	c := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: MasterName, SentinelAddrs: s.Addrs, Password: s.Password})
	defer c.Close()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Wait(ctx, 2, 10*time.Second).Result(); n != 2 || err != nil {
		t.Fatalf("%d replicas have the key, %v", n, err)
	}
	old := s.Master()
	t.Logf("failover took %s", s.Failover())
	if s.Master() == old {
		t.Error("the master is still the one that was killed")
	}
	if !Until(10*time.Second, func() bool { return c.Get(ctx, "k").Val() == "v" }) {
		t.Errorf("k is %q, %v after a failover", c.Get(ctx, "k").Val(), c.Get(ctx, "k").Err())
	}
}

func TestWildDuck(t *testing.T) {
	w := StartWildDuck(t, WildDuckOptions{Mongo: SharedMongo(t) + fmt.Sprintf("servers_%d", time.Now().UnixNano()), Redis: StartRedis(t, RedisOptions{Password: "p w"}).Database(3)})
	pid := w.PID()
	greets(t, w.IMAP, "* OK")
	greets(t, w.POP3, "+OK")
	greets(t, w.LMTP, "220 ")
	w.Kill()
	if answers(w.IMAP) {
		t.Error("it answers after Kill")
	}
	w.Run()
	if w.PID() == pid {
		t.Error("it runs as the process that was killed")
	}
	greets(t, w.LMTP, "220 ")
}

func TestHaraka(t *testing.T) {
	h := StartHaraka(t, HarakaOptions{LMTP: loopback(freeport.Take(t, 1)[0]), Domains: []string{"mallard.test"}})
	greets(t, h.SMTP, "220 ")
	h.Stop()
	if answers(h.SMTP) {
		t.Error("it answers after Stop")
	}
}

func TestHAProxy(t *testing.T) {
	r, front := StartRedis(t, RedisOptions{}), loopback(freeport.Take(t, 1)[0])
	StartHAProxy(t, "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\nlisten l\n bind "+front+"\n server s "+r.Addr+"\n", front)
	if !pingRedis(front, "") {
		t.Error("the server behind it does not answer")
	}
}

func greets(t *testing.T, addr, want string) {
	t.Helper()
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if line, err := c.ReadLine(); err != nil || !strings.HasPrefix(line, want) {
		t.Errorf("%s greets with %q, %v", addr, line, err)
	}
}
