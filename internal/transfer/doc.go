// Package transfer reads and writes mail as other programs keep it in files:
// Maildir, Maildir++ and nested Maildirs, and mbox in its kinds. It turns them
// into messages with mailbox, flags and date, and back.
//
// It owns the formats and the record of an interrupted import. It knows neither
// store nor server, and imports package mail and the standard library, and the
// decompressors for archived mail.
package transfer
