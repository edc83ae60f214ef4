package node

import (
	"context"
	"math"

	"mallard/internal/limit"
	"mallard/internal/mail"
)

// quotaLimit is the limit of an account in octets.
func (n *Node) quotaLimit(ctx context.Context, id mail.AccountID) (int64, error) {
	_, allowed, err := n.Quota(ctx, id)
	return allowed, err
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
	return n.limits.Acquire(ctx, limit.GroupIMAP, acct.ID.String(), int(limits.IMAPMaxConnections))
}

// Uploaded counts octets that an account appended by IMAP.
func (n *Node) Uploaded(ctx context.Context, acct mail.AccountID, octets int64) {
	n.count(ctx, limit.IMAPUploaded(acct.String()), octets)
}

// Downloaded counts octets that an account fetched by IMAP.
func (n *Node) Downloaded(ctx context.Context, acct mail.AccountID, octets int64) {
	n.count(ctx, limit.IMAPDownloaded(acct.String()), octets)
}

// count adds to a counter that nothing depends on.
func (n *Node) count(ctx context.Context, key string, inc int64) {
	if _, err := n.limits.Add(ctx, key, min(inc, limit.MaxIncrement), math.MaxInt64, limit.DefaultWindow); err != nil {
		n.log.WarnContext(ctx, "count traffic", "key", key, "error", err)
	}
}
