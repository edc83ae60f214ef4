package address

import (
	"strings"
	"unicode/utf8"
)

// IsWildcard reports whether an address holds an asterisk.
func IsWildcard(addr string) bool { return strings.Contains(addr, "*") }

// EmailOrWildcard reports whether s is an address, or has an asterisk in its
// local part, or is "local@*". It is the syntax that requests may use where
// wildcards can be meant; ValidWildcard says which wildcards can be stored.
func EmailOrWildcard(s string) bool {
	local, domain := Split(s)
	if domain == "*" {
		return utf8.ValidString(s) && validLocal(local)
	}
	return ValidEmail(s)
}

// ValidWildcard reports whether s, normalised, can be a wildcard row: "*@domain",
// "user@*", "prefix*@domain" or "*suffix@domain", with one asterisk in all and at
// most MaxWildcardPart characters beside it.
func ValidWildcard(s string) bool {
	local, domain := Split(s)
	if strings.Count(s, "*") != 1 {
		return false
	}
	if domain == "*" {
		return validLocal(local)
	}
	prefix, suffix, _ := strings.Cut(local, "*")
	if prefix != "" && suffix != "" {
		return false
	}
	part := strings.ReplaceAll(prefix+suffix, ".", "")
	return utf8.RuneCountInString(part) <= MaxWildcardPart && EmailOrWildcard(s)
}

// WildcardCandidates returns the views of all wildcard rows that match an
// address, best first: those of its own domain from the longest match to
// "*@domain", then those of the domain that it is an alias for ("" for none), then
// "local@*". local and domain are normalised, without label and dots. Where a
// prefix and a suffix rank the same the prefix is first. The list has at most
// 2*(2*MaxWildcardPart+1)+1 entries.
func WildcardCandidates(local, domain, aliasOf string) []string {
	if local == "" || IsWildcard(local) {
		return nil
	}
	out := make([]string, 0, 2*(2*MaxWildcardPart+1)+1)
	out = appendCandidates(out, local, domain)
	if aliasOf != "" {
		out = appendCandidates(out, local, aliasOf)
	}
	return append(out, View(local+"@*"))
}

// appendCandidates ranks by the length of the candidate without a leading
// asterisk: a prefix counts its asterisk, so it goes with the suffix that is one
// character longer.
func appendCandidates(out []string, local, domain string) []string {
	chars := []rune(local)
	n := min(len(chars), MaxWildcardPart)
	for rank := n + 1; rank >= 0; rank-- {
		if rank > 1 {
			out = append(out, string(chars[:rank-1])+"*@"+domain)
		}
		if rank <= n {
			out = append(out, "*"+string(chars[len(chars)-rank:])+"@"+domain)
		}
	}
	return out
}
