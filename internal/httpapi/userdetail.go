package httpapi

import (
	"context"
	"net/http"

	"mallard/internal/account"
	"mallard/internal/mail"
)

type userReply struct {
	success
	ID                  mail.AccountID   `json:"id" doc:"User id"`
	Username            string           `json:"username" doc:"User name"`
	Name                nullString       `json:"name" doc:"Display name"`
	Address             string           `json:"address" doc:"Main address, empty when there is none"`
	Language            nullString       `json:"language" doc:"Language code"`
	Retention           int64            `json:"retention,omitempty" doc:"Default retention in ms"`
	Enabled2FA          []string         `json:"enabled2fa" doc:"Second factors in use"`
	Autoreply           bool             `json:"autoreply" doc:"Whether an automatic reply is on"`
	EncryptMessages     bool             `json:"encryptMessages" doc:"Whether stored mail is encrypted"`
	EncryptForwarded    bool             `json:"encryptForwarded" doc:"Whether forwarded mail is encrypted"`
	PubKey              string           `json:"pubKey" doc:"Armoured OpenPGP public key"`
	SMIMECerts          []string         `json:"smimeCerts" doc:"S/MIME certificates in PEM"`
	SMIMECipher         string           `json:"smimeCipher" doc:"Cipher for S/MIME"`
	SMIMETransport      string           `json:"smimeKeyTransport" doc:"Key transport for S/MIME"`
	SpamLevel           int              `json:"spamLevel" doc:"0: everything is spam, 100: nothing is"`
	KeyInfo             orFalse[keyInfo] `json:"keyInfo" doc:"What the OpenPGP key says, or false"`
	SMIMECertInfo       []certInfo       `json:"smimeCertInfo" doc:"What the certificates say"`
	MetaData            rawObject        `json:"metaData" doc:"Object kept with the user"`
	InternalData        rawObject        `json:"internalData" doc:"Object kept with the user"`
	Targets             []string         `json:"targets" doc:"Forwarding targets"`
	MTARelay            string           `json:"mtaRelay,omitempty" doc:"Relay for outgoing mail"`
	Limits              userLimits       `json:"limits" doc:"Limits and what is used of them"`
	Tags                []string         `json:"tags" doc:"Tags"`
	FromWhitelist       []string         `json:"fromWhitelist" doc:"Further sender addresses"`
	FeatureFlags        map[string]bool  `json:"featureFlags" doc:"Switches"`
	DisabledScopes      []string         `json:"disabledScopes" doc:"Services that the user may not use"`
	HasPasswordSet      bool             `json:"hasPasswordSet" doc:"Whether there is a password"`
	Activated           bool             `json:"activated" doc:"Whether the account is in use"`
	Disabled            bool             `json:"disabled" doc:"No login, no mail"`
	Suspended           bool             `json:"suspended" doc:"No login, mail is accepted"`
	PasswordPwned       bool             `json:"passwordPwned" doc:"Whether the password is known to have leaked"`
	Require2FA          bool             `json:"require2faEnabled" doc:"A second factor is demanded"`
	RequirePasswdChange bool             `json:"requirePasswordChange" doc:"The password is to be changed"`
}

type userLimits struct {
	Quota              usage      `json:"quota" doc:"Storage in octets"`
	Recipients         windowUse  `json:"recipients" doc:"Recipients of messages sent per day"`
	Forwards           windowUse  `json:"forwards" doc:"Messages forwarded per day"`
	Received           windowUse  `json:"received" doc:"Messages received per minute"`
	Filters            usage      `json:"filters" doc:"Number of filters"`
	IMAPUpload         windowUse  `json:"imapUpload" doc:"Octets per day"`
	IMAPDownload       windowUse  `json:"imapDownload" doc:"Octets per day"`
	POP3Download       windowUse  `json:"pop3Download" doc:"Octets per day"`
	POP3MaxMessages    allowedUse `json:"pop3MaxMessages" doc:"Newest messages that POP3 shows"`
	IMAPMaxConnections usage      `json:"imapMaxConnections" doc:"Sessions at a time"`
}

type allowedUse struct {
	Allowed int64 `json:"allowed" doc:"Limit"`
}

func (a *API) getUser(ctx context.Context, _ *call, in *userIn) (userReply, error) {
	acct, err := a.opt.Accounts.Get(ctx, in.User)
	if err != nil {
		return userReply{}, err
	}
	settings, err := a.opt.Accounts.Settings(ctx)
	if err != nil {
		return userReply{}, err
	}
	flags := acct.FeatureFlags
	if flags == nil {
		flags = map[string]bool{}
	}
	return userReply{
		success: ok(), ID: acct.ID, Username: acct.Username, Name: nullString(acct.Name), Address: acct.Address,
		Language: nullString(acct.Language), Retention: acct.Retention.Milliseconds(), Enabled2FA: list(acct.Enabled2FA),
		Autoreply: acct.Autoreply, EncryptMessages: acct.EncryptMessages, EncryptForwarded: acct.EncryptForward,
		PubKey: acct.PublicKey, SMIMECerts: list(acct.SMIMECerts), SMIMECipher: acct.SMIMECipher,
		SMIMETransport: acct.SMIMETransport, SpamLevel: acct.SpamLevel, KeyInfo: describeKey(acct.PublicKey),
		SMIMECertInfo: describeCerts(acct.SMIMECerts), MetaData: rawObject(acct.MetaData), InternalData: rawObject(acct.InternalData),
		Targets: targetValues(acct.Targets), MTARelay: acct.MTARelay, Limits: a.userLimits(ctx, acct, settings),
		Tags: list(acct.Tags), FromWhitelist: list(acct.FromWhitelist), FeatureFlags: flags,
		DisabledScopes: list(acct.DisabledScopes), HasPasswordSet: acct.Password != "" || acct.TempPassword != nil,
		Activated: acct.Activated, Disabled: acct.Disabled, Suspended: acct.Suspended, Require2FA: acct.Require2FA,
		RequirePasswdChange: acct.RequirePasswordChange,
	}, nil
}

type updateUserIn struct {
	UserPath
	ExistingPassword   string          `api:"existingPassword,min=1,max=256,blank" doc:"Present password; checked when it is given"`
	Password           *Password       `api:"password,max=256" doc:"New password, or false for none"`
	HashedPassword     bool            `api:"hashedPassword,default=false" doc:"The password is a hash, which is stored as it is"`
	AllowUnsafe        bool            `api:"allowUnsafe,default=true" doc:"Accepted for compatibility; passwords are not looked up in lists of leaked ones"`
	Language           *string         `api:"language,max=20,blank" doc:"Language code"`
	Name               *string         `api:"name,max=256,empty" doc:"Display name, empty for none"`
	Targets            []Target        `api:"targets" doc:"Forwarding targets; the list is replaced"`
	MTARelay           *string         `api:"mtaRelay,format=uri,schemes=smtp|smtps" doc:"Relay for outgoing mail"`
	SpamLevel          *int64          `api:"spamLevel,min=0,max=100" doc:"0: everything is spam, 100: nothing is"`
	UploadSent         *bool           `api:"uploadSentMessages" doc:"Keep a copy of mail that is sent by SMTP"`
	FromWhitelist      []string        `api:"fromWhitelist;max=128" doc:"Further sender addresses; one may begin or end with *"`
	MetaData           *Meta           `api:"metaData" doc:"Object that is kept with the user"`
	InternalData       *Meta           `api:"internalData" doc:"Object that is kept with the user and never shown to the user"`
	PubKey             *string         `api:"pubKey,trim,empty,pattern=pgp" doc:"Armoured OpenPGP public key, empty for none"`
	SMIMECerts         []string        `api:"smimeCerts,max=16;trim,pattern=certificate" doc:"S/MIME certificates in PEM"`
	SMIMECipher        *string         `api:"smimeCipher,in=AES-CBC|AES-GCM" doc:"Cipher for S/MIME"`
	SMIMETransport     *string         `api:"smimeKeyTransport,in=PKCS#1 v1.5|OAEP" doc:"Key transport for S/MIME"`
	EncryptMessages    *bool           `api:"encryptMessages" doc:"Encrypt stored mail"`
	EncryptForwarded   *bool           `api:"encryptForwarded" doc:"Encrypt forwarded mail"`
	Retention          *int64          `api:"retention,min=0" doc:"Messages in new mailboxes are removed after this time in ms; 0 for never"`
	Quota              *int64          `api:"quota,min=0" doc:"Octets; 0 for the default, as for all limits"`
	Recipients         *int64          `api:"recipients,min=0" doc:"Messages sent per day"`
	Forwards           *int64          `api:"forwards,min=0" doc:"Messages forwarded per day"`
	Filters            *int64          `api:"filters,min=0" doc:"Number of filters"`
	IMAPMaxUpload      *int64          `api:"imapMaxUpload,min=0" doc:"Octets per day"`
	IMAPMaxDownload    *int64          `api:"imapMaxDownload,min=0" doc:"Octets per day"`
	POP3MaxDownload    *int64          `api:"pop3MaxDownload,min=0" doc:"Octets per day"`
	POP3MaxMessages    *int64          `api:"pop3MaxMessages,min=0" doc:"Newest messages that POP3 shows"`
	IMAPMaxConnections *int64          `api:"imapMaxConnections,min=0" doc:"Sessions at a time"`
	ReceivedMax        *int64          `api:"receivedMax,min=0" doc:"Messages received per minute"`
	Disable2FA         bool            `api:"disable2fa" doc:"Remove every second factor"`
	Require2FA         *bool           `api:"require2faEnabled" doc:"A second factor is demanded by the user interface"`
	Tags               []string        `api:"tags;max=128,trim" doc:"Tags"`
	DisabledScopes     []string        `api:"disabledScopes,unique;in=imap|pop3|smtp|mcp" doc:"Services that the user may not use"`
	Disabled           *bool           `api:"disabled" doc:"No login, no mail"`
	FeatureFlags       *featureFlagsIn `api:"featureFlags" doc:"Switches"`
	Suspended          *bool           `api:"suspended" doc:"No login, mail is accepted"`
	Protocol           string          `api:"protocol,default=API" doc:"For the log"`
	Session
}

func (in *updateUserIn) changes() account.Changes {
	c := account.Changes{
		Profile: account.Profile{
			Name: in.Name, Language: in.Language, Quota: in.Quota, Recipients: in.Recipients, Forwards: in.Forwards,
			Filters: in.Filters, IMAPMaxUpload: in.IMAPMaxUpload, IMAPMaxDownload: in.IMAPMaxDownload,
			POP3MaxDownload: in.POP3MaxDownload, POP3MaxMessages: in.POP3MaxMessages,
			IMAPMaxConnections: in.IMAPMaxConnections, ReceivedMax: in.ReceivedMax, Targets: texts(in.Targets),
			MTARelay: in.MTARelay, SpamLevel: intOf(in.SpamLevel), Retention: millis(in.Retention),
			DisabledScopes: in.DisabledScopes, Tags: in.Tags, FromWhitelist: in.FromWhitelist,
			MetaData: (*string)(in.MetaData), InternalData: (*string)(in.InternalData), FeatureFlags: in.FeatureFlags.flags(),
			PublicKey: in.PubKey, SMIMECerts: in.SMIMECerts, SMIMECipher: in.SMIMECipher, SMIMETransport: in.SMIMETransport,
			EncryptMessages: in.EncryptMessages, EncryptForward: in.EncryptForwarded, UploadSent: in.UploadSent, Require2FA: in.Require2FA,
		},
		Disabled: in.Disabled, Suspended: in.Suspended, Disable2FA: in.Disable2FA,
	}
	if in.Password != nil {
		c.Password = &account.Password{Text: in.Password.Value, Hashed: in.HashedPassword}
	}
	return c
}

func (a *API) updateUser(ctx context.Context, c *call, in *updateUserIn) (success, error) {
	if err := checkKeys(in.PubKey, in.SMIMECerts); err != nil {
		return success{}, err
	}
	noUser := map[mail.Code]*Error{
		mail.CodeNoAccount: newError(http.StatusInternalServerError, codeNoUser, "User was not found"),
	}
	if err := a.checkExistingPassword(ctx, in); err != nil {
		return success{}, replaceError(err, noUser)
	}
	before, err := a.targetsBefore(ctx, in)
	if err != nil {
		return success{}, replaceError(err, noUser)
	}
	acct, err := a.opt.Accounts.Update(ctx, in.User, in.changes())
	if err != nil {
		return success{}, replaceError(hashFailure(err), noUser)
	}
	a.logUpdate(in, acct, before)
	if keys := in.changedCounters(); len(keys) > 0 {
		if err := a.opt.Limits.Reset(ctx, keys...); err != nil {
			a.log.WarnContext(ctx, "reset the counters of a user", "account", acct.ID, "error", err)
		}
	}
	if c.caller.token != "" && c.caller.user == acct.ID && in.Password != nil {
		if err := a.opt.Tokens.Resign(ctx, c.caller.token, acct); err != nil {
			return success{}, err
		}
	}
	return ok(), nil
}

// targetsBefore are the targets that a change of targets replaces.
func (a *API) targetsBefore(ctx context.Context, in *updateUserIn) ([]mail.Target, error) {
	if in.Targets == nil {
		return nil, nil
	}
	acct, err := a.opt.Accounts.Get(ctx, in.User)
	if err != nil {
		return nil, err
	}
	return acct.Targets, nil
}

// logUpdate logs what a change of a user has to do with who reads the mail.
func (a *API) logUpdate(in *updateUserIn, acct *mail.Account, before []mail.Target) {
	if in.Password != nil {
		a.opt.Logins.LogEvent(in.protocolEvent(actionPasswordChange, mail.ResultSuccess))
	}
	if in.Targets != nil {
		a.logForwards(in.protocolEvent(actionForwardAdded, mail.ResultSuccess), before, acct.Targets)
	}
}

func (in *updateUserIn) protocolEvent(action, result string) mail.AuthEvent {
	e := in.event(in.User, action, result)
	e.Protocol = in.Protocol
	return e
}

func hashFailure(err error) error {
	if e, isHash := createFailure(err, "").(*Error); isHash {
		return e
	}
	return err
}

func (a *API) checkExistingPassword(ctx context.Context, in *updateUserIn) error {
	if in.ExistingPassword == "" {
		return nil
	}
	acct, err := a.opt.Accounts.Get(ctx, in.User)
	if err != nil {
		return err
	}
	err = a.opt.Logins.CheckPassword(ctx, acct, in.ExistingPassword)
	if mail.CodeOf(err) == mail.CodeAuthFailed && err != nil {
		a.opt.Logins.LogEvent(in.protocolEvent(actionPasswordChange, mail.ResultFail))
	}
	return replaceError(err, map[mail.Code]*Error{
		mail.CodeAuthFailed: newError(http.StatusInternalServerError, "AuthFail", "Password verification failed"),
	})
}
