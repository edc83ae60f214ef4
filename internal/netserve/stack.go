package netserve

import "runtime/debug"

// stack returns the stack of the failing goroutine for the log.
func stack() string { return string(debug.Stack()) }
