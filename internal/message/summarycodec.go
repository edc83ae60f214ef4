package message

import (
	"encoding/binary"
	"time"
)

// summaryVersion is the first octet of an encoded summary.
const summaryVersion = 1

// Flags of an encoded summary.
const (
	summaryEncrypted = 1 << iota
	summaryHasAttachments
	summaryDate
)

// Flags of an encoded attachment.
const (
	attachmentRelated = 1 << iota
	attachmentSum
)

// AppendSummary appends a compact encoding of s. Date is kept to the second,
// with the offset of its zone.
func AppendSummary(dst []byte, s *Summary) []byte {
	flags := byte(0)
	for i, f := range [...]bool{s.Encrypted, s.HasAttachments, !s.Date.IsZero()} {
		if f {
			flags |= 1 << i
		}
	}
	dst = append(dst, summaryVersion, flags)
	if flags&summaryDate != 0 {
		_, zone := s.Date.Zone()
		dst = binary.AppendVarint(dst, s.Date.Unix())
		dst = binary.AppendVarint(dst, int64(zone))
	}
	for _, str := range [...]string{s.Subject, s.MessageID, s.InReplyTo, s.ThreadIndex, s.ListID, s.Intro, s.ContentType} {
		dst = appendStr(dst, str)
	}
	dst = appendStrs(dst, s.References)
	dst = appendParamList(dst, s.Params)
	for _, list := range [...][]Address{s.From, s.Sender, s.ReplyTo, s.To, s.Cc, s.Bcc} {
		dst = appendAddrs(dst, list)
	}
	dst = appendUint(dst, uint64(len(s.Attachments)))
	for i := range s.Attachments {
		dst = appendAttachment(dst, &s.Attachments[i])
	}
	return dst
}

func appendAttachment(dst []byte, a *Attachment) []byte {
	flags := byte(0)
	if a.Related {
		flags |= attachmentRelated
	}
	if a.Sum != (AttachmentSum{}) {
		flags |= attachmentSum
	}
	dst = append(dst, flags)
	dst = appendUint(dst, uint64(a.Size))
	dst = appendUint(dst, uint64(a.DecodedSize))
	for _, s := range [...]string{a.ID, a.Filename, a.ContentType, a.Disposition, a.TransferEncoding, a.ContentID} {
		dst = appendStr(dst, s)
	}
	dst = appendUint(dst, uint64(len(a.Section)))
	for _, n := range a.Section {
		dst = appendUint(dst, uint64(n))
	}
	if flags&attachmentSum != 0 {
		dst = append(dst, a.Sum[:]...)
	}
	return dst
}

// DecodeSummary reads what AppendSummary wrote. It never panics and takes time
// and memory in proportion to b; what it cannot read is an error that wraps
// ErrCorrupt.
func DecodeSummary(b []byte) (*Summary, error) {
	r := newReader(b)
	if v := r.byte(); v != summaryVersion {
		r.fail("unknown version")
	}
	flags := r.byte()
	s := &Summary{Encrypted: flags&summaryEncrypted != 0, HasAttachments: flags&summaryHasAttachments != 0}
	if flags&summaryDate != 0 {
		s.Date = r.time()
	}
	for _, str := range [...]*string{&s.Subject, &s.MessageID, &s.InReplyTo, &s.ThreadIndex, &s.ListID, &s.Intro, &s.ContentType} {
		*str = r.str()
	}
	s.References = r.strs()
	s.Params = r.params()
	for _, list := range [...]*[]Address{&s.From, &s.Sender, &s.ReplyTo, &s.To, &s.Cc, &s.Bcc} {
		*list = r.addrs()
	}
	if n := r.count(); n > 0 {
		s.Attachments = make([]Attachment, 0, min(n, 64))
		for i := 0; i < n && r.err == nil; i++ {
			s.Attachments = append(s.Attachments, r.attachment())
		}
	}
	if r.err == nil && r.pos != len(b) {
		r.fail("data after the end")
	}
	if r.err != nil {
		return nil, r.err
	}
	return s, nil
}

func (r *reader) attachment() Attachment {
	var a Attachment
	flags := r.byte()
	a.Related = flags&attachmentRelated != 0
	a.Size, a.DecodedSize = r.size(), r.size()
	for _, s := range [...]*string{&a.ID, &a.Filename, &a.ContentType, &a.Disposition, &a.TransferEncoding, &a.ContentID} {
		*s = r.str()
	}
	if n := r.count(); n > 0 {
		a.Section = make([]int, 0, min(n, 64))
		for i := 0; i < n && r.err == nil; i++ {
			a.Section = append(a.Section, int(r.size()))
		}
	}
	if flags&attachmentSum != 0 {
		r.fill(a.Sum[:])
	}
	return a
}

func (r *reader) int() int64 {
	n, size := binary.Varint(r.b[r.pos:])
	if size <= 0 {
		r.fail("bad number")
		return 0
	}
	r.pos += size
	return n
}

// maxUnix is the first second of the year 10000.
const maxUnix = 253402300800

func (r *reader) time() time.Time {
	sec, zone := r.int(), r.int()
	if sec < -maxUnix || sec > maxUnix || zone < -48*3600 || zone > 48*3600 {
		r.fail("time out of range")
		return time.Time{}
	}
	if zone == 0 {
		return time.Unix(sec, 0).UTC()
	}
	return time.Unix(sec, 0).In(time.FixedZone("", int(zone)))
}
