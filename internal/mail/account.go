package mail

import (
	"maps"
	"slices"
	"time"
)

// Account is a user. Fields have the names and meanings of the HTTP API; a zero
// limit means "the configured default".
type Account struct {
	ID       AccountID
	Username string // as given, lower case
	Name     string // display name
	Password string // hash, "" when no master password is set; never logged
	Address  string // main address, "" when there is none
	Language string

	Quota       int64 // octets
	StorageUsed int64 // octets, maintained by the store

	Recipients         int64 // messages sent per day
	Forwards           int64 // messages forwarded per day
	Filters            int64
	IMAPMaxUpload      int64 // octets per day
	IMAPMaxDownload    int64 // octets per day
	POP3MaxDownload    int64 // octets per day
	POP3MaxMessages    int64
	IMAPMaxConnections int64
	ReceivedMax        int64 // messages received per minute

	Targets         []Target
	MTARelay        string
	SpamLevel       int // 0 to 100
	Retention       time.Duration
	DisabledScopes  []string // sorted subset of imap, pop3, smtp
	Enabled2FA      []string
	AuthVersion     int64 // grows when all tokens must die
	Tags            []string
	FromWhitelist   []string
	MetaData        string // JSON object or ""
	InternalData    string // JSON object or ""
	FeatureFlags    map[string]bool
	PublicKey       string // armoured OpenPGP key
	SMIMECerts      []string
	SMIMECipher     string
	SMIMETransport  string // key transport of S/MIME
	EncryptMessages bool
	EncryptForward  bool
	UploadSent      bool // keep a copy of submitted mail
	Autoreply       bool

	Require2FA            bool
	RequirePasswordChange bool
	TempPassword          *TempPassword
	PasswordChange        time.Time

	Activated bool
	Disabled  bool // no login, no mail
	Suspended bool // no login, mail still accepted
	Created   time.Time
	LastLogin LastLogin
}

// Clone copies an account so that nothing is shared.
func (a *Account) Clone() *Account {
	c := *a
	c.Targets = slices.Clone(a.Targets)
	c.DisabledScopes = slices.Clone(a.DisabledScopes)
	c.Enabled2FA = slices.Clone(a.Enabled2FA)
	c.Tags = slices.Clone(a.Tags)
	c.FromWhitelist = slices.Clone(a.FromWhitelist)
	c.FeatureFlags = maps.Clone(a.FeatureFlags)
	c.SMIMECerts = slices.Clone(a.SMIMECerts)
	if a.TempPassword != nil {
		temp := *a.TempPassword
		c.TempPassword = &temp
	}
	return &c
}

// Target is where a copy of mail goes: an address, a relay or a URL.
type Target struct {
	ID    MessageID `json:"id"`
	Type  string    `json:"type"` // mail, relay or http
	Value string    `json:"value"`
}

// TempPassword is a password made by a reset; it lives for a day.
type TempPassword struct {
	Hash       string
	ValidAfter time.Time
	Created    time.Time
}

// LastLogin is the last login with the master password.
type LastLogin struct {
	Time time.Time
	IP   string
	// Event is its entry in the log of logins, "" where there is none.
	Event string `json:",omitempty"`
}

// AppPassword is a password that a person made for one program. It gives access to
// services, never to the HTTP API, and needs no second factor.
type AppPassword struct {
	ID          string
	Account     AccountID
	Description string
	Scopes      []string // services, or "*" for all
	Hash        string
	// Selector is a digest of a few bits of the password; "" for one of old data, which
	// is tried against every candidate.
	Selector string
	Expires  time.Time // zero for never
	// TTL extends Expires to so long after each use; 0 does not.
	TTL time.Duration
}

// Address is an address row. With Account set mail goes to that account,
// without it to Targets.
type Address struct {
	ID      AddressID
	Address string // normalised, with its dots
	View    string // unique form: no dots in the local part
	Account AccountID
	Name    string
	Targets []Target

	Forwards          int64
	ForwardedDisabled bool
	Autoreply         string // JSON object or ""
	Tags              []string
	MetaData          string
	InternalData      string
	Created           time.Time
}

// SpecialUse is a special-use attribute (RFC 6154), such as \Sent, or "".
type SpecialUse string

// The special uses that a new account gets mailboxes for.
const (
	UseSent    SpecialUse = `\Sent`
	UseTrash   SpecialUse = `\Trash`
	UseDrafts  SpecialUse = `\Drafts`
	UseJunk    SpecialUse = `\Junk`
	UseArchive SpecialUse = `\Archive`
)

// Mailbox is a mailbox with its counters.
type Mailbox struct {
	ID          MailboxID
	Path        string // canonical name, see CanonicalName
	SpecialUse  SpecialUse
	Subscribed  bool
	Hidden      bool
	Retention   time.Duration // 0 keeps messages for ever
	Encrypt     bool
	UIDValidity UIDValidity
	UIDNext     UID
	// HighestModSeq is at least 1 (RFC 7162, 3.1.2.1).
	HighestModSeq ModSeq
	// Keywords are those seen in the mailbox, at most MaxKeywords.
	Keywords []string
	Created  time.Time
}

// MailboxIDs are the ids of mailboxes.
func MailboxIDs(boxes []*Mailbox) []MailboxID {
	ids := make([]MailboxID, len(boxes))
	for i, b := range boxes {
		ids[i] = b.ID
	}
	return ids
}

// Counters say how much is in a mailbox.
type Counters struct {
	Messages int64
	Unseen   int64 // messages without \Seen
	Deleted  int64 // messages with \Deleted
	Size     int64 // octets
}

// Add counts n messages of equal flags and size; with a negative n it takes them away.
func (c *Counters) Add(n int64, f Flags, size int64) {
	c.Messages += n
	c.Size += n * size
	if !f.Has(Seen) {
		c.Unseen += n
	}
	if f.Has(Deleted) {
		c.Deleted += n
	}
}
