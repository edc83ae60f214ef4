package node

import (
	"context"

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
	return n.limits.Acquire(ctx, "imap", acct.ID.String(), int(limits.IMAPMaxConnections))
}
