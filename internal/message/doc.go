// Package message reads Internet mail: it splits a message of any kind,
// damaged ones included, into a tree of parts with octet offsets, and derives
// from it what a mail store needs at read time (envelope, body structure,
// header fields, decoded text, preview, attachments).
//
// The parser is a push parser: it sees each octet once, keeps no body, and
// gives the same result for every way of cutting the input into chunks. It
// never fails on damaged mail: what cannot be interpreted is described as text
// or as an opaque part, and the offsets always cover the whole message, so
// that the octets that came in can be served as they were.
//
// The package owns no I/O and no storage. It imports the standard library,
// golang.org/x/text and golang.org/x/net/html/charset only; in particular it
// must not import store, mailbox or any protocol package.
package message
