//go:build !unix

package pebblestore

// lockForReading does nothing: here no lock keeps others from a file that they may read.
func lockForReading(uintptr) error { return nil }
