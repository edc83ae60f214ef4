package message

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files of the corpus anew")

// TestCorpus compares what the parser finds in odd and damaged messages with
// what a person once checked.
func TestCorpus(t *testing.T) {
	for _, name := range corpusFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".eml"), func(t *testing.T) {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := dump(raw, [][]byte{raw})
			checkMessage(t, raw)
			golden := strings.TrimSuffix(name, ".eml") + ".golden"
			if *rewrite {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func corpusFiles(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/corpus/*.eml")
	if err != nil || len(names) < 100 {
		t.Fatalf("corpus has %d messages: %v", len(names), err)
	}
	return names
}

// dump parses a message that comes in chunks and prints all that was found.
func dump(raw []byte, chunks [][]byte) []byte {
	var out, text bytes.Buffer
	p := NewParser(Limits{})
	p.Preview = true
	var last *Part
	p.Text = func(kind TextKind, part *Part, utf8 []byte) {
		if part != last {
			fmt.Fprintf(&text, "\n  %s at %d: ", [...]string{"plain", "html", "header", "attachment"}[kind], part.BodyStart)
			last = part
		}
		q := fmt.Sprintf("%q", utf8)
		text.WriteString(q[1 : len(q)-1])
	}
	for _, c := range chunks {
		_, _ = p.Write(c)
	}
	m, _ := p.Close()
	fmt.Fprintf(&out, "size %d lines %d header %d", m.Size, m.Lines, m.HeaderEnd)
	for _, f := range []struct {
		name string
		set  bool
	}{{"8bit", m.Has8Bit}, {"NUL", m.HasNUL}, {"bareLF", m.HasBareLF}, {"limited", m.Limited}} {
		if f.set {
			fmt.Fprintf(&out, " %s", f.name)
		}
	}
	out.WriteString("\n\nparts\n")
	dumpPart(&out, raw, m.Root, "", "")
	fmt.Fprintf(&out, "\nenvelope\n  %q\n", AppendEnvelope(nil, m.Root.Envelope))
	fmt.Fprintf(&out, "\nbodystructure\n  %q\n", AppendBodyStructure(nil, m.Root, true))
	fmt.Fprintf(&out, "\ntext%s\n", text.Bytes())
	out.WriteString("\nsummary\n")
	dumpSummary(&out, m.Summary())
	return out.Bytes()
}

func dumpPart(out *bytes.Buffer, raw []byte, p *Part, indent, number string) {
	fmt.Fprintf(out, "%s  [%s] %s/%s %s header %d body %d-%d lines %d", indent, number, p.Type, p.Subtype, p.Encoding,
		p.HeaderStart, p.BodyStart, p.BodyEnd, p.Lines)
	if p.DecodedSize != p.Size() {
		fmt.Fprintf(out, " decoded %d", p.DecodedSize)
	}
	if p.Implied {
		out.WriteString(" implied")
	}
	if p.Opaque {
		out.WriteString(" opaque")
	}
	for _, prm := range p.Params {
		fmt.Fprintf(out, " %s=%.80q", prm.Name, prm.Value)
	}
	if !p.IsMultipart() && p.Message == nil {
		body := raw[p.BodyStart:p.BodyEnd]
		if len(body) > 40 {
			fmt.Fprintf(out, " %q...", body[:40])
		} else {
			fmt.Fprintf(out, " %q", body)
		}
	}
	out.WriteByte('\n')
	dot := number
	if dot != "" {
		dot += "."
	}
	for i, c := range p.Children {
		dumpPart(out, raw, c, indent+"  ", fmt.Sprintf("%s%d", dot, i+1))
	}
	if p.Message != nil {
		dumpPart(out, raw, p.Message, indent+"  ", number+"/")
	}
}

func dumpSummary(out *bytes.Buffer, s Summary) {
	for _, f := range []struct{ name, value string }{
		{"subject", s.Subject}, {"message-id", s.MessageID}, {"in-reply-to", s.InReplyTo}, {"thread-index", s.ThreadIndex},
		{"list-id", s.ListID}, {"intro", s.Intro}, {"type", s.ContentType},
	} {
		if f.value != "" {
			fmt.Fprintf(out, "  %s: %.200q\n", f.name, f.value)
		}
	}
	for _, f := range []struct {
		name string
		list []Address
	}{{"from", s.From}, {"sender", s.Sender}, {"reply-to", s.ReplyTo}, {"to", s.To}, {"cc", s.Cc}, {"bcc", s.Bcc}} {
		for _, a := range f.list {
			fmt.Fprintf(out, "  %s: kind %d %q <%q@%q> %s\n", f.name, a.Kind, a.Name, a.Mailbox, a.Host, a.Route)
		}
	}
	if !s.Date.IsZero() {
		fmt.Fprintf(out, "  date: %s\n", s.Date.Format("2006-01-02 15:04:05 -0700"))
	}
	if len(s.References) > 0 {
		fmt.Fprintf(out, "  references: %q\n", s.References)
	}
	if s.Encrypted {
		out.WriteString("  encrypted\n")
	}
	for _, a := range s.Attachments {
		fmt.Fprintf(out, "  attachment: %+v\n", a)
	}
	if s.HasAttachments {
		out.WriteString("  has attachments\n")
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
