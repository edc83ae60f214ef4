package imapwire

// SortKey is one criterion of SORT, as it is written.
type SortKey string

// Sort criteria (RFC 5256, RFC 5957).
const (
	SortArrival     SortKey = "ARRIVAL"
	SortCc          SortKey = "CC"
	SortDate        SortKey = "DATE"
	SortDisplayFrom SortKey = "DISPLAYFROM"
	SortDisplayTo   SortKey = "DISPLAYTO"
	SortFrom        SortKey = "FROM"
	SortSize        SortKey = "SIZE"
	SortSubject     SortKey = "SUBJECT"
	SortTo          SortKey = "TO"
)

// SortCriterion is a sort key with its direction.
type SortCriterion struct {
	Key     SortKey
	Reverse bool
}

// Sort is SORT and UID SORT (RFC 5256, RFC 5267).
type Sort struct {
	// Return is nil when the command had no result options.
	Return *SearchReturn
	// Criteria has at least one element.
	Criteria []SortCriterion
	Charset  string
	Key      SearchKey
}

// Thread is THREAD and UID THREAD (RFC 5256).
type Thread struct {
	// Algorithm is in upper case and not checked.
	Algorithm string
	Charset   string
	Key       SearchKey
}

func (*Sort) args()   {}
func (*Thread) args() {}

func sortCommands() []Spec {
	return []Spec{
		{Name: "SORT", States: StateSelected, UID: UIDAllowed, parse: parseSort},
		{Name: "THREAD", States: StateSelected, UID: UIDAllowed, parse: parseThread},
	}
}

func parseSort(p *parser) Args {
	a := &Sort{}
	p.sp()
	if p.wordIs("RETURN") {
		p.sp()
		a.Return = p.searchReturn()
		p.sp()
	}
	reverse := false
	p.list(func() {
		w := p.word()
		if string(w) == "REVERSE" && !reverse {
			reverse = true
			return
		}
		a.Criteria = append(a.Criteria, SortCriterion{p.sortKey(w), reverse})
		reverse = false
	})
	if reverse || len(a.Criteria) == 0 {
		p.expected("a sort key")
	}
	p.sp()
	a.Charset = p.charset()
	p.sp()
	a.Key = p.searchKeys()
	return a
}

func (p *parser) sortKey(w []byte) SortKey {
	for _, k := range [...]SortKey{
		SortArrival, SortCc, SortDate, SortDisplayFrom, SortDisplayTo, SortFrom, SortSize, SortSubject, SortTo,
	} {
		if string(w) == string(k) {
			return k
		}
	}
	p.badf("Unknown sort key: %.64s", w)
	return ""
}

func parseThread(p *parser) Args {
	a := &Thread{}
	p.sp()
	a.Algorithm = string(p.word())
	p.sp()
	a.Charset = p.charset()
	p.sp()
	a.Key = p.searchKeys()
	return a
}
