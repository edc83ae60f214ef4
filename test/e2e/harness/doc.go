//go:build e2e

// Package harness starts the built Mallard binary on free ports, stops it, kills it and starts it again, and runs
// the real mail programs that the end-to-end tests drive it with.
//
// It knows Mallard only from outside: the command line, the configuration file, HTTP, LMTP and IMAP. It must not
// import any package of the module but test/servers, which starts the databases and the peers.
//
// With MALLARD_E2E_DOVECOT=1 (root, Dovecot installed) the same tests run against a private Dovecot where that makes
// sense: a test that fails there too is wrong, not the server.
package harness
