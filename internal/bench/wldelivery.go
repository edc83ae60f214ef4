package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// A delivery is a workload that sends mail by LMTP.
type delivery struct {
	profile     Profile
	count       int
	connections int
	users       int
	toAll       bool // every message to every user; else to one, in turn
}

func (d delivery) run(ctx context.Context, r *run) error {
	name := r.names[0]
	corpus, users, err := r.prepare(ctx, name, d.profile, r.o.scaled(d.count), d.users)
	if err != nil {
		return err
	}
	conns, err := r.dialLMTP(ctx, d.connections)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	taken := make([]time.Duration, corpus.Len())
	clock := r.startClock()
	if err := d.send(conns, corpus, 0, corpus.Len(), users, taken); err != nil {
		return err
	}
	res := r.report.result(name)
	clock.stop(res, corpus.Len(), corpus.Bytes())
	latencies(res, taken)
	if d.toAll {
		return r.verify(ctx, corpus, users, len(users))
	}
	return r.verify(ctx, corpus, users, 1)
}

// prepare makes mail and users of this run's own.
func (r *run) prepare(ctx context.Context, name string, profile Profile, count, users int) (*Corpus, []user, error) {
	corpus, err := NewCorpus(profile, corpusSeed(r.o.Seed, name, r.number), count)
	if err != nil {
		return nil, nil, err
	}
	u, err := r.takeUsers(ctx, users)
	return corpus, u, err
}

func (r *run) dialLMTP(ctx context.Context, n int) ([]*lmtpConn, error) {
	var conns []*lmtpConn
	for range n {
		c, err := dialLMTP(ctx, &r.o, r.o.lmtp())
		if err != nil {
			closeAll(conns)
			return nil, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func closeAll[C interface{ close() }](conns []C) {
	for _, c := range conns {
		c.close()
	}
}

// send delivers the messages from (inclusive) to (exclusive); each connection takes the next one. The time that each took
// goes to taken, if given.
func (d delivery) send(conns []*lmtpConn, corpus *Corpus, from, to int, users []user, taken []time.Duration) error {
	addresses := make([]string, len(users))
	for i, u := range users {
		addresses[i] = u.address
	}
	var next atomic.Int64
	next.Store(int64(from))
	return parallel(len(conns), len(conns), func(i int) error {
		for {
			serial := int(next.Add(1)) - 1
			if serial >= to {
				return nil
			}
			recipients := addresses
			if !d.toAll {
				at := serial % len(addresses)
				recipients = addresses[at : at+1]
			}
			begin := time.Now()
			if err := conns[i].deliver(corpus, serial, recipients); err != nil {
				next.Store(int64(to)) // the other connections need not go on
				return fmt.Errorf("message %d: %w", serial, err)
			}
			if taken != nil {
				taken[serial-from] = time.Since(begin)
			}
		}
	})
}

// verify reads all mail of the users and checks that every message of the corpus is there, octet for octet, times
// times in all. The clock has stopped: this is not part of a figure.
func (r *run) verify(ctx context.Context, corpus *Corpus, users []user, times int) error {
	if r.o.SkipVerify {
		return nil
	}
	return r.verifyCount(ctx, corpus, corpus.Len(), users, times)
}

func (r *run) verifyCount(ctx context.Context, corpus *Corpus, messages int, users []user, times int) error {
	total := newTally(messages)
	for _, u := range users {
		if err := r.readBack(ctx, corpus, u, total); err != nil {
			return fmt.Errorf("read back what was delivered: user %s: %w", u.name, err)
		}
	}
	if err := total.each(times); err != nil {
		return fmt.Errorf("read back what was delivered: %w", err)
	}
	return nil
}

func (r *run) readBack(ctx context.Context, corpus *Corpus, u user, total *tally) error {
	c, err := openIMAP(ctx, &r.o, u)
	if err != nil {
		return err
	}
	defer c.close()
	if c.exists == 0 {
		return nil
	}
	body := bodyReader{c: c, corpus: corpus, tally: total}
	n, err := body.fetch("1:*")
	if err == nil && n != c.exists {
		err = fmt.Errorf("FETCH 1:* gave %d messages, SELECT said %d", n, c.exists)
	}
	return err
}
