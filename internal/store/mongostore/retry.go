package mongostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"mallard/internal/store"
)

// retryPause is the first pause between two attempts; each one is twice as long, up to maxRetryPause.
const (
	retryPause    = 20 * time.Millisecond
	maxRetryPause = time.Second
)

// again makes attempts until one succeeds, the error is one that another attempt does not change, or Options.Timeout has
// passed since the first. The attempt must be one that may be made twice: servers without replica sets have no retryable
// writes, so that whatever the driver retries on others is retried here.
func (s *Store) again(ctx context.Context, attempt func(ctx context.Context) error) error {
	return s.againUntil(ctx, time.Now().Add(s.o.Timeout), attempt)
}

// patience is how many times Options.Timeout it is tried to find out what came of an insert whose answer was lost. Whoever
// stores a message waits longer: IMAP clients some minutes, mail servers ten (RFC 5321, 4.5.3.2.6).
const patience = 3

// insist is again for an attempt that, once its answer was lost, is made for as long as clients wait: it finds what it has
// done.
func (s *Store) insist(ctx context.Context, attempt func(ctx context.Context) error) error {
	began, lost := time.Now(), false
	err := s.againUntil(ctx, began.Add(s.o.Timeout), func(ctx context.Context) error {
		err := attempt(ctx)
		lost = lost || outcomeUnknown(err)
		return err
	})
	if lost && transient(err) {
		err = s.againUntil(ctx, began.Add(patience*s.o.Timeout), attempt)
	}
	if lost && err != nil { // whatever came of the last attempt, an earlier one may still be carried out
		err = fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, err)
	}
	return err
}

func (s *Store) againUntil(ctx context.Context, end time.Time, attempt func(ctx context.Context) error) error {
	wait := retryPause
	for {
		err := attempt(ctx)
		if err == nil || !transient(err) || ctx.Err() != nil || time.Until(end) < wait {
			return err
		}
		if perr := pause(ctx, wait); perr != nil {
			return err
		}
		wait = min(2*wait, maxRetryPause)
	}
}

// transient reports whether an operation that failed may succeed if it is tried again: a connection that broke, a server
// that did not answer, an election.
func transient(err error) bool {
	if err == nil || mongo.IsDuplicateKeyError(err) && !unconfirmed(err) {
		return false
	}
	if mongo.IsNetworkError(err) || mongo.IsTimeout(err) || outcomeUnknown(err) {
		return true
	}
	var server mongo.ServerError
	if !errors.As(err, &server) {
		return false
	}
	if server.HasErrorLabel("RetryableWriteError") || server.HasErrorLabel("TransientTransactionError") {
		return true
	}
	// Host down, a primary that is none any more, shutdown, a write conflict, a deadlock of the server's own database.
	for _, code := range []int{6, 7, 89, 91, 112, 189, 262, 9001, 10058, 10107, 11600, 11602, 13435, 13436} {
		if server.HasErrorCode(code) {
			return true
		}
	}
	// FerretDB hands on what PostgreSQL says, without a code of its own, when its own attempts are used up.
	return server.HasErrorMessage("deadlock detected")
}
