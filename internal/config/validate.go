package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// redacted is printed in place of a secret.
const redacted = "[redacted]"

// check collects what is wrong; origin says where a key was set.
type check struct {
	origin   func(key string) string
	problems []error
}

func (p *check) bad(key, format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf("%s: %s", p.origin(key), fmt.Sprintf(format, args...)))
}

// validate checks values; origin says where a key was set.
func (c *Config) validate(origin func(key string) string) error {
	p := &check{origin: origin}
	for _, k := range c.keys() {
		p.value(k)
	}
	p.addresses(c)
	p.tls(c)
	p.access(c)
	p.databases(c)
	if c.Store.Path == "" {
		p.bad("store.path", "a directory is needed")
	}
	p.lineLength("imap", c.IMAP.Interface)
	for i, l := range c.IMAP.Interfaces {
		if l.MaxLineLength != 0 {
			p.lineLength(fmt.Sprintf("%s.%d", interfaceTable, i+1), l)
		}
	}
	if a := c.API.AccessControl; a.TokenTTL > a.TokenLifetime {
		p.bad("api.accessControl.tokenTTL", "%d is more than api.accessControl.tokenLifetime, %d", a.TokenTTL, a.TokenLifetime)
	}
	for _, l := range c.ports() {
		if _, err := l.Proxies(); err != nil {
			p.bad(l.key+".useProxy", "%v, such as 192.0.2.10 or 198.51.100.0/24", err)
		}
	}
	for _, text := range c.Auth.IPExempt {
		if _, err := ParsePrefix(text); err != nil {
			p.bad("auth.ipExempt", "%q is not an address such as 192.0.2.1 or a network such as 192.0.2.0/24", text)
		}
	}
	return errors.Join(p.problems...)
}

// lineLength refuses lines that are too short for what clients send.
func (p *check) lineLength(table string, l Interface) {
	if l.MaxLineLength < 1024 {
		p.bad(table+".maxLineLength", "%d is out of range; use 1024 to 16777216", l.MaxLineLength)
	}
}

// value checks one key by its tags.
func (p *check) value(k key) {
	if allow := k.field.Tag.Get("allow"); allow != "" && !slices.Contains(strings.Split(allow, ","), k.value.String()) {
		p.bad(k.path, "%q is not allowed; use one of %s", k.value.String(), strings.ReplaceAll(allow, ",", ", "))
	}
	if k.field.Tag.Get("secret") != "" && holdsRedacted(k.value.Interface()) {
		p.bad(k.path, "%s stands for a secret that `mallard config print` did not show: write the secret here, or print with --secrets", redacted)
	}
	low, high, ok := strings.Cut(k.field.Tag.Get("range"), "..")
	if !ok {
		return
	}
	if _, ok := k.value.Interface().(Duration); ok {
		least, err1 := time.ParseDuration(low)
		greatest, err2 := time.ParseDuration(high)
		if d := time.Duration(k.value.Int()); err1 != nil || err2 != nil || d < least || d > greatest {
			p.bad(k.path, "%s is out of range; use %s to %s", d, low, high)
		}
		return
	}
	least, err1 := strconv.ParseInt(low, 10, 64)
	greatest, err2 := strconv.ParseInt(high, 10, 64)
	switch n := k.value.Int(); {
	case err1 == nil && err2 == nil && n >= least && n <= greatest:
	case k.field.Tag.Get("toml") == "port":
		p.bad(k.path, "%d is not a port; use 0 to 65535, 0 for any free one", n)
	default:
		p.bad(k.path, "%d is out of range; use %s to %s", n, low, high)
	}
}

// port is a port that is listened on.
type port struct {
	key string // of its table
	Listener
}

// ports lists the ports of all services that are enabled.
func (c *Config) ports() []port {
	all := []port{{"lmtp", c.LMTP.Listener}, {"api", c.API.Listener}}
	if c.IMAP.Enabled {
		all = append(all, port{"imap", c.IMAP.Listener})
		for i, l := range c.IMAP.Interfaces {
			all = append(all, port{fmt.Sprintf("%s.%d", interfaceTable, i+1), l.Listener})
		}
	}
	return slices.DeleteFunc(all, func(p port) bool { return !p.Enabled })
}

// addresses finds services that want the same port.
func (p *check) addresses(c *Config) {
	taken := make(map[string]string)
	for _, l := range c.ports() {
		addr := net.JoinHostPort(l.Host, strconv.Itoa(l.Port))
		other, found := taken[addr]
		if found && l.Port != 0 {
			p.bad(l.key+".port", "%s is also the address of %s; give one of them another port", addr, other)
		}
		taken[addr] = l.key
	}
}

// tls checks certificates.
func (p *check) tls(c *Config) {
	for _, t := range []struct{ table, key, cert string }{
		{"tls", c.TLS.Key, c.TLS.Cert}, {"imap.tls", c.IMAP.TLS.Key, c.IMAP.TLS.Cert},
		{"lmtp.tls", c.LMTP.TLS.Key, c.LMTP.TLS.Cert}, {"api.tls", c.API.TLS.Key, c.API.TLS.Cert},
	} {
		switch {
		case t.key != "" && t.cert == "":
			p.bad(t.table+".key", "%s.key and %s.cert go together: set both or none", t.table, t.table)
		case t.key == "" && t.cert != "":
			p.bad(t.table+".cert", "%s.key and %s.cert go together: set both or none", t.table, t.table)
		}
	}
	both := func(table string, secure, secured bool) {
		if secure && secured {
			p.bad(table+".secured", "either this server does TLS (secure) or something in front of it (secured)")
		}
	}
	both("imap", c.IMAP.Secure, c.IMAP.Secured)
	both("lmtp", c.LMTP.Secure, c.LMTP.Secured)
	for i, l := range c.IMAP.Interfaces {
		both(fmt.Sprintf("%s.%d", interfaceTable, i+1), l.Secure, l.Secured)
	}
}

// access refuses what would give everybody everything.
func (p *check) access(c *Config) {
	if a := c.API; a.Enabled && !Loopback(a.Host) && !c.NeedsToken() {
		p.bad("api.host", "%q can be reached from other machines, and without a token whoever reaches the API can read and delete all mail: set accessToken in [api] or enabled in [api.accessControl], or listen on 127.0.0.1", a.Host)
	}
	if c.Debug.Profile == "" {
		return
	}
	if host, _, err := net.SplitHostPort(c.Debug.Profile); err != nil || !Loopback(host) {
		p.bad("debug.profile", "%q is not a host and port on loopback, such as 127.0.0.1:6060", c.Debug.Profile)
	}
}

// NeedsToken reports whether calls of the HTTP API need an access token.
func (c *Config) NeedsToken() bool { return c.API.AccessToken != "" || c.API.AccessControl.Enabled }

// Loopback reports whether a host to listen on can only be reached from this
// machine. A name other than localhost counts as one that can be reached.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// ParsePrefix reads a network, or an address as a network of its own.
func ParsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not an address or a network", text)
	}
	return p.Masked(), nil
}

// Proxies are the networks from which connections begin with a PROXY header.
func (l Listener) Proxies() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range l.UseProxy {
		if text == everywhere {
			out = append(out, netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0))
			continue
		}
		p, err := ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// everywhere stands for all addresses in a list of proxies.
const everywhere = "*"

// Warnings tells what is allowed and probably not meant, for the log of a server.
func (c *Config) Warnings() []string {
	var out []string
	warn := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, l := range c.ports() {
		if Loopback(l.Host) {
			continue
		}
		addr := net.JoinHostPort(l.Host, strconv.Itoa(l.Port))
		if slices.Contains(l.UseProxy, everywhere) {
			warn("%s: whoever reaches %s can pretend to have any address, this machine's included, and so log in without TLS and guess passwords without limits: name the proxies in useProxy", l.key, addr)
		}
		switch {
		case l.key == "lmtp":
			warn("lmtp: whoever reaches %s can deliver mail without a password: let only your mail servers reach it", addr)
		case l.key == "api" && !l.Secure:
			warn("api: tokens and mail cross the network readable for everybody on the way to %s: set secure in [api], or put a TLS proxy in front", addr)
		}
	}
	c.warnIMAP(c.IMAP.Interface, "imap", warn)
	for i, l := range c.IMAP.Interfaces {
		c.warnIMAP(l, fmt.Sprintf("%s.%d", interfaceTable, i+1), warn)
	}
	if c.API.Enabled && !c.NeedsToken() && slices.Contains(c.API.CORS.Origins, "*") {
		warn("api.cors: every web page that a browser on this machine shows can read and delete all mail: name the origins, or set accessToken in [api]")
	}
	return out
}

func (c *Config) warnIMAP(l Interface, table string, warn func(format string, args ...any)) {
	if !c.IMAP.Enabled || !l.Enabled || l.Secure || l.Secured || Loopback(l.Host) {
		return
	}
	addr := net.JoinHostPort(l.Host, strconv.Itoa(l.Port))
	switch {
	case l.IgnoreSTARTTLS:
		warn("%s: passwords and mail cross the network readable for everybody on the way to %s: take ignoreSTARTTLS away, or set secured when a TLS proxy is in front", table, addr)
	case l.DisableSTARTTLS:
		warn("%s: nobody can log in on %s from another machine, for there is no TLS: take disableSTARTTLS away or set secure", table, addr)
	}
}
