package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"mallard/internal/account"
	"mallard/internal/mail"
)

const tagUsers = "Users"

func (a *API) userRoutes() []*Route {
	users := func(action string, scope Scope) Permission { return Permission{"users", action, scope} }
	return []*Route{
		handle(Route{
			Method: http.MethodGet, Pattern: "/users", Name: "listUsers", Tag: tagUsers,
			Summary: "List users", Perm: Permission{"userlisting", "read", ScopeListing}, AllowUnknown: true,
		}, a.listUsers),
		handle(Route{
			Method: http.MethodPost, Pattern: "/users", Name: "createUser", Tag: tagUsers,
			Summary:     "Create a user",
			Description: "Makes the account with its main address and its mailboxes. Without an address it gets one made from the user name.",
			Perm:        users("create", ScopeAny),
		}, a.createUser),
		handle(Route{
			Method: http.MethodGet, Pattern: "/users/resolve/:username", Name: "resolveUser", Tag: tagUsers,
			Summary: "Find the id of a user by the user name", Description: "Case and dots of the name do not matter.",
			Perm: users("read", ScopeAny),
		}, a.resolveUser),
		handle(Route{
			Method: http.MethodGet, Pattern: "/users/:user", Name: "getUser", Tag: tagUsers,
			Summary: "Get a user", Perm: users("read", ScopeUser),
		}, a.getUser),
		handle(Route{
			Method: http.MethodPut, Pattern: "/users/:user", Name: "updateUser", Tag: tagUsers,
			Summary:     "Change a user",
			Description: "What is not given stays. A new password and suspension end all sessions and make all tokens invalid but the one of this call.",
			Perm:        users("update", ScopeUser),
		}, a.updateUser),
		handle(Route{
			Method: http.MethodDelete, Pattern: "/users/:user", Name: "deleteUser", Tag: tagUsers,
			Summary: "Delete a user", Description: "The user and the addresses are gone at once, the mail at the date that is given. Deleting again changes the date.",
			Perm: users("delete", ScopeAny),
		}, a.deleteUser),
		handle(Route{
			Method: http.MethodPut, Pattern: "/users/:user/logout", Name: "logoutUser", Tag: tagUsers,
			Summary: "End the sessions of a user", Perm: users("read", ScopeUser),
		}, a.logoutUser),
		handle(Route{
			Method: http.MethodPost, Pattern: "/users/:user/quota/reset", Name: "recountQuota", Tag: tagUsers,
			Summary: "Recalculate the storage used by a user", Perm: users("update", ScopeUser),
		}, a.recountQuota),
		handle(Route{
			Method: http.MethodPost, Pattern: "/users/:user/password/reset", Name: "resetPassword", Tag: tagUsers,
			Summary:     "Make a temporary password",
			Description: "It works for 24 hours, for scope master only; the old password keeps working.",
			Perm:        users("update", ScopeAny),
		}, a.resetPassword),
	}
}

// idReply is the reply of calls that make or find one thing.
type idReply struct {
	success
	ID string `json:"id" doc:"Id of what was made or found"`
}

// UserSettings are the parameters that creating and changing a user share.
type createUserIn struct {
	Username              string          `api:"username,required,lower,min=1,max=128,pattern=username" doc:"User name; letters, digits and dashes, joined by single . _ = :"`
	Password              *Password       `api:"password,required,max=256" doc:"Password, or false for none"`
	HashedPassword        bool            `api:"hashedPassword,default=false" doc:"The password is a hash, which is stored as it is"`
	AllowUnsafe           bool            `api:"allowUnsafe,default=true" doc:"Accepted for compatibility; passwords are not looked up in lists of leaked ones"`
	Address               string          `api:"address,format=email" doc:"Main address"`
	EmptyAddress          bool            `api:"emptyAddress,default=false" doc:"Make no address"`
	Language              *string         `api:"language,max=20,blank" doc:"Language code, for the names of mailboxes"`
	Retention             *int64          `api:"retention,min=0,default=0" doc:"Messages are removed after this time in ms; 0 for never"`
	Name                  *string         `api:"name,max=256" doc:"Display name"`
	Targets               []Target        `api:"targets" doc:"Where copies of all mail go: addresses and smtp, smtps, http or https URIs"`
	MTARelay              *string         `api:"mtaRelay,format=uri,schemes=smtp|smtps" doc:"Relay for outgoing mail"`
	SpamLevel             *int64          `api:"spamLevel,min=0,max=100,default=50" doc:"0: everything is spam, 100: nothing is"`
	Quota                 *int64          `api:"quota,min=0,default=0" doc:"Octets; 0 for the default, as for all limits"`
	Recipients            *int64          `api:"recipients,min=0,default=0" doc:"Messages sent per day"`
	Forwards              *int64          `api:"forwards,min=0,default=0" doc:"Messages forwarded per day"`
	Filters               *int64          `api:"filters,min=0,default=0" doc:"Number of filters"`
	RequirePasswordChange bool            `api:"requirePasswordChange,default=false" doc:"The password is temporary"`
	Require2FA            *bool           `api:"require2faEnabled,default=false" doc:"A second factor is demanded by the user interface"`
	IMAPMaxUpload         *int64          `api:"imapMaxUpload,min=0,default=0" doc:"Octets per day"`
	IMAPMaxDownload       *int64          `api:"imapMaxDownload,min=0,default=0" doc:"Octets per day"`
	POP3MaxDownload       *int64          `api:"pop3MaxDownload,min=0,default=0" doc:"Octets per day"`
	POP3MaxMessages       *int64          `api:"pop3MaxMessages,min=0,default=0" doc:"Newest messages that POP3 shows"`
	IMAPMaxConnections    *int64          `api:"imapMaxConnections,min=0,default=0" doc:"Sessions at a time"`
	ReceivedMax           *int64          `api:"receivedMax,min=0,default=0" doc:"Messages received per minute"`
	FromWhitelist         []string        `api:"fromWhitelist;max=128" doc:"Further sender addresses; one may begin or end with *"`
	Tags                  []string        `api:"tags;max=128,trim" doc:"Tags"`
	AddTagsToAddress      bool            `api:"addTagsToAddress,default=false" doc:"The main address gets the tags too"`
	UploadSent            *bool           `api:"uploadSentMessages,default=false" doc:"Keep a copy of mail that is sent by SMTP"`
	Mailboxes             *folderNames    `api:"mailboxes" doc:"Names of the special mailboxes"`
	DisabledScopes        []string        `api:"disabledScopes,unique;in=imap|pop3|smtp|mcp" doc:"Services that the user may not use"`
	MetaData              *Meta           `api:"metaData" doc:"Object that is kept with the user"`
	InternalData          *Meta           `api:"internalData" doc:"Object that is kept with the user and never shown to the user"`
	PubKey                *string         `api:"pubKey,trim,blank,pattern=pgp" doc:"Armoured OpenPGP public key"`
	SMIMECerts            []string        `api:"smimeCerts,max=16;trim,pattern=certificate" doc:"S/MIME certificates in PEM"`
	SMIMECipher           *string         `api:"smimeCipher,in=AES-CBC|AES-GCM,default=AES-CBC" doc:"Cipher for S/MIME"`
	SMIMETransport        *string         `api:"smimeKeyTransport,in=PKCS#1 v1.5|OAEP,default=PKCS#1 v1.5" doc:"Key transport for S/MIME"`
	EncryptMessages       *bool           `api:"encryptMessages,default=false" doc:"Encrypt stored mail"`
	EncryptForwarded      *bool           `api:"encryptForwarded,default=false" doc:"Encrypt forwarded mail"`
	FeatureFlags          *featureFlagsIn `api:"featureFlags" doc:"Switches"`
	Session
}

type folderNames struct {
	Sent   string `api:"sent,blank,pattern=mailboxpath" doc:"Name of the mailbox for sent mail"`
	Trash  string `api:"trash,blank,pattern=mailboxpath" doc:"Name of the mailbox for deleted mail"`
	Junk   string `api:"junk,blank,pattern=mailboxpath" doc:"Name of the mailbox for spam"`
	Drafts string `api:"drafts,blank,pattern=mailboxpath" doc:"Name of the mailbox for drafts"`
}

type featureFlagsIn struct {
	Indexing bool `api:"indexing,default=false" doc:"Full-text index"`
}

func (f *featureFlagsIn) flags() map[string]bool {
	if f == nil {
		return nil
	}
	return map[string]bool{"indexing": f.Indexing}
}

func millis(ms *int64) *time.Duration {
	if ms == nil {
		return nil
	}
	d := time.Duration(min(*ms, maxRetentionMS)) * time.Millisecond
	return &d
}

// maxRetentionMS keeps times in ms within a time.Duration: about 200 years.
const maxRetentionMS = 200 * 365 * 24 * 3600 * 1000

func texts[T ~string](in []T) []string {
	if in == nil {
		return nil
	}
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}

func intOf(n *int64) *int {
	if n == nil {
		return nil
	}
	v := int(*n)
	return &v
}

func (in *createUserIn) profile() account.Profile {
	return account.Profile{
		Name: in.Name, Language: in.Language, Quota: in.Quota, Recipients: in.Recipients, Forwards: in.Forwards,
		Filters: in.Filters, IMAPMaxUpload: in.IMAPMaxUpload, IMAPMaxDownload: in.IMAPMaxDownload,
		POP3MaxDownload: in.POP3MaxDownload, POP3MaxMessages: in.POP3MaxMessages,
		IMAPMaxConnections: in.IMAPMaxConnections, ReceivedMax: in.ReceivedMax, Targets: texts(in.Targets),
		MTARelay: in.MTARelay, SpamLevel: intOf(in.SpamLevel), Retention: millis(in.Retention),
		DisabledScopes: in.DisabledScopes, Tags: in.Tags, FromWhitelist: in.FromWhitelist,
		MetaData: (*string)(in.MetaData), InternalData: (*string)(in.InternalData), FeatureFlags: in.FeatureFlags.flags(),
		PublicKey: in.PubKey, SMIMECerts: in.SMIMECerts, SMIMECipher: in.SMIMECipher, SMIMETransport: in.SMIMETransport,
		EncryptMessages: in.EncryptMessages, EncryptForward: in.EncryptForwarded, UploadSent: in.UploadSent, Require2FA: in.Require2FA,
	}
}

func (a *API) createUser(ctx context.Context, _ *call, in *createUserIn) (idReply, error) {
	if strings.Contains(in.Address, "*") {
		return idReply{}, invalid("Invalid character in email address: *")
	}
	if err := checkKeys(in.PubKey, in.SMIMECerts); err != nil {
		return idReply{}, err
	}
	user := account.NewUser{
		Username: in.Username, Password: account.Password{Text: in.Password.Value, Hashed: in.HashedPassword},
		RequirePasswordChange: in.RequirePasswordChange, Address: in.Address, NoAddress: in.EmptyAddress,
		TagsOnAddress: in.AddTagsToAddress, Profile: in.profile(),
	}
	if m := in.Mailboxes; m != nil {
		user.Folders = account.FolderNames{Sent: m.Sent, Trash: m.Trash, Drafts: m.Drafts, Junk: m.Junk}
	}
	acct, err := a.opt.Accounts.Create(ctx, user)
	if err != nil {
		return idReply{}, createFailure(err, in.Username)
	}
	a.opt.Logins.LogEvent(in.event(acct.ID, actionCreated, mail.ResultSuccess))
	forward := in.event(acct.ID, actionForwardAdded, mail.ResultSuccess)
	forward.Protocol = "API"
	a.logForwards(forward, nil, acct.Targets)
	return idReply{ok(), acct.ID.String()}, nil
}

// createFailure has the status 500 for what is not the server's fault, as
// clients of WildDuck know it.
func createFailure(err error, username string) error {
	code := ""
	switch {
	case errors.Is(err, account.ErrUsernameTaken):
		code = "UserExistsError"
	case errors.Is(err, account.ErrAddressTaken):
		code = "AddressExistsError"
	case errors.Is(err, account.ErrPasswordHash):
		code = "HashError"
	default:
		return err
	}
	e := newError(http.StatusInternalServerError, code, mail.PublicText(err)).because(err)
	e.Username = username
	return e
}

type resolveUserIn struct {
	Username string `api:"username,path,lower,min=1,max=128,pattern=username" doc:"User name"`
	Session
}

func (a *API) resolveUser(ctx context.Context, _ *call, in *resolveUserIn) (idReply, error) {
	acct, err := a.opt.Accounts.FindByName(ctx, in.Username)
	if err != nil {
		return idReply{}, err
	}
	return idReply{ok(), acct.ID.String()}, nil
}

// userIn is what calls take that need no more than a user.
type userIn struct {
	UserPath
	Session
}

type deleteUserIn struct {
	UserPath
	DeleteAfter *DateOrFalse `api:"deleteAfter,blank" doc:"The mail is kept until this date"`
	Session
}

type deleteUserReply struct {
	success
	Code        string         `json:"code" doc:"TaskScheduled"`
	User        mail.AccountID `json:"user" doc:"Id of the user"`
	Addresses   deletedCount   `json:"addresses" doc:"What happened to the addresses"`
	DeleteAfter Date           `json:"deleteAfter" doc:"When the content is removed"`
	Task        string         `json:"task" doc:"Id of the task that removes it"`
}

type deletedCount struct {
	Deleted int `json:"deleted" doc:"Number of addresses that were removed"`
}

// deleteUser succeeds for users that do not exist.
func (a *API) deleteUser(ctx context.Context, _ *call, in *deleteUserIn) (deleteUserReply, error) {
	now := time.Now()
	reply := deleteUserReply{success: ok(), Code: "TaskScheduled", User: in.User, DeleteAfter: Date(now), Task: a.newID()}
	var keepUntil time.Time
	if in.DeleteAfter != nil && !in.DeleteAfter.Time.IsZero() {
		reply.DeleteAfter = Date(in.DeleteAfter.Time)
		keepUntil = in.DeleteAfter.Time
	}
	rows, err := a.opt.Accounts.AccountAddresses(ctx, in.User)
	if err != nil && mail.CodeOf(err) != mail.CodeNoAccount {
		return deleteUserReply{}, err
	}
	reply.Addresses.Deleted = len(rows)
	err = a.opt.Accounts.Delete(ctx, in.User, keepUntil)
	if err != nil && mail.CodeOf(err) != mail.CodeNoAccount {
		return deleteUserReply{}, err
	}
	if err == nil {
		a.opt.Logins.LogEvent(in.event(in.User, actionDeleted, mail.ResultSuccess))
	}
	return reply, nil
}

type logoutIn struct {
	UserPath
	Reason string `api:"reason,max=128,blank" doc:"What the sessions are told"`
	Session
}

func (a *API) logoutUser(ctx context.Context, _ *call, in *logoutIn) (success, error) {
	err := a.opt.Accounts.EndSessions(ctx, in.User, in.Reason)
	return ok(), replaceError(err, map[mail.Code]*Error{
		mail.CodeNoAccount: newError(http.StatusInternalServerError, codeNoUser, "User not found"),
	})
}

type quotaReply struct {
	success
	StorageUsed         int64 `json:"storageUsed" doc:"Octets used, counted anew"`
	PreviousStorageUsed int64 `json:"previousStorageUsed" doc:"Octets used, as the count was before"`
}

func (a *API) recountQuota(ctx context.Context, _ *call, in *userIn) (quotaReply, error) {
	before, after, err := a.opt.Accounts.RecountQuota(ctx, in.User)
	return quotaReply{ok(), after, before}, err
}

type resetPasswordIn struct {
	UserPath
	ValidAfter *DateOrFalse `api:"validAfter,blank" doc:"The password does not work before this date"`
	Session
}

type resetPasswordReply struct {
	success
	Password   string `json:"password" doc:"The temporary password; it is shown once"`
	ValidAfter Date   `json:"validAfter" doc:"When it starts to work"`
}

func (a *API) resetPassword(ctx context.Context, _ *call, in *resetPasswordIn) (resetPasswordReply, error) {
	var after time.Time
	if in.ValidAfter != nil {
		after = in.ValidAfter.Time
	}
	text, after, err := a.opt.Accounts.ResetPassword(ctx, in.User, after)
	if err != nil {
		return resetPasswordReply{}, replaceError(err, map[mail.Code]*Error{
			mail.CodeNoAccount: newError(http.StatusInternalServerError, "UserUpdateFail", "Could not update user "+in.User.String()),
		})
	}
	a.opt.Logins.LogEvent(in.event(in.User, actionReset, ""))
	return resetPasswordReply{ok(), text, Date(after)}, nil
}
