package imapclient

// envelope takes an ENVELOPE.
func (l *lexer) envelope() *Envelope {
	e := &Envelope{}
	l.expect('(')
	e.Date = l.nstr()
	l.sp()
	e.Subject = l.nstr()
	for _, list := range []*[]Address{&e.From, &e.Sender, &e.ReplyTo, &e.To, &e.Cc, &e.Bcc} {
		l.sp()
		*list = l.addresses()
	}
	l.sp()
	e.InReplyTo = l.nstr()
	l.sp()
	e.MessageID = l.nstr()
	l.expect(')')
	return e
}

// addresses takes NIL or addresses side by side in parentheses.
func (l *lexer) addresses() []Address {
	if l.null() {
		return nil
	}
	var out []Address
	l.expect('(')
	for l.ok() && l.peek() == '(' {
		l.expect('(')
		a := Address{Name: l.nstr()}
		l.sp()
		a.ADL = l.nstr()
		l.sp()
		a.Mailbox = l.nstr()
		l.sp()
		a.Host = l.nstr()
		l.expect(')')
		out = append(out, a)
	}
	if len(out) == 0 {
		l.failf("address list is empty")
	}
	l.expect(')')
	return out
}

// body takes a body structure; ext says whether extension data is allowed.
func (l *lexer) body(ext bool) *Body {
	b := &Body{}
	l.expect('(')
	if l.depth++; l.depth > maxDepth {
		l.failf("nested too deep")
	}
	if l.peek() == '(' {
		l.multipart(b, ext)
	} else {
		l.singlePart(b, ext)
	}
	l.depth--
	l.expect(')')
	return b
}

func (l *lexer) multipart(b *Body, ext bool) {
	b.Type = "MULTIPART"
	for l.ok() && l.peek() == '(' {
		b.Parts = append(b.Parts, l.body(ext))
	}
	l.sp()
	b.Subtype = l.str()
	if !ext || !l.accept(' ') {
		return
	}
	b.Extended = 1
	b.Params = l.params()
	l.extension(b)
}

func (l *lexer) singlePart(b *Body, ext bool) {
	b.Type = l.str()
	l.sp()
	b.Subtype = l.str()
	l.sp()
	b.Params = l.params()
	l.sp()
	b.ID = l.nstr()
	l.sp()
	b.Desc = l.nstr()
	l.sp()
	b.Encoding = l.str()
	l.sp()
	b.Size = l.number(63)
	switch {
	case equalFold(b.Type, "MESSAGE") && (equalFold(b.Subtype, "RFC822") || equalFold(b.Subtype, "GLOBAL")):
		l.sp()
		b.Envelope = l.envelope()
		l.sp()
		b.Embedded = l.body(ext)
		l.sp()
		b.Lines = l.number(63)
	case equalFold(b.Type, "TEXT"):
		l.sp()
		b.Lines = l.number(63)
	}
	if !ext || !l.accept(' ') {
		return
	}
	b.Extended = 1
	b.MD5 = l.nstr()
	l.extension(b)
}

// extension takes disposition, language and location, as many as are there.
func (l *lexer) extension(b *Body) {
	if !l.accept(' ') {
		return
	}
	b.Extended++
	if !l.null() {
		b.Disposition = &Disposition{}
		l.expect('(')
		b.Disposition.Type = l.str()
		l.sp()
		b.Disposition.Params = l.params()
		l.expect(')')
	}
	if !l.accept(' ') {
		return
	}
	b.Extended++
	if l.peek() == '(' {
		if l.list(func() { b.Language = append(b.Language, l.str()) }) == 0 {
			l.failf("language list is empty")
		}
	} else if s := l.nstr(); s != nil {
		b.Language = []string{*s}
	}
	if !l.accept(' ') {
		return
	}
	b.Extended++
	b.Location = l.nstr()
}

// params takes NIL or a list of names and values.
func (l *lexer) params() []Param {
	if l.null() {
		return nil
	}
	var out []Param
	n := l.list(func() {
		p := Param{Name: l.str()}
		l.sp()
		p.Value = l.str()
		out = append(out, p)
	})
	if n == 0 {
		l.failf("parameter list is empty")
	}
	return out
}

func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x := a[i]
		if x >= 'a' && x <= 'z' {
			x -= 'a' - 'A'
		}
		if x != b[i] {
			return false
		}
	}
	return true
}
