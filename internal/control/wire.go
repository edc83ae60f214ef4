package control

import (
	"time"

	"mallard/internal/mail"
)

// SocketName is the name of the socket in the directory of the store.
const SocketName = "control.sock"

// Protocol is the version of what is spoken on the socket. Both ends must have
// the same one.
const Protocol = 1

// Limits of one call.
const (
	// MaxBatch is the greatest number of messages of one append.
	MaxBatch = 1000
	// MaxBatchBytes is the sum of their octets at which an append should end;
	// a single message may be greater.
	MaxBatchBytes = 64 << 20
)

// Ping is the answer to GET /_control/ping.
type Ping struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"` // of the program
	PID      int    `json:"pid"`
}

// User is the answer to GET /_control/user?name=N: the account that a user name or
// an address stands for.
type User struct {
	ID       mail.AccountID `json:"id"`
	Username string         `json:"username"`
	Address  string         `json:"address"`
}

// Mailbox describes a mailbox: GET /_control/users/{user}/mailboxes lists all,
// POST finds or makes the one of MailboxRequest.
type Mailbox struct {
	ID          mail.MailboxID   `json:"id"`
	Path        string           `json:"path"`
	SpecialUse  mail.SpecialUse  `json:"specialUse,omitempty"`
	UIDValidity mail.UIDValidity `json:"uidValidity"`
	UIDNext     mail.UID         `json:"uidNext"`
	Messages    int64            `json:"messages"`
	Size        int64            `json:"size"` // octets
}

// MailboxRequest asks for a mailbox by its path.
type MailboxRequest struct {
	Path string `json:"path"`
}

// AppendMeta stands before each message of an append: POST
// /_control/users/{user}/mailboxes/{mailbox}/append with a stream of frames.
type AppendMeta struct {
	Flags []string  `json:"flags,omitempty"`
	Date  time.Time `json:"date,omitzero"` // internal date; now when zero
}

// AppendReply has a result for each message, in order.
type AppendReply struct {
	Results []AppendResult `json:"results"`
}

// AppendResult is a UID or why there is none.
type AppendResult struct {
	UID   mail.UID `json:"uid,omitempty"`
	Code  string   `json:"code,omitempty"`
	Error string   `json:"error,omitempty"`
}

// Digest is one line of the answer to GET
// /_control/users/{user}/mailboxes/{mailbox}/digests?from=UID.
type Digest struct {
	UID    mail.UID `json:"uid"`
	SHA256 string   `json:"sha256,omitempty"` // of the content, hexadecimal
	Error  string   `json:"error,omitempty"`
}

// ExportMeta stands before each message of GET
// /_control/users/{user}/mailboxes/{mailbox}/messages. With Error set there is
// no content: the message is damaged.
type ExportMeta struct {
	UID   mail.UID  `json:"uid"`
	Flags []string  `json:"flags,omitempty"`
	Date  time.Time `json:"date"`
	Size  int64     `json:"size"`
	Error string    `json:"error,omitempty"`
}

// ExportEnd stands behind each message. With Error set the content before it is
// not complete.
type ExportEnd struct {
	Error string `json:"error,omitempty"`
}

// Failure is the body of an answer that is not 200. It is that of the HTTP API.
type Failure struct {
	Message string            `json:"error"`
	Code    string            `json:"code,omitempty"`
	Details map[string]string `json:"details,omitempty"` // by parameter
}
