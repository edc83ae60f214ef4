package config

import "strings"

// wildDuckHint says what to do with a key of WildDuck that Mallard does not have,
// or returns "". The keys are those below which nothing is known either.
func wildDuckHint(path string) string {
	for {
		if hint, ok := wildDuckKeys[path]; ok {
			return hint
		}
		i := strings.LastIndexByte(path, '.')
		if i < 0 {
			return ""
		}
		path = path[:i]
	}
}

const notYet = "what it is for is not there yet, see docs/known-differences.md; leave it out"

// wildDuckKeys are the keys of WildDuck that are unknown here.
var wildDuckKeys = map[string]string{
	"user":                   "start the server as the user that it is to run as, and give it its ports, for example with AmbientCapabilities=CAP_NET_BIND_SERVICE of systemd",
	"group":                  "start the server as the user that it is to run as",
	"ident":                  "the process is always called mallard; leave it out",
	"processes":              "one process uses all processors; leave it out",
	"strict2fa":              notYet,
	"resolver":               notYet,
	"enabledFeatureFlags":    "search needs no indexer; leave it out",
	"totp":                   notYet,
	"pwned":                  notYet,
	"webauthn":               notYet,
	"certs":                  "certificates are files, named in [tls]",
	"smtp":                   notYet,
	"webhooks":               notYet,
	"elasticsearch":          "search needs no other server; leave it out",
	"dbs.queued":             "nothing reads it; leave it out",
	"dbs.dbname":             "the name of the database is in the URL of mongo",
	"pop3":                   notYet,
	"sender":                 notYet,
	"dkim":                   notYet,
	"acme":                   "get certificates with another program, name the files in [tls], and send SIGHUP when they are new",
	"plugins":                notYet,
	"migrations":             "a store is brought up to date when it is opened; leave it out",
	"log.skipFetchLog":       "FETCH is not logged; leave it out",
	"log.updateStream":       "calls are logged when they end; leave it out",
	"log.gelf":               "the log goes to standard error; use format = \"json\" in [log] and a program that forwards it",
	"imap.retention":         notYet,
	"imap.enableCompression": notYet,
	"imap.ignoredHosts":      "connections without a login are not logged; leave it out",
	"imap.quotes":            "LOGOUT is answered without quotes; leave it out",
	"imap.aps":               notYet,
	"imap.setup":             notYet,
	"imap.tls.ca":            "put the chain into the file of cert, after the certificate",
	"imap.tls.dhparam":       "it is not needed; leave it out",
	"lmtp.tls.ca":            "put the chain into the file of cert, after the certificate",
	"lmtp.tls.dhparam":       "it is not needed; leave it out",
	"api.tls.ca":             "put the chain into the file of cert, after the certificate",
	"api.tls.dhparam":        "it is not needed; leave it out",
	"tls.ca":                 "put the chain into the file of cert, after the certificate",
	"tls.dhparam":            "it is not needed; leave it out",
	"tls.ciphers":            "ciphers are those that are good; set minVersion for a least version of TLS",
	"tls.secureProtocol":     "use minVersion",
	"tls.secureOptions":      "use minVersion",
	"api.metrics":            notYet,
	"api.roles":              "roles are built in; leave it out",
	"api.mobileconfig":       notYet,

	"imap.maxCompressionInflateBytes":           notYet,
	"imap.interface.maxCompressionInflateBytes": notYet,
}
