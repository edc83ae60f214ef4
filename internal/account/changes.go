package account

import (
	"fmt"
	"maps"
	"time"

	"mallard/internal/mail"
)

// Profile is what Create and Update can set of an account. A nil pointer, slice or
// map leaves the field as it is; an empty slice clears it. Texts have no bound
// here other than those named: callers that take them from outside bound them.
type Profile struct {
	Name     *string
	Language *string

	Quota              *int64 // octets; limits of 0 mean the configured default
	Recipients         *int64
	Forwards           *int64
	Filters            *int64
	IMAPMaxUpload      *int64
	IMAPMaxDownload    *int64
	POP3MaxDownload    *int64
	POP3MaxMessages    *int64
	IMAPMaxConnections *int64
	ReceivedMax        *int64

	// Targets are addresses, smtp: or smtps: relays, and http: or https: URLs.
	Targets        []string
	MTARelay       *string // smtp: or smtps: URL, "" for none
	SpamLevel      *int    // 0 to 100
	Retention      *time.Duration
	DisabledScopes []string // of imap, pop3, smtp, mcp
	Tags           []string
	FromWhitelist  []string
	MetaData       *string // JSON object or ""
	InternalData   *string
	FeatureFlags   map[string]bool // merged into those that are set

	// PublicKey and SMIMECerts exclude each other: setting one clears the other.
	// They are stored as given.
	PublicKey       *string
	SMIMECerts      []string
	SMIMECipher     *string
	SMIMETransport  *string
	EncryptMessages *bool
	EncryptForward  *bool
	UploadSent      *bool
	Require2FA      *bool
}

// The S/MIME settings of a new account.
const (
	DefaultSMIMECipher    = "AES-CBC"
	DefaultSMIMETransport = "PKCS#1 v1.5"
)

// defaultSpamLevel is the middle of the scale.
const defaultSpamLevel = 50

// normalize brings the fields into the form in which they are stored and reports
// the first that cannot be. It does not change slices in place.
func (p *Profile) normalize() error {
	for what, n := range p.limits() {
		if n != nil && *n < 0 {
			return invalid(what + " cannot be negative")
		}
	}
	if p.Retention != nil && *p.Retention < 0 {
		return invalid("retention cannot be negative")
	}
	if p.SpamLevel != nil && (*p.SpamLevel < 0 || *p.SpamLevel > 100) {
		return invalid("spamLevel is 0 to 100")
	}
	if p.MTARelay != nil && *p.MTARelay != "" {
		if kind, err := targetType(*p.MTARelay); err != nil || kind != targetRelay {
			return invalid("mtaRelay must be an smtp or smtps URL")
		}
	}
	if err := p.normalizeLists(); err != nil {
		return err
	}
	if err := checkObject("metaData", deref(p.MetaData)); err != nil {
		return err
	}
	return checkObject("internalData", deref(p.InternalData))
}

func (p *Profile) normalizeLists() (err error) {
	if p.Tags != nil {
		if err := checkTags(p.Tags); err != nil {
			return err
		}
		p.Tags = NormalizeTags(p.Tags)
	}
	if p.DisabledScopes != nil {
		if p.DisabledScopes, err = normalizeScopes(p.DisabledScopes); err != nil {
			return err
		}
	}
	if len(p.FromWhitelist) > maxList {
		return mail.NewError(mail.CodeLimit, fmt.Sprintf("At most %d addresses are allowed in fromWhitelist", maxList))
	}
	if p.FromWhitelist != nil {
		p.FromWhitelist = normalizeWhitelist(p.FromWhitelist)
	}
	if deref(p.PublicKey) != "" && len(p.SMIMECerts) > 0 {
		return invalid("pubKey (PGP) and smimeCerts are mutually exclusive")
	}
	return nil
}

func (p *Profile) limits() map[string]*int64 {
	return map[string]*int64{
		"quota": p.Quota, "recipients": p.Recipients, "forwards": p.Forwards, "filters": p.Filters,
		"imapMaxUpload": p.IMAPMaxUpload, "imapMaxDownload": p.IMAPMaxDownload, "pop3MaxDownload": p.POP3MaxDownload,
		"pop3MaxMessages": p.POP3MaxMessages, "imapMaxConnections": p.IMAPMaxConnections, "receivedMax": p.ReceivedMax,
	}
}

// apply puts the fields, normalised, into an account.
func (p *Profile) apply(s *Service, a *mail.Account) error {
	if p.Targets != nil {
		targets, err := s.makeTargets(p.Targets, a.Targets)
		if err != nil {
			return err
		}
		a.Targets = targets
	}
	set(&a.Name, p.Name)
	set(&a.Language, p.Language)
	p.applyLimits(a)
	set(&a.MTARelay, p.MTARelay)
	set(&a.SpamLevel, p.SpamLevel)
	set(&a.Retention, p.Retention)
	setSlice(&a.DisabledScopes, p.DisabledScopes)
	setSlice(&a.Tags, p.Tags)
	setSlice(&a.FromWhitelist, p.FromWhitelist)
	set(&a.MetaData, p.MetaData)
	set(&a.InternalData, p.InternalData)
	if len(p.FeatureFlags) > 0 {
		flags := maps.Clone(a.FeatureFlags)
		if flags == nil {
			flags = make(map[string]bool, len(p.FeatureFlags))
		}
		maps.Copy(flags, p.FeatureFlags)
		a.FeatureFlags = flags
	}
	p.applyEncryption(a)
	set(&a.UploadSent, p.UploadSent)
	set(&a.Require2FA, p.Require2FA)
	return nil
}

func (p *Profile) applyLimits(a *mail.Account) {
	set(&a.Quota, p.Quota)
	set(&a.Recipients, p.Recipients)
	set(&a.Forwards, p.Forwards)
	set(&a.Filters, p.Filters)
	set(&a.IMAPMaxUpload, p.IMAPMaxUpload)
	set(&a.IMAPMaxDownload, p.IMAPMaxDownload)
	set(&a.POP3MaxDownload, p.POP3MaxDownload)
	set(&a.POP3MaxMessages, p.POP3MaxMessages)
	set(&a.IMAPMaxConnections, p.IMAPMaxConnections)
	set(&a.ReceivedMax, p.ReceivedMax)
}

// applyEncryption keeps at most one kind of key: mail would otherwise be
// encrypted in a way that the owner does not expect.
func (p *Profile) applyEncryption(a *mail.Account) {
	set(&a.SMIMECipher, p.SMIMECipher)
	set(&a.SMIMETransport, p.SMIMETransport)
	setSlice(&a.SMIMECerts, p.SMIMECerts)
	set(&a.PublicKey, p.PublicKey)
	switch {
	case len(p.SMIMECerts) > 0:
		a.PublicKey = ""
	case deref(p.PublicKey) != "":
		a.SMIMECerts, a.SMIMECipher, a.SMIMETransport = nil, DefaultSMIMECipher, DefaultSMIMETransport
	}
	set(&a.EncryptMessages, p.EncryptMessages)
	set(&a.EncryptForward, p.EncryptForward)
}

func set[T any](dst, src *T) {
	if src != nil {
		*dst = *src
	}
}

func setSlice(dst *[]string, src []string) {
	if src != nil {
		*dst = src
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
