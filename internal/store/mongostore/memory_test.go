package mongostore

import (
	"io"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"mallard/internal/store"
)

// endless is a message of any size that is in memory nowhere: a header and lines of base64.
type endless struct {
	head string
	size int64
}

func (e *endless) ReadAt(p []byte, off int64) (int, error) {
	const line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n"
	for i := range p {
		at := off + int64(i)
		switch {
		case at >= e.size:
			return i, io.EOF
		case at < int64(len(e.head)):
			p[i] = e.head[at]
		default:
			p[i] = line[(at-int64(len(e.head)))%int64(len(line))]
		}
	}
	return len(p), nil
}

// A large message is taken in and given out piece by piece.
func TestLargeMessageMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	const size, limit = 24 << 20, 10 << 20
	s := openStore(t)
	head := "Subject: x\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
	e := &endless{head: head, size: size}
	peak := watchMemory(t)
	doc, _ := s.insertForTest(t, &store.Content{Source: e, Size: size, Header: []byte(head)}, "P: 1\r\n")
	b, err := s.openBody(t.Context(), doc)
	if err != nil {
		t.Fatal(err)
	}
	c := &comparer{r: io.MultiReader(strings.NewReader("P: 1\r\n"), io.NewSectionReader(e, 0, size))}
	if err := b.WriteRange(c, 0, b.Size()); err != nil || c.different || c.matched != size+6 {
		t.Errorf("equal up to %d of %d (%v)", c.matched, b.Size(), err)
	}
	if n := peak(); n > limit {
		t.Errorf("a message of %d octets took %d of memory, want at most %d", size, n, limit)
	} else {
		t.Logf("at most %d KiB of memory", n>>10)
	}
}

// watchMemory returns a function that says how much more of the heap was in use at a time. What waits to be collected is not
// in use; how much that is depends on what else runs on the machine, so that the collector is made to leave little of it.
func watchMemory(t *testing.T) (peak func() int64) {
	const garbage = 10 // at most this share of what is in use, in percent
	usual := debug.SetGCPercent(garbage)
	t.Cleanup(func() { debug.SetGCPercent(usual) })
	inUse := func() int64 { // as the last collection has found it
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		return int64(live[0].Value.Uint64())
	}
	runtime.GC()
	before, most := inUse(), int64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				most = max(most, inUse()-before)
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-stopped
		return most
	}
}
