package node

import (
	"context"
	"math"
	"time"

	"mallard/internal/limit"
	"mallard/internal/mail"
)

// quotaLimit is the limit of an account in octets.
func (n *Node) quotaLimit(ctx context.Context, id mail.AccountID) (int64, error) {
	acct, err := n.accounts.Recent(ctx, id)
	if err != nil {
		return 0, err
	}
	limits, err := n.accounts.Limits(ctx, acct)
	return limits.Quota, err
}

// Quota returns used and allowed octets of an account.
func (n *Node) Quota(ctx context.Context, id mail.AccountID) (used, allowed int64, err error) {
	acct, err := n.accounts.Get(ctx, id)
	if err != nil {
		return 0, 0, err
	}
	limits, err := n.accounts.Limits(ctx, acct)
	if err != nil {
		return 0, 0, err
	}
	return acct.StorageUsed, limits.Quota, nil
}

// Acquire counts an IMAP session of an account.
func (n *Node) Acquire(ctx context.Context, acct *mail.Account) (release func(), err error) {
	limits, err := n.accounts.Limits(ctx, acct)
	if err != nil {
		return nil, err
	}
	leave, err := n.limits.Acquire(ctx, limit.GroupIMAP, acct.ID.String(), int(limits.IMAPMaxConnections))
	if err != nil {
		return nil, err
	}
	id := acct.ID // neither the account nor the context is kept for the time of the session
	return func() {
		n.traffic.Flush(context.Background(), limit.IMAPDownloaded(id.String()))
		leave()
	}, nil
}

// Uploaded counts octets that an account appended by IMAP.
func (n *Node) Uploaded(ctx context.Context, acct mail.AccountID, octets int64) {
	if _, err := n.limits.Add(ctx, limit.IMAPUploaded(acct.String()), min(octets, limit.MaxIncrement), math.MaxInt64, limit.DefaultWindow); err != nil {
		n.countFailed(limit.IMAPUploaded(acct.String()), err)
	}
}

// Downloaded counts octets that an account fetched by IMAP, within trafficDelay: programs
// fetch many times a second, and no answer waits for the count.
func (n *Node) Downloaded(_ context.Context, acct mail.AccountID, octets int64) {
	n.traffic.Add(limit.IMAPDownloaded(acct.String()), octets)
}

// trafficDelay is how long octets that were fetched and messages that came may wait to
// be counted.
const trafficDelay = time.Second

// countFailed tells of a counter on which nothing depends.
func (n *Node) countFailed(key string, err error) {
	n.log.Warn("count traffic", "key", key, "error", err)
}
