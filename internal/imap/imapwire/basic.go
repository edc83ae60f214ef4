package imapwire

// Commands without arguments.
type (
	// Capability is CAPABILITY (RFC 3501 section 6.1.1).
	Capability struct{}
	// Noop is NOOP (RFC 3501 section 6.1.2).
	Noop struct{}
	// Logout is LOGOUT (RFC 3501 section 6.1.3).
	Logout struct{}
	// StartTLS is STARTTLS (RFC 3501 section 6.2.1); see [Reader.Reset].
	StartTLS struct{}
	// Namespace is NAMESPACE (RFC 2342).
	Namespace struct{}
	// Idle is IDLE (RFC 2177). The server writes a continuation and then
	// waits with [Reader.ReadDone].
	Idle struct{}
	// Unauthenticate is UNAUTHENTICATE (RFC 8437).
	Unauthenticate struct{}
	// Check is CHECK (RFC 3501 section 6.4.1).
	Check struct{}
	// Close is CLOSE (RFC 3501 section 6.4.2).
	Close struct{}
	// Unselect is UNSELECT (RFC 3691).
	Unselect struct{}
)

// Enable is ENABLE (RFC 5161).
type Enable struct {
	// Capabilities are in upper case, in the client's order, at least one.
	Capabilities []string
}

// ID is ID (RFC 2971).
type ID struct {
	// Fields are the client's fields in its order; nil for NIL.
	Fields []IDField
}

// IDField is one field of [ID].
type IDField struct {
	// Name is as the client wrote it; RFC 2971 compares it without case.
	Name  string
	Value string
	// Nil is set when the value was NIL.
	Nil bool
}

// Compress is COMPRESS (RFC 4978).
type Compress struct {
	// Algorithm is in upper case: DEFLATE is the one that exists.
	Algorithm string
}

func (*Capability) args()     {}
func (*Noop) args()           {}
func (*Logout) args()         {}
func (*StartTLS) args()       {}
func (*Namespace) args()      {}
func (*Idle) args()           {}
func (*Unauthenticate) args() {}
func (*Check) args()          {}
func (*Close) args()          {}
func (*Unselect) args()       {}
func (*Enable) args()         {}
func (*ID) args()             {}
func (*Compress) args()       {}

const maxIDFields = 30 // RFC 2971 section 3.3

func basicCommands() []Spec {
	return []Spec{
		{Name: "CAPABILITY", States: stateAny, parse: noArgs(&Capability{})},
		{Name: "NOOP", States: stateAny, parse: noArgs(&Noop{})},
		{Name: "LOGOUT", States: stateAny, parse: noArgs(&Logout{})},
		{Name: "STARTTLS", States: StateNotAuthenticated, parse: noArgs(&StartTLS{})},
		{Name: "NAMESPACE", States: stateUser, parse: noArgs(&Namespace{})},
		{Name: "IDLE", States: stateUser, parse: noArgs(&Idle{})},
		{Name: "UNAUTHENTICATE", States: stateUser, parse: noArgs(&Unauthenticate{})},
		{Name: "CHECK", States: StateSelected, parse: noArgs(&Check{})},
		{Name: "CLOSE", States: StateSelected, parse: noArgs(&Close{})},
		{Name: "UNSELECT", States: StateSelected, parse: noArgs(&Unselect{})},
		{Name: "ENABLE", States: stateUser, parse: parseEnable},
		{Name: "ID", States: stateAny, parse: parseID},
		{Name: "COMPRESS", States: stateUser, parse: parseCompress},
	}
}

// noArgs is the parser of a command without arguments.
func noArgs(a Args) func(*parser) Args {
	return func(*parser) Args { return a }
}

func parseEnable(p *parser) Args {
	a := &Enable{}
	for p.sp(); p.ok(); {
		p.element()
		a.Capabilities = append(a.Capabilities, string(p.word()))
		if !p.more() {
			break
		}
	}
	return a
}

func parseID(p *parser) Args {
	p.sp()
	a := &ID{}
	if p.wordIs("NIL") {
		return a
	}
	a.Fields = []IDField{}
	p.list(func() {
		f := IDField{Name: p.str()}
		p.sp()
		value, ok := p.nstring()
		f.Value, f.Nil = value, !ok
		if a.Fields = append(a.Fields, f); len(a.Fields) > maxIDFields {
			p.bad("Too many ID fields")
		}
	})
	return a
}

func parseCompress(p *parser) Args {
	p.sp()
	return &Compress{Algorithm: string(p.word())}
}
