// Package imapclient is a raw, strict IMAP client for tests and benchmarks.
//
// It owns the reading side of IMAP responses: each one is parsed by the
// grammar of RFC 3501 and of the extensions that Mallard offers, without
// tolerance, and checked against what the session knows: an EXPUNGE where none
// may be sent, a number of messages that shrinks by itself or a byte that does
// not belong is an error. It is a second reading of the RFCs, so it shares
// with imapwire nothing but modified UTF-7 and sequence sets.
//
// It must not import the server or anything below it, and no server code may
// import it.
package imapclient
