// Package testserver gives tests the real database servers they run against: a server of the MongoDB protocol and a
// Redis, which MALLARD_TEST_MONGO and MALLARD_TEST_REDIS name by URL. Each caller has a database of its own, which is
// empty and is removed when the test ends. Without a server the test is skipped; where nothing may be left out
// (MALLARD_CI=1) it fails. The servers are for tests alone: never name one that holds anything of value.
//
// Only tests import it. It starts nothing; test/servers does.
package testserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	mongoVariable = "MALLARD_TEST_MONGO" // mongodb://host:port/
	redisVariable = "MALLARD_TEST_REDIS" // redis://host:port

	// removeTime is how long removing a database may take.
	removeTime = time.Minute
	// lease is how long a Redis database stays reserved for a process that has died.
	lease = 30 * time.Minute
)

// Mongo returns the URL of an empty database with a name that nobody else uses. It is dropped when the test ends.
func Mongo(t testing.TB) string {
	t.Helper()
	dbURL, err := withDatabase(need(t, mongoVariable), databaseName())
	if err != nil {
		t.Fatalf("%s: %v", mongoVariable, err)
	}
	t.Cleanup(func() { dropMongo(t, dbURL) })
	return dbURL
}

// DropMongo drops the database that the URL of a MongoDB names, for the tests that make one by another way than Mongo.
func DropMongo(ctx context.Context, dbURL string) error {
	name := databaseIn(dbURL)
	if name == "" {
		return fmt.Errorf("drop database: the URL names none")
	}
	client, err := mongo.Connect(options.Client().ApplyURI(dbURL).SetServerSelectionTimeout(5 * time.Second))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer client.Disconnect(ctx)
	if err := client.Database(name).Drop(ctx); err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	return nil
}

// dropMongo does it at the end of a test. A test may have killed the server; a database that is left on a server that is
// gone disturbs nobody.
func dropMongo(t testing.TB, dbURL string) {
	ctx, cancel := context.WithTimeout(context.Background(), removeTime)
	defer cancel()
	if err := DropMongo(ctx, dbURL); err != nil {
		t.Logf("the test's database is left behind: %v", err)
	}
}

// databaseName is short (a name has at most 63 octets, and collections are counted with it) and sorts by time.
func databaseName() string {
	var b [4]byte
	rand.Read(b[:])
	return fmt.Sprintf("mallard_test_%x_%s", time.Now().Unix(), hex.EncodeToString(b[:]))
}

// withDatabase puts a database name into a MongoDB URL, which may list several hosts and so is none for net/url.
func withDatabase(serverURL, name string) (string, error) {
	scheme, rest, ok := strings.Cut(serverURL, "://")
	if !ok || !strings.HasPrefix(scheme, "mongodb") {
		return "", fmt.Errorf("%q is not mongodb://host:port/", serverURL)
	}
	rest, query, hasQuery := strings.Cut(rest, "?")
	hosts, _, _ := strings.Cut(rest, "/")
	out := scheme + "://" + hosts + "/" + name
	if hasQuery {
		out += "?" + query
	}
	return out, nil
}

// databaseIn is the name that a MongoDB URL ends with, empty for none.
func databaseIn(dbURL string) string {
	_, rest, _ := strings.Cut(dbURL, "://")
	rest, _, _ = strings.Cut(rest, "?")
	_, name, _ := strings.Cut(rest, "/")
	return name
}

// Redis returns the URL (redis://host:port/number) of an empty database that nobody else uses meanwhile. Its keys are
// removed when the test ends. Channels are the server's, not the database's: other tests publish on the same names.
func Redis(t testing.TB) string {
	t.Helper()
	server := need(t, redisVariable)
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("%s: %v", redisVariable, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	u.Path = ""
	number, err := reserve(ctx, u.String())
	if err != nil {
		t.Fatalf("%s=%s: %v", redisVariable, server, err)
	}
	t.Cleanup(func() { giveBack(t, u.String(), number) })
	own := *u
	own.Path = "/" + strconv.Itoa(number)
	return own.String()
}

// The reservations are keys of database 0, which no test gets.
const (
	reservedKey = "mallard-test:reserved:" // + number
	oursKey     = "mallard-test:ours"      // a set of the numbers that tests have used, and so may be emptied
)

// reserve takes a database that is empty, or was left full by a test that died.
func reserve(ctx context.Context, server string) (int, error) {
	admin, err := connectRedis(server, 0)
	if err != nil {
		return 0, err
	}
	defer admin.Close()
	count, err := databases(ctx, admin)
	if err != nil {
		return 0, err
	}
	for {
		for n := 1; n < count; n++ {
			if ok, err := reserveOne(ctx, admin, server, n); ok || err != nil {
				return n, err
			}
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("all %d databases of the server are in use", count-1)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func databases(ctx context.Context, admin *redis.Client) (int, error) {
	conf, err := admin.ConfigGet(ctx, "databases").Result()
	if err != nil {
		return 0, fmt.Errorf("ask for the number of databases: %w", err)
	}
	n, err := strconv.Atoi(conf["databases"])
	if err != nil || n < 2 {
		return 0, fmt.Errorf("the server has %q databases, a test needs one beside the first", conf["databases"])
	}
	return n, nil
}

func reserveOne(ctx context.Context, admin *redis.Client, server string, n int) (bool, error) {
	key := reservedKey + strconv.Itoa(n)
	err := admin.SetArgs(ctx, key, os.Getpid(), redis.SetArgs{Mode: "NX", TTL: lease}).Err()
	switch {
	case err == redis.Nil:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("reserve database %d: %w", n, err)
	}
	ours, err := admin.SIsMember(ctx, oursKey, n).Result()
	if err != nil {
		return false, fmt.Errorf("reserve database %d: %w", n, err)
	}
	own, err := connectRedis(server, n)
	if err != nil {
		return false, err
	}
	defer own.Close()
	size, err := own.DBSize(ctx).Result()
	if err != nil {
		return false, fmt.Errorf("look into database %d: %w", n, err)
	}
	if size > 0 && !ours { // somebody's: it stays reserved, so that nobody looks again soon
		return false, nil
	}
	if err := own.FlushDB(ctx).Err(); err != nil {
		return false, fmt.Errorf("empty database %d: %w", n, err)
	}
	return true, admin.SAdd(ctx, oursKey, n).Err()
}

func giveBack(t testing.TB, server string, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), removeTime)
	defer cancel()
	own, err := connectRedis(server, n)
	if err == nil {
		defer own.Close()
		err = own.FlushDB(ctx).Err()
	}
	if err != nil {
		t.Logf("the test's Redis database %d is left behind: %v", n, err)
		return
	}
	admin, err := connectRedis(server, 0)
	if err == nil {
		defer admin.Close()
		err = admin.Del(ctx, reservedKey+strconv.Itoa(n)).Err()
	}
	if err != nil {
		t.Logf("the test's Redis database %d stays reserved for %s: %v", n, lease, err)
	}
}

func connectRedis(server string, db int) (*redis.Client, error) {
	o, err := redis.ParseURL(server)
	if err != nil {
		return nil, fmt.Errorf("URL of Redis: %w", err)
	}
	o.DB = db
	return redis.NewClient(o), nil
}

// need returns what a variable says, or ends the test.
func need(t testing.TB, variable string) string {
	t.Helper()
	if v := os.Getenv(variable); v != "" {
		return v
	}
	end := t.Skipf
	if os.Getenv("MALLARD_CI") == "1" {
		end = t.Fatalf
	}
	end("%s names no server: see \"Tests\" in docs/style.md", variable)
	return ""
}
