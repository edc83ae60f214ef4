package imapwire

// List is LIST with its extended form (RFC 3501 section 6.3.8, RFC 5258,
// RFC 5819, RFC 6154).
type List struct {
	Reference string
	// Patterns has one element unless the client sent a list of patterns.
	// LIST "" "" asks for the hierarchy separator.
	Patterns []string
	// Extended is set when the command had more than a reference and one
	// pattern.
	Extended bool
	Select   ListSelect
	Return   ListReturn
}

// ListSelect is the selection options: which mailboxes are listed.
type ListSelect struct {
	Subscribed, Remote, RecursiveMatch, SpecialUse bool
}

// ListReturn is the return options: what is told of each mailbox.
type ListReturn struct {
	Subscribed, Children, SpecialUse bool
	// Status asks for a STATUS response for each mailbox; empty for none.
	Status []StatusItem
}

// LSub is LSUB (RFC 3501 section 6.3.9).
type LSub struct {
	Reference, Pattern string
}

func (*List) args() {}
func (*LSub) args() {}

func listCommands() []Spec {
	return []Spec{
		{Name: "LIST", States: stateUser, parse: parseList},
		{Name: "LSUB", States: stateUser, parse: parseLSub},
	}
}

func parseLSub(p *parser) Args {
	a := &LSub{}
	p.sp()
	a.Reference = p.mailbox()
	p.sp()
	a.Pattern = p.listMailbox()
	return a
}

func parseList(p *parser) Args {
	a := &List{}
	p.sp()
	if p.peek() == '(' {
		a.Extended = true
		p.listSelection(&a.Select)
		p.sp()
	}
	a.Reference = p.mailbox()
	p.sp()
	if p.peek() == '(' {
		a.Extended = true
		p.list(func() { a.Patterns = append(a.Patterns, p.listMailbox()) })
		if len(a.Patterns) == 0 {
			p.expected("a mailbox pattern")
		}
	} else {
		a.Patterns = []string{p.listMailbox()}
	}
	if !p.more() {
		return a
	}
	a.Extended = true
	if w := p.word(); string(w) != "RETURN" {
		p.badf("Unknown argument: %.64s", w)
		return a
	}
	p.sp()
	p.listReturn(&a.Return)
	return a
}

func (p *parser) listSelection(s *ListSelect) {
	p.list(func() {
		switch w := p.word(); string(w) {
		case "SUBSCRIBED":
			s.Subscribed = true
		case "REMOTE":
			s.Remote = true
		case "RECURSIVEMATCH":
			s.RecursiveMatch = true
		case "SPECIAL-USE":
			s.SpecialUse = true
		default:
			p.badf("Unknown selection option: %.64s", w)
		}
	})
	// RFC 5258 section 3: RECURSIVEMATCH needs an option that selects.
	if s.RecursiveMatch && !s.Subscribed && !s.SpecialUse {
		p.bad("RECURSIVEMATCH needs another selection option")
	}
}

func (p *parser) listReturn(r *ListReturn) {
	p.list(func() {
		switch w := p.word(); string(w) {
		case "SUBSCRIBED":
			r.Subscribed = true
		case "CHILDREN":
			r.Children = true
		case "SPECIAL-USE":
			r.SpecialUse = true
		case "STATUS":
			p.sp()
			r.Status = p.statusItems()
		default:
			p.badf("Unknown return option: %.64s", w)
		}
	})
}
