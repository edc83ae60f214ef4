package imapwire

import "math"

// Limits bounds what one command may cost. A zero field takes the value of
// [DefaultLimits].
type Limits struct {
	// MaxLine is the number of bytes of one command without its literals and
	// line ends. Configuration key maxLineLength.
	MaxLine int
	// MaxLiteral is the number of bytes of all literals of one command
	// together, the message literals of APPEND excepted.
	MaxLiteral int64
	// MaxAppend is the number of bytes of one APPEND message (RFC 7889).
	MaxAppend int64
	// MaxNonSync is the largest non-synchronising literal that is accepted:
	// 4096 gives the LITERAL- rule of RFC 7888, a large value LITERAL+.
	MaxNonSync int64
	// MaxDiscard is how many bytes of a refused command are read and thrown
	// away to stay in step; a client that is sending more is disconnected.
	MaxDiscard int64
	// MaxNesting is the depth of parentheses, NOT and OR in a search, and of
	// part numbers in a body section.
	MaxNesting int
	// MaxElements is the number of list elements, search keys, flags, fetch
	// items and header names of one command together.
	MaxElements int
	// MaxSetLen is the number of elements of one sequence set.
	MaxSetLen int
}

// DefaultLimits returns the limits for an authenticated client.
func DefaultLimits() Limits {
	return Limits{
		MaxLine:     64 << 10,
		MaxLiteral:  64 << 10,
		MaxAppend:   25 << 20,
		MaxNonSync:  math.MaxInt64,
		MaxDiscard:  64 << 20,
		MaxNesting:  64,
		MaxElements: 4096,
		MaxSetLen:   32 << 10,
	}
}

// PreAuthLimits returns limits for a client that has not logged in: enough
// for LOGIN and AUTHENTICATE, too little to be worth an attack.
func PreAuthLimits() Limits {
	return Limits{
		MaxLine:     16 << 10,
		MaxLiteral:  4 << 10,
		MaxAppend:   25 << 20,
		MaxNonSync:  4 << 10,
		MaxDiscard:  64 << 10,
		MaxNesting:  8,
		MaxElements: 128,
		MaxSetLen:   16,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	setDefault(&l.MaxLine, d.MaxLine)
	setDefault(&l.MaxLiteral, d.MaxLiteral)
	setDefault(&l.MaxAppend, d.MaxAppend)
	setDefault(&l.MaxNonSync, d.MaxNonSync)
	setDefault(&l.MaxDiscard, d.MaxDiscard)
	setDefault(&l.MaxNesting, d.MaxNesting)
	setDefault(&l.MaxElements, d.MaxElements)
	setDefault(&l.MaxSetLen, d.MaxSetLen)
	return l
}

func setDefault[T int | int64](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
