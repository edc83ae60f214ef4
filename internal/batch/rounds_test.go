package batch

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	testWait  = 20 * time.Millisecond
	testRound = time.Minute
)

func testRounds(rounds, members int) *Rounds {
	return NewRounds(Limits{Rounds: rounds, Members: members, Wait: testWait, Round: testRound})
}

// sizesOf starts callers one after the other, a millisecond apart, each of which stays in its round for a second, and
// returns how many came to the step together, in the order of the operations.
func sizesOf(t *testing.T, rounds, members, callers int) (sizes []int, took time.Duration) {
	t.Helper()
	var mu sync.Mutex
	r, alone := testRounds(rounds, members), 0
	step := NewStep(func(items []int) {
		mu.Lock()
		defer mu.Unlock()
		sizes = append(sizes, len(items))
	})
	begin := time.Now()
	var g sync.WaitGroup
	for n := range callers {
		g.Go(func() {
			m := r.Enter()
			defer m.Leave()
			together, err := step.Do(m, n)
			if err != nil {
				t.Error(err)
			}
			if !together {
				mu.Lock()
				alone++
				mu.Unlock()
			}
			time.Sleep(time.Second)
		})
		time.Sleep(time.Millisecond)
	}
	g.Wait()
	for range alone {
		sizes = append(sizes, 1)
	}
	if r.underWay != 0 || len(r.waiting) != 0 {
		t.Errorf("%d rounds are under way and %d wait when all have left", r.underWay, len(r.waiting))
	}
	return sizes, time.Since(begin).Truncate(time.Second)
}

// Who comes when there may be another round starts one alone; the others make the next one.
func TestRounds(t *testing.T) {
	for _, tc := range []struct {
		name                     string
		rounds, members, callers int
		want                     []int // those alone last
		took                     time.Duration
	}{
		{"one", 1, 10, 1, []int{1}, time.Second},
		{"a place for each", 3, 10, 3, []int{1, 1, 1}, time.Second},
		{"others wait and go together", 1, 10, 6, []int{5, 1}, 2 * time.Second},
		{"as many as may", 1, 2, 6, []int{2, 2, 1, 1}, 4 * time.Second},
		{"two at a time", 2, 10, 8, []int{6, 1, 1}, 2 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, took := sizesOf(t, tc.rounds, tc.members, tc.callers)
				if !slices.Equal(got, tc.want) || took != tc.took {
					t.Errorf("operations for %v in %v, want %v in %v", got, took, tc.want, tc.took)
				}
			})
		})
	}
}

// enterTogether returns n members of one round.
func enterTogether(r *Rounds, n int) []*Member {
	first := r.Enter()
	members := make([]*Member, n)
	var g sync.WaitGroup
	for i := range n {
		g.Go(func() { members[i] = r.Enter() })
	}
	synctest.Wait()
	first.Leave()
	g.Wait()
	return members
}

// visit is what a member does at a step: when it comes there, in milliseconds.
type visit struct {
	after    int
	leaves   bool // instead
	together bool // is to be
	at       int  // when it is to be done
}

func TestStep(t *testing.T) {
	for _, tc := range []struct {
		name   string
		visits []visit
	}{
		{"all come", []visit{{0, false, true, 9}, {5, false, true, 9}, {9, false, true, 9}}},
		{"one is late", []visit{{0, false, true, 20}, {5, false, true, 20}, {500, false, false, 500}}},
		{"one leaves", []visit{{0, false, true, 9}, {5, false, true, 9}, {9, true, false, 9}}},
		{"the others leave", []visit{{0, false, false, 9}, {5, true, false, 5}, {9, true, false, 9}}},
		{"the others are late", []visit{{0, false, false, 20}, {30, false, false, 30}, {40, false, false, 40}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done := 0
				step := NewStep(func(items []*item) {
					for _, it := range items {
						it.done++
						done++
					}
				})
				members := enterTogether(testRounds(1, 10), len(tc.visits))
				begin := time.Now()
				var g sync.WaitGroup
				for i, v := range tc.visits {
					g.Go(func() {
						defer members[i].Leave()
						time.Sleep(time.Duration(v.after) * time.Millisecond)
						if v.leaves {
							return
						}
						it := &item{n: i}
						together, err := step.Do(members[i], it)
						if at := int(time.Since(begin).Milliseconds()); err != nil || together != v.together || at != v.at {
							t.Errorf("member %d: together %v after %d ms, error %v; want %v after %d", i, together, at, err, v.together, v.at)
						}
						if together != (it.done == 1) {
							t.Errorf("member %d: together %v, done %d times", i, together, it.done)
						}
						if !together {
							return
						}
						if again, err := step.Do(members[i], it); again || err != nil {
							t.Errorf("member %d is at the step again: together %v, error %v", i, again, err)
						}
					})
				}
				g.Wait()
				want := 0
				for _, v := range tc.visits {
					if v.together {
						want++
					}
				}
				if done != want {
					t.Errorf("%d items were done, want %d", done, want)
				}
			})
		})
	}
}

// Steps that members take at the same time do not wait for each other.
func TestStepsAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		members := enterTogether(testRounds(1, 10), 2)
		var steps []*Step[int]
		for range 2 {
			steps = append(steps, NewStep(func([]int) { time.Sleep(time.Second) }))
		}
		begin := time.Now()
		var g sync.WaitGroup
		for i, m := range members {
			for k := range steps {
				g.Go(func() {
					if together, err := steps[(i+k)%2].Do(m, i); !together || err != nil {
						t.Errorf("together %v, error %v", together, err)
					}
				})
			}
		}
		g.Wait()
		if d := time.Since(begin); d != time.Second {
			t.Errorf("it took %v, want 1s", d)
		}
	})
}

// A round that takes too long does not keep others from starting, and does not count twice when it ends.
func TestLongRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := testRounds(1, 10)
		long := r.Enter()
		begin := time.Now()
		next := r.Enter()
		if d := time.Since(begin); d != testRound {
			t.Errorf("the next one waited %v, want %v", d, testRound)
		}
		long.Leave()
		long.Leave()
		if r.underWay != 1 {
			t.Errorf("%d are under way, want 1", r.underWay)
		}
		next.Leave()
		if r.underWay != 0 {
			t.Errorf("%d are under way, want none", r.underWay)
		}
	})
}

// Who is in no round, or has left it, is alone.
func TestNoMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := NewStep(func([]int) { t.Error("an operation") })
		left := enterTogether(testRounds(1, 10), 2)
		left[0].Leave()
		left[0].Leave()
		for _, m := range []*Member{nil, left[0]} {
			if together, err := step.Do(m, 1); together || err != nil {
				t.Errorf("together %v, error %v", together, err)
			}
		}
		left[1].Leave()
		var none *Member
		none.Leave()
	})
}

// An operation that panics is an error for those who came along, and the next rounds go on.
func TestPanicInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := testRounds(1, 10)
		step := NewStep(func([]int) { panic("all of them") })
		errs := make(chan error, 3)
		for i, m := range enterTogether(r, 3) {
			go func() {
				defer m.Leave()
				defer func() {
					if p := recover(); p != nil {
						errs <- fmt.Errorf("panic: %v", p)
					}
				}()
				_, err := step.Do(m, i)
				errs <- err
			}()
			synctest.Wait()
		}
		got := []string{fmt.Sprint(<-errs), fmt.Sprint(<-errs), fmt.Sprint(<-errs)}
		slices.Sort(got)
		if want := []string{"panic: all of them", ErrBroken.Error(), ErrBroken.Error()}; !slices.Equal(got, want) {
			t.Errorf("errors %q, want %q", got, want)
		}
		r.Enter().Leave()
	})
}

// Many callers at random, for the race detector.
func TestRoundsAtRandom(t *testing.T) {
	r := NewRounds(Limits{Rounds: 2, Members: 5, Wait: time.Millisecond, Round: 2 * time.Millisecond})
	var mu sync.Mutex
	done := make(map[int]int)
	count := func(items ...int) {
		mu.Lock()
		defer mu.Unlock()
		for _, n := range items {
			done[n]++
		}
	}
	steps := []*Step[int]{NewStep(func(in []int) { count(in...) }), NewStep(func(in []int) { count(in...) })}
	const callers, times = 16, 50
	var g sync.WaitGroup
	for c := range callers {
		g.Go(func() {
			for n := range times {
				m := r.Enter()
				for k, step := range steps {
					id := (c*times+n)*len(steps) + k
					if together, err := step.Do(m, id); err != nil {
						t.Error(err)
					} else if !together {
						count(id)
					}
				}
				m.Leave()
			}
		})
	}
	g.Wait()
	if len(done) != callers*times*len(steps) {
		t.Errorf("%d were done, want %d", len(done), callers*times*len(steps))
	}
	for id, n := range done {
		if n != 1 {
			t.Errorf("%d was done %d times", id, n)
		}
	}
}
