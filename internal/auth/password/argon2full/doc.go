// Package argon2full computes all of Argon2 (RFC 9106): the three types, versions 1.0 and 1.3, a secret and associated
// data. golang.org/x/crypto/argon2 offers Argon2i and Argon2id of version 1.3 alone, and is the faster one for those: it
// has assembly. This package is for the stored hashes that it cannot check.
//
// # What it owns
//
// The function, from parameters and a password to a key. It knows no text format and no policy: the caller bounds the
// memory and the work before it calls [Key]. It imports nothing of Mallard.
//
// # How it is done
//
// All lanes are computed by the goroutine of the caller, slice by slice, which gives the same key as one thread for each
// lane: within a slice a lane reads only what it wrote itself and what the others wrote in slices that are done. So one
// call takes one CPU, whatever the hash says, and a semaphore around it bounds the whole.
package argon2full
