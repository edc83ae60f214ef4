// Package logtest holds what a program under test logs, so that a test can read it meanwhile.
//
// It imports the standard library alone.
package logtest

import (
	"bytes"
	"sync"
)

// Buffer is a log that can be read while it is written. The zero value is an empty one.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *Buffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is what was written so far.
func (l *Buffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
