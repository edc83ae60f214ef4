package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mallard/internal/compose"
	"mallard/internal/config"
	"mallard/internal/lmtpclient"
	"mallard/internal/transfer"
)

type sendCmd struct {
	File    string   `arg:"" optional:"" placeholder:"FILE" help:"Message to send; - for standard input. Without it a message is made from the flags."`
	To      []string `sep:"none" placeholder:"A" help:"Recipient; may be given more than once. Without it the recipients are those in To, Cc and Bcc of FILE."`
	From    string   `placeholder:"A" help:"Sender. Without it the one in From of FILE."`
	Subject string   `placeholder:"S" help:"Subject of a message that is made."`
	Body    string   `placeholder:"TEXT" help:"Text of a message that is made."`
	Attach  []string `sep:"none" placeholder:"FILE" type:"existingfile" help:"File to attach to a message that is made; may be given more than once."`
	Count   int      `default:"1" placeholder:"N" help:"Send it so many times."`
	Raw     bool     `help:"Send FILE as it is also when its lines end with LF alone. Without it such a file gets CRLF line ends, as mail has."`
	LMTP    string   `name:"lmtp" placeholder:"HOST:PORT" help:"LMTP server. Without it that of the configuration."`
	TLS     bool     `name:"tls" help:"The server given with --lmtp speaks TLS from the first octet."`
	JSON    bool     `name:"json" help:"Print a JSON object for each recipient, one a line."`
}

// Help is shown by --help.
func (sendCmd) Help() string {
	return `Examples:
  mallard send --to jane@example.org --subject Hello --body "How are you?"
  mallard send --to jane@example.org --attach photo.jpg --count 10
  mallard send --to jane@example.org message.eml
  cat message.eml | mallard send --to jane@example.org --from bob@example.net -

The message goes the way that mail goes, by LMTP to the running server. The exit
status is 0 when every recipient has got it and 1 when one was refused.`
}

// validate says what does not go together.
func (s *sendCmd) validate() error {
	switch {
	case s.File != "" && (s.Subject != "" || s.Body != "" || len(s.Attach) > 0):
		return errors.New("--subject, --body and --attach make a message: they do not go with FILE")
	case s.File == "" && len(s.To) == 0:
		return errors.New("say who it is for with --to")
	case s.Count < 1:
		return errors.New("--count is at least 1")
	case s.TLS && s.LMTP == "":
		return errors.New("--tls goes with --lmtp; without it [lmtp] of the configuration says whether there is TLS")
	}
	return nil
}

// Run sends.
func (s sendCmd) Run(ctx context.Context, c *cli) error {
	if err := s.validate(); err != nil {
		return usageError{err}
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	m, err := s.message()
	if err != nil {
		return err
	}
	defer m.close()
	if len(m.to) == 0 {
		return usageError{errors.New("the message names no recipient: say who it is for with --to")}
	}
	client, err := s.dial(ctx, cfg)
	if err != nil {
		return err
	}
	refused, err := s.deliver(ctx, client, m)
	if err != nil {
		_ = client.Close() // it cannot be used for more
		return err
	}
	if err := client.Close(); err != nil {
		return fmt.Errorf("say goodbye to LMTP server: %w", err)
	}
	if refused > 0 {
		return fmt.Errorf("%d of %d recipients were refused", refused, len(m.to)*s.Count)
	}
	return nil
}

// deliver sends the message Count times and prints the verdicts.
func (s *sendCmd) deliver(ctx context.Context, client *lmtpclient.Client, m *outgoing) (refused int, err error) {
	start := time.Now()
	for i := range s.Count {
		r, size, err := m.open(i)
		if err != nil {
			return refused, err
		}
		verdicts, err := client.Deliver(ctx, lmtpclient.Envelope{From: m.from, To: m.to, Size: size}, r)
		if err != nil {
			return refused, fmt.Errorf("deliver: %w", err)
		}
		for _, v := range verdicts {
			if !v.Accepted() {
				refused++
			}
			if err := s.print(i, v); err != nil {
				return refused, err
			}
		}
	}
	if s.Count > 1 && !s.JSON {
		fmt.Printf("%d messages in %s\n", s.Count, time.Since(start).Round(time.Millisecond))
	}
	return refused, nil
}

// verdictLine is what send --json prints.
type verdictLine struct {
	Message   int    `json:"message"` // from 1
	Recipient string `json:"recipient"`
	Delivered bool   `json:"delivered"`
	Code      int    `json:"code"`
	Text      string `json:"text"`
}

func (s *sendCmd) print(i int, v lmtpclient.Verdict) error {
	if s.JSON {
		return printJSON(verdictLine{i + 1, v.Recipient, v.Accepted(), v.Reply.Code, v.Reply.Text})
	}
	word := "delivered"
	if !v.Accepted() {
		word = "refused"
	} else if s.Count > 1 {
		return nil
	}
	_, err := fmt.Printf("%-9s %s: %s\n", word, plain(v.Recipient), plain(v.Reply.Error()))
	return err
}

// dial connects to the LMTP server that is meant.
func (s *sendCmd) dial(ctx context.Context, cfg *config.Config) (*lmtpclient.Client, error) {
	addr, secure := s.LMTP, s.TLS
	var o lmtpclient.Options
	if addr == "" {
		if !cfg.LMTP.Enabled {
			return nil, usageError{errors.New("LMTP is not enabled in the configuration: name a server with --lmtp")}
		}
		addr, secure = net.JoinHostPort(reachable(cfg.LMTP.Host), strconv.Itoa(cfg.LMTP.Port)), cfg.LMTP.Secure
		var err error
		if o.Proxies, err = cfg.LMTP.Proxies(); err != nil {
			return nil, usageError{err}
		}
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, usageError{fmt.Errorf("--lmtp: %w; write host:port", err)}
	}
	if secure {
		// On loopback the certificate is mostly a self-signed one, and nobody is
		// in between who could be another.
		o.TLS = &tls.Config{ServerName: host, InsecureSkipVerify: isLoopback(host)}
	}
	client, err := lmtpclient.Dial(ctx, addr, o)
	if err != nil && s.LMTP == "" {
		return nil, fmt.Errorf("%w (is the server running? `mallard serve` starts it)", err)
	}
	return client, err
}

// reachable is where a listener can be reached from this machine.
func reachable(host string) string {
	switch ip := net.ParseIP(host); {
	case host == "":
		return "localhost"
	case ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		return "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		return "::1"
	}
	return host
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// outgoing is a message to send.
type outgoing struct {
	from  string
	to    []string
	open  func(i int) (r io.Reader, size int64, err error) // the copy with number i
	close func()
}

func (s *sendCmd) message() (*outgoing, error) {
	if s.File != "" {
		return s.fromFile()
	}
	from := s.From
	if from == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "localhost"
		}
		from = "mallard-send@" + host
	}
	m := compose.Message{From: compose.Address{Address: from}, Text: s.Body, Subject: s.Subject}
	if m.Text == "" {
		m.Text = "This is a test message, made by mallard send."
	}
	if !strings.HasSuffix(m.Text, "\n") {
		m.Text += "\n" // the last line of a message has an end, too
	}
	if m.Subject == "" {
		m.Subject = "Test message"
	}
	for _, to := range s.To {
		m.To = append(m.To, compose.Address{Address: to})
	}
	for _, name := range s.Attach {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read attachment: %w", err)
		}
		m.Attachments = append(m.Attachments, compose.Attachment{Filename: filepath.Base(name), Content: b})
	}
	subject := m.Subject
	return &outgoing{from: from, to: s.To, close: func() {}, open: func(i int) (io.Reader, int64, error) {
		if s.Count > 1 {
			m.Subject = fmt.Sprintf("%s (%d of %d)", subject, i+1, s.Count)
		}
		var b bytes.Buffer
		if _, err := m.WriteTo(&b); err != nil {
			return nil, 0, fmt.Errorf("make message: %w", err)
		}
		return &b, int64(b.Len()), nil
	}}, nil
}

// fromFile is a message that is there already.
func (s *sendCmd) fromFile() (*outgoing, error) {
	f, err := s.input()
	if err != nil {
		return nil, err
	}
	m := &outgoing{from: s.From, to: s.To, close: func() { _ = f.Close() }}
	start := make([]byte, 64<<10)
	n, err := f.ReadAt(start, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		m.close()
		return nil, fmt.Errorf("read message: %w", err)
	}
	m.fromHeader(start[:n])
	info, err := f.Stat()
	if err != nil {
		m.close()
		return nil, fmt.Errorf("read message: %w", err)
	}
	convert := !s.Raw && transfer.BareLF(start[:n])
	m.open = func(int) (io.Reader, int64, error) {
		r := io.NewSectionReader(f, 0, info.Size())
		if convert {
			return transfer.CRLFReader(r), 0, nil
		}
		return r, info.Size(), nil
	}
	return m, nil
}

// input opens the file. Standard input goes to a temporary file first, because it
// can be read only once.
func (s *sendCmd) input() (*os.File, error) {
	if s.File != "-" {
		f, err := os.Open(s.File)
		if err != nil {
			return nil, fmt.Errorf("read message: %w", err)
		}
		return f, nil
	}
	f, err := os.CreateTemp("", "mallard-send-*")
	if err != nil {
		return nil, fmt.Errorf("keep standard input: %w", err)
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = io.Copy(f, os.Stdin)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keep standard input: %w", err), f.Close())
	}
	return f, nil
}

// fromHeader takes sender and recipients from the header where none are given.
func (m *outgoing) fromHeader(start []byte) {
	// An empty line ends the header, also of what was cut.
	msg, err := netmail.ReadMessage(io.MultiReader(bytes.NewReader(start), strings.NewReader("\r\n\r\n")))
	if err != nil {
		return
	}
	addresses := func(field string) (out []string) {
		list, err := msg.Header.AddressList(field)
		if err != nil {
			return nil
		}
		for _, a := range list {
			out = append(out, a.Address)
		}
		return out
	}
	if from := addresses("From"); m.from == "" && len(from) > 0 {
		m.from = from[0]
	}
	if len(m.to) == 0 {
		for _, field := range []string{"To", "Cc", "Bcc"} {
			m.to = append(m.to, addresses(field)...)
		}
	}
}
