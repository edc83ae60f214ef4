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
	redate := task{"date the messages of mailboxes anew whose retention has changed", n.cluster.mongo.Redate}
	next := time.NewTimer(min(firstTask, interval))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.cluster.mongo.TaskMade():
			n.runTask(ctx, redate)
			continue
		case <-next.C:
		}
		for _, t := range []task{
			redate, // before what has expired by the new dates goes
			{"remove expired mail and attachments that no message has", n.maintain},
			{"remove the mail of deleted accounts", n.cluster.mongo.ReclaimAccounts},
		} {
			n.runTask(ctx, t)
		}
		next.Reset(interval)
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
