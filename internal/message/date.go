package message

import (
	"strings"
	"time"
)

// maxDate is how much of a date is looked at, in octets.
const maxDate = 160

// ParseDate reads a Date field: RFC 5322 3.3 with its obsolete forms, and what
// mailers write instead (asctime, RFC 850, ISO 8601, missing or named zones,
// missing seconds, AM and PM). Without a zone the time is UTC. ok is false if
// there is no date in s.
func ParseDate(s string) (t time.Time, ok bool) {
	var d dateParser
	d.hour = -1
	s = joinClock(stripComments(s[:min(len(s), maxDate)]))
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool {
		return r == ',' || r == ' ' || r == '\t' || r == '\r' || r == '\n' || r == '"'
	}) {
		d.word(word)
	}
	return d.time()
}

func stripComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var b strings.Builder
	for s != "" {
		if s[0] == '(' {
			_, s = comment(s)
			b.WriteByte(' ')
			continue
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}

// joinClock removes the white space around colons that the obsolete syntax
// allows (RFC 5322 4.3).
func joinClock(s string) string {
	if strings.IndexByte(s, ':') < 0 || !strings.Contains(s, " :") && !strings.Contains(s, ": ") {
		return s
	}
	parts := strings.Split(s, ":")
	for i := range parts {
		if i > 0 {
			parts[i] = strings.TrimLeft(parts[i], " \t")
		}
		if i < len(parts)-1 {
			parts[i] = strings.TrimRight(parts[i], " \t")
		}
	}
	return strings.Join(parts, ":")
}

// dateParser collects what the words of a date say.
type dateParser struct {
	day, month, year  int
	hour, minute, sec int
	pm, am, hasYear   bool
	zone              int // seconds east of UTC
	hasZone           bool
}

func (d *dateParser) word(w string) {
	colon := strings.IndexByte(w, ':')
	switch c := w[0]; {
	case colon > 0 && c >= '0' && c <= '9' && strings.IndexByte(w[:colon], '-') < 0:
		d.clock(w)
	case (c == '+' || c == '-') && len(w) > 1:
		d.offset(w)
	case c >= '0' && c <= '9':
		d.number(w)
	default:
		d.name(w)
	}
}

// number takes a day, a year, or a date in one word.
func (d *dateParser) number(w string) {
	if sep := strings.IndexAny(w, "-/."); sep > 0 {
		if t := strings.IndexByte(w, 'T'); t > sep && t+1 < len(w) {
			d.dashed(w[:t])
			d.word(w[t+1:])
			return
		}
		d.dashed(w)
		return
	}
	n, digits := leadingInt(w)
	switch {
	case digits == 8 && digits == len(w) && d.day == 0 && !d.hasYear: // 20060102
		d.year, d.month, d.day, d.hasYear = n/10000, n/100%100, n%100, true
	case digits >= 3 && digits <= 4:
		d.setYear(n, digits)
	case d.day == 0 && n >= 1 && n <= 31:
		d.day = n
	case digits == 2:
		d.setYear(n, digits)
	}
}

// dashed takes 2006-01-02 or 02-Jan-2006.
func (d *dateParser) dashed(w string) {
	parts := strings.FieldsFunc(w, func(r rune) bool { return r == '-' || r == '/' || r == '.' })
	if len(parts) != 3 {
		return
	}
	first, n := leadingInt(parts[0])
	last, m := leadingInt(parts[2])
	month, k := leadingInt(parts[1])
	if k == 0 {
		month = monthByName(parts[1])
	}
	switch {
	case month < 1 || month > 12:
	case n == 4:
		d.year, d.month, d.day, d.hasYear = first, month, last, true
	case k == 0:
		d.day, d.month = first, month
		d.setYear(last, m)
	}
}

// setYear takes a year of so many digits (RFC 5322 4.3).
func (d *dateParser) setYear(n, digits int) {
	if d.hasYear {
		return
	}
	switch {
	case digits == 2 && n < 50:
		n += 2000
	case digits <= 3:
		n += 1900
	}
	d.year, d.hasYear = n, true
}

// clock takes 15:04[:05[.000]] with what may follow directly: Z, an offset, AM
// or PM.
func (d *dateParser) clock(w string) {
	if d.hour >= 0 {
		return
	}
	var n [3]int
	i := 0
	for ; i < 3; i++ {
		v, digits := leadingInt(w)
		if digits == 0 || digits > 2 {
			break
		}
		n[i] = v
		w = w[digits:]
		if w == "" || w[0] != ':' && w[0] != '.' {
			i++
			break
		}
		w = w[1:]
	}
	if i < 2 {
		return
	}
	d.hour, d.minute, d.sec = n[0], n[1], n[2]
	for w != "" && (w[0] >= '0' && w[0] <= '9' || w[0] == '.') {
		w = w[1:]
	}
	if w != "" {
		d.word(w)
	}
}

// offset takes +0200, +02:00 or +02.
func (d *dateParser) offset(w string) {
	if d.hasZone || d.hour < 0 {
		return
	}
	n, digits := leadingInt(w[1:])
	switch {
	case digits == 4 || digits == 3:
		n = n/100*60 + n%100
	case digits == 2 || digits == 1:
		n *= 60
		if rest := w[1+digits:]; len(rest) > 1 && rest[0] == ':' {
			m, _ := leadingInt(rest[1:])
			n += m
		}
	default:
		return
	}
	if n > 24*60 {
		n = 0 // nonsense says as much as none
	}
	if w[0] == '-' {
		n = -n
	}
	d.zone, d.hasZone = n*60, true
}

func (d *dateParser) name(w string) {
	if m := monthByName(w); m > 0 && d.month == 0 {
		d.month = m
		return
	}
	u := upper(w)
	switch u {
	case "AM", "A.M.":
		d.am = true
		return
	case "PM", "P.M.":
		d.pm = true
		return
	}
	if d.hour < 0 || d.hasZone {
		return
	}
	if rest, ok := strings.CutPrefix(u, "GMT"); ok && len(rest) > 1 {
		d.offset(rest)
		return
	}
	if hours, ok := zoneByName(u); ok {
		d.zone, d.hasZone = int(hours*3600), true
	}
}

func monthByName(w string) int {
	if len(w) < 3 {
		return 0
	}
	const months = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"
	i := strings.Index(months, upper(w[:3]))
	if i < 0 || i%3 != 0 {
		return 0
	}
	return i/3 + 1
}

// zoneByName knows the zones of RFC 5322 4.3 and the most common others, in
// hours east of UTC.
func zoneByName(z string) (hours float64, ok bool) {
	switch z {
	case "UT", "UTC", "GMT", "Z", "WET":
		return 0, true
	case "EST", "CDT":
		return -5, true
	case "EDT", "AST":
		return -4, true
	case "CST", "MDT":
		return -6, true
	case "MST", "PDT":
		return -7, true
	case "PST":
		return -8, true
	case "HST":
		return -10, true
	case "BST", "CET", "MET", "MEZ", "WEST":
		return 1, true
	case "CEST", "MEST", "MESZ", "EET", "SAST":
		return 2, true
	case "EEST", "MSK":
		return 3, true
	case "IST":
		return 5.5, true
	case "HKT", "SGT":
		return 8, true
	case "JST", "KST":
		return 9, true
	case "AEST":
		return 10, true
	case "NZST":
		return 12, true
	}
	return 0, false
}

func (d *dateParser) time() (time.Time, bool) {
	if d.day < 1 || d.day > 31 || d.month < 1 || d.month > 12 || !d.hasYear || d.year > 9999 {
		return time.Time{}, false
	}
	if d.hour > 24 || d.minute > 59 || d.sec > 60 {
		return time.Time{}, false
	}
	hour := max(d.hour, 0)
	if d.pm && hour < 12 {
		hour += 12
	} else if d.am && hour == 12 {
		hour = 0
	}
	loc := time.UTC
	if d.zone != 0 {
		loc = time.FixedZone("", d.zone)
	}
	return time.Date(d.year, time.Month(d.month), d.day, hour, d.minute, d.sec, 0, loc), true
}

// leadingInt reads the digits at the start of s, at most nine of them.
func leadingInt(s string) (n, digits int) {
	for digits < len(s) && digits < 9 && s[digits] >= '0' && s[digits] <= '9' {
		n = n*10 + int(s[digits]-'0')
		digits++
	}
	return n, digits
}
