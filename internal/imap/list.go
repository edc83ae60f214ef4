package imap

import (
	"context"
	"slices"
	"strings"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
)

// listed is a name of the hierarchy: a mailbox, or a level above one that is
// none itself.
type listed struct {
	name     string
	box      *mail.Mailbox // nil for a level that cannot be selected
	children bool
	info     []string // see childInfo
}

// hierarchy returns all names in order, INBOX first.
func (s *session) hierarchy(ctx context.Context) ([]listed, error) {
	boxes, err := s.srv.o.Mailboxes.List(ctx, s.acct.ID)
	if err != nil {
		return nil, err
	}
	names := make(map[string]*listed, len(boxes))
	for _, b := range boxes {
		if !b.Hidden {
			names[b.Path] = &listed{name: b.Path, box: b}
		}
	}
	for _, b := range boxes {
		if b.Hidden {
			continue
		}
		for p := mail.ParentName(b.Path); p != ""; p = mail.ParentName(p) {
			if names[p] == nil {
				names[p] = &listed{name: p}
			}
			names[p].children = true
		}
	}
	out := make([]listed, 0, len(names))
	for _, l := range names {
		out = append(out, *l)
	}
	slices.SortFunc(out, func(a, b listed) int { return compareNames(a.name, b.name) })
	return out, nil
}

// compareNames orders level by level, INBOX before everything.
func compareNames(a, b string) int {
	rank := func(n string) int {
		if n == mail.Inbox || mail.IsInferior(n, mail.Inbox) {
			return 0
		}
		return 1
	}
	if r := rank(a) - rank(b); r != 0 {
		return r
	}
	return slices.Compare(strings.Split(a, mail.Separator), strings.Split(b, mail.Separator))
}

// list is LIST (RFC 3501, 6.3.8) with the options that RFC 5258, 5819 and 6154
// add.
func (s *session) list(ctx context.Context, cmd *imapwire.Command, a *imapwire.List) error {
	if len(a.Patterns) == 1 && a.Patterns[0] == "" && !a.Extended {
		s.w.List(&imapwire.ListData{Attributes: []string{`\Noselect`}, Delimiter: mail.Separator[0]})
		return s.ok(ctx, cmd, "")
	}
	all, err := s.hierarchy(ctx)
	if err != nil {
		return err
	}
	m := newMatcher(a.Reference, a.Patterns)
	var chosen []listed
	var boxes []mail.MailboxID
	for _, l := range all {
		matches, err := m.match(l.name)
		if err != nil {
			return err
		}
		l.info = childInfo(&l, &a.Select, all)
		if !matches || !selects(&l, &a.Select) && len(l.info) == 0 {
			continue
		}
		chosen = append(chosen, l)
		if l.box != nil {
			boxes = append(boxes, l.box.ID)
		}
	}
	counters, err := s.counters(ctx, a.Return.Status, boxes...)
	if err != nil {
		return err
	}
	for _, l := range chosen {
		s.w.List(&imapwire.ListData{Attributes: attributes(&l, a), Delimiter: mail.Separator[0], Mailbox: l.name, ChildInfo: l.info})
		if len(a.Return.Status) == 0 || l.box == nil {
			continue
		}
		if err := s.tellStatus(ctx, l.box, counters[l.box.ID], a.Return.Status); err != nil && mail.CodeOf(err) != mail.CodeNoMailbox {
			return err
		}
	}
	return s.ok(ctx, cmd, "")
}

// selects reports whether a name fulfils the selection options.
func selects(l *listed, sel *imapwire.ListSelect) bool {
	if sel.Subscribed && (l.box == nil || !l.box.Subscribed) {
		return false
	}
	return !sel.SpecialUse || l.box != nil && l.box.SpecialUse != ""
}

// childInfo returns the selection options that something below a name fulfils, for
// which RECURSIVEMATCH has the name listed as well (RFC 5258, 3 and 3.5).
func childInfo(l *listed, sel *imapwire.ListSelect, all []listed) []string {
	if !sel.RecursiveMatch || !l.children {
		return nil
	}
	if !slices.ContainsFunc(all, func(o listed) bool { return mail.IsInferior(o.name, l.name) && selects(&o, sel) }) {
		return nil
	}
	var out []string
	if sel.Subscribed {
		out = append(out, "SUBSCRIBED")
	}
	if sel.SpecialUse {
		out = append(out, "SPECIAL-USE")
	}
	return out
}

// attributes are the name attributes of RFC 3501, 7.2.2, RFC 3348, RFC 5258 and
// RFC 6154.
func attributes(l *listed, a *imapwire.List) []string {
	var out []string
	switch {
	case l.box == nil && a.Extended:
		out = append(out, `\NonExistent`) // which implies \Noselect
	case l.box == nil:
		out = append(out, `\Noselect`)
	}
	if l.children {
		out = append(out, `\HasChildren`)
	} else {
		out = append(out, `\HasNoChildren`)
	}
	if l.box == nil {
		return out
	}
	if l.box.Subscribed && (a.Return.Subscribed || a.Select.Subscribed) {
		out = append(out, `\Subscribed`)
	}
	if l.box.SpecialUse != "" {
		out = append(out, string(l.box.SpecialUse))
	}
	return out
}

// lsub is LSUB (RFC 3501, 6.3.9). With % a level above a subscribed mailbox is
// told even if it is not subscribed itself.
func (s *session) lsub(ctx context.Context, cmd *imapwire.Command, a *imapwire.LSub) error {
	all, err := s.hierarchy(ctx)
	if err != nil {
		return err
	}
	m := newMatcher(a.Reference, []string{a.Pattern})
	above := map[string]bool{} // levels above a subscribed mailbox that is not told itself
	matches := make([]bool, len(all))
	for i, l := range all {
		if matches[i], err = m.match(l.name); err != nil {
			return err
		}
		if l.box == nil || !l.box.Subscribed || matches[i] {
			continue
		}
		for p := mail.ParentName(l.name); p != ""; p = mail.ParentName(p) {
			above[p] = true
		}
	}
	for i, l := range all {
		switch {
		case !matches[i]:
		case l.box != nil && l.box.Subscribed:
			s.w.LSub(&imapwire.ListData{Attributes: attributes(&l, &imapwire.List{}), Delimiter: mail.Separator[0], Mailbox: l.name})
		case above[l.name] && strings.HasSuffix(a.Pattern, "%"):
			s.w.LSub(&imapwire.ListData{Attributes: []string{`\Noselect`, `\HasChildren`}, Delimiter: mail.Separator[0], Mailbox: l.name})
		}
	}
	return s.ok(ctx, cmd, "")
}
