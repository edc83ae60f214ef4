package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"mallard/internal/draft"
	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/store"
)

// Receiver takes messages in. *draft.Receiver is one.
type Receiver interface {
	Receive(ctx context.Context, r io.Reader, maxSize int64) (*draft.Draft, error)
}

// addrIn is an address as it is given.
type addrIn struct {
	Name    string `api:"name,max=255,empty" doc:"Display name"`
	Address string `api:"address,max=255,empty" doc:"Address; what is none is left out"`
}

type fieldIn struct {
	Key   string `api:"key,max=255,empty" doc:"Name of the field"`
	Value string `api:"value,max=102400,empty" doc:"Value of the field"`
}

type attachmentBodyIn struct {
	Filename         string `api:"filename,max=255,empty" doc:"File name"`
	ContentType      string `api:"contentType,max=255,empty" doc:"Media type"`
	Encoding         string `api:"encoding,blank,default=base64" doc:"Encoding of content: base64, hex, utf8 or latin1"`
	TransferEncoding string `api:"contentTransferEncoding,blank" doc:"Transfer encoding in the message"`
	Content          string `api:"content,required,empty" doc:"Content"`
	ContentID        string `api:"cid,max=255,blank" doc:"Content-ID, for parts that the HTML links to"`
	Disposition      string `api:"contentDisposition,blank,in=inline|attachment" doc:"How it is shown"`
}

// decode returns the octets of the content.
func (in *attachmentBodyIn) decode() []byte {
	switch strings.ToLower(in.Encoding) {
	case "base64", "base64url":
		return decodeBase64(in.Content)
	case "hex":
		return decodeHex(in.Content)
	case "latin1", "binary", "ascii":
		out := make([]byte, 0, len(in.Content))
		for _, r := range in.Content {
			out = append(out, byte(r))
		}
		return out
	}
	return []byte(in.Content)
}

// decodeBase64 takes both alphabets, with or without padding, and ignores what
// belongs to neither.
func decodeBase64(s string) []byte {
	clean := make([]byte, 0, len(s))
	for i := range len(s) {
		switch c := s[i]; {
		case c == '-':
			clean = append(clean, '+')
		case c == '_':
			clean = append(clean, '/')
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/':
			clean = append(clean, c)
		}
	}
	if len(clean)%4 == 1 {
		clean = clean[:len(clean)-1]
	}
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(clean)))
	n, _ := base64.RawStdEncoding.Decode(out, clean) // stray last bits do not matter
	return out[:n]
}

func decodeHex(s string) []byte {
	out := make([]byte, 0, len(s)/2)
	for i := 0; i+1 < len(s); i += 2 {
		if !isHex(s[i : i+2]) {
			break
		}
		out = append(out, unhex(s[i])<<4|unhex(s[i+1]))
	}
	return out
}

func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	if c >= 'A' {
		return c - 'A' + 10
	}
	return c - '0'
}

type referenceIn struct {
	Mailbox     mail.MailboxID       `api:"mailbox,required" doc:"Mailbox id"`
	ID          int64                `api:"id,required,min=1" doc:"UID"`
	Action      string               `api:"action,required,in=reply|replyAll|forward" doc:"What the draft is"`
	Attachments *AttachmentSelection `api:"attachments" doc:"Attachments to take over: true for all, or a list of ids"`
}

type previousIn struct {
	Mailbox *mail.MailboxID `api:"mailbox" doc:"Mailbox id; that of the new message when not given"`
	ID      int64           `api:"id,required" doc:"UID"`
}

type bimiIn struct {
	Domain   string `api:"domain,required" doc:"Domain"`
	Selector string `api:"selector,max=255,blank" doc:"Selector"`
}

type uploadIn struct {
	MailboxIDPath
	Date        *time.Time         `api:"date" doc:"Internal date, and Date of a composed message"`
	Unseen      bool               `api:"unseen,default=false" doc:"Do not set \\Seen"`
	Flagged     bool               `api:"flagged,default=false" doc:"Set \\Flagged"`
	Draft       bool               `api:"draft,default=false" doc:"Set \\Draft; the author is then one of the user's own addresses"`
	Raw         RawMessage         `api:"raw,blank" doc:"The whole message"`
	From        *addrIn            `api:"from" doc:"Author; the user when not given"`
	ReplyTo     *addrIn            `api:"replyTo" doc:"Where replies go"`
	To          []addrIn           `api:"to" doc:"Recipients"`
	Cc          []addrIn           `api:"cc" doc:"Further recipients"`
	Bcc         []addrIn           `api:"bcc" doc:"Hidden recipients"`
	Headers     []fieldIn          `api:"headers" doc:"Further header fields"`
	Subject     *string            `api:"subject,max=2048,blank" doc:"Subject"`
	Text        string             `api:"text,max=1048576,blank" doc:"Text"`
	HTML        string             `api:"html,max=1048576,blank" doc:"HTML; images in data: URIs become attachments"`
	Files       []mail.MessageID   `api:"files" doc:"Ids of stored files; unknown ones are ignored"`
	Attachments []attachmentBodyIn `api:"attachments" doc:"Attachments"`
	MetaData    *Meta              `api:"metaData" doc:"Object that is kept with the message"`
	Reference   *referenceIn       `api:"reference" doc:"Message that this one answers or forwards; makes it a draft"`
	Previous    *previousIn        `api:"replacePrevious" doc:"Message that is deleted afterwards"`
	BIMI        *bimiIn            `api:"bimi" doc:"Accepted for compatibility"`
	Session
}

type uploadReply struct {
	success
	Message             uploadedMessage `json:"message" doc:"What was stored"`
	PreviousDeleted     bool            `json:"previousDeleted,omitempty" doc:"Whether the previous message was deleted"`
	PreviousDeleteError string          `json:"previousDeleteError,omitempty" doc:"Why it was not"`
}

type uploadedMessage struct {
	ID      mail.UID       `json:"id" doc:"UID of the message"`
	Mailbox mail.MailboxID `json:"mailbox" doc:"Mailbox id"`
	Size    int64          `json:"size" doc:"Octets"`
}

func (a *API) uploadMessage(ctx context.Context, c *call, in *uploadIn) (uploadReply, error) {
	box, err := a.opt.Mailboxes.Get(ctx, in.User, in.Mailbox)
	if err != nil {
		return uploadReply{}, replaceError(err, map[mail.Code]*Error{mail.CodeNoAccount: errNoMailbox()})
	}
	acct, err := a.opt.Accounts.Get(ctx, in.User)
	if err != nil {
		return uploadReply{}, err
	}
	if acct.Disabled || acct.Suspended {
		return uploadReply{}, newError(http.StatusForbidden, "UserDisabled", "User account is disabled")
	}
	ref, err := a.readReference(ctx, in)
	if err != nil {
		return uploadReply{}, err
	}
	in.Draft = in.Draft || ref != nil
	d, err := a.receiveUpload(ctx, c, acct, in, ref)
	if err != nil {
		return uploadReply{}, err
	}
	defer func() { _ = d.Close() }()
	appended, err := a.storeUpload(ctx, c.origin(in.Session), box, in, d, ref)
	if err != nil {
		return uploadReply{}, err
	}
	reply := uploadReply{success: ok(), Message: uploadedMessage{appended.UID, box.ID, appended.Size}}
	a.replacePrevious(ctx, in, &reply)
	return reply, nil
}

// receiveUpload takes the message from wherever it is: raw wins over the body,
// and an empty body over nothing.
func (a *API) receiveUpload(ctx context.Context, c *call, acct *mail.Account, in *uploadIn, ref *stored) (*draft.Draft, error) {
	if len(in.Raw) > 0 {
		return a.receive(ctx, bytes.NewReader(in.Raw))
	}
	if c.body != nil {
		r := bufio.NewReader(c.body)
		if _, err := r.Peek(1); err == nil {
			return a.receive(ctx, r)
		} else if !errors.Is(err, io.EOF) {
			return nil, readError(err)
		}
	}
	msg, err := a.composeUpload(ctx, acct, in, ref)
	if err != nil {
		return nil, err
	}
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := msg.WriteTo(pw)
		_ = pw.CloseWithError(err) // never fails
		done <- err
	}()
	d, err := a.receive(ctx, pr)
	_ = pr.Close() // never fails
	<-done
	return d, err
}

func (a *API) receive(ctx context.Context, r io.Reader) (*draft.Draft, error) {
	d, err := a.opt.Receiver.Receive(ctx, r, a.opt.MaxMessage)
	switch {
	case err == nil:
		return d, nil
	case mail.CodeOf(err) == mail.CodeInternal:
		return nil, readError(err)
	}
	return nil, err
}

// origin is where a call comes from: the end user, as far as the client says so, else the client.
func (c *call) origin(s Session) string {
	if s.IP != "" {
		return string(s.IP)
	}
	host, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

func (a *API) storeUpload(ctx context.Context, origin string, box *mail.Mailbox, in *uploadIn, d *draft.Draft, ref *stored) (store.Appended, error) {
	staged, err := a.opt.Mailboxes.Stage(ctx, d.Content())
	if err != nil {
		return store.Appended{}, fmt.Errorf("stage message: %w", err)
	}
	defer func() { _ = staged.Close() }()
	now := time.Now().UTC()
	var flags mail.SystemFlags
	for flag, on := range map[mail.SystemFlags]bool{mail.Seen: !in.Unseen, mail.Flagged: in.Flagged, mail.Draft: in.Draft} {
		if on {
			flags |= flag
		}
	}
	msg := store.Append{Staged: staged, Flags: mail.NewFlags(flags), InternalDate: now, Expires: expiry(box, now)}
	if in.Date != nil {
		msg.InternalDate = *in.Date
	}
	if in.MetaData != nil {
		msg.MetaData = string(*in.MetaData)
	}
	info := messageInfo{Source: "API", Origin: origin, TransType: "UPLOAD", Time: now.Truncate(time.Millisecond)}
	if ref != nil {
		info.Reference = &referenced{Action: in.Reference.Action, Mailbox: in.Reference.Mailbox, ID: mail.UID(in.Reference.ID)}
	}
	text, err := json.Marshal(info)
	if err != nil {
		return store.Appended{}, fmt.Errorf("encode info: %w", err)
	}
	msg.Info = string(text)
	out, err := a.opt.Mailboxes.Append(ctx, in.User, box.ID, msg)
	if err != nil {
		return store.Appended{}, fmt.Errorf("store message: %w", err)
	}
	return out[0], nil
}

// replacePrevious deletes the message that the new one replaces. The new one is
// stored by now, so a failure is told and nothing more.
func (a *API) replacePrevious(ctx context.Context, in *uploadIn, reply *uploadReply) {
	if in.Previous == nil {
		return
	}
	where := in.MailboxIDPath
	if in.Previous.Mailbox != nil {
		where.Mailbox = *in.Previous.Mailbox
	}
	uids := mail.UIDSet{}
	if u := (MessagePath{Message: in.Previous.ID}).uid(); in.Previous.ID > 0 && u > 0 {
		uids = mail.OneUID(u)
	}
	n, err := a.remove(ctx, where, uids, true)
	switch {
	case err != nil:
		a.log.Warn("replace previous message", "account", in.User, "error", err)
		reply.PreviousDeleteError = "Failed to delete previous message. " + a.asError(err).Message
	case n == 0:
		reply.PreviousDeleteError = "Failed to delete previous message. Message was not found"
	default:
		reply.PreviousDeleted = true
	}
}

// readReference reads the message that a draft refers to, nil when there is none.
func (a *API) readReference(ctx context.Context, in *uploadIn) (*stored, error) {
	if in.Reference == nil {
		return nil, nil
	}
	path := MessagePath{Message: in.Reference.ID}
	m, err := a.readMessage(ctx, in.User, in.Reference.Mailbox, path.uid())
	if e, isOurs := err.(*Error); isOurs && e.Code == codeNoMessage {
		return nil, nil
	}
	return m, err
}

// partBytes reads a decoded part of a stored message, at most limit octets.
func (a *API) partBytes(ctx context.Context, in *uploadIn, ref *stored, p *message.Part, limit int64) ([]byte, error) {
	body, err := a.opt.Mailboxes.Open(ctx, in.User, in.Reference.Mailbox, ref.item.ID)
	if err != nil {
		return nil, noMessage(err)
	}
	defer func() { _ = body.Close() }()
	src := newRange(body, ref.prefix+p.BodyStart, p.Size())
	defer func() { _ = src.Close() }()
	out, err := io.ReadAll(io.LimitReader(message.NewDecoder(p.Encoding, src), limit+1))
	if err != nil {
		return nil, fmt.Errorf("read attachment: %w", err)
	}
	if int64(len(out)) > limit {
		return nil, mail.NewError(mail.CodeTooBig, "The message is too large")
	}
	return out, nil
}
