// Package demo has the sample messages that a first start delivers, so that a
// mail client has something to show.
//
// It imports the standard library only.
package demo

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

//go:embed mail/*.eml
var files embed.FS

// Message is a sample message with its envelope sender.
type Message struct {
	Sender string
	Text   []byte // with CRLF line ends
}

// Messages returns the samples, addressed to an address and dated around now. The
// command is how the program is called, for examples in the text.
func Messages(to, command string, now time.Time) ([]Message, error) {
	names, err := fs.Glob(files, "mail/*.eml")
	if err != nil {
		return nil, fmt.Errorf("list sample messages: %w", err)
	}
	out := make([]Message, 0, len(names))
	for i, name := range names {
		b, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read sample message: %w", err)
		}
		date := now.Add(time.Duration(i-len(names)) * time.Hour)
		text := strings.NewReplacer(
			"{{to}}", to, "{{command}}", command, "{{date}}", date.Format(time.RFC1123Z), "{{id}}", fmt.Sprintf("%d.%d", now.UnixNano(), i), "\r\n", "\r\n", "\n", "\r\n",
		).Replace(string(b))
		out = append(out, Message{Sender: "hello@mallard.example", Text: []byte(text)})
	}
	return out, nil
}
