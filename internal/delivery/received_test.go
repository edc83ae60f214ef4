package delivery

import "testing"

func TestLastReceived(t *testing.T) {
	for _, tt := range []struct {
		header string
		want   received
	}{
		// What WildDuck makes of it, recorded: the words end at white space alone.
		{"Received: from a.remote.test (a.remote.test [192.0.2.7]) by b.remote.test with ESMTPS id QID1; Mon, 02 Feb 2026 10:00:00 +0200\r\n" +
			"Received: from c.remote.test by a.remote.test with SMTP id QID2;\r\n Mon, 02 Feb 2026 09:59:00 +0200\r\n\r\n", received{"a.remote.test", "ESMTPS", "QID1;"}},
		{"Subject: x\r\n\r\nReceived: from a with b id c\r\n", received{}},
		{"received: FROM a\r\n\tBY b\r\nX: y\r\nReceived: from c with SMTP id d\r\nReceived: id e\r\n\r\n", received{"c", "SMTP", "d"}},
		{"Received: by b\r\nReceived: by c\r\nReceived: id e\r\n\r\n", received{}},
		{"Received: (from x by y with z id w) by b (nested (id x) id y) id z; date\r\n\r\n", received{id: "z;"}},
		{"Received: from\r\n\r\n", received{}},
		{"Received: from from with with\r\n\r\n", received{from: "from", with: "with"}},
		{"Received: )) from a ((\r\n\r\n", received{from: "a"}},
	} {
		if got := lastReceived([]byte(tt.header)); got != tt.want {
			t.Errorf("%q: %+v, want %+v", tt.header, got, tt.want)
		}
	}
}
