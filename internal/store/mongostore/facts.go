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
	r := encoded(src, a.node)
	if a.kept.line > 0 {
		return decodeTo(w, r)
	}
	_, err := io.Copy(w, r)
	return err
}

// factsOf reads a body and says what GridFS is to have of it.
func factsOf(src io.ReaderAt, n *mimetree.Node) (*attached, error) {
	a := &attached{key: n.AttachmentID, node: n, size: n.Size, contentType: n.ContentType(), encoding: n.TransferEncoding()}
	sum := sha256.New()
	if _, err := io.Copy(sum, encoded(src, n)); err != nil {
		return nil, readFailed(err)
	}
	sum.Sum(a.id[:0])
	a.kept, a.contentHash = kept{length: a.size}, a.id
	if a.encoding != "base64" {
		return a, nil
	}
	head := make([]byte, min(n.Size, 1024))
	if _, err := io.ReadFull(encoded(src, n), head); err != nil {
		return nil, readFailed(err)
	}
	line, decode := mimetree.LineLength(head, n.Size, n.LineCount)
	if !decode {
		return a, nil
	}
	sum.Reset()
	count := &counter{w: sum}
	if err := decodeTo(count, encoded(src, n)); err != nil {
		return nil, readFailed(err)
	}
	k := kept{line: line, length: count.n}
	c := &comparer{r: encoded(src, n)}
	if err := writeRebuilt(c, src, n, k); err != nil {
		return nil, readFailed(err)
	}
	if n.Size-c.matched > maxLost {
		return a, nil // decoding cannot be undone
	}
	a.kept = k
	sum.Sum(a.contentHash[:0])
	if n.Exact {
		a.edits, a.compared = c.edits(n, k), true
	}
	return a, nil
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
