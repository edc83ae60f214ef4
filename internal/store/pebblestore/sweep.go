package pebblestore

// suspect notes content that may be garbage.
func (s *Store) suspect(h ...hash) {
	if len(h) > 0 {
		s.wakeSweeper()
	}
}

func (s *Store) wakeSweeper() {
	select {
	case s.sweeps <- struct{}{}:
	default:
	}
}

func (s *Store) maintain() { <-s.stop }
