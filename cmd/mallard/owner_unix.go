//go:build unix

package main

import (
	"os"
	"syscall"
)

// ownerOf returns the user id that a file belongs to.
func ownerOf(name string) (uid uint32, ok bool) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return st.Uid, true
}
