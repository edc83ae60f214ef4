package transfer

import (
	"io"
	"iter"
	"time"

	"mallard/internal/mail"
)

// Source is mail in files. It is not safe for concurrent use.
type Source interface {
	// Folders are the mailboxes of the source, INBOX first, then in ascending
	// order of their paths.
	Folders() []Folder
	// Messages yields the messages of a folder in the order in which they came.
	// An error is of one message, or of the folder: the others go on.
	Messages(f Folder) iter.Seq2[*Message, error]
	// Close releases the source.
	Close() error
}

// Folder is a mailbox of a source.
type Folder struct {
	Path     string // with slashes between the levels; INBOX is the root
	Messages int    // their number
	Bytes    int64  // octets as they are in the files; 0 when it is not known
	name     string // within the source
}

// Message is a message of a source.
type Message struct {
	// Key tells it from all others of the source, also when its flags change and
	// when it is moved from new to cur.
	Key   string
	Flags mail.Flags
	Date  time.Time // when it came; zero when that is not known
	Size  int64     // octets in the file
	// Open gives the content as it goes over the wire.
	Open func() (io.ReadCloser, error)
}

// Warning is an error that does not keep a message from being read: something
// about it could not be kept.
type Warning struct{ Text string }

// Error returns the text.
func (w *Warning) Error() string { return w.Text }
