package message

// Limits bound what the parser keeps and interprets. They never make parsing
// fail: beyond a limit the rest is an opaque part of the message, offsets stay
// right, and Message.Limited is set. A zero field means its default.
type Limits struct {
	// MaxDepth is how many multiparts and embedded messages may contain one
	// another. Default 64.
	MaxDepth int
	// MaxParts is the number of parts of one message, embedded messages
	// included. Default 4096.
	MaxParts int
	// MaxHeaderBytes is how much of the message's own header is kept and
	// interpreted, in octets. Default 256 KiB.
	MaxHeaderBytes int
	// MaxPartHeaderBytes is the same for the header of one part or embedded
	// message. Default 64 KiB.
	MaxPartHeaderBytes int
	// MaxTotalHeaderBytes is the sum over all headers but the first. When it
	// is used up, no more parts are opened. Default 1 MiB.
	MaxTotalHeaderBytes int
	// MaxFields is the number of fields of one header that are interpreted.
	// Default 4096.
	MaxFields int
	// MaxParams is the number of parameters of one field (RFC 2045 5.1).
	// Default 128.
	MaxParams int
	// MaxAddresses is the number of addresses in all envelopes of a message.
	// Default 20000.
	MaxAddresses int
	// TextBytes is how much decoded text (UTF-8 octets) Parser.Text is given
	// for one message. Beyond it Message.TextLimited is set. Default 8 MiB.
	TextBytes int
}

// DefaultLimits returns the limits that a zero Limits stands for.
func DefaultLimits() Limits {
	return Limits{
		MaxDepth:            64,
		MaxParts:            4096,
		MaxHeaderBytes:      256 << 10,
		MaxPartHeaderBytes:  64 << 10,
		MaxTotalHeaderBytes: 1 << 20,
		MaxFields:           4096,
		MaxParams:           128,
		MaxAddresses:        20000,
		TextBytes:           8 << 20,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, f := range []struct{ have, def *int }{
		{&l.MaxDepth, &d.MaxDepth},
		{&l.MaxParts, &d.MaxParts},
		{&l.MaxHeaderBytes, &d.MaxHeaderBytes},
		{&l.MaxPartHeaderBytes, &d.MaxPartHeaderBytes},
		{&l.MaxTotalHeaderBytes, &d.MaxTotalHeaderBytes},
		{&l.MaxFields, &d.MaxFields},
		{&l.MaxParams, &d.MaxParams},
		{&l.MaxAddresses, &d.MaxAddresses},
		{&l.TextBytes, &d.TextBytes},
	} {
		if *f.have <= 0 {
			*f.have = *f.def
		}
	}
	return l
}
