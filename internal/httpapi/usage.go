package httpapi

import (
	"context"
	"math"
	"time"

	"mallard/internal/account"
	"mallard/internal/limit"
	"mallard/internal/mail"
)

// windowUse is the use of a limit for some time.
type windowUse struct {
	Allowed int64          `json:"allowed" doc:"Limit"`
	Used    int64          `json:"used" doc:"Used of it"`
	TTL     orFalse[int64] `json:"ttl" doc:"Seconds until the count starts anew, or false"`
}

// windowUse reads a counter. Counters that cannot be reached count as zero: what
// they are asked for here is no reason to fail.
func (a *API) windowUse(ctx context.Context, key string, allowed int64) windowUse {
	out := windowUse{Allowed: allowed}
	c, err := a.opt.Limits.Add(ctx, key, 0, math.MaxInt64, 0)
	if err != nil {
		a.log.WarnContext(ctx, "read a counter", "key", key, "error", err)
		return out
	}
	out.Used = c.Value
	if c.TTL > 0 {
		out.TTL = some(int64((c.TTL + time.Second - 1) / time.Second))
	}
	return out
}

// userLimits are the limits of an account and what is used of them.
func (a *API) userLimits(ctx context.Context, acct *mail.Account, settings account.Settings) userLimits {
	l, id := settings.Limits(acct), acct.ID.String()
	sessions, err := a.opt.Limits.Held(ctx, limit.GroupIMAP, id)
	if err != nil {
		a.log.WarnContext(ctx, "count sessions", "account", id, "error", err)
	}
	return userLimits{
		Quota:              usage{l.Quota, acct.StorageUsed},
		Recipients:         a.windowUse(ctx, limit.Sent(id), l.Recipients),
		Forwards:           a.windowUse(ctx, limit.Forwarded(id), l.Forwards),
		Received:           a.windowUse(ctx, limit.Received(id), l.ReceivedMax),
		Filters:            usage{Allowed: l.Filters},
		IMAPUpload:         a.windowUse(ctx, limit.IMAPUploaded(id), l.IMAPMaxUpload),
		IMAPDownload:       a.windowUse(ctx, limit.IMAPDownloaded(id), l.IMAPMaxDownload),
		POP3Download:       a.windowUse(ctx, limit.POP3Downloaded(id), l.POP3MaxDownload),
		POP3MaxMessages:    allowedUse{l.POP3MaxMessages},
		IMAPMaxConnections: usage{l.IMAPMaxConnections, int64(sessions)},
	}
}

// changedCounters are the counters of limits that a call changes: they start anew.
func (in *updateUserIn) changedCounters() (keys []string) {
	id := in.User.String()
	for _, c := range []struct {
		value *int64
		key   string
	}{
		{in.Recipients, limit.Sent(id)}, {in.Forwards, limit.Forwarded(id)}, {in.ReceivedMax, limit.Received(id)},
		{in.IMAPMaxUpload, limit.IMAPUploaded(id)}, {in.IMAPMaxDownload, limit.IMAPDownloaded(id)},
		{in.POP3MaxDownload, limit.POP3Downloaded(id)},
	} {
		if c.value != nil {
			keys = append(keys, c.key)
		}
	}
	return keys
}
