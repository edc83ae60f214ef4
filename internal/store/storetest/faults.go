package storetest

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// fault is a way in which a disk fails.
type fault struct {
	name string
	err  syscall.Errno
	// lasts says that from the failing operation on all that write fail, otherwise it
	// is the one alone, whether it writes or reads.
	lasts bool
}

func faultKinds() []fault {
	return []fault{
		{"one error", syscall.EIO, false},
		{"disk full", syscall.ENOSPC, true},
		{"no room once", syscall.ENOSPC, false},
		{"disk read-only", syscall.EROFS, true},
	}
}

// breaker fails file operations from the n-th on.
type breaker struct {
	n int
	fault

	mu    sync.Mutex
	count int
	hit   string // the first operation that failed
}

func (b *breaker) hook(op FileOp) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	switch {
	case b.n == 0 || b.count < b.n:
		return nil
	case b.lasts && (op.Write || op.Sync), !b.lasts && b.count == b.n:
		b.note(op)
		return b.err
	}
	return nil
}

func (b *breaker) note(op FileOp) {
	if b.hit == "" {
		b.hit = op.Name
	}
}

func (b *breaker) broke() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hit
}

// testFaults fails file operations all over the script.
func testFaults(t *testing.T, e Engine) {
	disk := e.New(t)
	if disk.Intercept == nil {
		t.Skip("the engine's disk cannot be disturbed")
	}
	dry := &breaker{}
	if err := (&faultRun{e: e, disk: disk, breaker: dry}).run(); err != nil {
		t.Fatalf("without a fault: %v", err)
	}
	stride := max(1, dry.count/scale(8, 25, 5000))
	kinds := faultKinds()
	runs := len(kinds) * ((dry.count + stride - 1) / stride)
	t.Logf("%d file operations, %d runs with a fault", dry.count, runs)
	inParallel(t, runs, func(i int) error {
		tb := &scope{TB: t}
		defer tb.end()
		f := &faultRun{e: e, disk: e.New(tb), breaker: &breaker{n: 1 + i/len(kinds)*stride, fault: kinds[i%len(kinds)]}}
		if err := f.run(); err != nil {
			return fmt.Errorf("file operation %d of about %d fails (%s), %s: %w", f.breaker.n, dry.count, f.breaker.broke(), f.breaker.name, err)
		}
		return nil
	})
}

// faultRun is one run of the script on a disk that fails, beside the model.
type faultRun struct {
	e       Engine
	disk    *Disk
	breaker *breaker

	w       *world
	model   *world
	history []op // acknowledged
	unknown *op  // happened in whole or not at all
}

func (f *faultRun) run() error {
	f.disk.Intercept(f.breaker.hook)
	s, err := f.disk.Open()
	if err == nil {
		f.w, f.model = newWorld(f.e, s), replay(nil)
		err = f.script()
		// What Close says about a broken disk is the engine's business; that it
		// returns is all that is asked.
		_ = s.Close()
	} else if f.breaker.broke() == "" {
		return fmt.Errorf("open: %w", err)
	} else {
		f.w, err = newWorld(f.e, nil), nil
	}
	f.disk.Intercept(nil)
	if err != nil {
		return err
	}
	return f.afterwards()
}

// script runs the operations until the store stops or the outcome of one is unknown.
func (f *faultRun) script() error {
	for _, o := range script() {
		broken := f.breaker.broke() != ""
		out := f.w.do(o)
		if len(f.w.problems) > 0 {
			return fmt.Errorf("%s: %s", o.name, f.w.problems[0])
		}
		if out.infrastructure() {
			stop, err := f.failed(o, out)
			if stop || err != nil {
				return err
			}
			continue
		}
		if want := f.model.do(o); out.String() != want.String() {
			return fmt.Errorf("%s: %v (%v), the model says %v", o.name, out, out.err, want)
		}
		if out.err != nil || out.nothing {
			continue
		}
		if broken && f.breaker.lasts && !o.weak {
			return fmt.Errorf("%s was acknowledged although nothing could be written", o.name)
		}
		f.history = append(f.history, o)
	}
	return nil
}

// failed judges an operation that failed because of the disk.
func (f *faultRun) failed(o op, out outcome) (stop bool, err error) {
	if f.breaker.broke() == "" {
		return true, fmt.Errorf("%s failed without a fault: %w", o.name, out.err)
	}
	switch c := mail.CodeOf(out.err); {
	case c == mail.CodeInternal || c == mail.CodeCanceled:
		return true, fmt.Errorf("%s failed with code %q: %w", o.name, c, out.err)
	case c == mail.CodeCorrupt:
		return true, fmt.Errorf("%s is reported as %q: %w", f.breaker.name, c, out.err)
	}
	if errors.Is(out.err, store.ErrOutcomeUnknown) {
		f.unknown = &o
		return true, nil
	}
	if errors.Is(out.err, store.ErrClosed) {
		return true, nil
	}
	if o.name == script()[0].name {
		return true, nil // there is no account to go on with
	}
	// The store goes on: nothing of the operation may be seen now.
	got, _, err := shapeOf(f.w)
	if err != nil {
		return true, f.readFailed(err)
	}
	want, _, err := shapeOf(f.model)
	if err != nil {
		return true, err
	}
	if d := want.differs(got); d != "" {
		return true, fmt.Errorf("%s failed (%w) and left something (-model +store):\n%s", o.name, out.err, d)
	}
	return false, nil
}

// readFailed accepts that a store with a broken disk cannot be read, but not that
// it shows what does not fit together.
func (f *faultRun) readFailed(err error) error {
	if mail.CodeOf(err) == mail.CodeUnavailable || mail.CodeOf(err) == mail.CodeNoSpace {
		return nil
	}
	return fmt.Errorf("after a fault: %w", err)
}

// afterwards opens the store on a disk that is whole again.
func (f *faultRun) afterwards() error {
	s, err := f.disk.Open()
	if err != nil {
		return fmt.Errorf("open after the fault: %w", err)
	}
	again := newWorld(f.e, s)
	again.acct, again.handed = f.w.acct, f.w.handed.clone()
	st, err := dump(again.ctx, s)
	if err != nil {
		return fmt.Errorf("after the fault the store does not fit together: %w", err)
	}
	if again.acct.IsZero() && len(st.Accounts) > 0 {
		again.acct = st.Accounts[0].ID // its creation failed with an unknown outcome
	}
	again.opened(s)
	if err := f.explain(st.shape(again.acct)); err != nil {
		return err
	}
	if err := check(f.e, s); err != nil {
		return err
	}
	if !again.acct.IsZero() && len(st.Accounts) > 0 {
		if err := again.probe(); err != nil {
			return fmt.Errorf("after opening again: %w", err)
		}
	}
	return reopenSame(f.e, f.disk, s)
}

// explain returns an error when the state is none that may be: all that was
// acknowledged, with or without the operation whose outcome is unknown, or
// without weak operations at the end when a fault made the store stop.
func (f *faultRun) explain(got *shape) error {
	var histories [][]op
	if f.unknown != nil {
		histories = append(histories, append(f.history[:len(f.history):len(f.history)], *f.unknown))
	}
	for n := len(f.history); ; n-- {
		histories = append(histories, f.history[:n])
		if n == 0 || !f.history[n-1].weak || f.breaker.broke() == "" {
			break
		}
	}
	first := ""
	for _, h := range histories {
		want, _, err := shapeOf(replay(h))
		if err != nil {
			return err
		}
		d := want.differs(got)
		if d == "" {
			return nil
		}
		if first == "" || f.unknown != nil && len(h) == len(f.history) {
			first = d
		}
	}
	return fmt.Errorf("the state is none that it may be (-acknowledged +found):\n%s", first)
}
