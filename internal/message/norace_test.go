//go:build !race

package message

// raceFactor is how many times more everything costs with the race detector.
const raceFactor = 1
