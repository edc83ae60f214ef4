package bench

import (
	"math"
	"math/rand/v2"
	"strings"
)

// The most frequent words of English prose in about the order of their frequency. Zipf's law gives them half of
// a text, which is what makes generated text compress and index like written text.
const frequentWords = `the of and to a in is that for it as was with be by on not he his but at are this have from or had an they which one you were all her she there would their we him been has when who will no more if out so up said what its about than into them can only other time new some could these two may first then do any like my now over such our man me even most made after also did many off before must well back through years much where your way down should because long each just state those people too mr how little good world make very year still see own work men day get here old life both between being under three never know same last another while us might great go come since against right came take used himself few house use place during without again home around small however found mrs part school thought went say general once upon war every left number until always away something fact public hand set nothing point water system group days order better room head program problem second given company family office meeting please regards thanks attached invoice report project team week month schedule update customer contract payment account service review document version question answer discussed deadline budget quarter numbers kind forward morning afternoon tomorrow yesterday monday tuesday wednesday thursday friday available confirm change request delivery address email message list server release software user data file page link click below subject reply sent received`

// letters of made-up words, weighted roughly as English has them
var (
	onsets = strings.Fields("b c d f g h j l m n p r s t v w b c d f l m n p r s t b c d l m p r s t c d m p s br ch cl cr dr fl gr pl pr qu sh sp st th tr")
	nuclei = strings.Fields("a e i o u a e i o u a e i o a e i ea ee ou io")
	codas  = strings.Fields("l m n r s t n r s t n r s t n r l d c ct nd ng nt rt ss st")
	tails  = strings.Fields("ing ed er ly tion ment ness able al ive ous ity ance ful s es est ism")
)

const (
	vocabularySize = 12000
	zipfExponent   = 1.05
	zipfTableBits  = 17
)

// A vocabulary draws words as written language does: rank r with a probability in proportion to 1/r^1.05.
type vocabulary struct {
	words []string
	ranks []uint16 // a draw of zipfTableBits random bits gives a rank
}

// newVocabulary makes the same vocabulary for the same seed.
func newVocabulary(seed uint64) *vocabulary {
	rng := rand.New(rand.NewPCG(seed, 0x766f63616275))
	v := &vocabulary{words: strings.Fields(frequentWords)}
	seen := make(map[string]bool, vocabularySize)
	for _, w := range v.words {
		seen[w] = true
	}
	for len(v.words) < vocabularySize {
		if w := inventWord(rng); !seen[w] {
			seen[w] = true
			v.words = append(v.words, w)
		}
	}
	v.ranks = zipfTable(len(v.words))
	return v
}

func inventWord(rng *rand.Rand) string {
	var b strings.Builder
	for range 1 + (1+rng.IntN(5))/2 {
		b.WriteString(onsets[rng.IntN(len(onsets))])
		b.WriteString(nuclei[rng.IntN(len(nuclei))])
		if rng.IntN(3) == 0 {
			b.WriteString(codas[rng.IntN(len(codas))])
		}
	}
	if rng.IntN(3) == 0 {
		b.WriteString(tails[rng.IntN(len(tails))])
	}
	return b.String()
}

// zipfTable turns the distribution into a table of equally likely entries, so that a draw is one lookup.
func zipfTable(n int) []uint16 {
	var total float64
	for r := 1; r <= n; r++ {
		total += math.Pow(float64(r), -zipfExponent)
	}
	table := make([]uint16, 0, 1<<zipfTableBits)
	var cumulated float64
	for r := 1; r <= n; r++ {
		cumulated += math.Pow(float64(r), -zipfExponent)
		upTo := int(cumulated / total * (1 << zipfTableBits))
		for len(table) < upTo {
			table = append(table, uint16(r-1))
		}
	}
	for len(table) < 1<<zipfTableBits {
		table = append(table, uint16(n-1))
	}
	return table
}

func (v *vocabulary) word(rng *rand.Rand) string {
	return v.words[v.ranks[rng.Uint64()>>(64-zipfTableBits)]]
}

// A sentence ends without a line break; callers wrap.
func (v *vocabulary) appendSentence(b []byte, rng *rand.Rand) []byte {
	words := 4 + rng.IntN(16)
	for i := range words {
		w := v.word(rng)
		if i == 0 {
			b = append(b, w[0]-'a'+'A')
			b = append(b, w[1:]...)
			continue
		}
		if i > 2 && rng.IntN(12) == 0 {
			b = append(b, ',')
		}
		b = append(b, ' ')
		switch rng.IntN(200) {
		case 0:
			b = appendNumber(b, rng.IntN(10000))
		case 1:
			b = append(b, "Zürich"...)
		case 2:
			b = append(b, "café"...)
		default:
			b = append(b, w...)
		}
	}
	return append(b, sentenceEnds[rng.IntN(len(sentenceEnds))])
}

const sentenceEnds = "......?!:"

func (v *vocabulary) appendParagraph(b []byte, rng *rand.Rand) []byte {
	for i := range 1 + rng.IntN(6) {
		if i > 0 {
			b = append(b, ' ')
		}
		b = v.appendSentence(b, rng)
	}
	return b
}
