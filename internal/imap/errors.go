package imap

import (
	"context"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
)

// codeCorruption says that stored data is damaged (RFC 5530, 3).
const codeCorruption imapwire.Code = "CORRUPTION"

// responseCode maps the code of an error to a response code (RFC 5530). This is
// the one place where codes of the mail store meet those of IMAP.
func responseCode(c mail.Code) imapwire.Code {
	switch c {
	case mail.CodeNotFound, mail.CodeNoMailbox, mail.CodeNoAccount:
		return imapwire.CodeNonExistent
	case mail.CodeExists:
		return imapwire.CodeAlreadyExists
	case mail.CodeInvalid, mail.CodeForbidden:
		return imapwire.CodeCannot
	case mail.CodeOverQuota:
		return imapwire.CodeOverQuota
	case mail.CodeTooBig:
		return imapwire.CodeTooBig
	case mail.CodeLimit, mail.CodeRateLimited:
		return imapwire.CodeLimit
	case mail.CodeAuthFailed, mail.CodeDisabled:
		return imapwire.CodeAuthenticationFailed
	case mail.CodeAuthScope:
		return imapwire.CodeAuthorizationFailed
	case mail.CodeUnavailable, mail.CodeConflict, mail.CodeNoSpace, mail.CodeCanceled:
		return imapwire.CodeUnavailable
	case mail.CodeCorrupt:
		return codeCorruption
	case mail.CodeInternal:
	}
	return imapwire.CodeServerBug
}

// fail answers a command that failed. The log gets the whole error, the client
// its public part.
func (s *session) fail(ctx context.Context, cmd *imapwire.Command, err error) {
	code := mail.CodeOf(err)
	if code.Temporary() && code != mail.CodeRateLimited {
		s.log().ErrorContext(ctx, "IMAP command failed", "command", cmd.Name, "code", code.String(), "error", err)
	} else {
		s.log().DebugContext(ctx, "IMAP command refused", "command", cmd.Name, "code", code.String(), "error", err)
	}
	if terr := s.tell(ctx, mayExpunge(cmd)); terr != nil {
		s.log().DebugContext(ctx, "tell changes", "error", terr)
	}
	if s.done {
		return
	}
	s.w.NO(cmd.Tag, responseCode(code), mail.PublicText(err))
}

// tryCreate makes a missing destination a hint to create it (RFC 3501, 7.1),
// unless it has a name that no mailbox can have.
func (s *session) tryCreate(ctx context.Context, cmd *imapwire.Command, name string, err error) error {
	if mail.CodeOf(err) != mail.CodeNoMailbox {
		return err
	}
	if _, err := mail.CanonicalName(name); err != nil {
		return err
	}
	if err := s.tell(ctx, mayExpunge(cmd)); err != nil {
		return err
	}
	s.w.NO(cmd.Tag, imapwire.CodeTryCreate, "No such mailbox")
	return nil
}
