//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package main

import "os"

// isTerminal answers no where echo cannot be switched off: then nothing is asked.
func isTerminal(*os.File) bool { return false }

func withoutEcho(_ *os.File, f func() error) error { return f() }
