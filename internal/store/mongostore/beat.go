package mongostore

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// colNodes has a row for each node that counts octets: {_id, host, at, beat, dead, since, doubtful?, ended?}. Nodes
// beat by raising beat. Who sees a beat unchanged for Options.Dead of either, on its own clock, takes the node for dead and settles what it
// has left: its charges from the number since on, interrupted changes, doubtful accounts. So does who sees ended: the node
// stopped with something left to do. A node that ends with nothing left removes its row.
const colNodes = "mallard_nodes"

// Members of rows of colNodes.
const (
	nodeBeat     = "beat"
	nodeDead     = "dead" // Options.Dead in milliseconds
	nodeSince    = "since"
	nodeDoubtful = "doubtful"
	nodeEnded    = "ended"
)

// maxDoubtful is how many doubtful accounts a row names.
const maxDoubtful = 4096

// beatsPerDeath is how many beats a node must miss to be taken for dead.
const beatsPerDeath = 6

func (s *Store) nodes() *mongo.Collection { return s.db.users.Collection(colNodes) }

// pulse is when this node was last seen by others.
type pulse struct {
	one sync.Mutex // of those who beat
	mu  sync.Mutex
	// sent is when the last beat began that was answered; zero before the first one.
	sent time.Time
}

// elapsed is the time since a moment by the clock that goes on or the one that may be set, whichever says more: a machine
// that was suspended has one of them stand still.
func elapsed(since time.Time) time.Duration {
	return max(time.Since(since), time.Now().Round(0).Sub(since.Round(0)))
}

// silent reports whether others may take this node for dead, or may soon do so. Until it is, nobody has taken back what this
// node has counted.
func (s *Store) silent() bool {
	s.pulse.mu.Lock()
	defer s.pulse.mu.Unlock()
	return s.pulse.sent.IsZero() || elapsed(s.pulse.sent) > s.o.Dead/2
}

// beSeen beats if others do not know of this node, before it counts what they would have to settle.
func (s *Store) beSeen(ctx context.Context) error {
	if !s.silent() {
		return nil
	}
	s.pulse.one.Lock()
	defer s.pulse.one.Unlock()
	if !s.silent() {
		return nil
	}
	return s.again(ctx, s.beat)
}

// beat tells the others that this node lives, and what it has not done yet.
func (s *Store) beat(ctx context.Context) error {
	began := time.Now()
	since, doubtful, _ := s.ledger.state()
	set := bson.D{{Key: "at", Value: stored(s.o.Now())}, {Key: nodeDead, Value: s.o.Dead.Milliseconds()}, {Key: nodeSince, Value: since}}
	unset := bson.D{{Key: nodeEnded, Value: ""}}
	if len(doubtful) > 0 {
		set = append(set, bson.E{Key: nodeDoubtful, Value: doubtful[:min(maxDoubtful, len(doubtful))]})
	} else {
		unset = append(unset, bson.E{Key: nodeDoubtful, Value: ""})
	}
	host, _ := os.Hostname() // a word for people
	_, err := s.nodes().UpdateOne(ctx, bson.D{{Key: "_id", Value: s.ledger.node}}, bson.D{
		{Key: "$set", Value: set}, {Key: "$unset", Value: unset}, {Key: "$inc", Value: bson.D{{Key: nodeBeat, Value: int64(1)}}},
		{Key: "$setOnInsert", Value: bson.D{{Key: "host", Value: host}}},
	}, options.UpdateOne().SetUpsert(true))
	if err != nil {
		return err
	}
	s.pulse.mu.Lock()
	defer s.pulse.mu.Unlock()
	s.pulse.sent = began
	return nil
}

// known reports whether this node has a row.
func (s *Store) known() bool {
	s.pulse.mu.Lock()
	defer s.pulse.mu.Unlock()
	return !s.pulse.sent.IsZero()
}

// live beats and takes away entries that are done, until the store is closed.
func (s *Store) live() {
	s.eachBeat(func(ctx context.Context) {
		if !s.known() {
			return
		}
		if err := s.beat(ctx); err != nil {
			if !errors.Is(err, context.Canceled) {
				s.o.Logger.Warn("the other nodes are not told that this one lives", "error", err)
			}
			return
		}
		s.clearDone(ctx, time.Now().Add(-idleEntry))
	})
}

// watchOthers looks for nodes that have died, until the store is closed. To settle what they have left can take longer than
// others wait for the beats of this node.
func (s *Store) watchOthers() {
	w := &watch{seen: make(map[bson.ObjectID]sighting)}
	s.eachBeat(func(ctx context.Context) { w.look(ctx, s) })
}

// eachBeat does something as often as nodes beat.
func (s *Store) eachBeat(do func(ctx context.Context)) {
	every := time.NewTicker(s.o.Dead / beatsPerDeath)
	defer every.Stop()
	for {
		select {
		case <-s.closing.Done():
			return
		case <-every.C:
		}
		if s.o.asleep == nil || !s.o.asleep() {
			do(s.closing)
		}
	}
}

// clearDone takes entries away that are done since a time. What stays when that fails does no harm.
func (s *Store) clearDone(ctx context.Context, since time.Time) {
	const chunk = 500
	var models []mongo.WriteModel
	write := func() bool {
		if len(models) == 0 {
			return true
		}
		_, err := s.users().BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
		if err != nil {
			s.o.Logger.Debug("entries of charges that are done stay", "error", err)
		}
		models = nil
		return err == nil
	}
	for _, user := range s.ledger.idle(since) {
		members := s.ledger.take(user, since)
		if len(members) == 0 {
			continue
		}
		models = append(models, mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: user}}).
			SetUpdate(bson.D{{Key: "$unset", Value: unsetOf(members)}}))
		if len(models) >= chunk && !write() {
			return
		}
	}
	write()
}

// signOff removes the row of this node, or says in it that something is left to do.
func (s *Store) signOff() {
	if !s.known() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.o.Timeout)
	defer cancel()
	s.clearDone(ctx, time.Now())
	_, _, clean := s.ledger.state()
	self := bson.D{{Key: "_id", Value: s.ledger.node}}
	var err error
	if clean {
		_, err = s.nodes().DeleteOne(ctx, self)
	} else if err = s.beat(ctx); err == nil {
		_, err = s.nodes().UpdateOne(ctx, self, bson.D{{Key: "$set", Value: bson.D{{Key: nodeEnded, Value: true}}}})
	}
	if err != nil {
		s.o.Logger.Warn("the other nodes are not told that this one has ended; they find out", "error", err)
	}
}
