package netserve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// DefaultProxyTimeout bounds the time that a proxy has to send its header.
const DefaultProxyTimeout = 5 * time.Second

// Bounds of a PROXY header in octets: a line of version 1, and what version 2 announces
// after its fixed part. The latter may hold 65,535; what proxies send is far below.
const (
	maxProxyLine = 107
	proxyFixed   = 16
	maxProxyData = 4096
)

var (
	errProxyHeader = errors.New("it does not begin with a PROXY header")
	errProxyLength = errors.New("its PROXY header is too long")
	errNothingSent = errors.New("it was closed before anything was sent")
)

// fromProxy reports whether connections from an address begin with a PROXY header. What
// any other address sends is never taken for one: it would be a way to pretend.
func (o *Options) fromProxy(ip netip.Addr) bool {
	for _, p := range o.Proxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// behindProxy reads the PROXY header (versions 1 and 2) with which a connection begins
// and returns the connection as the proxy's client has it. When the context ends it stops
// waiting.
func behindProxy(ctx context.Context, c net.Conn, timeout time.Duration) (net.Conn, error) {
	if timeout <= 0 {
		timeout = DefaultProxyTimeout
	}
	if err := c.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, fmt.Errorf("read PROXY header: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	header, rest, err := readProxyHeader(c)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("read PROXY header: %w", err)
	}
	source, plain, err := proxySource(header)
	if err != nil {
		return nil, fmt.Errorf("read PROXY header: %w", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("read PROXY header: %w", err)
	}
	if source == nil {
		source = c.RemoteAddr()
	}
	return &proxied{Conn: c, rest: rest, remote: source, plain: plain}, nil
}

// readProxyHeader reads until the header is whole, in however many pieces it comes, and
// returns what came after it as well.
func readProxyHeader(r io.Reader) (header, rest []byte, err error) {
	buf := make([]byte, 0, 256)
	for {
		n, err := headerLength(buf)
		if err != nil {
			return nil, nil, err
		}
		if n > 0 && len(buf) >= n {
			return buf[:n], buf[n:], nil
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, proxyFixed+maxProxyData), buf...)
		}
		got, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+got]
		switch {
		case got > 0:
		case errors.Is(err, io.EOF) && len(buf) == 0:
			return nil, nil, errNothingSent
		case errors.Is(err, io.EOF):
			return nil, nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, nil, err
		}
	}
}

// headerLength is the length of the header that b begins with, 0 as long as it is not
// known.
func headerLength(b []byte) (int, error) {
	switch {
	case begins(b, proxyproto.SIGV1):
		end := bytes.IndexByte(b[:min(len(b), maxProxyLine)], '\n')
		if end < 0 && len(b) >= maxProxyLine {
			return 0, errProxyLength
		}
		return end + 1, nil
	case begins(b, proxyproto.SIGV2):
		if len(b) < proxyFixed {
			return 0, nil
		}
		n := int(binary.BigEndian.Uint16(b[proxyFixed-2:]))
		if n > maxProxyData {
			return 0, errProxyLength
		}
		return proxyFixed + n, nil
	}
	return 0, errProxyHeader
}

// begins reports whether b can be the beginning of something that starts with sig.
func begins(b, sig []byte) bool {
	n := min(len(b), len(sig))
	return bytes.Equal(b[:n], sig[:n])
}

// proxySource is the client's address, nil where the header gives none: the proxy speaks
// for itself (LOCAL) or does not know (UNKNOWN), or the client came over no TCP. plain is true where the header says that the
// client came without TLS.
func proxySource(header []byte) (source net.Addr, plain bool, err error) {
	const proxyCommand, unspecified = 0x21, 0
	if begins(header, proxyproto.SIGV2) && header[12] == proxyCommand && header[13] == unspecified {
		return nil, false, nil
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), max(len(header), maxProxyLine)))
	if err != nil {
		return nil, false, err
	}
	if plain, err = withoutTLS(h); err != nil {
		return nil, false, err
	}
	if a, ok := h.SourceAddr.(*net.TCPAddr); ok && h.Command.IsProxy() {
		return a, plain, nil
	}
	return nil, plain, nil
}

// withoutTLS reports whether a header has the record about TLS (PP2_TYPE_SSL of the PROXY protocol, 2.2.6), and says there
// that the client used none.
func withoutTLS(h *proxyproto.Header) (bool, error) {
	records, err := h.TLVs()
	if err != nil {
		return false, err
	}
	for _, r := range records {
		if r.Type != proxyproto.PP2_TYPE_SSL {
			continue
		}
		s, err := tlvparse.SSL(r)
		if err != nil {
			return false, err
		}
		return !s.ClientSSL(), nil
	}
	return false, nil
}

// proxied is a connection of a client behind a proxy.
type proxied struct {
	net.Conn
	rest   []byte // what came with the header
	remote net.Addr
	plain  bool
}

// Read reads what came with the header, then from the connection.
func (c *proxied) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		c.rest = nil
		return c.Conn.Read(b)
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// RemoteAddr is the address of the client.
func (c *proxied) RemoteAddr() net.Addr { return c.remote }

// Plain reports whether the proxy has said that its client came without TLS.
func (c *proxied) Plain() bool { return c.plain }

// CloseWrite ends what is sent, as for a TCP connection.
func (c *proxied) CloseWrite() error { return closeWrite(c.Conn) }
