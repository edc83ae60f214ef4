//go:build e2e

package outage

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"mallard/test/e2e/harness"
)

// A stream is an event stream of the HTTP API that stays open.
type stream struct {
	mu   sync.Mutex
	uids map[int]int // how many times a message in INBOX was told of
	end  error
}

func openStream(t *testing.T, n *harness.Server, u harness.User) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.API+"/users/"+u.ID+"/updates", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the event stream: %s", resp.Status)
	}
	s := &stream{uids: map[int]int{}}
	lines := bufio.NewScanner(resp.Body)
	first := make(chan struct{})
	go s.read(lines, first)
	<-first
	return s
}

func (s *stream) read(lines *bufio.Scanner, first chan struct{}) {
	var data strings.Builder
	for lines.Scan() {
		if first != nil {
			close(first)
			first = nil
		}
		if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			data.WriteString(text)
			continue
		}
		if lines.Text() != "" || data.Len() == 0 {
			continue
		}
		var e struct {
			Command string
			UID     int
		}
		if err := json.Unmarshal([]byte(data.String()), &e); err == nil && e.Command == "EXISTS" {
			s.mu.Lock()
			s.uids[e.UID]++
			s.mu.Unlock()
		}
		data.Reset()
	}
	s.mu.Lock()
	s.end = fmt.Errorf("the stream ended: %w", lines.Err())
	s.mu.Unlock()
	if first != nil {
		close(first)
	}
}

func (s *stream) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uids)
}

// tells waits until the stream has told of more messages than so many.
func (s *stream) tells(t *testing.T, name string, more int, within time.Duration) {
	t.Helper()
	if !harness.Until(within, func() bool { return s.count() > more }) {
		t.Errorf("%s has told of nothing new for %s (%v)", name, within, s.end)
	}
}

// sees waits until the stream has told of each of the messages, once.
func (s *stream) sees(t *testing.T, name string, want []int) {
	t.Helper()
	harness.Until(settle, func() bool { return s.count() >= len(want) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, uid := range want {
		if s.uids[uid] != 1 {
			t.Errorf("%s told of UID %d %d times (%v)", name, uid, s.uids[uid], s.end)
		}
	}
	if len(s.uids) != len(want) {
		t.Errorf("%s told of %d messages, want %d", name, len(s.uids), len(want))
	}
}
