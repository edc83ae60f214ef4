package mongostore

import (
	"testing"
	"time"
)

// Sessions ask after each command; rows that came late are looked for now and then, not each time.
func TestLateRowsAreLookedForNowAndThen(t *testing.T) {
	start := time.Now()
	tr := &track{known: true, settled: 7, changed: start}
	tr.hand(handed{to: 7, at: start})
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {latePause / 2, false}, {latePause, true}, {latePause + time.Millisecond, false}, {2 * latePause, true}} {
		if got := tr.begin(start.Add(step.after), time.Second, 7).lively; got != step.want {
			t.Errorf("after %s: looks %v", step.after, got)
		}
	}
	if !tr.begin(start, time.Second, 6).lively {
		t.Error("who was told something else has to wait")
	}
}
