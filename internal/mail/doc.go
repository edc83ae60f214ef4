// Package mail is Mallard's vocabulary: identifiers, UIDs, mod-sequences,
// flags, mailbox names, accounts and errors with a code.
//
// Every other package may import it. It imports the standard library only and
// does no I/O, so that a type here means the same thing in every protocol and
// in every storage engine.
package mail
