package mail

import "time"

// ActionAuthentication is the action of a login.
const ActionAuthentication = "authentication"

// The results of an event of the log of logins.
const (
	ResultSuccess   = "success"
	ResultFail      = "fail"
	ResultDisabled  = "disabled"
	ResultSuspended = "suspended"
)

// AuthEvent is something that the log of logins of an account tells: a login, or a
// change of what logs in. It never has a password in it. "" is "not known" and "not
// of this event".
type AuthEvent struct {
	Account  AccountID
	Action   string
	Result   string
	Protocol string // IMAP, API ...
	IP       string
	Session  string
	// Source is the kind of the password: master, asp or temporary.
	Source     string
	Scope      string // what was asked for
	Require2FA string // second factors that are still needed, with commas between them
	AppID      string // application, of a login to the API
	// AppPassword and AppPasswordName are the application password of the event.
	AppPassword, AppPasswordName string
	Target                       string // where mail goes from now on
}

// AuthLogEntry is an event as it is kept: repetitions are counted in the entry of the
// first one.
type AuthLogEntry struct {
	ID string
	AuthEvent
	// Filter, Credential, MCPToken and Temporary are of events that other programs log.
	Filter, Credential, MCPToken string
	Temporary                    *bool
	Key                          []byte // what repetitions have in common, as a digest
	Created, Last                time.Time
	Expires                      time.Time // zero for never
	Events                       int64
}

// AuthLogQuery selects entries of one account, the newest first. At most one of After
// and Before is set.
type AuthLogQuery struct {
	Action, IP string // "" for all
	After      string // id of the entry before the page, in the order of the list
	Before     string // id of the entry after the page
	Limit      int
}

// AuthLogPage is a page of entries.
type AuthLogPage struct {
	Entries []AuthLogEntry
	Total   int64 // of all pages
	More    bool  // there is more in the direction that was asked for
}
