package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func writeFlags(w *bufio.Writer, n int, flagged bool) {
	flags := ""
	if flagged {
		flags = `\Flagged`
	}
	fmt.Fprintf(w, "* %d FETCH (FLAGS (%s))\r\n", n, flags)
}

func (f *fakeServer) storeFlags(w *bufio.Writer, name, args string) {
	set := strings.Contains(args, "+FLAGS")
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.forgetFlags {
		f.flagged[name] = set
	}
	for i := range f.boxes[name] {
		writeFlags(w, i+1, set)
	}
}

// search gives the numbers of the messages with a word.
func (f *fakeServer) search(name, word string) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []int
	for i, msg := range f.boxes[name] {
		if _, body, err := searched(msg); err == nil && strings.Contains(body, word) {
			found = append(found, i+1)
		}
	}
	if f.missOne && len(found) > 0 {
		found = found[1:]
	}
	return found
}

// startAPI serves what the driver asks of the HTTP API. The id of a user is the name.
func (f *fakeServer) startAPI(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.Split(strings.TrimPrefix(r.URL.Path, "/users"), "/")
		answer := map[string]any{"success": true}
		switch {
		case len(path) == 3 && path[1] == "resolve":
			answer["id"] = path[2]
		case len(path) == 3 && path[2] == "search":
			found := f.search(path[1], r.FormValue("query"))
			results := []map[string]int{}
			for _, n := range found[:min(len(found), pageLimit)] {
				results = append(results, map[string]int{"id": n + 99})
			}
			answer["total"], answer["results"] = len(found), results
		}
		json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func clusterOptions(t *testing.T, f *fakeServer) Options {
	o := fakeOptions(startFake(t, f))
	o.Workloads = []string{SetCluster}
	o.IMAP += "," + o.IMAP // a second node that is the first
	o.API, o.ServerPID, o.IdleSessions, o.Scale = f.startAPI(t), os.Getpid(), 25, 0.1
	return o
}

func TestRunMeasuresTheCluster(t *testing.T) {
	o := clusterOptions(t, &fakeServer{})
	o.DatabasePIDs = []int{os.Getppid()}
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for workload, metrics := range map[string][]string{
		"lmtp-1-10k": {"rate", "server cpu", "database cpu"}, "lmtp-8-10k": {"rate"}, "lmtp-8-10k-1user": {"rate"},
		"list-500": {"first time", "time"}, "body-500": {"first time", "throughput"}, "body-single": {"rate"}, "store-500": {"time"},
		"search-body": {"p50"}, "search-body-rare": {"p50"}, "api-search": {"p50"}, "api-search-rare": {"p50"},
		"notify-other": {"p50", "p99"}, "idle": {"memory"},
	} {
		for _, name := range metrics {
			m, ok := report.Metric(workload, name)
			if !ok || m.Median <= 0 && workload != "notify-other" && !strings.HasSuffix(name, "cpu") {
				t.Errorf("%s: no %s in the report", workload, name)
			}
		}
	}
}

func TestRunNoticesWrongSearchesAndFlags(t *testing.T) {
	tests := []struct {
		workload string
		server   *fakeServer
		want     string
	}{
		{"store-500", &fakeServer{forgetFlags: true}, `FETCH 1:* (FLAGS): it says`},
		{"search-body", &fakeServer{missOne: true}, "have it"},
		{"api-search-rare", &fakeServer{missOne: true}, "have it"},
		{"list-500", &fakeServer{store: func(n int, m []byte) []byte { return append(m, make([]byte, headLimit+1)...) }}, "RFC822.SIZE"},
		{"body-single", &fakeServer{store: func(n int, m []byte) []byte { return append(m, 'x') }}, "octets, sent were"},
	}
	for _, tt := range tests {
		t.Run(tt.workload, func(t *testing.T) {
			o := clusterOptions(t, tt.server)
			o.Workloads = []string{tt.workload}
			if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error is %v, want one with %q", err, tt.want)
			}
		})
	}
}

// What a server that searches by other rules does not find is told and is no error.
func TestRunCountsWhatIsNotFound(t *testing.T) {
	o := clusterOptions(t, &fakeServer{missOne: true})
	o.InexactSearch, o.Workloads = true, []string{"search-body", "api-search"}
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range o.Workloads {
		if m, _ := report.Metric(w, "not found"); m.Median < 1 || m.Median > searches {
			t.Errorf("%s: %v messages were not found, not one in each search", w, m.Median)
		}
	}
}

func TestSetLeavesOutWhatCannotBeMeasured(t *testing.T) {
	o, err := Options{LMTP: "a:1", IMAP: "a:2", Workloads: []string{SetCluster}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(o.Workloads, " ")
	if want := "lmtp-1-10k lmtp-8-10k lmtp-8-10k-1user list-500 body-500 body-single store-500 search-body search-body-rare"; got != want {
		t.Errorf("chosen are %s", got)
	}
	o = Options{LMTP: "a:1", IMAP: "a:2", Workloads: []string{"notify-other", "idle", "api-search"}}
	_, err = o.withDefaults()
	for _, want := range []string{"IMAP of two nodes", "the server's process", "the HTTP API"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

func TestNodesTakeTurns(t *testing.T) {
	o, err := Options{LMTP: "a:1,b:1", IMAP: "a:2"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for range 10 {
		seen[o.lmtp()]++
		if at := o.imap(); at != "a:2" {
			t.Errorf("IMAP at %s", at)
		}
	}
	if seen["a:1"] == 0 || seen["b:1"] == 0 {
		t.Errorf("connections: %v", seen)
	}
}
