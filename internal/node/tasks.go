package node

import (
	"context"
	"time"
)

// task is what a node of a cluster does from time to time. All nodes may do it at once:
// the engine takes the locks that nodes share.
type task struct {
	name string
	run  func(ctx context.Context) (int, error)
}

// firstTask is how long after the start tasks run for the first time, so that a node that
// is started again and again does them too.
const firstTask = time.Minute

// serveTasks runs the tasks of a cluster until the context ends.
func (n *Node) serveTasks(ctx context.Context) {
	if n.cluster == nil || !n.cfg.Tasks.Enabled {
		return
	}
	interval := time.Duration(n.cfg.Tasks.Interval)
	for wait := min(firstTask, interval); ; wait = interval {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		for _, t := range []task{
			{"remove expired mail and attachments that no message has", n.maintain},
			{"remove the mail of deleted accounts", n.cluster.mongo.ReclaimAccounts},
		} {
			n.runTask(ctx, t)
		}
	}
}

func (n *Node) runTask(ctx context.Context, t task) {
	begin := time.Now()
	done, err := t.run(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		n.log.WarnContext(ctx, "background task", "task", t.name, "error", err)
	case done > 0:
		n.log.InfoContext(ctx, "background task", "task", t.name, "done", done, "ms", time.Since(begin).Milliseconds())
	}
}

func (n *Node) maintain(ctx context.Context) (int, error) {
	done, err := n.cluster.mongo.Maintain(ctx)
	return done.Total(), err
}
