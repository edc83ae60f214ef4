package faultproxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/testserver"
)

func TestRESP(t *testing.T) {
	for _, tt := range []struct{ text, name string }{
		{"*1\r\n$4\r\nPING\r\n", "ping"},
		{"*3\r\n$3\r\nSet\r\n$4\r\na\r\nb\r\n$0\r\n\r\n", "set"},
		{"*2\r\n$3\r\nGET\r\n$3\r\n\r\n*\r\n", "get"},
		{"QUIT now\r\n", "quit"},
	} {
		f, err := Redis.request(bufio.NewReader(strings.NewReader(tt.text + "*1\r\n")))
		if err != nil || f.name != tt.name || string(f.octets) != tt.text {
			t.Errorf("%q is command %q with %q, %v", tt.text, f.name, f.octets, err)
		}
	}
	for _, value := range []string{
		"+OK\r\n", ":1\r\n", "-ERR no\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "(123\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "$0\r\n\r\n",
		"$5\r\na\r\nbc\r\n", "=7\r\ntxt:abc\r\n", "!3\r\nERR\r\n", "*2\r\n*1\r\n:1\r\n$1\r\nx\r\n", "%1\r\n+a\r\n*1\r\n+b\r\n",
		"~2\r\n+a\r\n+b\r\n", "|1\r\n+ttl\r\n:5\r\n*1\r\n+a\r\n", ">2\r\n+message\r\n+x\r\n",
	} {
		f, err := Redis.answer(bufio.NewReader(strings.NewReader(value + "+next\r\n")))
		if err != nil || string(f.octets) != value || f.unasked != (value[0] == '>') {
			t.Errorf("%q is read as %q, unasked %v, %v", value, f.octets, f.unasked, err)
		}
		for n := range len(value) {
			if f, err := Redis.answer(bufio.NewReader(strings.NewReader(value[:n]))); err == nil {
				t.Errorf("%q cut at %d is read as %q", value, n, f.octets)
			}
		}
	}
	for _, bad := range []string{"$x\r\n", "*99999999999\r\n", "$67108865\r\n"} {
		if _, err := Redis.answer(bufio.NewReader(strings.NewReader(bad))); err == nil || err == io.EOF {
			t.Errorf("%q gives %v", bad, err)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("*1\r\n$4\r\nPING\r\n"))
	f.Add([]byte("\x1a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range []Protocol{Raw, Mongo, Redis} {
			for _, read := range []func(*bufio.Reader) (frame, error){p.request, p.answer} {
				r := bufio.NewReader(strings.NewReader(string(b)))
				if fr, err := read(r); err == nil && !strings.HasPrefix(string(b), string(fr.octets)) {
					t.Errorf("%q is read from %q", fr.octets, b)
				}
			}
		}
	})
}

// A lost answer in the middle of a pipeline loses that answer and those behind it. The server has carried out what it
// would have answered; what comes behind may still be on its way when the connection ends.
func TestRedisPipeline(t *testing.T) {
	ctx := context.Background()
	s := miniredis.RunT(t)
	p := Start(t, s.Addr(), Redis)
	c := redis.NewClient(&redis.Options{Addr: p.Addr, MaxRetries: -1})
	defer c.Close()
	p.Fail(2, Fault{Where: Answer})
	pipe := c.Pipeline()
	var cmds []redis.Cmder
	for i := range 3 {
		cmds = append(cmds, pipe.Set(ctx, fmt.Sprint(i), "v", 0))
	}
	if _, err := pipe.Exec(ctx); err == nil || !p.Fired() {
		t.Fatalf("the pipeline gives %v; fired %v", err, p.Fired())
	}
	if cmds[1].Err() == nil || cmds[2].Err() == nil {
		t.Errorf("answers are %v, %v", cmds[1].Err(), cmds[2].Err())
	}
	for i := range 2 {
		if !s.Exists(fmt.Sprint(i)) {
			t.Errorf("command %d was not carried out", i)
		}
	}
	if got := p.Names(); len(got) < 2 || !slices.Equal(got, []string{"set", "set", "set"}[:len(got)]) {
		t.Errorf("commands seen: %q", got)
	}
}

// A subscription is a request; what is published meanwhile is none of its answers.
func TestRedisSubscription(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s := miniredis.RunT(t)
	p := Start(t, s.Addr(), Redis)
	c := redis.NewClient(&redis.Options{Addr: p.Addr})
	defer c.Close()
	p.Fail(1, Fault{Where: Answer, How: Close})
	sub := c.Subscribe(ctx, "ch")
	defer sub.Close()
	if _, err := sub.Receive(ctx); err == nil || !p.Fired() {
		t.Errorf("a subscription whose answer is lost gives %v; fired %v", err, p.Fired())
	}
	ch := sub.Channel()
	for {
		s.Publish("ch", "hello")
		select {
		case m := <-ch:
			if m.Payload != "hello" {
				t.Errorf("message %q", m.Payload)
			}
			return
		case <-ctx.Done():
			t.Fatal("the subscription does not heal")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Operations of the driver are counted exactly, whatever it does beside them to watch the server.
func TestMongo(t *testing.T) {
	dbURL := testserver.Mongo(t)
	u, err := url.Parse(dbURL)
	if err != nil {
		t.Fatal(err)
	}
	p := Start(t, u.Host, Mongo)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := mongo.Connect(options.Client().ApplyURI(p.In(dbURL)).SetHeartbeatInterval(500 * time.Millisecond).SetRetryWrites(false).SetRetryReads(false))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(ctx)
	c := client.Database(strings.Trim(u.Path, "/")).Collection("c")
	use := func() (int64, error) {
		if _, err := c.InsertOne(ctx, bson.D{{Key: "a", Value: 1}}); err != nil {
			return 0, err
		}
		if _, err := c.UpdateMany(ctx, bson.D{}, bson.D{{Key: "$inc", Value: bson.D{{Key: "a", Value: 1}}}}); err != nil {
			return 0, err
		}
		return c.CountDocuments(ctx, bson.D{})
	}
	documents := func() int64 {
		t.Helper()
		n, err := c.CountDocuments(ctx, bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if _, err := use(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(600 * time.Millisecond) // the driver's own questions
	want := []string{"insert", "update", "aggregate"}
	if got := p.Names(); !slices.Equal(got, want) {
		t.Fatalf("requests seen: %q, want %q", got, want)
	}
	for _, f := range Cuts() {
		// Half a connection that is closed behind a request lets the answer through; the driver then keeps a connection on
		// which the next request fails.
		behind := f.How == HalfClose && f.Octets < 0
		before, runs := documents(), 0
		p.Each(t, f, func(t *testing.T, n int) {
			runs++
			_, err := use()
			failed := err != nil
			if want := n <= 3; failed != want && !behind {
				t.Errorf("error %v, want one: %v", err, want)
			}
		})
		if got := p.Names(); !behind && (runs != 4 || !slices.Equal(got, want)) {
			t.Errorf("%s: %d runs, the last of %q", f, runs, got)
		}
		// An insert whose answer is lost is there; one that was cut off is not.
		if got := documents() - before; f.Where == Answer && got != 4 || f.How == Reset && f.Where == Request && got != 3 {
			t.Errorf("%s: %d documents more", f, got)
		}
	}
}

func TestMain(m *testing.M) {
	redis.SetLogger(silent{}) // it reports every connection that breaks
	os.Exit(m.Run())
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
