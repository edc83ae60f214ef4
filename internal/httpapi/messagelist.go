package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

const tagMessages = "Messages"

func (a *API) messageRoutes() []*Route {
	const (
		all = "/users/:user/mailboxes/:mailbox/messages"
		one = all + "/:message"
	)
	messages := func(action string) Permission { return Permission{"messages", action, ScopeUser} }
	return []*Route{
		handle(Route{
			Method: http.MethodGet, Pattern: all, Name: "listMessages", Tag: tagMessages,
			Summary: "List the messages of a mailbox", Description: "In order of their internal dates, the newest first.",
			Perm: messages("read"), AllowUnknown: true,
		}, a.listMessages),
		handle(Route{
			Method: http.MethodPost, Pattern: all, Name: "uploadMessage", Tag: tagMessages, Raw: true,
			Summary: "Store a message",
			Description: "The message is the body when its type is neither JSON nor a form (such as message/rfc822), or raw, " +
				"or is composed from the other parameters. Nothing is sent.",
			Perm: messages("create"),
		}, a.uploadMessage),
		handle(Route{
			Method: http.MethodPut, Pattern: all, Name: "updateMessages", Tag: tagMessages,
			Summary: "Change or move messages", Perm: messages("update"),
		}, a.updateMessages),
		handle(Route{
			Method: http.MethodDelete, Pattern: all, Name: "deleteMessages", Tag: tagMessages,
			Summary: "Delete all messages of a mailbox", Perm: messages("delete"),
		}, a.deleteMessages),
		handle(Route{
			Method: http.MethodGet, Pattern: one, Name: "getMessage", Tag: tagMessages,
			Summary:     "Get a message",
			Description: "HTML is as the sender wrote it; a user interface must make it safe. Embedded images have links of the form attachment:ATT00001.",
			Perm:        messages("read"),
		}, a.getMessage),
		handle(Route{
			Method: http.MethodPut, Pattern: one, Name: "updateMessage", Tag: tagMessages,
			Summary: "Change or move a message", Description: "In place of one UID there can be a list, such as 1,2 or 1:5 or 1:*.",
			Perm: messages("update"),
		}, a.updateMessage),
		handle(Route{
			Method: http.MethodDelete, Pattern: one, Name: "deleteMessage", Tag: tagMessages,
			Summary: "Delete a message", Perm: messages("delete"),
		}, a.deleteMessage),
		handle(Route{
			Method: http.MethodGet, Pattern: one + "/message.eml", Name: "getMessageSource", Tag: tagMessages,
			Summary: "Get a message as it came", Produces: "message/rfc822", PlainErrors: true, Perm: messages("read"),
		}, a.getSource),
		handle(Route{
			Method: http.MethodGet, Pattern: one + "/attachments/:attachment", Name: "getAttachment", Tag: tagMessages,
			Summary: "Get a decoded attachment", Produces: "*/*", PlainErrors: true,
			Perm: Permission{"attachments", "read", ScopeUser},
		}, a.getAttachment),
	}
}

type listMessagesIn struct {
	MailboxIDPath
	Unseen           *bool   `api:"unseen" doc:"Messages without \\Seen only, or those with it only"`
	MetaData         bool    `api:"metaData,default=false" doc:"Show metaData"`
	ThreadCounters   bool    `api:"threadCounters,default=false" doc:"Show threadMessageCount"`
	IncludeHasDrafts bool    `api:"includeHasDrafts,default=false" doc:"Show hasDrafts"`
	CollapseThreads  bool    `api:"collapseThreads,default=false" doc:"One message of each thread only"`
	Limit            int     `api:"limit,min=1,max=250,default=20,blank" doc:"Greatest number of results"`
	Order            Order   `api:"order" doc:"asc for the oldest first"`
	Next             *Cursor `api:"next,label=Next page cursor" doc:"Cursor of the next page, as the last reply gave it"`
	Previous         *Cursor `api:"previous,label=Previous page cursor" doc:"Cursor of the previous page, as the last reply gave it"`
	IncludeHeaders   bool    `api:"includeHeaders,default=false" doc:"Show the header fields"`
	Session
}

type listMessagesReply struct {
	success
	pageReply
	SpecialUse nullString    `json:"specialUse" doc:"Special use of the mailbox"`
	Results    []messageItem `json:"results" doc:"Messages"`
}

// dateKey is the place of a message in a list that is sorted by internal date.
type dateKey struct {
	date time.Time
	uid  mail.UID
}

func (k dateKey) cursor() []string {
	return []string{strconv.FormatInt(k.date.UnixNano(), 10), strconv.FormatUint(uint64(k.uid), 10)}
}

func parseDateKey(key []string) (dateKey, bool) {
	if len(key) != 2 {
		return dateKey{}, false
	}
	nanos, err := strconv.ParseInt(key[0], 10, 64)
	uid := parseUID(key[1])
	return dateKey{time.Unix(0, nanos).UTC(), uid}, err == nil && uid > 0
}

func (a *API) listMessages(ctx context.Context, _ *call, in *listMessagesIn) (listMessagesReply, error) {
	box, err := a.opt.Mailboxes.Get(ctx, in.User, in.Mailbox)
	if err != nil {
		return listMessagesReply{}, replaceError(err, map[mail.Code]*Error{mail.CodeNoAccount: errNoMailbox()})
	}
	page := Page{Limit: in.Limit, Next: in.Next, Previous: in.Previous}
	pos, err := page.position(cursorMessages, 2)
	if err != nil {
		return listMessagesReply{}, err
	}
	var from dateKey
	if pos.key != nil {
		var good bool
		if from, good = parseDateKey(pos.key); !good {
			return listMessagesReply{}, pos.bad()
		}
	}
	var got messagePage
	if in.CollapseThreads {
		got, err = a.threadPage(ctx, box, in, &pos, from)
	} else {
		got, err = a.messagePage(ctx, box, in, &pos, from)
	}
	if err != nil {
		return listMessagesReply{}, err
	}
	if err := a.decorate(ctx, in.User, got.items, in.ThreadCounters, in.IncludeHasDrafts, in.CollapseThreads); err != nil {
		return listMessagesReply{}, err
	}
	reply := listMessagesReply{success: ok(), SpecialUse: nullString(box.SpecialUse), Results: got.items}
	var first, last []string
	if n := len(got.keys); n > 0 {
		first, last = got.keys[0].cursor(), got.keys[n-1].cursor()
	}
	reply.pageReply = pos.reply(got.total, got.more, first, last)
	return reply, nil
}

// messagePage is a page of messages in the order in which they are shown.
type messagePage struct {
	items []messageItem
	keys  []dateKey
	total int64
	more  bool
	extra int64 // octets of what is shown on request
}

// maxPageExtra bounds the metadata and header fields on a page, in octets. A page
// that has so much ends early.
const maxPageExtra = 16 << 20

// full reports whether nothing more fits on a page of limit results.
func (p *messagePage) full(limit int) bool { return len(p.items) == limit || p.extra > maxPageExtra }

// errPageTooLarge is for pages that cannot end early: their messages are known before
// they are read.
func errPageTooLarge() *Error {
	return newError(http.StatusBadRequest, "PageTooLarge", "The results are too large for one page, ask for fewer")
}

func (p *messagePage) add(mbox mail.MailboxID, row *store.Row, opt itemOptions) error {
	item, err := newMessageItem(mbox, row, opt)
	if err != nil {
		return err
	}
	p.put(item, row, opt)
	return nil
}

func (p *messagePage) put(item messageItem, row *store.Row, opt itemOptions) {
	p.items = append(p.items, item)
	p.keys = append(p.keys, dateKey{row.InternalDate, row.UID})
	if opt.meta {
		p.extra += int64(len(row.MetaData))
	}
	if opt.headers {
		p.extra += int64(len(row.Header))
	}
}

func (p *messagePage) reverse() {
	slices.Reverse(p.items)
	slices.Reverse(p.keys)
}

// messagePage reads one page by the index of dates.
func (a *API) messagePage(ctx context.Context, box *mail.Mailbox, in *listMessagesIn, pos *position, from dateKey) (messagePage, error) {
	opt := itemOptions{headers: in.IncludeHeaders, meta: in.MetaData}
	c, err := a.counters(ctx, in.User, box.ID)
	if err != nil {
		return messagePage{}, err
	}
	page := messagePage{items: []messageItem{}, total: c.Messages}
	if in.Unseen != nil {
		if page.total = c.Unseen; !*in.Unseen {
			page.total = c.Messages - c.Unseen
		}
	}
	q := store.FetchQuery{Fields: opt.fields(), Order: store.ByDateDescending, AfterDate: from.date, AfterUID: from.uid}
	if in.Order.Ascending != pos.backward { // one of them, not both
		q.Order = store.ByDate
	}
	if in.Unseen == nil {
		q.Limit = in.Limit + 1
	}
	for row, err := range a.opt.Mailboxes.Fetch(ctx, in.User, box.ID, q) {
		if err != nil {
			return page, fmt.Errorf("list messages: %w", err)
		}
		if in.Unseen != nil && *in.Unseen == row.Flags.Has(mail.Seen) {
			continue
		}
		if page.full(in.Limit) {
			page.more = true
			break
		}
		if err := page.add(box.ID, row, opt); err != nil {
			return page, err
		}
	}
	if pos.backward {
		page.reverse()
	}
	return page, nil
}

// threadPage reads one page with a single message of each thread: the first in
// the order of the list. The whole mailbox has to be looked at.
func (a *API) threadPage(ctx context.Context, box *mail.Mailbox, in *listMessagesIn, pos *position, from dateKey) (messagePage, error) {
	q := store.FetchQuery{Order: store.ByDateDescending}
	if in.Order.Ascending {
		q.Order = store.ByDate
	}
	seen := map[mail.ThreadID]bool{}
	w := window[dateKey]{limit: in.Limit, backward: pos.backward}
	for row, err := range a.opt.Mailboxes.Fetch(ctx, in.User, box.ID, q) {
		if err != nil {
			return messagePage{}, fmt.Errorf("list threads: %w", err)
		}
		if in.Unseen != nil && *in.Unseen == row.Flags.Has(mail.Seen) || seen[row.ThreadID] {
			continue
		}
		seen[row.ThreadID] = true
		key := dateKey{row.InternalDate, row.UID}
		after := key.compare(from)
		if !in.Order.Ascending {
			after = -after
		}
		w.add(key, from.uid == 0 || after > 0, after < 0)
	}
	page := messagePage{items: []messageItem{}, total: w.total, more: w.more}
	return page, a.fillPage(ctx, in.User, box.ID, &page, w.items, nil, itemOptions{headers: in.IncludeHeaders, meta: in.MetaData})
}

func (k dateKey) compare(o dateKey) int {
	if c := k.date.Compare(o.date); c != 0 {
		return c
	}
	return int(int64(k.uid) - int64(o.uid))
}

// fillPage reads the messages of a page that is known by UIDs, in that order. known is what else is known of them, in order
// of UID, or nil.
func (a *API) fillPage(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, page *messagePage, keys []dateKey, known []mail.HotRow, opt itemOptions) error {
	if len(keys) == 0 {
		return nil
	}
	uids := make([]mail.UID, len(keys))
	for i, k := range keys {
		uids[i] = k.uid
	}
	got := messagePage{extra: page.extra}
	q := store.FetchQuery{UIDs: mail.UIDSetOf(uids...), Fields: opt.fields(), Known: known}
	if known != nil && !opt.meta {
		q.Fields &^= store.FieldMeta // which is read each time, and seldom needed
	}
	nameless, err := a.readPage(ctx, acct, mbox, &got, q, opt)
	if err == nil && len(nameless) > 0 {
		_, err = a.readPage(ctx, acct, mbox, &got, store.FetchQuery{UIDs: nameless, Fields: opt.fields()}, opt)
	}
	if err != nil {
		return err
	}
	page.extra = got.extra
	for _, k := range keys {
		i := slices.IndexFunc(got.keys, func(g dateKey) bool { return g.uid == k.uid })
		if i < 0 {
			continue // expunged meanwhile
		}
		page.items, page.keys = append(page.items, got.items[i]), append(page.keys, k)
	}
	return nil
}

// readPage adds messages to a page. Those without an author are left out and returned when what was stored about their
// origin, which then counts, is not read.
func (a *API) readPage(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, got *messagePage, q store.FetchQuery, opt itemOptions) (nameless mail.UIDSet, err error) {
	for row, err := range a.opt.Mailboxes.Fetch(ctx, acct, mbox, q) {
		if err != nil {
			return nil, fmt.Errorf("read messages: %w", err)
		}
		if got.full(-1) {
			return nil, errPageTooLarge()
		}
		item, err := newMessageItem(mbox, row, opt)
		if err != nil {
			return nil, err
		}
		if item.nameless && q.Fields&store.FieldMeta == 0 {
			nameless = nameless.Append(row.UID)
			continue
		}
		got.put(item, row, opt)
	}
	return nameless, nil
}
