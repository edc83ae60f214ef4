// Package account keeps users, their addresses and their limits: what is needed
// to make an account, to change it, to find it by a name and to find who a
// message is for.
//
// It owns the rules for data of accounts and addresses (normal forms, default
// mailboxes, main address, limits) and the run-time settings that limits fall back
// to. Mailboxes and messages belong to package mailbox, checking credentials to
// package auth. It must not import a protocol, an engine, mailbox or auth.
package account
