package control

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// Checker verifies the whole store. It calls progress and problem as it goes, one
// at a time, and returns an error only when it could not go on. With repair it puts
// right what can be put right.
type Checker func(ctx context.Context, repair bool, progress func(CheckProgress), problem func(Problem)) (*CheckReport, error)

// CheckProgress says how far a check is.
type CheckProgress struct {
	Stage string `json:"stage"`           // what is looked at now
	Done  int64  `json:"done"`            // of Total
	Total int64  `json:"total,omitempty"` // 0 when it is not known
	Unit  string `json:"unit,omitempty"`
}

// Problem is one thing that is wrong.
type Problem struct {
	// Where names what is wrong: a file, an account, a mailbox, a message.
	Where string `json:"where"`
	Text  string `json:"text"`
}

// CheckReport sums up a check that came to its end.
type CheckReport struct {
	Problems int64   `json:"problems"`
	Repaired int64   `json:"repaired,omitempty"` // of Problems
	Seconds  float64 `json:"seconds"`
	// Counts is how many of each kind of thing were looked at.
	Counts map[string]int64 `json:"counts,omitempty"`
}

// CheckLine is a line of the answer to POST /_control/check?repair=true: one of its members.
// The last line has Report or Error.
type CheckLine struct {
	Progress *CheckProgress `json:"progress,omitempty"`
	Problem  *Problem       `json:"problem,omitempty"`
	Report   *CheckReport   `json:"report,omitempty"`
	Error    string         `json:"error,omitempty"`
}

// progressEvery is the least time between two lines of progress.
const progressEvery = 200 * time.Millisecond

// check verifies the store and tells how far it is, line by line.
func (s *Server) check(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	w.Header().Set("Content-Type", "application/jsonlines")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	var mu sync.Mutex
	send := func(l CheckLine) {
		mu.Lock()
		defer mu.Unlock()
		if enc.Encode(l) != nil || flush.Flush() != nil {
			cancel() // nobody listens
		}
	}
	var last time.Time
	report, err := s.o.Check(ctx, r.URL.Query().Get("repair") == "true", func(p CheckProgress) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			send(CheckLine{Progress: &p})
		}
	}, func(p Problem) { send(CheckLine{Problem: &p}) })
	if err != nil {
		send(CheckLine{Error: publicText(err)})
		return
	}
	send(CheckLine{Report: report})
}
