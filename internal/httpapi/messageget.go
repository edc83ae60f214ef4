package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"mallard/internal/address"
	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/store"
)

// MessagePath is the path of one message.
type MessagePath struct {
	MailboxIDPath
	Message int64 `api:"message,path,min=1" doc:"UID of the message"`
}

// uid is the UID of the path, 0 when no message can have it.
func (p MessagePath) uid() mail.UID {
	if p.Message > int64(^mail.UID(0)) {
		return 0
	}
	return mail.UID(p.Message)
}

type getMessageIn struct {
	MessagePath
	ReplaceCIDLinks bool `api:"replaceCidLinks,default=false" doc:"Accepted for compatibility; links to embedded images are always attachment: links"`
	MarkAsSeen      bool `api:"markAsSeen,default=false" doc:"Set \\Seen"`
	Session
}

type envelopeRecipient struct {
	Value     string `json:"value" doc:"Address"`
	Formatted string `json:"formatted" doc:"Address without label and dots"`
}

type envelope struct {
	From string              `json:"from" doc:"Sender"`
	Rcpt []envelopeRecipient `json:"rcpt" doc:"Recipients"`
}

type listInfo struct {
	ID          *addr  `json:"id,omitempty" doc:"List-ID"`
	Unsubscribe []addr `json:"unsubscribe,omitempty" doc:"List-Unsubscribe"`
}

type messageReply struct {
	success
	ID           mail.UID       `json:"id" doc:"UID of the message in its mailbox"`
	Mailbox      mail.MailboxID `json:"mailbox" doc:"Mailbox id"`
	Thread       mail.ThreadID  `json:"thread" doc:"Thread id"`
	User         mail.AccountID `json:"user" doc:"User id"`
	Envelope     envelope       `json:"envelope" doc:"Envelope of the delivery"`
	From         addr           `json:"from" doc:"Author"`
	ReplyTo      []addr         `json:"replyTo,omitempty" doc:"Where replies go"`
	To           []addr         `json:"to,omitempty" doc:"Recipients"`
	Cc           []addr         `json:"cc,omitempty" doc:"Further recipients"`
	Bcc          []addr         `json:"bcc,omitempty" doc:"Hidden recipients"`
	Subject      string         `json:"subject" doc:"Subject"`
	MessageID    string         `json:"messageId" doc:"Message-ID with its brackets"`
	Date         Date           `json:"date" doc:"Date field of the header"`
	InternalDate Date           `json:"idate" doc:"When the message came in"`
	List         *listInfo      `json:"list,omitempty" doc:"Mailing list"`
	Expires      Date           `json:"expires,omitzero" doc:"When the message is removed"`
	Size         int64          `json:"size" doc:"Octets"`
	Seen         bool           `json:"seen" doc:"\\Seen"`
	Deleted      bool           `json:"deleted" doc:"\\Deleted"`
	Flagged      bool           `json:"flagged" doc:"\\Flagged"`
	Draft        bool           `json:"draft" doc:"\\Draft"`
	Answered     bool           `json:"answered" doc:"\\Answered and not forwarded"`
	Forwarded    bool           `json:"forwarded" doc:"$Forwarded"`
	HTML         []string       `json:"html,omitempty" doc:"Text parts as HTML, as the sender wrote it"`
	Text         string         `json:"text" doc:"Text"`
	Attachments  []attachment   `json:"attachments" doc:"Attachments"`
	References   []string       `json:"references" doc:"Message-IDs of the thread"`
	MetaData     rawObject      `json:"metaData" doc:"Object kept with the message"`
	Reference    *referenced    `json:"reference,omitempty" doc:"Message that this draft answers or forwards"`
	ContentType  *contentType   `json:"contentType,omitempty" doc:"Content-Type of the message"`
	Encrypted    bool           `json:"encrypted,omitempty" doc:"Whether the message is encrypted"`
}

// stored is a message as it was read, free of the store's buffers.
type stored struct {
	item    messageItem
	sum     *message.Summary
	tree    *message.Message
	header  []byte
	info    messageInfo
	meta    string
	expires Date
	prefix  int64 // offsets of the tree count from here
	flags   mail.Flags
}

// readMessage reads all that is kept about one message. A message, mailbox or
// account that does not exist is errNoMessage.
func (a *API) readMessage(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uid mail.UID) (*stored, error) {
	var out *stored
	q := store.FetchQuery{UIDs: mail.OneUID(uid), Fields: itemFields | store.FieldTree | store.FieldHeader}
	if uid == 0 {
		return nil, errNoMessage()
	}
	for row, err := range a.opt.Mailboxes.Fetch(ctx, acct, mbox, q) {
		if err != nil {
			return nil, noMessage(err)
		}
		if out, err = newStored(mbox, row); err != nil {
			return nil, err
		}
	}
	if out == nil {
		return nil, errNoMessage()
	}
	return out, nil
}

// noMessage makes everything that can be missing a missing message.
func noMessage(err error) error {
	return replaceError(err, map[mail.Code]*Error{
		mail.CodeNoMailbox: errNoMessage(), mail.CodeNoAccount: errNoMessage(), mail.CodeNotFound: errNoMessage(),
	})
}

func newStored(mbox mail.MailboxID, row *store.Row) (*stored, error) {
	item, err := newMessageItem(mbox, row, itemOptions{})
	if err != nil {
		return nil, err
	}
	s := &stored{
		item: item, header: bytes.Clone(row.Header), info: readInfo(row.Info), meta: strings.Clone(row.MetaData),
		expires: Date(row.Expires), prefix: row.PrefixLen, flags: row.Flags,
	}
	if s.sum, err = message.DecodeSummary(bytes.Clone(row.Summary)); err != nil {
		return nil, fmt.Errorf("read summary of %s: %w", row.ID, err)
	}
	if s.tree, err = message.DecodeTree(bytes.Clone(row.Tree)); err != nil {
		return nil, fmt.Errorf("read tree of %s: %w", row.ID, err)
	}
	return s, nil
}

func (a *API) getMessage(ctx context.Context, _ *call, in *getMessageIn) (messageReply, error) {
	m, err := a.readMessage(ctx, in.User, in.Mailbox, in.uid())
	if err != nil {
		return messageReply{}, err
	}
	text, err := a.messageText(ctx, in.User, in.Mailbox, in.uid(), m)
	if err != nil {
		return messageReply{}, noMessage(err)
	}
	if in.MarkAsSeen && !m.item.Seen {
		u := store.FlagUpdate{UIDs: mail.OneUID(in.uid()), Mode: store.FlagsAdd, Flags: mail.NewFlags(mail.Seen)}
		if _, err := a.opt.Mailboxes.UpdateFlags(ctx, in.User, in.Mailbox, u); err != nil {
			return messageReply{}, noMessage(err)
		}
		m.item.Seen = true
	}
	i := &m.item
	return messageReply{
		success: ok(), ID: i.ID, Mailbox: i.Mailbox, Thread: i.Thread, User: in.User, Envelope: newEnvelope(&m.info),
		From: i.From, ReplyTo: addrs(m.sum.ReplyTo), To: i.To, Cc: i.Cc, Bcc: i.Bcc, Subject: i.Subject, MessageID: i.MessageID,
		Date: i.Date, InternalDate: i.InternalDate, List: newListInfo(m.header), Expires: m.expires, Size: i.Size,
		Seen: i.Seen, Deleted: i.Deleted, Flagged: i.Flagged, Draft: i.Draft, Answered: i.Answered, Forwarded: i.Forwarded,
		HTML: text.html, Text: text.text, Attachments: i.AttachmentsList, References: i.References, MetaData: rawObject(m.meta),
		Reference: m.info.Reference, ContentType: i.ContentType, Encrypted: i.Encrypted,
	}, nil
}

func newEnvelope(info *messageInfo) envelope {
	e := envelope{From: info.From, Rcpt: []envelopeRecipient{}}
	for _, to := range info.To {
		e.Rcpt = append(e.Rcpt, envelopeRecipient{to, address.Normalize(to, address.RemoveLabel, address.RemoveDots)})
	}
	return e
}

func newListInfo(header []byte) *listInfo {
	var l listInfo
	if v, found := message.HeaderField(header, "List-ID"); found {
		name, id := message.DecodeHeader([]byte(v)), ""
		if open := strings.LastIndexByte(name, '<'); open >= 0 {
			id, _, _ = strings.Cut(name[open+1:], ">")
			name = name[:open]
		} else {
			name, id = "", name
		}
		one := oneAddr(strings.Trim(strings.TrimSpace(name), `"`), strings.TrimSpace(id))
		l.ID = &one
	}
	if v, found := message.HeaderField(header, "List-Unsubscribe"); found {
		for _, uri := range angleItems(message.DecodeHeader([]byte(v))) {
			l.Unsubscribe = append(l.Unsubscribe, oneAddr("", uri))
		}
	}
	if l.ID == nil && l.Unsubscribe == nil {
		return nil
	}
	return &l
}

// angleItems returns what stands in angle brackets.
func angleItems(s string) []string {
	var out []string
	for {
		_, rest, found := strings.Cut(s, "<")
		if !found {
			return out
		}
		item, tail, closed := strings.Cut(rest, ">")
		if !closed {
			return out
		}
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
		s = tail
	}
}
