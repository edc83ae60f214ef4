package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// An arrival is an EXISTS that an idling session has read.
type arrival struct {
	count int
	at    time.Time
}

// idle puts a session into IDLE (RFC 2177) and reports each EXISTS until the connection is closed.
func (c *imapConn) idle() (<-chan arrival, <-chan error, error) {
	if err := c.startIdle(); err != nil {
		return nil, nil, err
	}
	arrivals, failed := make(chan arrival, 64), make(chan error, 1)
	go func() {
		for {
			line, err := c.line()
			if err != nil {
				failed <- err
				return
			}
			if n, ok := existsCount(line); ok {
				arrivals <- arrival{n, time.Now()}
			}
		}
	}()
	return arrivals, failed, nil
}

// startIdle puts a session into IDLE, in which it may wait for ever.
func (c *imapConn) startIdle() error {
	if _, err := c.send("IDLE"); err != nil {
		return fmt.Errorf("send IDLE: %w", err)
	}
	if err := c.continuation(); err != nil {
		return err
	}
	return c.conn.SetDeadline(time.Time{})
}

const (
	notifyTime  = 30 * time.Second // for all samples
	notifyGap   = 40 * time.Millisecond
	notifyLimit = 30 * time.Second // for one
)

// notify delivers one message at a time to the first node, at irregular moments, and takes the time from the 250 to the
// EXISTS that a session there, or at the other node, reads. One that comes before the 250 counts as 0.
func notify(ctx context.Context, r *run) error {
	name, lmtp, imap := r.names[0], strings.Split(r.o.LMTP, ",")[0], strings.Split(r.o.IMAP, ",")
	corpus, users, err := r.prepare(ctx, name, ProfileSmall, r.o.NotifySamples, 1)
	if err != nil {
		return err
	}
	in, err := dialLMTP(ctx, &r.o, lmtp)
	if err != nil {
		return err
	}
	defer in.close()
	at := imapAt{addr: imap[0]}
	if name == "notify-other" {
		at.addr = imap[1]
	}
	waiting, err := openIMAPAt(ctx, &r.o, users[0], at)
	if err != nil {
		return err
	}
	defer waiting.abort()
	arrivals, failed, err := waiting.idle()
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(r.o.Seed, uint64(r.number)))
	var taken []time.Duration
	for start := time.Now(); len(taken) < corpus.Len() && time.Since(start) < notifyTime; {
		if err := in.deliver(corpus, len(taken), []string{users[0].address}); err != nil {
			return err
		}
		acknowledged := time.Now()
		seen, err := awaitCount(ctx, arrivals, failed, waiting.exists+len(taken)+1)
		if err != nil {
			return fmt.Errorf("notification %d: %w", len(taken)+1, err)
		}
		taken = append(taken, max(seen.at.Sub(acknowledged), 0))
		if err := pause(ctx, time.Duration(rng.Int64N(int64(2*notifyGap)))); err != nil {
			return err
		}
	}
	res := r.report.result(name)
	res.Messages = len(taken)
	latencies(res, taken)
	return nil
}

func awaitCount(ctx context.Context, arrivals <-chan arrival, failed <-chan error, count int) (arrival, error) {
	limit := time.NewTimer(notifyLimit)
	defer limit.Stop()
	for {
		select {
		case a := <-arrivals:
			if a.count >= count {
				return a, nil
			}
		case err := <-failed:
			return arrival{}, fmt.Errorf("the idling session ended: %w", err)
		case <-limit.C:
			return arrival{}, fmt.Errorf("no EXISTS within %s", notifyLimit)
		case <-ctx.Done():
			return arrival{}, ctx.Err()
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
