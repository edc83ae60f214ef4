package batch

import (
	"slices"
	"sync"
	"time"
)

// Limits bound rounds.
type Limits struct {
	Members int           // of a round, greater than zero
	Enough  int           // who comes as the last of so many, and of half of those who are there on average, starts a round; zero: Members
	Others  float64       // how many others are to be there when a round starts, on average, for who comes to wait for company
	Gather  time.Duration // how long who comes first waits for others at most
	Wait    time.Duration // how long those at a step wait for the other members
}

const (
	// share is which part of the time that a member usually takes it waits for others at most.
	share = 8
	// memory is of how many callers averages are.
	memory = 16
)

// Rounds let callers that take the same steps take each of them together, as one operation.
//
// Nobody waits while few are under way at the same time: who comes then is alone in its round. Otherwise who comes first waits
// a little for others, however many rounds are under way. Those who were in a round together end it together, and so come
// again at about the same time: once as many have come as were in the last round, and nobody is under way, they do not wait
// for more. Rounds are safe for concurrent use. Make them with NewRounds.
type Rounds struct {
	limits Limits

	mu      sync.Mutex
	inside  int           // callers that have come and have not left
	others  float64       // how many others are there when the round of a caller starts, on average
	takes   time.Duration // from the start of a round until a member leaves, on average
	last    int           // members of the last round
	waiting []chan *Member
	timer   *time.Timer // starts the round of those who wait
}

// NewRounds returns Rounds in which nobody is.
func NewRounds(l Limits) *Rounds { return &Rounds{limits: l} }

// A Member is a caller in a round. A nil one is in none. It is safe for concurrent use.
type Member struct {
	round *round
	begun time.Time
	left  bool
	taken []any // the steps that it has come to, or does not come to
}

// round are callers that take the same steps.
type round struct {
	rounds  *Rounds
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

// Enter returns when the caller is a member of a round. The member must leave it.
func (r *Rounds) Enter() *Member {
	r.mu.Lock()
	r.inside++
	turn := make(chan *Member, 1)
	r.waiting = append(r.waiting, turn)
	switch {
	case r.others < r.limits.Others || len(r.waiting) >= r.enough() || r.complete():
		r.start()
	case len(r.waiting) == 1:
		r.timer = time.AfterFunc(r.patience(), r.gathered)
	}
	r.mu.Unlock()
	return <-turn
}

// enough is how many are not to wait for others any more. All who are there in one round would be at the same step, which is
// mostly something that one process elsewhere does alone; with half of them there are two rounds at different steps.
func (r *Rounds) enough() int {
	if r.limits.Enough == 0 {
		return r.limits.Members
	}
	return min(r.limits.Members, max(r.limits.Enough, int(r.others+2)/2))
}

// complete reports whether those who were in the last round are likely all here again: nobody is under way, and as many wait.
func (r *Rounds) complete() bool {
	return r.last > 1 && len(r.waiting) == r.inside && len(r.waiting) >= r.last
}

// patience is how long who comes now waits for others.
func (r *Rounds) patience() time.Duration {
	if r.takes == 0 {
		return r.limits.Gather
	}
	return min(r.limits.Gather, r.takes/share)
}

// gathered starts the round of those who wait. When they became many enough just as the time was over it may be those who
// came after them, who then wait less.
func (r *Rounds) gathered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) > 0 {
		r.start()
	}
}

// start starts a round of those who wait.
func (r *Rounds) start() {
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	o := &round{rounds: r, members: make([]*Member, len(r.waiting)), meetings: make(map[any]*meeting)}
	now := time.Now()
	for i := range o.members {
		o.members[i] = &Member{round: o, begun: now}
		r.others += (float64(r.inside-1) - r.others) / memory
	}
	for i, turn := range r.waiting {
		turn <- o.members[i]
	}
	r.waiting, r.last = nil, len(o.members)
}

// left counts a member that has left.
func (r *Rounds) left(after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside--
	r.takes += (after - r.takes) / memory
}

// Leave ends the membership: the others wait for the member no longer. It may be called more than once.
func (m *Member) Leave() {
	if m == nil {
		return
	}
	o := m.round
	o.mu.Lock()
	again := m.left
	m.left = true
	for step, mt := range o.meetings {
		o.look(step, mt)
	}
	o.mu.Unlock()
	if !again {
		o.rounds.left(time.Since(m.begun))
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

// Skip says that a member does not come to the step, so that the others do not wait for it there. It may be called more than
// once, and does nothing when the member has been at the step or has left.
func (s *Step[T]) Skip(m *Member) {
	if m == nil {
		return
	}
	o := m.round
	o.mu.Lock()
	defer o.mu.Unlock()
	if m.left || slices.Contains(m.taken, any(s)) {
		return
	}
	m.taken = append(m.taken, s)
	if mt := o.meetings[s]; mt != nil {
		o.look(s, mt)
	}
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
	t := time.NewTimer(o.rounds.limits.Wait)
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
