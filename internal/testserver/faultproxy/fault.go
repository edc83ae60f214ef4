package faultproxy

import (
	"fmt"
	"time"
)

// Where a fault strikes.
type Where int

const (
	// Request: the server does not see the request, or not all of it.
	Request Where = iota
	// Answer: the server has acted, and the client does not see the answer, or not all of it.
	Answer
)

// How a fault shows.
type How int

const (
	// Reset ends both connections as a host that is gone does (RST).
	Reset How = iota
	// Close ends both connections in order (FIN).
	Close
	// HalfClose ends one direction: at Request the server reads the end of the connection, at Answer the client does. The
	// other direction stays open.
	HalfClose
	// Hold passes nothing on in either direction and keeps both connections open, until Heal.
	Hold
	// Wait passes the message on after Fault.Time.
	Wait
	// Deny answers as a server of MongoDB does that is no longer the primary: at Request the server does not see the
	// request, at Answer it has carried it out and was interrupted then. Connections stay. Mongo alone.
	Deny
)

// A Fault is what happens to one message. The zero value resets both connections before a request has reached the server.
type Fault struct {
	Where  Where
	How    How
	Octets int           // of the message that pass before the fault; negative: all
	Time   time.Duration // of Wait
}

func (f Fault) String() string {
	s := [...]string{"request", "answer"}[f.Where] + " " + [...]string{"reset", "closed", "half closed", "held", "delayed", "denied"}[f.How]
	switch {
	case f.How == Wait:
		s += " by " + f.Time.String()
	case f.Octets < 0:
		s += " behind it"
	case f.Octets > 0:
		s += fmt.Sprintf(" after %d octets", f.Octets)
	}
	return s
}

// Cuts are the faults that an operation must survive at every request: each ends the connection.
func Cuts() []Fault {
	return []Fault{
		{Where: Request, How: Reset},
		{Where: Request, How: Close, Octets: 20},
		{Where: Request, How: HalfClose, Octets: -1},
		{Where: Answer, How: Reset},
		{Where: Answer, How: Close, Octets: 20},
		{Where: Answer, How: HalfClose},
	}
}
