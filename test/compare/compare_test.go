//go:build e2e && bench

// Package compare measures Mallard beside Debian's Dovecot, and on databases beside Node WildDuck, on one machine: the
// same mail, the same driver, turn by turn, so that whatever else the machine does meets all of them. See
// docs/benchmarks.md.
package compare

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mallard/internal/bench"
	"mallard/internal/testserver/freeport"
	"mallard/test/e2e/harness"
)

// Settings come from the environment:
//
//	MALLARD_BENCH_DIR        where the servers keep their data, on the disk to be measured; default /var/tmp
//	MALLARD_BENCH_OUT        where the reports go; default bin/bench below the repository
//	MALLARD_BENCH_RUNS       runs of each workload; default 3
//	MALLARD_BENCH_WORKLOADS  names, with commas; default all but growth
//	MALLARD_BENCH_SERVERS    of mallard, mdbox, maildir; default all three. Of the cluster's: see cluster_test.go
//	MALLARD_BENCH_GROWTH     messages of the workload growth
//	MALLARD_BENCH_STRICT=1   a target that is not reached fails
func setting(name, fallback string) string {
	if v := os.Getenv("MALLARD_BENCH_" + name); v != "" {
		return v
	}
	return fallback
}

func number(t *testing.T, name, fallback string) int {
	t.Helper()
	n, err := strconv.Atoi(setting(name, fallback))
	if err != nil {
		t.Fatalf("MALLARD_BENCH_%s: %v", name, err)
	}
	return n
}

// A contestant is a running server.
type contestant struct {
	options bench.Options
	data    string
	report  *bench.Report
	warm    bool
}

func TestCompare(t *testing.T) {
	dir, err := os.MkdirTemp(setting("DIR", "/var/tmp"), "mallard-bench-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // Dovecot's own users go through it
		t.Fatal(err)
	}
	var all []*contestant
	for _, name := range strings.Split(setting("SERVERS", "mallard,mdbox,maildir"), ",") {
		if name == "mallard" {
			all = append(all, startMallard(t, filepath.Join(dir, name)))
		} else {
			all = append(all, startDovecot(t, name, filepath.Join(dir, name), freeport.Take(t, 2)))
		}
	}
	once := map[string]bool{"growth": true, "big": true, "disk-4k": true, "disk-30k": true, "disk-attachments": true}
	workloads := turns("")
	for round := range number(t, "RUNS", "3") {
		for _, names := range workloads {
			if round > 0 && once[names[0]] {
				continue
			}
			for _, c := range all {
				c.run(t, names, round)
			}
		}
	}
	text := tables(t, all...)
	for _, c := range all[1:] {
		compare(t, text, all[0], c)
	}
	if len(all) > 1 && all[0].report.Label == "Mallard" && all[1].report.Label == "Dovecot mdbox" {
		text.WriteString(judge(t, targets, all[0].report, all[1].report))
	}
	publish(t, "comparison.md", text)
}

// turns lists what of a set is run in one go before it is another server's turn: workloads that share their preparation.
func turns(set string) [][]string {
	var wanted [][]string
	chosen := setting("WORKLOADS", "")
	for _, w := range bench.Workloads() {
		if chosen == "" && (w.Name == "growth" || w.Set != set) || chosen != "" && !strings.Contains(","+chosen+",", ","+w.Name+",") {
			continue
		}
		last := len(wanted) - 1
		if last >= 0 && family(w.Name) != "" && family(w.Name) == family(wanted[last][0]) {
			wanted[last] = append(wanted[last], w.Name)
			continue
		}
		wanted = append(wanted, []string{w.Name})
	}
	return wanted
}

func family(workload string) string {
	if slices.Contains(reading, workload) {
		return "reading"
	}
	if !strings.HasPrefix(workload, "fetch-") {
		return ""
	}
	if strings.HasSuffix(workload, "-small") {
		return "fetch-small"
	}
	return "fetch"
}

func (c *contestant) run(t *testing.T, names []string, round int) {
	t.Helper()
	o := c.options
	o.Workloads, o.Runs, o.Seed = names, 1, uint64(round+1)
	if c.report == nil || strings.HasPrefix(names[0], "disk") {
		o.DiskPath = c.data
	}
	if c.report != nil {
		o.FirstUser = c.report.NextUser
	}
	report, err := bench.Run(context.Background(), o)
	if err != nil {
		t.Errorf("%s: %v", o.Label, err)
	}
	if report == nil {
		t.FailNow()
	}
	if c.report == nil {
		c.report = report
		return
	}
	c.report.Merge(report)
}

func startMallard(t *testing.T, dir string) *contestant {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{Dir: dir})
	data := filepath.Join(dir, "data")
	return &contestant{data: data, options: bench.Options{
		Label: "Mallard", LMTP: s.LMTP, IMAP: s.IMAP, API: s.API, ServerPID: s.PID(), Progress: os.Stderr,
		GrowthMessages: number(t, "GROWTH", "100000"),
	}}
}

func startDovecot(t *testing.T, format, dir string, ports []int) *contestant {
	t.Helper()
	script := filepath.Join(harness.Root(), "test", "rig", "dovecot.sh")
	t.Cleanup(func() { harness.Command{Program: script, Args: []string{"stop", dir}}.Run(t) })
	r := harness.Command{Program: script, Args: []string{"start", format, dir, strconv.Itoa(ports[0]), strconv.Itoa(ports[1])}}.Must(t)
	said := map[string]string{}
	for s := bufio.NewScanner(strings.NewReader(r.Out)); s.Scan(); {
		key, value, _ := strings.Cut(s.Text(), "=")
		said[key] = value
	}
	pid, err := strconv.Atoi(said["DOVECOT_PID"])
	if err != nil {
		t.Fatalf("dovecot.sh said %q: %v", r.Out, err)
	}
	return &contestant{data: said["DOVECOT_DATA"], options: bench.Options{
		Label: "Dovecot " + format, LMTP: said["DOVECOT_LMTP"], IMAP: said["DOVECOT_IMAP"], Password: said["DOVECOT_PASSWORD"],
		ServerPID: pid, Progress: os.Stderr, GrowthMessages: number(t, "GROWTH", "100000"),
	}}
}

// outDir is where reports go.
func outDir(t *testing.T) string {
	t.Helper()
	out := setting("OUT", filepath.Join(harness.Root(), "bin", "bench"))
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	return out
}

// tables writes each report as JSON, and returns all of them as text.
func tables(t *testing.T, all ...*contestant) *bytes.Buffer {
	t.Helper()
	var text bytes.Buffer
	for _, c := range all {
		if err := c.report.WriteTable(&text); err != nil {
			t.Fatal(err)
		}
		text.WriteString("\n")
		c.save(t)
	}
	return &text
}

// save writes the report as JSON.
func (c *contestant) save(t *testing.T) {
	t.Helper()
	var b bytes.Buffer
	if err := c.report.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	name := strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(c.report.Label, ",", ""), " ", "-")) + ".json"
	if err := os.WriteFile(filepath.Join(outDir(t), name), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// compare adds a comparison to the text.
func compare(t *testing.T, text *bytes.Buffer, ours, theirs *contestant) {
	t.Helper()
	if err := bench.WriteComparison(text, ours.report, theirs.report); err != nil {
		t.Fatal(err)
	}
	text.WriteString("\n")
}

func publish(t *testing.T, name string, text *bytes.Buffer) {
	t.Helper()
	fmt.Println(text.String())
	if err := os.WriteFile(filepath.Join(outDir(t), name), text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A target is what Mallard must reach: so many times as well as the other server in the same run, or at most a value.
type target struct {
	workload, metric string
	times            float64
	atMost           float64
}

var targets = []target{
	{"lmtp-1", "rate", 4, 0}, {"lmtp-8-100users", "rate", 8, 0}, {"lmtp-8-1user", "rate", 8, 0}, {"lmtp-8-30k", "rate", 5, 0},
	{"lmtp-10rcpt", "rate", 10, 0}, {"append-1-small", "rate", 2, 0}, {"append-8-30k", "rate", 3, 0},
	{"fetch-meta-first", "rate", 5, 0}, {"fetch-meta-again", "rate", 3, 0}, {"fetch-body-1", "rate", 2, 0}, {"fetch-body-4", "rate", 1.5, 0},
	{"notify", "p50", 0, 0.5}, {"notify", "p99", 0, 3},
	{"disk-4k", "disk", 0, 0.85}, {"disk-30k", "disk", 0, 0.70}, {"disk-attachments", "disk", 0, 0.06},
}

func judge(t *testing.T, targets []target, ours, theirs *bench.Report) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| target | wanted | measured | |\n|---|---:|---:|---|\n")
	for _, g := range targets {
		m, ok := ours.Metric(g.workload, g.metric)
		if !ok {
			continue
		}
		wanted, measured, reached := fmt.Sprintf("at most %g %s", g.atMost, m.Unit), fmt.Sprintf("%.3g", m.Median), m.Median <= g.atMost
		if g.times > 0 {
			other, ok := theirs.Metric(g.workload, g.metric)
			if !ok || other.Median == 0 || m.Median == 0 {
				continue
			}
			ratio := m.Median / other.Median
			if m.Lower {
				ratio = other.Median / m.Median
			}
			wanted, measured, reached = fmt.Sprintf("%g×", g.times), fmt.Sprintf("%.2f×", ratio), ratio >= g.times
		}
		verdict := "reached"
		if !reached {
			verdict = "**not reached**"
			if setting("STRICT", "") == "1" {
				t.Errorf("%s %s: wanted %s, measured %s", g.workload, g.metric, wanted, measured)
			}
		}
		fmt.Fprintf(&b, "| %s %s | %s | %s | %s |\n", g.workload, g.metric, wanted, measured, verdict)
	}
	return b.String()
}
