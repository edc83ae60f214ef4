package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// point is a moment at which the power was cut, in as many ways as there are disks.
type point struct {
	op     string        // the file operation that did not happen any more
	acked  int           // operations that were acknowledged
	handed handed        // what clients had been told
	disks  map[int]*Disk // by percent of what was not synced that was kept
}

// recorder cuts the power again and again while a script runs.
type recorder struct {
	disk     *Disk
	stride   int
	weak     []bool // operations that need not be durable when they are acknowledged
	percents []int  // of what was not synced that is kept

	mu     sync.Mutex
	writes int
	acked  int
	handed handed
	points []point
}

// hook is the gate of the file operations: at every stride-th one that changes
// the disk it takes copies of the disk as after a crash.
func (r *recorder) hook(op FileOp) error {
	if !op.Write && !op.Sync {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes++
	if r.stride > 0 && r.writes%r.stride == 0 {
		r.cut(op.Name)
	}
	return nil
}

// cut takes the copies; the lock is held, so that nothing is acknowledged meanwhile.
func (r *recorder) cut(name string) {
	p := point{op: name, acked: r.acked, handed: r.handed.clone(), disks: make(map[int]*Disk)}
	for _, percent := range r.percents {
		p.disks[percent] = r.disk.Crash(percent, uint64(r.writes))
	}
	r.points = append(r.points, p)
}

// acknowledge notes that one more operation was acknowledged.
func (r *recorder) acknowledge(w *world) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acked++
	r.handed = w.handed.clone()
}

// runScript runs the script and returns the state after each of its operations,
// beginning with the empty store.
func runScript(t *testing.T, e Engine, r *recorder) (*world, []*state) {
	t.Helper()
	r.disk.Intercept(r.hook)
	defer r.disk.Intercept(nil)
	s, err := r.disk.Open()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	w := newWorld(e, s)
	states := []*state{{}}
	for _, o := range script() {
		out := w.do(o)
		if out.infrastructure() || len(w.problems) > 0 {
			t.Fatalf("%s: %v (%v) %q", o.name, out, out.err, w.problems)
		}
		st, err := dump(w.ctx, s)
		if err != nil {
			t.Fatalf("after %s: %v", o.name, err)
		}
		states = append(states, st)
		r.weak = append(r.weak, o.weak || out.nothing || out.err != nil)
		r.acknowledge(w)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return w, states
}

// scriptRun is what a run of the script left: the account, the state after each
// number of operations, and which operations need not be durable.
type scriptRun struct {
	acct   mail.AccountID
	states []*state
	weak   []bool
}

// testCrash cuts the power at file operations all over the script.
func testCrash(t *testing.T, e Engine) {
	disk := e.New(t)
	if disk.Crash == nil || disk.Intercept == nil {
		t.Skip("the engine cannot crash")
	}
	dry := &recorder{disk: disk}
	runScript(t, e, dry)
	r := &recorder{disk: e.New(t), stride: max(1, dry.writes/scale(12, 40, 5000)), percents: []int{0, 50, 100}}
	w, states := runScript(t, e, r)
	run := scriptRun{w.acct, states, r.weak}
	t.Logf("%d file operations change the disk, %d crashes of 3 kinds", dry.writes, len(r.points))
	if len(r.points) == 0 {
		t.Fatal("no file operation was seen")
	}
	inParallel(t, len(r.points), func(i int) error {
		p := r.points[i]
		for percent, d := range p.disks {
			if err := p.verify(e, d, run, i%scale(10, 10, 3) == 0); err != nil {
				return fmt.Errorf("crash %d, before %s, after operation %d (%s), with %d%% of what was not synced: %w",
					i, p.op, p.acked, script()[max(0, p.acked-1)].name, percent, err)
			}
		}
		return nil
	})
}

// inParallel runs n checks, some at a time because they wait a lot, and fails the
// test with the first few errors.
func inParallel(t *testing.T, n int, run func(i int) error) {
	t.Helper()
	var next, failed atomic.Int32
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for failed.Load() < 3 {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := run(i); err != nil {
					failed.Add(1)
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// verify opens a disk after a crash and compares it with what was acknowledged.
// With again set the power is cut while the store is being opened, too.
func (p point) verify(e Engine, d *Disk, run scriptRun, again bool) error {
	recovery := &recorder{disk: d, stride: scale(6, 4, 1), percents: []int{50}}
	if again {
		d.Intercept(recovery.hook)
	}
	s, err := d.Open()
	d.Intercept(nil)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	for _, second := range recovery.points {
		for percent, d := range second.disks {
			if err := p.verify(e, d, run, false); err != nil {
				return errors.Join(fmt.Errorf("a second crash while opening, before %s, with %d%%: %w", second.op, percent, err), s.Close())
			}
		}
	}
	st, err := dump(context.Background(), s)
	if err != nil {
		return fmt.Errorf("the store does not fit together: %w", err)
	}
	if d := p.explain(st, run); d != "" {
		return fmt.Errorf("the state is none that it may be; against what was acknowledged (-acknowledged +found):\n%s", d)
	}
	if err := check(e, s); err != nil {
		return err
	}
	if len(st.Accounts) > 0 {
		// Nothing of what a client was told comes to mean something else.
		after := newWorld(e, s)
		after.acct, after.handed = run.acct, p.handed.clone()
		after.opened(s)
		if err := after.probe(); err != nil {
			return fmt.Errorf("after opening: %w", err)
		}
	}
	return reopenSame(e, d, s)
}

// explain returns "" when the state is one that the crash may leave: that of the
// last acknowledged operation, that of the one that was under way, or an earlier
// one when only weak operations came after it.
func (p point) explain(got *state, run scriptRun) string {
	states := run.states
	may := []*state{states[p.acked]}
	if p.acked+1 < len(states) {
		may = append(may, states[p.acked+1])
	}
	for n := p.acked; n > 0 && run.weak[n-1]; n-- {
		may = append(may, states[n-1])
	}
	for _, st := range may {
		if st.same(got) {
			return "" // the quick way, without a list of the differences
		}
	}
	first := ""
	for _, st := range may {
		d := st.differs(got)
		if d == "" {
			return ""
		}
		if first == "" {
			first = d
		}
	}
	return first
}

// check runs the engine's own check.
func check(e Engine, s store.Store) error {
	if e.Check == nil {
		return nil
	}
	if err := e.Check(context.Background(), s); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	return nil
}

// reopenSame closes a store and opens it once more: it must be as before.
func reopenSame(e Engine, d *Disk, s store.Store) error {
	ctx := context.Background()
	before, err := dump(ctx, s)
	if err != nil {
		return fmt.Errorf("the store does not fit together: %w", err)
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	if s, err = d.Open(); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	after, err := dump(ctx, s)
	if err != nil {
		return fmt.Errorf("after opening again the store does not fit together: %w", err)
	}
	if diff := before.differs(after); diff != "" {
		return fmt.Errorf("opened again the store is another (-before +after):\n%s", strings.TrimSpace(diff))
	}
	if err := check(e, s); err != nil {
		return err
	}
	return s.Close()
}
