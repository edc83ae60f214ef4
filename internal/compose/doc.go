// Package compose makes messages from their parts: addresses, a subject, text,
// HTML, attachments and further header fields become a message in the Internet
// Message Format with MIME (RFC 5322, RFC 2045 to 2047, RFC 2231).
//
// What goes in may come from anybody: no value can add a header field or a part
// that was not asked for. The package does no I/O but writing the result. It
// imports packages address and the standard library and must not import storage
// or a protocol.
package compose
