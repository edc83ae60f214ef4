package imapwire

import (
	"slices"
	"strconv"
	"strings"
)

// Fetch is FETCH and UID FETCH (RFC 3501 section 6.4.5).
type Fetch struct {
	Set NumSet
	// Items are in the client's order, macros replaced by what they stand
	// for, each item once. UID FETCH does not add UID.
	Items []FetchItem
	// ChangedSince is the modifier of RFC 7162 section 3.1.4.1, or nil.
	ChangedSince *uint64
	// Vanished is the modifier of RFC 7162 section 3.2.6: only with
	// UID and ChangedSince.
	Vanished bool
	// Partial is the modifier of RFC 9394, or nil.
	Partial *ResultRange
}

// ResultRange is a range of results (RFC 9394): from First to Last, counted
// from 1, or from the end when both are negative (-1 is the last).
type ResultRange struct {
	First, Last int64
}

// String returns the range in wire form.
func (r ResultRange) String() string {
	return strconv.FormatInt(r.First, 10) + ":" + strconv.FormatInt(r.Last, 10)
}

// FetchKind says what a [FetchItem] asks for.
type FetchKind uint8

// Kinds of fetch items.
const (
	FetchFlags FetchKind = iota
	FetchUID
	FetchInternalDate
	FetchSize // RFC822.SIZE
	FetchEnvelope
	FetchBodyStructure // BODYSTRUCTURE
	FetchBody          // BODY without a section
	FetchBodySection   // BODY[...], BODY.PEEK[...]
	FetchRFC822        // RFC822
	FetchRFC822Header  // RFC822.HEADER
	FetchRFC822Text    // RFC822.TEXT
	FetchBinary        // BINARY[...], BINARY.PEEK[...] (RFC 3516)
	FetchBinarySize    // BINARY.SIZE[...] (RFC 3516)
	FetchModSeq        // MODSEQ (RFC 7162)
	FetchEmailID       // EMAILID (RFC 8474)
	FetchThreadID      // THREADID (RFC 8474)
	FetchSaveDate      // SAVEDATE (RFC 8514)
	FetchPreview       // PREVIEW (RFC 8970)
	fetchKinds         = iota
)

// fetchNames is the name of each kind; for sections without ".PEEK" and "[".
var fetchNames = [fetchKinds]string{
	"FLAGS", "UID", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE", "BODY", "BODY",
	"RFC822", "RFC822.HEADER", "RFC822.TEXT", "BINARY", "BINARY.SIZE", "MODSEQ", "EMAILID", "THREADID",
	"SAVEDATE", "PREVIEW",
}

// FetchItem is one message data item.
type FetchItem struct {
	Kind FetchKind
	// Section is which part BODY[], BINARY[] and BINARY.SIZE[] ask for.
	Section Section
	// Peek is set when \Seen is not to be set: by BODY.PEEK, BINARY.PEEK,
	// and the two items of RFC 1730 that Outlook still asks for, RFC822.PEEK
	// and RFC822.TEXT.PEEK.
	Peek bool
	// Partial cuts the data, or is nil.
	Partial *Partial
	// Lazy is the modifier of PREVIEW.
	Lazy bool
}

// SetsSeen reports whether fetching the item sets \Seen.
func (f *FetchItem) SetsSeen() bool {
	switch f.Kind {
	case FetchBodySection, FetchBinary, FetchRFC822, FetchRFC822Text:
		return !f.Peek
	}
	return false
}

func (f *FetchItem) equal(o *FetchItem) bool {
	return f.Kind == o.Kind && f.Peek == o.Peek && f.Lazy == o.Lazy && f.Section.equal(&o.Section) &&
		(f.Partial == o.Partial || f.Partial != nil && o.Partial != nil && *f.Partial == *o.Partial)
}

// Partial is <Offset.Length>.
type Partial struct {
	Offset uint64
	// Length is at least 1, or 0 for everything from Offset on.
	Length uint64
}

// SectionKind says what of a part is meant.
type SectionKind uint8

// Kinds of sections.
const (
	SectionAll SectionKind = iota
	SectionHeader
	SectionHeaderFields
	SectionHeaderFieldsNot
	SectionText
	SectionMIME
)

func (k SectionKind) String() string {
	return [...]string{"", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"}[k]
}

// Section is what stands in the brackets of BODY[].
type Section struct {
	// Part is the part number, empty for the message itself.
	Part []uint32
	Kind SectionKind
	// Fields are the header names of the two FIELDS kinds, as the client
	// wrote them, at least one.
	Fields []string
}

func (s *Section) equal(o *Section) bool {
	return s.Kind == o.Kind && slices.Equal(s.Part, o.Part) && slices.Equal(s.Fields, o.Fields)
}

// Append appends the section without brackets.
func (s *Section) Append(dst []byte) []byte {
	for i, n := range s.Part {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendUint(dst, uint64(n), 10)
	}
	if s.Kind == SectionAll {
		return dst
	}
	if len(s.Part) > 0 {
		dst = append(dst, '.')
	}
	dst = append(dst, s.Kind.String()...)
	if s.Kind != SectionHeaderFields && s.Kind != SectionHeaderFieldsNot {
		return dst
	}
	dst = append(dst, ' ', '(')
	for i, f := range s.Fields {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = AppendAString(dst, f)
	}
	return append(dst, ')')
}

// AppendName appends the item's name as it stands in a FETCH response:
// without PEEK, with the origin of a partial alone.
func (f *FetchItem) AppendName(dst []byte) []byte {
	dst = append(dst, fetchNames[f.Kind]...)
	switch f.Kind {
	case FetchBodySection, FetchBinary, FetchBinarySize:
		dst = append(dst, '[')
		dst = f.Section.Append(dst)
		dst = append(dst, ']')
	}
	if f.Partial != nil {
		dst = append(dst, '<')
		dst = strconv.AppendUint(dst, f.Partial.Offset, 10)
		dst = append(dst, '>')
	}
	return dst
}

// String returns the item as it stands in a command.
func (f *FetchItem) String() string {
	plain := *f
	plain.Partial = nil
	s := string(plain.AppendName(nil))
	switch {
	case f.Peek && strings.Contains(s, "["):
		s = strings.Replace(s, "[", ".PEEK[", 1)
	case f.Peek:
		s += ".PEEK"
	}
	if f.Lazy {
		s += " (LAZY)"
	}
	if p := f.Partial; p != nil {
		s += "<" + strconv.FormatUint(p.Offset, 10)
		if p.Length > 0 {
			s += "." + strconv.FormatUint(p.Length, 10)
		}
		s += ">"
	}
	return s
}

func (*Fetch) args() {}

func fetchCommands() []Spec {
	return []Spec{
		{Name: "FETCH", States: StateSelected, UID: UIDAllowed, parse: parseFetch},
	}
}

func parseFetch(p *parser) Args {
	a := &Fetch{Set: p.setArg()}
	p.sp()
	if p.peek() == '(' {
		if p.list(func() { p.addFetchItem(a) }) == 0 {
			p.expected("a data item")
		}
	} else if macro := p.fetchMacro(); macro != nil {
		a.Items = macro
	} else {
		p.addFetchItem(a)
	}
	if p.more() {
		p.fetchModifiers(a)
	}
	return a
}

// maxFetchItems bounds the data that one command can ask for per message, and
// the search for duplicates.
const maxFetchItems = 256

// addFetchItem reads one data item and adds it unless it is there already.
func (p *parser) addFetchItem(a *Fetch) {
	item := p.fetchItem()
	for i := range a.Items {
		if a.Items[i].equal(&item) {
			return
		}
	}
	if a.Items = append(a.Items, item); len(a.Items) > maxFetchItems {
		p.fail(No, CodeLimit, "Too many data items")
	}
}

// fetchMacro reads ALL, FAST or FULL, or returns nil.
func (p *parser) fetchMacro() []FetchItem {
	kinds := []FetchKind{FetchFlags, FetchInternalDate, FetchSize, FetchEnvelope, FetchBody}
	switch {
	case p.wordIs("FAST"):
		kinds = kinds[:3]
	case p.wordIs("ALL"):
		kinds = kinds[:4]
	case p.wordIs("FULL"):
	default:
		return nil
	}
	items := make([]FetchItem, len(kinds))
	for i, k := range kinds {
		items[i].Kind = k
	}
	return items
}

// fetchItem reads one data item.
func (p *parser) fetchItem() FetchItem {
	w := p.word()
	if p.peek() == '[' {
		return p.fetchSection(w)
	}
	switch string(w) {
	case "RFC822.PEEK":
		return FetchItem{Kind: FetchRFC822, Peek: true}
	case "RFC822.TEXT.PEEK":
		return FetchItem{Kind: FetchRFC822Text, Peek: true}
	}
	for i, name := range fetchNames {
		k := FetchKind(i)
		if string(w) != name || k == FetchBodySection || k == FetchBinary || k == FetchBinarySize {
			continue
		}
		if k == FetchBodySection {
			k = FetchBody
		}
		item := FetchItem{Kind: k}
		if k == FetchPreview {
			item.Lazy = p.previewModifier()
		}
		return item
	}
	p.badf("Unknown data item: %.64s", w)
	return FetchItem{}
}

// previewModifier reads the " (LAZY)" that may follow PREVIEW.
func (p *parser) previewModifier() (lazy bool) {
	if !p.ok() || !strings.HasPrefix(string(p.line[p.pos:]), " (") {
		return false
	}
	p.spaces()
	p.list(func() {
		if w := p.word(); string(w) != "LAZY" {
			p.badf("Unknown modifier: %.64s", w)
		}
		lazy = true
	})
	return lazy
}

// fetchSection reads the brackets and what follows them.
func (p *parser) fetchSection(name []byte) FetchItem {
	var item FetchItem
	switch string(name) {
	case "BODY":
		item.Kind = FetchBodySection
	case "BODY.PEEK":
		item.Kind, item.Peek = FetchBodySection, true
	case "BINARY":
		item.Kind = FetchBinary
	case "BINARY.PEEK":
		item.Kind, item.Peek = FetchBinary, true
	case "BINARY.SIZE":
		item.Kind = FetchBinarySize
	default:
		p.badf("Unknown data item: %.64s", name)
		return item
	}
	p.expect('[')
	item.Section = p.section(item.Kind == FetchBodySection)
	p.expect(']')
	if item.Kind != FetchBinarySize && p.accept('<') {
		item.Partial = p.partial()
	}
	return item
}

// partial reads "offset.length>". A length that is missing means everything:
// the sender surely did not mean nothing.
func (p *parser) partial() *Partial {
	part := &Partial{Offset: p.number63()}
	if p.accept('.') {
		if part.Length = p.number63(); part.Length == 0 {
			p.bad("Length of a partial must not be zero")
		}
	}
	p.expect('>')
	return part
}

// section reads what stands in brackets; text allows HEADER and the like.
func (p *parser) section(text bool) Section {
	var s Section
	p.spaces()
	for isDigit(p.peek()) {
		if len(s.Part) == p.r.opt.Limits.MaxNesting {
			p.fail(No, CodeLimit, "Part number is nested too deep")
		}
		s.Part = append(s.Part, p.nzNumber32())
		if !p.accept('.') {
			p.spaces()
			return s
		}
	}
	if !text || p.peek() == ']' {
		if len(s.Part) > 0 {
			p.expected("a part number")
		}
		p.spaces()
		return s
	}
	p.sectionText(&s)
	p.spaces()
	return s
}

func (p *parser) sectionText(s *Section) {
	switch w := p.word(); string(w) {
	case "HEADER":
		s.Kind = SectionHeader
	case "HEADER.FIELDS":
		s.Kind = SectionHeaderFields
	case "HEADER.FIELDS.NOT":
		s.Kind = SectionHeaderFieldsNot
	case "TEXT":
		s.Kind = SectionText
	case "MIME":
		s.Kind = SectionMIME
		if len(s.Part) == 0 {
			p.bad("MIME needs a part number")
		}
	default:
		p.badf("Unknown section: %.64s", w)
	}
	if s.Kind != SectionHeaderFields && s.Kind != SectionHeaderFieldsNot {
		return
	}
	p.spaces()
	if p.list(func() { s.Fields = append(s.Fields, p.headerName()) }) == 0 {
		p.expected("a header name")
	}
}

// maxHeaderName is the longest line of RFC 5322: no header has a longer name.
const maxHeaderName = 998

// headerName reads the name of a header field.
func (p *parser) headerName() string {
	name := p.astring()
	for i := range len(name) {
		if name[i] <= ' ' || name[i] >= 0x7f || name[i] == ':' {
			p.badf("Invalid header name at position %d", p.pos+1)
			break
		}
	}
	if n := len(name); n == 0 || n > maxHeaderName {
		p.expected("a header name")
	}
	return name
}

func (p *parser) fetchModifiers(a *Fetch) {
	p.list(func() {
		switch w := p.word(); string(w) {
		case "CHANGEDSINCE":
			p.sp()
			modseq := p.number63()
			a.ChangedSince = &modseq
		case "VANISHED":
			a.Vanished = true
		case "PARTIAL":
			p.sp()
			a.Partial = p.resultRange()
		default:
			p.badf("Unknown modifier: %.64s", w)
		}
	})
	if a.Vanished && (!p.uid || a.ChangedSince == nil) {
		p.bad("VANISHED needs UID FETCH and CHANGEDSINCE")
	}
}

// resultRange reads the range of RFC 9394: both ends have the same sign.
func (p *parser) resultRange() *ResultRange {
	neg := p.accept('-')
	r := &ResultRange{First: int64(p.nzNumber32())}
	p.expect(':')
	if neg {
		p.expect('-')
		r.First = -r.First
	}
	r.Last = int64(p.nzNumber32())
	if neg {
		r.Last = -r.Last
	}
	return r
}
