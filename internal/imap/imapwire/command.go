package imapwire

import "strings"

// State is a set of session states (RFC 3501 section 3).
type State uint8

// The states in which a command is allowed are ored together.
const (
	StateNotAuthenticated State = 1 << iota
	StateAuthenticated
	StateSelected

	stateAny  = StateNotAuthenticated | StateAuthenticated | StateSelected
	stateUser = StateAuthenticated | StateSelected
)

// Command is one command of a client.
type Command struct {
	Tag string
	// Name is in upper case, without UID.
	Name string
	// UID is set for the UID form of a command.
	UID bool
	// Args has the type that belongs to Name.
	Args Args
}

// Args is the arguments of a command: a pointer to one of this package's
// command types, such as [*Login] or [*Fetch].
type Args interface{ args() }

// UIDForm says whether a command can be preceded by UID.
type UIDForm uint8

// Forms of a command.
const (
	UIDNever UIDForm = iota
	UIDAllowed
)

// Spec is one entry of the command table.
type Spec struct {
	// Name is the command in upper case.
	Name string
	// States is where it is allowed.
	States State
	// UID says whether "UID name" exists.
	UID UIDForm
	// parse reads the arguments, from right behind the name to the end of
	// the command or, for APPEND, to the first message literal.
	parse func(p *parser) Args
}

// Table is the set of commands that a server understands. It is immutable and
// may be shared.
type Table struct {
	specs map[string]Spec
}

// NewTable returns the table of all commands that this package can parse. A
// new extension is a file with its types and parsers, and a line here.
func NewTable() *Table {
	t := &Table{specs: make(map[string]Spec, 64)}
	for _, family := range [][]Spec{
		basicCommands(),
		authCommands(),
		mailboxCommands(),
		listCommands(),
		appendCommands(),
		messageCommands(),
		fetchCommands(),
		searchCommands(),
		sortCommands(),
		quotaCommands(),
	} {
		for _, s := range family {
			t.specs[s.Name] = s
		}
	}
	return t
}

// Without returns the table less the named commands, for extensions that are
// switched off.
func (t *Table) Without(names ...string) *Table {
	out := &Table{specs: make(map[string]Spec, len(t.specs))}
	for name, s := range t.specs {
		out.specs[name] = s
	}
	for _, name := range names {
		delete(out.specs, strings.ToUpper(name))
	}
	return out
}

// Lookup returns the entry of a command.
func (t *Table) Lookup(name string) (Spec, bool) {
	s, ok := t.specs[strings.ToUpper(name)]
	return s, ok
}

const (
	maxTag  = 128
	maxName = 64
)

// command parses a command from its first line on.
func (p *parser) command(state State) *Command {
	if p.tag = p.readTag(); !p.ok() {
		p.tag = "*"
		return nil
	}
	p.sp()
	cmd := &Command{Tag: p.tag}
	name := p.commandName()
	if string(name) == "UID" {
		cmd.UID = true
		p.sp()
		name = p.commandName()
	}
	if !p.ok() {
		return nil
	}
	spec, known := p.r.opt.Commands.specs[string(name)]
	p.name = spec.Name
	switch {
	case !known:
		p.badf("Unknown command: %.64s", name)
	case cmd.UID && spec.UID == UIDNever:
		p.badf("Unknown command: UID %.64s", name)
	case spec.States&state == 0:
		p.badf("%.64s not allowed now", spec.Name)
	}
	if !p.ok() {
		return nil
	}
	cmd.Name, p.uid = spec.Name, cmd.UID
	cmd.Args = spec.parse(p)
	if p.r.open == nil {
		p.end()
	}
	return cmd
}

// commandName reads the name of a command, in upper case.
func (p *parser) commandName() []byte {
	name := p.word()
	if len(name) > maxName {
		p.bad("Unknown command")
	}
	return name
}

// readTag reads the tag of a command (RFC 3501 section 2.2.1).
func (p *parser) readTag() string {
	start := p.pos
	for p.pos < len(p.line) && isTagChar(p.line[p.pos]) {
		p.pos++
	}
	if n := p.pos - start; n == 0 || n > maxTag || (p.pos < len(p.line) && p.line[p.pos] != ' ') {
		p.bad("Invalid tag")
	}
	return string(p.line[start:p.pos])
}
