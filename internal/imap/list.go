package imap

import (
	"context"
	"slices"
	"strings"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
)

// listed is a name of the hierarchy: a mailbox, a level above one that is none
// itself, or a name that is subscribed without a mailbox, and a level above that.
type listed struct {
	name       string
	box        *mail.Mailbox // nil for a name that cannot be selected
	subscribed bool
	children   bool     // there are mailboxes below it
	named      bool     // there are subscribed names without a mailbox below it
	info       []string // see childInfo
}

// exists reports whether there is a mailbox of the name or below it.
func (l *listed) exists() bool { return l.box != nil || l.children }

// hierarchy returns all names in order, INBOX first; with subscriptions also those
// that are only subscribed.
func (s *session) hierarchy(ctx context.Context, subscriptions bool) ([]listed, error) {
	boxes, subscribed, err := s.mailboxes(ctx, subscriptions)
	if err != nil {
		return nil, err
	}
	names := make(map[string]*listed, len(boxes)+len(subscribed))
	get := func(name string) *listed {
		l := names[name]
		if l == nil {
			l = &listed{name: name}
			names[name] = l
		}
		return l
	}
	for _, b := range boxes {
		if b.Hidden {
			continue
		}
		l := get(b.Path)
		l.box, l.subscribed = b, b.Subscribed
		for p := mail.ParentName(b.Path); p != ""; p = mail.ParentName(p) {
			get(p).children = true
		}
	}
	for _, n := range subscribed {
		get(n).subscribed = true
		for p := mail.ParentName(n); p != ""; p = mail.ParentName(p) {
			get(p).named = true
		}
	}
	out := make([]listed, 0, len(names))
	for _, l := range names {
		out = append(out, *l)
	}
	slices.SortFunc(out, func(a, b listed) int { return compareNames(a.name, b.name) })
	return out, nil
}

// mailboxes returns the mailboxes, and if they are wanted the names that are subscribed
// without one.
func (s *session) mailboxes(ctx context.Context, subscriptions bool) ([]*mail.Mailbox, []string, error) {
	if subscriptions {
		return s.srv.o.Mailboxes.Subscriptions(ctx, s.acct.ID)
	}
	boxes, err := s.srv.o.Mailboxes.List(ctx, s.acct.ID)
	return boxes, nil, err
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
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == b[i]:
		case a[i] == mail.Separator[0]:
			return -1
		case b[i] == mail.Separator[0]:
			return 1
		default:
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}

// list is LIST (RFC 3501, 6.3.8) with the options that RFC 5258, 5819 and 6154
// add.
func (s *session) list(ctx context.Context, cmd *imapwire.Command, a *imapwire.List) error {
	if len(a.Patterns) == 1 && a.Patterns[0] == "" && !a.Extended {
		s.w.List(&imapwire.ListData{Attributes: []string{`\Noselect`}, Delimiter: mail.Separator[0]})
		return s.ok(ctx, cmd, "")
	}
	all, err := s.hierarchy(ctx, a.Select.Subscribed || a.Return.Subscribed)
	if err != nil {
		return err
	}
	m, inside := newMatcher(a.Reference, a.Patterns), above(all, &a.Select)
	var chosen []listed
	var boxes []mail.MailboxID
	for _, l := range all {
		matches, err := m.match(l.name)
		if err != nil {
			return err
		}
		if !matches {
			continue
		}
		if inside[l.name] {
			l.info = childInfo(&a.Select)
		}
		if !selects(&l, &a.Select) && len(l.info) == 0 || !a.Select.Subscribed && !l.exists() {
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
	if sel.Subscribed && !l.subscribed {
		return false
	}
	return !sel.SpecialUse || l.box != nil && l.box.SpecialUse != ""
}

// above marks the names below which something fulfils the selection options, for
// RECURSIVEMATCH; without it none.
func above(all []listed, sel *imapwire.ListSelect) map[string]bool {
	marked := make(map[string]bool)
	if !sel.RecursiveMatch {
		return marked
	}
	for i := range all {
		if !selects(&all[i], sel) {
			continue
		}
		// What is above a marked name is marked already.
		for p := mail.ParentName(all[i].name); p != "" && !marked[p]; p = mail.ParentName(p) {
			marked[p] = true
		}
	}
	return marked
}

// childInfo returns the selection options that something below a name fulfils, for
// which RECURSIVEMATCH has the name listed as well (RFC 5258, 3 and 3.5).
func childInfo(sel *imapwire.ListSelect) []string {
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
	if l.subscribed && (a.Return.Subscribed || a.Select.Subscribed) {
		out = append(out, `\Subscribed`)
	}
	if l.box != nil && l.box.SpecialUse != "" {
		out = append(out, string(l.box.SpecialUse))
	}
	return out
}

// lsub is LSUB (RFC 3501, 6.3.9). A name without a mailbox is told as \Noselect. With
// % a level above a subscribed name is told even if it is not subscribed itself.
func (s *session) lsub(ctx context.Context, cmd *imapwire.Command, a *imapwire.LSub) error {
	all, err := s.hierarchy(ctx, true)
	if err != nil {
		return err
	}
	m := newMatcher(a.Reference, []string{a.Pattern})
	above := map[string]bool{} // levels above a subscribed name that is not told itself
	matches := make([]bool, len(all))
	for i, l := range all {
		if matches[i], err = m.match(l.name); err != nil {
			return err
		}
		if !l.subscribed || matches[i] {
			continue
		}
		for p := mail.ParentName(l.name); p != ""; p = mail.ParentName(p) {
			above[p] = true
		}
	}
	for i, l := range all {
		switch {
		case !matches[i]:
		case l.subscribed:
			l.children = l.children || l.named
			s.w.LSub(&imapwire.ListData{Attributes: attributes(&l, &imapwire.List{}), Delimiter: mail.Separator[0], Mailbox: l.name})
		case above[l.name] && strings.HasSuffix(a.Pattern, "%"):
			s.w.LSub(&imapwire.ListData{Attributes: []string{`\Noselect`, `\HasChildren`}, Delimiter: mail.Separator[0], Mailbox: l.name})
		}
	}
	return s.ok(ctx, cmd, "")
}
