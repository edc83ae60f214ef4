package httpapi

import (
	"context"
	"slices"
	"strings"

	"mallard/internal/address"
	"mallard/internal/compose"
	"mallard/internal/mail"
	"mallard/internal/message"
)

// composeUpload makes a message from the parameters, and from the message that
// it answers or forwards.
func (a *API) composeUpload(ctx context.Context, acct *mail.Account, in *uploadIn, ref *stored) (*compose.Message, error) {
	own, err := a.ownAddresses(ctx, acct)
	if err != nil {
		return nil, err
	}
	msg := &compose.Message{
		From: authorOf(acct, in, own), To: mailboxes(in.To), Cc: mailboxes(in.Cc), Bcc: mailboxes(in.Bcc),
		Text: in.Text, HTML: in.HTML, EmbedDataURIs: true,
	}
	if in.ReplyTo != nil {
		msg.ReplyTo = mailboxes([]addrIn{*in.ReplyTo})
	}
	if in.Subject != nil {
		msg.Subject = *in.Subject
	}
	if in.Date != nil {
		msg.Date = *in.Date
	}
	for _, h := range in.Headers {
		msg.Fields = append(msg.Fields, compose.Field{Key: h.Key, Value: h.Value})
	}
	if msg.HTML != "" && msg.Text == "" {
		if msg.Text, err = renderHTML(msg.HTML); err != nil {
			return nil, err
		}
	}
	for i := range in.Attachments {
		att := &in.Attachments[i]
		msg.Attachments = append(msg.Attachments, compose.Attachment{
			Filename: att.Filename, ContentType: att.ContentType, ContentID: att.ContentID,
			Disposition: compose.Disposition(att.Disposition), TransferEncoding: att.TransferEncoding, Content: att.decode(),
		})
	}
	if ref == nil {
		return msg, nil
	}
	refer(msg, in, ref, own)
	return msg, a.takeAttachments(ctx, msg, in, ref)
}

func renderHTML(source string) (string, error) {
	part := &message.Part{Type: "TEXT", Subtype: "HTML", Encoding: "8BIT", Params: []message.Param{{Name: "CHARSET", Value: "utf-8"}}}
	return message.TextOf(part, strings.NewReader(source), maxTextPart)
}

func mailboxes(in []addrIn) []compose.Address {
	out := make([]compose.Address, 0, len(in))
	for _, a := range in {
		out = append(out, compose.Address{Name: a.Name, Address: a.Address})
	}
	return out
}

// ownAddresses are the addresses that belong to the user, in the form in which
// they are compared.
func (a *API) ownAddresses(ctx context.Context, acct *mail.Account) ([]string, error) {
	rows, err := a.opt.Accounts.AccountAddresses(ctx, acct.ID)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.View)
	}
	return out, nil
}

func owns(own []string, addr string) bool { return slices.Contains(own, address.LookupView(addr)) }

// authorOf is the given author, or the user. The author of a draft must be the
// user's own: it is what would be sent.
func authorOf(acct *mail.Account, in *uploadIn, own []string) compose.Address {
	user := compose.Address{Name: acct.Name, Address: acct.Address}
	if in.From == nil || in.From.Address == "" {
		return user
	}
	from := compose.Address{Name: in.From.Name, Address: in.From.Address}
	if !in.Draft || owns(own, from.Address) || whitelisted(acct.FromWhitelist, from.Address) {
		return from
	}
	return user
}

// whitelisted compares with addresses that may begin or end with an asterisk.
func whitelisted(list []string, addr string) bool {
	addr = address.Normalize(addr)
	return slices.ContainsFunc(list, func(w string) bool {
		if rest, ok := strings.CutPrefix(w, "*"); ok {
			return strings.HasSuffix(addr, rest)
		}
		if rest, ok := strings.CutSuffix(w, "*"); ok {
			return strings.HasPrefix(addr, rest)
		}
		return addr == w
	})
}

// maxReferences is the greatest number of ids in References.
const maxReferences = 50

// refer ties a message to the one that it answers or forwards.
func refer(msg *compose.Message, in *uploadIn, ref *stored, own []string) {
	refs := append(slices.Clone(ref.sum.References), ref.sum.MessageID)
	msg.References = refs[max(0, len(refs)-maxReferences):]
	forward := in.Reference.Action == "forward"
	if !forward {
		msg.InReplyTo = ref.sum.MessageID
	}
	if in.Subject == nil {
		msg.Subject = prefixedSubject(ref.sum.Subject, forward)
	}
	if forward || in.To != nil || in.Cc != nil || in.Bcc != nil {
		return
	}
	taken := map[string]bool{}
	pick := func(list []message.Address, alsoOwn bool) []compose.Address {
		var out []compose.Address
		for _, a := range list {
			view := address.LookupView(a.Addr())
			if a.Kind != message.Mailbox || a.Host == "" || taken[view] || !alsoOwn && owns(own, a.Addr()) {
				continue
			}
			taken[view] = true
			out = append(out, compose.Address{Name: a.Name, Address: a.Addr()})
		}
		return out
	}
	author := ref.sum.ReplyTo
	if len(author) == 0 {
		author = ref.sum.From
	}
	msg.To = pick(author, true)
	if in.Reference.Action == "replyAll" {
		msg.To = append(msg.To, pick(ref.sum.To, false)...)
		msg.Cc = pick(ref.sum.Cc, false)
	}
}

func prefixedSubject(subject string, forward bool) string {
	prefix := "Re: "
	if forward {
		prefix = "Fwd: "
	}
	low := strings.ToLower(subject)
	if !forward && strings.HasPrefix(low, "re:") || forward && (strings.HasPrefix(low, "fwd:") || strings.HasPrefix(low, "fw:")) {
		return subject
	}
	return prefix + subject
}

// takeAttachments takes over the attachments that were asked for: all that are
// not embedded, or the ones named.
func (a *API) takeAttachments(ctx context.Context, msg *compose.Message, in *uploadIn, ref *stored) error {
	sel := in.Reference.Attachments
	if sel == nil {
		return nil
	}
	left := a.opt.MaxMessage
	for _, att := range ref.sum.Attachments {
		if sel.All && att.Related || !sel.All && !slices.Contains(sel.IDs, att.ID) {
			continue
		}
		part := ref.tree.Section(att.Section)
		if part == nil {
			continue
		}
		content, err := a.partBytes(ctx, in, ref, part, left)
		if err != nil {
			return err
		}
		left -= int64(len(content))
		media := part.ContentType()
		if cs := part.Charset(); cs != "" && part.Type == "TEXT" {
			media += "; charset=" + cs
		}
		disposition := compose.DispositionAttachment
		if att.Disposition != string(compose.DispositionAttachment) {
			disposition = compose.DispositionInline
		}
		msg.Attachments = append(msg.Attachments, compose.Attachment{
			Filename: att.Filename, ContentType: media, ContentID: att.ContentID, Disposition: disposition, Content: content,
		})
	}
	return nil
}
