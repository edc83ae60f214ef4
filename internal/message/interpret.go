package message

import (
	"bytes"
	"strings"
)

// interpret reads the header that was collected for part. Of repeated fields
// the last counts; address fields are joined in an envelope.
func (p *Parser) interpret(part *Part) {
	h := string(p.hdr)
	isRoot := part == p.msg.Root
	if isRoot {
		p.msg.Header = bytes.Clone(p.hdr)
		if p.msg.Header == nil {
			p.msg.Header = []byte{}
		}
		p.endRootHeader()
	} else {
		p.hdrTotal += len(p.hdr)
	}
	ofMessage := isRoot || p.isMessageRoot(part)
	if ofMessage {
		part.Envelope = &Envelope{}
	}
	contentType, hasType := "", false
	fields := 0
	for h != "" && fields < p.limits.MaxFields {
		b := nextField(h)
		if b.blank {
			h = ""
			break
		}
		fields++
		if b.name > 0 {
			name, value := h[:b.name], h[b.value:b.valueEnd]
			switch {
			case len(name) > 8 && equalFoldASCII(name[:8], "Content-"):
				if len(name) == len("Content-Type") && equalFoldASCII(name, "Content-Type") {
					contentType, hasType = value, true
				} else {
					p.contentField(part, name[8:], value)
				}
			case ofMessage:
				p.envelopeField(part.Envelope, name, value)
			}
		}
		h = h[b.end:]
	}
	if h != "" {
		p.msg.Limited = true
	}
	p.setType(part, contentType, hasType)
	if part.Encoding == "" {
		part.Encoding = "7BIT"
	}
	if ofMessage {
		part.Envelope.complete()
	}
	if ofMessage && !isRoot {
		p.embeddedHeader(part)
	}
}

func (p *Parser) isMessageRoot(part *Part) bool {
	n := len(p.frames)
	return n > 1 && p.frames[n-2].part.Message == part
}

// setType fills in the media type. A type that is missing or empty means
// text/plain (RFC 2045 5.2), or message/rfc822 in a digest (RFC 2046 5.1.5).
func (p *Parser) setType(part *Part, value string, present bool) {
	if present {
		part.MediaType, part.Params = parseMediaType(value, p.limits.MaxParams)
	}
	if part.MediaType == "" {
		part.Implied = true
		if part.Type == "" {
			part.Type, part.Subtype = "TEXT", "PLAIN"
		}
		return
	}
	part.Type, part.Subtype = splitType(part.MediaType)
}

// splitType reads type/subtype, with a guess for half a type.
func splitType(s string) (typ, subtype string) {
	typ, subtype, _ = strings.Cut(s, "/")
	typ, subtype = upper(typ), upper(subtype)
	if typ != "" && subtype != "" {
		return typ, subtype
	}
	switch {
	case typ == "TEXT" || subtype == "PLAIN":
		return "TEXT", "PLAIN"
	case subtype == "HTML":
		return "TEXT", "HTML"
	case typ == "MULTIPART":
		return "MULTIPART", "MIXED"
	}
	return "APPLICATION", "OCTET-STREAM"
}

// contentField takes a Content- field other than Content-Type. name lacks the
// prefix.
func (p *Parser) contentField(part *Part, name, value string) {
	switch len(name) {
	case 2:
		if equalFoldASCII(name, "ID") {
			part.ID = unfold(value)
		}
	case 3:
		if equalFoldASCII(name, "MD5") {
			part.MD5 = unfold(value)
		}
	case 8:
		if equalFoldASCII(name, "Language") {
			part.Language = languages(value, p.limits.MaxParams)
		} else if equalFoldASCII(name, "Location") {
			part.Location = location(value)
		}
	case 11:
		if equalFoldASCII(name, "Description") {
			part.Description = unfold(value)
		} else if equalFoldASCII(name, "Disposition") {
			d, params := parseMediaType(value, p.limits.MaxParams)
			part.Disposition, part.DispositionParams = upper(d), params
			if d == "" {
				part.DispositionParams = nil
			}
		}
	case 17:
		if equalFoldASCII(name, "Transfer-Encoding") {
			part.Encoding = encodingToken(value)
		}
	}
}

// encodingToken is the first word of a Content-Transfer-Encoding in upper
// case.
func encodingToken(value string) string {
	value = strings.TrimLeft(skipCFWS(value), "\"'")
	i := 0
	for i < len(value) && !isSpace(value[i]) && strings.IndexByte(";(\"'", value[i]) < 0 {
		i++
	}
	return upper(value[:i])
}

func languages(value string, most int) []string {
	var out []string
	for value != "" && len(out) < most {
		var tag string
		tag, value, _ = strings.Cut(value, ",")
		if tag = strings.Trim(skipCFWS(tag), " \t\r\n"); tag != "" {
			out = append(out, unfold(tag))
		}
	}
	return out
}

// location is a URI of which folding and white space are no part (RFC 2557
// 4.2).
func location(value string) string {
	return removeWSP(value)
}
