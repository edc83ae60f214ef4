//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

const subscribedOffline = `
subscribedonly = yes
`

// Programs that fetch subscribed mailboxes alone get these, and stumble neither over a name that is subscribed without a
// mailbox nor over a level above it.
func TestSubscribedOnly(t *testing.T) {
	if harness.Dovecot() {
		t.Skip("it does not subscribe new mailboxes, and has other words for what this looks at")
	}
	for _, program := range []struct {
		name, pkg, config string
		args              func(rc string) []string
	}{
		{"mbsync", "isync", strings.Replace(strings.Replace(mbsyncConfig, "IMAPStore far\n", "IMAPStore far\nSubscribedOnly yes\n", 1), "Create Both\nRemove Both\nExpunge Both", "Create Near\nSync Pull", 1),
			func(rc string) []string { return []string{"-c", rc, "-V", "all"} }},
		{"offlineimap", "offlineimap3", offlineimapConfig + subscribedOffline,
			func(rc string) []string { return []string{"-c", rc, "-o", "-u", "quiet"} }},
	} {
		t.Run(program.name, func(t *testing.T) {
			path := harness.Need(t, program.name, program.pkg)
			s := harness.Start(t, harness.Options{})
			u := s.User("subscribed", 0)
			c := s.Login(u)
			for _, name := range []string{"seen", "seen/below", "unseen", "gone", "level", "level/gone"} {
				c.Do(fmt.Sprintf("CREATE %q", name))
				c.Append(name, "", []byte(harness.Message(7)))
			}
			c.OK(`UNSUBSCRIBE "unseen"`)
			c.OK(`DELETE "gone"`)
			c.OK(`DELETE "level/gone"`)
			c.OK(`UNSUBSCRIBE "level"`)
			c.OK(`DELETE "level"`)
			c.Expect(c.OK(`LSUB "" "*gone"`), `^\* LSUB \(\\Noselect \\HasNoChildren\) "/" "?gone"?$`)

			dir := t.TempDir()
			mail := filepath.Join(dir, "mail")
			if err := os.Mkdir(mail, 0o700); err != nil {
				t.Fatal(err)
			}
			host, port, _ := net.SplitHostPort(s.IMAP)
			near := mail
			if program.name == "offlineimap" {
				near = dir
			}
			rc := filepath.Join(dir, "rc")
			if err := os.WriteFile(rc, fmt.Appendf(nil, program.config, host, port, u.Name, u.Password, near), 0o600); err != nil {
				t.Fatal(err)
			}
			harness.Command{Program: path, Args: program.args(rc), Env: []string{"HOME=" + dir}}.Must(t)
			got := maildirState(t, mail)
			for name, want := range map[string]int{"seen": 1, "seen/below": 1, "unseen": 0, "gone": 0, "level": 0, "level/gone": 0} {
				if n := len(got[name]); n != want {
					t.Errorf("%s has %d messages, want %d", name, n, want)
				}
			}
			// The name is the client's, also when the server is killed.
			s.Kill()
			s.Run()
			c = s.Login(u)
			c.Expect(c.OK(`LIST (SUBSCRIBED) "" "gone"`), `^\* LIST \(\\NonExistent \\HasNoChildren \\Subscribed\) "/" "?gone"?$`)
			c.OK(`CREATE "gone"`)
			c.Expect(c.OK(`LSUB "" "gone"`), `^\* LSUB \(\\HasNoChildren\) "/" "?gone"?$`)
		})
	}
}
