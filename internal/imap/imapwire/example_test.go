package imapwire_test

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"mallard/internal/imap/imapwire"
)

// A server reads commands and answers each one. Handlers switch on the type of
// the arguments.
func Example() {
	client := strings.NewReader("a1 STATUS Entw&APw-rfe (MESSAGES)\r\na2 FETCH 1 FLAGS\r\na3 APPEND INBOX {5+}\r\nhello\r\n")
	var out strings.Builder
	w := imapwire.NewEncoder(&out)
	r := imapwire.NewReader(client, imapwire.Options{Continue: func() error {
		w.Continue("go ahead")
		return w.Flush()
	}})
	for {
		cmd, err := r.ReadCommand(imapwire.StateAuthenticated)
		var bad *imapwire.Error
		switch {
		case errors.As(err, &bad):
			w.Error("*", bad)
			continue
		case err != nil:
			w.Flush()
			fmt.Print(strings.ReplaceAll(out.String(), "\r\n", "\n"))
			return
		}
		switch a := cmd.Args.(type) {
		case *imapwire.Status:
			w.StatusResponse(a.Mailbox, []imapwire.StatusData{{Item: imapwire.StatusMessages, Number: 3}})
			w.OK(cmd.Tag, "", "STATUS completed")
		case *imapwire.Append:
			n, err := receive(a)
			if err != nil {
				return
			}
			w.OK(cmd.Tag, imapwire.CodeAppendUID(7, []uint32{1}), fmt.Sprintf("%d octets", n))
		}
	}
	// Output:
	// * STATUS "Entw&APw-rfe" (MESSAGES 3)
	// a1 OK STATUS completed
	// a2 BAD FETCH not allowed now
	// a3 OK [APPENDUID 7 1] 5 octets
}

// receive reads the messages of an APPEND.
func receive(a *imapwire.Append) (total int64, err error) {
	for {
		msg, err := a.Next()
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		body, err := msg.Open()
		if err != nil {
			return total, err
		}
		n, err := io.Copy(io.Discard, body)
		if total += n; err != nil {
			return total, err
		}
	}
}
