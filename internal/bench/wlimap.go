package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// An appending is a workload that stores mail by IMAP APPEND.
type appending struct {
	profile  Profile
	count    int
	sessions int
	users    int
}

func (a appending) run(ctx context.Context, r *run) error {
	name := r.names[0]
	corpus, users, err := r.prepare(ctx, name, a.profile, r.o.scaled(a.count), a.users)
	if err != nil {
		return err
	}
	conns, err := r.openSessions(ctx, users, a.sessions)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	taken := make([]time.Duration, corpus.Len())
	var next atomic.Int64
	clock := r.startClock()
	err = parallel(len(conns), len(conns), func(i int) error {
		for {
			serial := int(next.Add(1)) - 1
			if serial >= corpus.Len() {
				return nil
			}
			begin := time.Now()
			if err := conns[i].appendMessage(corpus, serial); err != nil {
				next.Store(int64(corpus.Len()))
				return fmt.Errorf("message %d: %w", serial, err)
			}
			taken[serial] = time.Since(begin)
		}
	})
	if err != nil {
		return err
	}
	res := r.report.result(name)
	clock.stop(res, corpus.Len(), corpus.Bytes())
	latencies(res, taken)
	return r.verify(ctx, corpus, users, 1)
}

// openSessions opens n sessions of the users in turn, with INBOX selected.
func (r *run) openSessions(ctx context.Context, users []user, n int) ([]*imapConn, error) {
	var conns []*imapConn
	for i := range n {
		c, err := openIMAP(ctx, &r.o, users[i%len(users)])
		if err != nil {
			closeAll(conns)
			return nil, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// A fetching is a group of workloads that read a mailbox of one user.
type fetching struct {
	profile Profile
	count   int
	meta    bool
	suffix  string
}

// A fast server answers within milliseconds: a FETCH is repeated until it has taken this long in all.
const (
	fetchAtLeast = time.Second
	fetchAtMost  = 20
)

func (f fetching) run(ctx context.Context, r *run) error {
	corpus, users, err := r.prepare(ctx, "fetch"+f.suffix, f.profile, r.o.scaled(f.count), 1)
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
	if f.meta {
		if err := f.runMeta(ctx, r, corpus, users[0]); err != nil {
			return err
		}
	}
	for _, sessions := range []int{1, 4} {
		if name := fmt.Sprintf("fetch-body-%d%s", sessions, f.suffix); r.wanted(name) {
			if err := f.runBodies(ctx, r, name, corpus, users, sessions); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f fetching) runMeta(ctx context.Context, r *run, corpus *Corpus, u user) error {
	if !r.wanted("fetch-meta-first") && !r.wanted("fetch-meta-again") {
		return nil
	}
	for _, name := range []string{"fetch-meta-first", "fetch-meta-again"} {
		c, err := openIMAP(ctx, &r.o, u)
		if err != nil {
			return err
		}
		reader := newMetaReader(c, corpus)
		clock, times := r.startClock(), 0
		for times == 0 || name == "fetch-meta-again" && times < fetchAtMost && time.Since(clock.start) < fetchAtLeast {
			if _, err := reader.fetch("1:*"); err != nil {
				c.abort()
				return err
			}
			times++
		}
		if r.wanted(name) {
			clock.stop(r.report.result(name), times*corpus.Len(), reader.tally.bytes)
		}
		c.close()
		if err := reader.tally.each(times); err != nil {
			return err
		}
	}
	return nil
}

func (f fetching) runBodies(ctx context.Context, r *run, name string, corpus *Corpus, users []user, sessions int) error {
	conns, err := r.openSessions(ctx, users, sessions)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	tallies := make([]*tally, sessions)
	var fetched atomic.Int64
	clock := r.startClock()
	err = parallel(sessions, sessions, func(i int) error {
		tallies[i] = newTally(corpus.Len())
		body := bodyReader{c: conns[i], corpus: corpus, tally: tallies[i]}
		times := 0
		for times == 0 || times < fetchAtMost && time.Since(clock.start) < fetchAtLeast {
			n, err := body.fetch("1:*")
			if err != nil {
				return err
			}
			fetched.Add(int64(n))
			times++
		}
		return tallies[i].each(times)
	})
	if err != nil {
		return err
	}
	var bytes int64
	for _, t := range tallies {
		bytes += t.bytes
	}
	clock.stop(r.report.result(name), int(fetched.Load()), bytes)
	return nil
}
