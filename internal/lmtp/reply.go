package lmtp

import (
	"unicode"
	"unicode/utf8"

	"mallard/internal/mail"
)

// answer is a reply to one recipient.
type answer struct {
	code     int
	enhanced string // RFC 3463
	text     string
}

// verdict maps an error to the reply for a recipient. This is the one place
// where codes of the mail store meet those of LMTP.
func verdict(err error) answer {
	text := sentence(mail.PublicText(err))
	switch mail.CodeOf(err) {
	case mail.CodeNotFound, mail.CodeNoAccount, mail.CodeNoMailbox:
		return answer{550, "5.1.1", text}
	case mail.CodeDisabled:
		return answer{550, "5.2.1", text}
	case mail.CodeOverQuota:
		return answer{552, "5.2.2", text}
	case mail.CodeTooBig:
		return answer{552, "5.3.4", text}
	case mail.CodeInvalid:
		return answer{501, "5.1.3", text}
	case mail.CodeForbidden, mail.CodeAuthFailed, mail.CodeAuthScope, mail.CodeExists:
		return answer{550, "5.7.1", text}
	case mail.CodeLimit, mail.CodeRateLimited:
		return answer{450, "4.7.1", text}
	case mail.CodeNoSpace:
		return answer{452, "4.3.1", "The disk of the mail store is full, try again later"}
	case mail.CodeInternal, mail.CodeUnavailable, mail.CodeCorrupt, mail.CodeConflict, mail.CodeCanceled:
	}
	return answer{451, "4.3.0", "The message could not be stored, try again later"}
}

// sentence begins a text with a capital letter, as all replies do.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}
