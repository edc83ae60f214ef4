package message

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// introChars is the longest preview in characters, the ellipsis excepted.
const introChars = 128

// introSource is how much text a preview is made from, in characters.
const introSource = 2048

// Intro makes the preview of a text as the HTTP API shows it: at most 128
// characters in one line, without quoted lines, ruled lines and what stands in
// brackets, and with an ellipsis if it was cut.
func Intro(text string) string {
	intro, _ := intro(text)
	return ellipsis(intro)
}

// IntroIsSettled reports whether the preview of any text that begins with the
// lines of this one, the last of them excepted, is the same: whoever makes the
// text need not make more of it.
func IntroIsSettled(text string) bool {
	text = text[:strings.LastIndexByte(text, '\n')+1]
	if strings.IndexByte(removeBracketed(text), '[') >= 0 {
		return false // it may close in what follows
	}
	_, chars := intro(text)
	return chars > introChars
}

// intro returns the beginning of the text that is previewed, with one character
// more than the preview may have if there is more, and how many characters it
// has and one.
func intro(text string) (string, int) {
	text = removeBracketed(firstChars(text, introSource))
	out := make([]byte, 0, 4*introChars)
	chars := 0
	for text != "" && chars <= introChars {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.TrimFunc(line, isFiller)
		if line == "" || line[0] == '>' || isRuler(line) {
			continue
		}
		for word := range strings.FieldsFuncSeq(line, isFiller) {
			if len(out) > 0 {
				out = append(out, ' ')
			}
			out = append(out, word...)
			if chars += 1 + utf8.RuneCountInString(word); chars > introChars+1 {
				break
			}
		}
	}
	return string(out), chars
}

// firstChars cuts s to n characters.
func firstChars(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// isFiller is white space, and what mailers fill previews with.
func isFiller(r rune) bool {
	if r < utf8.RuneSelf {
		return r <= ' ' || r == 0x7f
	}
	switch r {
	case 0x00ad, 0x034f, 0x061c, 0x115f, 0x17b4, 0x17b5, 0x180e, 0x200b, 0x200c, 0x200e, 0x200f, 0x2007, 0x2060, 0xfeff, 0x2800:
		return true
	}
	return unicode.IsSpace(r)
}

// removeBracketed drops [...] wherever the bracket closes in the text.
func removeBracketed(s string) string {
	open := strings.IndexByte(s, '[')
	if open < 0 {
		return s
	}
	var b strings.Builder
	for open >= 0 {
		n := strings.IndexByte(s[open:], ']')
		if n < 0 {
			break
		}
		b.WriteString(s[:open])
		s = s[open+n+1:]
		open = strings.IndexByte(s, '[')
	}
	b.WriteString(s)
	return b.String()
}

// isRuler reports whether a line repeats one character.
func isRuler(line string) bool {
	first, n := utf8.DecodeRuneInString(line)
	if n == len(line) {
		return false
	}
	for _, r := range line {
		if r != first {
			return false
		}
	}
	return true
}

func ellipsis(s string) string {
	cut := firstChars(s, introChars)
	if len(cut) == len(s) {
		return s
	}
	if space := strings.LastIndexByte(cut, ' '); space > 0 {
		cut = cut[:space]
	}
	return cut + "…"
}
