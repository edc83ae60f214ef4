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
// each distinct trigram. It never denies a string that is there. How often it fails to deny a word that is not there
// depends on the fill (about 30 per cent of the bits) while texts are short, and on chance trigrams of other words in
// long ones. Measured on English documentation, 200 texts of each size, with words from the whole corpus:
//
//	text (octets)   signature   words of 4   6      8      10 letters that are not there and are not denied
//	1,000           12.9 %      14 %         3 %    1 %    0.6 %
//	4,000            7.8 %      16 %         6 %    3 %    2 %
//	30,000           3.1 %      28 %        20 %   16 %   15 %
//	100,000          1.6 %      39 %        36 %   33 %   34 %
//
// Building one takes 1 to 1.2 ns for an octet of folded text and a microsecond for each text, a [Probe] some 4 ns for
// a signature, folding 0.6 ns an octet of ASCII and 3 to 5 ns of other scripts (one core of an AMD EPYC server).
package search
