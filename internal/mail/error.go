package mail

import (
	"errors"
	"fmt"
)

// Code says what kind of failure an error is. Each protocol has one table from
// codes to its own replies; a new code needs an entry in every one of them.
type Code uint8

// The codes. CodeInternal is the zero value so that an error without a code is
// treated as a fault of the server.
const (
	CodeInternal    Code = iota // a fault of the server; details go to the log only
	CodeNotFound                // the named thing does not exist
	CodeNoMailbox               // the mailbox does not exist
	CodeNoAccount               // the account does not exist
	CodeExists                  // the named thing exists already
	CodeInvalid                 // the request can never work as it stands
	CodeForbidden               // the thing exists but this cannot be done to it
	CodeOverQuota               // the account has no room
	CodeTooBig                  // the message exceeds the size limit
	CodeLimit                   // another limit is reached
	CodeAuthFailed              // credentials are wrong
	CodeAuthScope               // credentials are right but not for this service
	CodeRateLimited             // too many attempts, later may work
	CodeDisabled                // the account is disabled or suspended
	CodeUnavailable             // the store cannot serve now, later may work
	CodeCorrupt                 // stored data failed its check
	CodeNoSpace                 // the disk is full or read-only
	CodeConflict                // another change came first
	CodeCanceled                // the caller went away
)

// String returns the name used in logs.
func (c Code) String() string {
	names := [...]string{
		"internal", "not-found", "no-mailbox", "no-account", "exists", "invalid", "forbidden",
		"over-quota", "too-big", "limit", "auth-failed", "auth-scope", "rate-limited", "disabled",
		"unavailable", "corrupt", "no-space", "conflict", "canceled",
	}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("code-%d", c)
}

// Temporary reports whether the same request may succeed later without a
// change by the caller.
func (c Code) Temporary() bool {
	switch c {
	case CodeInternal, CodeRateLimited, CodeUnavailable, CodeCorrupt, CodeNoSpace, CodeConflict, CodeCanceled:
		return true
	}
	return false
}

// Error is a failure with a code. Public is the only text that a client may be
// shown; Err is for the log.
type Error struct {
	Code   Code
	Public string
	Err    error
}

// NewError returns an error whose text may be shown to clients.
func NewError(code Code, public string) *Error { return &Error{Code: code, Public: public} }

// WrapError gives an underlying failure a code and a public text.
func WrapError(code Code, public string, err error) *Error {
	return &Error{Code: code, Public: public, Err: err}
}

// Error returns the public text and the cause.
func (e *Error) Error() string {
	text := e.Public
	if text == "" {
		text = e.Code.String()
	}
	if e.Err != nil {
		return text + ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first *Error in the chain, CodeInternal when
// there is none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// PublicText returns what a client may be told about err, never empty.
func PublicText(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && e.Public != "" {
		return e.Public
	}
	return "internal error"
}
