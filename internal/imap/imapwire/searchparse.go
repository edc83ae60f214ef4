package imapwire

import (
	"strings"
	"unicode/utf8"
)

func parseSearch(p *parser) Args {
	a := &Search{}
	p.sp()
	if p.wordIs("RETURN") {
		p.sp()
		a.Return = p.searchReturn()
		p.sp()
	}
	if p.wordIs("CHARSET") {
		p.sp()
		a.Charset = p.charset()
		p.sp()
	}
	a.Key = p.searchKeys()
	return a
}

func (p *parser) searchReturn() *SearchReturn {
	r := &SearchReturn{}
	p.list(func() {
		switch w := p.word(); string(w) {
		case "MIN":
			r.Min = true
		case "MAX":
			r.Max = true
		case "ALL":
			r.All = true
		case "COUNT":
			r.Count = true
		case "SAVE":
			r.Save = true
		case "PARTIAL":
			p.sp()
			r.Partial = p.resultRange()
		default:
			p.badf("Unknown result option: %.64s", w)
		}
	})
	if r.All && r.Partial != nil {
		p.bad("ALL and PARTIAL exclude each other")
	}
	return r
}

// charset reads the name of a character set and sets up its decoder.
func (p *parser) charset() string {
	name := strings.ToUpper(p.astring())
	switch name {
	case "US-ASCII", "UTF-8":
		return name
	}
	if f := p.r.opt.Charset; f != nil && p.ok() {
		if p.decode = f(name); p.decode != nil {
			return name
		}
	}
	p.fail(No, CodeBadCharset, "Character set is not supported")
	return ""
}

// searchText reads a search string and returns it in UTF-8. Bare UTF-8 is
// accepted whatever the charset says.
func (p *parser) searchText() string {
	s := p.astring()
	if p.decode != nil {
		if out, err := p.decode(s); err == nil {
			return out
		}
	}
	if !utf8.ValidString(s) {
		p.fail(No, CodeBadCharset, "Search string is not in its character set")
	}
	return s
}

// searchKeys reads one or more keys up to the end of the command.
func (p *parser) searchKeys() SearchKey {
	keys := []SearchKey{p.searchKey()}
	for p.more() {
		keys = append(keys, p.searchKey())
	}
	return allOf(keys)
}

// allOf joins keys with AND.
func allOf(keys []SearchKey) SearchKey {
	if len(keys) == 1 {
		return keys[0]
	}
	return SearchKey{Op: SearchAnd, Keys: keys}
}

// searchKey reads one key.
func (p *parser) searchKey() SearchKey {
	p.element()
	c := p.peek()
	switch {
	case c == '(':
		return p.searchGroup()
	case isDigit(c) || c == '*' || c == '$':
		return SearchKey{Op: SearchSeq, Set: p.numSet()}
	}
	w := p.word()
	if len(w) == 0 {
		return SearchKey{}
	}
	switch string(w) {
	case "OR":
		return p.searchOr()
	case "NOT":
		p.sp()
		p.enter()
		k := negate(p.searchKey())
		p.leave()
		return k
	case "UID":
		return SearchKey{Op: SearchUID, Set: p.setArg()}
	case "KEYWORD":
		p.sp()
		return SearchKey{Op: SearchKeyword, Text: p.searchFlag()}
	case "UNKEYWORD":
		p.sp()
		return negate(SearchKey{Op: SearchKeyword, Text: p.searchFlag()})
	}
	if k, ok := flagKey(string(w)); ok {
		return k
	}
	for op, name := range searchNames {
		if string(w) == name {
			return p.searchArgs(SearchOp(op))
		}
	}
	p.badf("Unknown search key: %.64s", w)
	return SearchKey{}
}

func negate(k SearchKey) SearchKey {
	return SearchKey{Op: SearchNot, Keys: []SearchKey{k}}
}

// searchFlag reads the argument of KEYWORD. The system flags of RFC 3501 are
// accepted too.
func (p *parser) searchFlag() string {
	f := p.flag()
	if len(f) > 1 && f[0] == '\\' {
		if _, ok := flagKey(strings.ToUpper(f[1:])); !ok {
			p.badf("Unknown flag: %.64s", f)
		}
	}
	return f
}

// flagKey returns the key of the words that test flags.
func flagKey(w string) (SearchKey, bool) {
	has := func(f string) SearchKey { return SearchKey{Op: SearchKeyword, Text: f} }
	switch w {
	case "ANSWERED", "DELETED", "DRAFT", "FLAGGED", "SEEN", "RECENT":
		return has(systemFlag(w)), true
	case "UNANSWERED", "UNDELETED", "UNDRAFT", "UNFLAGGED", "UNSEEN":
		return negate(has(systemFlag(w[2:]))), true
	case "NEW":
		return allOf([]SearchKey{has(`\Recent`), negate(has(`\Seen`))}), true
	case "OLD":
		return negate(has(`\Recent`)), true
	}
	return SearchKey{}, false
}

// systemFlag returns the flag of an upper-case word.
func systemFlag(w string) string {
	return `\` + w[:1] + strings.ToLower(w[1:])
}

// searchGroup reads keys in parentheses.
func (p *parser) searchGroup() SearchKey {
	p.expect('(')
	p.enter()
	p.spaces()
	keys := []SearchKey{p.searchKey()}
	for p.spaces(); p.ok() && p.peek() != ')'; p.spaces() {
		if p.pos == 0 || p.line[p.pos-1] != ' ' {
			p.expected("a space or )")
			break
		}
		keys = append(keys, p.searchKey())
	}
	p.expect(')')
	p.leave()
	return allOf(keys)
}

// searchOr reads the two keys of OR. The chains that clients make of it,
// OR a OR b OR c d, become one node and cost no nesting.
func (p *parser) searchOr() SearchKey {
	p.enter()
	var keys []SearchKey
	for {
		p.sp()
		keys = append(keys, p.searchKey())
		p.sp()
		p.element()
		if p.ok() && p.wordIs("OR") {
			continue
		}
		keys = append(keys, p.searchKey())
		p.leave()
		return SearchKey{Op: SearchOr, Keys: keys}
	}
}

// searchArgs reads the arguments of an operator that stands for itself.
func (p *parser) searchArgs(op SearchOp) SearchKey {
	k := SearchKey{Op: op}
	switch op {
	case SearchAll, SearchSaveDateSupported:
		return k
	}
	p.sp()
	switch op {
	case SearchHeader:
		k.Field = p.headerName()
		p.sp()
		k.Text = p.searchText()
	case SearchBefore, SearchOn, SearchSince, SearchSentBefore, SearchSentOn, SearchSentSince,
		SearchSavedBefore, SearchSavedOn, SearchSavedSince:
		k.Date = p.date()
	case SearchLarger, SearchSmaller:
		k.Number = p.number63()
	case SearchOlder, SearchYounger:
		k.Number = uint64(p.nzNumber32())
	case SearchModSeq:
		p.searchModSeq(&k)
	case SearchEmailID, SearchThreadID:
		k.Text = p.atom()
	default:
		k.Text = p.searchText()
	}
	return k
}

// searchModSeq reads [entry-name entry-type] mod-sequence.
func (p *parser) searchModSeq(k *SearchKey) {
	if p.peek() == '"' {
		k.Field = p.quoted()
		p.sp()
		switch w := p.word(); string(w) {
		case "ALL", "PRIV", "SHARED":
			k.Text = string(w)
		default:
			p.badf("Unknown entry type: %.64s", w)
		}
		p.sp()
	}
	k.Number = p.number63()
}
