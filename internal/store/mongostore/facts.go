package mongostore

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"

	"mallard/internal/store/mongostore/mimetree"
)

const (
	chunkSize = 261120 // of GridFS
	// maxLost is how much of the end of a body may be rebuilt otherwise than it was for it to be kept decoded.
	maxLost = 4 << 10
)

// attached is a body that is kept in GridFS.
type attached struct {
	key         string         // in attachmentMap
	node        *mimetree.Node // nil for raw octets of the message
	raw         span           // these
	id          [sha256.Size]byte
	size        int64 // octets before decoding
	contentType string
	encoding    string
	kept        kept // how it is kept when it is not there yet; when uploaded, how it is kept
	contentHash [sha256.Size]byte
	body        []byte // with CRLF at line ends, when the message is in memory
	edits       []edit // what comes back otherwise when it is kept so; known if compared
	compared    bool
	uploaded    bool // Stage has seen to it that it is there
	fresh       bool // and has stored it
}

// hash is the content's as documents have it.
func (a *attached) hash() string { return base64.StdEncoding.EncodeToString(a.contentHash[:]) }

// open reads what is kept, for an upload.
func (a *attached) open(src io.ReaderAt, w io.Writer) error {
	if a.node == nil {
		_, err := io.Copy(w, io.NewSectionReader(src, a.raw.from, a.raw.len()))
		return err
	}
	if a.kept.line > 0 {
		return decodeTo(w, encoded(src, a.node))
	}
	return a.copyTo(w, src)
}

// factsOf reads a body and says what GridFS is to have of it. mem is the message when it is in memory. With asIs base64
// is kept as it is.
func factsOf(src io.ReaderAt, mem []byte, n *mimetree.Node, asIs bool) (*attached, error) {
	a := &attached{key: n.AttachmentID, node: n, size: n.Size, contentType: n.ContentType(), encoding: n.TransferEncoding()}
	if mem != nil {
		a.body = mimetree.Normalize(mem[n.Start:n.End:n.End], n.Exact)
	}
	sum := sha256.New()
	if err := a.copyTo(sum, src); err != nil {
		return nil, readFailed(err)
	}
	sum.Sum(a.id[:0])
	a.kept, a.contentHash = kept{length: a.size}, a.id
	if a.encoding != "base64" || asIs {
		return a, nil
	}
	head := a.body
	if head == nil {
		head = make([]byte, min(n.Size, 1024))
		if _, err := io.ReadFull(encoded(src, n), head); err != nil {
			return nil, readFailed(err)
		}
	}
	line, decode := mimetree.LineLength(head, n.Size, n.LineCount)
	if !decode {
		return a, nil
	}
	return a, a.decode(src, line)
}

// copyTo copies the body with CRLF at line ends.
func (a *attached) copyTo(w io.Writer, src io.ReaderAt) error {
	if a.body != nil {
		_, err := w.Write(a.body)
		return err
	}
	_, err := io.Copy(w, encoded(src, a.node))
	return err
}

// decode decides whether a body is kept decoded: it is if that can be undone.
func (a *attached) decode(src io.ReaderAt, line int) error {
	n := a.node
	sum := sha256.New()
	c := &comparer{}
	var k kept
	if a.body != nil {
		var d mimetree.Decoder
		data := d.Finish(d.Append(make([]byte, 0, len(a.body)/4*3+3), a.body))
		_, _ = sum.Write(data) // it never fails
		k = kept{line: line, length: int64(len(data))}
		c.want = a.body
		e, _ := mimetree.NewEncoder(c, k.length, line, 0, k.rebuiltLen())
		if _, err := e.Write(data); err != nil {
			return err
		}
		if err := e.Close(); err != nil {
			return err
		}
	} else {
		count := &counter{w: sum}
		if err := decodeTo(count, encoded(src, n)); err != nil {
			return readFailed(err)
		}
		k = kept{line: line, length: count.n}
		c.r = encoded(src, n)
		if err := writeRebuilt(c, src, n, k); err != nil {
			return readFailed(err)
		}
	}
	if n.Size-c.matched > maxLost {
		return nil // it cannot be undone
	}
	a.kept = k
	sum.Sum(a.contentHash[:0])
	if n.Exact {
		a.edits, a.compared = c.edits(n, k), true
	}
	return nil
}

// rawFacts makes a file of octets of the message as they are. Its id is no hash of a body, which may be kept decoded.
func rawFacts(src io.ReaderAt, at span) (*attached, error) {
	a := &attached{
		key: rawKey, raw: at, size: at.len(), kept: kept{length: at.len()},
		contentType: "application/octet-stream", encoding: "binary",
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(src, at.from, at.len())); err != nil {
		return nil, readFailed(err)
	}
	sum.Sum(a.contentHash[:0])
	a.id = sha256.Sum256(append([]byte("mallard raw\x00"), a.contentHash[:]...))
	return a, nil
}

func readFailed(err error) error { return fmt.Errorf("read a body: %w", err) }

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
