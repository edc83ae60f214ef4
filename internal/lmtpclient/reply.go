package lmtpclient

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of what a server may say.
const (
	maxReplyLine  = 4096
	maxReplyLines = 256
)

// Reply is an answer of the server. Used as an error it is a refusal.
type Reply struct {
	Code int
	Text string // lines joined by \n, without the code
}

// Error returns the reply in one line.
func (r Reply) Error() string {
	return fmt.Sprintf("%d %s", r.Code, strings.ReplaceAll(r.Text, "\n", " "))
}

// send writes a command line.
func (c *Client) send(line string) error {
	_, _ = c.w.WriteString(line + "\r\n")
	return c.w.Flush() // bufio.Writer keeps the first error
}

func (c *Client) expect(code int) error {
	r, err := c.reply()
	if err != nil {
		return err
	}
	if r.Code != code {
		return r
	}
	return nil
}

// reply reads one reply of one or more lines (RFC 5321, 4.2.1).
func (c *Client) reply() (Reply, error) {
	var r Reply
	for n := 0; ; n++ {
		if n == maxReplyLines {
			return r, errors.New("the reply of the server does not end")
		}
		line, err := c.line()
		if err != nil {
			return r, fmt.Errorf("read reply: %w", err)
		}
		if len(line) < 3 {
			return r, fmt.Errorf("the server said %q, which is no reply", line)
		}
		code, err := strconv.Atoi(line[:3])
		if err != nil || code < 200 || code > 599 || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
			return r, fmt.Errorf("the server said %q, which is no reply", line)
		}
		text := ""
		if len(line) > 4 {
			text = line[4:]
		}
		if n > 0 {
			r.Text += "\n"
		}
		r.Code, r.Text = code, r.Text+text
		if len(line) == 3 || line[3] == ' ' {
			return r, nil
		}
	}
}

// line reads a line without its end.
func (c *Client) line() (string, error) {
	b, err := c.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errors.New("the line is too long")
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
