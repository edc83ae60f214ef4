package testserver

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestWithDatabase(t *testing.T) {
	for _, tt := range []struct{ server, want string }{
		{"mongodb://127.0.0.1:27017", "mongodb://127.0.0.1:27017/x"},
		{"mongodb://127.0.0.1:27017/", "mongodb://127.0.0.1:27017/x"},
		{"mongodb://u:p@a:1,b:2/other?replicaSet=r&tls=true", "mongodb://u:p@a:1,b:2/x?replicaSet=r&tls=true"},
		{"mongodb://a:1?directConnection=true", "mongodb://a:1/x?directConnection=true"},
		{"mongodb+srv://a.example/", "mongodb+srv://a.example/x"},
	} {
		if got, err := withDatabase(tt.server, "x"); err != nil || got != tt.want {
			t.Errorf("%s gives %q, %v; want %q", tt.server, got, err, tt.want)
		}
	}
	for _, bad := range []string{"", "127.0.0.1:27017", "redis://a:1"} {
		if got, err := withDatabase(bad, "x"); err == nil {
			t.Errorf("%q gives %q and no error", bad, got)
		}
	}
}

// A fake is a test of which only the ways to end it matter.
type fake struct {
	testing.TB
	skipped, failed bool
}

func (f *fake) Helper()               {}
func (f *fake) Skipf(string, ...any)  { f.skipped = true }
func (f *fake) Fatalf(string, ...any) { f.failed = true }

func TestNeed(t *testing.T) {
	const variable = "MALLARD_TEST_NOTHING"
	for _, tt := range []struct {
		value, ci       string
		skipped, failed bool
	}{
		{"redis://a", "", false, false},
		{"redis://a", "1", false, false},
		{"", "", true, false},
		{"", "1", false, true},
	} {
		t.Setenv(variable, tt.value)
		t.Setenv("MALLARD_CI", tt.ci)
		f := &fake{TB: t}
		got := need(f, variable)
		if got != tt.value || f.skipped != tt.skipped || f.failed != tt.failed {
			t.Errorf("value %q, CI %q: %q, skipped %v, failed %v", tt.value, tt.ci, got, f.skipped, f.failed)
		}
	}
}

func TestMongo(t *testing.T) {
	ctx := context.Background()
	client, err := mongo.Connect(options.Client().ApplyURI(need(t, mongoVariable)))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(ctx)
	var made []string
	t.Run("use", func(t *testing.T) {
		for range 2 {
			name := databaseIn(Mongo(t))
			if there := names(t, client); slices.Contains(there, name) || slices.Contains(made, name) {
				t.Fatalf("database %s was there before", name)
			}
			if _, err := client.Database(name).Collection("c").InsertOne(ctx, bson.D{{Key: "a", Value: 1}}); err != nil {
				t.Fatal(err)
			}
			made = append(made, name)
		}
		if there := names(t, client); !slices.Contains(there, made[0]) || !slices.Contains(there, made[1]) {
			t.Fatalf("the server has %q, want %q among them", there, made)
		}
	})
	for _, name := range names(t, client) {
		if slices.Contains(made, name) {
			t.Errorf("database %s is still there", name)
		}
	}
}

func names(t *testing.T, client *mongo.Client) []string {
	t.Helper()
	all, err := client.ListDatabaseNames(context.Background(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRedis(t *testing.T) {
	need(t, redisVariable)
	ctx := context.Background()
	var numbers []int
	t.Run("use", func(t *testing.T) {
		for range 3 {
			c := open(t, Redis(t))
			if n, err := c.DBSize(ctx).Result(); err != nil || n != 0 {
				t.Fatalf("a new database has %d keys, %v", n, err)
			}
			if err := c.Set(ctx, "k", 1, 0).Err(); err != nil {
				t.Fatal(err)
			}
			if slices.Contains(numbers, c.Options().DB) || c.Options().DB == 0 {
				t.Fatalf("database %d after %v", c.Options().DB, numbers)
			}
			numbers = append(numbers, c.Options().DB)
		}
	})
	u, err := url.Parse(need(t, redisVariable))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range numbers {
		u.Path = fmt.Sprintf("/%d", n)
		if left, err := open(t, u.String()).DBSize(ctx).Result(); err != nil || left != 0 {
			t.Errorf("database %d has %d keys at the end, %v", n, left, err)
		}
	}
}

func open(t *testing.T, dbURL string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(dbURL)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}
