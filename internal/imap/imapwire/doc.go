// Package imapwire is the wire layer of the IMAP server: it reads commands
// into a typed syntax tree and writes responses.
//
// It owns the grammar of RFC 3501 and of the extensions that Mallard offers:
// lines, literals, strings, sequence sets, dates, mailbox names in modified
// UTF-7, command arguments, response encoding. Every input is bounded by
// [Limits], and after each command the stream is either in step with the
// client again or reported as unusable.
//
// It knows nothing of sessions, accounts or storage, and must import neither
// another internal package nor a protocol package: the server maps its types
// to those of the domain.
package imapwire
