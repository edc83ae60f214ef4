package message

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzParser(f *testing.F) {
	for i, name := range corpusFiles(f) {
		f.Add(readFile(f, name), uint64(i))
	}
	f.Fuzz(func(t *testing.T, raw []byte, seed uint64) {
		if len(raw) > 1<<16 {
			return
		}
		checkMessage(t, raw)
		whole := dump(raw, [][]byte{raw})
		r := rand.New(rand.NewPCG(seed, 2))
		if got := dump(raw, cut(raw, r, int(seed%6))); !bytes.Equal(got, whole) {
			t.Fatalf("chunks make a difference:\n%s\n%s", whole, got)
		}
		checkFields(t, raw)
	})
}

// checkFields checks that the fields of a header are all of it.
func checkFields(t *testing.T, raw []byte) {
	var all []byte
	for f := range Fields(raw) {
		if !bytes.Contains(f.Raw, f.Name) || !bytes.Contains(f.Raw, f.Value) {
			t.Fatalf("name %q and value %q are not in %q", f.Name, f.Value, f.Raw)
		}
		all = append(all, f.Raw...)
	}
	if !bytes.HasPrefix(raw, all) {
		t.Fatalf("fields %q are not the start of %q", all, raw)
	}
	if rest := raw[len(all):]; len(rest) > 0 && !isBlankLine(rest[:lineEnd(string(rest), 0)]) {
		t.Fatalf("fields end before %q", rest)
	}
}

// FuzzLimits parses with limits so small that each is met.
func FuzzLimits(f *testing.F) {
	for _, name := range corpusFiles(f) {
		f.Add(readFile(f, name), byte(3))
	}
	f.Fuzz(func(t *testing.T, raw []byte, small byte) {
		n := 1 + int(small)
		l := Limits{
			MaxDepth: n, MaxParts: n, MaxHeaderBytes: 16 * n, MaxPartHeaderBytes: 8 * n, MaxTotalHeaderBytes: 32 * n,
			MaxFields: n, MaxParams: n, MaxAddresses: n, TextBytes: 4 * n,
		}
		m, text := parseLimited(t, l, [][]byte{raw})
		other, otherText := parseLimited(t, l, cut(raw, rand.New(rand.NewPCG(uint64(small), 4)), n))
		if !reflect.DeepEqual(m, other) || text != otherText {
			t.Fatalf("chunks make a difference: %+v %q, %+v %q", m, text, other, otherText)
		}
		checkPart(t, raw, m.Root)
		checkTree(t, m)
		checkSummary(t, m)
		if len(m.Header) > l.MaxHeaderBytes || m.Root.BodyEnd != int64(len(raw)) {
			t.Fatalf("header of %d octets, body to %d of %d", len(m.Header), m.Root.BodyEnd, len(raw))
		}
		parts, addrs := 0, 0
		m.Walk(func(_ []int, p *Part) bool {
			parts++
			if p.Envelope != nil {
				addrs += len(p.Envelope.To) + len(p.Envelope.Cc)
			}
			if len(p.Params) > l.MaxParams {
				t.Fatalf("%d parameters", len(p.Params))
			}
			return true
		})
		if parts > 2*l.MaxParts || addrs > l.MaxAddresses+2*parts {
			t.Fatalf("%d parts and %d addresses", parts, addrs)
		}
	})
}

func parseLimited(t *testing.T, l Limits, chunks [][]byte) (*Message, string) {
	p := NewParser(l)
	p.Preview = true
	var text strings.Builder
	p.Text = func(_ TextKind, _ *Part, b []byte) {
		text.Write(b)
		if text.Len() > l.TextBytes || !utf8.Valid(b) {
			t.Fatalf("%d octets of text, the last %q", text.Len(), b)
		}
	}
	for _, c := range chunks {
		_, _ = p.Write(c)
	}
	m, _ := p.Close()
	return m, text.String()
}

func FuzzDecodeTree(f *testing.F) {
	for _, name := range corpusFiles(f) {
		m, _ := ParseBytes(readFile(f, name), Limits{})
		f.Add(AppendTree(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeTree(b)
		if err != nil {
			return
		}
		again, err := DecodeTree(AppendTree(nil, m))
		if err != nil {
			t.Fatalf("own encoding: %v", err)
		}
		if x, y := AppendTree(nil, m), AppendTree(nil, again); !bytes.Equal(x, y) {
			t.Fatalf("%q became %q", x, y)
		}
		_ = AppendBodyStructure(nil, m.Root, true)
		m.Walk(func([]int, *Part) bool { return true })
		_ = m.Summary()
	})
}

func FuzzDecodeSummary(f *testing.F) {
	for _, name := range corpusFiles(f) {
		m, _ := ParseBytes(readFile(f, name), Limits{})
		s := m.Summary()
		f.Add(AppendSummary(nil, &s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSummary(b)
		if err != nil {
			return
		}
		enc := AppendSummary(nil, s)
		again, err := DecodeSummary(enc)
		if err != nil {
			t.Fatalf("own encoding: %v", err)
		}
		if !bytes.Equal(AppendSummary(nil, again), enc) {
			t.Fatalf("%q became %q", enc, AppendSummary(nil, again))
		}
	})
}

func FuzzHeaderDecoding(f *testing.F) {
	for _, s := range []string{
		"=?utf-8?Q?a=C3?= =?utf-8?Q?=B5b?= x", "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "=?utf-7?Q?+AOQ-?=",
		"a\r\n b\x00\xff", "=?gb18030?B?gTCBMA==?=", "=?utf-16?B?//4=?=", "text/plain; a*0*=utf-8''%41; a*1=b; c=\"d\\\"", "=?q?b?",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := DecodeHeader([]byte(s))
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00") {
			t.Fatalf("DecodeHeader(%q) = %q", s, got)
		}
		_, params := parseMediaType(s, 16)
		if len(params) > 16 {
			t.Fatalf("%d parameters", len(params))
		}
		for _, p := range params {
			if v := DecodeParam(p); !utf8.ValidString(v) {
				t.Fatalf("DecodeParam(%q) = %q", p, v)
			}
		}
		base, _ := BaseSubject(s)
		if again, _ := BaseSubject(base); again != base && utf8.ValidString(s) {
			t.Fatalf("base subject of %q is %q, of that %q", s, base, again)
		}
		if x := ThreadSubject(s); ThreadSubject(x) != x {
			t.Fatalf("thread subject of %q is not stable: %q", s, x)
		}
		for _, id := range MessageIDs(s) {
			if len(id) < 3 || id[0] != '<' || id[len(id)-1] != '>' || strings.ContainsAny(id, "\r\n \t") {
				t.Fatalf("message id %q in %q", id, s)
			}
		}
		if n := utf8.RuneCountInString(Intro(got)); n > introChars+1 {
			t.Fatalf("preview of %d characters", n)
		}
	})
}

func FuzzAddresses(f *testing.F) {
	for _, s := range []string{
		"Team: a@x, \"B B\" <b@x>;, c@d", "<@a,@b:c@d>", "a@b (c (d))", "=?utf-8?Q?a,b?= <c@d>", "\"open <x", "<<<>>>", ":;:;", "a . b @ c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		open := false
		list := ParseAddressList([]byte(s))
		for _, a := range list {
			switch a.Kind {
			case GroupStart:
				if open {
					t.Fatalf("group in a group in %q: %+v", s, list)
				}
				open = true
			case GroupEnd:
				if !open {
					t.Fatalf("group end without start in %q: %+v", s, list)
				}
				open = false
			}
		}
		if open {
			t.Fatalf("group without end in %q: %+v", s, list)
		}
		for _, a := range DecodeAddresses(list) {
			if !utf8.ValidString(a.Name + a.Mailbox + a.Host + a.Route) {
				t.Fatalf("no UTF-8: %+v", a)
			}
		}
		checkWire(t, AppendEnvelope(nil, &Envelope{To: list}))
	})
}

func FuzzDate(f *testing.F) {
	for _, s := range []string{
		"Mon, 02 Feb 2026 10:01:05 +0200", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "2026-02-02T10:01:05.123+05:30",
		"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", "2 Feb 2026 11:59:01 PM", "20260202",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := ParseDate(s)
		if !ok {
			if !d.IsZero() {
				t.Fatalf("ParseDate(%q) = %v, not ok", s, d)
			}
			return
		}
		sum := Summary{Date: d}
		got, err := DecodeSummary(AppendSummary(nil, &sum))
		if err != nil || !got.Date.Equal(d) {
			t.Fatalf("date %v became %v: %v", d, got, err)
		}
	})
}

func FuzzHeaderFields(f *testing.F) {
	f.Add([]byte("Subject: a\r\n b\r\nX-Y : 1\r\nno colon\r\n\r\nbody"), "subject", "X-y")
	f.Add([]byte("A:1\nB:2"), "b", "")
	f.Fuzz(func(t *testing.T, header []byte, a, b string) {
		names := []string{a, b}
		in := AppendHeaderFields(nil, header, names, false)
		out := AppendHeaderFields(nil, header, names, true)
		var wantIn, wantOut []byte
		for f := range Fields(header) {
			if n := string(f.Name); n != "" && (equalName(n, a) || equalName(n, b)) {
				wantIn = append(wantIn, f.Raw...)
			} else {
				wantOut = append(wantOut, f.Raw...)
			}
		}
		for _, c := range []struct{ got, want []byte }{{in, wantIn}, {out, wantOut}} {
			if len(c.want) > 0 && c.want[len(c.want)-1] != '\n' {
				c.want = append(c.want, "\r\n"...)
			}
			if want := append(c.want, "\r\n"...); !bytes.Equal(c.got, want) {
				t.Fatalf("%q of %q: %q, want %q", names, header, c.got, want)
			}
		}
	})
}

// equalName is another way to compare field names.
func equalName(a, b string) bool {
	return bytes.Equal(bytes.ToLower([]byte(a)), asciiLower(b))
}

func asciiLower(s string) []byte {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 32
		}
	}
	return b
}

// FuzzTransfer compares decoding in one piece with decoding octet by octet.
func FuzzTransfer(f *testing.F) {
	f.Add([]byte("a=C3=BC =\r\nb  \r\n=4"), true)
	f.Add([]byte("QUJD=\nQ Q=="), false)
	f.Fuzz(func(t *testing.T, b []byte, qp bool) {
		one, many := transferDecoder{base64: !qp, qp: qp}, transferDecoder{base64: !qp, qp: qp}
		want := one.finish(one.append(nil, b))
		var got []byte
		for i := range b {
			got = many.append(got, b[i:i+1])
		}
		if got = many.finish(got); !bytes.Equal(got, want) {
			t.Fatalf("%q: whole %q, by octets %q", b, want, got)
		}
		if len(want) > len(b) {
			t.Fatalf("%d octets became %d", len(b), len(want))
		}
	})
}

// FuzzText compares the text of a body in one piece with that of the body
// octet by octet.
func FuzzText(f *testing.F) {
	f.Add("utf-8", []byte("<p>a&amp;b<br>\xc3\xbc<img alt=x></p>"), byte(1))
	f.Add("utf-8", []byte("> a \r\n> b\r\n-- \r\n"), byte(2))
	f.Add("iso-2022-jp", []byte("\x1b$BF|K\\\x1b(B x\x1b$"), byte(0))
	f.Add("gb18030", []byte("\x81\x30\x81\x30\x81"), byte(0))
	f.Add("shift_jis", []byte("\x93\xfa\x93"), byte(0))
	f.Add("euc-kr", []byte("\xb0\xa1\xb0"), byte(0))
	f.Add("big5", []byte("\xa4\xa4\x88\x62"), byte(0))
	f.Add("utf-16", []byte("\xfe\xff\xd8\x3d\xde\x00\xd8"), byte(0))
	f.Add("utf-16le", []byte("\x3d\xd8\x00"), byte(0))
	f.Add("utf-7", []byte("+2D3eAA-+AOQ"), byte(0))
	f.Add("hz-gb-2312", []byte("~{VP~}~"), byte(0))
	f.Add("koi8-r", []byte("\xf0\xd2"), byte(0))
	f.Add("", []byte(strings.Repeat("x ", 3000)+"\r\nnext \r\nend"), byte(2))
	f.Fuzz(func(t *testing.T, charset string, body []byte, kind byte) {
		part := &Part{Type: "TEXT", Subtype: "PLAIN", Encoding: "8BIT", Params: []Param{{"CHARSET", charset}}}
		switch kind % 4 {
		case 1:
			part.Subtype = "HTML"
		case 2, 3:
			part.Params = append(part.Params, Param{"FORMAT", "flowed"}, Param{"DELSP", []string{"yes", "no"}[kind%2]})
		}
		var pipe textPipe
		pipe.set(part, true)
		whole := string(pipe.run(body, true))
		pipe.set(part, true)
		var octets []byte
		for i := range body {
			octets = append(octets, pipe.run(body[i:i+1], false)...)
		}
		octets = append(octets, pipe.run(nil, true)...)
		if whole != string(octets) {
			t.Fatalf("%s %d: whole %q, by octets %q", charset, kind, whole, octets)
		}
		if !utf8.ValidString(whole) {
			t.Fatalf("%s: no UTF-8: %q", charset, whole)
		}
	})
}
