package mongostore

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func errClosed(op string) error {
	return mail.WrapError(mail.CodeUnavailable, "the mail store is shutting down", fmt.Errorf("%s: %w", op, store.ErrClosed))
}

// readError gives an error of an operation that changes nothing its code.
func readError(doing string, err error) error {
	if err == nil || errors.As(err, new(*mail.Error)) {
		return err
	}
	err = fmt.Errorf("%s: %w", doing, err)
	if errors.Is(err, context.Canceled) {
		return mail.WrapError(mail.CodeCanceled, "canceled", err)
	}
	// Whatever the server says, the mail is not known to be bad: later may work.
	return mail.WrapError(mail.CodeUnavailable, "the mail store is not available", err)
}

// writeError is readError for a write. An answer that never came leaves open whether it was done.
func writeError(doing string, err error) error {
	if err == nil || errors.As(err, new(*mail.Error)) {
		return err
	}
	if outcomeUnknown(err) {
		err = fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, err)
	}
	return readError(doing, err)
}

// outcomeUnknown says whether a write that failed may have been done.
func outcomeUnknown(err error) bool {
	if mongo.IsDuplicateKeyError(err) {
		return false
	}
	var wc mongo.WriteException
	if errors.As(err, &wc) && wc.WriteConcernError != nil {
		return true
	}
	var bulk mongo.BulkWriteException
	if errors.As(err, &bulk) && bulk.WriteConcernError != nil {
		return true
	}
	return mongo.IsNetworkError(err) || mongo.IsTimeout(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
