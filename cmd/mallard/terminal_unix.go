//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal reports whether a person sits at the other end of f.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), getTermios)
	return err == nil
}

// withoutEcho runs f while the terminal does not show what is typed.
func withoutEcho(t *os.File, f func() error) error {
	fd := int(t.Fd())
	old, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return fmt.Errorf("read the settings of the terminal: %w", err)
	}
	hidden := *old
	hidden.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, setTermios, &hidden); err != nil {
		return fmt.Errorf("change the settings of the terminal: %w", err)
	}
	defer func() { _ = unix.IoctlSetTermios(fd, setTermios, old) }()
	return f()
}
