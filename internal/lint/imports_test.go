package lint

import (
	"slices"
	"strings"
	"testing"
)

// layer is a set of packages that stand on the same level. A package may import
// packages of its own layer only where the layer says so, and those below.
type layer struct {
	name     string
	packages []string
	sideways bool // packages of the layer may import each other
}

// layers lists them from top to bottom, as docs/architecture.md shows them.
func layers() []layer {
	return []layer{
		{name: "command", packages: []string{"cmd/mallard"}},
		{name: "load", packages: []string{"internal/bench"}, sideways: true},
		{name: "composition", packages: []string{"internal/node"}},
		{name: "protocols", packages: []string{"internal/imap", "internal/lmtp", "internal/httpapi", "internal/control"}},
		{name: "wire formats and clients", packages: []string{
			"internal/imap/imapclient", "internal/imap/imapwire", "internal/lmtpclient", "internal/compose", "internal/transfer", "internal/netserve", "internal/tlsconf", "internal/demo", "internal/config",
		}, sideways: true},
		{name: "services", packages: []string{"internal/delivery", "internal/mailbox", "internal/auth", "internal/account", "internal/migrate", "internal/inspect"}, sideways: true},
		{name: "intake", packages: []string{"internal/draft"}},
		{name: "implementations between nodes", packages: []string{"internal/event/redisbus"}},
		{name: "implementations", packages: []string{
			"internal/store/pebblestore", "internal/store/memstore", "internal/store/mongostore", "internal/store/redisrecord", "internal/store/rediscounts", "internal/event/membus", "internal/limit/memlimit", "internal/limit/redislimit", "internal/lock/redislock", "internal/auth/password",
		}},
		{name: "documents and caches", packages: []string{"internal/store/mongostore/mimetree", "internal/store/mongostore/hotcache"}},
		{name: "connections", packages: []string{"internal/redisconn"}},
		{name: "contracts", packages: []string{"internal/store", "internal/event", "internal/limit"}},
		{name: "pure", packages: []string{"internal/message", "internal/search", "internal/address", "internal/auth/password/argon2full"}},
		{name: "vocabulary", packages: []string{"internal/mail", "internal/batch", "internal/expiring"}},
	}
}

// testOnly are packages that only tests import.
func testOnly(pkg string) bool {
	return strings.HasSuffix(pkg, "test") || strings.HasPrefix(pkg, "test/") || pkg == "internal/lint" || strings.HasPrefix(pkg, "internal/testserver")
}

// implementers may import an engine or a bus by name; everybody else goes through
// a contract, so that a second engine needs no change above it.
func implementers() []string { return []string{"internal/node"} }

// builtUpon reports whether an implementation may import another one because it is that one and more.
func builtUpon(pkg, dep string) bool {
	return pkg == "internal/event/redisbus" && dep == "internal/event/membus"
}

func TestImportsGoDown(t *testing.T) {
	rank := map[string]int{}
	for i, l := range layers() {
		for _, p := range l.packages {
			rank[p] = i
		}
	}
	all := layers()
	for _, p := range load(t) {
		if testOnly(p.dir) {
			continue
		}
		from, ok := rank[p.dir]
		if !ok {
			t.Errorf("%s is in no layer: add it to internal/lint and to docs/architecture.md", p.dir)
			continue
		}
		for _, imp := range p.imports {
			dep, internal := strings.CutPrefix(imp, "mallard/")
			if !internal {
				continue
			}
			to, ok := rank[dep]
			switch {
			case testOnly(dep):
				t.Errorf("%s imports %s, which is for tests", p.dir, dep)
			case !ok:
				t.Errorf("%s imports %s, which is in no layer", p.dir, dep)
			case to < from:
				t.Errorf("%s (%s) imports %s (%s): imports go down the layers only, or a change at the top reaches the bottom", p.dir, all[from].name, dep, all[to].name)
			case to == from && !all[to].sideways:
				t.Errorf("%s imports %s: %s do not import each other; what they share belongs below them", p.dir, dep, all[to].name)
			case strings.HasPrefix(all[to].name, "implementations") && !slices.Contains(implementers(), p.dir) && !builtUpon(p.dir, dep) && dep != "internal/auth/password":
				t.Errorf("%s imports %s: only internal/node knows engines and buses by name; use the contract", p.dir, dep)
			}
		}
	}
}

// forbidden says who alone may import a module, with the reason.
func forbidden() map[string]struct {
	only []string
	why  string
} {
	type rule = struct {
		only []string
		why  string
	}
	return map[string]rule{
		"github.com/cockroachdb/pebble":   {[]string{"internal/store/pebblestore"}, "the embedded engine's library stays behind the storage contract"},
		"go.mongodb.org/mongo-driver":     {[]string{"internal/store/mongostore", "internal/store/mongostore/mimetree"}, "documents stay behind the storage contract"},
		"github.com/redis/go-redis":       {[]string{"internal/redisconn", "internal/event/redisbus", "internal/limit/redislimit", "internal/lock/redislock", "internal/store/rediscounts", "internal/store/redisrecord"}, "keys stay behind the contracts"},
		"github.com/alecthomas/kong":      {[]string{"cmd/mallard"}, "the command line is no business of the packages"},
		"github.com/emersion/go-smtp":     {[]string{"internal/lmtpclient"}, "the server is our own; the library is for sending"},
		"github.com/emersion/go-message":  {nil, "it refuses damaged mail; tests use it as an oracle"},
		"github.com/pelletier/go-toml":    {[]string{"internal/config"}, "configuration is read in one place"},
		"golang.org/x/crypto/bcrypt":      {[]string{"internal/auth/password"}, "passwords are hashed in one place"},
		"unsafe":                          {[]string{"internal/message"}, "only the parser views octets as text, in one function"},
		"reflect":                         {[]string{"internal/config", "internal/httpapi"}, "types are known; these two read struct tags"},
		"math/rand":                       {[]string{"internal/bench"}, "what is random here must not be guessed; use crypto/rand"},
		"log/syslog":                      {nil, "use log/slog with the logger that was passed in"},
		"io/ioutil":                       {nil, "use io and os"},
		"github.com/stretchr/testify":     {nil, "tests say in Go what they expect"},
		"github.com/hashicorp/golang-lru": {nil, "MPL-2.0; linked code is under permissive licences"},
	}
}

func TestForbiddenImports(t *testing.T) {
	for _, p := range load(t) {
		if testOnly(p.dir) {
			continue
		}
		for _, imp := range p.imports {
			for mod, rule := range forbidden() {
				if imp != mod && !strings.HasPrefix(imp, mod+"/") || slices.Contains(rule.only, p.dir) {
					continue
				}
				t.Errorf("%s imports %s: %s", p.dir, imp, rule.why)
			}
		}
	}
}

// The vocabulary must stay usable everywhere.
func TestVocabularyImportsStandardLibraryOnly(t *testing.T) {
	for _, p := range load(t) {
		if p.dir != "internal/mail" {
			continue
		}
		for _, imp := range p.imports {
			if strings.Contains(imp, ".") || strings.HasPrefix(imp, "mallard/") {
				t.Errorf("internal/mail imports %s: it uses the standard library only", imp)
			}
			if imp == "os" || imp == "net" || strings.HasPrefix(imp, "net/") {
				t.Errorf("internal/mail imports %s: it does no I/O", imp)
			}
		}
	}
}
