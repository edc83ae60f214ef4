package imapwire

// GetQuota is GETQUOTA (RFC 9208 section 4.2.1).
type GetQuota struct{ Root string }

// GetQuotaRoot is GETQUOTAROOT (RFC 9208 section 4.2.2).
type GetQuotaRoot struct{ Mailbox string }

// SetQuota is SETQUOTA (RFC 9208 section 4.2.3).
type SetQuota struct {
	Root   string
	Limits []QuotaLimit
}

// QuotaLimit is a limit of a resource, in the resource's unit (STORAGE is in
// units of 1024 octets).
type QuotaLimit struct {
	Resource string
	Limit    uint64
}

func (*GetQuota) args()     {}
func (*GetQuotaRoot) args() {}
func (*SetQuota) args()     {}

func quotaCommands() []Spec {
	return []Spec{
		{Name: "GETQUOTA", States: stateUser, parse: parseGetQuota},
		{Name: "GETQUOTAROOT", States: stateUser, parse: func(p *parser) Args { return &GetQuotaRoot{p.mailboxArg()} }},
		{Name: "SETQUOTA", States: stateUser, parse: parseSetQuota},
	}
}

func parseGetQuota(p *parser) Args {
	p.sp()
	return &GetQuota{Root: p.astring()}
}

func parseSetQuota(p *parser) Args {
	p.sp()
	a := &SetQuota{Root: p.astring()}
	p.sp()
	p.list(func() {
		l := QuotaLimit{Resource: string(p.word())}
		p.sp()
		l.Limit = p.number63()
		a.Limits = append(a.Limits, l)
	})
	return a
}
