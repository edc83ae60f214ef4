package bench

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	idlePerUser = 10
	idleSettle  = 3 * time.Second // in which a server may give back what opening the sessions took
)

// idle opens many sessions on the first node, all of them in IDLE, and takes the memory of the node. Then mail comes for
// one of the users, of which all of the user's sessions must hear.
func idle(ctx context.Context, r *run) error {
	first := r.o
	first.LMTP, first.IMAP = strings.Split(r.o.LMTP, ",")[0], strings.Split(r.o.IMAP, ",")[0]
	node := processTree{r.o.ServerPID}
	sessions := r.o.IdleSessions
	corpus, users, err := r.prepare(ctx, r.names[0], ProfileSmall, 1, (sessions+idlePerUser-1)/idlePerUser)
	if err != nil {
		return err
	}
	before, err := node.use()
	if err != nil {
		return err
	}
	conns := make([]*imapConn, sessions)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.abort()
			}
		}
	}()
	err = parallel(sessions, 4, func(i int) error {
		c, err := openIMAPAt(ctx, &first, users[i/idlePerUser], imapAt{addr: first.IMAP, small: true})
		if err != nil {
			return err
		}
		conns[i] = c
		return c.startIdle()
	})
	if err != nil {
		return fmt.Errorf("open %d sessions: %w", sessions, err)
	}
	if err := pause(ctx, idleSettle); err != nil {
		return err
	}
	after, err := node.use()
	if err != nil {
		return err
	}
	res := r.report.result(r.names[0])
	res.add(Metric{Name: "memory", Unit: "MiB", Lower: true}, mib(after.resident))
	res.add(Metric{Name: "memory before", Unit: "MiB", Lower: true, Info: true}, mib(before.resident))
	return heardByAll(ctx, &first, corpus, users[0], conns[:min(idlePerUser, sessions)])
}

// heardByAll delivers a message and waits until every session has read of it.
func heardByAll(ctx context.Context, o *Options, corpus *Corpus, u user, conns []*imapConn) error {
	in, err := dialLMTP(ctx, o, o.LMTP)
	if err != nil {
		return err
	}
	defer in.close()
	if err := in.deliver(corpus, 0, []string{u.address}); err != nil {
		return err
	}
	for i, c := range conns {
		c.conn.SetDeadline(time.Now().Add(notifyLimit))
		for seen := false; !seen; {
			line, err := c.line()
			if err != nil {
				return fmt.Errorf("idling session %d was not told of a message: %w", i, err)
			}
			n, ok := existsCount(line)
			seen = ok && n == 1
		}
	}
	return nil
}
