package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"
)

// A Workload is something that is measured, by name.
type Workload struct {
	Name  string
	Title string
	Set   string // it is run by this name as well; empty for those that are run without any
}

// A group of workloads shares its preparation and is run as one. Once means that repeating it would tell nothing.
type group struct {
	workloads []Workload
	once      bool
	run       func(ctx context.Context, r *run) error
}

// Workloads lists what can be run, in the order in which it is run.
func Workloads() []Workload {
	var all []Workload
	for _, g := range groups() {
		all = append(all, g.workloads...)
	}
	return all
}

func workloadNames() []string {
	var names []string
	for _, w := range Workloads() {
		names = append(names, w.Name)
	}
	return names
}

// A session is one call of Run.
type session struct {
	o        Options
	report   *Report
	nextUser int
	once     sync.Once
	http     *http.Client
}

// A run is one repetition of a group.
type run struct {
	*session
	number int
	names  []string // the workloads of the group that were asked for
}

func (r *run) wanted(name string) bool { return slices.Contains(r.names, name) }

// Run drives the server through the workloads. It returns a report also when a workload fails, with the failure in
// that workload's result and in the error; the other workloads are run all the same. A cancelled context ends it.
func Run(ctx context.Context, o Options) (*Report, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("benchmark options: %w", err)
	}
	start := time.Now()
	s := &session{o: o, nextUser: o.FirstUser, report: &Report{Label: o.Label, Started: start, Seed: o.Seed, Scale: o.Scale}}
	if s.report.Machine, err = machineFacts(o.DiskPath); err != nil {
		return nil, err
	}
	var errs []error
	for _, g := range groups() {
		if err := s.runGroup(ctx, g); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	s.client().CloseIdleConnections()
	s.report.Seconds = time.Since(start).Seconds()
	s.report.NextUser = s.nextUser
	return s.report, errors.Join(errs...)
}

func (s *session) runGroup(ctx context.Context, g group) error {
	var names []string
	for _, w := range g.workloads {
		if slices.Contains(s.o.Workloads, w.Name) {
			names = append(names, w.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	runs := s.o.Runs
	if g.once {
		runs = 1
	}
	for n := range runs {
		fmt.Fprintf(s.o.Progress, "%s: %v, run %d of %d\n", s.o.Label, names, n+1, runs)
		runtime.GC() // the last run's mail, before a clock runs
		if err := g.run(ctx, &run{session: s, number: n, names: names}); err != nil {
			err = fmt.Errorf("workload %v, run %d: %w", names, n+1, err)
			fmt.Fprintf(s.o.Progress, "%s: %v\n", s.o.Label, err)
			for _, name := range names {
				s.report.result(name).Error = err.Error()
			}
			return err
		}
	}
	return nil
}

// A clock takes the time of the measured part of a workload, the driver's own CPU time and the server's.
type clock struct {
	start  time.Time
	own    time.Duration
	server *treeClock
	data   *treeClock
}

// A treeClock takes the CPU time of processes. There is none where it cannot be known.
type treeClock struct {
	tree  processTree
	began time.Duration
}

func startTree(tree processTree) *treeClock {
	u, err := tree.use()
	if err != nil {
		return nil
	}
	return &treeClock{tree, u.cpu}
}

// record adds the CPU time per message.
func (t *treeClock) record(res *Result, m Metric, messages int) {
	if t == nil {
		return
	}
	if u, err := t.tree.use(); err == nil {
		res.add(m, perMessage(u.cpu-t.began, messages))
	}
}

func perMessage(d time.Duration, messages int) float64 {
	return float64(d.Microseconds()) / float64(max(messages, 1))
}

func (s *session) startClock() *clock {
	c := &clock{server: startTree(s.o.nodes()), data: startTree(s.o.DatabasePIDs), own: ownCPU()}
	c.start = time.Now()
	return c
}

// stop records rate, throughput and CPU times of what was done since the clock was started.
func (c *clock) stop(res *Result, messages int, bytes int64) {
	elapsed := time.Since(c.start).Seconds()
	own := ownCPU() - c.own
	res.Messages, res.Bytes = messages, bytes
	res.add(Metric{Name: "rate", Unit: "msg/s"}, float64(messages)/elapsed)
	res.add(Metric{Name: "throughput", Unit: "MB/s", Info: true}, float64(bytes)/1e6/elapsed)
	c.server.record(res, Metric{Name: "server cpu", Unit: "µs/msg", Lower: true}, messages)
	c.data.record(res, Metric{Name: "database cpu", Unit: "µs/msg", Lower: true}, messages)
	res.add(Metric{Name: "driver cpu", Unit: "µs/msg", Lower: true, Info: true}, perMessage(own, messages))
}

// latencies records the median and the 99th percentile, in milliseconds.
func latencies(res *Result, all []time.Duration) {
	slices.Sort(all)
	_, hasRate := res.metric("rate") // which says the same, and is what is compared
	res.add(Metric{Name: "p50", Unit: "ms", Lower: true, Info: hasRate}, milliseconds(percentile(all, 0.50)))
	res.add(Metric{Name: "p99", Unit: "ms", Lower: true, Info: hasRate}, milliseconds(percentile(all, 0.99)))
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
