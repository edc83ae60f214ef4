package mongostore

import (
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// userMember is a member of a users document that has its place in mail.Account.
type userMember struct {
	name string
	// late members are missing until they are first set, as WildDuck does it.
	late   bool
	encode func(a *mail.Account) any
}

// userMembers are the members that UpdateAccount changes, in WildDuck's order. Targets are not among them: they have
// members of their own that the account does not know.
func userMembers() []userMember {
	return []userMember{
		{name: "name", encode: func(a *mail.Account) any { return textOrNull(a.Name) }},
		{name: "password", encode: func(a *mail.Account) any { return a.Password }},
		{name: "enabled2fa", encode: func(a *mail.Account) any { return textArray(a.Enabled2FA) }},
		{name: "authVersion", encode: func(a *mail.Account) any { return numberOf(a.AuthVersion) }},
		{name: "address", encode: func(a *mail.Account) any { return a.Address }},
		{name: "language", encode: func(a *mail.Account) any { return textOrNull(a.Language) }},
		{name: "quota", encode: func(a *mail.Account) any { return numberOf(a.Quota) }},
		{name: "recipients", encode: func(a *mail.Account) any { return numberOf(a.Recipients) }},
		{name: "forwards", encode: func(a *mail.Account) any { return numberOf(a.Forwards) }},
		{name: "filters", encode: func(a *mail.Account) any { return numberOf(a.Filters) }},
		{name: "imapMaxUpload", encode: func(a *mail.Account) any { return numberOf(a.IMAPMaxUpload) }},
		{name: "imapMaxDownload", encode: func(a *mail.Account) any { return numberOf(a.IMAPMaxDownload) }},
		{name: "pop3MaxDownload", encode: func(a *mail.Account) any { return numberOf(a.POP3MaxDownload) }},
		{name: "pop3MaxMessages", encode: func(a *mail.Account) any { return numberOf(a.POP3MaxMessages) }},
		{name: "imapMaxConnections", encode: func(a *mail.Account) any { return numberOf(a.IMAPMaxConnections) }},
		{name: "receivedMax", encode: func(a *mail.Account) any { return numberOf(a.ReceivedMax) }},
		{name: "autoreply", encode: func(a *mail.Account) any { return a.Autoreply }},
		{name: "uploadSentMessages", encode: func(a *mail.Account) any { return a.UploadSent }},
		{name: "pubKey", encode: func(a *mail.Account) any { return a.PublicKey }},
		{name: "smimeCerts", encode: func(a *mail.Account) any { return textArray(a.SMIMECerts) }},
		{name: "smimeCipher", encode: func(a *mail.Account) any { return a.SMIMECipher }},
		{name: "smimeKeyTransport", encode: func(a *mail.Account) any { return a.SMIMETransport }},
		{name: "encryptMessages", encode: func(a *mail.Account) any { return a.EncryptMessages }},
		{name: "encryptForwarded", encode: func(a *mail.Account) any { return a.EncryptForward }},
		{name: "spamLevel", encode: func(a *mail.Account) any { return numberOf(int64(a.SpamLevel)) }},
		{name: "retention", encode: func(a *mail.Account) any { return millis(a.Retention) }},
		{name: "disabledScopes", encode: func(a *mail.Account) any { return textArray(a.DisabledScopes) }},
		{name: "require2faEnabled", encode: func(a *mail.Account) any { return a.Require2FA }},
		{name: "lastLogin", encode: encodeLastLogin},
		{name: "metaData", encode: func(a *mail.Account) any { return a.MetaData }},
		{name: "internalData", encode: func(a *mail.Account) any { return a.InternalData }},
		{name: "activated", encode: func(a *mail.Account) any { return a.Activated }},
		{name: "disabled", encode: func(a *mail.Account) any { return a.Disabled }},
		{name: "suspended", encode: func(a *mail.Account) any { return a.Suspended }},
		{name: "featureFlags", encode: encodeFeatureFlags},
		{name: "tags", late: true, encode: func(a *mail.Account) any { return textArray(a.Tags) }},
		{name: "tagsview", late: true, encode: func(a *mail.Account) any { return lowerArray(a.Tags) }},
		{name: "fromWhitelist", late: true, encode: func(a *mail.Account) any { return textArray(a.FromWhitelist) }},
		{name: "requirePasswordChange", late: true, encode: func(a *mail.Account) any { return a.RequirePasswordChange }},
		{name: "passwordChange", late: true, encode: func(a *mail.Account) any { return timeOrAbsent(a.PasswordChange) }},
		{name: "tempPassword", late: true, encode: encodeTempPassword},
	}
}

func encodeLastLogin(a *mail.Account) any {
	at, ip := any(false), any(false)
	if !a.LastLogin.Time.IsZero() {
		at = stored(a.LastLogin.Time)
	}
	if a.LastLogin.IP != "" {
		ip = a.LastLogin.IP
	}
	return bson.D{{Key: "time", Value: at}, {Key: "authEvent", Value: idOrFalse(a.LastLogin.Event)}, {Key: "ip", Value: ip}}
}

func encodeTempPassword(a *mail.Account) any {
	if a.TempPassword == nil {
		return false
	}
	doc := bson.D{}
	if !a.TempPassword.ValidAfter.IsZero() {
		doc = append(doc, bson.E{Key: "validAfter", Value: stored(a.TempPassword.ValidAfter)})
	}
	doc = append(doc, bson.E{Key: "password", Value: a.TempPassword.Hash})
	if !a.TempPassword.Created.IsZero() {
		doc = append(doc, bson.E{Key: "created", Value: stored(a.TempPassword.Created)})
	}
	return doc
}

// encodeFeatureFlags gives the flags in an order that does not depend on the map's.
func encodeFeatureFlags(a *mail.Account) any {
	doc := bson.D{}
	for _, name := range sortedKeys(a.FeatureFlags) {
		doc = append(doc, bson.E{Key: name, Value: a.FeatureFlags[name]})
	}
	return doc
}

// newUserDoc is a users document as it is first stored: it cannot be used before the rest of the account is there.
func newUserDoc(a *mail.Account, view string, targets bson.A, creating time.Time) bson.D {
	blank := *a
	blank.Password, blank.Address, blank.TempPassword, blank.Activated, blank.Disabled = "", "", nil, false, true
	return append(userDocOf(&blank, view, targets), bson.E{Key: memberMallard, Value: bson.D{{Key: keyCreating, Value: stored(creating)}}})
}

// userDocOf is the users document of an account, with its members in WildDuck's order and none of ours.
func userDocOf(a *mail.Account, view string, targets bson.A) bson.D {
	before := map[string]bson.D{ // members without a place in mail.Account, before which of those they stand
		"authVersion": {
			{Key: "seed", Value: ""}, {Key: "pendingSeed", Value: ""}, {Key: "pendingSeedChanged", Value: false},
			{Key: "webauthn", Value: bson.D{{Key: "credentials", Value: bson.A{}}}},
		},
		"quota":     {{Key: "storageUsed", Value: int32(0)}},
		"autoreply": {{Key: "targets", Value: targets}},
	}
	doc := bson.D{{Key: "_id", Value: oid(a.ID)}, {Key: "username", Value: a.Username}, {Key: "unameview", Value: view}}
	for _, m := range userMembers() {
		if m.late {
			continue
		}
		doc = append(doc, before[m.name]...)
		doc = append(doc, bson.E{Key: m.name, Value: m.encode(a)})
	}
	doc = append(doc, bson.E{Key: "created", Value: stored(a.Created)})
	doc = append(doc, lateMembers(a)...)
	if a.MTARelay != "" {
		doc = append(doc, bson.E{Key: "mtaRelay", Value: relayDoc(a.MTARelay)})
	}
	return doc
}

// lateMembers are those of a new account that differ from the ones of an account without anything.
func lateMembers(a *mail.Account) bson.D {
	var doc bson.D
	var nothing docChange
	for _, m := range userMembers() {
		if !m.late {
			continue
		}
		nothing.set = nil
		if err := nothing.member(m.name, m.encode(&mail.Account{}), m.encode(a)); err == nil {
			doc = append(doc, nothing.set...)
		}
	}
	return doc
}

// relayDoc is an mtaRelay.
func relayDoc(value string) bson.D {
	return bson.D{{Key: "id", Value: bson.NewObjectID()}, {Key: "type", Value: "relay"}, {Key: "value", Value: value}}
}

// userOf reads a users document. What is missing, null or false is unset.
func userOf(doc bson.Raw) (*mail.Account, error) {
	elements, err := doc.Elements()
	if err != nil {
		return nil, mail.WrapError(mail.CodeCorrupt, "the account cannot be read", err)
	}
	a := &mail.Account{}
	for _, e := range elements {
		readUserMember(a, e.Key(), e.Value())
	}
	return a, nil
}

func readUserMember(a *mail.Account, name string, v bson.RawValue) {
	if dst := userNumber(a, name); dst != nil {
		*dst = integer(v)
		return
	}
	if dst := userFlag(a, name); dst != nil {
		*dst = truth(v)
		return
	}
	if dst := userText(a, name); dst != nil {
		*dst = text(v)
		return
	}
	switch name {
	case "_id":
		id, _ := v.ObjectIDOK()
		a.ID = mail.AccountID(id)
	case "storageUsed":
		a.StorageUsed = max(integer(v), 0)
	case "spamLevel":
		a.SpamLevel = int(integer(v))
	case "retention":
		a.Retention = time.Duration(integer(v)) * time.Millisecond
	case "enabled2fa":
		a.Enabled2FA = secondFactors(v)
	case "disabledScopes":
		a.DisabledScopes = texts(v)
	case "tags":
		a.Tags = texts(v)
	case "fromWhitelist":
		a.FromWhitelist = texts(v)
	case "smimeCerts":
		a.SMIMECerts = texts(v)
	case "metaData":
		a.MetaData = jsonText(v)
	case "internalData":
		a.InternalData = jsonText(v)
	case "featureFlags":
		a.FeatureFlags = featureFlags(v)
	case "targets":
		a.Targets = targetsOf(v)
	case "mtaRelay":
		a.MTARelay = relayOf(v)
	case "tempPassword":
		a.TempPassword = tempPassword(v)
	case "passwordChange":
		a.PasswordChange = instant(v)
	case "created":
		a.Created = instant(v)
	case "lastLogin":
		if doc, ok := v.DocumentOK(); ok {
			a.LastLogin = mail.LastLogin{Time: instant(doc.Lookup("time")), IP: text(doc.Lookup("ip")), Event: hexID(doc.Lookup("authEvent"))}
		}
	}
}

func userText(a *mail.Account, name string) *string {
	switch name {
	case "username":
		return &a.Username
	case "name":
		return &a.Name
	case "password":
		return &a.Password
	case "address":
		return &a.Address
	case "language":
		return &a.Language
	case "pubKey":
		return &a.PublicKey
	case "smimeCipher":
		return &a.SMIMECipher
	case "smimeKeyTransport":
		return &a.SMIMETransport
	}
	return nil
}

func userNumber(a *mail.Account, name string) *int64 {
	switch name {
	case "authVersion":
		return &a.AuthVersion
	case "quota":
		return &a.Quota
	case "recipients":
		return &a.Recipients
	case "forwards":
		return &a.Forwards
	case "filters":
		return &a.Filters
	case "imapMaxUpload":
		return &a.IMAPMaxUpload
	case "imapMaxDownload":
		return &a.IMAPMaxDownload
	case "pop3MaxDownload":
		return &a.POP3MaxDownload
	case "pop3MaxMessages":
		return &a.POP3MaxMessages
	case "imapMaxConnections":
		return &a.IMAPMaxConnections
	case "receivedMax":
		return &a.ReceivedMax
	}
	return nil
}

func userFlag(a *mail.Account, name string) *bool {
	switch name {
	case "autoreply":
		return &a.Autoreply
	case "uploadSentMessages":
		return &a.UploadSent
	case "encryptMessages":
		return &a.EncryptMessages
	case "encryptForwarded":
		return &a.EncryptForward
	case "require2faEnabled":
		return &a.Require2FA
	case "requirePasswordChange":
		return &a.RequirePasswordChange
	case "activated":
		return &a.Activated
	case "disabled":
		return &a.Disabled
	case "suspended":
		return &a.Suspended
	}
	return nil
}

// secondFactors reads enabled2fa, which was a boolean once, and had another name for keys.
func secondFactors(v bson.RawValue) []string {
	if on, ok := v.BooleanOK(); ok {
		if on {
			return []string{"totp"}
		}
		return nil
	}
	out := texts(v)
	for i, name := range out {
		if name == "u2f" {
			out[i] = "webauthn"
		}
	}
	return out
}

func featureFlags(v bson.RawValue) map[string]bool {
	doc, ok := v.DocumentOK()
	if !ok {
		return nil
	}
	elements, err := doc.Elements()
	if err != nil || len(elements) == 0 {
		return nil
	}
	out := make(map[string]bool, len(elements))
	for _, e := range elements {
		out[strings.Clone(e.Key())] = truth(e.Value())
	}
	return out
}

func tempPassword(v bson.RawValue) *mail.TempPassword {
	doc, ok := v.DocumentOK()
	if !ok || text(doc.Lookup("password")) == "" {
		return nil
	}
	return &mail.TempPassword{
		Hash: text(doc.Lookup("password")), ValidAfter: instant(doc.Lookup("validAfter")), Created: instant(doc.Lookup("created")),
	}
}

// relayOf reads an mtaRelay: a document, or the URL alone.
func relayOf(v bson.RawValue) string {
	if doc, ok := v.DocumentOK(); ok {
		return text(doc.Lookup("value"))
	}
	return text(v)
}
