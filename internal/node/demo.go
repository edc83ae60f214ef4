package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mallard/internal/account"
	"mallard/internal/auth/password"
	"mallard/internal/demo"
	"mallard/internal/lmtpclient"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// DemoAccount is the account that Demo makes.
type DemoAccount struct {
	ID                mail.AccountID
	Address, Password string // Password is "" when it is no longer the one that was generated
}

const (
	demoUser    = "demo"
	demoAddress = "demo@mallard.example"
	// demoFile keeps the password of the demo account, so that the next start
	// can show it again.
	demoFile = "demo-password"
)

// Demo makes an account with a generated password and delivers sample messages to
// it by LMTP, where that is enabled. What an earlier call has done is left as it is,
// what it was interrupted in is finished. The node must be listening and serving.
// command is how the program is called, for the text of the messages.
func (n *Node) Demo(ctx context.Context, command string) (*DemoAccount, error) {
	acct, err := n.accounts.FindByName(ctx, demoUser)
	if mail.CodeOf(err) == mail.CodeNoAccount {
		acct, err = n.makeDemo(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("make the demo account: %w", err)
	}
	secret, err := os.ReadFile(filepath.Join(n.cfg.Store.Path, demoFile))
	if errors.Is(err, fs.ErrNotExist) { // a user of this name whom somebody else made
		return &DemoAccount{ID: acct.ID, Address: acct.Address}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the demo password: %w", err)
	}
	d := &DemoAccount{ID: acct.ID, Address: acct.Address, Password: strings.TrimSpace(string(secret))}
	ok, _, err := password.NewVerifier(password.Options{}).Verify(ctx, acct.Password, d.Password)
	if err != nil {
		return nil, fmt.Errorf("check the demo password: %w", err)
	}
	if !ok {
		d.Password = ""
	}
	if err := n.deliverSamples(ctx, acct, command); err != nil {
		return nil, fmt.Errorf("deliver sample messages: %w", err)
	}
	return d, nil
}

// makeDemo makes the account. Its password is kept first: with an account alone
// nobody could log in.
func (n *Node) makeDemo(ctx context.Context) (*mail.Account, error) {
	secret := strings.ToLower(rand.Text()[:16])
	if err := os.WriteFile(filepath.Join(n.cfg.Store.Path, demoFile), []byte(secret+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("keep the password: %w", err)
	}
	return n.accounts.Create(ctx, account.NewUser{
		Username: demoUser, Address: demoAddress, Password: account.Password{Text: secret},
		Profile: account.Profile{Name: new("Demo")},
	})
}

// deliverSamples delivers the samples unless the mailbox ever had a message.
func (n *Node) deliverSamples(ctx context.Context, acct *mail.Account, command string) error {
	box, err := n.mailboxes.Lookup(ctx, acct.ID, mail.Inbox)
	if err != nil {
		return err
	}
	if box.UIDNext > 1 || acct.Address == "" || !n.cfg.LMTP.Enabled {
		return nil
	}
	messages, err := demo.Messages(acct.Address, command, time.Now())
	if err != nil {
		return err
	}
	c, err := n.dialLMTP(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, m := range messages {
		if err := c.Send(ctx, m.Sender, []string{acct.Address}, bytes.NewReader(m.Text)); err != nil {
			return err
		}
	}
	return nil
}

// dialLMTP connects to the LMTP port of this node.
func (n *Node) dialLMTP(ctx context.Context) (*lmtpclient.Client, error) {
	var o lmtpclient.Options
	var err error
	if o.Proxies, err = n.cfg.LMTP.Proxies(); err != nil {
		return nil, err
	}
	for _, l := range n.listeners {
		if l.name != serviceLMTP {
			continue
		}
		if l.secure { // it is this process, whatever the certificate says
			o.TLS = &tls.Config{InsecureSkipVerify: true}
		}
		return lmtpclient.Dial(ctx, l.addr.String(), o)
	}
	return nil, errors.New("LMTP is not served")
}

// CountAccounts returns how many accounts there are.
func (n *Node) CountAccounts(ctx context.Context) (int64, error) {
	p, err := n.accounts.List(ctx, store.AccountQuery{Limit: 1})
	if err != nil {
		return 0, err
	}
	return p.Total, nil
}
