// Package httpapi is the HTTP API, compatible with that of WildDuck to the
// field: routes, parameters, error texts, paging cursors and the event stream.
//
// It owns the wire format of the API and nothing below it: what a call does is
// done by the services that New is given. One table of typed routes (see Route)
// is the source of the handlers, of the validation of parameters and of the
// OpenAPI document at GET /openapi.json.
//
// The package imports the services below it (mailbox, account, auth, draft,
// compose), store for the registry and the journal, event and mail. It must not import
// a storage engine nor another protocol. Listening, TLS and the timeouts of
// connections are the caller's; see Options for what it should set.
package httpapi
