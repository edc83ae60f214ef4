package message

import "strings"

// BaseSubject is the base subject of RFC 5256 2.1, by which THREAD and SORT
// compare. subject is decoded. reply reports whether something was removed
// that marks a reply or a forward.
func BaseSubject(subject string) (base string, reply bool) {
	s := collapseSpace(subject)
	for {
		before := s
		for { // (2) trailers
			t := strings.TrimRight(s, " ")
			if hasSuffixFold(t, "(fwd)") {
				t, reply = t[:len(t)-5], true
			}
			if t == s {
				break
			}
			s = t
		}
		for { // (3) to (5) leaders and blobs
			t, isReply := cutLeader(s)
			reply = reply || isReply
			if t == s {
				break
			}
			s = t
		}
		// (6) [fwd: ... ]
		if len(s) >= 6 && strings.EqualFold(s[:5], "[fwd:") && s[len(s)-1] == ']' {
			s, reply = s[5:len(s)-1], true
			continue
		}
		if s == before {
			return s, reply
		}
	}
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

// cutLeader removes a subj-leader, *subj-blob subj-refwd or white space, or
// else the blobs, of which one stays if nothing would be left. It looks at all
// blobs at once, so that a subject full of them takes linear time.
func cutLeader(s string) (rest string, reply bool) {
	rest = strings.TrimLeft(s, " ")
	last := rest
	for {
		r, ok := cutBlob(rest)
		if !ok {
			break
		}
		last, rest = rest, r
	}
	if r, ok := cutRefwd(rest); ok {
		return r, true
	}
	if rest == "" {
		return last, false
	}
	return rest, false
}

// cutRefwd removes a subj-refwd.
func cutRefwd(s string) (rest string, ok bool) {
	if len(s) < 3 {
		return s, false
	}
	switch {
	case len(s) > 3 && strings.EqualFold(s[:3], "fwd"):
		s = s[3:]
	case strings.EqualFold(s[:2], "re"), strings.EqualFold(s[:2], "fw"):
		s = s[2:]
	default:
		return s, false
	}
	s = strings.TrimLeft(s, " ")
	if r, ok := cutBlob(s); ok {
		s = r
	}
	if strings.HasPrefix(s, ":") {
		return s[1:], true
	}
	return s, false
}

// cutBlob removes a subj-blob: "[" without brackets inside "]" and white
// space.
func cutBlob(s string) (rest string, ok bool) {
	if s == "" || s[0] != '[' {
		return s, false
	}
	end := strings.IndexAny(s[1:], "[]")
	if end < 0 || s[1+end] != ']' {
		return s, false
	}
	return strings.TrimLeft(s[end+2:], " "), true
}

// ThreadSubject is the subject by which conversations are found: as
// WildDuck does it, leading "re:", "fw:" and "fwd:", a leading [tag] that text
// follows, and a trailing "(fwd)" are removed. subject is decoded.
func ThreadSubject(subject string) string {
	s := collapseSpace(subject)
	for {
		t := s
		if n := replyPrefix(t); n > 0 {
			t = t[n:]
		}
		t = cutTag(strings.TrimSpace(t))
		for hasSuffixFold(t, "(fwd)") {
			t = strings.TrimSpace(t[:len(t)-5])
		}
		if t = strings.TrimSpace(t); t == s {
			return s
		}
		s = t
	}
}

// replyPrefix is the length of "re:", "fw:" or "fwd:" at the start of s, with
// spaces before the colon allowed.
func replyPrefix(s string) int {
	colon := strings.IndexByte(s[:min(len(s), 16)], ':')
	if colon < 2 {
		return 0
	}
	switch word := strings.TrimRight(s[:colon], " "); {
	case strings.EqualFold(word, "re"), strings.EqualFold(word, "fw"), strings.EqualFold(word, "fwd"):
		return colon + 1
	}
	return 0
}

// cutTag removes a leading [...] if white space and more text follow.
func cutTag(s string) string {
	if s == "" || s[0] != '[' {
		return s
	}
	end := strings.Index(s, "] ")
	if end < 0 {
		return s
	}
	if rest := strings.TrimLeft(s[end+2:], " "); rest != "" {
		return rest
	}
	return s
}
