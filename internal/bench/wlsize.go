package bench

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A footprint is a workload that measures disk space.
type footprint struct {
	profile Profile
	count   int
}

func (f footprint) run(ctx context.Context, r *run) error {
	name := r.names[0]
	count := r.o.scaled(f.count)
	if f.profile == ProfileAttachments {
		count = f.count // how often the same file comes is the point of it
	}
	corpus, users, err := r.prepare(ctx, name, f.profile, count, 1)
	if err != nil {
		return err
	}
	conns, err := r.dialLMTP(ctx, 8)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	// What a server needs once, such as logs that it uses again and again, is no cost of a message: it takes as much
	// other mail first.
	if err := f.warmUp(ctx, r, conns); err != nil {
		return err
	}
	before, err := r.settledDiskUsage(ctx)
	if err != nil {
		return err
	}
	if err := (delivery{}).send(conns, corpus, 0, corpus.Len(), users, nil); err != nil {
		return err
	}
	after, err := r.settledDiskUsage(ctx)
	if err != nil {
		return err
	}
	res := r.report.result(name)
	res.Messages, res.Bytes = corpus.Len(), corpus.Bytes()
	res.add(Metric{Name: "disk", Unit: "bytes/byte", Lower: true}, float64(after-before)/float64(corpus.Bytes()))
	return r.verify(ctx, corpus, users, 1)
}

// warmUp delivers as many other messages of the same kind.
func (f footprint) warmUp(ctx context.Context, r *run, conns []*lmtpConn) error {
	corpus, users, err := r.prepare(ctx, r.names[0]+" before", f.profile, r.o.scaled(f.count), 1)
	if err != nil {
		return err
	}
	return (delivery{}).send(conns, corpus, 0, corpus.Len(), users, nil)
}

// growthCorpus bounds the mail that growth keeps in memory; beyond it the same content comes again, under other
// Message-IDs.
const growthCorpus = 40_000

// growth fills one mailbox and takes the rate and the server's memory at every step.
func growth(ctx context.Context, r *run) error {
	total, step := r.o.GrowthMessages, r.o.GrowthStep
	corpus, users, err := r.prepare(ctx, "growth", ProfileSmall, min(total, growthCorpus), 1)
	if err != nil {
		return err
	}
	conns, err := r.dialLMTP(ctx, 8)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	series := &Series{Columns: []string{"messages", "msg/s", "server MiB"}}
	for from := 0; from < total; from += step {
		to := min(from+step, total)
		begin := time.Now()
		if err := (delivery{}).send(conns, corpus, from, to, users, nil); err != nil {
			return err
		}
		rate := float64(to-from) / time.Since(begin).Seconds()
		var resident float64
		if u, err := r.o.nodes().use(); err == nil {
			resident = mib(u.resident)
		}
		series.Rows = append(series.Rows, []float64{float64(to), rate, resident})
		fmt.Fprintf(r.o.Progress, "%s: growth: %d messages, %.0f msg/s, %.0f MiB\n", r.o.Label, to, rate, resident)
	}
	res := r.report.result("growth")
	res.Messages, res.Series = total, series
	first, last := series.Rows[0], series.Rows[len(series.Rows)-1]
	res.add(Metric{Name: "rate, first step", Unit: "msg/s"}, first[1])
	res.add(Metric{Name: "rate, last step", Unit: "msg/s"}, last[1])
	res.add(Metric{Name: "rate, last to first", Unit: "ratio"}, last[1]/first[1])
	if last[2] > 0 {
		res.add(Metric{Name: "memory, first step", Unit: "MiB", Lower: true}, first[2])
		res.add(Metric{Name: "memory, last step", Unit: "MiB", Lower: true}, last[2])
	}
	if r.o.SkipVerify {
		return nil
	}
	return r.verifyCount(ctx, corpus, total, users, 1)
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// big sends one message of 64 MiB and reads it back, and watches the server's memory meanwhile.
func big(ctx context.Context, r *run) error {
	corpus, users, err := r.prepare(ctx, "big", ProfileBig, 1, 1)
	if err != nil {
		return err
	}
	res := r.report.result("big")
	res.Messages, res.Bytes = 1, corpus.Bytes()
	in, err := dialLMTP(ctx, &r.o, r.o.lmtp())
	if err != nil {
		return err
	}
	defer in.close()
	out, err := openIMAP(ctx, &r.o, users[0])
	if err != nil {
		return err
	}
	out.close() // what a first session costs is not part of it
	err = r.watched(res, "in", func() error { return in.deliver(corpus, 0, []string{users[0].address}) })
	if err != nil {
		return err
	}
	return r.watched(res, "out", func() error { return r.verifyCount(ctx, corpus, 1, users, 1) })
}

// watched runs f and records how long it took and by how much the server's memory grew at most meanwhile.
func (r *run) watched(res *Result, what string, f func() error) error {
	w, err := watchMemory(r.o.nodes())
	if err != nil {
		w = nil // not known for this server: the time alone is reported
	}
	begin := time.Now()
	if err := f(); err != nil {
		if w != nil {
			w.stop()
		}
		return err
	}
	res.add(Metric{Name: "time " + what, Unit: "s", Lower: true}, time.Since(begin).Seconds())
	if w != nil {
		res.add(Metric{Name: "memory growth " + what, Unit: "MiB", Lower: true}, mib(w.stop()))
	}
	return nil
}

// A memoryWatch looks at a server's memory every few milliseconds.
type memoryWatch struct {
	tree        processTree
	before, top int64
	done        chan struct{}
	wg          sync.WaitGroup
}

func watchMemory(tree processTree) (*memoryWatch, error) {
	pids, err := tree.members()
	if err != nil {
		return nil, err
	}
	before := useOf(pids).resident
	w := &memoryWatch{tree: tree, before: before, top: before, done: make(chan struct{})}
	w.wg.Go(func() {
		looks := 0
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-w.done:
				return
			case <-tick.C:
				if looks++; looks%10 == 0 { // a server may fork for a connection
					if now, err := w.tree.members(); err == nil {
						pids = now
					}
				}
				w.top = max(w.top, useOf(pids).resident)
			}
		}
	})
	return w, nil
}

// stop ends the watch and returns the growth in bytes.
func (w *memoryWatch) stop() int64 {
	close(w.done)
	w.wg.Wait()
	return w.top - w.before
}
