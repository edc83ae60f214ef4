package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeHeader(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"},
		{"folded\r\n text", "folded text"},
		{"folded\n\ttext", "folded\ttext"},
		{"=?utf-8?Q?Gr=C3=BC=C3=9Fe?= =?utf-8?Q?_aus?= K=?iso-8859-1?Q?=F6?=ln", "Grüße aus Köln"},
		{"=?utf-8?Q?a=C3?= =?utf-8?Q?=B5b?= plain", "aõb plain"},
		{"=?UTF-8?B?w7w=?=\r\n =?utf-8?b?w7Y?=", "üö"},
		{"=?utf-8?B?4oI=?= =?utf-8?B?rA==?=", "€"},
		{"=?utf-8*en?q?x?=", "x"},
		{"=?utf-8?Q?with space inside?= tail", "with space inside tail"},
		{"=?utf-8?Q?What?=20now?=", "What? now"},
		{"=?windows-1252?Q?=80?=", "€"},
		{"=?iso-8859-1?Q?=80?=", "€"},
		{"=?koi8-r?B?8NLJ18XU?=", "Привет"},
		{"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"},
		{"=?gb2312?B?1tDOxA==?=", "中文"},
		{"=?x-none?Q?odd=E9?=", "oddé"},
		{"=?utf-8?X?y?=", "=?utf-8?X?y?="},
		{"=?utf-8?Q?open", "=?utf-8?Q?open"},
		{"=?=?utf-8?Q?x?=", "=?x"},
		{"=?utf-8?Q??=", ""},
		{"a =?utf-8?Q?b?= c", "a b c"},
		{"caf\xe9 \x80", "café €"},
		{"café", "café"},
		{"nul\x00cr\rtab\t", "nul cr tab\t"},
		{"=?utf-8?Q?inject=0D=0ABcc:_x?=", "inject  Bcc: x"},
		{"=?utf-7?Q?+AOQ-?=", "ä"},
		{`"=?utf-8?Q?quoted?="`, `"quoted"`},
	} {
		if got := DecodeHeader([]byte(c.in)); got != c.want {
			t.Errorf("DecodeHeader(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestParseAddressList(t *testing.T) {
	m := func(name, mailbox, host string) Address { return Address{Name: name, Mailbox: mailbox, Host: host} }
	start := func(name string) Address { return Address{Kind: GroupStart, Name: name} }
	end := Address{Kind: GroupEnd}
	for _, c := range []struct {
		in   string
		want []Address
	}{
		{"", nil},
		{" , ,, ", nil},
		{"a@b.c", []Address{m("", "a", "b.c")}},
		{"A B <a@b.c>", []Address{m("A B", "a", "b.c")}},
		{`"B, A" <a@b.c>, x@y`, []Address{m("B, A", "a", "b.c"), m("", "x", "y")}},
		{`"a \"q\" \\ b" <a@b>`, []Address{m(`a "q" \ b`, "a", "b")}},
		{"a@b (Comment (nested))", []Address{m("Comment (nested)", "a", "b")}},
		{"(c) A (d) <a@b> (e)", []Address{m("A", "a", "b")}},
		{`"quoted local"@b.c`, []Address{m("", "quoted local", "b.c")}},
		{`<"a b"@c>`, []Address{m("", "a b", "c")}},
		{`<"a@b"@c>`, []Address{m("", "a@b", "c")}},
		{"<a@b@c>", []Address{m("", "a@b", "c")}},
		{"<@r1,@r2:a@b>", []Address{{Route: "@r1,@r2", Mailbox: "a", Host: "b"}}},
		{"Team: a@b, B <c@d>;, e@f", []Address{start("Team"), m("", "a", "b"), m("B", "c", "d"), end, m("", "e", "f")}},
		{"Empty(c): (none) ; (end), (alone)", []Address{start("Empty"), end}},
		{"(alone), a@b", []Address{m("alone", "", ""), m("", "a", "b")}},
		{"undisclosed-recipients:;", []Address{start("undisclosed-recipients"), end}},
		{`"Friends (all)": x@y;`, []Address{start("Friends (all)"), m("", "x", "y"), end}},
		{"Open: a@b", []Address{start("Open"), m("", "a", "b"), end}},
		{"a@b; c@d", []Address{m("", "a", "b"), m("", "c", "d")}},
		{"not an address", []Address{m("not an address", "", "")}},
		{"root", []Address{m("", "root", "")}},
		{"root (Charlie)", []Address{m("root", "", "")}},
		{"<>", []Address{m("", "", "")}},
		{"Name <>", []Address{m("Name", "", "")}},
		{"Name <user>", []Address{m("Name", "user", "")}},
		{`"only name"`, []Address{m("only name", "", "")}},
		{"John john@x.y", []Address{m("John", "john", "x.y")}},
		{"a . b @ c . d", []Address{m("", "a.b", "c.d")}},
		{"a@[192.0.2.1]", []Address{m("", "a", "[192.0.2.1]")}},
		{"=?utf-8?Q?Smith,_John?= <a@b>", []Address{m("=?utf-8?Q?Smith,_John?=", "a", "b")}},
		{"=?utf-8?Q?A?=\r\n =?utf-8?Q?B?= <a@b>", []Address{m("=?utf-8?Q?A?= =?utf-8?Q?B?=", "a", "b")}},
		{"<a@b, <c@d>", []Address{m("", "a", "b"), m("", "c", "d")}},
		{"<smith,john@b>", []Address{m("", "smith,john", "b")}},
		{"A <a@b", []Address{m("A", "a", "b")}},
		{"A <a@b> trailing, x@y", []Address{m("A trailing", "a", "b"), m("", "x", "y")}},
		{"J\xfcrg <a@b>", []Address{m("J\xfcrg", "a", "b")}},
		{`"open <a@b>`, []Address{m(`open <a@b>`, "", "")}},
		{"J. R. R. Tolkien <t@b>", []Address{m("J. R. R. Tolkien", "t", "b")}},
		{"a@b <a@b>", []Address{m("a@b", "a", "b")}},
		{"@", []Address{m("", "", "")}},
		{">", []Address{m("", ">", "")}},
	} {
		if d := cmp.Diff(c.want, ParseAddressList([]byte(c.in))); d != "" {
			t.Errorf("ParseAddressList(%q): (-want +got)\n%s", c.in, d)
		}
	}
}

func TestParseDate(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"Mon, 02 Feb 2026 10:01:05 +0200", "2026-02-02T10:01:05+02:00"},
		{"2 Feb 26 10:01 EST", "2026-02-02T10:01:00-05:00"},
		{"Mon, 2 Feb 1998 10:01:05 -0000 (comment (nested))", "1998-02-02T10:01:05Z"},
		{"Fri, 21 Nov 97 09(comment):   55  :  06 -0600", "1997-11-21T09:55:06-06:00"},
		{"21 Nov 97 09:55:06 GMT", "1997-11-21T09:55:06Z"},
		{"Sunday, 06-Nov-94 08:49:37 GMT", "1994-11-06T08:49:37Z"},
		{"Sun Nov  6 08:49:37 1994", "1994-11-06T08:49:37Z"},
		{"Sun Nov  6 08:49:37 PST 1994", "1994-11-06T08:49:37-08:00"},
		{"Sun Nov 06 1994 08:49:37 GMT+0200 (CEST)", "1994-11-06T08:49:37+02:00"},
		{"2026-02-02T10:01:05Z", "2026-02-02T10:01:05Z"},
		{"2026-02-02T10:01:05.123+05:30", "2026-02-02T10:01:05+05:30"},
		{"2026-02-02 10:01:05 +0100", "2026-02-02T10:01:05+01:00"},
		{"2026-02-02", "2026-02-02T00:00:00Z"},
		{"2 February 2026", "2026-02-02T00:00:00Z"},
		{"2 Feb 2026 11:59:01 PM", "2026-02-02T23:59:01Z"},
		{"2 Feb 2026 12:00:00 AM +0000", "2026-02-02T00:00:00Z"},
		{"Mon,02 Feb 2026 10:01:05+0200", "2026-02-02T10:01:05+02:00"},
		{"2 Feb 2026 23:59:60 +0000", "2026-02-03T00:00:00Z"},
		{"2 Feb 2026 10:00:00 +9999", "2026-02-02T10:00:00Z"},
		{"2 Feb 103 10:00:00", "2003-02-02T10:00:00Z"},
		{"31 Feb 2026 10:00:00", "2026-03-03T10:00:00Z"},
		{"2 Feb 2026 25:00:00", ""},
		{"garbage date", ""},
		{"nonsense", ""},
		{"", ""},
		{"10:00:00", ""},
		{"Feb 2026", ""},
		{"2 Feb", ""},
		{"99 Feb 2026", ""},
	} {
		got, ok := ParseDate(c.in)
		if c.want == "" {
			if ok {
				t.Errorf("ParseDate(%q) = %v, want none", c.in, got)
			}
			continue
		}
		if s := got.Format(time.RFC3339); !ok || s != c.want {
			t.Errorf("ParseDate(%q) = %s %v, want %s", c.in, s, ok, c.want)
		}
	}
}

func TestSubjects(t *testing.T) {
	for _, c := range []struct {
		in, base, thread string
		reply            bool
	}{
		{"plan", "plan", "plan", false},
		{"Re: plan", "plan", "plan", true},
		{"re : fw: FWD:  plan (fwd) (FWD)", "plan", "plan", true},
		{"[list] RE: Fwd: Project [x] plan (fwd)", "Project [x] plan", "Project [x] plan", true},
		{"[a] [b] plan", "plan", "plan", false},
		{"[a][b]", "[b]", "[a][b]", false},
		{"[x]", "[x]", "[x]", false},
		{"Re[2]: plan", "plan", "Re[2]: plan", true},
		{"Re [x]: plan", "plan", "Re [x]: plan", true},
		{"[fwd: plan]", "plan", "[fwd: plan]", true},
		{"[Fwd: Re: plan]", "plan", "[Fwd: Re: plan]", true},
		{"SV: plan", "SV: plan", "SV: plan", false},
		{"Re:", "", "", true},
		{"", "", "", false},
		{" a\t b\r\n c ", "a b c", "a b c", false},
		{"remove", "remove", "remove", false},
		{"[tag]text", "text", "[tag]text", false},
	} {
		base, reply := BaseSubject(c.in)
		if base != c.base || reply != c.reply {
			t.Errorf("BaseSubject(%q) = %q %v, want %q %v", c.in, base, reply, c.base, c.reply)
		}
		if got := ThreadSubject(c.in); got != c.thread {
			t.Errorf("ThreadSubject(%q) = %q, want %q", c.in, got, c.thread)
		}
	}
}

func TestMessageIDs(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"<a@b>", []string{"<a@b>"}},
		{"<a@b> <c@d>\t<e@f>", []string{"<a@b>", "<c@d>", "<e@f>"}},
		{`Your message of "Mon" <a@b> (x)`, []string{"<a@b>"}},
		{"<a@b <c@d>", []string{"<c@d>"}},
		{"<a @\tb>", []string{"<a@b>"}},
		{"a@b c@d", []string{"<a@b>", "<c@d>"}},
		{"words only", nil},
		{"<> <a>", []string{"<a>"}},
		{"<open@x", nil},
	} {
		if d := cmp.Diff(c.want, MessageIDs(c.in)); d != "" {
			t.Errorf("MessageIDs(%q): (-want +got)\n%s", c.in, d)
		}
	}
	many := MessageIDs(strings.Repeat("<a@b>", 1000) + "<last@x>")
	if len(many) != maxReferences || many[len(many)-1] != "<last@x>" {
		t.Errorf("a thousand ids gave %d, last %s", len(many), many[len(many)-1])
	}
}

func TestParseMediaType(t *testing.T) {
	p := func(kv ...string) (out []Param) {
		for i := 0; i < len(kv); i += 2 {
			out = append(out, Param{kv[i], kv[i+1]})
		}
		return out
	}
	for _, c := range []struct {
		in, value string
		params    []Param
	}{
		{"text/plain", "text/plain", nil},
		{"Text/Plain; Charset=UTF-8", "Text/Plain", p("CHARSET", "UTF-8")},
		{"text/plain;charset=\"utf-8\";format=flowed", "text/plain", p("CHARSET", "utf-8", "FORMAT", "flowed")},
		{"text/plain (c) ; (c) charset=us-ascii (Plain text)", "text/plain", p("CHARSET", "us-ascii")},
		{"text / plain; a=b", "text/plain", p("A", "b")},
		{"text/html charset=utf-8", "text/html", p("CHARSET", "utf-8")},
		{`text/plain; charset="utf-8" name="a b"`, "text/plain", p("CHARSET", "utf-8", "NAME", "a b")},
		{"text/plain; charset=utf-8 name=x", "text/plain", p("CHARSET", "utf-8", "NAME", "x")},
		{"a/b; name=my file.pdf; size=1", "a/b", p("NAME", "my file.pdf", "SIZE", "1")},
		{`a/b; name="a;b \"c\" \\"`, "a/b", p("NAME", `a;b "c" \`)},
		{`a/b; name="open`, "a/b", p("NAME", "open")},
		{"a/b; x; ;; y=", "a/b", p("Y", "")},
		{"a/b; =v; k=w", "a/b", p("K", "w")},
		{"a/b; boundary=one; BOUNDARY=two", "a/b", p("BOUNDARY", "two")},
		{"attachment; filename*0=\"long\"; filename*1=\"name.png\"", "attachment", p("FILENAME", "longname.png")},
		{"attachment; filename*1=b; filename*0=a; filename*3=d", "attachment", p("FILENAME", "ab")},
		{"attachment; filename*0*=UTF-8'en'%C3%B5ne; filename*1*=%20two; filename*2=.bin'", "attachment", p("FILENAME*", "UTF-8'en'%C3%B5ne%20two.bin%27")},
		{"attachment; filename*=utf-8''x%20y", "attachment", p("FILENAME*", "utf-8''x%20y")},
		{"attachment; f*0=a; f*1*=%20b", "attachment", p("F*", "''a%20b")},
		{"attachment; f*1*=b", "attachment", p("F*", "''b")},
		{"attachment; f*x=b", "attachment", p("F*X", "b")},
		{"", "", nil},
		{";", "", nil},
		{`"text/plain"; a=b`, `"text/plain"`, p("A", "b")},
	} {
		value, params := parseMediaType(c.in, 128)
		if value != c.value || cmp.Diff(c.params, params) != "" {
			t.Errorf("parseMediaType(%q) = %q %v, want %q %v", c.in, value, params, c.value, c.params)
		}
	}
}

func TestFilename(t *testing.T) {
	for _, c := range []struct{ header, want string }{
		{"Content-Disposition: attachment; filename=\"=?iso-8859-1?Q?gr=FC=DF.png?=\"", "grüß.png"},
		{"Content-Disposition: attachment; filename*=utf-8''b%C3%A4r%2epng; filename=bar.png", "bär.png"},
		{"Content-Type: a/b; name*=''plain%20name", "plain name"},
		{"Content-Type: a/b; name=\"caf\xe9\"", "café"},
		{"Content-Type: a/b; name*0*=iso-8859-1''%E4; name*1*=%F6", "äö"},
		{"Content-Type: a/b; name=n\r\nContent-Disposition: attachment", "n"},
		{"Content-Type: a/b; name*=broken", "broken"},
	} {
		m, _ := ParseBytes([]byte(c.header+"\r\n\r\n"), Limits{})
		if got := m.Root.Filename(); got != c.want {
			t.Errorf("%q: file name %q, want %q", c.header, got, c.want)
		}
	}
}

func TestHeaderFields(t *testing.T) {
	const header = "From nobody\r\nSubject: a\r\n b\r\nX-Y : 1\r\nsubject:c\nno colon\r\n folded\r\nTo:x\r\n\r\nrest: not\r\n"
	for _, c := range []struct {
		names []string
		not   bool
		want  string
	}{
		{[]string{"SUBJECT"}, false, "Subject: a\r\n b\r\nsubject:c\n\r\n"},
		{[]string{"x-y", "to"}, false, "X-Y : 1\r\nTo:x\r\n\r\n"},
		{[]string{"none"}, false, "\r\n"},
		{nil, false, "\r\n"},
		{[]string{""}, false, "\r\n"},
		{[]string{"Subject", "X-Y"}, true, "From nobody\r\nno colon\r\n folded\r\nTo:x\r\n\r\n"},
		{nil, true, header[:strings.Index(header, "rest")]},
	} {
		if got := string(AppendHeaderFields(nil, []byte(header), c.names, c.not)); got != c.want {
			t.Errorf("%q not=%v: %q, want %q", c.names, c.not, got, c.want)
		}
	}
	if got := string(AppendHeaderFields([]byte("x"), []byte("A: b"), []string{"a"}, false)); got != "xA: b\r\n\r\n" {
		t.Errorf("header without line end: %q", got)
	}
	if v, ok := HeaderField([]byte(header), "SubJect"); v != "c" || !ok {
		t.Errorf("HeaderField = %q %v", v, ok)
	}
	if _, ok := HeaderField([]byte(header), "rest"); ok {
		t.Error("a field was found behind the header")
	}
	names := []string{"subject", "to"}
	dst := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { dst = AppendHeaderFields(dst[:0], []byte(header), names, false) }); n > 0 {
		t.Errorf("AppendHeaderFields allocates %v times", n)
	}
}

func TestTransferDecoding(t *testing.T) {
	for _, c := range []struct{ encoding, in, want string }{
		{"base64", "QUJD", "ABC"},
		{"Base64", "QU\r\nJD\r\n", "ABC"},
		{"base64", "QUI=", "AB"},
		{"base64", "QUI", "AB"},
		{"base64", "QQ==", "A"},
		{"base64", "Q", ""},
		{"base64", "QQ==QkI=", "ABB"},
		{"base64", "Q!U J\tD*", "ABC"},
		{"base64", "", ""},
		{"quoted-printable", "a=C3=BCb", "aüb"},
		{"quoted-printable", "a=c3=bcb", "aüb"},
		{"quoted-printable", "soft=\r\nbreak", "softbreak"},
		{"quoted-printable", "soft=  \t\r\nbreak", "softbreak"},
		{"quoted-printable", "soft=\nbreak", "softbreak"},
		{"quoted-printable", "trail  \t\r\nnext \n", "trail\r\nnext\n"},
		{"quoted-printable", "in  side", "in  side"},
		{"quoted-printable", "a=b =XY =4", "a=b =XY =4"},
		{"quoted-printable", "a=", "a"},
		{"quoted-printable", "==41", "=A"},
		{"quoted-printable", "a\r\r\nb", "a\r\nb"},
		{"7bit", "a=41", "a=41"},
		{"x-unknown", "a=41", "a=41"},
	} {
		for name, r := range map[string]io.Reader{
			"whole": strings.NewReader(c.in), "octets": iotest.OneByteReader(strings.NewReader(c.in)),
		} {
			got, err := io.ReadAll(NewDecoder(c.encoding, r))
			if err != nil || string(got) != c.want {
				t.Errorf("%s %q (%s) = %q %v, want %q", c.encoding, c.in, name, got, err, c.want)
			}
		}
	}
	if _, err := io.ReadAll(NewDecoder("base64", iotest.ErrReader(io.ErrClosedPipe))); err != io.ErrClosedPipe {
		t.Errorf("error of the reader came as %v", err)
	}
}

func TestTextOf(t *testing.T) {
	for _, c := range []struct{ name, header, body, want string }{
		{"plain", "Content-Type: text/plain", "a\r\nb", "a\r\nb"},
		{"no charset, utf-8", "", "gr\xc3\xbcn", "grün"},
		{"no charset, 8-bit", "", "gr\xfcn \x80", "grün €"},
		{"mixed", "Content-Type: text/plain; charset=utf-8", "\xc3\xbc \xfc", "ü ü"},
		{"cut character", "", "a\xe2\x82", "aâ‚"},
		{"charset in quotes", "Content-Type: text/plain; charset='KOI8-R'", "\xf0\xd2", "Пр"},
		{"misspelt", "Content-Type: text/plain; charset=cp-1251", "\xcf\xf0", "Пр"},
		{"utf-16", "Content-Type: text/plain; charset=utf-16le", "a\x00\xfc\x00", "aü"},
		{"utf-16 with mark", "Content-Type: text/plain; charset=utf-16", "\xfe\xff\x00a\x00\xfc", "aü"},
		{"utf-8 with mark", "Content-Type: text/plain; charset=utf-8", "\xef\xbb\xbfa", "a"},
		{"utf-7", "Content-Type: text/plain; charset=utf-7", "a +- +AOQ-b +2D3eAA- c", "a + äb 😀 c"},
		{"base64", "Content-Transfer-Encoding: base64", "Z3LDvG4=", "grün"},
		{"flowed", "Content-Type: text/plain; format=flowed", "one \r\ntwo\r\n> a \r\n> b\r\n>> c\r\n stuffed\r\n-- \r\nsig", "one two\n> a b\n>> c\nstuffed\n-- \nsig"},
		{"delsp", "Content-Type: text/plain; format=flowed; delsp=yes", "one \r\ntwo", "onetwo"},
		{"flowed, depth changes", "Content-Type: text/plain; format=flowed", "> a \r\nb", "> a \nb"},
		{"html", "Content-Type: text/html", "<p>a &amp;&nbsp;b<br>c</p><style>x{}</style><div>d</div>", "a & b\nc\n\nd\n"},
		{"html link", "Content-Type: text/html", `<a href="https://x.test/?a=1&amp;b=2">text</a>`, "text [https://x.test/?a=1&b=2]"},
		{"html image", "Content-Type: text/html", `a<img alt="p &lt; q" src=x>b<IMG ALT=z>`, "ap < qbz"},
		{"html script", "Content-Type: text/html", "a<SCRIPT>if (a</b) x='</scrip>'</Script >b<!-- c > d -->e<!-->f", "abef"},
		{"html odd", "Content-Type: text/html", "1 < 2 & 3 &bogus; &#65;&#x42; <a title='>'>x</a><", "1 < 2 & 3 &bogus; AB x<"},
		{"html pre", "Content-Type: text/html", "<pre>a\n  b</pre>c  d", "a\n  b\nc d"},
		{"html list", "Content-Type: text/html", "<ul><li>a<li>b</ul>", "* a\n* b\n"},
		{"html ordered", "Content-Type: text/html", "<ol><li>a<ul><li>x</ul><li>b</ol><li>c", "1. a\n\n* x\n\n2. b\n\n* c"},
		{"html table", "Content-Type: text/html", "<table><tr><td>a<td>b</tr><tr><td>c</table>", "a b\nc\n"},
		{"html title", "Content-Type: text/html", "<head><title>t</title></head><body>a", "a"},
	} {
		m, _ := ParseBytes([]byte(c.header+"\r\n\r\n"), Limits{})
		for name, r := range map[string]io.Reader{
			"whole": strings.NewReader(c.body), "octets": iotest.OneByteReader(strings.NewReader(c.body)),
		} {
			got, err := TextOf(m.Root, r, 1000)
			if err != nil || got != c.want {
				t.Errorf("%s (%s): %q %v, want %q", c.name, name, got, err, c.want)
			}
		}
	}
	p := &Part{Type: "TEXT", Subtype: "HTML", Encoding: "QUOTED-PRINTABLE"}
	if got, err := HTMLOf(p, strings.NewReader("<p>gr=FCn=\r\n</p>"), 100); got != "<p>grün</p>" || err != nil {
		t.Errorf("HTMLOf = %q %v", got, err)
	}
	if got, err := HTMLOf(p, strings.NewReader("gr=FCn"), 3); got != "gr" || err != nil {
		t.Errorf("HTMLOf cut = %q %v", got, err)
	}
	if _, err := TextOf(p, iotest.ErrReader(io.ErrClosedPipe), 3); err == nil {
		t.Error("the error of the reader was lost")
	}
}

// What a preview is made of may end where the preview is settled, and not before.
func TestIntroIsSettled(t *testing.T) {
	words := strings.Repeat("word ", 40)
	for _, c := range []struct {
		in   string
		want bool
	}{
		{"", false},
		{words, false}, // the line may go on and be a ruler, or so
		{words + "\n", true},
		{"> " + words + "\n" + words, false},
		{"a [" + words + "\n" + words + "\n", false}, // it may close
		{"a [b] " + words + "\nx", true},
		{strings.Repeat("x", 127) + "\n", false},
		{strings.Repeat("x", 128) + "\n", false}, // a ruler
		{"y" + strings.Repeat("x", 126) + "\n", false},
		{"y" + strings.Repeat("x", 127) + "\n", true},
	} {
		if got := IntroIsSettled(c.in); got != c.want {
			t.Errorf("IntroIsSettled(%q) = %v", c.in, got)
		}
		if c.want && Intro(c.in[:strings.LastIndexByte(c.in, '\n')+1]+"more]\n") != Intro(c.in) {
			t.Errorf("%q: the preview depends on what follows", c.in)
		}
	}
}

func TestIntro(t *testing.T) {
	long := strings.Repeat("word ", 60)
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"a\r\n\r\n b\tc ", "a b c"},
		{"> quoted\n=====\n[link] text [more] here\n\n-- \nend", "text here end"},
		{"[a\nb] c", "c"},
		{"a [open", "a [open"},
		{"x", "x"},
		{"**", ""},
		{long, strings.TrimSuffix(strings.Repeat("word ", 25), " ") + "…"},
		{strings.Repeat("ä", 127) + "b", strings.Repeat("ä", 127) + "b"},
		{strings.Repeat("ä", 128) + "b", strings.Repeat("ä", 128) + "…"},
		{"a\u200b\u00ad\u034f b\u00a0c", "a b c"},
	} {
		if got := Intro(c.in); got != c.want {
			t.Errorf("Intro(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestAppendString(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", `""`}, {"a", `"a"`}, {`a"b\c`, `"a\"b\\c"`}, {"a\tb", "\"a\tb\""},
		{"a\x00b", "{2}\r\nab"}, {"\xfc", "{1}\r\n\xfc"}, {"a\rb", "{3}\r\na\rb"}, {"\x00", "{0}\r\n"},
	} {
		if got := string(AppendString(nil, c.in)); got != c.want {
			t.Errorf("AppendString(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestAddr(t *testing.T) {
	for _, c := range []struct {
		a    Address
		want string
	}{
		{Address{Mailbox: "a", Host: "b"}, "a@b"}, {Address{Mailbox: "a"}, "a"}, {Address{Host: "b"}, "b"}, {Address{Name: "n"}, ""},
	} {
		if got := c.a.Addr(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.a, got, c.want)
		}
	}
}

func TestKnownEncoding(t *testing.T) {
	for e, want := range map[string]bool{"": true, "7bit": true, "Base64": true, "QUOTED-PRINTABLE": true, "binary": true, "x-uuencode": false} {
		if IsKnownEncoding(e) != want {
			t.Errorf("IsKnownEncoding(%q) is not %v", e, want)
		}
	}
}

func TestAppendHeaderText(t *testing.T) {
	const header = "Subject: =?utf-8?Q?gr=C3=BCn?=\r\n b\r\nno colon\r\n\r\nrest"
	if got := string(AppendHeaderText([]byte("x"), []byte(header))); got != "xSubject: grün b\nno colon\n" {
		t.Errorf("AppendHeaderText = %q", got)
	}
}

func TestCharsetNames(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"windows-1250", "\xe8", "č"}, {"CP1250", "\xe8", "č"}, {"win-1251", "\xe8", "и"}, {"iso8859-2", "\xe8", "č"},
		{"ISO_8859-2", "\xe8", "č"}, {"x-sjis", "\x93\xfa", "日"}, {"cp932", "\x93\xfa", "日"}, {"x-gbk", "\xd6\xd0", "中"},
		{"big5", "\xa4\xa4", "中"}, {"euc-kr", "\xb0\xa1", "가"}, {"ks_c_5601-1987", "\xb0\xa1", "가"}, {"hz-gb-2312", "~{VP~}", "中"},
		{"gb18030", "\xd6\xd0", "中"}, {"koi8-u", "\xa4", "є"}, {"macintosh", "\x8a", "ä"}, {"ibm850", "\x84", "ä"},
		{"UTF-8", "ä", "ä"}, {"unicode-1-1-utf-8", "ä", "ä"}, {"iso-2022-kr", "ä", "ä"}, {"utf-8*de", "ä", "ä"}, {"8859-1", "\xe4", "ä"},
		{strings.Repeat("x", 100), "\xe4", "ä"}, {"\" utf-8 \"", "ä", "ä"}, {"euc-jp", "\xc6", "\ufffd"},
	} {
		if got := string(decodeCharset(c.name, []byte(c.in))); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.name, c.in, got, c.want)
		}
	}
}

// TestCorrupt cuts encodings short and changes their octets: no result, or one
// that can be used.
func TestCorrupt(t *testing.T) {
	for _, name := range corpusFiles(t) {
		raw := readFile(t, name)
		if len(raw) > 2000 {
			continue
		}
		m, _ := ParseBytes(raw, Limits{})
		s := m.Summary()
		for what, enc := range map[string][]byte{"tree": AppendTree(nil, m), "summary": AppendSummary(nil, &s)} {
			decode := func(b []byte) error {
				if what == "tree" {
					m, err := DecodeTree(b)
					if err == nil {
						_ = AppendBodyStructure(nil, m.Root, true)
					}
					return err
				}
				_, err := DecodeSummary(b)
				return err
			}
			for i := range enc {
				if err := decode(enc[:i]); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%s: %s cut at %d of %d: %v", name, what, i, len(enc), err)
				}
				for _, x := range []byte{0xff, 0x80, 1} {
					bad := bytes.Clone(enc)
					bad[i] ^= x
					if err := decode(bad); err != nil && !errors.Is(err, ErrCorrupt) {
						t.Fatalf("%s: %s changed at %d: %v", name, what, i, err)
					}
				}
			}
			if err := decode(append(bytes.Clone(enc), 0)); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s: %s with an octet more: %v", name, what, err)
			}
		}
	}
}
