package httpapi

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"mallard/internal/address"
)

// A format of text that has a name in rules.
type pattern struct {
	match func(string) bool
	// message follows the name of the parameter; %s stands for the value.
	message string
	// schema is the regular expression for the OpenAPI document.
	schema string
}

const (
	uidListExpr  = `^\d+(,\d+)*$|^\d+:(\d+|\*)$`
	usernameExpr = `^[a-z0-9-]+(?:[._=:][a-z0-9-]+)*(?:@[a-z0-9-]+(?:[._=:][a-z0-9-]+)*)?$`
)

// patterns returns the named patterns.
func patterns() map[string]pattern {
	required := func(expr string) pattern {
		return pattern{
			match: regexp.MustCompile(expr).MatchString, schema: expr,
			message: `with value "%s" fails to match the required pattern: /` + expr + `/i`,
		}
	}
	return map[string]pattern{
		"uidlist":    required(uidListExpr),
		"attachment": required(`^ATT\d+$`),
		"username": {
			match: address.ValidUsername, schema: usernameExpr,
			message: `with value "%s" fails to match the username pattern`,
		},
		"mailboxpath": {
			match:   func(s string) bool { return !strings.Contains(s, "//") && !strings.HasSuffix(s, "/") },
			schema:  `^(?!.*(/{2,}|/$))`,
			message: `with value "%s" matches the inverted pattern: /\/{2,}|\/$/`,
		},
		"pgp": {
			match:   func(s string) bool { return strings.HasPrefix(s, "-----BEGIN PGP PUBLIC KEY BLOCK-----") },
			schema:  `^-----BEGIN PGP PUBLIC KEY BLOCK-----`,
			message: `with value "%s" fails to match the PGP key format pattern`,
		},
		"certificate": {
			match:   func(s string) bool { return strings.HasPrefix(s, "-----BEGIN CERTIFICATE-----") },
			schema:  `^-----BEGIN CERTIFICATE-----`,
			message: `with value "%s" fails to match the Certificate format pattern`,
		},
	}
}

// namedPatterns are the patterns of rules, compiled once.
var namedPatterns = patterns()

// checkPattern returns what is wrong with s, "" when it matches.
func checkPattern(name, s string) string {
	p, ok := namedPatterns[name]
	if !ok {
		panic("httpapi: there is no pattern " + name)
	}
	if p.match(s) {
		return ""
	}
	return strings.Replace(p.message, "%s", s, 1)
}

// validURI reports whether s is an absolute URI, with one of the schemes when
// any are given.
func validURI(s string, schemes []string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || strings.ContainsAny(s, " \"<>\\^`{|}") {
		return false
	}
	if len(schemes) > 0 {
		return slices.Contains(schemes, strings.ToLower(u.Scheme)) && u.Hostname() != ""
	}
	return u.Opaque != "" || u.Host != "" || u.Path != ""
}

func uriMessage(schemes []string) string {
	if len(schemes) == 0 {
		return "must be a valid uri"
	}
	return "must be a valid uri with a scheme matching the " + strings.Join(schemes, "|") + " pattern"
}

// validIP reports whether s is an IP address without prefix length or zone.
func validIP(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == ""
}
