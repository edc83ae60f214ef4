package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mallard/internal/account"
	"mallard/internal/demo"
	"mallard/internal/lmtpclient"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// DemoAccount is the account that Demo makes.
type DemoAccount struct {
	ID                mail.AccountID
	Address, Password string
}

const (
	demoUser    = "demo"
	demoAddress = "demo@mallard.example"
	// demoFile keeps the password of the demo account, so that the next start
	// can show it again.
	demoFile = "demo-password"
)

// Demo makes an account with a generated password and delivers sample messages to
// it by LMTP. When the account is there already it only returns it. The node must
// be listening and serving.
func (n *Node) Demo(ctx context.Context) (*DemoAccount, error) {
	file := filepath.Join(n.cfg.Store.Path, demoFile)
	acct, err := n.accounts.FindByName(ctx, demoUser)
	if err == nil {
		return n.knownDemo(acct, file)
	}
	if mail.CodeOf(err) != mail.CodeNoAccount {
		return nil, err
	}
	secret := strings.ToLower(rand.Text()[:16])
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("keep the demo password: %w", err)
	}
	acct, err = n.accounts.Create(ctx, account.NewUser{
		Username: demoUser, Address: demoAddress, Password: account.Password{Text: secret},
		Profile: account.Profile{Name: new("Demo")},
	})
	if err != nil {
		return nil, fmt.Errorf("make the demo account: %w", err)
	}
	if err := n.deliverSamples(ctx); err != nil {
		return nil, fmt.Errorf("deliver sample messages: %w", err)
	}
	return &DemoAccount{ID: acct.ID, Address: demoAddress, Password: secret}, nil
}

func (n *Node) knownDemo(acct *mail.Account, file string) (*DemoAccount, error) {
	secret, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		secret, err = []byte("(as you set it; change it with: mallard user passwd demo)"), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the demo password: %w", err)
	}
	return &DemoAccount{ID: acct.ID, Address: demoAddress, Password: strings.TrimSpace(string(secret))}, nil
}

func (n *Node) deliverSamples(ctx context.Context) error {
	addr := ""
	for _, l := range n.listeners {
		if l.name == "LMTP" {
			addr = l.addr.String()
		}
	}
	if addr == "" {
		return errors.New("LMTP is not enabled")
	}
	messages, err := demo.Messages(demoAddress, time.Now())
	if err != nil {
		return err
	}
	c, err := lmtpclient.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, m := range messages {
		if err := c.Send(ctx, m.Sender, []string{demoAddress}, bytes.NewReader(m.Text)); err != nil {
			return err
		}
	}
	return nil
}

// CountAccounts returns how many accounts there are.
func (n *Node) CountAccounts(ctx context.Context) (int64, error) {
	p, err := n.accounts.List(ctx, store.AccountQuery{Limit: 1})
	if err != nil {
		return 0, err
	}
	return p.Total, nil
}
