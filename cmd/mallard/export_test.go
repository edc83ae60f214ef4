package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"mallard/internal/control"
	"mallard/internal/mail"
	"mallard/internal/transfer"
)

// brokenSource has three messages. Its connection ends, or the command is interrupted, in the middle of one of them.
type brokenSource struct {
	at        mail.UID // 0: it never ends
	interrupt func()
}

var errConnection = errors.New("use of closed network connection")

func (s brokenSource) Messages(_ context.Context, _ mail.AccountID, _ mail.MailboxID, f func(m *control.ExportMeta, content func(io.Writer) error) error) error {
	for uid := mail.UID(1); uid <= 3; uid++ {
		text := fmt.Sprintf("Subject: %d\r\n\r\ntext\r\n", uid)
		err := f(&control.ExportMeta{UID: uid, Size: int64(len(text)), Date: time.Unix(1, 0)}, func(w io.Writer) error {
			if uid != s.at {
				_, err := io.WriteString(w, text)
				return err
			}
			s.interrupt()
			_, err := io.WriteString(w, text[:5])
			return errors.Join(err, errConnection)
		})
		if err != nil {
			return err
		}
		if uid == s.at {
			return errConnection
		}
	}
	return nil
}

// An mbox file that is not whole gets no name: the next export would pass it over as one that is there.
func TestExportThatBreaksOffLeavesNoMbox(t *testing.T) {
	for _, tt := range []struct {
		name        string
		interrupted bool
		failed      int
		want        string
	}{
		{"connection lost", false, 1, "export mailbox INBOX: " + errConnection.Error()},
		{"interrupted", true, 0, "export mailbox INBOX: interrupt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			ctx, cancel := context.WithCancelCause(t.Context())
			interrupt := func() {
				if tt.interrupted {
					cancel(errors.New("interrupt"))
				}
			}
			x, err := exportInbox(ctx, dir, brokenSource{2, interrupt})
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
			if x.count.Messages != 1 || x.count.Failed != tt.failed || x.count.Mailboxes != 0 {
				t.Errorf("counted %+v", x.count)
			}
			if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
				t.Errorf("left %v, %v", files, err)
			}
			if _, err := exportInbox(t.Context(), dir, brokenSource{}); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(dir + "/INBOX.mbox")
			if n := strings.Count(string(b), "Subject: "); err != nil || n != 3 {
				t.Errorf("the file has %d messages, %v", n, err)
			}
		})
	}
}

func exportInbox(ctx context.Context, dir string, s messageSource) (*exporter, error) {
	w, err := transfer.CreateMbox(dir)
	if err != nil {
		return nil, err
	}
	x := &exporter{s: s, user: &control.User{}, w: w, p: exportCmd{}.open()}
	return x, errors.Join(x.run(ctx, []control.Mailbox{{Path: mail.Inbox, Messages: 3}}), w.Close())
}
