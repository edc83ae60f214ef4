package httpapi

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"mallard/internal/mail"
	"mallard/internal/search"
)

type everyKind struct {
	UserPath
	S     string          `api:"s,max=5,trim"`
	Blank *string         `api:"blank,blank"`
	Empty *string         `api:"empty,empty"`
	B     *bool           `api:"b"`
	BDef  bool            `api:"bdef,default=true"`
	N     *int64          `api:"n,min=-1,max=10"`
	T     *time.Time      `api:"t"`
	ID    *mail.MailboxID `api:"id,blank"`
	List  []string        `api:"list,max=2;max=3"`
	One   []string        `api:"one,single"`
	Sub   *orParams       `api:"sub"`
	Pass  *Password       `api:"pass,max=5"`
	Exp   *Expiry         `api:"exp"`
	Meta  *Meta           `api:"meta"`
	Raw   RawMessage      `api:"raw"`
	Order Order           `api:"order"`
	Page
	Session
}

func TestDecode(t *testing.T) {
	p := newPlan(reflect.TypeFor[everyKind]())
	const user = `"user":"5f0123456789abcdef012345"`
	for _, tc := range []struct{ name, in, want string }{
		{"nothing", `{}`, ``},
		{"string trimmed", `{"s":"  abc  "}`, ``},
		{"string too long, in UTF-16", `{"s":"😀😀😀"}`, `"s" length must be less than or equal to 5 characters long`},
		{"string empty", `{"s":" "}`, `"s" is not allowed to be empty`},
		{"string of a number", `{"s":1}`, `"s" must be a string`},
		{"string null", `{"s":null}`, `"s" must be a string`},
		{"blank", `{"blank":"","empty":"","id":"","b":""}`, ``},
		{"bools", `{"b":"yEs","bdef":0}`, ``},
		{"bool wrong", `{"b":"2","bdef":[]}`, `"b" must be a boolean. "bdef" must be a boolean`},
		{"numbers", `{"n":"1e1"}`, ``},
		{"number small", `{"n":-2}`, `"n" must be greater than or equal to -1`},
		{"number of nothing", `{"n":""}`, `"n" must be a number`},
		{"number hexadecimal", `{"n":"0x1"}`, `"n" must be a number`},
		{"number infinite", `{"n":"1e999"}`, `"n" must be a safe number`},
		{"number broken", `{"n":1.5}`, `"n" must be an integer`},
		{"dates", `{"t":"2026-01-02T03:04:05+02:00"}`, ``},
		{"date of ms", `{"t":"1700000000000"}`, ``},
		{"date too far", `{"t":1e300}`, `"t" must be a valid date`},
		{"id in capitals", `{"id":"5F0123456789ABCDEF012345"}`, ``},
		{"id short and no number", `{"id":"xyz"}`, `"id" must only contain hexadecimal characters. "id" length must be 24 characters long`},
		{"list", `{"list":["a","b","c"]}`, `"list" must contain less than or equal to 2 items`},
		{"list of wrong", `{"list":["aaaa",1]}`, `"list[0]" length must be less than or equal to 3 characters long. "list[1]" must be a string`},
		{"list of one", `{"list":"a"}`, `"list" must be an array`},
		{"single", `{"one":"a"}`, ``},
		{"sub", `{"sub":{"from":"x","nosuch":1}}`, `"sub.nosuch" is not allowed`},
		{"sub of text", `{"sub":"x"}`, `"sub" must be of type object`},
		{"passwords", `{"pass":false}`, ``},
		{"password true", `{"pass":true}`, `"pass" must be a string`},
		{"expiry", `{"exp":"off"}`, ``},
		{"expiry wrong", `{"exp":"soon"}`, `"exp" must be one of [date, boolean]`},
		{"meta", `{"meta":{"a":[1, {"b":null}]}}`, ``},
		{"meta as text", `{"meta":" {\"a\":1} "}`, ``},
		{"meta of a list", `{"meta":[1]}`, `"meta" failed custom validation because "value" must be of type object`},
		{"raw", `{"raw":{"type":"Buffer","data":[1,255]}}`, ``},
		{"raw wrong", `{"raw":{"type":"Buffer","data":[256]}}`, `"raw" must be a buffer or a string`},
		{"order", `{"order":7}`, ``},
		{"cursor", `{"next":""}`, `"Next page cursor" is not allowed to be empty`},
		{"session", `{"sess":"","ip":"::1"}`, ``},
		{"ip with a zone", `{"ip":"fe80::1%eth0"}`, `"Client IP" must be a valid ip address of one of the following versions [ipv4, ipv6] with a forbidden CIDR`},
		{"unknown in order", `{"z":1,"a":1}`, `"z" is not allowed. "a" is not allowed`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := strings.Replace(tc.in, "{", "{"+user+",", 1)
			v, err := parseJSON([]byte(strings.Replace(in, ",}", "}", 1)))
			must(t, err)
			var out everyKind
			got := ""
			if err := p.decode(v, &out, false); err != nil {
				got = err.(*Error).Message
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestDecodedValues(t *testing.T) {
	v, err := parseJSON([]byte(`{"user":"5f0123456789abcdef012345","s":" a ","b":"off","n":"1e1","t":1700000000000,"id":"5F0123456789ABCDEF012345",
		"one":"x","pass":false,"exp":"no","meta":{"b": 1,"a":"<"},"raw":{"type":"Buffer","data":[1,255]},"order":"asc","empty":"","blank":""}`))
	must(t, err)
	var out everyKind
	must(t, newPlan(reflect.TypeFor[everyKind]()).decode(v, &out, false))
	switch {
	case out.User.String() != "5f0123456789abcdef012345", out.S != "a", *out.B, !out.BDef, *out.N != 10, out.T.Unix() != 1700000000,
		out.ID.String() != out.User.String(), !reflect.DeepEqual(out.One, []string{"x"}), !out.Pass.None, !out.Exp.Time.IsZero(),
		*out.Meta != `{"b":1,"a":"<"}`, !bytes.Equal(out.Raw, []byte{1, 255}), !out.Order.Ascending, out.Limit != 20,
		out.Empty == nil, out.Blank != nil, out.List != nil:
		t.Errorf("got %+v", out)
	}
}

// FuzzParams holds the decoder to: no panic, no unbounded reply, and that JSON
// which is decoded gives the same as the standard library says.
func FuzzParams(f *testing.F) {
	for _, s := range []string{
		`{"username":"x","password":false,"tags":["a"],"mailboxes":{"sent":"a/b"},"metaData":"{}"}`, `[1]`, `null`, `"`, `{"a":`,
		`{"targets":["x@y.test","smtp://z"],"smimeCerts":["-----BEGIN CERTIFICATE-----"]}`, strings.Repeat("[", 100), `{"a":1}{}`,
		`{"from":{"name":"x"},"attachments":[{"content":"eA==","encoding":"hex"}],"reference":{"attachments":["ATT1"]}}`,
		"{\"a\":\"\xff\\ud800\"}", `{"next":"WyIxIiwiYSJd","limit":1e400}`,
	} {
		f.Add([]byte(s), s)
	}
	plans := []*plan{
		newPlan(reflect.TypeFor[createUserIn]()), newPlan(reflect.TypeFor[updateUserIn]()), newPlan(reflect.TypeFor[uploadIn]()),
		newPlan(reflect.TypeFor[searchIn]()), newPlan(reflect.TypeFor[everyKind]()), newPlan(reflect.TypeFor[updateForwardedIn]()),
	}
	f.Fuzz(func(t *testing.T, body []byte, query string) {
		v, err := parseJSON(body)
		if err == nil {
			if !json.Valid(body) {
				t.Fatalf("%q is no JSON", body)
			}
			again, merr := marshalValue(v)
			if merr != nil || !json.Valid(again) {
				t.Fatalf("%q became %q: %v", body, again, merr)
			}
		}
		form, qerr := parseQuery(query, len(body)%2 == 0)
		for _, p := range plans {
			for _, params := range []any{v, form} {
				if params == any(form) && qerr != nil {
					continue
				}
				err := p.decode(params, reflect.New(p.typ).Interface(), len(query)%2 == 0)
				if e, ok := err.(*Error); ok && (e.Status != 400 || e.Message == "" || len(e.Details.keys) == 0) {
					t.Fatalf("%+v", e)
				}
			}
		}
	})
}

func TestQuery(t *testing.T) {
	for _, tc := range []struct{ query, want string }{
		{"", `{}`},
		{"a=1&b=x+y%21&c", `{"a":"1","b":"x y!","c":""}`},
		{"a=1&a=2&a=3", `{"a":["1","2","3"]}`},
		{"a[]=1&a[]=2", `{"a":["1","2"]}`},
		{"a[1]=x&a[0]=y", `{"a":["x","y"]}`},
		{"a.b=1&a[c]=2&a.d.e=3", `{"a":{"b":"1","c":"2","d":{"e":"3"}}}`},
		{"to[0][address]=x&to[0][name]=n&to[1][address]=y", `{"to":[{"address":"x","name":"n"},{"address":"y"}]}`},
		{"a=1&a[b]=2", `{"a":{"b":"2"}}`},
		{"[a]=1&.b=2&c.=3&d[=4&e[f]g=5", `{"[a]":"1",".b":"2","c.":"3","d[":"4","e[f]g":"5"}`},
		{"%zz=%zz", `{"%zz":"%zz"}`},
		{"&&=x", `{"":"x"}`},
		{"a[999999999]=1", `{"a":{"999999999":"1"}}`},
	} {
		o, err := parseQuery(tc.query, true)
		must(t, err)
		got, err := marshalValue(o)
		must(t, err)
		if string(got) != tc.want {
			t.Errorf("%s: got %s, want %s", tc.query, got, tc.want)
		}
	}
}

func TestCursorRoundTrip(t *testing.T) {
	for _, c := range []Cursor{{1, []string{"a"}}, {2, []string{"x@y", "ü\x00"}}, {1 << 20, []string{"", "", ""}}} {
		got, ok := parseCursor(c.String())
		if !ok || !reflect.DeepEqual(got, c) {
			t.Errorf("%+v became %+v", c, got)
		}
	}
	for _, s := range []string{"", "abc", "W10", "WyIxIl0", "WyIwIiwiYSJd", "WyItMSIsImEiXQ", strings.Repeat("A", 1025), "WyI5OTk5OTk5OTk5OTk5IiwiYSJd"} {
		if c, ok := parseCursor(s); ok {
			t.Errorf("%q is %+v", s, c)
		}
	}
}

func TestRouter(t *testing.T) {
	var r router
	for _, p := range []string{"/a", "/a/:x", "/a/b/:x", "/a/:x/c", "/a/:x/c/:y"} {
		r.add(&Route{Method: "GET", Pattern: p})
	}
	r.add(&Route{Method: "PUT", Pattern: "/a/:x"})
	for _, tc := range []struct{ method, path, pattern, values, allow string }{
		{"GET", "/a", "/a", "", ""}, {"GET", "/a/", "/a/:x", "", ""}, {"GET", "/a/1", "/a/:x", "1", ""}, {"GET", "/a/b", "/a/:x", "b", ""},
		{"GET", "/a/b/c", "/a/b/:x", "c", ""}, {"GET", "/a/1/c", "/a/:x/c", "1", ""}, {"GET", "/a/b/c/d", "/a/:x/c/:y", "b,d", ""},
		{"GET", "/a/%2F%2f/c", "/a/:x/c", "//", ""}, {"GET", "/", "", "", ""}, {"GET", "/b", "", "", ""}, {"GET", "/a/1/c/", "/a/:x/c/:y", "1,", ""},
		{"PUT", "/a", "", "", "GET"}, {"DELETE", "/a/1", "", "", "GET,PUT"}, {"GET", "/a/%zz", "", "", ""}, {"GET", "a", "", "", ""},
		{"PUT", "/a/b/1", "", "", "GET"}, {"GET", "/a/" + strings.Repeat("x", 197), "", "", ""}, {"GET", "//a", "", "", ""},
	} {
		route, values, allow := r.find(tc.method, tc.path)
		pattern := ""
		if route != nil {
			pattern = route.Pattern
		}
		if pattern != tc.pattern || strings.Join(values, ",") != tc.values || strings.Join(allow, ",") != tc.allow {
			t.Errorf("%s %s: %q %q %q", tc.method, tc.path, pattern, values, allow)
		}
	}
}

func TestParseQ(t *testing.T) {
	box := &mail.Mailbox{Path: "INBOX"}
	junk := &mail.Mailbox{Path: "Spam folder", SpecialUse: mail.UseJunk}
	term := func(words ...string) search.Query {
		var w search.Words
		for _, s := range words {
			rest, neg := strings.CutPrefix(s, "-")
			w.Terms = append(w.Terms, search.Term{Text: rest, Exclude: neg})
		}
		return search.And{w, undeleted()}
	}
	subject := func(s string) search.Query { return search.Header{Field: "Subject", Contains: s} }
	quoted := func(s string) search.Query {
		return search.And{search.Or{search.Body(s), subject(s)}, undeleted()}
	}
	for _, tc := range []struct {
		q    string
		box  *mail.Mailbox
		want search.Query
	}{
		{"", box, nil}, {"  ", box, nil}, {"- ... ()", box, nil}, {"nosuch:abc", box, nil}, {`""`, box, nil}, {"OR AND OR", box, nil},
		{"whale", box, term("whale")},
		{"whale -penguin", box, term("whale", "-penguin")},
		{"whale AND penguin", box, search.And{term("whale"), term("penguin")}},
		{"whale OR penguin", box, search.Or{term("whale"), term("penguin")}},
		{"ORANGE", box, term("ORANGE")},
		{`"swim  fast"`, box, quoted("swim  fast")},
		{`"swim fast`, box, quoted("swim fast")},
		{"subject:news", box, subject("news")},
		{"SUBJECT: news", box, subject("news")},
		{`-subject:"a b"`, box, search.Not{Query: subject("a b")}},
		{"(whale OR penguin) subject:news", box, search.And{search.Or{term("whale"), term("penguin")}, subject("news")}},
		{"-(whale OR penguin)", box, search.Not{Query: search.Or{term("whale"), term("penguin")}}},
		{"((whale", box, term("whale")}, {"whale))", box, term("whale")},
		{"nosuch:abc whale", box, term("whale")},
		{"http://x.test/a:b", box, nil},
		{"10:30", box, term("10:30")},
		{"in:inbox", box, search.All{}}, {"in:inbox", junk, search.Or{}}, {"in: spam", junk, search.All{}}, {`in:"spam folder"`, junk, search.All{}},
		{"in:nothing", box, search.Or{}}, {"searchable:yes", junk, search.Or{}}, {"searchable:no", junk, nil},
		{"mailbox:xyz", box, nil}, {"thread:xyz", box, nil}, {"id:1:4", box, search.UIDs{{First: 1, Last: 4}}}, {"id:x", box, nil},
		{"minsize:10", box, search.Larger(9)}, {"maxsize:10", box, search.Smaller(11)}, {"minsize:x", box, nil},
		{"has:Attachments", box, search.HasAttachment{}}, {"has:nothing", box, nil},
		{"is:starred", box, search.Flags{Set: mail.Flagged}}, {"is:odd", box, nil}, {"flagged:0", box, nil},
		{"is:unread", box, search.Flags{Unset: mail.Seen | mail.Deleted}},
		{"after:2026-01-01", box, search.Arrived{From: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}}, {"before:soon", box, nil},
		{"to:a@b", box, search.Or{header("To", "a@b"), header("Cc", "a@b"), header("Bcc", "a@b")}},
	} {
		c := parseQ(tc.q, false)
		var got search.Query
		if c != nil {
			got = c(tc.box)
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %#v, want %#v", tc.q, got, tc.want)
		}
	}
}

// FuzzQ holds the parser to: no panic, an end, and a query that compiles or is
// refused.
func FuzzQ(f *testing.F) {
	for _, s := range []string{
		`whale -"a b" (x OR -y) from:"z" in: spam`, `((((((((`, `-`, `a:b:c`, `"`, `OR(OR)AND`, `id:1:* minsize:99999999999999999999`, "\xff(\u00a0-\u2028)",
		strings.Repeat("(", 5000), strings.Repeat("-(", 1000) + "x", "after:-1 before:1e15",
	} {
		f.Add(s, true)
	}
	box := &mail.Mailbox{Path: "INBOX"}
	f.Fuzz(func(t *testing.T, q string, every bool) {
		if len(q) > 1<<14 {
			return
		}
		c := parseQ(q, every)
		if c == nil {
			return
		}
		if _, err := search.Compile(c(box), search.Limits{}); err != nil && len(q) < 1024 && !strings.Contains(err.Error(), "too") && !strings.Contains(err.Error(), "most") {
			t.Errorf("%q: %v", q, err)
		}
	})
}
