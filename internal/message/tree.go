package message

// treeVersion is the first octet of an encoded tree.
const treeVersion = 1

// maxTreeDepth bounds the recursion of DecodeTree. The parser stays below it
// with any sensible Limits.MaxDepth.
const maxTreeDepth = 1024

// Flags of an encoded message.
const (
	treeHas8Bit = 1 << iota
	treeHasNUL
	treeHasBareLF
	treeLimited
)

// Flags of an encoded part: what is there beyond offsets, type and encoding.
const (
	partImplied = 1 << iota
	partOpaque
	partChildren
	partMessage
	partEnvelope
	partParams
	partMediaType // not Type/Subtype in lower case
	partDecodedSize
	partID
	partDescription
	partMD5
	partDisposition
	partLanguage
	partLocation
)

// AppendTree appends a compact encoding of the part tree with all that is
// needed to give BODY, BODYSTRUCTURE and any section without parsing. The raw
// header and the root's own envelope are not in it: a store keeps those
// already.
func AppendTree(dst []byte, m *Message) []byte {
	flags := byte(0)
	for i, f := range [...]bool{m.Has8Bit, m.HasNUL, m.HasBareLF, m.Limited} {
		if f {
			flags |= 1 << i
		}
	}
	dst = append(dst, treeVersion, flags)
	dst = appendUint(dst, uint64(m.Size))
	dst = appendUint(dst, uint64(m.Lines))
	return appendPart(dst, m.Root, 0, true)
}

func partFlags(p *Part, root bool) uint64 {
	flags := uint64(0)
	for i, f := range [...]bool{
		p.Implied, p.Opaque, len(p.Children) > 0, p.Message != nil, p.Envelope != nil && !root,
		len(p.Params) > 0, !p.plainMediaType(), p.DecodedSize != p.Size(),
		p.ID != "", p.Description != "", p.MD5 != "", p.Disposition != "",
		len(p.Language) > 0, p.Location != "",
	} {
		if f {
			flags |= 1 << i
		}
	}
	return flags
}

// plainMediaType reports whether MediaType follows from Type, Subtype and
// Implied.
func (p *Part) plainMediaType() bool {
	if p.Implied {
		return p.MediaType == ""
	}
	n := len(p.Type)
	return len(p.MediaType) == n+1+len(p.Subtype) && p.MediaType[n] == '/' &&
		isLowerOf(p.MediaType[:n], p.Type) && isLowerOf(p.MediaType[n+1:], p.Subtype)
}

// isLowerOf reports whether low is s in lower case. The lengths are equal.
func isLowerOf(low, s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != low[i] {
			return false
		}
	}
	return true
}

// appendPart writes a part. base is an offset at or before its header.
func appendPart(dst []byte, p *Part, base int64, root bool) []byte {
	flags := partFlags(p, root)
	dst = appendUint(dst, flags)
	for _, n := range [...]int64{p.HeaderStart - base, p.BodyStart - p.HeaderStart, p.Size(), p.Lines} {
		dst = appendUint(dst, uint64(n))
	}
	for _, s := range [...]string{p.Type, p.Subtype, p.Encoding} {
		dst = appendStr(dst, s)
	}
	if flags&partParams != 0 {
		dst = appendParamList(dst, p.Params)
	}
	if flags&partMediaType != 0 {
		dst = appendStr(dst, p.MediaType)
	}
	if flags&partDecodedSize != 0 {
		dst = appendUint(dst, uint64(p.DecodedSize))
	}
	for _, s := range [...]string{p.ID, p.Description, p.MD5} {
		if s != "" {
			dst = appendStr(dst, s)
		}
	}
	if p.Disposition != "" {
		dst = appendStr(dst, p.Disposition)
		dst = appendParamList(dst, p.DispositionParams)
	}
	if len(p.Language) > 0 {
		dst = appendStrs(dst, p.Language)
	}
	if p.Location != "" {
		dst = appendStr(dst, p.Location)
	}
	if flags&partEnvelope != 0 {
		dst = appendEnvelopeTree(dst, p.Envelope)
	}
	if len(p.Children) > 0 {
		dst = appendUint(dst, uint64(len(p.Children)))
		base = p.BodyStart
		for _, c := range p.Children {
			dst = appendPart(dst, c, base, false)
			base = c.BodyEnd
		}
	}
	if p.Message != nil {
		dst = appendPart(dst, p.Message, p.BodyStart, false)
	}
	return dst
}

func appendEnvelopeTree(dst []byte, e *Envelope) []byte {
	at := len(dst)
	dst = append(dst, 0)
	for i, s := range [...]*NString{&e.Date, &e.Subject, &e.InReplyTo, &e.MessageID} {
		if s.Present {
			dst[at] |= 1 << i
			dst = appendStr(dst, s.Value)
		}
	}
	dst = appendAddrs(dst, e.From)
	for i, list := range [...][]Address{e.Sender, e.ReplyTo} {
		if sameAddresses(list, e.From) {
			dst[at] |= 0x10 << i
		} else {
			dst = appendAddrs(dst, list)
		}
	}
	for _, list := range [...][]Address{e.To, e.Cc, e.Bcc} {
		dst = appendAddrs(dst, list)
	}
	return dst
}

func sameAddresses(a, b []Address) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// DecodeTree reads what AppendTree wrote. The result has no Header and no
// envelope of the root. It never panics and takes time and memory in
// proportion to b; what it cannot read is an error that wraps ErrCorrupt.
func DecodeTree(b []byte) (*Message, error) {
	r := newReader(b)
	if v := r.byte(); v != treeVersion {
		r.fail("unknown version")
	}
	flags := r.byte()
	m := &Message{
		Has8Bit: flags&treeHas8Bit != 0, HasNUL: flags&treeHasNUL != 0,
		HasBareLF: flags&treeHasBareLF != 0, Limited: flags&treeLimited != 0,
	}
	m.Size, m.Lines = r.size(), r.size()
	m.Root = r.part(0, 0, m.Size)
	m.HeaderEnd = m.Root.BodyStart
	if r.err == nil && r.pos != len(b) {
		r.fail("data after the end")
	}
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

// part reads a part that lies between the offsets base and end.
func (r *reader) part(depth int, base, end int64) *Part {
	p := &Part{}
	if depth > maxTreeDepth {
		r.fail("parts nested too deep")
		return p
	}
	flags := r.uint()
	p.HeaderStart = base + r.size()
	p.BodyStart = p.HeaderStart + r.size()
	p.BodyEnd = p.BodyStart + r.size()
	p.Lines = r.size()
	if p.BodyEnd > end {
		r.fail("part reaches beyond its parent")
		return p
	}
	p.Type, p.Subtype, p.Encoding = r.str(), r.str(), r.str()
	p.Implied, p.Opaque = flags&partImplied != 0, flags&partOpaque != 0
	r.partDetails(p, flags)
	if flags&partEnvelope != 0 {
		p.Envelope = r.envelope()
	}
	if flags&partChildren != 0 {
		r.children(p, depth)
	}
	if flags&partMessage != 0 {
		p.Message = r.part(depth+1, p.BodyStart, p.BodyEnd)
	}
	return p
}

func (r *reader) children(p *Part, depth int) {
	n := r.count()
	if n == 0 {
		r.fail("multipart without parts")
		return
	}
	p.Children = make([]*Part, 0, min(n, 64))
	base := p.BodyStart
	for i := 0; i < n && r.err == nil; i++ {
		c := r.part(depth+1, base, p.BodyEnd)
		base = c.BodyEnd
		p.Children = append(p.Children, c)
	}
}

func (r *reader) partDetails(p *Part, flags uint64) {
	if flags&partParams != 0 {
		p.Params = r.params()
	}
	switch {
	case flags&partMediaType != 0:
		p.MediaType = r.str()
	case !p.Implied:
		p.MediaType = lowerASCII(p.Type) + "/" + lowerASCII(p.Subtype)
	}
	p.DecodedSize = p.Size()
	if flags&partDecodedSize != 0 {
		p.DecodedSize = r.size()
	}
	for _, f := range [...]struct {
		bit uint64
		s   *string
	}{{partID, &p.ID}, {partDescription, &p.Description}, {partMD5, &p.MD5}} {
		if flags&f.bit != 0 {
			*f.s = r.str()
		}
	}
	if flags&partDisposition != 0 {
		p.Disposition = r.str()
		p.DispositionParams = r.params()
	}
	if flags&partLanguage != 0 {
		p.Language = r.strs()
	}
	if flags&partLocation != 0 {
		p.Location = r.str()
	}
}

func (r *reader) envelope() *Envelope {
	e := &Envelope{}
	flags := r.byte()
	for i, s := range [...]*NString{&e.Date, &e.Subject, &e.InReplyTo, &e.MessageID} {
		if flags&(1<<i) != 0 {
			*s = NString{r.str(), true}
		}
	}
	e.From = r.addrs()
	for i, list := range [...]*[]Address{&e.Sender, &e.ReplyTo} {
		if flags&(0x10<<i) != 0 {
			*list = e.From
		} else {
			*list = r.addrs()
		}
	}
	e.To, e.Cc, e.Bcc = r.addrs(), r.addrs(), r.addrs()
	return e
}
