package draft

import "strings"

// trimBrackets removes the angle brackets of a message id.
func trimBrackets(id string) string {
	return strings.Trim(strings.TrimSpace(id), "<>")
}

// lowerASCII lowers a token of a header.
func lowerASCII(s string) string { return strings.ToLower(s) }
