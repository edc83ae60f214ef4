// Package pebblestore is the embedded storage engine: a directory with a Pebble
// database, in which everything but large content lives, and a tree of files for
// large content, named by hash.
//
// It owns the layout of keys and values (docs/format/pebble-keys.md), the order
// of writes that makes changes atomic and durable, and everything that finds and
// removes garbage. It knows nothing of protocols or of parsing: what it stores of
// a message comes encoded in store.Content.
//
// Only internal/node, tests and tools of the operator import it.
package pebblestore
