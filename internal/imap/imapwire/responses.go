package imapwire

import (
	"encoding/base64"
	"strconv"
)

func appendBase64(dst, data []byte) []byte {
	return base64.StdEncoding.AppendEncode(dst, data)
}

// Capability writes the capabilities.
func (e *Encoder) Capability(caps []string) {
	e.line(appendAtoms(append(e.start(), "* CAPABILITY"...), caps))
}

// Enabled writes the capabilities that ENABLE switched on (RFC 5161).
func (e *Encoder) Enabled(caps []string) {
	e.line(appendAtoms(append(e.start(), "* ENABLED"...), caps))
}

// Flags writes the flags of the mailbox.
func (e *Encoder) Flags(flags []string) {
	e.line(AppendFlags(append(e.start(), "* FLAGS "...), flags))
}

// ListData is one line of LIST or LSUB.
type ListData struct {
	// Attributes are with backslash, such as \HasChildren or \Sent.
	Attributes []string
	// Delimiter is the hierarchy separator, 0 for NIL.
	Delimiter byte
	// Mailbox is in UTF-8.
	Mailbox string
	// OldName is the name before RENAME (RFC 5465); empty for none.
	OldName string
	// ChildInfo is why a mailbox is listed that was not selected itself,
	// such as SUBSCRIBED (RFC 5258); empty for none.
	ChildInfo []string
}

// List writes a LIST response.
func (e *Encoder) List(d *ListData) { e.list("* LIST ", d) }

// LSub writes an LSUB response.
func (e *Encoder) LSub(d *ListData) { e.list("* LSUB ", d) }

func (e *Encoder) list(name string, d *ListData) {
	dst := AppendFlags(append(e.start(), name...), d.Attributes)
	if d.Delimiter == 0 {
		dst = append(dst, " NIL "...)
	} else {
		dst = append(AppendQuoted(append(dst, ' '), string(rune(d.Delimiter)), e.utf8), ' ')
	}
	dst = AppendMailbox(dst, d.Mailbox, e.utf8)
	if len(d.ChildInfo) > 0 || d.OldName != "" {
		dst = e.appendListExtended(append(dst, ' '), d)
	}
	e.line(dst)
}

// appendListExtended appends the extended data items of RFC 5258.
func (e *Encoder) appendListExtended(dst []byte, d *ListData) []byte {
	dst = append(dst, '(')
	if len(d.ChildInfo) > 0 {
		dst = append(dst, `"CHILDINFO" (`...)
		for i, s := range d.ChildInfo {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = AppendQuoted(dst, s, false)
		}
		dst = append(dst, ')')
	}
	if d.OldName != "" {
		if len(d.ChildInfo) > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, `"OLDNAME" (`...)
		dst = append(AppendMailbox(dst, d.OldName, e.utf8), ')')
	}
	return append(dst, ')')
}

// StatusData is one item of a STATUS response.
type StatusData struct {
	Item StatusItem
	// Number is the value of every item but MAILBOXID.
	Number uint64
	// Text is the value of MAILBOXID.
	Text string
	// Nil is for an APPENDLIMIT that does not exist.
	Nil bool
}

// StatusResponse writes a STATUS response.
func (e *Encoder) StatusResponse(mailbox string, items []StatusData) {
	dst := AppendMailbox(append(e.start(), "* STATUS "...), mailbox, e.utf8)
	dst = append(dst, ' ', '(')
	for i, it := range items {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(append(dst, it.Item...), ' ')
		switch {
		case it.Nil:
			dst = AppendNil(dst)
		case it.Item == StatusMailboxID:
			dst = append(AppendAtom(append(dst, '('), it.Text), ')')
		default:
			dst = strconv.AppendUint(dst, it.Number, 10)
		}
	}
	e.line(append(dst, ')'))
}

// Search writes a SEARCH response. A modseq that is not 0 is the highest of
// the messages found (RFC 7162); it is not written without messages.
func (e *Encoder) Search(nums []uint32, modseq uint64) {
	e.numbers("* SEARCH", nums, modseq)
}

// Sort writes a SORT response.
func (e *Encoder) Sort(nums []uint32, modseq uint64) {
	e.numbers("* SORT", nums, modseq)
}

func (e *Encoder) numbers(name string, nums []uint32, modseq uint64) {
	dst := append(e.start(), name...)
	for _, n := range nums {
		dst = strconv.AppendUint(append(dst, ' '), uint64(n), 10)
	}
	if modseq > 0 && len(nums) > 0 {
		dst = strconv.AppendUint(append(dst, " (MODSEQ "...), modseq, 10)
		dst = append(dst, ')')
	}
	e.line(dst)
}

// ESearchData is the result of a search with result options (RFC 4731).
type ESearchData struct {
	// UID is set for the UID form of the command.
	UID bool
	// Min and Max are 0 when not asked for, or when nothing was found.
	Min, Max uint32
	// All is the result, in ascending order; nothing is written when it is
	// empty.
	All []uint32
	// Count is written unless it is nil.
	Count *uint32
	// Partial is the range that PartialNums belong to, or nil (RFC 9394).
	Partial     *ResultRange
	PartialNums []uint32
	// ModSeq is 0 when not told (RFC 7162).
	ModSeq uint64
}

// ESearch writes an ESEARCH response for the command with the tag.
func (e *Encoder) ESearch(tag string, d *ESearchData) {
	dst := append(e.start(), "* ESEARCH (TAG "...)
	dst = append(AppendQuoted(dst, tag, false), ')')
	if d.UID {
		dst = append(dst, " UID"...)
	}
	number := func(name string, n uint64) {
		dst = strconv.AppendUint(append(dst, name...), n, 10)
	}
	if d.Min > 0 {
		number(" MIN ", uint64(d.Min))
	}
	if d.Max > 0 {
		number(" MAX ", uint64(d.Max))
	}
	if len(d.All) > 0 {
		dst = AppendNumSet(append(dst, " ALL "...), d.All)
	}
	if d.Count != nil {
		number(" COUNT ", uint64(*d.Count))
	}
	if d.Partial != nil {
		dst = append(append(dst, " PARTIAL ("...), d.Partial.String()...)
		dst = append(dst, ' ')
		if len(d.PartialNums) == 0 {
			dst = AppendNil(dst)
		}
		dst = append(AppendNumSet(dst, d.PartialNums), ')')
	}
	if d.ModSeq > 0 {
		number(" MODSEQ ", d.ModSeq)
	}
	e.line(dst)
}

// NamespaceData is one namespace of RFC 2342.
type NamespaceData struct {
	Prefix    string
	Delimiter byte // 0 for NIL
}

// Namespaces writes a NAMESPACE response; an empty list is NIL.
func (e *Encoder) Namespaces(personal, others, shared []NamespaceData) {
	dst := append(e.start(), "* NAMESPACE"...)
	for _, list := range [...][]NamespaceData{personal, others, shared} {
		if len(list) == 0 {
			dst = append(dst, " NIL"...)
			continue
		}
		dst = append(dst, ' ', '(')
		for _, ns := range list {
			dst = append(AppendMailbox(append(dst, '('), ns.Prefix, e.utf8), ' ')
			if ns.Delimiter == 0 {
				dst = AppendNil(dst)
			} else {
				dst = AppendQuoted(dst, string(rune(ns.Delimiter)), e.utf8)
			}
			dst = append(dst, ')')
		}
		dst = append(dst, ')')
	}
	e.line(dst)
}

// ID writes an ID response (RFC 2971); no fields are NIL.
func (e *Encoder) ID(fields []IDField) {
	dst := append(e.start(), "* ID "...)
	if len(fields) == 0 {
		e.line(AppendNil(dst))
		return
	}
	dst = append(dst, '(')
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(AppendString(dst, f.Name, e.utf8), ' ')
		if f.Nil {
			dst = AppendNil(dst)
		} else {
			dst = AppendString(dst, f.Value, e.utf8)
		}
	}
	e.line(append(dst, ')'))
}

// QuotaUsage is one resource of a QUOTA response, in the resource's unit.
type QuotaUsage struct {
	Resource     string
	Usage, Limit uint64
}

// Quota writes a QUOTA response (RFC 9208).
func (e *Encoder) Quota(root string, usage []QuotaUsage) {
	dst := AppendString(append(e.start(), "* QUOTA "...), root, e.utf8)
	dst = append(dst, ' ', '(')
	for i, u := range usage {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(AppendAtom(dst, u.Resource), ' ')
		dst = strconv.AppendUint(dst, u.Usage, 10)
		dst = strconv.AppendUint(append(dst, ' '), u.Limit, 10)
	}
	e.line(append(dst, ')'))
}

// QuotaRoot writes a QUOTAROOT response (RFC 9208).
func (e *Encoder) QuotaRoot(mailbox string, roots ...string) {
	dst := AppendMailbox(append(e.start(), "* QUOTAROOT "...), mailbox, e.utf8)
	for _, r := range roots {
		dst = AppendString(append(dst, ' '), r, e.utf8)
	}
	e.line(dst)
}
