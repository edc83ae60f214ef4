package imapwire

import (
	"strconv"
	"strings"
	"time"
)

// Search is SEARCH and UID SEARCH (RFC 3501 section 6.4.4).
type Search struct {
	// Return is the result options, or nil when the command had none
	// (RFC 4731): the answer is then SEARCH instead of ESEARCH.
	Return *SearchReturn
	// Charset is in upper case, empty when the client named none. Strings
	// are UTF-8 already.
	Charset string
	// Key has Op [SearchAnd] when there were several keys.
	Key SearchKey
}

// SearchReturn is the result options of SEARCH and SORT. When all are unset
// the client sent RETURN (), which means ALL.
type SearchReturn struct {
	Min, Max, All, Count bool
	// Save keeps the result for "$" (RFC 5182).
	Save bool
	// Partial asks for a range of the result (RFC 9394), or is nil.
	Partial *ResultRange
}

// SearchOp is the operator of a [SearchKey].
type SearchOp uint8

// Search operators, with the fields of [SearchKey] that each one uses.
const (
	SearchAll     SearchOp = iota
	SearchAnd              // Keys, two or more
	SearchOr               // Keys, two or more
	SearchNot              // Keys, one
	SearchSeq              // Set of sequence numbers
	SearchUID              // Set of UIDs
	SearchKeyword          // Text: a flag, system flags with backslash

	SearchBcc     // Text
	SearchBody    // Text
	SearchCc      // Text
	SearchFrom    // Text
	SearchSubject // Text
	SearchText    // Text
	SearchTo      // Text
	SearchHeader  // Field, Text; an empty Text asks whether the field exists

	SearchBefore // Date
	SearchOn     // Date
	SearchSince  // Date

	SearchSentBefore // Date
	SearchSentOn     // Date
	SearchSentSince  // Date

	SearchSavedBefore       // Date (RFC 8514)
	SearchSavedOn           // Date (RFC 8514)
	SearchSavedSince        // Date (RFC 8514)
	SearchSaveDateSupported // (RFC 8514)

	SearchLarger   // Number of octets
	SearchSmaller  // Number of octets
	SearchOlder    // Number of seconds (RFC 5032)
	SearchYounger  // Number of seconds (RFC 5032)
	SearchModSeq   // Number; Field and Text hold entry name and type (RFC 7162)
	SearchEmailID  // Text (RFC 8474)
	SearchThreadID // Text (RFC 8474)
	searchOps      = iota
)

// searchNames is the wire name of each operator; empty where it is not a word
// with arguments of its own.
var searchNames = [searchOps]string{
	"ALL", "", "OR", "NOT", "", "UID", "KEYWORD",
	"BCC", "BODY", "CC", "FROM", "SUBJECT", "TEXT", "TO", "HEADER",
	"BEFORE", "ON", "SINCE", "SENTBEFORE", "SENTON", "SENTSINCE",
	"SAVEDBEFORE", "SAVEDON", "SAVEDSINCE", "SAVEDATESUPPORTED",
	"LARGER", "SMALLER", "OLDER", "YOUNGER", "MODSEQ", "EMAILID", "THREADID",
}

// SearchKey is a node of the tree of search criteria. UNSEEN is NOT KEYWORD
// \Seen, NEW is AND of \Recent and NOT \Seen, and so on, so that a server has
// few operators to map.
type SearchKey struct {
	Op SearchOp
	// Text is a search string in UTF-8, a flag, or an object id.
	Text string
	// Field is a header name, or the entry name of MODSEQ.
	Field  string
	Number uint64
	Set    NumSet
	// Date is midnight UTC of the day.
	Date time.Time
	Keys []SearchKey
}

// Append appends the key in wire form, with flags as KEYWORD or as the
// system flag's own word, and nested keys in parentheses.
func (k *SearchKey) Append(dst []byte) []byte {
	switch k.Op {
	case SearchAnd:
		return appendKeys(append(dst, '('), k.Keys, ")")
	case SearchOr:
		for i := range k.Keys {
			if i < len(k.Keys)-1 {
				dst = append(dst, "OR "...)
			}
			dst = k.Keys[i].Append(dst)
			if i < len(k.Keys)-1 {
				dst = append(dst, ' ')
			}
		}
		return dst
	case SearchNot:
		return appendKeys(append(dst, "NOT "...), k.Keys, "")
	case SearchSeq:
		return k.Set.Append(dst)
	case SearchKeyword:
		if name, ok := strings.CutPrefix(k.Text, `\`); ok {
			return append(dst, strings.ToUpper(name)...)
		}
	}
	dst = append(dst, searchNames[k.Op]...)
	switch k.Op {
	case SearchAll, SearchSaveDateSupported:
		return dst
	case SearchUID:
		return k.Set.Append(append(dst, ' '))
	case SearchHeader:
		dst = AppendAString(append(dst, ' '), k.Field)
	case SearchModSeq:
		if k.Field != "" {
			dst = AppendString(append(dst, ' '), k.Field, true)
			dst = append(append(dst, ' '), k.Text...)
		}
		return strconv.AppendUint(append(dst, ' '), k.Number, 10)
	case SearchLarger, SearchSmaller, SearchOlder, SearchYounger:
		return strconv.AppendUint(append(dst, ' '), k.Number, 10)
	case SearchKeyword, SearchEmailID, SearchThreadID:
		return append(append(dst, ' '), k.Text...)
	}
	if k.Op >= SearchBefore && k.Op <= SearchSavedSince {
		return k.Date.AppendFormat(append(dst, ' '), "2-Jan-2006")
	}
	return AppendString(append(dst, ' '), k.Text, true)
}

func appendKeys(dst []byte, keys []SearchKey, end string) []byte {
	for i := range keys {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = keys[i].Append(dst)
	}
	return append(dst, end...)
}

// String returns the key in wire form.
func (k *SearchKey) String() string { return string(k.Append(nil)) }

func (*Search) args() {}

func searchCommands() []Spec {
	return []Spec{
		{Name: "SEARCH", States: StateSelected, UID: UIDAllowed, parse: parseSearch},
	}
}
