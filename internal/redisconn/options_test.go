package redisconn

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"
)

// text writes down what was understood.
func text(o Options) string {
	tlsText := func(c *tls.Config) string {
		if c == nil {
			return ""
		}
		return fmt.Sprintf("tls(%s,%t)", c.ServerName, c.InsecureSkipVerify)
	}
	return strings.Join(strings.Fields(fmt.Sprint(o.Network, " ", o.Addr, " user=", o.Username, " password=", o.Password, " db=", o.DB, " ", tlsText(o.TLS), " ",
		o.Master, o.Sentinels, o.SentinelUsername, o.SentinelPassword, tlsText(o.SentinelTLS), " ", o.PoolSize, o.Timeout, o.DialTimeout)), " ")
}

func TestParse(t *testing.T) {
	type keys = map[string]any
	for _, tc := range []struct {
		value any
		want  string
	}{
		{nil, "tcp 127.0.0.1:6379 user= password= db=3 [] 0 0s 0s"},
		{keys{}, "tcp 127.0.0.1:6379 user= password= db=3 [] 0 0s 0s"},
		{"redis://127.0.0.1:6379/3", "tcp 127.0.0.1:6379 user= password= db=3 [] 0 0s 0s"},
		{"redis://redis.example.com", "tcp redis.example.com:6379 user= password= db=0 [] 0 0s 0s"},
		{"redis://:s%40crt@[::1]:7000/12", "tcp [::1]:7000 user= password=s@crt db=12 [] 0 0s 0s"},
		{"redis://me:pw@h/?db=4", "tcp h:6379 user=me password=pw db=4 [] 0 0s 0s"},
		{"rediss://h:7000/1", "tcp h:7000 user= password= db=1 tls(h,false) [] 0 0s 0s"},
		{"unix:///run/redis.sock?db=2", "unix /run/redis.sock user= password= db=2 [] 0 0s 0s"},
		{keys{"host": "h", "port": int64(7000), "db": int64(0), "password": "pw", "username": "me", "family": int64(4)},
			"tcp4 h:7000 user=me password=pw db=0 [] 0 0s 0s"},
		{keys{"path": "/run/redis.sock"}, "unix /run/redis.sock user= password= db=3 [] 0 0s 0s"},
		{keys{"host": "h", "tls": true}, "tcp h:6379 user= password= db=3 tls(h,false) [] 0 0s 0s"},
		{keys{"host": "h", "tls": false}, "tcp h:6379 user= password= db=3 [] 0 0s 0s"},
		{keys{"tls": keys{"servername": "other", "rejectUnauthorized": false}}, "tcp 127.0.0.1:6379 user= password= db=3 tls(other,true) [] 0 0s 0s"},
		{keys{"poolSize": int64(7), "connectTimeout": int64(200), "commandTimeout": int64(300)}, "tcp 127.0.0.1:6379 user= password= db=3 [] 7 300ms 200ms"},
		{keys{"name": "mymaster", "password": "pw", "sentinelPassword": "spw", "sentinels": []any{keys{"host": "a"}, keys{"host": "b", "port": int64(1)}}},
			"tcp 127.0.0.1:6379 user= password=pw db=3 mymaster[a:26379 b:1]spw 0 0s 0s"},
		{keys{"name": "mymaster", "sentinels": []map[string]any{{"host": "a"}}, "tls": true, "sentinelTLS": true, "enableTLSForSentinelMode": true},
			"tcp 127.0.0.1:6379 user= password= db=3 tls(,false) mymaster[a:26379]tls(,false) 0 0s 0s"},
		{keys{"role": "", "keyPrefix": ""}, "tcp 127.0.0.1:6379 user= password= db=3 [] 0 0s 0s"},
	} {
		o, err := Parse(tc.value)
		if got := text(o); err != nil || got != tc.want {
			t.Errorf("%v:\n got %s, %v\nwant %s", tc.value, got, err, tc.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	type keys = map[string]any
	for _, tc := range []struct {
		value any
		want  []string
	}{
		{12, []string{"dbs.redis:", "URL"}},
		{"http://h", []string{"dbs.redis:", "not a URL"}},
		{"redis://:secret@h:x/3", []string{"dbs.redis:"}},
		{"redis://:secret@h:0/3", []string{"dbs.redis:", `"0" is not a port`}},
		{"redis://:secret@h/three", []string{"dbs.redis:", `"three"`}},
		{"redis://:secret@h/-1", []string{"dbs.redis:", `"-1"`}},
		{"redis://:secret@h/1?pool=3", []string{"dbs.redis:", `"pool"`, "table"}},
		{"unix://", []string{"dbs.redis:", "socket"}},
		{keys{"port": int64(70000)}, []string{"dbs.redis.port:", "1 to 65535"}},
		{keys{"port": "6379"}, []string{"dbs.redis.port:", "number"}},
		{keys{"db": int64(-1), "host": 3}, []string{"dbs.redis.db:", "dbs.redis.host:"}},
		{keys{"hots": "h", "password": "secret"}, []string{"dbs.redis.hots: unknown key", "host, port"}},
		{keys{"keyPrefix": "wd:"}, []string{"dbs.redis.keyPrefix:", "no prefix"}},
		{keys{"role": "slave"}, []string{"dbs.redis.role:", "master"}},
		{keys{"name": "mymaster"}, []string{"dbs.redis.sentinels:"}},
		{keys{"sentinels": []any{keys{"host": "h"}}}, []string{"dbs.redis.name:"}},
		{keys{"name": "m", "sentinels": []any{}}, []string{"dbs.redis.sentinels:", "list"}},
		{keys{"name": "m", "sentinels": []any{keys{"port": int64(1)}, "b", keys{"host": "h", "x": 1}}},
			[]string{"dbs.redis.sentinels.1.host:", "dbs.redis.sentinels.2.host:", "dbs.redis.sentinels.3.x:"}},
		{keys{"name": "m", "sentinels": []any{keys{"host": "h"}}, "tls": true}, []string{"dbs.redis.enableTLSForSentinelMode:"}},
		{keys{"tls": "yes"}, []string{"dbs.redis.tls:"}},
		{keys{"tls": keys{"ca": "/does/not/exist"}}, []string{"dbs.redis.tls.ca:", "no such file"}},
		{keys{"tls": keys{"ca": "-----BEGIN nothing"}}, []string{"dbs.redis.tls.ca:", "no certificate"}},
		{keys{"tls": keys{"cert": "-----BEGIN nothing"}}, []string{"dbs.redis.tls.cert:", "pair"}},
		{keys{"tls": keys{"ciphers": "x"}}, []string{"dbs.redis.tls.ciphers: unknown key"}},
	} {
		_, err := Parse(tc.value)
		if err == nil {
			t.Errorf("%v: no error", tc.value)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v: does not say %q", tc.value, err, want)
			}
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: %v: shows the password", tc.value, err)
		}
		checked := Check(tc.value)
		if tc.want[0] == "dbs.redis.tls.ca:" || tc.want[0] == "dbs.redis.tls.cert:" {
			if checked != nil {
				t.Errorf("%v: Check looked at a certificate: %v", tc.value, checked)
			}
			continue
		}
		if checked == nil || checked.Error() != err.Error() {
			t.Errorf("%v: Check says %v, Parse %v", tc.value, checked, err)
		}
	}
}

func TestOpenNeedsAServer(t *testing.T) {
	for _, o := range []Options{{}, {Sentinels: []string{"a:1"}}} {
		if c, err := Open(o); err == nil {
			_ = c.Close()
			t.Errorf("%+v: no error", o)
		}
	}
	if DefaultTimeout > 2*time.Second {
		t.Error("a login must not wait long for Redis")
	}
}
