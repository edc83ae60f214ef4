// Package control is how the operator's commands speak to the mail store: HTTP on
// a socket in the directory of the store, or in the process of the command itself
// when no server runs. One code serves both cases.
//
// Behind the socket is the whole HTTP API with the role of root, and routes below
// /_control/ for what the API lacks: appending and reading whole mailboxes as a
// stream with flags and dates, and checking the store. The file mode of the
// socket is the only access control: who may read the store may command it.
//
// The package holds both ends, so that their wire format is in one place. It is
// at the level of a protocol: it must not import another protocol or an engine.
package control
