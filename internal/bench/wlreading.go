package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// A step measures one workload.
type step func(ctx context.Context, res *Result) error

// A reading is a group of workloads that use one mailbox as a person's clients do.
type reading struct{ count int }

func (g reading) run(ctx context.Context, r *run) error {
	corpus, users, err := r.prepare(ctx, "reading", ProfileLetter, r.o.scaled(g.count), 1)
	if err != nil {
		return err
	}
	conns, err := r.dialLMTP(ctx, 8)
	if err != nil {
		return err
	}
	err = delivery{}.send(conns, corpus, 0, corpus.Len(), users, nil)
	closeAll(conns)
	if err != nil {
		return fmt.Errorf("fill the mailbox: %w", err)
	}
	m := &filledMailbox{run: r, corpus: corpus, user: users[0]}
	steps := []struct {
		name string
		run  step
	}{
		{"list-500", m.list}, {"body-500", m.bodies}, {"body-single", m.single}, {"store-500", m.store},
		{"search-body", m.searchBody(common)}, {"search-body-rare", m.searchBody(rare)},
		{"api-search", m.searchAPI(common)}, {"api-search-rare", m.searchAPI(rare)},
	}
	for _, s := range steps {
		if !r.wanted(s.name) {
			continue
		}
		if err := s.run(ctx, r.report.result(s.name)); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// A filledMailbox is the INBOX of a user that holds a corpus and nothing else.
type filledMailbox struct {
	*run
	corpus *Corpus
	user   user
	listed []listed // by sequence number less one
}

// again is how often a session of its own does the same thing. The first time is a figure of its own, because a server
// may keep what it has read.
const again = 5

// times does something in a new session, again and again, and takes the time of each without opening the session.
func (m *filledMailbox) times(ctx context.Context, f func(c *imapConn) error) ([]time.Duration, error) {
	var taken []time.Duration
	for range again {
		c, err := openIMAP(ctx, &m.o, m.user)
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		if err := f(c); err != nil {
			c.abort()
			return nil, err
		}
		taken = append(taken, time.Since(begin))
		c.close()
	}
	return taken, nil
}

// list reads what a client shows of every message.
func (m *filledMailbox) list(ctx context.Context, res *Result) error {
	taken, err := m.times(ctx, func(c *imapConn) error {
		l := listReader{c: c, corpus: m.corpus, tally: newTally(m.corpus.Len())}
		if err := l.fetch("1:*"); err != nil {
			return err
		}
		res.Messages, res.Bytes = len(l.all), l.tally.bytes
		m.listed = l.all
		return l.tally.each(1)
	})
	if err != nil {
		return err
	}
	res.add(Metric{Name: "first time", Unit: "ms", Lower: true}, milliseconds(taken[0]))
	res.add(Metric{Name: "time", Unit: "ms", Lower: true}, milliseconds(middle(taken[1:])))
	return nil
}

// numbering returns which message has which number, for those who have to know what they found.
func (m *filledMailbox) numbering(ctx context.Context) ([]listed, error) {
	if m.listed != nil {
		return m.listed, nil
	}
	c, err := openIMAP(ctx, &m.o, m.user)
	if err != nil {
		return nil, err
	}
	defer c.close()
	l := listReader{c: c, corpus: m.corpus, tally: newTally(m.corpus.Len())}
	if err := l.fetch("1:*"); err != nil {
		return nil, err
	}
	m.listed = l.all
	return m.listed, l.tally.each(1)
}

func (m *filledMailbox) bodies(ctx context.Context, res *Result) error {
	cpu := startTree(m.o.nodes())
	taken, err := m.times(ctx, func(c *imapConn) error {
		b := bodyReader{c: c, corpus: m.corpus, tally: newTally(m.corpus.Len())}
		if _, err := b.fetch("1:*"); err != nil {
			return err
		}
		res.Messages, res.Bytes = m.corpus.Len(), b.tally.bytes
		return b.tally.each(1)
	})
	if err != nil {
		return err
	}
	throughput := func(d time.Duration) float64 { return float64(res.Bytes) / 1e6 / d.Seconds() }
	res.add(Metric{Name: "first time", Unit: "MB/s"}, throughput(taken[0]))
	res.add(Metric{Name: "throughput", Unit: "MB/s"}, throughput(middle(taken[1:])))
	cpu.record(res, Metric{Name: "server cpu", Unit: "µs/msg", Lower: true}, again*m.corpus.Len())
	return nil
}

// single reads each message once, in an order of chance.
func (m *filledMailbox) single(ctx context.Context, res *Result) error {
	c, err := openIMAP(ctx, &m.o, m.user)
	if err != nil {
		return err
	}
	defer c.close()
	b := bodyReader{c: c, corpus: m.corpus, tally: newTally(m.corpus.Len())}
	rng := rand.New(rand.NewPCG(m.o.Seed, uint64(m.number)))
	var taken []time.Duration
	clock := m.startClock()
	for _, i := range rng.Perm(m.corpus.Len()) {
		begin := time.Now()
		if n, err := b.fetch(strconv.Itoa(i + 1)); err != nil || n != 1 {
			return fmt.Errorf("FETCH %d gave %d messages: %w", i+1, n, err)
		}
		taken = append(taken, time.Since(begin))
	}
	clock.stop(res, len(taken), b.tally.bytes)
	latencies(res, taken)
	return b.tally.each(1)
}

// store sets a flag on all messages and takes it away, and looks from a second session whether that is so.
func (m *filledMailbox) store(ctx context.Context, res *Result) error {
	c, err := openIMAP(ctx, &m.o, m.user)
	if err != nil {
		return err
	}
	defer c.close()
	var taken []time.Duration
	cpu := startTree(m.o.nodes())
	for i := range 6 {
		sign, set := "+", i%2 == 0
		if !set {
			sign = "-"
		}
		begin := time.Now()
		told, err := flagged(c, "STORE 1:* "+sign+`FLAGS (\Flagged)`, set)
		if err != nil {
			return err
		}
		taken = append(taken, time.Since(begin))
		if told != m.corpus.Len() {
			return fmt.Errorf("STORE told of %d messages, not of %d", told, m.corpus.Len())
		}
		if err := m.checkFlagged(ctx, set); err != nil {
			return err
		}
	}
	res.Messages = m.corpus.Len()
	res.add(Metric{Name: "time", Unit: "ms", Lower: true}, milliseconds(middle(taken)))
	cpu.record(res, Metric{Name: "server cpu", Unit: "µs/msg", Lower: true}, len(taken)*m.corpus.Len())
	return nil
}

func (m *filledMailbox) checkFlagged(ctx context.Context, set bool) error {
	c, err := openIMAP(ctx, &m.o, m.user)
	if err != nil {
		return err
	}
	defer c.close()
	n, err := flagged(c, "FETCH 1:* (FLAGS)", set)
	if err == nil && n != m.corpus.Len() {
		err = fmt.Errorf("a second session sees %d messages after STORE, not %d", n, m.corpus.Len())
	}
	return err
}

// flagged gives a command that is answered with the flags of messages, and returns of how many. All must have, or not
// have, \Flagged.
func flagged(c *imapConn, command string, set bool) (int, error) {
	told := 0
	err := c.command(command, func(line []byte) error {
		if !bytes.Contains(line, []byte(" FETCH (")) {
			return nil
		}
		told++
		if bytes.Contains(line, []byte(`\Flagged`)) != set {
			return fmt.Errorf("%s: it says %q", command, line)
		}
		return nil
	})
	return told, err
}

// middle is the median of times, which it sorts.
func middle(all []time.Duration) time.Duration {
	slices.Sort(all)
	return percentile(all, 0.5)
}
