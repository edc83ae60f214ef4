package mongostore

import (
	"bytes"
	"fmt"
	"io"

	"mallard/internal/store/mongostore/mimetree"
)

// span is a range of octets of a staged message.
type span struct{ from, to int64 }

func (s span) len() int64 { return s.to - s.from }

// edit is a difference between a message as WildDuck rebuilds it and as it came: n octets at at stand for others.
type edit struct {
	at, n int64
	lf    bool   // they are the same, but with LF where the rebuilt ones have CRLF
	size  int64  // how many octets they stand for
	file  bool   // they are in the file of raw octets
	with  []byte // they themselves
	raw   span   // where in the staged message they are while with was not read
}

// kept says how the body of an attachment is kept in GridFS.
type kept struct {
	line   int   // decoded from base64 with lines of that length; 0 for as it was, with CRLF at line ends
	length int64 // octets in GridFS
}

// rebuiltLen is how many octets the body is in a rebuilt message.
func (k kept) rebuiltLen() int64 {
	if k.line == 0 {
		return k.length
	}
	return mimetree.EncodedLen(k.length, k.line)
}

// encoded reads the body of a part with CRLF at line ends, as its hash is of.
func encoded(src io.ReaderAt, n *mimetree.Node) io.Reader {
	r := io.NewSectionReader(src, n.Start, n.End-n.Start)
	if n.Exact {
		return r
	}
	return &normalizer{r: r}
}

// normalizer makes CRLF of each LF without CR.
type normalizer struct {
	r    io.Reader
	in   [32 << 10]byte
	out  []byte
	last byte
}

func (z *normalizer) Read(p []byte) (int, error) {
	for len(z.out) == 0 {
		n, err := z.r.Read(z.in[:])
		for _, c := range z.in[:n] {
			if c == '\n' && z.last != '\r' {
				z.out = append(z.out, '\r')
			}
			z.out = append(z.out, c)
			z.last = c
		}
		if n == 0 && err != nil {
			return 0, err
		}
	}
	n := copy(p, z.out)
	z.out = z.out[n:]
	return n, nil
}

// writeRebuilt writes a body as it is rebuilt from what is kept.
func writeRebuilt(w io.Writer, src io.ReaderAt, n *mimetree.Node, k kept) error {
	r := encoded(src, n)
	if k.line == 0 {
		_, err := io.Copy(w, r)
		return err
	}
	e, _ := mimetree.NewEncoder(w, k.length, k.line, 0, k.rebuiltLen())
	if err := decodeTo(e, r); err != nil {
		return err
	}
	return e.Close()
}

// decodeTo decodes base64.
func decodeTo(w io.Writer, r io.Reader) error {
	var d mimetree.Decoder
	in := make([]byte, 24<<10)
	var out []byte
	for {
		n, err := r.Read(in)
		out = d.Append(out[:0], in[:n])
		if err == io.EOF {
			out = d.Finish(out)
		}
		if _, werr := w.Write(out); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// comparer is told octets and compares them with those of a reader. With lf, a CR before LF does not count.
type comparer struct {
	r         io.Reader
	want      []byte // in place of r, without lf
	lf        bool
	cr        bool  // a CR that may be before LF is held back
	dropped   bool  // a CR was dropped before the LF that comes now
	told      int64 // up to there they are equal: octets told, and
	matched   int64 // octets of r
	different bool
	buf       []byte
}

func (c *comparer) Write(p []byte) (int, error) {
	if c.different {
		return len(p), nil
	}
	if !c.lf {
		return len(p), c.compare(p, len(p))
	}
	for i := 0; i < len(p) && !c.different; {
		if c.cr {
			c.cr = false
			if p[i] == '\n' {
				c.dropped = true
			} else if err := c.compare([]byte{'\r'}, 1); err != nil {
				return 0, err
			}
			continue
		}
		if p[i] == '\r' {
			c.cr = true
			i++
			continue
		}
		n := bytes.IndexByte(p[i:], '\r')
		if n < 0 {
			n = len(p) - i
		}
		if err := c.compare(p[i:i+n], n); err != nil {
			return 0, err
		}
		i += n
	}
	return len(p), nil
}

func (c *comparer) compare(p []byte, n int) error {
	if c.different {
		return nil
	}
	if c.want != nil {
		k := commonLen(c.want[c.matched:], p)
		c.told += int64(k)
		c.matched += int64(k)
		c.different = k < n
		return nil
	}
	if cap(c.buf) < n {
		c.buf = make([]byte, n)
	}
	got, err := io.ReadFull(c.r, c.buf[:n])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return fmt.Errorf("read the message: %w", err)
	}
	k := commonLen(c.buf[:got], p)
	if c.dropped && k > 0 {
		c.told++
	}
	c.dropped = false
	c.told += int64(k)
	c.matched += int64(k)
	c.different = k < n
	return nil
}

// commonLen is how long a and b begin alike.
func commonLen(a, b []byte) int {
	n := min(len(a), len(b))
	if bytes.Equal(a[:n], b[:n]) {
		return n
	}
	k := 0
	for a[k] == b[k] {
		k++
	}
	return k
}

// finish takes the CR that was held back.
func (c *comparer) finish() error {
	if c.cr && !c.different {
		c.cr = false
		return c.compare([]byte{'\r'}, 1)
	}
	return nil
}

// bodyEdits are the differences between a body as it is rebuilt and as it came, relative to its beginning.
func bodyEdits(src io.ReaderAt, n *mimetree.Node, k kept) ([]edit, error) {
	if n.Exact && k.line == 0 {
		return nil, nil
	}
	c := &comparer{r: io.NewSectionReader(src, n.Start, n.End-n.Start), lf: !n.Exact}
	if err := writeRebuilt(c, src, n, k); err != nil {
		return nil, err
	}
	if err := c.finish(); err != nil {
		return nil, err
	}
	return c.edits(n, k), nil
}

// edits are the differences that were found.
func (c *comparer) edits(n *mimetree.Node, k kept) []edit {
	var out []edit
	raw := n.End - n.Start
	if c.lf && c.matched > 0 {
		out = append(out, edit{n: c.told, lf: true, size: c.matched})
	}
	if total := k.rebuiltLen(); c.told < total || c.matched < raw {
		out = append(out, edit{at: c.told, n: total - c.told, size: raw - c.matched, raw: span{n.Start + c.matched, n.End}})
	}
	return out
}

// textEdits are the differences between octets as they are rebuilt, at at, and as they came.
func textEdits(rebuilt, raw []byte, at int64) []edit {
	if bytes.Equal(rebuilt, raw) {
		return nil
	}
	if len(rebuilt) > len(raw) && bytes.Equal(bytes.ReplaceAll(rebuilt, []byte("\r\n"), []byte("\n")), raw) {
		return []edit{{at: at, n: int64(len(rebuilt)), lf: true, size: int64(len(raw))}}
	}
	head := 0
	for head < len(rebuilt) && head < len(raw) && rebuilt[head] == raw[head] {
		head++
	}
	tail := 0
	for tail < len(rebuilt)-head && tail < len(raw)-head && rebuilt[len(rebuilt)-1-tail] == raw[len(raw)-1-tail] {
		tail++
	}
	return []edit{{
		at: at + int64(head), n: int64(len(rebuilt) - head - tail), size: int64(len(raw) - head - tail), with: raw[head : len(raw)-tail],
	}}
}

// joinEdits makes one edit of each two that have LF for CRLF and meet.
func joinEdits(in []edit) []edit {
	var out []edit
	for _, e := range in {
		if n := len(out); n > 0 && e.lf && out[n-1].lf && out[n-1].at+out[n-1].n == e.at {
			out[n-1].n += e.n
			out[n-1].size += e.size
			continue
		}
		out = append(out, e)
	}
	return out
}

// load reads the octets that an edit stands for.
func (e *edit) load(src io.ReaderAt) error {
	if e.lf || e.file || e.with != nil {
		return nil
	}
	e.with = make([]byte, e.size)
	if e.size == 0 {
		return nil
	}
	_, err := src.ReadAt(e.with, e.raw.from)
	return err
}
