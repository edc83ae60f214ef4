package message

// AppendHeaderText appends a header block as a reader would read it: a line
// "Name: value" for each field, unfolded and decoded. It is what a search in the
// whole header looks at. Fields without a colon are appended as they stand.
func AppendHeaderText(dst, header []byte) []byte {
	for f := range Fields(header) {
		if len(f.Name) > 0 {
			dst = append(dst, f.Name...)
			dst = append(dst, ": "...)
		}
		dst = append(appendDecoded(dst, f.Value), '\n')
	}
	return dst
}

// appendDecoded appends what DecodeHeader makes of a value. Most values are plain: they are
// unfolded where they are to stand, and need no memory of their own.
func appendDecoded(dst, value []byte) []byte {
	from := len(dst)
	dst = appendUnfolded(dst, value)
	if isPlainText(view(dst[from:])) {
		return dst
	}
	return append(dst[:from], DecodeHeader(value)...)
}
