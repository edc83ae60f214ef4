// Package bench drives any server that speaks LMTP and IMAP4rev1 and measures what it does: deliveries and
// appends per second, what it costs to read them back, how long a waiting session waits for news, and the disk
// and memory that it takes. Every byte that it reads back is compared with what was sent.
//
// It owns the corpus generator, a small LMTP client, a small streaming IMAP reader, the workloads, and the
// reports with their comparison. It is a client: it imports nothing of the mail store, so that a figure for
// Mallard and a figure for another server come from the same code. It never writes to standard output and never
// ends the process: callers print the Report that Run returns.
//
// The driver shares the machine with the server that it measures, so it does as little as it can: messages are
// made before the clock starts, nothing is allocated for a message while it runs, and what comes back is compared
// in place in the read buffer.
package bench
