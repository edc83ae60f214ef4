package redislimit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/mail"
)

// Keys. The hash of a group is WildDuck's: a field for each account, and _version, the time at which the process began
// that emptied the hash last. The others are Mallard's own: the ledger of a node has for each group the version under
// which its places were counted (v:group) and each of its places (p:group:key); nodes has the time in milliseconds at
// which each node said last that it lives.
const (
	groupPrefix  = "lim:"
	ledgerPrefix = "mallard:places:"
	nodesKey     = "mallard:places"
)

type place struct{ group, key string }

// holding is what this node holds of a place.
type holding struct {
	turn chan struct{} // holds a value while somebody changes this place, here and in Redis

	// Both under Limits.mu; count is changed by who has the turn only.
	count int
	users int // who waits for a turn or has it
}

// recount is the part of scripts that counts the places of a node again after a starting WildDuck emptied the hash.
const recount = `
local function recount(ledger, group)
  local version = redis.call('HGET', 'lim:' .. group, '_version') or ''
  local known = redis.call('HGET', ledger, 'v:' .. group)
  if known == version then return end
  redis.call('HSET', ledger, 'v:' .. group, version)
  if not known then return end
  local prefix = 'p:' .. group .. ':'
  local all = redis.call('HGETALL', ledger)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, #prefix) == prefix then
      redis.call('HINCRBY', 'lim:' .. group, string.sub(all[i], #prefix + 1), all[i + 1])
    end
  end
end
`

// setScript makes the number of places that a node holds what it shall be, and the number of all accordingly; doing it
// twice is doing it once. KEYS: the group's hash, the ledger, nodes. ARGV: group, key, wanted, limit (0: none), node, now
// in milliseconds. Returns whether there was room, and the number of all.
var setScript = redis.NewScript(recount + `
local group, key, want, limit = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
recount(KEYS[2], group)
local field = 'p:' .. group .. ':' .. key
local mine = tonumber(redis.call('HGET', KEYS[2], field) or 0)
local all = tonumber(redis.call('HGET', KEYS[1], key) or 0)
if want > mine and limit > 0 and all + want - mine > limit then
  return {0, all}
end
all = math.max(all + want - mine, 0)
if all > 0 then redis.call('HSET', KEYS[1], key, all) else redis.call('HDEL', KEYS[1], key) end
if want > 0 then redis.call('HSET', KEYS[2], field, want) else redis.call('HDEL', KEYS[2], field) end
redis.call('ZADD', KEYS[3], ARGV[6], ARGV[5])
return {1, all}
`)

// beatScript says that a node lives. KEYS: the ledger, nodes. ARGV: node, now in milliseconds, groups that it uses.
// Returns 1 if the ledger was there.
var beatScript = redis.NewScript(recount + `
local there = redis.call('EXISTS', KEYS[1])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
for i = 3, #ARGV do recount(KEYS[1], ARGV[i]) end
return there
`)

// buryScript gives back the places of a node that says nothing any more. KEYS: its ledger, nodes. ARGV: node, the time in
// milliseconds after which it would still count as living. Returns the number of places.
var buryScript = redis.NewScript(`
local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
if score and tonumber(score) > tonumber(ARGV[2]) then return 0 end
local all = redis.call('HGETALL', KEYS[1])
local versions, given = {}, 0
for i = 1, #all, 2 do
  local group = string.match(all[i], '^v:(.*)$')
  if group then versions[group] = all[i + 1] end
end
for i = 1, #all, 2 do
  local group, key = string.match(all[i], '^p:([^:]*):(.*)$')
  if group then
    local hash = 'lim:' .. group
    if versions[group] == (redis.call('HGET', hash, '_version') or '') then
      local left = tonumber(redis.call('HGET', hash, key) or 0) - tonumber(all[i + 1])
      if left > 0 then redis.call('HSET', hash, key, left) else redis.call('HDEL', hash, key) end
    end
    given = given + tonumber(all[i + 1])
  end
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return given
`)

// Acquire implements limit.Concurrency.
func (l *Limits) Acquire(ctx context.Context, group, key string, most int) (release func(), err error) {
	if err := canceled(ctx); err != nil {
		return nil, err
	}
	p := place{group, shortKey(key)}
	h, err := l.beginTurn(ctx, p)
	if err != nil {
		return nil, err
	}
	defer l.endTurn(p, h)
	ok, err := l.set(ctx, p, h.count+1, max(most, 0))
	if err != nil {
		l.soil(p) // it is not known whether Redis counts it
		return nil, fmt.Errorf("take a place: %w", err)
	}
	if !ok {
		return nil, mail.NewError(mail.CodeLimit, "too many at once")
	}
	l.add(h, 1)
	return (&taken{l: l, place: p}).release, nil
}

// taken is a place that was taken once.
type taken struct {
	l     *Limits
	place place
	given atomic.Bool // back
}

func (t *taken) release() {
	if !t.given.Swap(true) {
		t.l.release(t.place)
	}
}

// release gives a place back: here in any case, in Redis now or when it is back.
func (l *Limits) release(p place) {
	h, _ := l.beginTurn(context.Background(), p)
	defer l.endTurn(p, h)
	l.add(h, -1)
	if l.closed.Load() {
		return // Close has told Redis
	}
	if _, err := l.set(context.Background(), p, h.count, 0); err != nil {
		l.soil(p)
	}
}

// Held implements limit.Concurrency.
func (l *Limits) Held(ctx context.Context, group, key string) (int, error) {
	if err := canceled(ctx); err != nil {
		return 0, err
	}
	n := 0
	err := l.o.Conn.Do(ctx, func(ctx context.Context) (err error) {
		n, err = l.o.Conn.Client().HGet(ctx, groupPrefix+group, shortKey(key)).Int()
		return err
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("count places: %w", err)
	}
	return max(n, 0), nil
}

// beginTurn waits for the turn to change a place. What is sent to Redis about a place is thereby in order.
func (l *Limits) beginTurn(ctx context.Context, p place) (*holding, error) {
	l.mu.Lock()
	h := l.held[p]
	if h == nil {
		h = &holding{turn: make(chan struct{}, 1)}
		l.held[p] = h
	}
	h.users++
	l.mu.Unlock()
	select {
	case h.turn <- struct{}{}:
		return h, nil
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		l.leaveHolding(p, h)
		return nil, mail.WrapError(mail.CodeCanceled, "", ctx.Err())
	}
}

// endTurn ends a turn.
func (l *Limits) endTurn(p place, h *holding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	<-h.turn
	l.leaveHolding(p, h)
}

func (l *Limits) leaveHolding(p place, h *holding) {
	if h.users--; h.users == 0 && h.count == 0 {
		delete(l.held, p)
	}
}

func (l *Limits) add(h *holding, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.count += n
}

// soil notes that Redis may say something else about a place than this node.
func (l *Limits) soil(p place) {
	l.mu.Lock()
	l.dirty[p] = struct{}{}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// set tells Redis how many places this node holds. It reports whether there was room for them.
func (l *Limits) set(ctx context.Context, p place, want, most int) (ok bool, err error) {
	err = l.o.Conn.Do(ctx, func(ctx context.Context) error {
		keys := []string{groupPrefix + p.group, ledgerPrefix + l.node, nodesKey}
		answer, err := setScript.Run(ctx, l.o.Conn.Client(), keys, p.group, p.key, want, most, l.node, time.Now().UnixMilli()).Int64Slice()
		if err != nil {
			return err
		}
		ok = len(answer) == 2 && answer[0] == 1
		return nil
	})
	return ok, err
}

// run keeps Redis and this node in agreement.
func (l *Limits) run(ctx context.Context) {
	defer close(l.done)
	beat := time.NewTicker(l.o.Beat)
	defer beat.Stop()
	for {
		changed, err := l.o.Conn.State()
		if err != nil {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			l.beat(ctx) // Redis may have forgotten everything
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
			continue
		case <-beat.C:
			l.beat(ctx)
		case <-l.wake:
		}
		l.clean(ctx)
	}
}

// clean tells Redis what it does not know.
func (l *Limits) clean(ctx context.Context) {
	l.mu.Lock()
	places := slices.Collect(maps.Keys(l.dirty))
	l.mu.Unlock()
	for _, p := range places {
		if err := l.cleanOne(ctx, p); err != nil {
			return // the next beat tries again, or Redis is gone
		}
	}
}

func (l *Limits) cleanOne(ctx context.Context, p place) error {
	h, err := l.beginTurn(ctx, p)
	if err != nil {
		return err
	}
	defer l.endTurn(p, h)
	if _, err := l.set(ctx, p, h.count, 0); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.dirty, p)
	return nil
}

// beat says that this node lives, and gives back the places of those that do not.
func (l *Limits) beat(ctx context.Context) {
	groups := map[string]bool{}
	l.mu.Lock()
	for p := range l.held {
		groups[p.group] = true
	}
	l.mu.Unlock()
	args := []any{l.node, time.Now().UnixMilli()}
	for g := range groups {
		args = append(args, g)
	}
	var there int
	err := l.o.Conn.Do(ctx, func(ctx context.Context) (err error) {
		there, err = beatScript.Run(ctx, l.o.Conn.Client(), []string{ledgerPrefix + l.node, nodesKey}, args...).Int()
		return err
	})
	if err != nil {
		return
	}
	if there == 0 {
		l.soilAll()
	}
	l.clean(ctx)
	l.bury(ctx)
}

// soilAll is for when Redis has lost the ledger: all that this node holds is told again.
func (l *Limits) soilAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, h := range l.held {
		if h.users > 0 || h.count > 0 {
			l.dirty[p] = struct{}{}
		}
	}
}

// bury looks for nodes that died and gives their places back.
func (l *Limits) bury(ctx context.Context) {
	last := time.Now().Add(-l.o.NodeTTL).UnixMilli()
	var dead []string
	err := l.o.Conn.Do(ctx, func(ctx context.Context) (err error) {
		// Servers before 6.2 know only this form.
		dead, err = l.o.Conn.Client().Do(ctx, "ZRANGEBYSCORE", nodesKey, "-inf", last).StringSlice()
		return err
	})
	if err != nil {
		return
	}
	for _, node := range dead {
		given, err := l.buryOne(ctx, node, last)
		if err != nil {
			return
		}
		l.o.Log.Info("places of a node that is gone were given back", "node", node, "places", given)
	}
}

func (l *Limits) buryOne(ctx context.Context, node string, last int64) (given int, err error) {
	err = l.o.Conn.Do(ctx, func(ctx context.Context) (err error) {
		given, err = buryScript.Run(ctx, l.o.Conn.Client(), []string{ledgerPrefix + node, nodesKey}, node, last).Int()
		return err
	})
	return given, err
}

// leave gives back all that this node holds.
func (l *Limits) leave() {
	if _, err := l.buryOne(context.Background(), l.node, time.Now().Add(time.Hour).UnixMilli()); err != nil {
		l.o.Log.Info("places are left to others to give back", "node", l.node, "error", err)
	}
}
