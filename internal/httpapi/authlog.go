package httpapi

import (
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"mallard/internal/auth"
	"mallard/internal/mail"
)

func (a *API) authLogRoutes() []*Route {
	read := Permission{"authentication", auth.Read, ScopeUser}
	return []*Route{
		handle(Route{
			Method: http.MethodGet, Pattern: "/users/:user/authlog", Name: "listAuthLog", Tag: tagAuth,
			Summary:     "List the log of logins of a user",
			Description: "The newest entry first. Repetitions within six hours are counted in one entry. A server on its own has no such log.",
			Perm:        read,
		}, a.listAuthLog),
		handle(Route{
			Method: http.MethodGet, Pattern: "/users/:user/authlog/:event", Name: "getAuthLogEntry", Tag: tagAuth,
			Summary: "Get an entry of the log of logins", Perm: read,
		}, a.getAuthLogEntry),
	}
}

// event is an event of the log of logins that a call is the cause of.
func (s Session) event(acct mail.AccountID, action, result string) mail.AuthEvent {
	return mail.AuthEvent{Account: acct, Action: action, Result: result, Session: s.Sess, IP: string(s.IP)}
}

// The actions of calls that are logged.
const (
	actionCreated        = "account created"
	actionDeleted        = "delete user"
	actionReset          = "reset"
	actionPasswordChange = "password change"
	actionForwardAdded   = "user forward added"
)

// logForwards logs the targets that are new, without the password of a relay.
func (a *API) logForwards(e mail.AuthEvent, before, after []mail.Target) {
	for _, t := range after {
		if !slices.ContainsFunc(before, func(old mail.Target) bool { return old.Value == t.Value }) {
			e.Target = withoutUser(t.Value)
			a.opt.Logins.LogEvent(e)
		}
	}
}

// withoutUser is a target without the user and the password that a URL may have.
func withoutUser(target string) string {
	scheme, rest, isURL := strings.Cut(target, "://")
	if !isURL {
		return target
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	return scheme + "://" + rest[strings.LastIndexByte(rest[:end], '@')+1:]
}

type authLogIn struct {
	UserPath
	Action   string   `api:"action,lower,max=100,blank" doc:"Only entries of this action"`
	FilterIP ClientIP `api:"filterip,label=Client IP" doc:"Only entries of this IP address"`
	Page
	Session
}

type authLogReply struct {
	success
	Action string `json:"action,omitempty" doc:"What was searched for"`
	pageReply
	Results []authLogItem `json:"results" doc:"Entries, the newest first"`
}

type authLogItem struct {
	ID            string     `json:"id" doc:"Id of the entry"`
	Key           string     `json:"key" doc:"What repetitions have in common, in Base64"`
	Action        string     `json:"action" doc:"What was done: authentication, password change ..."`
	Result        string     `json:"result,omitempty" doc:"success, fail, disabled or suspended"`
	Target        string     `json:"target,omitempty" doc:"Where mail is forwarded to"`
	Filter        string     `json:"filter,omitempty" doc:"Id of a filter"`
	Credential    string     `json:"credential,omitempty" doc:"Id of a WebAuthn credential"`
	MCPToken      string     `json:"mcptoken,omitempty" doc:"Id of a token for programs"`
	Protocol      string     `json:"protocol,omitempty" doc:"IMAP, API ..."`
	Session       nullString `json:"sess" doc:"Session identifier"`
	IP            nullString `json:"ip" doc:"IP address"`
	AppID         string     `json:"appId,omitempty" doc:"Application"`
	RequiredScope string     `json:"requiredScope,omitempty" doc:"What was asked for"`
	Source        string     `json:"source,omitempty" doc:"Kind of the password: master, asp or temporary"`
	ASP           string     `json:"asp,omitempty" doc:"Id of the application password"`
	ASPName       string     `json:"aname,omitempty" doc:"Its description"`
	Temporary     *bool      `json:"temporary,omitempty" doc:"The application password has an end"`
	Require2FA    string     `json:"require2fa,omitempty" doc:"Second factors of the user, with commas between them"`
	Created       Date       `json:"created" doc:"First time"`
	Expires       Date       `json:"expires" doc:"When the entry is removed"`
	Events        int64      `json:"events" doc:"How many times"`
	Last          Date       `json:"last" doc:"Last time"`
}

func newAuthLogItem(e *mail.AuthLogEntry) authLogItem {
	return authLogItem{
		ID: e.ID, Key: base64.StdEncoding.EncodeToString(e.Key), Action: e.Action, Result: e.Result, Target: e.Target, Filter: e.Filter,
		Credential: e.Credential, MCPToken: e.MCPToken, Protocol: e.Protocol, Session: nullString(e.Session), IP: nullString(e.IP),
		AppID: e.AppID, RequiredScope: e.Scope, Source: e.Source, ASP: e.AppPassword, ASPName: e.AppPasswordName, Temporary: e.Temporary,
		Require2FA: e.Require2FA, Created: Date(e.Created), Expires: Date(e.Expires), Events: e.Events, Last: Date(e.Last),
	}
}

func (a *API) listAuthLog(ctx context.Context, _ *call, in *authLogIn) (authLogReply, error) {
	pos, err := in.position(cursorAuthLog, 1)
	if err != nil {
		return authLogReply{}, err
	}
	if _, err := a.opt.Accounts.Get(ctx, in.User); err != nil {
		return authLogReply{}, err
	}
	reply := authLogReply{success: ok(), Action: in.Action, Results: []authLogItem{}}
	page, err := a.authLogPage(ctx, in, &pos)
	if err != nil {
		return authLogReply{}, err
	}
	var first, last []string
	for i := range page.Entries {
		reply.Results = append(reply.Results, newAuthLogItem(&page.Entries[i]))
	}
	if n := len(page.Entries); n > 0 {
		first, last = []string{page.Entries[0].ID}, []string{page.Entries[n-1].ID}
	}
	reply.pageReply = pos.reply(page.Total, page.More, first, last)
	return reply, nil
}

func (a *API) authLogPage(ctx context.Context, in *authLogIn, pos *position) (*mail.AuthLogPage, error) {
	if a.opt.AuthLog == nil {
		return &mail.AuthLogPage{}, nil
	}
	q := mail.AuthLogQuery{Action: in.Action, IP: string(in.FilterIP), Limit: in.Limit}
	if len(pos.key) > 0 {
		edge := &q.After
		if pos.backward {
			edge = &q.Before
		}
		*edge = pos.key[0]
	}
	page, err := a.opt.AuthLog.AuthLog(ctx, in.User, q)
	if mail.CodeOf(err) == mail.CodeInvalid && err != nil {
		return nil, pos.bad()
	}
	return page, err
}

type authLogEntryIn struct {
	UserPath
	Event mail.MessageID `api:"event,path" doc:"Id of the entry"`
	Session
}

type authLogEntryReply struct {
	success
	authLogItem
}

func (a *API) getAuthLogEntry(ctx context.Context, _ *call, in *authLogEntryIn) (authLogEntryReply, error) {
	if _, err := a.opt.Accounts.Get(ctx, in.User); err != nil {
		return authLogEntryReply{}, err
	}
	none := newError(http.StatusNotFound, "EventNotFound", "Event was not found")
	if a.opt.AuthLog == nil {
		return authLogEntryReply{}, none
	}
	e, err := a.opt.AuthLog.AuthLogEntry(ctx, in.User, in.Event.String())
	if err != nil {
		return authLogEntryReply{}, replaceError(err, map[mail.Code]*Error{mail.CodeNotFound: none})
	}
	return authLogEntryReply{ok(), newAuthLogItem(e)}, nil
}
