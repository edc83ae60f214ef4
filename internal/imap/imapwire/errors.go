package imapwire

import "fmt"

// Kind says how an [Error] is answered.
type Kind uint8

const (
	// Bad is a syntax error: tagged BAD, the connection goes on in step.
	Bad Kind = iota
	// No is a refusal of a well-formed command: tagged NO, in step.
	No
	// Bye means that the stream cannot be followed any more: untagged BYE and
	// close.
	Bye
)

// String returns the status word of the answer.
func (k Kind) String() string {
	switch k {
	case No:
		return "NO"
	case Bye:
		return "BYE"
	default:
		return "BAD"
	}
}

// Error is a command that was not accepted. I/O errors are never wrapped in
// it. The Reader is in step with the client again unless Kind is [Bye].
type Error struct {
	// Tag is the command's tag, "*" when it had none that could be read.
	Tag string
	// Command is the name of the command in upper case, without UID; empty when
	// there is no such command or its name was not read.
	Command string
	// Kind says how to answer.
	Kind Kind
	// Code is the response code without brackets, with its arguments; empty
	// for none. [Encoder.Status] takes it as it is.
	Code Code
	// Text is for the client. It may hold bytes that the client sent; the
	// encoder makes it safe.
	Text string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Code != "" {
		return fmt.Sprintf("imap: %s %s [%s] %s", e.Tag, e.Kind, e.Code, e.Text)
	}
	return fmt.Sprintf("imap: %s %s %s", e.Tag, e.Kind, e.Text)
}
