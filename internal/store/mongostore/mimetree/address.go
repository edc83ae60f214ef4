package mimetree

import (
	"strings"

	"golang.org/x/net/idna"

	"mallard/internal/message"
)

// address is an address, or a group when isGroup is set.
type address struct {
	address, name string
	isGroup       bool
	group         []address
}

// parseAddresses reads an address list. Names are not decoded.
func parseAddresses(s string) []address {
	if s == "" {
		return nil
	}
	var out []address
	var group *address
	for _, a := range message.ParseAddressList([]byte(s)) {
		switch a.Kind {
		case message.GroupStart:
			out = append(out, address{name: a.Name, isGroup: true})
			group = &out[len(out)-1]
			continue
		case message.GroupEnd:
			group = nil
			continue
		}
		one := address{address: addressOf(a), name: a.Name}
		if group != nil {
			group.group = append(group.group, one)
		} else {
			out = append(out, one)
		}
	}
	return out
}

// addressOf is the address alone.
func addressOf(a message.Address) string {
	if a.Host == "" {
		return a.Mailbox
	}
	return a.Mailbox + "@" + a.Host
}

// userAndDomain splits an address as envelopes have it: before the first @ and after the last one.
func userAndDomain(addr string) (user, domain string) {
	user, domain = addr, addr
	if i := strings.IndexByte(addr, '@'); i >= 0 {
		user = addr[:i]
	}
	if i := strings.LastIndexByte(addr, '@'); i >= 0 {
		domain = addr[i+1:]
	}
	return user, unicodeDomain(domain)
}

// unicodeDomain decodes the labels that begin with xn--.
func unicodeDomain(domain string) string {
	if !strings.Contains(domain, "xn--") {
		return domain
	}
	labels := strings.Split(domain, ".")
	for i, l := range labels {
		if !strings.HasPrefix(l, "xn--") {
			continue
		}
		if u, err := idna.Punycode.ToUnicode(l); err == nil {
			labels[i] = u
		}
	}
	return strings.Join(labels, ".")
}
