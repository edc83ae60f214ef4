package transfer

import (
	"errors"
	"io"
	"time"

	"mallard/internal/mail"
)

// ErrExists says that a message or mailbox is already at the destination. Nothing
// that exists is ever overwritten.
var ErrExists = errors.New("it is there already")

// Writer writes mail to files. It is not safe for concurrent use.
type Writer interface {
	// Folder starts a mailbox. Errors: ErrExists where a mailbox is one file.
	Folder(path string) (FolderWriter, error)
	// Close releases the writer.
	Close() error
}

// FolderWriter writes the messages of one mailbox.
type FolderWriter interface {
	// Add stores one message. content writes its octets as they go over the wire;
	// when it fails nothing of the message remains and its error is returned.
	// A *Warning says that the message was stored, but not all about it.
	// Errors: ErrExists.
	Add(m Outgoing, content func(w io.Writer) error) error
	// Close completes the mailbox.
	Close() error
	// Discard ends a mailbox of which not every message could be written. Where a mailbox is
	// one file nothing of it stays, so that it is not taken for a whole one later; messages
	// that are files of their own stay, and the next export adds the others.
	Discard() error
}

// Outgoing is what is known about a message besides its content.
type Outgoing struct {
	// ID names the message for ever and everywhere: letters, digits and dashes.
	ID    string
	Flags mail.Flags
	Date  time.Time
}
