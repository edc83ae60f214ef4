//go:build !linux

package node

// machineMemory is not known here.
func machineMemory() int64 { return 0 }
