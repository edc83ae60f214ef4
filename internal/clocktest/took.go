// Package clocktest measures time on a machine that is busy with others.
//
// It imports the standard library alone. Only tests import it.
package clocktest

import "time"

// Took is how long f took, without the time in which the machine was busy with others: a clock beside it shows how much later
// than asked for a goroutine of this process went on. Who waits for something that does not come has no part in that.
func Took(f func()) time.Duration {
	const tick = time.Millisecond
	stop, lost := make(chan struct{}), make(chan time.Duration)
	go func() {
		var sum time.Duration
		for {
			last := time.Now()
			select {
			case <-stop:
				lost <- sum
				return
			case <-time.After(tick):
			}
			if late := time.Since(last) - tick; late > tick {
				sum += late
			}
		}
	}()
	start := time.Now()
	f()
	took := time.Since(start)
	close(stop)
	return took - <-lost
}
