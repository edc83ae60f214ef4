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
		dst = append(dst, DecodeHeader(f.Value)...)
		dst = append(dst, '\n')
	}
	return dst
}
