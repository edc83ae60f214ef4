package netserve

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// withRecords is a header of version 2 with records after the addresses.
func withRecords(t *testing.T, records ...proxyproto.TLV) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, addr("198.51.100.7:4711"), addr("192.0.2.1:993"))
	if err := h.SetTLVs(records); err != nil {
		t.Fatal(err)
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// aboutTLS is the record with which HAProxy's send-proxy-v2-ssl says how the client came.
func aboutTLS(t *testing.T, client uint8) proxyproto.TLV {
	t.Helper()
	s := tlvparse.PP2SSL{Client: client, Verify: 1}
	if client != 0 {
		s.TLV = []proxyproto.TLV{{Type: proxyproto.PP2_SUBTYPE_SSL_VERSION, Value: []byte("TLSv1.3")}}
	}
	r, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What a proxy says about TLS between it and its client is known to the protocol.
func TestProxySaysTLS(t *testing.T) {
	other := proxyproto.TLV{Type: proxyproto.PP2_TYPE_UNIQUE_ID, Value: []byte("0123456789abcdef")}
	for name, c := range map[string]struct {
		header string
		plain  bool
	}{
		"version 1":                {"PROXY TCP4 198.51.100.7 192.0.2.1 4711 993\r\n", false},
		"version 2 says nothing":   {withRecords(t, other), false},
		"version 2 says TLS":       {withRecords(t, other, aboutTLS(t, tlvparse.PP2_BITFIELD_CLIENT_SSL)), false},
		"version 2 says that none": {withRecords(t, other, aboutTLS(t, 0)), true},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			defer near.Close()
			defer far.Close()
			go func() { _, _ = io.WriteString(near, c.header+"hello\n") }()
			got, err := behindProxy(context.Background(), far, patience)
			if err != nil {
				t.Fatal(err)
			}
			if plain := got.(interface{ Plain() bool }).Plain(); plain != c.plain || !strings.HasPrefix(got.RemoteAddr().String(), "198.51.100.7") {
				t.Errorf("%s without TLS: %v", got.RemoteAddr(), plain)
			}
		})
	}
}

// A header that ends within a record, or within what it says about TLS, is none.
func TestProxyBrokenRecords(t *testing.T) {
	for name, r := range map[string]proxyproto.TLV{
		"too short":      {Type: proxyproto.PP2_TYPE_SSL, Value: []byte{1}},
		"within a field": {Type: proxyproto.PP2_TYPE_SSL, Value: []byte{1, 0, 0, 0, 1, byte(proxyproto.PP2_SUBTYPE_SSL_VERSION), 0, 9}},
	} {
		near, far := net.Pipe()
		go func() { _, _ = io.WriteString(near, withRecords(t, r)) }()
		if _, err := behindProxy(context.Background(), far, patience); err == nil {
			t.Errorf("%s: it was taken", name)
		}
		_ = near.Close()
		_ = far.Close()
	}
}
