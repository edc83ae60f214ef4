package imap_test

import (
	"context"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"mallard/internal/dialogtest"
)

func TestDialogs(t *testing.T) { dialogs(t) }

// TestDialogsOfResting has the same with sessions that rest whenever they wait.
func TestDialogsOfResting(t *testing.T) { dialogs(t, restsAfter(time.Nanosecond)) }

func dialogs(t *testing.T, settings ...setting) {
	t.Helper()
	dialogtest.Run(t, "testdata/dialogs", func(t *testing.T) dialogtest.Server {
		w := newWorld(t, settings...)
		return dialogtest.Server{
			Serve: w.srv.Serve,
			Restart: func() func(context.Context, net.Conn) {
				w.serve()
				return w.srv.Serve
			},
			Ends: func(sent, line string) bool {
				tag, _, _ := strings.Cut(sent, " ")
				for _, p := range []string{tag + " ", "+ ", "* BAD", "* BYE"} {
					if strings.HasPrefix(line, p) {
						return true
					}
				}
				return false
			},
			Unstable: []*regexp.Regexp{
				regexp.MustCompile(`(UIDVALIDITY) \d+`), regexp.MustCompile(`(\[APPENDUID) \d+`),
				regexp.MustCompile(`(\[COPYUID) \d+`), regexp.MustCompile(`(INTERNALDATE) "[^"]*"`),
				regexp.MustCompile(`((?:EMAIL|THREAD|MAILBOX)ID) \([0-9a-f]+\)`),
			},
		}
	})
}
