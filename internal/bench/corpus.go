package bench

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
)

// A Profile names a kind of mail that the generator makes.
type Profile string

// The profiles. Sizes are of whole messages, headers included.
const (
	ProfileSmall       Profile = "small"       // 4 kB mean: short text, some with a small HTML part
	ProfileLetter      Profile = "letter"      // 10 kB mean: text, half of it with HTML as an alternative
	ProfileMixed       Profile = "mixed"       // 30 kB mean: text and HTML, one in three with attachments
	ProfileAttachments Profile = "attachments" // about 600 kB mean: every message carries some of the same four files
	ProfileBig         Profile = "big"         // 64 MiB, just: one base64 attachment
)

// bigSize is the size of a ProfileBig message at most, and at least but for 100 octets.
const bigSize = 64 << 20

// Every message begins with a Message-ID of this form. Its 16 digits say which message it is, so a message that
// is read back is recognized whatever headers the server has put before it, and the same content can be sent
// again as another message by changing the digits alone.
const (
	idPrefix = "Message-ID: <"
	idDigits = 16
	idSuffix = ".bench@mail.example.net>\r\n"
	idLine   = len(idPrefix) + idDigits + len(idSuffix)
)

// A Corpus is a list of generated messages, in memory, the same for the same profile, seed and count.
type Corpus struct {
	Profile Profile
	content [][]byte
	stuffed map[int][]byte // the DATA form of the messages with a line that begins with a dot
	bytes   int64
	tag     uint32
}

// NewCorpus makes count messages. Messages with another seed differ in everything that is not common to all mail
// (attachments too, so no server can have seen them before). It uses all cores and keeps all in memory.
func NewCorpus(profile Profile, seed uint64, count int) (*Corpus, error) {
	if count < 1 || count > math.MaxInt32 {
		return nil, fmt.Errorf("corpus of %d messages: the count must be from 1 to %d", count, math.MaxInt32)
	}
	g, err := newGenerator(profile, seed)
	if err != nil {
		return nil, err
	}
	c := &Corpus{Profile: profile, content: make([][]byte, count), stuffed: make(map[int][]byte), tag: g.tag}
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	workers := min(runtime.GOMAXPROCS(0), count)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < count; i += workers {
				msg := g.message(i)
				c.content[i] = msg
				if stuffed, has := appendStuffed(nil, msg); has {
					mu.Lock()
					c.stuffed[i] = stuffed
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for _, m := range c.content {
		c.bytes += int64(len(m))
	}
	return c, nil
}

// Len is the number of messages.
func (c *Corpus) Len() int { return len(c.content) }

// Bytes is the size of all messages together, in octets.
func (c *Corpus) Bytes() int64 { return c.bytes }

// Content is message i as it was made; serial numbers i+Len(), i+2*Len() and so on are the same but for the digits
// of the Message-ID. The caller must not change it.
func (c *Corpus) Content(i int) []byte { return c.content[i%len(c.content)] }

// id gives the digits that stand for a serial number: 8 for the corpus, 8 for the number.
func (c *Corpus) id(serial int) [idDigits]byte {
	var d [idDigits]byte
	v := uint64(c.tag)<<32 | uint64(uint32(serial))
	for i := idDigits - 1; i >= 0; i-- {
		d[i] = hexDigits[v&15]
		v >>= 4
	}
	return d
}

// serial is the opposite of id. It reports false for digits of another corpus.
func (c *Corpus) serial(digits []byte) (int, bool) {
	if len(digits) != idDigits {
		return 0, false
	}
	v, err := strconv.ParseUint(string(digits), 16, 64)
	if err != nil || uint32(v>>32) != c.tag {
		return 0, false
	}
	return int(uint32(v)), true
}

// wire is what follows the Message-ID line in the DATA phase.
func (c *Corpus) wire(serial int) []byte {
	i := serial % len(c.content)
	if s, ok := c.stuffed[i]; ok {
		return s[idLine:]
	}
	return c.content[i][idLine:]
}

// findID returns the offset of the Message-ID line in what a server gave back, and the 16 digits in it.
func findID(b []byte) (int, []byte) {
	for from := 0; ; {
		i := bytes.Index(b[from:], []byte(idPrefix))
		if i < 0 {
			return -1, nil
		}
		i += from
		digits := i + len(idPrefix)
		end := digits + idDigits + len(idSuffix)
		if end <= len(b) && string(b[digits+idDigits:end]) == idSuffix && (i == 0 || b[i-1] == '\n') {
			return i, b[digits : digits+idDigits]
		}
		from = digits
	}
}

// corpusSeed gives each workload and run mail of its own.
func corpusSeed(seed uint64, workload string, run int) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d/%s/%d", seed, workload, run)
	return h.Sum64()
}

// A generator makes message i of a profile, each from a random source of its own, so in any order.
type generator struct {
	profile Profile
	seed    uint64
	tag     uint32
	vocab   *vocabulary
	shared  []attachment // of ProfileAttachments
}

func newGenerator(profile Profile, seed uint64) (*generator, error) {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s/%d", profile, seed)
	g := &generator{profile: profile, seed: seed, tag: h.Sum32(), vocab: newVocabulary(1)}
	switch profile {
	case ProfileSmall, ProfileLetter, ProfileMixed, ProfileBig:
	case ProfileAttachments:
		rng := rand.New(rand.NewPCG(seed, 0x736861726564))
		for _, f := range []struct {
			kind attachmentKind
			size int
		}{{kindPDF, 140_000}, {kindJPEG, 260_000}, {kindOffice, 480_000}, {kindCSV, 60_000}} {
			g.shared = append(g.shared, g.newAttachment(rng, f.kind, f.size))
		}
	default:
		return nil, fmt.Errorf("no such profile %q: allowed are small, letter, mixed, attachments, big", profile)
	}
	return g, nil
}

// size draws from a log-normal distribution with the given mean, within bounds.
func logNormal(rng *rand.Rand, mean, sigma float64, low, high int) int {
	mu := math.Log(mean) - sigma*sigma/2
	return min(max(int(math.Exp(mu+sigma*rng.NormFloat64())), low), high)
}

func (g *generator) message(i int) []byte {
	rng := rand.New(rand.NewPCG(g.seed, uint64(i)+1))
	m := &composer{g: g, rng: rng, serial: i}
	switch g.profile {
	case ProfileSmall:
		m.text(logNormal(rng, 4020, 0.45, 1500, 24_000), rng.IntN(3) == 0)
	case ProfileLetter:
		m.text(logNormal(rng, 10_000, 0.35, 3_000, 40_000), rng.IntN(2) == 0)
	case ProfileMixed:
		if rng.IntN(100) < 65 {
			m.text(logNormal(rng, 9_000, 0.7, 1800, 90_000), rng.IntN(5) > 0)
			break
		}
		m.withAttachments(logNormal(rng, 4_500, 0.5, 1800, 30_000), m.ownAttachments(logNormal(rng, 61_000, 0.7, 4_000, 600_000)))
	case ProfileAttachments:
		first := rng.IntN(len(g.shared))
		var files []attachment
		for k := range 1 + rng.IntN(len(g.shared)-1) {
			files = append(files, g.shared[(first+k)%len(g.shared)])
		}
		m.withAttachments(logNormal(rng, 4_500, 0.5, 1800, 30_000), files)
	case ProfileBig:
		m.big(bigSize)
	}
	return m.b
}
