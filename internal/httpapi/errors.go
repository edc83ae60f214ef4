package httpapi

import (
	"errors"
	"net/http"
	"strings"

	"mallard/internal/mail"
)

// Error is a failure as the API reports it. Code is left out of the reply when
// empty, as WildDuck does for some failures.
type Error struct {
	Status  int // HTTP status
	Code    string
	Message string
	// Details has the first message of each parameter that is wrong.
	Details *orderedStrings
	// ID and Username are extra members of a few replies.
	ID       string
	Username string
	// Err is for the log.
	Err error
}

// Error returns the message and the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func newError(status int, code, message string) *Error {
	return &Error{Status: status, Code: code, Message: message}
}

// invalid is a failed check that no single parameter is to blame for.
func invalid(message string) *Error {
	return newError(http.StatusBadRequest, codeValidation, message)
}

// because keeps the cause for the log.
func (e *Error) because(err error) *Error {
	e.Err = err
	return e
}

// Codes that are used in more than one place.
const (
	codeValidation = "InputValidationError"
	codeNoUser     = "UserNotFound"
	codeNoMailbox  = "NoSuchMailbox"
	codeNoMessage  = "MessageNotFound"
	codeNoAddress  = "AddressNotFound"
	codePrivileges = "MissingPrivileges"
	codeOverQuota  = "OverQuotaError"
	codeDatabase   = "InternalDatabaseError"
)

func errNoMailbox() *Error {
	return newError(http.StatusNotFound, codeNoMailbox, "This mailbox does not exist")
}

func errNoMessage() *Error {
	return newError(http.StatusNotFound, codeNoMessage, "This message does not exist")
}

func errPrivileges() *Error {
	return newError(http.StatusForbidden, codePrivileges, "Not enough privileges")
}

// mapping is how one mail.Code looks in a reply when the handler has said
// nothing better. An empty message means: the public text of the error.
type mapping struct {
	status        int
	code, message string
}

// codeTable maps every mail.Code; TestCodeTable holds it complete.
func codeTable() map[mail.Code]mapping {
	return map[mail.Code]mapping{
		mail.CodeInternal:    {http.StatusInternalServerError, "InternalError", "Internal error"},
		mail.CodeNotFound:    {http.StatusNotFound, "NotFound", ""},
		mail.CodeNoMailbox:   {http.StatusNotFound, codeNoMailbox, "This mailbox does not exist"},
		mail.CodeNoAccount:   {http.StatusNotFound, codeNoUser, "This user does not exist"},
		mail.CodeExists:      {http.StatusBadRequest, "AlreadyExists", ""},
		mail.CodeInvalid:     {http.StatusBadRequest, codeValidation, ""},
		mail.CodeForbidden:   {http.StatusBadRequest, "NotPermitted", ""},
		mail.CodeOverQuota:   {http.StatusBadRequest, codeOverQuota, "User is over quota"},
		mail.CodeTooBig:      {http.StatusRequestEntityTooLarge, "MessageTooLarge", ""},
		mail.CodeLimit:       {http.StatusBadRequest, "LimitReached", ""},
		mail.CodeAuthFailed:  {http.StatusForbidden, "AuthFailed", "Authentication failed"},
		mail.CodeAuthScope:   {http.StatusForbidden, "InvalidAuthScope", "Access to requested service disabled"},
		mail.CodeRateLimited: {http.StatusForbidden, "RateLimitedError", ""},
		mail.CodeDisabled:    {http.StatusForbidden, "UserDisabled", "User account is disabled"},
		mail.CodeUnavailable: {http.StatusServiceUnavailable, codeDatabase, "The mail store cannot serve now"},
		mail.CodeCorrupt:     {http.StatusInternalServerError, "CorruptData", "Stored data failed its check"},
		mail.CodeNoSpace:     {http.StatusInsufficientStorage, codeDatabase, "The mail store has no space left"},
		mail.CodeConflict:    {http.StatusConflict, "Conflict", ""},
		mail.CodeCanceled:    {statusClientClosed, "Canceled", "The request was cancelled"},
	}
}

// statusClientClosed is nobody's to read: the client has gone.
const statusClientClosed = 499

// asError turns any failure into one that can be shown.
func (a *API) asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errBodyTooLarge(e.Limit).because(err)
	}
	m, ok := a.codes[mail.CodeOf(err)]
	if !ok {
		m = a.codes[mail.CodeInternal]
	}
	text := m.message
	if text == "" {
		text = mail.PublicText(err)
	}
	return newError(m.status, m.code, text).because(err)
}

// errBodyTooLarge says that a body exceeds a limit in octets.
func errBodyTooLarge(int64) *Error {
	return newError(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Request body is too large")
}

// replaceError gives err another form when its code is one of the table.
func replaceError(err error, table map[mail.Code]*Error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if e, ok := table[mail.CodeOf(err)]; ok {
		return e.because(err)
	}
	return err
}

// transportError is a failure before a route's own code ran. Its reply has
// other members than that of an Error.
type transportError struct {
	status        int
	code, message string
	allow         []string
}

func (e *transportError) Error() string { return e.message }

func errNoRoute(path string) *transportError {
	return &transportError{status: http.StatusNotFound, code: "ResourceNotFound", message: path + " does not exist"}
}

func errMethod(method string, allow []string) *transportError {
	return &transportError{status: http.StatusMethodNotAllowed, code: "MethodNotAllowed", message: method + " is not allowed", allow: allow}
}

func errToken() *transportError {
	return &transportError{status: http.StatusForbidden, code: "InvalidToken", message: "Invalid accessToken value"}
}

func errContent(err error) *transportError {
	text := strings.TrimPrefix(err.Error(), "json: ")
	return &transportError{status: http.StatusBadRequest, code: "InvalidContent", message: "Invalid JSON: " + upperFirst(text)}
}
