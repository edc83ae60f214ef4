package message

// NString is a header value that may be absent, which IMAP tells from empty
// (NIL and "").
type NString struct {
	Value   string
	Present bool
}

// Envelope is the envelope of a message in the sense of RFC 3501 7.4.2. Values
// are unfolded and otherwise as in the header: encoded words are left encoded,
// 8-bit octets are kept.
type Envelope struct {
	Date      NString
	Subject   NString
	From      []Address
	Sender    []Address // From, if the message has none
	ReplyTo   []Address // From, if the message has none
	To        []Address
	Cc        []Address
	Bcc       []Address
	InReplyTo NString
	MessageID NString

	senderImplied, replyToImplied bool
}

// envelopeField takes one field of a message header.
func (p *Parser) envelopeField(e *Envelope, name, value string) {
	switch len(name) {
	case 2:
		if equalFoldASCII(name, "To") {
			e.To = p.addresses(e.To, value)
		} else if equalFoldASCII(name, "Cc") {
			e.Cc = p.addresses(e.Cc, value)
		}
	case 3:
		if equalFoldASCII(name, "Bcc") {
			e.Bcc = p.addresses(e.Bcc, value)
		}
	case 4:
		if equalFoldASCII(name, "From") {
			e.From = p.addresses(e.From, value)
		} else if equalFoldASCII(name, "Date") {
			e.Date = NString{unfold(value), true}
		}
	case 6:
		if equalFoldASCII(name, "Sender") {
			e.Sender = p.addresses(e.Sender, value)
		}
	case 7:
		if equalFoldASCII(name, "Subject") && (value != "" || e.Subject.Value == "") {
			e.Subject = NString{unfold(value), true}
		}
	case 8:
		if equalFoldASCII(name, "Reply-To") {
			e.ReplyTo = p.addresses(e.ReplyTo, value)
		}
	case 10:
		if equalFoldASCII(name, "Message-ID") {
			e.MessageID = NString{unfold(value), true}
		}
	case 11:
		if equalFoldASCII(name, "In-Reply-To") {
			e.InReplyTo = NString{unfold(value), true}
		}
	}
}

func (p *Parser) addresses(have []Address, value string) []Address {
	was := len(have)
	list, more := appendAddresses(have, value, p.addrs)
	p.addrs -= len(list) - was
	if more {
		p.msg.Limited = true
	}
	return list
}

// complete gives Sender and Reply-To their defaults. RFC 3501 7.4.2 wants the
// server to do so also if they are present and empty.
func (e *Envelope) complete() {
	if len(e.Sender) == 0 {
		e.Sender, e.senderImplied = e.From, true
	}
	if len(e.ReplyTo) == 0 {
		e.ReplyTo, e.replyToImplied = e.From, true
	}
}
