package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// searches is how many words are searched for, each once.
const searches = 20

// pageLimit is how many results a page of the API may have.
const pageLimit = 250

// A finder returns the serial numbers of what a search for a word gives, and how many there are in all, which can be more.
type finder func(word string) (serials []int, total int, err error)

func (m *filledMailbox) searchBody(b band) step {
	return func(ctx context.Context, res *Result) error {
		numbers, err := m.numbering(ctx)
		if err != nil {
			return err
		}
		c, err := openIMAP(ctx, &m.o, m.user)
		if err != nil {
			return err
		}
		defer c.close()
		return m.search(res, b, func(word string) ([]int, int, error) {
			var found []int
			err := c.command("SEARCH BODY "+quote(word), func(line []byte) error {
				var err error
				found, err = appendFound(found, line, numbers)
				return err
			})
			return found, len(found), err
		})
	}
}

// appendFound reads an untagged SEARCH (RFC 3501 section 7.2.5).
func appendFound(found []int, line []byte, numbers []listed) ([]int, error) {
	rest, ok := bytes.CutPrefix(line, []byte("* SEARCH"))
	if !ok {
		return found, nil
	}
	for _, f := range bytes.Fields(rest) {
		n, err := strconv.Atoi(string(f))
		if err != nil || n < 1 || n > len(numbers) {
			return nil, fmt.Errorf("SEARCH says %q", line)
		}
		found = append(found, numbers[n-1].serial)
	}
	return found, nil
}

func (m *filledMailbox) searchAPI(b band) step {
	return func(ctx context.Context, res *Result) error {
		numbers, err := m.numbering(ctx)
		if err != nil {
			return err
		}
		serials := make(map[int]int, len(numbers))
		for _, n := range numbers {
			serials[n.uid] = n.serial
		}
		var who struct{ ID string }
		if err := m.getAPI(ctx, "/users/resolve/"+url.PathEscape(m.user.name), &who); err != nil {
			return err
		}
		return m.search(res, b, func(word string) ([]int, int, error) {
			q := url.Values{"query": {word}, "limit": {strconv.Itoa(pageLimit)}}
			return m.foundByAPI(ctx, "/users/"+who.ID+"/search?"+q.Encode(), serials)
		})
	}
}

func (m *filledMailbox) foundByAPI(ctx context.Context, path string, serials map[int]int) ([]int, int, error) {
	var page struct {
		Total   int
		Results []struct{ ID int }
	}
	if err := m.getAPI(ctx, path, &page); err != nil {
		return nil, 0, err
	}
	var found []int
	for _, r := range page.Results {
		serial, ok := serials[r.ID]
		if !ok {
			return nil, 0, fmt.Errorf("search gives UID %d, which is not in the mailbox", r.ID)
		}
		found = append(found, serial)
	}
	if len(found) != min(page.Total, pageLimit) {
		return nil, 0, fmt.Errorf("search gives %d messages of %d", len(found), page.Total)
	}
	return found, page.Total, nil
}

// search looks for every needle, takes the times, and compares with what should have been found.
func (m *filledMailbox) search(res *Result, b band, find finder) error {
	wanted, err := needles(m.corpus, b, searches, m.o.Seed)
	if err != nil {
		return err
	}
	var taken []time.Duration
	missed, foreign, cpu := 0, 0, startTree(m.o.nodes())
	for _, n := range wanted {
		begin := time.Now()
		found, total, err := find(n.word)
		if err != nil {
			return err
		}
		taken = append(taken, time.Since(begin))
		extra := without(found, n.in)
		if !m.o.InexactSearch && (total != len(n.in) || len(extra) > 0) {
			return fmt.Errorf("search for %q gives %d messages, of which %v do not have it; %d have it", n.word, total, extra, len(n.in))
		}
		missed, foreign = missed+max(len(n.in)-total+len(extra), 0), foreign+len(extra)
		res.Messages += len(n.in)
	}
	cpu.record(res, Metric{Name: "server cpu", Unit: "µs/search", Lower: true}, len(taken))
	latencies(res, taken)
	res.add(Metric{Name: "not found", Unit: "messages", Lower: true, Info: true}, float64(missed))
	res.add(Metric{Name: "found without reason", Unit: "messages", Lower: true, Info: true}, float64(foreign))
	return nil
}

// without gives what is in a and not in b, which is sorted.
func without(a, b []int) []int {
	var left []int
	for _, v := range a {
		if _, ok := slices.BinarySearch(b, v); !ok {
			left = append(left, v)
		}
	}
	return left
}

// getAPI reads an answer of the HTTP API.
func (s *session) getAPI(ctx context.Context, path string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(s.o.API, "/")+path, nil)
	if err != nil {
		return err
	}
	b, err := s.callAPI(req)
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return fmt.Errorf("GET %s: %w: %.300s", path, err, b)
	}
	return nil
}

// client keeps its connections.
func (s *session) client() *http.Client {
	s.once.Do(func() {
		s.http = &http.Client{Transport: &http.Transport{DialContext: s.o.dial, MaxIdleConnsPerHost: 8}}
	})
	return s.http
}

// callAPI sends a request and returns the answer to one that was done.
func (s *session) callAPI(req *http.Request) ([]byte, error) {
	if s.o.AccessToken != "" {
		req.Header.Set("X-Access-Token", s.o.AccessToken)
	}
	resp, err := s.client().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %.300s", resp.Status, answer)
	}
	return answer, nil
}
