//go:build e2e

package harness

import (
	"os"
	"path/filepath"
	"strconv"
)

// startDovecot starts the rig's Dovecot in this server's place.
func (s *Server) startDovecot(imap, lmtp int) {
	s.t.Helper()
	s.dovecot = true
	script := filepath.Join(Root(), "test", "rig", "dovecot.sh")
	dir, err := os.MkdirTemp("/var/tmp", "mallard-e2e-dovecot-") // where its own users can go
	if err != nil {
		s.t.Fatal(err)
	}
	s.Dir = dir
	s.t.Cleanup(func() {
		Command{Program: script, Args: []string{"stop", dir}}.Run(s.t)
		os.RemoveAll(dir)
	})
	Command{
		Program: script, Args: []string{"start", "mdbox", dir, strconv.Itoa(imap), strconv.Itoa(lmtp)},
		Env: []string{"DOVECOT_PASSWORD=" + Password, "DOVECOT_AUTO=create"},
	}.Must(s.t)
}
