package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"mallard/internal/auth"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/search"
)

func (a *API) searchRoutes() []*Route {
	return []*Route{
		handle(Route{
			Method: http.MethodGet, Pattern: "/users/:user/search", Name: "searchMessages", Tag: tagMessages,
			Summary: "Search messages",
			Description: "All conditions must be met. With q the other conditions do not count, but useAndSearch and searchable. " +
				"Words are found anywhere in the text, in any case.",
			Perm: Permission{"messages", auth.Read, ScopeUser}, AllowUnknown: true,
		}, a.searchMessages),
		handle(Route{
			Method: http.MethodPost, Pattern: "/users/:user/search", Name: "changeFoundMessages", Tag: tagMessages,
			Summary: "Change, move or delete what a search finds",
			Perm:    Permission{"messages", auth.Update, ScopeHandler}, AllowUnknown: true,
		}, a.applySearch),
	}
}

// searchParams are the conditions of a search.
type searchParams struct {
	Q           string          `api:"q,max=1024,blank,trim" doc:"Conditions as people type them: words, \"phrases\", from:x, -x, OR, parentheses"`
	Mailbox     *mail.MailboxID `api:"mailbox,blank" doc:"In this mailbox"`
	ID          *UIDList        `api:"id,blank" doc:"UIDs, together with mailbox"`
	Thread      *mail.ThreadID  `api:"thread,blank" doc:"In this thread"`
	Or          *orParams       `api:"or" doc:"At least one of these must be met"`
	Query       string          `api:"query,max=255,blank" doc:"Words in header or text"`
	DateStart   *time.Time      `api:"datestart,blank,label=Start time" doc:"Came in at this time or later"`
	DateEnd     *time.Time      `api:"dateend,blank,label=End time" doc:"Came in at this time or earlier"`
	From        string          `api:"from,blank" doc:"Part of From"`
	To          string          `api:"to,blank" doc:"Part of To or Cc"`
	Subject     string          `api:"subject,blank" doc:"Part of the subject"`
	MinSize     *int64          `api:"minSize,blank" doc:"Octets at least"`
	MaxSize     *int64          `api:"maxSize,blank" doc:"Octets at most"`
	Attachments bool            `api:"attachments" doc:"With attachments"`
	Flagged     bool            `api:"flagged" doc:"With \\Flagged"`
	Unseen      bool            `api:"unseen" doc:"Without \\Seen"`
	Seen        bool            `api:"seen" doc:"With \\Seen"`
	Every       bool            `api:"useAndSearch,default=false" doc:"Every word must be there, not just one"`
	Searchable  bool            `api:"searchable" doc:"Not in the mailboxes for spam and deleted mail"`
}

type orParams struct {
	Query   string `api:"query,max=255,blank" doc:"Words in header or text"`
	From    string `api:"from,blank" doc:"Part of From"`
	To      string `api:"to,blank" doc:"Part of To or Cc"`
	Subject string `api:"subject,blank" doc:"Part of the subject"`
}

// condition returns what a message must meet, nil when nothing can.
func (p *searchParams) condition() condition {
	if p.Q != "" {
		c := parseQ(p.Q, p.Every)
		if c != nil && p.Searchable {
			c = allOf([]condition{c, searchableMailbox()})
		}
		return c
	}
	list := []condition{always(search.All{})}
	add := func(given bool, c condition) {
		if given {
			list = append(list, c)
		}
	}
	add(p.Query != "", words(p.Query, p.Every))
	add(p.From != "", always(header("From", p.From)))
	add(p.To != "", toOrCc(p.To))
	add(p.Subject != "", always(header("Subject", p.Subject)))
	if or := p.alternatives(); len(or) > 0 {
		list = append(list, anyOf(or))
	}
	add(p.DateStart != nil || p.DateEnd != nil, arrived(p.DateStart, p.DateEnd))
	if p.MinSize != nil {
		list = append(list, always(search.Larger(*p.MinSize-1)))
	}
	if p.MaxSize != nil {
		list = append(list, always(search.Smaller(*p.MaxSize+1)))
	}
	if p.Thread != nil {
		list = append(list, always(search.ThreadID(*p.Thread)))
	}
	add(p.Attachments, flagCondition("attachments"))
	add(p.Flagged, flagCondition("flagged"))
	add(p.Unseen, flagCondition("unseen"))
	add(p.Seen && !p.Unseen, flagCondition("seen"))
	if p.Mailbox != nil {
		id := *p.Mailbox
		list = append(list, inMailbox(func(b *mail.Mailbox) bool { return b.ID == id }))
	} else {
		add(p.Searchable, searchableMailbox())
	}
	if p.ID != nil && (p.Mailbox != nil || p.Searchable) {
		list = append(list, always(search.UIDs(p.ID.Set)))
	}
	return allOf(list)
}

func (p *searchParams) alternatives() []condition {
	if p.Or == nil {
		return nil
	}
	var or []condition
	if p.Or.Query != "" && p.Query == "" {
		or = append(or, words(p.Or.Query, p.Every))
	}
	if p.Or.From != "" {
		or = append(or, always(header("From", p.Or.From)))
	}
	if p.Or.To != "" {
		or = append(or, toOrCc(p.Or.To))
	}
	if p.Or.Subject != "" {
		or = append(or, always(header("Subject", p.Or.Subject)))
	}
	return or
}

func words(text string, every bool) condition {
	w := search.ParseWords(text, every)
	if len(w.Terms) == 0 {
		return always(search.Or{}) // nothing that could be found
	}
	return always(search.And{w, undeleted()})
}

func toOrCc(value string) condition {
	return always(search.Or{header("To", value), header("Cc", value)})
}

type searchIn struct {
	UserPath
	searchParams
	IncludeHeaders   bool  `api:"includeHeaders,default=false" doc:"Show the header fields"`
	MetaData         bool  `api:"metaData,default=false" doc:"Show metaData"`
	ThreadCounters   bool  `api:"threadCounters,default=false" doc:"Show threadMessageCount"`
	IncludeHasDrafts bool  `api:"includeHasDrafts,default=false" doc:"Show hasDrafts"`
	CollapseThreads  bool  `api:"collapseThreads,default=false" doc:"One message of each thread only"`
	Order            Order `api:"order" doc:"Sort by internal date, asc for the oldest first; without it the newest ids come first"`
	Page
	Session
}

type searchReply struct {
	success
	Query string `json:"query,omitempty" doc:"What was searched for"`
	pageReply
	Results []messageItem `json:"results" doc:"Messages"`
}

func (a *API) searchMessages(ctx context.Context, _ *call, in *searchIn) (searchReply, error) {
	list, n := cursorFound, 1
	if in.Order.Given {
		list, n = cursorFoundDate, 2
	}
	pos, perr := in.position(list, n)
	known := a.exists(ctx, in.User) // looked up meanwhile
	var hits []mailbox.Hit
	var err error
	if perr == nil {
		hits, err = a.find(ctx, in.User, &in.searchParams)
	}
	if err := cmp.Or(<-known, perr, err); err != nil {
		return searchReply{}, err
	}
	sorting := hitOrder{byDate: in.Order.Given, ascending: in.Order.Ascending}
	slices.SortFunc(hits, sorting.compare)
	if in.CollapseThreads {
		hits = firstOfThreads(hits)
	}
	w := window[mailbox.Hit]{limit: in.Limit, backward: pos.backward}
	var edge mailbox.Hit
	if pos.key != nil && !sorting.parse(pos.key, &edge) {
		return searchReply{}, pos.bad()
	}
	for _, h := range hits {
		c := 1
		if pos.key != nil {
			c = sorting.compare(h, edge)
		}
		w.add(h, c > 0, c < 0)
	}
	items, err := a.items(ctx, in.User, w.items, itemOptions{headers: in.IncludeHeaders, meta: in.MetaData})
	if err != nil {
		return searchReply{}, err
	}
	if err := a.decorate(ctx, in.User, items, in.ThreadCounters, in.IncludeHasDrafts, in.CollapseThreads); err != nil {
		return searchReply{}, err
	}
	reply := searchReply{success: ok(), Query: in.Query, Results: items}
	if in.Q != "" {
		reply.Query = in.Q
	}
	var first, last []string
	if n := len(w.items); n > 0 {
		first, last = sorting.key(w.items[0]), sorting.key(w.items[n-1])
	}
	reply.pageReply = pos.reply(w.total, w.more, first, last)
	return reply, nil
}

// exists tells once whether there is an account, with an error if not.
func (a *API) exists(ctx context.Context, id mail.AccountID) <-chan error {
	told := make(chan error, 1)
	go func() {
		_, err := a.opt.Accounts.Get(ctx, id)
		told <- err
	}()
	return told
}

// hitOrder sorts hits: by internal date, or by id with the newest first.
type hitOrder struct{ byDate, ascending bool }

func (o hitOrder) compare(a, b mailbox.Hit) int {
	c := bytes.Compare(a.ID[:], b.ID[:])
	if o.byDate {
		if d := a.InternalDate.Compare(b.InternalDate); d != 0 {
			c = d
		}
	}
	if o.ascending {
		return c
	}
	return -c
}

func (o hitOrder) key(h mailbox.Hit) []string {
	if o.byDate {
		return []string{strconv.FormatInt(h.InternalDate.UnixNano(), 10), h.ID.String()}
	}
	return []string{h.ID.String()}
}

func (o hitOrder) parse(key []string, h *mailbox.Hit) bool {
	if o.byDate {
		nanos, err := strconv.ParseInt(key[0], 10, 64)
		if err != nil {
			return false
		}
		h.InternalDate = time.Unix(0, nanos)
	}
	return h.ID.UnmarshalText([]byte(key[len(key)-1])) == nil
}

func firstOfThreads(hits []mailbox.Hit) []mailbox.Hit {
	seen := make(map[mail.ThreadID]bool, len(hits))
	return slices.DeleteFunc(hits, func(h mailbox.Hit) bool {
		had := seen[h.Thread]
		seen[h.Thread] = true
		return had
	})
}

// find runs a search over the mailboxes of an account.
func (a *API) find(ctx context.Context, acct mail.AccountID, p *searchParams) ([]mailbox.Hit, error) {
	c := p.condition()
	if c == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, a.opt.SearchTimeout)
	defer cancel()
	boxes, err := a.opt.Mailboxes.List(ctx, acct)
	if err != nil {
		return nil, err
	}
	var hits []mailbox.Hit
	for _, b := range boxes {
		if b.UIDNext <= 1 {
			continue // nothing was ever in it
		}
		hits, err = a.findIn(ctx, acct, b, c(b), hits)
		if err != nil && mail.CodeOf(err) != mail.CodeNoMailbox {
			return nil, err
		}
	}
	return hits, nil
}

func (a *API) findIn(ctx context.Context, acct mail.AccountID, b *mail.Mailbox, q search.Query, hits []mailbox.Hit) ([]mailbox.Hit, error) {
	prog, err := search.Compile(q, search.Limits{})
	if err != nil {
		return nil, mail.WrapError(mail.CodeInvalid, "The search is too complex", err)
	}
	found, err := a.opt.Mailboxes.Find(ctx, acct, b.ID, prog)
	if err != nil {
		return hits, err
	}
	return append(hits, found...), nil
}

// items reads the messages of a page that come from any mailboxes, in order.
func (a *API) items(ctx context.Context, acct mail.AccountID, hits []mailbox.Hit, opt itemOptions) ([]messageItem, error) {
	byBox := map[mail.MailboxID][]mailbox.Hit{}
	for _, h := range hits {
		byBox[h.Mailbox] = append(byBox[h.Mailbox], h)
	}
	type ref struct {
		mbox mail.MailboxID
		uid  mail.UID
	}
	got := map[ref]messageItem{}
	extra := int64(0)
	for mbox, found := range byBox {
		page := messagePage{extra: extra}
		slices.SortFunc(found, func(a, b mailbox.Hit) int { return cmp.Compare(a.UID, b.UID) })
		keys, known := make([]dateKey, len(found)), make([]mail.HotRow, len(found))
		for i, h := range found {
			keys[i], known[i] = dateKey{h.InternalDate, h.UID}, h.Row()
		}
		if err := a.fillPage(ctx, acct, mbox, &page, keys, known, opt); err != nil && mail.CodeOf(err) != mail.CodeNoMailbox {
			return nil, err
		}
		extra = page.extra
		for _, item := range page.items {
			got[ref{mbox, item.ID}] = item
		}
	}
	out := make([]messageItem, 0, len(hits))
	for _, h := range hits {
		if item, found := got[ref{h.Mailbox, h.UID}]; found {
			out = append(out, item)
		}
	}
	return out, nil
}

type applySearchIn struct {
	UserPath
	searchParams
	Action *searchAction `api:"action,required" doc:"What is done with the messages"`
}

// searchAction is what is done with the messages that were found.
type searchAction struct {
	MoveTo  *mail.MailboxID `api:"moveTo" doc:"Move them to this mailbox"`
	Seen    *bool           `api:"seen" doc:"Set or clear \\Seen"`
	Flagged *bool           `api:"flagged" doc:"Set or clear \\Flagged"`
	Delete  bool            `api:"delete,default=false" doc:"Delete them; nothing else can be done then"`
}

type scheduledReply struct {
	success
	Existing  bool   `json:"existing" doc:"Whether there was such a task"`
	Scheduled string `json:"scheduled" doc:"Id of the task"`
}

func (a *API) applySearch(ctx context.Context, c *call, in *applySearchIn) (scheduledReply, error) {
	perm := c.route.Perm
	if in.Action.Delete {
		if extra := in.Action.others(); extra != "" {
			d := &decoder{}
			d.note(place{}.child("action", ""), "When 'delete' is true, no other fields (["+extra+"]) can be set")
			return scheduledReply{}, d.err()
		}
		perm.Action = auth.Delete
	}
	if err := c.permit(perm, in); err != nil {
		return scheduledReply{}, err
	}
	reply := scheduledReply{success: ok(), Scheduled: a.newID()}
	hits, err := a.find(ctx, in.User, &in.searchParams)
	if err != nil && mail.CodeOf(err) == mail.CodeNoAccount {
		return reply, nil
	}
	if err != nil {
		return scheduledReply{}, err
	}
	byBox := map[mail.MailboxID][]mail.UID{}
	for _, h := range hits {
		byBox[h.Mailbox] = append(byBox[h.Mailbox], h.UID)
	}
	for mbox, uids := range byBox {
		if err := a.act(ctx, in.User, mbox, mail.UIDSetOf(uids...), in.Action); err != nil {
			return scheduledReply{}, missingMailbox(err)
		}
	}
	return reply, nil
}

// others names what is set besides delete.
func (s *searchAction) others() string {
	var out []string
	if s.MoveTo != nil {
		out = append(out, "moveTo")
	}
	if s.Seen != nil {
		out = append(out, "seen")
	}
	if s.Flagged != nil {
		out = append(out, "flagged")
	}
	return strings.Join(out, ", ")
}

// act changes the messages of one mailbox. Flags come before a move, so that the
// messages are in their new place as they are to be.
func (a *API) act(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, act *searchAction) error {
	if act.Delete {
		_, err := a.opt.Mailboxes.Remove(ctx, acct, mbox, uids, true)
		return err
	}
	ch := messageChanges{Seen: act.Seen, Flagged: act.Flagged}
	if !ch.empty() {
		if _, err := a.applyChanges(ctx, acct, mbox, uids, &ch); err != nil {
			return err
		}
	}
	if act.MoveTo == nil || *act.MoveTo == mbox {
		return nil
	}
	_, err := a.opt.Mailboxes.Move(ctx, acct, mbox, *act.MoveTo, uids)
	return err
}
