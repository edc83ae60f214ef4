package netserve

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"mallard/internal/clocktest"
)

// whois answers each line with the address of the client and the line.
func whois(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, c.RemoteAddr().String()+" "+line); err != nil {
			return
		}
	}
}

// proxyAt are options that trust 127.0.0.1 alone.
func proxyAt() Options {
	return Options{
		Handler: whois, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, ProxyTimeout: time.Minute,
		ProxyRefusal: "bad header\r\n", Refusal: "full\r\n",
	}
}

// ask sends octets and a line and returns the answer.
func ask(t *testing.T, c net.Conn, before string) string {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, before+"hello\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatalf("after %q: %q, %v", before, line, err)
	}
	return line
}

// dialFrom connects from an address of its own.
func (r *running) dialFrom(t *testing.T, ip string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).Dial("tcp", r.Addr().String())
	if err != nil {
		t.Skipf("this system has no %s: %v", ip, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// version2 is a header of version 2 as the library writes it.
func version2(t *testing.T, command proxyproto.ProtocolVersionAndCommand, from, to string) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, addr(from), addr(to))
	h.Command = command
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func addr(s string) net.Addr {
	if s == "" {
		return nil
	}
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s))
}

const signature2 = "\r\n\r\n\x00\r\nQUIT\n"

func TestProxyHeader(t *testing.T) {
	r := start(t, proxyAt())
	withTLV := []byte(version2(t, proxyproto.PROXY, "198.51.100.7:4711", "192.0.2.1:143"))
	withTLV[15] += 4
	withTLV = append(withTLV, 0x04, 0, 1, 'x') // PP2_TYPE_NOOP
	unix := signature2 + "\x21\x31\x00\xd8" + strings.Repeat("/", 216)
	for _, tt := range []struct{ name, header, want string }{
		{"version 1, IPv4", "PROXY TCP4 198.51.100.7 192.0.2.1 4711 143\r\n", "198.51.100.7:4711"},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 4711 143\r\n", "[2001:db8::7]:4711"},
		{"version 1, unknown", "PROXY UNKNOWN\r\n", "127.0.0.1:"},
		{"version 1, unknown with addresses", "PROXY UNKNOWN 2001:db8::7 2001:db8::1 4711 143\r\n", "127.0.0.1:"},
		{"version 2, IPv4", version2(t, proxyproto.PROXY, "198.51.100.7:4711", "192.0.2.1:143"), "198.51.100.7:4711"},
		{"version 2, IPv6", version2(t, proxyproto.PROXY, "[2001:db8::7]:4711", "[2001:db8::1]:143"), "[2001:db8::7]:4711"},
		{"version 2, more data", string(withTLV), "198.51.100.7:4711"},
		{"version 2, local", version2(t, proxyproto.LOCAL, "198.51.100.7:4711", "192.0.2.1:143"), "127.0.0.1:"},
		{"version 2, local without addresses", signature2 + "\x20\x00\x00\x00", "127.0.0.1:"},
		{"version 2, not specified", signature2 + "\x21\x00\x00\x00", "127.0.0.1:"},
		{"version 2, UNIX socket", unix, "127.0.0.1:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ask(t, r.dial(t), tt.header); !strings.HasPrefix(got, tt.want) || !strings.HasSuffix(got, " hello\n") {
				t.Errorf("answer %q, want the client %q", got, tt.want)
			}
			// The header may come in any pieces, and the client may wait to be spoken to.
			c := r.dial(t)
			for _, piece := range []string{tt.header[:1], tt.header[1:7], tt.header[7 : len(tt.header)-1], tt.header[len(tt.header)-1:]} {
				if _, err := io.WriteString(c, piece); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Millisecond)
			}
			if got := ask(t, c, ""); !strings.HasPrefix(got, tt.want) || !strings.HasSuffix(got, " hello\n") {
				t.Errorf("in pieces: answer %q, want the client %q", got, tt.want)
			}
		})
	}
}

// What is no header ends the connection with a word, and the operator is told.
func TestProxyGarbage(t *testing.T) {
	r := start(t, proxyAt())
	for name, sent := range map[string]string{
		"a command":            "a LOGIN jane secret\r\n",
		"nothing like it":      "\x00\x01\x02\x03",
		"version 1 in letters": "proxy TCP4 198.51.100.7 192.0.2.1 4711 143\r\n",
		"other protocol":       "PROXY UDP4 198.51.100.7 192.0.2.1 4711 143\r\n",
		"no address":           "PROXY TCP4 mail.example.org 192.0.2.1 4711 143\r\n",
		"no port":              "PROXY TCP4 198.51.100.7 192.0.2.1 99999 143\r\n",
		"LF alone":             "PROXY TCP4 198.51.100.7 192.0.2.1 4711 143\n",
		"no end":               "PROXY " + strings.Repeat("x", 200),
		"half a line":          "PROXY TCP4 198",
		"other version":        signature2 + "\x31\x11\x00\x0c" + strings.Repeat("x", 12),
		"other command":        signature2 + "\x22\x11\x00\x0c" + strings.Repeat("x", 12),
		"too short":            signature2 + "\x21\x11\x00\x04abcd",
		"too long":             signature2 + "\x21\x11\xff\xff" + strings.Repeat("x", 200),
		"half a signature":     signature2[:7],
		"half of version 2":    signature2 + "\x21\x11\x00\x0cabc",
	} {
		t.Run(name, func(t *testing.T) {
			c := r.dial(t)
			if _, err := io.WriteString(c, sent); err != nil {
				t.Fatal(err)
			}
			_ = c.(*net.TCPConn).CloseWrite()
			if got := rest(t, c); got != "bad header\r\n" {
				t.Errorf("answer %q", got)
			}
		})
	}
	r.waitConns(t, 0)
	if log := r.log.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "it does not begin with a PROXY header") {
		t.Errorf("log %q", log)
	}
}

// A monitor that looks whether the port is open is no reason for a warning.
func TestProxyPortProbe(t *testing.T) {
	r := start(t, proxyAt())
	c := r.dial(t)
	r.waitConns(t, 1)
	_ = c.Close()
	r.waitConns(t, 0)
	if log := r.log.String(); strings.Contains(log, "level=WARN") {
		t.Errorf("log %q", log)
	}
}

// A header has its time, in total and not for each octet; others are served meanwhile.
func TestProxySlowHeader(t *testing.T) {
	o := proxyAt()
	o.ProxyTimeout = 700 * time.Millisecond // in which the others are served
	r := start(t, o)
	begin := time.Now()
	took := clocktest.Took(func() {
		silent, slow := r.dial(t), r.dial(t)
		go func() {
			for _, b := range []byte("PROXY TCP4 198.51.100.7 192.0.2.1 4711 143\r\n") {
				if _, err := slow.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}()
		if got := ask(t, r.dial(t), "PROXY TCP4 198.51.100.7 192.0.2.1 4711 143\r\n"); !strings.HasPrefix(got, "198.51.100.7:4711 ") {
			t.Errorf("answer %q", got)
		}
		for _, c := range []net.Conn{silent, slow} {
			if got := rest(t, c); got != "bad header\r\n" {
				t.Errorf("answer %q", got)
			}
		}
	})
	if time.Since(begin) < o.ProxyTimeout || took > 1500*time.Millisecond {
		t.Errorf("it took %s", took)
	}
}

// Who is no proxy cannot pretend to be somebody else: what it sends is taken as it is, and
// it needs no header.
func TestProxySpoofing(t *testing.T) {
	r := start(t, proxyAt())
	const header = "PROXY TCP4 198.51.100.7 192.0.2.1 4711 143\r\n"
	c := r.dialFrom(t, "127.0.0.2")
	if got := ask(t, c, header); !strings.HasPrefix(got, "127.0.0.2:") || !strings.Contains(got, " PROXY TCP4 198.51.100.7") {
		t.Errorf("answer %q", got)
	}
	if got := ask(t, r.dialFrom(t, "127.0.0.2"), ""); !strings.HasPrefix(got, "127.0.0.2:") || !strings.HasSuffix(got, " hello\n") {
		t.Errorf("answer %q", got)
	}
	// A second header from a proxy is the client's, too.
	if got := ask(t, r.dial(t), header+"PROXY TCP4 203.0.113.9 192.0.2.1 1 143\r\n"); !strings.HasPrefix(got, "198.51.100.7:4711 PROXY TCP4 203.0.113.9") {
		t.Errorf("answer %q", got)
	}
}

// The limits count clients, not the proxy; the proxy's own connections count for it.
func TestProxyLimits(t *testing.T) {
	o := proxyAt()
	o.MaxConns, o.MaxConnsPerIP = 5, 2
	r := start(t, o)
	from := func(ip string) string { return "PROXY TCP4 " + ip + " 192.0.2.1 4711 143\r\n" }
	var open []net.Conn
	for _, ip := range []string{"198.51.100.1", "198.51.100.1", "198.51.100.2"} {
		c := r.dial(t)
		ask(t, c, from(ip))
		open = append(open, c)
	}
	third := r.dial(t)
	if _, err := io.WriteString(third, from("198.51.100.1")+"hello\n"); err != nil {
		t.Fatal(err)
	}
	if got := rest(t, third); got != "full\r\n" {
		t.Errorf("answer %q", got)
	}
	r.waitConns(t, 3)
	_ = open[0].Close()
	r.waitConns(t, 2)
	ask(t, r.dial(t), from("198.51.100.1"))
	// Those whose header has not come yet take room as well.
	r.dial(t)
	r.dial(t)
	r.waitConns(t, 5)
	if got := rest(t, r.dial(t)); got != "full\r\n" {
		t.Errorf("answer %q", got)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	r.gate.mu.Lock()
	defer r.gate.mu.Unlock()
	if r.gate.all != 0 || len(r.gate.perIP) != 0 {
		t.Errorf("left behind: %d, %v", r.gate.all, r.gate.perIP)
	}
}

// TLS begins after the header.
func TestProxyTLS(t *testing.T) {
	o := proxyAt()
	o.TLS = certificate(t).Config()
	r := start(t, o)
	c := r.dial(t)
	if _, err := io.WriteString(c, version2(t, proxyproto.PROXY, "198.51.100.7:4711", "192.0.2.1:993")); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, tls.Client(c, &tls.Config{InsecureSkipVerify: true}), ""); got != "198.51.100.7:4711 hello\n" {
		t.Errorf("answer %q", got)
	}
	o.ProxyTimeout = 200 * time.Millisecond
	r = start(t, o)
	// Without the header there is no handshake, and no word that TLS would not understand.
	if err := tls.Client(r.dial(t), &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("a handshake without a header")
	}
	if got := rest(t, r.dial(t)); got != "" {
		t.Errorf("answer %q", got)
	}
}

// Who waits for a header does not hold up the end.
func TestProxyShutdown(t *testing.T) {
	o := proxyAt()
	o.ProxyTimeout = time.Minute
	r := start(t, o)
	r.dial(t)
	r.waitConns(t, 1)
	var err error
	took := clocktest.Took(func() { err = r.stop() })
	if err != nil {
		t.Errorf("error %v", err)
	}
	if took > 400*time.Millisecond {
		t.Errorf("it took %s", took)
	}
}

// A listener that an HTTP server serves has the same headers, limits and end.
func TestProxyHTTP(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := proxyAt()
	o.MaxConnsPerIP = 1
	o.ProxyTimeout = time.Minute
	l := Limit(inner, o)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	dial := func(header string) (net.Conn, *bufio.Reader) {
		t.Helper()
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, header); err != nil {
			t.Fatal(err)
		}
		return c, bufio.NewReader(c)
	}
	get := func(header string) string {
		t.Helper()
		_, r := dial(header + "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	dial("") // waits for its header all the time
	if got := get("PROXY TCP4 198.51.100.7 192.0.2.1 4711 80\r\n"); got != "198.51.100.7:4711" {
		t.Errorf("the client is %q", got)
	}
	if got := get("PROXY TCP4 198.51.100.8 192.0.2.1 4711 80\r\n"); got != "198.51.100.8:4711" {
		t.Errorf("the client is %q", got)
	}
	c, _ := dial("PROXY TCP4 198.51.100.7 192.0.2.1 4712 80\r\n")
	if got := rest(t, c); got != "full\r\n" {
		t.Errorf("answer %q", got)
	}
	c, _ = dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := rest(t, c); got != "bad header\r\n" {
		t.Errorf("answer %q", got)
	}
	took := clocktest.Took(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("error %v", err)
		}
	})
	if took > time.Second {
		t.Errorf("it took %s", took)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

// Whatever is read, the header is what stands at the beginning, and what follows is kept.
func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 198.51.100.7 192.0.2.1 4711 143\r\nrest"), 3)
	f.Add([]byte(signature2+"\x21\x11\x00\x0c\xc6\x33\x64\x07\xc0\x00\x02\x01\x12\x67\x00\x8frest"), 20)
	f.Add([]byte("PROXY UNKNOWN\r\n"), 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		r := io.MultiReader(bytes.NewReader(b[:max(0, min(piece, len(b)))]), bytes.NewReader(b[max(0, min(piece, len(b))):]))
		header, rest, err := readProxyHeader(r)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(b, append(bytes.Clone(header), rest...)) {
			t.Fatalf("%q was read as %q and %q", b, header, rest)
		}
		if a, _, err := proxySource(header); err == nil && a != nil {
			_ = a.String()
		}
	})
}
