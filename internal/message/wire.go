package message

import "strconv"

// AppendString appends s as an IMAP string (RFC 3501 4.3): quoted if it is
// 7-bit text in one line, else as a literal, in which NUL cannot be sent and
// is left out.
func AppendString[T string | []byte](dst []byte, s T) []byte {
	quoted := false // there is something to quote
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 0x80 || c == '\r' || c == '\n' || c == 0:
			return appendLiteral(dst, s)
		case c == '"' || c == '\\':
			quoted = true
		}
	}
	dst = append(dst, '"')
	if !quoted {
		dst = append(dst, s...)
		return append(dst, '"')
	}
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

func appendLiteral[T string | []byte](dst []byte, s T) []byte {
	n := len(s)
	for i := range len(s) {
		if s[i] == 0 {
			n--
		}
	}
	dst = append(dst, '{')
	dst = strconv.AppendInt(dst, int64(n), 10)
	dst = append(dst, "}\r\n"...)
	for i := range len(s) {
		if s[i] != 0 {
			dst = append(dst, s[i])
		}
	}
	return dst
}

// appendNilString appends s, or NIL if it is empty.
func appendNilString(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "NIL"...)
	}
	return AppendString(dst, s)
}

func appendNString(dst []byte, s NString) []byte {
	if !s.Present {
		return append(dst, "NIL"...)
	}
	return AppendString(dst, s.Value)
}

// AppendEnvelope appends the ENVELOPE data item of FETCH (RFC 3501 7.4.2),
// with its parentheses. A nil envelope gives one in which everything is NIL.
func AppendEnvelope(dst []byte, e *Envelope) []byte {
	if e == nil {
		e = &Envelope{}
	}
	dst = append(dst, '(')
	dst = appendNString(dst, e.Date)
	dst = append(dst, ' ')
	dst = appendNString(dst, e.Subject)
	for _, list := range [...][]Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		dst = append(dst, ' ')
		dst = appendAddressList(dst, list)
	}
	dst = append(dst, ' ')
	dst = appendNString(dst, e.InReplyTo)
	dst = append(dst, ' ')
	dst = appendNString(dst, e.MessageID)
	return append(dst, ')')
}

func appendAddressList(dst []byte, list []Address) []byte {
	if len(list) == 0 {
		return append(dst, "NIL"...)
	}
	dst = append(dst, '(')
	for i := range list {
		dst = appendAddress(dst, &list[i])
	}
	return append(dst, ')')
}

// appendAddress writes one address structure. A host of NIL marks a group, so
// that an address without host gets an empty one.
func appendAddress(dst []byte, a *Address) []byte {
	switch a.Kind {
	case GroupStart:
		dst = append(dst, "(NIL NIL "...)
		dst = AppendString(dst, a.Name)
		return append(dst, " NIL)"...)
	case GroupEnd:
		return append(dst, "(NIL NIL NIL NIL)"...)
	}
	dst = append(dst, '(')
	dst = appendNilString(dst, a.Name)
	dst = append(dst, ' ')
	dst = appendNilString(dst, a.Route)
	dst = append(dst, ' ')
	dst = AppendString(dst, a.Mailbox)
	dst = append(dst, ' ')
	dst = AppendString(dst, a.Host)
	return append(dst, ')')
}

// AppendBodyStructure appends the BODYSTRUCTURE data item of FETCH for a part
// (RFC 3501 7.4.2), or BODY, which lacks the extension data, if extended is
// false.
func AppendBodyStructure(dst []byte, p *Part, extended bool) []byte {
	dst = append(dst, '(')
	if p.IsMultipart() {
		dst = appendMultipart(dst, p, extended)
	} else {
		dst = appendSinglePart(dst, p, extended)
	}
	return append(dst, ')')
}

func appendMultipart(dst []byte, p *Part, extended bool) []byte {
	for _, c := range p.Children {
		dst = AppendBodyStructure(dst, c, extended)
	}
	dst = append(dst, ' ')
	dst = AppendString(dst, p.Subtype)
	if !extended {
		return dst
	}
	dst = append(dst, ' ')
	dst = appendParams(dst, p.Params)
	return appendExtension(dst, p)
}

func appendSinglePart(dst []byte, p *Part, extended bool) []byte {
	typ, subtype := p.Type, p.Subtype
	// The grammar knows MESSAGE/RFC822 only with its content, and no
	// multipart without parts.
	if p.Opaque {
		typ, subtype = "APPLICATION", "OCTET-STREAM"
	}
	dst = AppendString(dst, typ)
	dst = append(dst, ' ')
	dst = AppendString(dst, subtype)
	dst = append(dst, ' ')
	if p.Implied && typ == "TEXT" && len(p.Params) == 0 {
		dst = append(dst, `("CHARSET" "US-ASCII")`...) // RFC 2045 5.2
	} else {
		dst = appendParams(dst, p.Params)
	}
	dst = append(dst, ' ')
	dst = appendNilString(dst, p.ID)
	dst = append(dst, ' ')
	dst = appendNilString(dst, p.Description)
	dst = append(dst, ' ')
	dst = AppendString(dst, p.Encoding)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, p.Size(), 10)
	if p.Message != nil {
		dst = append(dst, ' ')
		dst = AppendEnvelope(dst, p.Message.Envelope)
		dst = append(dst, ' ')
		dst = AppendBodyStructure(dst, p.Message, extended)
	}
	if p.Message != nil || typ == "TEXT" {
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, p.Lines, 10)
	}
	if !extended {
		return dst
	}
	dst = append(dst, ' ')
	dst = appendNilString(dst, p.MD5)
	return appendExtension(dst, p)
}

// appendExtension writes disposition, language and location.
func appendExtension(dst []byte, p *Part) []byte {
	dst = append(dst, ' ')
	if p.Disposition == "" {
		dst = append(dst, "NIL"...)
	} else {
		dst = append(dst, '(')
		dst = AppendString(dst, p.Disposition)
		dst = append(dst, ' ')
		dst = appendParams(dst, p.DispositionParams)
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	if len(p.Language) == 0 {
		dst = append(dst, "NIL"...)
	} else {
		for i, l := range p.Language {
			dst = append(dst, "( "[min(i, 1)])
			dst = AppendString(dst, l)
		}
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	return appendNilString(dst, p.Location)
}

func appendParams(dst []byte, params []Param) []byte {
	if len(params) == 0 {
		return append(dst, "NIL"...)
	}
	for i := range params {
		dst = append(dst, "( "[min(i, 1)])
		dst = AppendString(dst, params[i].Name)
		dst = append(dst, ' ')
		dst = AppendString(dst, params[i].Value)
	}
	return append(dst, ')')
}
