package imapclient

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// one returns the single untagged response that the server sends.
func one(t *testing.T, text, cmd string) *Response {
	t.Helper()
	c := onBytes(t, "* OK hi\r\n* FLAGS (\\Seen kw)\r\n* 9 EXISTS\r\nc1 OK done\r\n"+text+"c2 OK done\r\n")
	if _, err := c.Select("INBOX"); err != nil {
		t.Fatal(err)
	}
	res, err := c.Must("%s", cmd)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if len(res.Untagged) != 1 {
		t.Fatalf("%d responses", len(res.Untagged))
	}
	return res.Untagged[0]
}

func ptr(s string) *string { return &s }

func TestFetchData(t *testing.T) {
	f := one(t, "* 3 FETCH (UID 7 FLAGS (\\Seen kw) MODSEQ (12) INTERNALDATE \" 2-Jan-2026 03:04:05 -0700\" RFC822.SIZE 99 "+
		"EMAILID (M1) THREADID NIL SAVEDATE NIL PREVIEW {3}\r\na\"b BODY[1.2.MIME]<5> \"x\\\"y\" BODY[HEADER.FIELDS (A \"b]c\")] NIL "+
		"RFC822.TEXT {2}\r\n\r\n BINARY[1] ~{1}\r\n\x00 BINARY.SIZE[2] 8)\r\n", "FETCH 3 ALL").Fetch
	want := &Fetch{
		Items: []string{"UID", "FLAGS", "MODSEQ", "INTERNALDATE", "RFC822.SIZE", "EMAILID", "THREADID", "SAVEDATE", "PREVIEW",
			"BODY[1.2.MIME]<5>", `BODY[HEADER.FIELDS (A "b]c")]`, "RFC822.TEXT", "BINARY[1]", "BINARY.SIZE[2]"},
		UID: 7, Flags: []string{`\Seen`, "kw"}, ModSeq: 12, Size: 99, EmailID: "M1", Preview: ptr(`a"b`),
		InternalDate: time.Date(2026, 1, 2, 10, 4, 5, 0, time.UTC),
		Sections: map[string]Section{
			"BODY[1.2.MIME]<5>": {Data: []byte(`x"y`)}, `BODY[HEADER.FIELDS (A "b]c")]`: {Nil: true},
			"RFC822.TEXT": {Data: []byte("\r\n")}, "BINARY[1]": {Data: []byte{0}},
		},
		BinarySizes: map[string]uint64{"BINARY.SIZE[2]": 8},
	}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Error(diff)
	}
}

func TestStructure(t *testing.T) {
	f := one(t, "* 1 FETCH (BODYSTRUCTURE ((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"UTF-8\") NIL NIL \"7BIT\" 5 1 NIL (\"INLINE\" NIL) (\"de\" \"en\") \"x\")"+
		"(\"MESSAGE\" \"RFC822\" NIL \"<id>\" \"desc\" \"7BIT\" 50 (NIL \"s\" ((\"A\" NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")) NIL NIL NIL NIL NIL NIL \"<m>\") "+
		"(\"IMAGE\" \"PNG\" NIL NIL NIL \"BASE64\" 9) 3 \"md5\") \"MIXED\" (\"BOUNDARY\" \"x\") NIL \"fr\" NIL))\r\n", "FETCH 1 BODYSTRUCTURE").Fetch
	inner := &Envelope{
		Subject: ptr("s"), MessageID: ptr("<m>"),
		From: []Address{{Name: ptr("A"), Mailbox: ptr("a"), Host: ptr("b")}, {Mailbox: ptr("c"), Host: ptr("d")}},
	}
	want := &Body{
		Type: "MULTIPART", Subtype: "MIXED", Params: []Param{{"BOUNDARY", "x"}}, Extended: 4, Language: []string{"fr"},
		Parts: []*Body{
			{Type: "TEXT", Subtype: "PLAIN", Params: []Param{{"CHARSET", "UTF-8"}}, Encoding: "7BIT", Size: 5, Lines: 1,
				Extended: 4, Disposition: &Disposition{Type: "INLINE"}, Language: []string{"de", "en"}, Location: ptr("x")},
			{Type: "MESSAGE", Subtype: "RFC822", ID: ptr("<id>"), Desc: ptr("desc"), Encoding: "7BIT", Size: 50, Lines: 3,
				Envelope: inner, Embedded: &Body{Type: "IMAGE", Subtype: "PNG", Encoding: "BASE64", Size: 9}, Extended: 1, MD5: ptr("md5")},
		},
	}
	if diff := cmp.Diff(want, f.BodyStructure); diff != "" {
		t.Error(diff)
	}
}

func TestOtherData(t *testing.T) {
	for text, check := range map[string]func(*Response) any{
		"* LIST (\\Sent) NIL \"&AOQ-\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n": func(r *Response) any {
			return [2]any{r.List.Mailbox == "ä" && r.List.Delimiter == "", r.List.Extended[1].String()}
		},
		"* STATUS {1}\r\nx (MESSAGES 3 APPENDLIMIT NIL SIZE 5000000000 MAILBOXID (M))\r\n": func(r *Response) any {
			return [2]any{len(r.Status.Numbers) == 2 && r.Status.MailboxID == "M", r.Status.Numbers["SIZE"]}
		},
		"* ESEARCH (TAG \"c2\") UID MIN 2 MAX 9 COUNT 3 ALL 2,8:9 MODSEQ 5 PARTIAL (1:2 2,8)\r\n": func(r *Response) any {
			e := r.ESearch
			return [2]any{e.UID && e.Min == 2 && e.Max == 9 && *e.Count == 3 && e.ModSeq == 5 && e.PartialRange == "1:2", Numbers(e.All)}
		},
		"* VANISHED (EARLIER) 3,5:7\r\n": func(r *Response) any { return [2]any{r.Gone.Earlier, Numbers(r.Gone.UIDs)} },
		"* NAMESPACE ((\"\" \"/\")(\"x\" NIL)) NIL NIL\r\n": func(r *Response) any {
			return [2]any{len(r.Values) == 3, r.Values[0].String()}
		},
		"* THREAD (2)(3 6 (4 23)(44 7))\r\n":  func(r *Response) any { return [2]any{len(r.Values) == 2, r.Values[1].String()} },
		"* QUOTA \"\" (STORAGE 10 512)\r\n":   func(r *Response) any { return [2]any{r.Quota.Root == "", r.Quota.Usage["STORAGE"]} },
		"* QUOTAROOT INBOX \"\" x\r\n":        func(r *Response) any { return [2]any{r.Root.Mailbox == "INBOX", r.Root.Roots} },
		"* ID (\"name\" \"x\" \"y\" NIL)\r\n": func(r *Response) any { return [2]any{true, r.Values[0].String()} },
		"* ENABLED CONDSTORE\r\n":             func(r *Response) any { return [2]any{true, r.Atoms} },
		"* OK [COPYUID 7 1:2 3,5] x\r\n":      func(r *Response) any { return [2]any{r.Code.Number == 7, Numbers(r.Code.Dest)} },
		"* OK [MODIFIED 7,9] x\r\n":           func(r *Response) any { return [2]any{true, Numbers(r.Code.Source)} },
		"* NO [BADCHARSET (A B)] x\r\n":       func(r *Response) any { return [2]any{r.Name == "NO", r.Code.Atoms} },
		"* OK [X-NEW a b c] text\r\n":         func(r *Response) any { return [2]any{r.Text == "text", r.Code.Args} },
		"* SEARCH\r\n":                        func(r *Response) any { return [2]any{true, r.Search.Numbers} },
	} {
		want := map[string]any{
			"LIST": `("SUBSCRIBED")`, "STATUS": uint64(5000000000), "ESEARCH": []uint32{2, 8, 9}, "VANISHED": []uint32{3, 5, 6, 7},
			"NAMESPACE": `(("" "/") ("x" NIL))`, "THREAD": "(3 6 (4 23) (44 7))", "QUOTA": [2]uint64{10, 512}, "QUOTAROOT": []string{"", "x"},
			"ID": `("name" "x" "y" NIL)`, "ENABLED": []string{"CONDSTORE"}, "COPYUID": []uint32{3, 5}, "MODIFIED": []uint32{7, 9},
			"BADCHARSET": []string{"A", "B"}, "X-NEW": "a b c", "SEARCH": []uint32(nil),
		}
		cmd := "NOOP"
		if name := strings.Fields(text)[1]; name == "SEARCH" || name == "THREAD" {
			cmd = name + " x"
		}
		r := one(t, text, cmd)
		key := r.Name
		if r.Code != nil {
			key = r.Code.Name
		}
		if got := check(r); !reflect.DeepEqual(got, [2]any{true, want[key]}) {
			t.Errorf("%q: got %v, want %v", text, got, want[key])
		}
	}
}
