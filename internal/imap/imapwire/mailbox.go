package imapwire

// Mailbox names in this package's types are UTF-8 whatever the client sent,
// without control characters; INBOX is in upper case. Hierarchy and length are
// the server's to check.

// Select is SELECT, or EXAMINE when ReadOnly (RFC 3501 section 6.3.1).
type Select struct {
	Mailbox  string
	ReadOnly bool
	// CondStore is the CONDSTORE parameter (RFC 7162 section 3.1.8).
	CondStore bool
	// QResync is the QRESYNC parameter, or nil (RFC 7162 section 3.2.5).
	QResync *QResync
}

// QResync is what a client knows of a mailbox.
type QResync struct {
	UIDValidity uint32
	ModSeq      uint64
	// KnownUIDs is empty when the client did not send it.
	KnownUIDs NumSet
	// SeqMatch and UIDMatch are the message sequence match data: sequence
	// numbers and their UIDs. Both are empty when not sent.
	SeqMatch, UIDMatch NumSet
}

// Create is CREATE (RFC 3501 section 6.3.3).
type Create struct {
	// Mailbox may end in the hierarchy separator.
	Mailbox string
	// SpecialUse is the USE parameter (RFC 6154 section 3), such as \Sent.
	SpecialUse []string
}

// Delete is DELETE (RFC 3501 section 6.3.4).
type Delete struct{ Mailbox string }

// Rename is RENAME (RFC 3501 section 6.3.5).
type Rename struct{ From, To string }

// Subscribe is SUBSCRIBE (RFC 3501 section 6.3.6).
type Subscribe struct{ Mailbox string }

// Unsubscribe is UNSUBSCRIBE (RFC 3501 section 6.3.7).
type Unsubscribe struct{ Mailbox string }

// StatusItem is a data item of STATUS, as it is written.
type StatusItem string

// Data items of STATUS.
const (
	StatusMessages       StatusItem = "MESSAGES"
	StatusRecent         StatusItem = "RECENT"
	StatusUIDNext        StatusItem = "UIDNEXT"
	StatusUIDValidity    StatusItem = "UIDVALIDITY"
	StatusUnseen         StatusItem = "UNSEEN"
	StatusSize           StatusItem = "SIZE"            // RFC 8438
	StatusHighestModSeq  StatusItem = "HIGHESTMODSEQ"   // RFC 7162
	StatusDeleted        StatusItem = "DELETED"         // RFC 9051
	StatusDeletedStorage StatusItem = "DELETED-STORAGE" // RFC 9208
	StatusAppendLimit    StatusItem = "APPENDLIMIT"     // RFC 7889
	StatusMailboxID      StatusItem = "MAILBOXID"       // RFC 8474
)

// Status is STATUS (RFC 3501 section 6.3.10).
type Status struct {
	Mailbox string
	// Items are in the client's order, each once, at least one.
	Items []StatusItem
}

func (*Select) args()      {}
func (*Create) args()      {}
func (*Delete) args()      {}
func (*Rename) args()      {}
func (*Subscribe) args()   {}
func (*Unsubscribe) args() {}
func (*Status) args()      {}

func mailboxCommands() []Spec {
	return []Spec{
		{Name: "SELECT", States: stateUser, parse: func(p *parser) Args { return parseSelect(p, false) }},
		{Name: "EXAMINE", States: stateUser, parse: func(p *parser) Args { return parseSelect(p, true) }},
		{Name: "CREATE", States: stateUser, parse: parseCreate},
		{Name: "DELETE", States: stateUser, parse: func(p *parser) Args { return &Delete{p.mailboxArg()} }},
		{Name: "RENAME", States: stateUser, parse: func(p *parser) Args { return &Rename{p.mailboxArg(), p.mailboxArg()} }},
		{Name: "SUBSCRIBE", States: stateUser, parse: func(p *parser) Args { return &Subscribe{p.mailboxArg()} }},
		{Name: "UNSUBSCRIBE", States: stateUser, parse: func(p *parser) Args { return &Unsubscribe{p.mailboxArg()} }},
		{Name: "STATUS", States: stateUser, parse: parseStatus},
	}
}

// mailboxArg reads a space and a mailbox name.
func (p *parser) mailboxArg() string {
	p.sp()
	return p.mailbox()
}

func parseSelect(p *parser, readOnly bool) Args {
	a := &Select{Mailbox: p.mailboxArg(), ReadOnly: readOnly}
	if !p.more() {
		return a
	}
	n := p.list(func() {
		switch w := p.word(); string(w) {
		case "CONDSTORE":
			a.CondStore = true
		case "QRESYNC":
			p.sp()
			if a.QResync != nil {
				p.bad("QRESYNC is given twice")
			}
			a.QResync = p.qresync()
		default:
			p.badf("Unknown parameter: %.64s", w)
		}
	})
	if n == 0 {
		p.expected("a parameter")
	}
	return a
}

// qresync reads (uidvalidity modseq [known-uids] [(seqs uids)]).
func (p *parser) qresync() *QResync {
	q := &QResync{}
	p.expect('(')
	p.spaces()
	q.UIDValidity = p.nzNumber32()
	p.sp()
	if q.ModSeq = p.number63(); q.ModSeq == 0 {
		p.bad("Mod-sequence must not be zero")
	}
	p.spaces()
	if c := p.peek(); c != '(' && c != ')' {
		q.KnownUIDs = p.staticSet()
		p.spaces()
	}
	if p.accept('(') {
		q.SeqMatch = p.staticSet()
		p.sp()
		q.UIDMatch = p.staticSet()
		p.expect(')')
		p.spaces()
	}
	p.expect(')')
	return q
}

// staticSet reads a sequence set without "*" and "$".
func (p *parser) staticSet() NumSet {
	set := p.numSet()
	if set.Dynamic() {
		p.bad("Invalid sequence set")
	}
	return set
}

func parseCreate(p *parser) Args {
	a := &Create{Mailbox: p.mailboxArg()}
	if !p.more() {
		return a
	}
	p.list(func() {
		if w := p.word(); string(w) != "USE" {
			p.badf("Unknown parameter: %.64s", w)
			return
		}
		p.sp()
		p.list(func() {
			if p.peek() != '\\' {
				p.expected("a special use")
				return
			}
			a.SpecialUse = append(a.SpecialUse, p.flag())
		})
	})
	return a
}

func parseStatus(p *parser) Args {
	a := &Status{Mailbox: p.mailboxArg()}
	p.sp()
	a.Items = p.statusItems()
	return a
}

func (p *parser) statusItems() []StatusItem {
	var items []StatusItem
	var seen uint32
	p.list(func() {
		item, bit := p.statusItem()
		if seen&bit == 0 {
			items = append(items, item)
		}
		seen |= bit
	})
	if len(items) == 0 {
		p.expected("a status item")
	}
	return items
}

// statusItem reads an item; bit identifies it.
func (p *parser) statusItem() (item StatusItem, bit uint32) {
	w := p.word()
	for i, item := range [...]StatusItem{
		StatusMessages, StatusRecent, StatusUIDNext, StatusUIDValidity, StatusUnseen, StatusSize,
		StatusHighestModSeq, StatusDeleted, StatusDeletedStorage, StatusAppendLimit, StatusMailboxID,
	} {
		if string(w) == string(item) {
			return item, 1 << i
		}
	}
	p.badf("Unknown status item: %.64s", w)
	return "", 0
}
