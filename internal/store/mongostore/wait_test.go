package mongostore

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// lines is a handler that gives what is logged to a channel.
type lines struct {
	slog.Handler
	to chan<- string
}

func (l lines) Enabled(context.Context, slog.Level) bool { return true }

func (l lines) Handle(_ context.Context, r slog.Record) error {
	l.to <- r.Message
	return nil
}

// An operator who starts a node before its database is told what it waits for, and not only when the first ping has run into
// its time limit.
func TestTheStartSaysEarlyThatItWaits(t *testing.T) {
	told := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := Open(ctx, Options{
			URI: "mongodb://127.0.0.1:1/none", Timeout: 10 * time.Minute, Wait: time.Hour,
			Logger: slog.New(lines{slog.DiscardHandler, told}),
		})
		result <- err
	}()
	select {
	case line := <-told:
		if !strings.HasPrefix(line, "waiting for the database") {
			t.Errorf("logged %q", line)
		}
	case err := <-result:
		t.Fatalf("the start did not wait: %v", err)
	case <-time.After(5 * time.Minute):
		t.Error("nothing was logged")
	}
	cancel()
	if err := <-result; err == nil || !strings.Contains(err.Error(), "reach the database") {
		t.Errorf("error %v", err)
	}
}
