package imapwire

import (
	"strconv"
	"time"
)

// Code is a response code without its brackets, with its arguments.
type Code string

// Response codes without arguments (RFC 3501, RFC 5530 and as noted).
const (
	CodeAlert                Code = "ALERT"
	CodeAlreadyExists        Code = "ALREADYEXISTS"
	CodeAuthenticationFailed Code = "AUTHENTICATIONFAILED"
	CodeAuthorizationFailed  Code = "AUTHORIZATIONFAILED"
	CodeBadCharset           Code = "BADCHARSET (US-ASCII UTF-8)"
	CodeCannot               Code = "CANNOT"
	CodeClientBug            Code = "CLIENTBUG"
	CodeClosed               Code = "CLOSED"            // RFC 7162
	CodeCompressionActive    Code = "COMPRESSIONACTIVE" // RFC 4978
	CodeContactAdmin         Code = "CONTACTADMIN"
	CodeExpired              Code = "EXPIRED"
	CodeExpungeIssued        Code = "EXPUNGEISSUED"
	CodeHasChildren          Code = "HASCHILDREN" // RFC 9051
	CodeInUse                Code = "INUSE"
	CodeLimit                Code = "LIMIT"
	CodeNoModSeq             Code = "NOMODSEQ" // RFC 7162
	CodeNonExistent          Code = "NONEXISTENT"
	CodeNoPerm               Code = "NOPERM"
	CodeNotSaved             Code = "NOTSAVED" // RFC 5182
	CodeOverQuota            Code = "OVERQUOTA"
	CodeParse                Code = "PARSE"
	CodePrivacyRequired      Code = "PRIVACYREQUIRED"
	CodeReadOnly             Code = "READ-ONLY"
	CodeReadWrite            Code = "READ-WRITE"
	CodeServerBug            Code = "SERVERBUG"
	CodeTooBig               Code = "TOOBIG" // RFC 4469
	CodeTryCreate            Code = "TRYCREATE"
	CodeUIDNotSticky         Code = "UIDNOTSTICKY" // RFC 4315
	CodeUnavailable          Code = "UNAVAILABLE"
	CodeUnknownCTE           Code = "UNKNOWN-CTE" // RFC 3516
	CodeUseAttr              Code = "USEATTR"     // RFC 6154
)

// CodeUIDNext is [UIDNEXT n].
func CodeUIDNext(n uint32) Code { return numberCode("UIDNEXT ", uint64(n)) }

// CodeUIDValidity is [UIDVALIDITY n].
func CodeUIDValidity(n uint32) Code { return numberCode("UIDVALIDITY ", uint64(n)) }

// CodeUnseen is [UNSEEN n], n being a sequence number.
func CodeUnseen(n uint32) Code { return numberCode("UNSEEN ", uint64(n)) }

// CodeHighestModSeq is [HIGHESTMODSEQ n] (RFC 7162).
func CodeHighestModSeq(n uint64) Code { return numberCode("HIGHESTMODSEQ ", n) }

func numberCode(name string, n uint64) Code {
	return Code(strconv.AppendUint([]byte(name), n, 10))
}

// CodePermanentFlags is [PERMANENTFLAGS (...)], with \* last when create is
// set: the client may make new keywords.
func CodePermanentFlags(flags []string, create bool) Code {
	dst := AppendFlags([]byte("PERMANENTFLAGS "), flags)
	if !create {
		return Code(dst)
	}
	dst = dst[:len(dst)-1]
	if dst[len(dst)-1] != '(' {
		dst = append(dst, ' ')
	}
	return Code(append(dst, `\*)`...))
}

// CodeCapability is [CAPABILITY ...].
func CodeCapability(caps []string) Code {
	return Code(appendAtoms([]byte("CAPABILITY"), caps))
}

// CodeAppendUID is [APPENDUID uidvalidity uids] (RFC 4315).
func CodeAppendUID(uidValidity uint32, uids []uint32) Code {
	dst := strconv.AppendUint([]byte("APPENDUID "), uint64(uidValidity), 10)
	return Code(AppendNumSet(append(dst, ' '), uids))
}

// CodeCopyUID is [COPYUID uidvalidity source destination] (RFC 4315). The two
// lists have the same length, one or more; element n of one belongs to
// element n of the other.
func CodeCopyUID(uidValidity uint32, source, dest []uint32) Code {
	dst := strconv.AppendUint([]byte("COPYUID "), uint64(uidValidity), 10)
	dst = AppendNumSet(append(dst, ' '), source)
	return Code(AppendNumSet(append(dst, ' '), dest))
}

// CodeModified is [MODIFIED set]: what a conditional STORE left out
// (RFC 7162).
func CodeModified(nums []uint32) Code {
	return Code(AppendNumSet([]byte("MODIFIED "), nums))
}

// CodeMailboxID is [MAILBOXID (id)] (RFC 8474).
func CodeMailboxID(id string) Code {
	return Code(append(AppendAtom([]byte("MAILBOXID ("), id), ')'))
}

// appendAtoms appends each atom with a space before it.
func appendAtoms(dst []byte, atoms []string) []byte {
	for _, a := range atoms {
		dst = AppendAtom(append(dst, ' '), a)
	}
	return dst
}

// AppendSaveDate appends a SAVEDATE value: a date-time, NIL when t is zero
// (RFC 8514).
func AppendSaveDate(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "NIL"...)
	}
	return AppendDateTime(dst, t)
}
