package mongostore

import (
	"testing"
	"time"
)

// A row that is written at the last moment that its writer has must be looked for.
func TestOverlapCoversAWrite(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		time.Second: 15 * time.Second, 10 * time.Second: 15 * time.Second, time.Minute: 65 * time.Second, 5 * time.Minute: 305 * time.Second,
	} {
		s := &Store{o: Options{Timeout: timeout}}
		if got := s.overlap(); got != want {
			t.Errorf("with a timeout of %v rows are looked for %v back, want %v", timeout, got, want)
		}
	}
}
