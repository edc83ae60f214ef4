package imapwire

import "strings"

// StoreMode is what STORE does with its flags.
type StoreMode uint8

// Modes of STORE.
const (
	StoreReplace StoreMode = iota
	StoreAdd
	StoreRemove
)

// String returns the sign that stands before FLAGS.
func (m StoreMode) String() string {
	switch m {
	case StoreAdd:
		return "+"
	case StoreRemove:
		return "-"
	default:
		return ""
	}
}

// Store is STORE and UID STORE (RFC 3501 section 6.4.6).
type Store struct {
	Set    NumSet
	Mode   StoreMode
	Silent bool
	// Flags are in the client's order and may repeat. System flags have
	// their usual spelling; unknown names with a backslash are not refused
	// here.
	Flags []string
	// UnchangedSince is the modifier of RFC 7162 section 3.1.3, or nil. Zero
	// means that every message with a mod-sequence fails.
	UnchangedSince *uint64
}

// Copy is COPY and UID COPY (RFC 3501 section 6.4.7).
type Copy struct {
	Set     NumSet
	Mailbox string
}

// Move is MOVE and UID MOVE (RFC 6851).
type Move struct {
	Set     NumSet
	Mailbox string
}

// Expunge is EXPUNGE, or UID EXPUNGE (RFC 4315) with UIDs.
type Expunge struct {
	// UIDs is empty for EXPUNGE.
	UIDs NumSet
}

func (*Store) args()   {}
func (*Copy) args()    {}
func (*Move) args()    {}
func (*Expunge) args() {}

func messageCommands() []Spec {
	return []Spec{
		{Name: "STORE", States: StateSelected, UID: UIDAllowed, parse: parseStore},
		{Name: "COPY", States: StateSelected, UID: UIDAllowed, parse: func(p *parser) Args { return &Copy{p.setArg(), p.mailboxArg()} }},
		{Name: "MOVE", States: StateSelected, UID: UIDAllowed, parse: func(p *parser) Args { return &Move{p.setArg(), p.mailboxArg()} }},
		{Name: "EXPUNGE", States: StateSelected, UID: UIDAllowed, parse: parseExpunge},
	}
}

// setArg reads a space and a sequence set.
func (p *parser) setArg() NumSet {
	p.sp()
	return p.numSet()
}

func parseExpunge(p *parser) Args {
	a := &Expunge{}
	if p.uid {
		a.UIDs = p.setArg()
	}
	return a
}

func parseStore(p *parser) Args {
	a := &Store{Set: p.setArg()}
	p.sp()
	if p.peek() == '(' {
		p.list(func() {
			if w := p.word(); string(w) != "UNCHANGEDSINCE" || a.UnchangedSince != nil {
				p.badf("Invalid modifier: %.64s", w)
			}
			p.sp()
			modseq := p.number63()
			a.UnchangedSince = &modseq
		})
		p.sp()
	}
	name := string(p.word())
	switch {
	case strings.HasPrefix(name, "+"):
		a.Mode, name = StoreAdd, name[1:]
	case strings.HasPrefix(name, "-"):
		a.Mode, name = StoreRemove, name[1:]
	}
	name, a.Silent = strings.CutSuffix(name, ".SILENT")
	if name != "FLAGS" {
		p.badf("Unknown data item: %.64s", name)
	}
	p.sp()
	a.Flags = p.storeFlags()
	return a
}

// storeFlags reads a list of flags, with or without its parentheses.
func (p *parser) storeFlags() []string {
	if p.peek() == '(' {
		return p.flagList()
	}
	var flags []string
	for p.ok() {
		p.element()
		flags = append(flags, p.flag())
		if !p.more() {
			break
		}
	}
	return flags
}
