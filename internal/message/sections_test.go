package message

import "testing"

// sectionSample has parts of every kind at the numbers of RFC 3501 6.4.5.
const sectionSample = "Subject: root\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n" +
	"--a\r\nX-P: 1\r\n\r\npart1\r\n" +
	"--a\r\nContent-Type: message/rfc822\r\nX-P: 2\r\n\r\n" +
	"Subject: plain\r\n\r\nplain body\r\n" +
	"--a\r\nContent-Type: message/rfc822\r\nX-P: 3\r\n\r\n" +
	"Subject: multi\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
	"--b\r\nX-P: 3.1\r\n\r\npart31\r\n" +
	"--b\r\nContent-Type: message/rfc822\r\nX-P: 3.2\r\n\r\nSubject: deep\r\n\r\ndeep body\r\n" +
	"--b--\r\n" +
	"--a\r\nContent-Type: multipart/alternative; boundary=c\r\nX-P: 4\r\n\r\n" +
	"--c\r\nX-P: 4.1\r\n\r\npart41\r\n--c--\r\n" +
	"--a--\r\n"

func TestSectionRange(t *testing.T) {
	const none = "-"
	for _, c := range []struct {
		raw  string
		path []int
		kind SectionKind
		want string
	}{
		{sectionSample, nil, SectionBody, sectionSample},
		{sectionSample, nil, SectionHeader, "Subject: root\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n"},
		{sectionSample, nil, SectionMIME, none},
		{sectionSample, []int{1}, SectionBody, "part1"},
		{sectionSample, []int{1}, SectionMIME, "X-P: 1\r\n\r\n"},
		{sectionSample, []int{1}, SectionHeader, none},
		{sectionSample, []int{1}, SectionText, none},
		{sectionSample, []int{1, 1}, SectionBody, none},
		{sectionSample, []int{2}, SectionBody, "Subject: plain\r\n\r\nplain body"},
		{sectionSample, []int{2}, SectionHeader, "Subject: plain\r\n\r\n"},
		{sectionSample, []int{2}, SectionText, "plain body"},
		{sectionSample, []int{2}, SectionMIME, "Content-Type: message/rfc822\r\nX-P: 2\r\n\r\n"},
		{sectionSample, []int{2, 1}, SectionBody, "plain body"},
		{sectionSample, []int{2, 1}, SectionMIME, "Subject: plain\r\n\r\n"},
		{sectionSample, []int{2, 2}, SectionBody, none},
		{sectionSample, []int{2, 1, 1}, SectionBody, none},
		{sectionSample, []int{3, 1}, SectionBody, "part31"},
		{sectionSample, []int{3, 2}, SectionHeader, "Subject: deep\r\n\r\n"},
		{sectionSample, []int{3, 2, 1}, SectionBody, "deep body"},
		{sectionSample, []int{4}, SectionBody, "--c\r\nX-P: 4.1\r\n\r\npart41\r\n--c--"},
		{sectionSample, []int{4, 1}, SectionBody, "part41"},
		{sectionSample, []int{4, 1}, SectionMIME, "X-P: 4.1\r\n\r\n"},
		{sectionSample, []int{5}, SectionBody, none},
		{sectionSample, []int{0}, SectionBody, none},
		{sectionSample, []int{-1}, SectionBody, none},
		{"Subject: x\r\n\r\nbody", []int{1}, SectionBody, "body"},
		{"Subject: x\r\n\r\nbody", []int{1}, SectionMIME, "Subject: x\r\n\r\n"},
		{"Subject: x\r\n\r\nbody", nil, SectionText, "body"},
		{"Subject: x\r\n\r\nbody", []int{2}, SectionBody, none},
		{"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody", []int{1}, SectionHeader, "Subject: in\r\n\r\n"},
		{"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody", []int{1, 1}, SectionBody, "body"},
		{"Content-Type: multipart/mixed; boundary=z\r\n\r\nnothing", []int{1}, SectionBody, "nothing"},
		{"Content-Type: multipart/mixed; boundary=z\r\n\r\nnothing", []int{1}, SectionMIME, ""},
	} {
		m := checkMessage(t, []byte(c.raw))
		decoded, err := DecodeTree(AppendTree(nil, m))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []*Message{m, decoded} {
			got := none
			if start, end, ok := m.SectionRange(c.path, c.kind); ok {
				got = c.raw[start:end]
			}
			if got != c.want {
				t.Errorf("%v kind %d of %.30q: %q, want %q", c.path, c.kind, c.raw, got, c.want)
			}
		}
	}
}

// TestBodyForms checks both forms of the same structure against RFC 3501
// 7.4.2.
func TestBodyForms(t *testing.T) {
	raw := "Content-Type: multipart/mixed; boundary=a\r\nContent-Language: en\r\n\r\n" +
		"--a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-ID: <i>\r\nContent-MD5: m\r\nContent-Location: l\r\n" +
		"Content-Disposition: inline; filename=f\r\n\r\none\r\ntwo\r\n" +
		"--a\r\nContent-Type: message/rfc822\r\nContent-Description: d\r\n\r\nSubject: s\r\n\r\nx\r\n--a--\r\n"
	m := checkMessage(t, []byte(raw))
	const envelope = `(NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL)`
	for extended, want := range map[bool]string{
		false: `(("TEXT" "PLAIN" ("CHARSET" "utf-8") "<i>" NIL "7BIT" 8 1)("MESSAGE" "RFC822" NIL NIL "d" "7BIT" 15 ` + envelope +
			` ("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 1 0) 2) "MIXED")`,
		true: `(("TEXT" "PLAIN" ("CHARSET" "utf-8") "<i>" NIL "7BIT" 8 1 "m" ("INLINE" ("FILENAME" "f")) NIL "l")("MESSAGE" "RFC822" NIL NIL "d" "7BIT" 15 ` + envelope +
			` ("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 1 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL) "MIXED" ("BOUNDARY" "a") NIL ("en") NIL)`,
	} {
		if got := string(AppendBodyStructure(nil, m.Root, extended)); got != want {
			t.Errorf("extended %v:\n%s\nwant\n%s", extended, got, want)
		}
	}
}

// TestAttachmentNumbers checks the ids against the way in which WildDuck
// counts: text read in place counts only when it is large.
func TestAttachmentNumbers(t *testing.T) {
	large := make([]byte, wholeTextMax+1)
	for i := range large {
		large[i] = 'x'
	}
	raw := "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nsmall\r\n--a\r\n\r\n" + string(large) +
		"\r\n--a\r\nContent-Type: image/png\r\n\r\nx\r\n--a\r\nContent-Type: image/png\r\n\r\n\r\n--a--\r\n"
	m := checkMessage(t, []byte(raw))
	list := m.Attachments()
	if len(list) != 1 || list[0].ID != "ATT00002" || len(list[0].Section) != 1 || list[0].Section[0] != 3 {
		t.Errorf("attachments: %+v", list)
	}
}
