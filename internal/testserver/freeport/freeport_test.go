package freeport

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
)

// Whoever asks at the same time, and whatever listens on them in the meantime, no port is given twice; one that was given
// can be listened on, and can be given again once its test has ended.
func TestNoPortTwice(t *testing.T) {
	const callers, each = 20, 50
	var (
		mu    sync.Mutex
		given []int
		wg    sync.WaitGroup
	)
	t.Run("test", func(t *testing.T) {
		for range callers {
			wg.Go(func() {
				ports := Take(t, each)
				mu.Lock()
				defer mu.Unlock()
				given = append(given, ports...)
			})
		}
		wg.Wait()
		slices.Sort(given)
		if n := len(slices.Compact(slices.Clone(given))); n != callers*each {
			t.Errorf("%d different ports of %d", n, callers*each)
		}
		for _, port := range given {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			_ = l.Close()
			if mark, err := take(port); err == nil {
				_ = mark.Close()
				t.Errorf("port %d is not marked as taken", port)
			}
		}
	})
	again := 0
	for _, port := range given {
		if mark, err := take(port); err == nil {
			again++
			_ = mark.Close()
		}
	}
	if again < len(given)/2 { // another process that tests may have some of them
		t.Errorf("%d of %d ports are free after their test", again, len(given))
	}
}

// The system gives these ports to nobody that asks for any.
func TestBelowTheSystemsPorts(t *testing.T) {
	end := systemPorts()
	if end <= first {
		t.Fatalf("the ports end at %d", end)
	}
	for _, port := range Take(t, 100) {
		if port < first || port >= end {
			t.Errorf("port %d is not between %d and %d", port, first, end)
		}
	}
}

// A port that somebody listens on is not given.
func TestTaken(t *testing.T) {
	port := Take(t, 1)[0]
	mark, err := take(port)
	if err == nil {
		_ = mark.Close()
		t.Error("a port that was given")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if mark, err := take(l.Addr().(*net.TCPAddr).Port); err == nil {
		_ = mark.Close()
		t.Error("a port that is listened on")
	}
}

// A port can be listened on at once, whatever programs are started meanwhile: one has what its parent has open until it runs.
func TestWhileProgramsStart(t *testing.T) {
	var starters sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		starters.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := exec.Command(os.Args[0], "-test.run", "^$").Run(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer starters.Wait()
	defer close(stop)
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", Take(t, 1)[0]))
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	}
}
