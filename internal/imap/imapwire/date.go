package imapwire

import (
	"errors"
	"strings"
	"time"
)

// ErrDate is returned for text that is not a date of the form asked for.
var ErrDate = errors.New("imap: invalid date")

const months = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"

// ParseDate parses a search date such as 5-Oct-2026 (RFC 3501 section 9,
// date-text) as midnight UTC.
func ParseDate(s string) (time.Time, error) {
	day, rest, ok := cutNumber(s, 1, 2)
	if !ok {
		return time.Time{}, ErrDate
	}
	t, rest, err := parseMonthYear(rest, day)
	if err != nil || rest != "" {
		return time.Time{}, ErrDate
	}
	return t, nil
}

// ParseDateTime parses an INTERNALDATE such as "17-Jul-1996 02:44:25 -0700"
// without its quotes (RFC 3501 section 9, date-time). The day may be padded
// with a space, with a zero, or not at all. A leap second counts as second 59.
func ParseDateTime(s string) (time.Time, error) {
	day, rest, ok := cutNumber(strings.TrimPrefix(s, " "), 1, 2)
	if !ok {
		return time.Time{}, ErrDate
	}
	t, rest, err := parseMonthYear(rest, day)
	if err != nil || len(rest) != len(" 02:44:25 -0700") {
		return time.Time{}, ErrDate
	}
	hour, ok1 := twoDigits(rest[1:], 23)
	minute, ok2 := twoDigits(rest[4:], 59)
	second, ok3 := twoDigits(rest[7:], 60)
	zoneH, ok4 := twoDigits(rest[11:], 23)
	zoneM, ok5 := twoDigits(rest[13:], 59)
	sign := rest[10]
	if !(ok1 && ok2 && ok3 && ok4 && ok5) || rest[0] != ' ' || rest[3] != ':' || rest[6] != ':' ||
		rest[9] != ' ' || (sign != '+' && sign != '-') {
		return time.Time{}, ErrDate
	}
	offset := (zoneH*60 + zoneM) * 60
	if sign == '-' {
		offset = -offset
	}
	zone := time.UTC
	if offset != 0 {
		zone = time.FixedZone("", offset)
	}
	y, m, d := t.Date()
	return time.Date(y, m, d, hour, minute, min(second, 59), 0, zone), nil
}

// parseMonthYear reads "-Mon-yyyy".
func parseMonthYear(s string, day int) (time.Time, string, error) {
	if len(s) < len("-Jul-1996") || s[0] != '-' || s[4] != '-' {
		return time.Time{}, "", ErrDate
	}
	m := strings.Index(months, strings.ToUpper(s[1:4]))
	year, rest, ok := cutNumber(s[5:], 4, 4)
	if m < 0 || m%3 != 0 || !ok {
		return time.Time{}, "", ErrDate
	}
	t := time.Date(year, time.Month(m/3+1), day, 0, 0, 0, 0, time.UTC)
	if t.Day() != day {
		return time.Time{}, "", ErrDate
	}
	return t, rest, nil
}

// cutNumber reads a number of lo to hi digits.
func cutNumber(s string, lo, hi int) (n int, rest string, ok bool) {
	i := 0
	for i < len(s) && i < hi && isDigit(s[i]) {
		n = n*10 + int(s[i]-'0')
		i++
	}
	return n, s[i:], i >= lo
}

func twoDigits(s string, limit int) (int, bool) {
	n, _, ok := cutNumber(s, 2, 2)
	return n, ok && n <= limit
}

// AppendDateTime appends t, quoted, as INTERNALDATE wants it, in t's own time
// zone. Years outside 0 to 9999 are cut to that range; a zone with seconds
// loses them.
func AppendDateTime(dst []byte, t time.Time) []byte {
	if _, offset := t.Zone(); offset%60 != 0 || offset <= -86400 || offset >= 86400 {
		t = t.UTC()
	}
	switch y := t.Year(); {
	case y < 0:
		t = time.Date(0, time.January, 1, 0, 0, 0, 0, time.UTC)
	case y > 9999:
		t = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)
	}
	return t.AppendFormat(dst, `"02-Jan-2006 15:04:05 -0700"`)
}
