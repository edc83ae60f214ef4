package node

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mallard/internal/config"
	"mallard/internal/mail"
	"mallard/internal/store"
)

const fromAfar = "PROXY TCP4 198.51.100.7 192.0.2.1 4711 143\r\n"

// behind says over a connection of a proxy whose client it is.
func (s *server) behind(service, header string) *conn {
	s.t.Helper()
	c := s.dial(service, false)
	if _, err := io.WriteString(c, header); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// Behind a proxy the client's address is that in the log, in the limits of failed logins,
// in what is kept about a message and in what may be done without TLS.
func TestProxy(t *testing.T) {
	c := testConfig(t)
	trusted := []string{"127.0.0.1"}
	c.IMAP.Interfaces[0].UseProxy, c.LMTP.UseProxy, c.API.UseProxy = trusted, trusted, trusted
	c.IMAP.Interfaces = append(c.IMAP.Interfaces, config.Interface{
		Listener: config.Listener{Enabled: true, Host: "127.0.0.1", UseProxy: trusted, Secure: true},
	})
	s := serve(t, c)
	if _, err := s.Demo(context.Background(), "mallard"); err != nil { // it goes to the LMTP port
		t.Fatal(err)
	}

	imap := s.behind(serviceIMAP, fromAfar)
	imap.expect("* OK")
	if got := imap.say("a CAPABILITY", "* CAPABILITY"); !strings.Contains(got, "LOGINDISABLED") {
		t.Errorf("somebody from afar may log in without TLS: %q", got)
	}
	own := s.behind(serviceIMAP, "PROXY UNKNOWN\r\n")
	own.expect("* OK")
	if got := own.say("a CAPABILITY", "* CAPABILITY"); strings.Contains(got, "LOGINDISABLED") {
		t.Errorf("the proxy itself may not log in: %q", got)
	}
	s.dial(serviceIMAP, false).say("a LOGIN jane wrong", "* BAD Invalid PROXY header")
	s.dial(serviceLMTP, false).say("LHLO test", "421 4.7.0 Invalid PROXY header")
	s.dial(serviceAPI, false).say("GET /health HTTP/1.1\r\nHost: x\r\n", "HTTP/1.1 400 ")
	raw, err := net.Dial("tcp", s.Addresses()[3].Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(raw, fromAfar); err != nil {
		t.Fatal(err)
	}
	secure := &conn{t: t, r: bufio.NewReader(tls.Client(raw, &tls.Config{InsecureSkipVerify: true}))}
	secure.expect("* OK")
	if log := s.log.String(); !strings.Contains(log, "does not begin with a PROXY header") {
		t.Errorf("log:\n%s", log)
	}
}

// TestProxyAddress follows the address of a client to where it is kept.
func TestProxyAddress(t *testing.T) {
	c := testConfig(t)
	c.Auth.IPFailures = 2
	s := serve(t, c)
	ctx := context.Background()
	d, err := s.Demo(ctx, "mallard")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	trusted := []string{"127.0.0.1"}
	c.IMAP.Interfaces[0].UseProxy, c.LMTP.UseProxy, c.API.UseProxy = trusted, trusted, trusted
	c.IMAP.Interfaces[0].Secured = true
	s = serve(t, c)

	lmtp := s.behind(serviceLMTP, fromAfar)
	lmtp.expect("220")
	lmtp.say("LHLO test", "250 ")
	lmtp.say("MAIL FROM:<>", "250")
	lmtp.say("RCPT TO:<"+d.Address+">", "250")
	lmtp.say("DATA", "354")
	lmtp.say("Subject: from afar\r\n\r\nhello\r\n.", "250")
	inbox, err := s.mailboxes.Lookup(ctx, d.ID, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	info := ""
	for row, err := range s.engine.Fetch(ctx, d.ID, inbox.ID, store.FetchQuery{UIDs: mail.UIDSetOf(inbox.UIDNext - 1), Fields: store.FieldMeta}) {
		if err != nil {
			t.Fatal(err)
		}
		info = row.Info
	}
	if !strings.Contains(info, `"origin":"198.51.100.7"`) {
		t.Errorf("of the message is kept %q", info)
	}

	failed := func(header string) string {
		imap := s.behind(serviceIMAP, header)
		imap.expect("* OK")
		return imap.say("a LOGIN "+d.Address+" wrong", "a NO")
	}
	failed(fromAfar)
	failed(strings.Replace(fromAfar, " 4711 ", " 4712 ", 1))
	imap := s.behind(serviceIMAP, fromAfar)
	imap.expect("* OK")
	imap.say("a LOGIN "+d.Address+" "+d.Password, "a NO") // it has guessed too often
	imap = s.behind(serviceIMAP, strings.Replace(fromAfar, "198.51.100.7", "198.51.100.8", 1))
	imap.expect("* OK")
	imap.say("a LOGIN "+d.Address+" "+d.Password, "a OK") // another one has not
	if !strings.Contains(s.log.String(), "ip=198.51.100.7") {
		t.Errorf("log:\n%s", s.log)
	}
	answer := s.behind(serviceAPI, fromAfar+"GET /users HTTP/1.1\r\nHost: x\r\n\r\n").expect("HTTP/1.1 ")
	if !strings.Contains(answer, " 200 ") {
		t.Errorf("answer %q", answer)
	}
	for range 3000 { // a call is logged when it has ended
		if strings.Contains(s.log.String(), "remote=198.51.100.7:4711") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("log:\n%s", s.log.String())
}
