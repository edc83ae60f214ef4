package config

import (
	"maps"
	"regexp"
	"strings"
	"time"

	"mallard/internal/redisconn"
)

// Cluster reports whether the configuration is that of a node of a cluster.
func (c *Config) Cluster() bool { return c.DBs.Mongo != "" }

// databases checks the keys of a cluster. What the URLs of MongoDB say besides the database is checked by who uses them.
func (p *check) databases(c *Config) {
	d := c.DBs
	switch none := d.Redis == nil || d.Redis == ""; {
	case c.Cluster() && none:
		p.bad("dbs.redis", "a cluster needs Redis, where its nodes tell each other of changes and count together: set redis in [dbs] to a URL such as \"redis://127.0.0.1:6379/3\", or to a table; without mongo in [dbs] mail is kept in the directory of [store]")
	case !c.Cluster() && !none:
		p.bad("dbs.redis", "it goes with mongo in [dbs]: set mongo to the URL of the main database such as \"mongodb://127.0.0.1:27017/wildduck\", or leave redis out to keep mail in the directory of [store]")
	}
	if c.Cluster() && d.Redis != nil && d.Redis != "" && !holdsRedacted(d.Redis) {
		p.redis(d.Redis)
	}
	if c.Cluster() {
		p.mongo("dbs.mongo", d.Mongo)
		for _, other := range []struct{ key, value string }{{"dbs.users", d.Users}, {"dbs.gridfs", d.GridFS}, {"dbs.sender", d.Sender}} {
			if strings.ContainsAny(other.value, ":/") { // else it is the name of a database
				p.mongo(other.key, other.value)
			}
		}
	}
	if least := 3*d.Timeout + d.Lease; d.DeadAfter != 0 && d.DeadAfter <= least {
		p.bad("dbs.deadAfter", "a node that waits for MongoDB would be taken for dead: this needs more than three times timeout and lease, %s; or 0 for six times timeout, at least 1m", time.Duration(least))
	}
	if c.Attachments.Bucket == "" {
		p.bad("attachments.bucket", "a name is needed")
	}
}

// mongo checks that a value is a URL of MongoDB and names a database. There may be several hosts, which net/url does not read.
func (p *check) mongo(key, value string) {
	scheme, rest, _ := strings.Cut(value, "://")
	if scheme != "mongodb" && scheme != "mongodb+srv" {
		p.bad(key, "this needs a URL such as \"mongodb://127.0.0.1:27017/wildduck\"")
		return
	}
	rest, _, _ = strings.Cut(rest, "?")
	if _, name, _ := strings.Cut(rest[strings.LastIndexByte(rest, '@')+1:], "/"); name == "" {
		p.bad(key, "the URL names no database: mongodb://host:port/NAME")
	}
}

// redis checks what the URL or the table of Redis says. An error of a member of the table stands on the line of that member
// where it has one, else on that of the table.
func (p *check) redis(value any) {
	const whole = "dbs.redis"
	err := redisconn.Check(value)
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) { // one for each member
		key, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if p.origin(key) == key && key != whole {
			key, text = whole, key+": "+text
		}
		p.bad(key, "%s", text)
	}
}

// urlPassword is the password in a URL. A password that is not encoded as it should be may
// hold nearly anything, so the last @ before the end of the hosts counts.
var urlPassword = regexp.MustCompile(`^([a-z0-9+]+://[^:@/]*:)(.*)(@[^@]*)$`)

// WithoutPassword returns a URL that can be shown.
func WithoutPassword(url string) string {
	return urlPassword.ReplaceAllString(url, "${1}"+redacted+"${3}")
}

// hide returns a value without its secrets.
func hide(secret string, value any) any {
	switch v := value.(type) {
	case string:
		switch {
		case v == "" || secret == "":
			return v
		case secret == "url":
			return WithoutPassword(v)
		}
		return redacted
	case map[string]any:
		out := maps.Clone(v)
		for name, member := range out {
			out[name] = hideMember(name, member)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = hide(secret, v[i])
		}
		return out
	}
	return value
}

// hideMember hides the members of a table that are secrets by their names.
func hideMember(name string, value any) any {
	lower := strings.ToLower(name)
	if strings.HasSuffix(lower, "password") || lower == "pass" || lower == "key" {
		return redacted
	}
	return hide("url", value)
}

// holdsRedacted reports whether a value, or a part of it, is what was printed instead of a
// secret.
func holdsRedacted(value any) bool {
	switch v := value.(type) {
	case string:
		return v == redacted || strings.Contains(v, ":"+redacted+"@")
	case map[string]any:
		for _, member := range v {
			if holdsRedacted(member) {
				return true
			}
		}
	case []any:
		for _, member := range v {
			if holdsRedacted(member) {
				return true
			}
		}
	}
	return false
}
