package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sampleReport(label string, factor float64) *Report {
	r := &Report{Label: label, Started: time.Date(2024, 5, 6, 7, 8, 0, 0, time.UTC), Seed: 1, Scale: 1, NextUser: 9,
		Machine: Machine{CPU: "Example CPU", Cores: 2, MemoryMiB: 2048, OS: "linux/amd64", Go: "go1.26", LoadAverage: "0.10 0.20 0.30", Fsync1: 4100, Fsync8: 14700}}
	rate := r.result("lmtp-1")
	for _, v := range []float64{100, 300, 200} {
		rate.add(Metric{Name: "rate", Unit: "msg/s"}, v*factor)
	}
	rate.add(Metric{Name: "driver cpu", Unit: "µs/msg", Info: true}, 20)
	r.result("notify").add(Metric{Name: "p50", Unit: "ms", Lower: true}, 0.4/factor)
	growth := r.result("growth")
	growth.Series = &Series{Columns: []string{"messages", "msg/s"}, Rows: [][]float64{{10000, 1234.5}, {20000, 0.5}}}
	r.result("big").Error = "it failed"
	return r
}

const wantTable = `mallard, 2024-05-06 07:08: 2 × Example CPU, 2048 MiB, linux/amd64, go1.26
disk: 4,100 fsync/s from one writer, 14,700 from eight; load average 0.10 0.20 0.30; medians of the runs

workload  metric      median  unit    runs
lmtp-1    rate        200     msg/s   100 300 200
          driver cpu  20.0    µs/msg  20.0
notify    p50         0.400   ms      0.400
big       FAILED: it failed

growth:
  messages  msg/s
    10,000  1,234
    20,000  0.500
`

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := sampleReport("mallard", 1).WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	if b.String() != wantTable {
		t.Errorf("got\n%s\nwant\n%s", b.String(), wantTable)
	}
}

func TestComparison(t *testing.T) {
	const want = `| workload | | mallard | dovecot | ratio |
|---|---|---:|---:|---:|
| lmtp-1 | rate (msg/s) | 800 | 200 | 4.00× |
| notify | p50 (ms) | 0.100 | 0.400 | 4.00× |
| big | failed: it failed | | | |
`
	var b bytes.Buffer
	if err := WriteComparison(&b, sampleReport("mallard", 4), sampleReport("dovecot", 1)); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestReportSurvivesJSON(t *testing.T) {
	var b bytes.Buffer
	r := sampleReport("x", 1)
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	got, err := ReadReport(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Errorf("got %+v, want %+v", got, r)
	}
	if _, err := ReadReport(strings.NewReader("{")); err == nil {
		t.Error("no error for half a report")
	}
}

func TestMerge(t *testing.T) {
	a, b := sampleReport("x", 1), sampleReport("x", 3)
	b.result("new").add(Metric{Name: "rate", Unit: "msg/s"}, 5)
	b.NextUser = 20
	a.Merge(b)
	m, _ := a.Metric("lmtp-1", "rate")
	if want := []float64{100, 300, 200, 300, 900, 600}; !reflect.DeepEqual(m.Values, want) || m.Median != 300 {
		t.Errorf("values %v, median %v", m.Values, m.Median)
	}
	if m, ok := a.Metric("new", "rate"); !ok || m.Median != 5 || a.NextUser != 20 {
		t.Errorf("new workload %+v, next user %d", m, a.NextUser)
	}
}

func TestStatistics(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 3}, 2.5}} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("median of %v is %v", tt.values, got)
		}
	}
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for p, want := range map[float64]time.Duration{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := percentile(hundred, p); got != want {
			t.Errorf("percentile %v is %d, want %d", p, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0", 0.04: "0.040", 7.123: "7.12", 45.67: "45.7", 999: "999", 1234567: "1,234,567", -2500: "-2,500"} {
		if got := number(v); got != want {
			t.Errorf("number %v is %q, want %q", v, got, want)
		}
	}
}

func TestAllocatedCountsBlocksOnce(t *testing.T) {
	dir := t.TempDir()
	before, err := allocated(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	after, err := allocated(dir)
	if err != nil {
		t.Fatal(err)
	}
	if grown := after - before; grown < 1<<20 || grown > 1<<20+64<<10 {
		t.Errorf("a file of 1 MiB with two names takes %d", grown)
	}
}

func TestProcessTreeSeesChildren(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc here")
	}
	child := exec.Command("cat")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer in.Close()
	pids, err := processTree{os.Getpid()}.members()
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]bool{}
	for _, pid := range pids {
		found[pid] = true
	}
	if !found[os.Getpid()] || !found[child.Process.Pid] {
		t.Errorf("processes %v, want %d and its child %d", pids, os.Getpid(), child.Process.Pid)
	}
	if u := useOf(pids); u.resident < 1<<20 {
		t.Errorf("resident memory of %d octets", u.resident)
	}
	if _, err := (processTree{}).use(); err == nil {
		t.Error("no error without a process")
	}
}

func TestFsyncRate(t *testing.T) {
	dir := t.TempDir()
	rate, err := FsyncRate(dir, 2, 20*time.Millisecond)
	if err != nil || rate <= 0 {
		t.Errorf("%v fsync/s, %v", rate, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := FsyncRate("/nonexistent/path", 1, time.Millisecond); err == nil {
		t.Error("no error for a directory that does not exist")
	}
}

func TestUsersAreMadeThroughTheAPI(t *testing.T) {
	var got []string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		got = append(got, r.Method+" "+r.URL.Path+" "+r.Header.Get("X-Access-Token")+" "+b.String())
		if strings.Contains(b.String(), "u2@") {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"no","code":"UserExistsError"}`)
		}
	}))
	defer api.Close()
	s := &session{o: Options{API: api.URL + "/", AccessToken: "secret", UserPattern: "u%d@x.test", Password: "pw"}, nextUser: 1}
	if _, err := s.takeUsers(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"POST /users secret", `"username":"u1@x.test"`, `"address":"u1@x.test"`, `"password":"pw"`, `"quota":`} {
		if !strings.Contains(got[0], want) {
			t.Errorf("no %s in %s", want, got[0])
		}
	}
	if _, err := s.takeUsers(context.Background(), 1); !errors.Is(err, ErrUserExists) || !strings.Contains(err.Error(), "UserExistsError") {
		t.Errorf("error is %v", err)
	}
}
