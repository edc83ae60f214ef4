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
	testWait   = 20 * time.Millisecond
	testGather = 3 * time.Millisecond
)

// testRounds are some where everybody waits for company.
func testRounds(members int) *Rounds {
	return NewRounds(Limits{Members: members, Gather: testGather, Wait: testWait})
}

// sizesOf starts callers one after the other, a millisecond apart, each of which stays in its round for a second, and
// returns how many came to the step together, in the order in which it was done.
func sizesOf(t *testing.T, r *Rounds, callers int) (sizes []int) {
	t.Helper()
	var mu sync.Mutex
	note := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		sizes = append(sizes, n)
	}
	step := NewStep(func(items []int) { note(len(items)) })
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
				note(1)
			}
			time.Sleep(time.Second)
		})
		time.Sleep(time.Millisecond)
	}
	g.Wait()
	if r.inside != 0 || len(r.waiting) != 0 {
		t.Errorf("%d are there and %d wait when all have left", r.inside, len(r.waiting))
	}
	return sizes
}

// Who comes first waits for others, unless few are there at the same time.
func TestRounds(t *testing.T) {
	limits := Limits{Members: 10, Gather: testGather - 500*time.Microsecond, Wait: testWait}
	few, two := limits, limits
	few.Others, two.Members = 5, 2
	for _, tc := range []struct {
		name    string
		limits  Limits
		others  float64       // on average, before
		takes   time.Duration // likewise
		callers int
		want    []int
	}{
		{"one", limits, 0, 0, 1, []int{1}},
		{"who comes in time", limits, 0, 0, 7, []int{3, 3, 1}},
		{"as many as may", two, 0, 0, 5, []int{2, 2, 1}},
		{"few are there", few, 0, 0, 4, []int{1, 1, 1, 1}},
		{"many were there", few, 20, 0, 6, []int{3, 3}},
		{"an eighth of what it takes", limits, 0, 12 * time.Millisecond, 4, []int{2, 2}},
		{"less than until another comes", limits, 0, 4 * time.Millisecond, 3, []int{1, 1, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := NewRounds(tc.limits)
				r.others, r.takes = tc.others, tc.takes
				if got := sizesOf(t, r, tc.callers); !slices.Equal(got, tc.want) {
					t.Errorf("operations for %v, want %v", got, tc.want)
				}
			})
		})
	}
}

// Those who were in a round together do not wait longer than until all of them have come again, unless others are under way,
// who may come as well.
func TestRoundAgain(t *testing.T) {
	for _, tc := range []struct {
		name        string
		last, again int
		under       bool // another is under way
		want        time.Duration
	}{
		{"all again", 3, 3, false, 0},
		{"less", 3, 2, false, testGather},
		{"another is under way", 3, 3, true, testGather},
		{"one alone was there", 1, 1, false, testGather},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := testRounds(10)
				leave := func(members []*Member) {
					for _, m := range members {
						m.Leave()
					}
				}
				if tc.under {
					defer leave(enterTogether(r, 1))
				}
				leave(enterTogether(r, tc.last))
				r.takes = time.Minute
				begin := time.Now()
				members := enterTogether(r, tc.again)
				if d := time.Since(begin); d != tc.want {
					t.Errorf("they waited %v, want %v", d, tc.want)
				}
				leave(members)
			})
		})
	}
}

// How many are there at the same time, and how long they stay, is found out from those who come.
func TestAverages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRounds(Limits{Members: 10, Others: 2, Gather: time.Second, Wait: testWait})
		const at, stay = 4, 100 * time.Millisecond
		visit := func() {
			defer r.Enter().Leave()
			time.Sleep(stay)
		}
		var g sync.WaitGroup
		for range at {
			g.Go(func() {
				for range 20 * memory {
					visit()
				}
			})
		}
		g.Wait()
		if r.others < 2 || r.others > at-1 {
			t.Errorf("%.1f others of %d", r.others, at-1)
		}
		if d := r.takes; d < stay*9/10 || d > stay {
			t.Errorf("it takes %v, want nearly %v", d, stay)
		}
		for range 20 * memory {
			visit()
		}
		begin := time.Now()
		visit()
		if d := time.Since(begin); d != stay {
			t.Errorf("one that comes alone takes %v, want %v", d, stay)
		}
	})
}

// Those who come at the same time, after all who were there have left, count each other.
func TestAverageOfRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRounds(Limits{Members: 10, Others: 2, Gather: testGather, Wait: testWait})
		const at = 4
		r.others = at - 1
		for range 10 * memory {
			for _, m := range enterTogether(r, at) {
				if len(m.round.members) != at {
					t.Fatalf("a round of %d, want %d; %.1f others on average", len(m.round.members), at, r.others)
				}
				m.Leave()
			}
		}
	})
}

// enterTogether returns n members of one round.
func enterTogether(r *Rounds, n int) []*Member {
	members := make([]*Member, n)
	var g sync.WaitGroup
	for i := range n {
		g.Go(func() { members[i] = r.Enter() })
	}
	g.Wait()
	return members
}

// visit is what a member does at a step: when it comes there, in milliseconds.
type visit struct {
	after    int
	leaves   bool // instead
	skips    bool // instead
	together bool // is to be
	at       int  // when it is to be done
}

func TestStep(t *testing.T) {
	for _, tc := range []struct {
		name   string
		visits []visit
	}{
		{"all come", []visit{{0, false, false, true, 9}, {5, false, false, true, 9}, {9, false, false, true, 9}}},
		{"one is late", []visit{{0, false, false, true, 20}, {5, false, false, true, 20}, {500, false, false, false, 500}}},
		{"one leaves", []visit{{0, false, false, true, 9}, {5, false, false, true, 9}, {9, true, false, false, 9}}},
		{"the others leave", []visit{{0, false, false, false, 9}, {5, true, false, false, 5}, {9, true, false, false, 9}}},
		{"one skips it, who comes before", []visit{{0, false, true, false, 0}, {5, false, false, true, 9}, {9, false, false, true, 9}}},
		{"one skips it, who comes last", []visit{{0, false, false, true, 9}, {5, false, false, true, 9}, {9, false, true, false, 9}}},
		{"the others skip it", []visit{{0, false, false, false, 9}, {5, false, true, false, 5}, {9, false, true, false, 9}}},
		{"the others are late", []visit{{0, false, false, false, 20}, {30, false, false, false, 30}, {40, false, false, false, 40}}},
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
				members := enterTogether(testRounds(10), len(tc.visits))
				begin := time.Now()
				var g sync.WaitGroup
				for i, v := range tc.visits {
					g.Go(func() {
						defer members[i].Leave()
						time.Sleep(time.Duration(v.after) * time.Millisecond)
						if v.leaves {
							return
						}
						if v.skips {
							step.Skip(members[i])
							step.Skip(members[i])
							time.Sleep(time.Second) // it does not leave
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
		members := enterTogether(testRounds(10), 2)
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

// Who is in no round, or has left it, is alone.
func TestNoMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := NewStep(func([]int) { t.Error("an operation") })
		left := enterTogether(testRounds(10), 2)
		left[0].Leave()
		left[0].Leave()
		for _, m := range []*Member{nil, left[0]} {
			if together, err := step.Do(m, 1); together || err != nil {
				t.Errorf("together %v, error %v", together, err)
			}
		}
		for _, m := range append(left, nil) {
			step.Skip(m)
		}
		if together, err := step.Do(left[1], 1); together || err != nil {
			t.Errorf("a member that has skipped the step: together %v, error %v", together, err)
		}
		left[1].Leave()
		var none *Member
		none.Leave()
	})
}

// An operation that panics is an error for those who came along, and the next rounds go on.
func TestPanicInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := testRounds(10)
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
	r := NewRounds(Limits{Members: 5, Others: 2, Gather: time.Millisecond, Wait: time.Millisecond})
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

// Of many who are there at the same time one half is at a step while the other is at another, unless a round would be small.
func TestHalves(t *testing.T) {
	for _, tc := range []struct{ enough, at, want int }{
		{0, 8, 8}, {2, 8, 4}, {2, 7, 4}, {3, 8, 4}, {6, 8, 6}, {20, 8, 8}, {4, 40, 10},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := NewRounds(Limits{Members: 10, Others: 2, Enough: tc.enough, Gather: testGather, Wait: testWait})
			r.others, r.takes = float64(tc.at-1), time.Minute
			for _, m := range enterTogether(r, tc.at) {
				if n := len(m.round.members); n != tc.want && n != tc.at%tc.want {
					t.Errorf("enough are %d, %d are there: a round of %d, want %d", tc.enough, tc.at, n, tc.want)
				}
				m.Leave()
			}
		})
	}
}
