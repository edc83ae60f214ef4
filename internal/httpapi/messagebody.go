package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/store"
)

type sourceIn struct {
	MessagePath
	Session
}

func (a *API) getSource(ctx context.Context, c *call, in *sourceIn) (streamed, error) {
	if in.uid() == 0 {
		return streamed{}, errNoMessage()
	}
	body, err := a.opt.Mailboxes.Open(ctx, in.User, in.Mailbox, in.uid())
	if err != nil {
		return streamed{}, noMessage(err)
	}
	defer func() { _ = body.Close() }()
	h := c.w.Header()
	h.Set("Content-Type", "message/rfc822")
	h.Set("Content-Length", strconv.FormatInt(body.Size(), 10))
	protectContent(h)
	c.w.WriteHeader(http.StatusOK)
	return streamed{}, c.aborted(body.WriteRange(c.w, 0, body.Size()))
}

// protectContent keeps a browser from running what mail brings along.
func protectContent(h http.Header) { h.Set("Content-Security-Policy", "sandbox; default-src 'none'") }

// aborted breaks the connection after a failure in the middle of a reply, so
// that the client does not take the part for the whole.
func (c *call) aborted(err error) error {
	if err == nil || c.r.Context().Err() != nil {
		return err
	}
	c.api.log.Error("reply broken off", "request", c.id, "error", err)
	panic(http.ErrAbortHandler)
}

type attachmentIn struct {
	MessagePath
	Attachment   string `api:"attachment,path,upper,pattern=attachment" doc:"Attachment id: ATT00001 and so on"`
	SendAsString bool   `api:"sendAsString,default=false" doc:"Convert text to UTF-8"`
}

func errNoAttachment() *Error {
	return newError(http.StatusNotFound, "AttachmentNotFound", "This attachment does not exist")
}

func (a *API) getAttachment(ctx context.Context, c *call, in *attachmentIn) (streamed, error) {
	m, err := a.readMessage(ctx, in.User, in.Mailbox, in.uid())
	if err != nil {
		return streamed{}, err
	}
	part := findAttachment(m, in.Attachment)
	if part == nil {
		return streamed{}, errNoAttachment()
	}
	body, err := a.opt.Mailboxes.Open(ctx, in.User, in.Mailbox, in.uid())
	if err != nil {
		return streamed{}, noMessage(err)
	}
	defer func() { _ = body.Close() }()
	h := c.w.Header()
	h.Set("Content-Type", safeMediaType(part.ContentType()))
	protectContent(h)
	disposition, err := dispositionOf(body, m.prefix, part)
	if err != nil {
		return streamed{}, err
	}
	if disposition != "" {
		h.Set("Content-Disposition", disposition)
	}
	src := newRange(body, m.prefix+part.BodyStart, part.Size())
	defer func() { _ = src.Close() }()
	if in.SendAsString && part.Type == "TEXT" {
		text, err := message.HTMLOf(part, src, maxStringAttachment)
		if err != nil {
			return streamed{}, err
		}
		writeBytes(c.w, http.StatusOK, h.Get("Content-Type"), []byte(text))
		return streamed{}, nil
	}
	c.w.WriteHeader(http.StatusOK)
	_, err = io.Copy(c.w, message.NewDecoder(part.Encoding, src))
	return streamed{}, c.aborted(err)
}

// maxStringAttachment is the greatest size of an attachment that is converted.
const maxStringAttachment = 16 << 20

// findAttachment returns the part of an attachment id, nil when there is none.
// Leading zeros do not matter.
func findAttachment(m *stored, id string) *message.Part {
	want, err := strconv.Atoi(strings.TrimPrefix(id, "ATT"))
	if err != nil {
		return nil
	}
	for _, att := range m.sum.Attachments {
		if n, err := strconv.Atoi(strings.TrimPrefix(att.ID, "ATT")); err == nil && n == want {
			return m.tree.Section(att.Section)
		}
	}
	return nil
}

// safeMediaType returns a media type that can stand in a header.
func safeMediaType(s string) string {
	if media, _, err := mime.ParseMediaType(s); err == nil && strings.Contains(media, "/") {
		return media
	}
	return mediaOctets
}

// maxPartHeader is how much of the header of a part is looked at.
const maxPartHeader = 16 << 10

// dispositionOf returns the Content-Disposition of a part as the sender wrote it.
func dispositionOf(body store.Body, prefix int64, p *message.Part) (string, error) {
	var b bytes.Buffer
	if err := body.WriteRange(&b, prefix+p.HeaderStart, min(p.BodyStart-p.HeaderStart, maxPartHeader)); err != nil {
		return "", fmt.Errorf("read part header: %w", err)
	}
	value, found := message.HeaderField(b.Bytes(), "Content-Disposition")
	if !found {
		return "", nil
	}
	return headerSafe(strings.TrimSpace(message.Unfold([]byte(value)))), nil
}

// headerSafe drops what could end a header field or be taken for another one.
func headerSafe(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r == 0xfffd:
			return -1
		}
		return r
	}, s)
}

type updateMessageIn struct {
	MailboxIDPath
	Message UIDList `api:"message,path" doc:"UID or list of UIDs"`
	messageChanges
	Session
}

type updateMessagesIn struct {
	MailboxIDPath
	Message UIDList `api:"message,required" doc:"UID or list of UIDs"`
	messageChanges
	Session
}

// messageChanges is what can be changed of messages.
type messageChanges struct {
	MoveTo   *mail.MailboxID `api:"moveTo" doc:"Move to this mailbox"`
	Seen     *bool           `api:"seen" doc:"Set or clear \\Seen"`
	Deleted  *bool           `api:"deleted" doc:"Set or clear \\Deleted"`
	Flagged  *bool           `api:"flagged" doc:"Set or clear \\Flagged"`
	MarkHam  bool            `api:"markHam,default=false" doc:"The messages are no spam"`
	Draft    *bool           `api:"draft" doc:"Set or clear \\Draft"`
	Expires  *Expiry         `api:"expires" doc:"Remove the messages at this date; false for never"`
	MetaData *Meta           `api:"metaData" doc:"Object that is kept with the messages"`
}

// flags returns what is to be set and what is to be cleared.
func (m *messageChanges) flags() (add, remove mail.SystemFlags) {
	for flag, v := range map[mail.SystemFlags]*bool{
		mail.Seen: m.Seen, mail.Deleted: m.Deleted, mail.Flagged: m.Flagged, mail.Draft: m.Draft,
	} {
		switch {
		case v == nil:
		case *v:
			add |= flag
		default:
			remove |= flag
		}
	}
	return add, remove
}

func (m *messageChanges) empty() bool {
	add, remove := m.flags()
	return add == 0 && remove == 0 && !m.MarkHam && m.Expires == nil && m.MetaData == nil
}

// updatedReply is the reply to changes and to moves.
type updatedReply struct {
	success
	Updated *int            `json:"updated,omitempty" doc:"Number of messages that matched, without moveTo"`
	Mailbox *mail.MailboxID `json:"mailbox,omitempty" doc:"Where the messages are now"`
	ID      [][2]mail.UID   `json:"id,omitempty" doc:"Pairs of old and new UIDs"`
}

func (a *API) updateMessage(ctx context.Context, _ *call, in *updateMessageIn) (updatedReply, error) {
	return a.changeMessages(ctx, in.MailboxIDPath, in.Message.Set, &in.messageChanges)
}

func (a *API) updateMessages(ctx context.Context, _ *call, in *updateMessagesIn) (updatedReply, error) {
	return a.changeMessages(ctx, in.MailboxIDPath, in.Message.Set, &in.messageChanges)
}

// missingMailbox is how changes of messages report a mailbox that does not exist.
func missingMailbox(err error) error {
	missing := newError(http.StatusInternalServerError, "", "Mailbox is missing")
	return replaceError(err, map[mail.Code]*Error{mail.CodeNoMailbox: missing, mail.CodeNoAccount: missing})
}

func (a *API) changeMessages(ctx context.Context, in MailboxIDPath, uids mail.UIDSet, ch *messageChanges) (updatedReply, error) {
	if ch.MoveTo != nil {
		return a.moveMessages(ctx, in, uids, ch)
	}
	if ch.empty() {
		return updatedReply{}, newError(http.StatusInternalServerError, "", "Nothing was changed")
	}
	n, err := a.applyChanges(ctx, in.User, in.Mailbox, uids, ch)
	if err != nil {
		return updatedReply{}, missingMailbox(err)
	}
	if n == 0 {
		return updatedReply{}, newError(http.StatusNotFound, codeNoMessage, "No message matched query")
	}
	return updatedReply{success: ok(), Updated: &n}, nil
}

// applyChanges changes flags and the rest and returns how many messages matched.
func (a *API) applyChanges(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, ch *messageChanges) (int, error) {
	add, remove := ch.flags()
	u := store.FlagUpdate{UIDs: uids, Mode: store.FlagsAdd, Flags: mail.NewFlags(add), MetaData: (*string)(ch.MetaData)}
	if ch.Expires != nil {
		u.Expires = &ch.Expires.Time
	}
	if add == 0 && remove != 0 {
		u.Mode, u.Flags, remove = store.FlagsRemove, mail.NewFlags(remove), 0
	}
	res, err := a.opt.Mailboxes.UpdateFlags(ctx, acct, mbox, u)
	if err != nil {
		return 0, fmt.Errorf("change messages: %w", err)
	}
	if remove != 0 {
		u = store.FlagUpdate{UIDs: uids, Mode: store.FlagsRemove, Flags: mail.NewFlags(remove)}
		if res, err = a.opt.Mailboxes.UpdateFlags(ctx, acct, mbox, u); err != nil {
			return 0, fmt.Errorf("change messages: %w", err)
		}
	}
	return len(res.Existing), nil
}

func (a *API) moveMessages(ctx context.Context, in MailboxIDPath, uids mail.UIDSet, ch *messageChanges) (updatedReply, error) {
	res, err := a.opt.Mailboxes.Move(ctx, in.User, in.Mailbox, *ch.MoveTo, uids)
	if err != nil {
		return updatedReply{}, missingMailbox(err)
	}
	if len(res.To) == 0 {
		return updatedReply{}, newError(http.StatusNotFound, codeNoMessage, "Could not move message, check if message exists")
	}
	if !ch.empty() {
		if _, err := a.applyChanges(ctx, in.User, *ch.MoveTo, mail.UIDSetOf(res.To...), ch); err != nil {
			return updatedReply{}, missingMailbox(err)
		}
	}
	reply := updatedReply{success: ok(), Mailbox: ch.MoveTo}
	for i := range res.From {
		reply.ID = append(reply.ID, [2]mail.UID{res.From[i], res.To[i]})
	}
	return reply, nil
}

type deletedReply struct {
	success
	Deleted int `json:"deleted" doc:"Messages that were removed"`
	Errors  int `json:"errors" doc:"Messages that could not be removed"`
}

func (a *API) deleteMessage(ctx context.Context, _ *call, in *sourceIn) (deletedReply, error) {
	uids := mail.UIDSet{}
	if u := in.uid(); u > 0 {
		uids = mail.OneUID(u)
	}
	n, err := a.remove(ctx, in.MailboxIDPath, uids, true)
	if err != nil {
		return deletedReply{}, err
	}
	if n == 0 {
		return deletedReply{}, newError(http.StatusNotFound, codeNoMessage, "Message was not found")
	}
	return deletedReply{ok(), n, 0}, nil
}

// remove removes messages; with keep an engine that has an archive keeps them there for a while.
func (a *API) remove(ctx context.Context, in MailboxIDPath, uids mail.UIDSet, keep bool) (int, error) {
	res, err := a.opt.Mailboxes.Remove(ctx, in.User, in.Mailbox, uids, keep)
	if err != nil {
		return 0, replaceError(err, map[mail.Code]*Error{mail.CodeNoAccount: errNoMailbox(), mail.CodeNoMailbox: errNoMailbox()})
	}
	return res.UIDs.Count(), nil
}

type deleteMessagesIn struct {
	MailboxIDPath
	Async       bool `api:"async,default=false" doc:"Reply with the id of a task"`
	SkipArchive bool `api:"skipArchive,default=false" doc:"Do not keep the messages in the archive, which a cluster has"`
	Session
}

type deleteMessagesReply struct {
	success
	Deleted   *int    `json:"deleted,omitempty" doc:"Messages that were removed, without async"`
	Errors    *int    `json:"errors,omitempty" doc:"Messages that could not be removed, without async"`
	Existing  *bool   `json:"existing,omitempty" doc:"Whether there was such a task, with async"`
	Scheduled *string `json:"scheduled,omitempty" doc:"Id of the task, with async"`
}

func (a *API) deleteMessages(ctx context.Context, _ *call, in *deleteMessagesIn) (deleteMessagesReply, error) {
	n, err := a.remove(ctx, in.MailboxIDPath, mail.AllUIDs(), !in.SkipArchive)
	if err != nil {
		return deleteMessagesReply{}, err
	}
	if in.Async {
		existing, task := false, a.newID()
		return deleteMessagesReply{success: ok(), Existing: &existing, Scheduled: &task}, nil
	}
	none := 0
	return deleteMessagesReply{success: ok(), Deleted: &n, Errors: &none}, nil
}
