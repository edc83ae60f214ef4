package mongostore

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	if unconfirmed(err) {
		return true
	}
	if mongo.IsDuplicateKeyError(err) {
		return false
	}
	return mongo.IsNetworkError(err) || mongo.IsTimeout(err) || interrupted(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// interrupted says whether a server has ended an operation midway: because it shuts down, is the primary no more, or took too
// long.
func interrupted(err error) bool {
	var server mongo.ServerError
	return errors.As(err, &server) &&
		slices.ContainsFunc([]int{91, 189, 262, 11600, 11602}, server.HasErrorCode)
}

// unconfirmed says whether too few servers have said that they have what was written, or what was there before and is why
// nothing was written.
func unconfirmed(err error) bool {
	var one mongo.WriteException
	if errors.As(err, &one) && one.WriteConcernError != nil {
		return true
	}
	var bulk mongo.BulkWriteException
	return errors.As(err, &bulk) && bulk.WriteConcernError != nil
}

// exceptDuplicates is nil for an insert of which nothing is left to do but what was done before. What else failed of it is
// returned without that: by a duplicate an error looks like one that another attempt does not change.
func exceptDuplicates(err error) error {
	if unconfirmed(err) {
		return err
	}
	var one mongo.WriteException
	var bulk mongo.BulkWriteException
	switch {
	case errors.As(err, &one):
		one.WriteErrors = withoutDuplicates(one.WriteErrors)
		if len(one.WriteErrors) == 0 {
			return nil
		}
		return one
	case errors.As(err, &bulk):
		bulk.WriteErrors = withoutDuplicates(bulk.WriteErrors)
		if len(bulk.WriteErrors) == 0 {
			return nil
		}
		return bulk
	}
	return err
}

// withoutDuplicates returns the errors of documents that are not there already.
func withoutDuplicates[E error](errs []E) (out []E) {
	for _, e := range errs {
		if !mongo.IsDuplicateKeyError(e) {
			out = append(out, e)
		}
	}
	return out
}
