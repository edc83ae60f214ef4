package bench

import (
	"encoding/base64"
	"strconv"
)

func appendNumber(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 10) }

// appendWrapped writes text as lines of at most width octets (longer only for a longer word) that end in CRLF,
// each behind prefix.
func appendWrapped(b, text []byte, width int, prefix string) []byte {
	for len(text) > 0 {
		end := len(text)
		if end > width {
			end = width
			for end > 0 && text[end] != ' ' {
				end--
			}
			if end == 0 {
				for end = width; end < len(text) && text[end] != ' '; end++ {
				}
			}
		}
		b = append(b, prefix...)
		b = append(b, text[:end]...)
		b = append(b, '\r', '\n')
		text = text[end:]
		if len(text) > 0 {
			text = text[1:]
		}
	}
	return b
}

// appendBase64 writes data as base64 in lines of 76 columns (RFC 2045 section 6.8).
func appendBase64(b, data []byte) []byte {
	const perLine = 57
	for len(data) > 0 {
		n := min(perLine, len(data))
		b = base64.StdEncoding.AppendEncode(b, data[:n])
		b = append(b, '\r', '\n')
		data = data[n:]
	}
	return b
}

const hexDigits = "0123456789ABCDEF"

// appendQuotedPrintable writes text (lines end in CRLF) as quoted-printable (RFC 2045 section 6.7).
func appendQuotedPrintable(b, text []byte) []byte {
	column := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			b = append(b, '\r', '\n')
			column = 0
			i++
			continue
		}
		atEnd := i+1 == len(text) || text[i+1] == '\r'
		literal := c > ' ' && c < 0x7f && c != '=' || c == ' ' && !atEnd
		need := 3
		if literal {
			need = 1
		}
		if column+need > 75 {
			b = append(b, '=', '\r', '\n')
			column = 0
		}
		if literal {
			b = append(b, c)
		} else {
			b = append(b, '=', hexDigits[c>>4], hexDigits[c&15])
		}
		column += need
	}
	return b
}

// appendStuffed writes content as the DATA phase of LMTP wants it (RFC 5321 section 4.5.2): a dot before every
// line that begins with one. It reports whether there was such a line.
func appendStuffed(b, content []byte) ([]byte, bool) {
	stuffed, lineStart, from := false, true, 0
	for i, c := range content {
		if lineStart && c == '.' {
			b = append(b, content[from:i]...)
			b = append(b, '.')
			from, stuffed = i, true
		}
		lineStart = c == '\n'
	}
	return append(b, content[from:]...), stuffed
}
