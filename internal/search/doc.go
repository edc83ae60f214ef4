// Package search says what matches: the query tree of IMAP SEARCH and of the HTTP API, the rule by which text is
// compared, and the signatures by which an engine finds messages without reading them.
//
// It is pure: no I/O but through [Document], no storage, no protocol. It imports package mail for the vocabulary and
// must not import anything else of Mallard.
//
// # How text is compared
//
// Text and search strings are folded, and a string matches where its folded form is a substring of the folded text.
// [Fold] is i;unicode-casemap (RFC 5051) with additions that make what looks alike compare alike:
//
//   - Octets that are not UTF-8 become U+FFFD, one each.
//   - Each character is decomposed for compatibility (NFKD): "ﬁ" is "fi", full width is ASCII, "é" is "e" and an accent.
//   - Letters are lowered, through their title case: "Σ", "σ" and "ς" are one, "ı" is "i". "ß" is "ss".
//   - Characters that are not seen (Default_Ignorable_Code_Point: soft hyphens, joiners, direction marks) are dropped.
//   - Each run of white space, line ends included, is one space.
//   - Combining marks are in canonical order, so that composed and decomposed text agree. (The iota subscript U+0345 is
//     a mark like the others.) Of a run of more than 32 marks each 32 are ordered apart.
//
// Accents count: "resume" does not find "résumé". As the accent comes after the letter, a string that ends before it
// does match, as RFC 5051 has it: "cafe" finds "café", but "cafes" does not find "cafés".
//
// The tables are those of the Unicode version of the Go release and of x/text. The stability policies of Unicode keep
// the result for assigned characters the same in all versions, so that stored signatures stay valid.
//
// # Cost
//
// A [Query] is data. [Compile] checks it against [Limits] and prepares it; the [Program] is evaluated in the order of
// what the data costs: flags and numbers first, then the record, stored summaries, the header, and the text of the
// message only when nothing cheaper decides. [Program.Needs] and the three-valued evaluations let an engine answer from
// its small records, and [Program.Candidates] says which strings must be in the text, for the index.
//
// # Signatures
//
// A [Signature] is a Bloom filter over the trigrams (three octets in a row) of a folded text, with 1.9 to 3.8 bits for
// each distinct trigram. It never denies a string that is there; how often it fails to deny one that is not is the share
// of set bits (41 per cent at most, unless the text exceeds the largest bitmap) to the power of the distinct trigrams
// of the string.
package search
