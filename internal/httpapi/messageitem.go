package httpapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"mallard/internal/address"
	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/store"
)

// addr is an address, or a group of them, in a reply.
type addr struct {
	Address *string `json:"address,omitempty" doc:"Address; not there for a group"`
	Name    string  `json:"name" doc:"Display name, or that of the group"`
	Group   []addr  `json:"group,omitzero" doc:"Members of a group"`
}

func oneAddr(name, address string) addr { return addr{Name: name, Address: &address} }

// addrs converts a decoded address list.
func addrs(in []message.Address) []addr {
	out := []addr{}
	group := -1
	for _, a := range in {
		switch {
		case a.Kind == message.GroupStart:
			out = append(out, addr{Name: a.Name, Group: []addr{}})
			group = len(out) - 1
		case a.Kind == message.GroupEnd:
			group = -1
		case group >= 0:
			out[group].Group = append(out[group].Group, oneAddr(a.Name, readableAddress(a)))
		default:
			out = append(out, oneAddr(a.Name, readableAddress(a)))
		}
	}
	return out
}

// readableAddress shows international domains in Unicode.
func readableAddress(a message.Address) string {
	if strings.Contains(strings.ToLower(a.Host), "xn--") {
		a.Host = address.NormalizeDomain(a.Host)
	}
	return a.Addr()
}

// attachment is a part of a message that is not its text.
type attachment struct {
	Hash             string          `json:"hash,omitempty" doc:"SHA-256 of the encoded part, hexadecimal"`
	ID               string          `json:"id" doc:"ATT00001 and so on"`
	Filename         string          `json:"filename" doc:"File name"`
	ContentType      string          `json:"contentType" doc:"Media type"`
	Disposition      orFalse[string] `json:"disposition" doc:"attachment, inline or false"`
	TransferEncoding string          `json:"transferEncoding" doc:"Transfer encoding"`
	ContentID        nullString      `json:"cid" doc:"Content-ID with its brackets"`
	Related          bool            `json:"related" doc:"Whether the HTML of the message uses it"`
	SizeKB           int64           `json:"sizeKb" doc:"Size when decoded in units of 1024 octets, rounded up"`
	Size             int64           `json:"size" doc:"Size of the encoded part in octets"`
}

// decodedKB is about the size of the decoded part: of base64 in lines of 76
// characters.
func decodedKB(a *message.Attachment) int64 {
	n := a.Size
	if a.TransferEncoding == "base64" {
		n = (3*(n-2*(n/78)) + 3) / 4
	}
	return (n + 1023) / 1024
}

func attachments(in []message.Attachment) []attachment {
	out := make([]attachment, 0, len(in))
	for _, a := range in {
		item := attachment{
			Hash: a.Sum.String(), ID: a.ID, Filename: a.Filename, ContentType: a.ContentType, TransferEncoding: a.TransferEncoding,
			ContentID: nullString(a.ContentID), Related: a.Related, Size: a.Size, SizeKB: decodedKB(&a),
		}
		if a.Disposition != "" {
			item.Disposition = some(a.Disposition)
		}
		out = append(out, item)
	}
	return out
}

// contentType is a parsed Content-Type.
type contentType struct {
	Value  string            `json:"value" doc:"Media type"`
	Params map[string]string `json:"params,omitempty" doc:"Parameters"`
}

func newContentType(value string, params []message.Param) *contentType {
	if value == "" {
		return nil
	}
	c := &contentType{Value: value}
	for _, p := range params {
		if c.Params == nil {
			c.Params = map[string]string{}
		}
		c.Params[strings.ToLower(strings.TrimSuffix(p.Name, "*"))] = message.DecodeParam(p)
	}
	return c
}

// messageItem is a message as lists show it.
type messageItem struct {
	ID              mail.UID       `json:"id" doc:"UID of the message in its mailbox"`
	Mailbox         mail.MailboxID `json:"mailbox" doc:"Mailbox id"`
	Thread          mail.ThreadID  `json:"thread" doc:"Thread id"`
	ThreadCount     *int           `json:"threadMessageCount,omitempty" doc:"Messages of the thread in all mailboxes"`
	HasDrafts       *bool          `json:"hasDrafts,omitempty" doc:"Whether there is a draft of a reply"`
	From            addr           `json:"from" doc:"Author"`
	To              []addr         `json:"to" doc:"Recipients"`
	Cc              []addr         `json:"cc" doc:"Further recipients"`
	Bcc             []addr         `json:"bcc" doc:"Hidden recipients"`
	MessageID       string         `json:"messageId" doc:"Message-ID with its brackets"`
	Subject         string         `json:"subject" doc:"Subject"`
	Date            Date           `json:"date" doc:"Date field of the header"`
	InternalDate    Date           `json:"idate" doc:"When the message came in"`
	Intro           string         `json:"intro" doc:"Beginning of the text"`
	Attachments     bool           `json:"attachments" doc:"Whether there are attachments"`
	AttachmentsList []attachment   `json:"attachmentsList" doc:"Attachments"`
	Size            int64          `json:"size" doc:"Octets"`
	Seen            bool           `json:"seen" doc:"\\Seen"`
	Deleted         bool           `json:"deleted" doc:"\\Deleted"`
	Flagged         bool           `json:"flagged" doc:"\\Flagged"`
	Draft           bool           `json:"draft" doc:"\\Draft"`
	Answered        bool           `json:"answered" doc:"\\Answered and not forwarded"`
	Forwarded       bool           `json:"forwarded" doc:"$Forwarded"`
	References      []string       `json:"references" doc:"Message-IDs of the thread"`
	Headers         *headerMap     `json:"headers,omitempty" doc:"Header fields by lower-case name"`
	MetaData        *rawObject     `json:"metaData,omitempty" doc:"Object kept with the message"`
	ContentType     *contentType   `json:"contentType,omitempty" doc:"Content-Type of the message"`
	Encrypted       bool           `json:"encrypted,omitempty" doc:"Whether the message is encrypted"`

	nameless bool // From is what was stored about the origin of the message
}

// itemFields are what a list needs of each message.
const itemFields = store.FieldSummary | store.FieldMeta

// itemOptions are what a list shows on request.
type itemOptions struct {
	headers, meta bool
}

func (o itemOptions) fields() store.Fields {
	if o.headers {
		return itemFields | store.FieldHeader
	}
	return itemFields
}

// newMessageItem converts a row. It keeps nothing of the row's buffers.
func newMessageItem(mbox mail.MailboxID, row *store.Row, opt itemOptions) (messageItem, error) {
	sum, err := message.DecodeSummary(row.Summary)
	if err != nil {
		return messageItem{}, fmt.Errorf("read summary of %s: %w", row.ID, err)
	}
	info := readInfo(row.Info)
	item := messageItem{
		ID: row.UID, Mailbox: mbox, Thread: row.ThreadID, From: author(sum, &info), To: addrs(sum.To), Cc: addrs(sum.Cc),
		Bcc: addrs(sum.Bcc), MessageID: sum.MessageID, Subject: sum.Subject, Date: messageDate(sum, row),
		InternalDate: Date(row.InternalDate), Intro: sum.Intro, Attachments: sum.HasAttachments,
		AttachmentsList: attachments(sum.Attachments), Size: row.Size, References: list(slices.Clone(sum.References)),
		ContentType: newContentType(sum.ContentType, sum.Params), Encrypted: sum.Encrypted,
	}
	item.nameless = len(sum.From) == 0 && len(sum.Sender) == 0
	item.setFlags(row.Flags)
	item.MetaData = optionalObject(strings.Clone(row.MetaData), opt.meta)
	if opt.headers {
		item.Headers = newHeaderMap(row.Header, row.PrefixLen)
	}
	return item, nil
}

// keywordForwarded marks a message that was forwarded.
const keywordForwarded = "$Forwarded"

func (m *messageItem) setFlags(f mail.Flags) {
	m.Seen, m.Deleted, m.Flagged, m.Draft = f.Has(mail.Seen), f.Has(mail.Deleted), f.Has(mail.Flagged), f.Has(mail.Draft)
	m.Forwarded = f.HasKeyword(keywordForwarded)
	m.Answered = f.Has(mail.Answered) && !m.Forwarded
}

// author is the From, else the Sender, else the envelope sender.
func author(sum *message.Summary, info *messageInfo) addr {
	for _, fieldAddrs := range [][]message.Address{sum.From, sum.Sender} {
		if len(fieldAddrs) > 0 {
			return addrs(fieldAddrs)[0]
		}
	}
	return oneAddr("", info.From)
}

// messageDate is the Date field, or the internal date where there is none.
func messageDate(sum *message.Summary, row *store.Row) Date {
	if !sum.Date.IsZero() {
		return Date(sum.Date)
	}
	return Date(row.InternalDate)
}

// messageInfo is what is stored about the origin of a message.
type messageInfo struct {
	Source    string      `json:"source,omitempty"`
	From      string      `json:"from"`
	To        []string    `json:"to,omitempty"`
	Origin    string      `json:"origin,omitempty"`
	TransType string      `json:"transtype,omitempty"`
	Time      time.Time   `json:"time,omitzero"`
	Reference *referenced `json:"reference,omitempty"`
}

// referenced is the message that a draft answers or forwards.
type referenced struct {
	Action  string         `json:"action" doc:"reply, replyAll or forward"`
	Mailbox mail.MailboxID `json:"mailbox" doc:"Mailbox id"`
	ID      mail.UID       `json:"id" doc:"UID"`
}

// UnmarshalJSON reads also the false that WildDuck writes where there is none.
func (r *referenced) UnmarshalJSON(b []byte) error {
	if string(b) == "false" {
		return nil
	}
	type plain referenced
	return json.Unmarshal(b, (*plain)(r))
}

// readInfo reads what a store kept; damage and absence are an empty info.
func readInfo(text string) messageInfo {
	var info messageInfo
	if text == "" || json.Unmarshal([]byte(text), &info) != nil {
		return messageInfo{}
	}
	if info.Reference != nil && info.Reference.ID == 0 {
		info.Reference = nil
	}
	return info
}
