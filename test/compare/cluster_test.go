//go:build e2e && bench

package compare

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mallard/internal/bench"
	"mallard/test/e2e/harness"
	"mallard/test/servers"
)

// reading are the workloads that share one filled mailbox.
var reading = []string{"list-500", "body-500", "body-single", "store-500", "search-body", "search-body-rare", "api-search", "api-search-rare"}

// TestCompareCluster measures Mallard and Node WildDuck on one server of the MongoDB protocol and one Redis, each with a
// database of its own. MALLARD_BENCH_SERVERS names them: mallard-mongo, mallard-mongo-2 (two nodes), wildduck, wildduck-2
// (two nodes), mallard (on its embedded engine); default the first four. Of each two nodes run from the beginning; what
// does not end in -2 uses the first alone.
func TestCompareCluster(t *testing.T) {
	c := startCluster(t)
	names := strings.Split(setting("SERVERS", "mallard-mongo,wildduck,mallard-mongo-2,wildduck-2"), ",")
	var all []*contestant
	for _, name := range names {
		all = append(all, c.contestant(t, name))
	}
	workloads := turns(bench.SetCluster)
	for round := range number(t, "RUNS", "3") {
		for _, names := range workloads {
			if round == 0 && names[0] != "idle" {
				warmUp(t, all)
			}
			for _, s := range all {
				if s.takesPart(names[0], round) {
					s.run(t, names, round)
					s.save(t) // a long run may be cut short
				}
			}
		}
	}
	text := tables(t, all...)
	for i, s := range all {
		other := slices.Index(names, strings.Replace(names[i], "mallard-mongo", "wildduck", 1))
		if strings.HasPrefix(names[i], "mallard-mongo") && other >= 0 {
			compare(t, text, s, all[other])
			text.WriteString(judge(t, clusterTargets, s.report, all[other].report) + "\n")
		}
	}
	publish(t, "cluster.md", text)
}

// takesPart says whether a workload makes sense: the memory of a node is measured before it has done anything else, and
// for some it takes two.
func (c *contestant) takesPart(workload string, round int) bool {
	two := strings.Contains(c.options.IMAP, ",")
	switch workload {
	case "idle":
		return !two && round == 0
	case "notify-other":
		return two
	}
	return true
}

var clusterTargets = []target{
	{"lmtp-1-10k", "rate", 2, 0}, {"lmtp-8-10k", "rate", 3, 0}, {"lmtp-8-10k-1user", "rate", 3, 0},
	{"lmtp-1-10k", "server cpu", 4, 0}, {"lmtp-8-10k", "server cpu", 4, 0},
	{"body-500", "first time", 5, 0}, {"body-500", "throughput", 5, 0}, {"body-single", "rate", 3, 0},
	{"list-500", "first time", 3, 0}, {"list-500", "time", 3, 0}, {"store-500", "time", 5, 0},
	{"search-body", "p50", 2, 0}, {"search-body-rare", "p50", 2, 0}, {"api-search", "p50", 2, 0}, {"api-search-rare", "p50", 2, 0},
	{"notify-other", "p50", 0, 30}, {"idle", "memory", 4, 0},
}

// A clusterUnderTest is the databases and the nodes on them, started when they are first asked for.
type clusterUnderTest struct {
	mongo    *servers.Mongo
	redis    *servers.Redis
	mallard  []bench.Options // of each node
	wildduck []bench.Options
}

func startCluster(t *testing.T) *clusterUnderTest {
	t.Helper()
	return &clusterUnderTest{
		mongo: servers.StartMongo(t, servers.MongoOptions{Durable: true}),
		redis: servers.StartRedis(t, servers.RedisOptions{}),
	}
}

func (c *clusterUnderTest) contestant(t *testing.T, name string) *contestant {
	t.Helper()
	var nodes []bench.Options
	switch kind := strings.TrimSuffix(name, "-2"); kind {
	case "mallard":
		return startMallard(t, filepath.Join(t.TempDir(), name))
	case "wildduck":
		nodes = c.wildDucks(t)
	case "mallard-mongo":
		nodes = c.mallards(t)
	default:
		t.Fatalf("no server %q: allowed are mallard, mallard-mongo, mallard-mongo-2, wildduck, wildduck-2", name)
	}
	o := nodes[0]
	if strings.HasSuffix(name, "-2") {
		o.Label += ", 2 nodes"
		o.LMTP += "," + nodes[1].LMTP
		o.IMAP += "," + nodes[1].IMAP
		o.NodePIDs = []int{nodes[1].ServerPID}
	}
	o.Progress, o.DatabasePIDs, o.UserPattern = os.Stderr, c.mongo.PIDs(), name+"-%d@bench.test"
	return &contestant{options: o}
}

func (c *clusterUnderTest) wildDucks(t *testing.T) []bench.Options {
	t.Helper()
	for range 2 - len(c.wildduck) {
		w := servers.StartWildDuck(t, servers.WildDuckOptions{Mongo: c.mongo.URL + "wildduck", Redis: c.redis.Database(1), Sender: "wildduck-queue"})
		c.wildduck = append(c.wildduck, bench.Options{
			Label: "WildDuck", LMTP: w.LMTP, IMAP: w.IMAP, API: w.API, ServerPID: w.PID(), InexactSearch: true,
		})
	}
	return c.wildduck
}

func (c *clusterUnderTest) mallards(t *testing.T) []bench.Options {
	t.Helper()
	for range 2 - len(c.mallard) {
		s := harness.Start(t, harness.Options{Extra: fmt.Sprintf("[dbs]\nmongo = %q\nredis = %q\n", c.mongo.URL+"mallard", c.redis.Database(2))})
		c.mallard = append(c.mallard, bench.Options{Label: "Mallard on MongoDB", LMTP: s.LMTP, IMAP: s.IMAP, API: s.API, ServerPID: s.PID()})
	}
	return c.mallard
}

// warmUp, before the first speed is measured, lets the servers compile, connect and fill their caches.
func warmUp(t *testing.T, all []*contestant) {
	t.Helper()
	for _, c := range all {
		if c.warm {
			continue
		}
		c.warm = true
		other := &contestant{options: c.options}
		other.options.FirstUser, other.options.Scale = 1_000_000, 0.4
		for _, names := range [][]string{{"lmtp-8-10k"}, {"list-500", "body-500", "store-500"}} {
			other.run(t, names, 99)
		}
	}
}
