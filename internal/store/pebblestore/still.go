package pebblestore

import "time"

const (
	// stillInterval is how long nothing must be written before the log is flushed.
	stillInterval = time.Second
	// flushFrom is how much must be in the log for that, in octets.
	flushFrom = 4 << 20
)

// flushStill writes what is in the log alone into tables whenever nothing more is
// being written: a store at rest is compressed, and starts at once after a crash.
func (s *Store) flushStill() {
	tick := time.NewTicker(stillInterval)
	defer tick.Stop()
	for before := int64(0); ; {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		logged := s.logged.Load()
		if logged >= flushFrom && logged == before && s.writable(false) == nil {
			s.logged.Add(-logged)
			if _, err := s.db.AsyncFlush(); err != nil {
				s.log.Error("flush the log of a store at rest", "err", err)
			}
			logged = 0
		}
		before = logged
	}
}
