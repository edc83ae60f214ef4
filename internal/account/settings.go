package account

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"mallard/internal/mail"
)

// Settings are the limits of accounts that have none of their own. Each has a
// run-time setting of the name in its comment, which wins over what the
// configuration says here.
type Settings struct {
	MaxStorage         int64 // const:max:storage, octets
	MaxRecipients      int64 // const:max:recipients, messages sent per day
	MaxForwards        int64 // const:max:forwards, per day
	MaxFilters         int64 // const:max:filters
	MaxMailboxes       int64 // const:max:mailboxes
	MaxRcptTo          int64 // const:max:rcpt_to, recipients of one message
	IMAPMaxDownload    int64 // const:max:imap:download, octets per day
	IMAPMaxUpload      int64 // const:max:imap:upload, octets per day
	POP3MaxDownload    int64 // const:max:pop3:download, octets per day
	POP3MaxMessages    int64 // configuration only: newest messages that POP3 shows
	IMAPMaxConnections int64 // configuration only: sessions at a time
	ReceivedMax        int64 // configuration only: messages received per minute
}

// DefaultSettings are the limits in force without any configuration.
func DefaultSettings() Settings {
	const gib = 1 << 30
	return Settings{
		MaxStorage: gib, MaxRecipients: 2000, MaxForwards: 2000, MaxFilters: 400, MaxMailboxes: 1500, MaxRcptTo: 400,
		IMAPMaxDownload: 10 * gib, IMAPMaxUpload: 10 * gib, POP3MaxDownload: 10 * gib,
		POP3MaxMessages: 250, IMAPMaxConnections: 15, ReceivedMax: 60,
	}
}

func (v Settings) withDefaults() Settings {
	d := DefaultSettings()
	for _, f := range []struct{ dst, def *int64 }{
		{&v.MaxStorage, &d.MaxStorage}, {&v.MaxRecipients, &d.MaxRecipients}, {&v.MaxForwards, &d.MaxForwards},
		{&v.MaxFilters, &d.MaxFilters}, {&v.MaxMailboxes, &d.MaxMailboxes}, {&v.MaxRcptTo, &d.MaxRcptTo},
		{&v.IMAPMaxDownload, &d.IMAPMaxDownload}, {&v.IMAPMaxUpload, &d.IMAPMaxUpload}, {&v.POP3MaxDownload, &d.POP3MaxDownload},
		{&v.POP3MaxMessages, &d.POP3MaxMessages}, {&v.IMAPMaxConnections, &d.IMAPMaxConnections}, {&v.ReceivedMax, &d.ReceivedMax},
	} {
		if *f.dst <= 0 {
			*f.dst = *f.def
		}
	}
	return v
}

// field returns where the value of a run-time setting is kept, nil for a key that
// is none of Settings.
func (v *Settings) field(key string) *int64 {
	switch key {
	case "const:max:storage":
		return &v.MaxStorage
	case "const:max:recipients":
		return &v.MaxRecipients
	case "const:max:forwards":
		return &v.MaxForwards
	case "const:max:filters":
		return &v.MaxFilters
	case "const:max:mailboxes":
		return &v.MaxMailboxes
	case "const:max:rcpt_to":
		return &v.MaxRcptTo
	case "const:max:imap:download":
		return &v.IMAPMaxDownload
	case "const:max:imap:upload":
		return &v.IMAPMaxUpload
	case "const:max:pop3:download":
		return &v.POP3MaxDownload
	}
	return nil
}

// SettingKeys are the keys of the run-time settings, in order.
func SettingKeys() []string {
	return []string{
		"const:max:filters", "const:max:forwards", "const:max:imap:download", "const:max:imap:upload", "const:max:mailboxes",
		"const:max:pop3:download", "const:max:rcpt_to", "const:max:recipients", "const:max:storage",
	}
}

// Value returns the value for a key of SettingKeys.
func (v Settings) Value(key string) (int64, bool) {
	f := v.field(key)
	if f == nil {
		return 0, false
	}
	return *f, true
}

// kindSetting is the kind of the records that hold run-time settings; the value is
// JSON.
const kindSetting = "setting"

// BaseSettings are the settings in force where none are stored.
func (s *Service) BaseSettings() Settings { return s.base }

// Settings returns the settings in force. Ones that another process changed are
// seen after the cache TTL at most.
func (s *Service) Settings(ctx context.Context) (Settings, error) {
	c := &s.settings
	c.mu.Lock()
	if c.ttl > 0 && s.now().Before(c.expires) {
		defer c.mu.Unlock()
		return c.value, nil
	}
	before := c.changes
	c.mu.Unlock()

	v := s.base
	for _, key := range SettingKeys() {
		value, err := s.store.Record(ctx, kindSetting, key)
		if mail.CodeOf(err) == mail.CodeNotFound {
			continue
		}
		if err != nil {
			return Settings{}, fmt.Errorf("read setting %s: %w", key, err)
		}
		// A stored 0 or a damaged value means the default, as for accounts.
		var n float64
		if err := json.Unmarshal(value, &n); err == nil && n >= 1 && n <= maxSetting {
			*v.field(key) = int64(n)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == before {
		c.value, c.expires = v, s.now().Add(c.ttl)
	}
	return v, nil
}

// maxSetting is the greatest value that every reader of the data knows exactly:
// the safe integers of JavaScript.
const maxSetting = 1<<53 - 1

// SetSetting stores a run-time setting, which is in force in this process when the
// call returns; 0 goes back to the configuration. Errors: NotFound (key), Invalid.
func (s *Service) SetSetting(ctx context.Context, key string, value int64) error {
	var probe Settings
	if probe.field(key) == nil {
		return mail.NewError(mail.CodeNotFound, "Key was not found")
	}
	if value < 0 || value > maxSetting {
		return invalid("value must be a non-negative safe number")
	}
	var text []byte
	if value > 0 {
		text = fmt.Append(nil, value)
	}
	err := s.store.PutRecord(ctx, kindSetting, key, text)
	s.settings.mu.Lock()
	s.settings.changes++
	s.settings.expires = time.Time{}
	s.settings.mu.Unlock()
	if err != nil {
		return fmt.Errorf("store setting %s: %w", key, err)
	}
	return nil
}

// Limits are what an account may use: its own limits, or the settings where it has
// none.
type Limits struct {
	Quota              int64 // octets
	Recipients         int64 // messages sent per day
	Forwards           int64 // per day
	Filters            int64
	Mailboxes          int64
	RcptTo             int64 // recipients of one message
	IMAPMaxUpload      int64 // octets per day
	IMAPMaxDownload    int64 // octets per day
	IMAPMaxConnections int64
	POP3MaxDownload    int64 // octets per day
	POP3MaxMessages    int64
	ReceivedMax        int64 // messages received per minute
}

// Limits returns the limits of an account.
func (v Settings) Limits(a *mail.Account) Limits {
	pick := func(own, fallback int64) int64 {
		if own > 0 {
			return own
		}
		return fallback
	}
	return Limits{
		Quota: pick(a.Quota, v.MaxStorage), Recipients: pick(a.Recipients, v.MaxRecipients), Forwards: pick(a.Forwards, v.MaxForwards),
		Filters: pick(a.Filters, v.MaxFilters), Mailboxes: v.MaxMailboxes, RcptTo: v.MaxRcptTo,
		IMAPMaxUpload: pick(a.IMAPMaxUpload, v.IMAPMaxUpload), IMAPMaxDownload: pick(a.IMAPMaxDownload, v.IMAPMaxDownload),
		IMAPMaxConnections: pick(a.IMAPMaxConnections, v.IMAPMaxConnections),
		POP3MaxDownload:    pick(a.POP3MaxDownload, v.POP3MaxDownload), POP3MaxMessages: pick(a.POP3MaxMessages, v.POP3MaxMessages),
		ReceivedMax: pick(a.ReceivedMax, v.ReceivedMax),
	}
}

// Limits returns the limits of an account under the settings in force.
func (s *Service) Limits(ctx context.Context, a *mail.Account) (Limits, error) {
	v, err := s.Settings(ctx)
	if err != nil {
		return Limits{}, err
	}
	return v.Limits(a), nil
}
