// Package auth decides who somebody is and what they may do: it checks passwords
// for all protocols with throttling, keeps access tokens of the HTTP API, and holds
// the table of roles.
//
// Finding the account for a login name is done by an interface (package account is
// one). The package imports mail, address, the contracts store and limit, and
// auth/password; no protocol and no engine. It never logs a password, a hash, a token
// or an unknown login name, which often enough is a password that was typed into the
// wrong field.
package auth
