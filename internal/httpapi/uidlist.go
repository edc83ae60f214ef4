package httpapi

import (
	"math"
	"strconv"
	"strings"

	"mallard/internal/mail"
)

// UIDList is a list of UIDs: 1 or 1,2,3 or 1:5 or 1:*.
type UIDList struct{ Set mail.UIDSet }

func (l *UIDList) decodeParam(d *decoder, at place, _ *rules, v any) {
	if n, ok := v.(number); ok {
		v = string(n)
	}
	s, good := d.str(at, &rules{pattern: "uidlist"}, v)
	if good {
		l.Set = parseUIDList(s)
	}
}

func (l *UIDList) paramSchema() schema {
	return schema{"type": "string", "pattern": uidListExpr, "examples": []string{"1", "1,2", "1:5", "1:*"}}
}

// parseUIDList reads a list that has the right form. Numbers beyond the range of
// UIDs name no message.
func parseUIDList(s string) mail.UIDSet {
	if from, to, isRange := strings.Cut(s, ":"); isRange {
		first, last := parseUID(from), mail.UID(math.MaxUint32)
		if to != "*" {
			last = parseUID(to)
		}
		if first > last {
			first, last = last, first
		}
		if last == 0 {
			return mail.UIDSet{}
		}
		return mail.UIDSet{{First: max(first, 1), Last: last}}
	}
	var ranges []mail.UIDRange
	for part := range strings.SplitSeq(s, ",") {
		if u := parseUID(part); u > 0 {
			ranges = append(ranges, mail.UIDRange{First: u, Last: u})
		}
	}
	if ranges == nil {
		return mail.UIDSet{} // not nil, which would be all messages
	}
	return mail.NormalizeUIDs(ranges)
}

func parseUID(s string) mail.UID {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return mail.UID(n)
}
