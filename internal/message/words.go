package message

// words are the strings that most messages contain. The codecs store the
// index, so entries are only ever appended.
var words = [...]string{
	"", "TEXT", "PLAIN", "HTML", "MULTIPART", "MIXED", "ALTERNATIVE", "RELATED",
	"APPLICATION", "OCTET-STREAM", "IMAGE", "PNG", "JPEG", "GIF", "MESSAGE", "RFC822",
	"CHARSET", "UTF-8", "utf-8", "US-ASCII", "us-ascii", "ISO-8859-1", "iso-8859-1", "windows-1252",
	"BOUNDARY", "NAME", "FILENAME", "FORMAT", "flowed", "DELSP", "TYPE", "PROTOCOL",
	"7BIT", "8BIT", "BINARY", "BASE64", "QUOTED-PRINTABLE", "INLINE", "ATTACHMENT", "SIZE",
	"PDF", "CALENDAR", "METHOD", "REQUEST", "REPORT", "DELIVERY-STATUS", "DISPOSITION-NOTIFICATION", "REPORT-TYPE",
	"SIGNED", "ENCRYPTED", "PGP-SIGNATURE", "PGP-ENCRYPTED", "PKCS7-SIGNATURE", "PKCS7-MIME", "MICALG", "SMIME-TYPE",
	"NAME*", "FILENAME*", "DIGEST", "AUDIO", "VIDEO", "X-UNIX-MODE", "CREATION-DATE", "MODIFICATION-DATE",
	"CSV", "ZIP", "XML", "JSON", "MSWORD", "RTF", "RFC822-HEADERS", "X-ZIP-COMPRESSED",
	"iso-8859-15", "utf8", "UTF8", "yes", "no", "text/html", "multipart/alternative", "text/plain",
	"multipart/mixed", "multipart/related", "application/octet-stream", "application/pdf", "image/png", "image/jpeg", "message/rfc822", "Windows-1252",
}

// wordIndex finds a string in words.
var wordIndex = func() map[string]int {
	m := make(map[string]int, len(words))
	for i, w := range words {
		m[w] = i
	}
	return m
}()
