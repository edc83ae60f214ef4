package batch

import (
	"slices"
	"sync"
	"time"
)

// Limits bound rounds. All must be greater than zero.
type Limits struct {
	Rounds  int           // how many are under way at the same time
	Members int           // of a round
	Wait    time.Duration // how long those at a step wait for the other members
	Round   time.Duration // how long a round counts as one that is under way
}

// Rounds let callers that take the same steps take each of them together, as one operation.
//
// Nobody waits when fewer rounds than Limits.Rounds are under way: who comes then starts one alone. All who come otherwise
// are the members of the next round. They are safe for concurrent use. Make them with NewRounds.
type Rounds struct {
	limits Limits

	mu       sync.Mutex
	underWay int
	waiting  []chan *Member
}

// NewRounds returns Rounds of which none is under way.
func NewRounds(l Limits) *Rounds { return &Rounds{limits: l} }

// A Member is a caller in a round. A nil one is in none. It is safe for concurrent use.
type Member struct {
	round *round
	left  bool
	taken []any // the steps that it has come to
}

// round are callers that take the same steps.
type round struct {
	wait    time.Duration
	over    func() // to be called once or more when it no longer counts
	members []*Member

	mu       sync.Mutex
	meetings map[any]*meeting
}

// meeting are the members of a round that have come to a step.
type meeting struct {
	items []any
	whole chan struct{} // closed when nobody else will come
	begun bool
	done  chan struct{} // closed when the operation has ended
	ok    bool          // with a result
}

// Enter returns when the caller is a member of a round, which takes as long as Limits.Round when the rounds before take
// longer. The member must leave it.
func (r *Rounds) Enter() *Member {
	r.mu.Lock()
	turn := make(chan *Member, 1)
	r.waiting = append(r.waiting, turn)
	r.start()
	r.mu.Unlock()
	return <-turn
}

// Waiting returns how many callers wait for a round.
func (r *Rounds) Waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)
}

// start starts a round of those who wait, if there may be one.
func (r *Rounds) start() {
	n := min(len(r.waiting), r.limits.Members)
	if n == 0 || r.underWay >= r.limits.Rounds {
		return
	}
	r.underWay++
	o := &round{wait: r.limits.Wait, meetings: make(map[any]*meeting)}
	over := sync.OnceFunc(r.end)
	late := time.AfterFunc(r.limits.Round, over)
	o.over = func() {
		late.Stop()
		over()
	}
	for range n {
		o.members = append(o.members, &Member{round: o})
	}
	for i, m := range o.members {
		r.waiting[i] <- m
	}
	r.waiting = slices.Delete(r.waiting, 0, n)
}

// end counts a round no longer.
func (r *Rounds) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underWay--
	r.start()
}

// Leave ends the membership: the others wait for the member no longer. It may be called more than once.
func (m *Member) Leave() {
	if m == nil {
		return
	}
	o := m.round
	o.mu.Lock()
	m.left = true
	for step, mt := range o.meetings {
		o.look(step, mt)
	}
	over := !slices.ContainsFunc(o.members, func(m *Member) bool { return !m.left })
	o.mu.Unlock()
	if over {
		o.over()
	}
}

// look lets a meeting begin to which nobody else will come.
func (o *round) look(step any, mt *meeting) {
	coming := func(m *Member) bool { return !m.left && !slices.Contains(m.taken, step) }
	if mt.begun || slices.ContainsFunc(o.members, coming) {
		return
	}
	mt.begun = true
	close(mt.whole)
}

// A Step is something that the members of a round do together. Make it with NewStep.
type Step[T any] struct{ do func(items []T) }

// NewStep returns a step. do does what all of the items ask for, of which there are at least two, and notes in each what
// came of it. It is called by one of those who brought them.
func NewStep[T any](do func(items []T)) *Step[T] { return &Step[T]{do} }

// Do returns when the item was part of an operation with those of other members, and reports whether it was. It was not, and
// nothing was done, when no other member has come to the step, when they did not wait for this one, and when the member has
// been at the step before or has left. The only error is ErrBroken; what came of the item is in it.
func (s *Step[T]) Do(m *Member, item T) (together bool, err error) {
	mt, leads := s.meet(m, item)
	switch {
	case mt == nil:
		return false, nil
	case leads:
		return s.lead(m.round, mt), nil
	}
	<-mt.done
	if !mt.ok {
		return true, ErrBroken
	}
	return true, nil
}

// meet adds an item to those of a step. The first who comes leads the others. There is no meeting for who is alone.
func (s *Step[T]) meet(m *Member, item T) (mt *meeting, leads bool) {
	if m == nil || len(m.round.members) == 1 {
		return nil, false
	}
	o := m.round
	o.mu.Lock()
	defer o.mu.Unlock()
	again := m.left || slices.Contains(m.taken, any(s))
	if again {
		return nil, false
	}
	m.taken = append(m.taken, s)
	mt = o.meetings[s]
	if leads = mt == nil; leads {
		mt = &meeting{whole: make(chan struct{}), done: make(chan struct{})}
		o.meetings[s] = mt
	}
	if mt.begun {
		return nil, false
	}
	mt.items = append(mt.items, item)
	o.look(s, mt)
	return mt, leads
}

// lead waits for the others and does what they ask for, if there are any.
func (s *Step[T]) lead(o *round, mt *meeting) (together bool) {
	defer close(mt.done)
	t := time.NewTimer(o.wait)
	defer t.Stop()
	select {
	case <-mt.whole:
	case <-t.C:
	}
	o.mu.Lock()
	mt.begun = true
	items := make([]T, len(mt.items))
	for i, item := range mt.items {
		items[i] = item.(T)
	}
	o.mu.Unlock()
	if len(items) == 1 {
		return false
	}
	s.do(items)
	mt.ok = true
	return true
}
