package bench

import "time"

// A batch of reads spares the driver, and so the machine, a wake-up for every few kilobytes of a long answer: as long
// as much more than batchSize is to come, the reader is woken once for each batchSize octets.
type batch struct {
	c      *imapConn
	coming int64 // octets that a server which has lost nothing has still to send
	limit  *time.Timer
}

const (
	batchSize = 64 << 10
	// A server that sends less than it should, and waits, is heard after this time.
	batchTime = 2 * time.Second
)

// batch begins one for an answer of so many octets at least.
func (c *imapConn) batch(coming int64) *batch {
	b := &batch{c: c, coming: coming}
	if coming > 4*readBuffer {
		batchReads(c.conn, batchSize)
		b.limit = time.AfterFunc(batchTime, func() { batchReads(c.conn, 1) })
	}
	return b
}

// got takes note of octets that have come, or are about to.
func (b *batch) got(octets int) {
	b.coming -= int64(octets)
	if b.coming < 2*readBuffer {
		b.end()
	}
}

// end makes reads ordinary ones again.
func (b *batch) end() {
	if b.limit != nil {
		b.limit.Stop()
		b.limit = nil
		batchReads(b.c.conn, 1)
	}
}
