package imap_test

import (
	"net"
	"strings"
	"testing"

	"mallard/internal/imap"
	"mallard/internal/imap/imapclient"
)

// told is a connection of which a proxy says whether its client came without TLS.
type told struct {
	elsewhere
	plain bool
}

func (c told) Plain() bool { return c.plain }

// On a port where something in front does TLS passwords are taken as over TLS, unless the proxy says that there was none, or
// a proxy would have named the client.
func TestSecuredPort(t *testing.T) {
	for name, c := range map[string]struct {
		secured, proxied bool
		wrap             func(net.Conn) net.Conn
		allowed          bool
	}{
		"without a proxy's header":           {true, false, func(c net.Conn) net.Conn { return elsewhere{c} }, true},
		"the proxy says TLS, or nothing":     {true, true, func(c net.Conn) net.Conn { return told{elsewhere{c}, false} }, true},
		"the proxy says that there is none":  {true, true, func(c net.Conn) net.Conn { return told{elsewhere{c}, true} }, false},
		"past the proxy":                     {true, true, func(c net.Conn) net.Conn { return elsewhere{c} }, false},
		"a port that is not secured":         {false, true, func(c net.Conn) net.Conn { return told{elsewhere{c}, false} }, false},
		"a port that is not secured, direct": {false, false, func(c net.Conn) net.Conn { return elsewhere{c} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options(func(o *imap.Options) { o.AllowPlain, o.Secured, o.Proxied = false, c.secured, c.proxied }))
			near, far := net.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer far.Close()
				w.srv.Serve(t.Context(), c.wrap(far))
			}()
			cl, err := imapclient.New(near)
			if err != nil {
				t.Fatal(err)
			}
			offer := strings.Join(cl.Greeting.Code.Atoms, " ")
			if strings.Contains(offer, "LOGINDISABLED") == c.allowed || strings.Contains(offer, "AUTH=PLAIN") != c.allowed || strings.Contains(offer, "STARTTLS") {
				t.Errorf("greeting offers %s", offer)
			}
			want := "NO PRIVACYREQUIRED"
			if c.allowed {
				want = "OK"
			}
			(&client{Client: cl, t: t}).do(want, "LOGIN jane secret")
			_ = cl.Close()
			<-done
		})
	}
}
