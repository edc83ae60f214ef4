package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// progressFlag asks for progress where there is no terminal.
type progressFlag struct {
	Progress bool `help:"Show progress on standard error also when that is no terminal."`
}

// progress shows how far something is: on a terminal in one line that changes,
// elsewhere, when it is asked for, in lines.
type progress struct {
	on, terminal bool
	every        time.Duration
	start, last  time.Time
	width        int
}

func (f progressFlag) open() *progress {
	p := &progress{terminal: isTerminal(os.Stderr), every: 2 * time.Second, start: time.Now()}
	p.on = f.Progress || p.terminal
	if p.terminal {
		p.every = 200 * time.Millisecond
	}
	return p
}

// show shows the text unless it did so just before.
func (p *progress) show(text func() string) {
	if now := time.Now(); p.on && now.Sub(p.last) >= p.every {
		p.last = now
		p.write(text())
	}
}

func (p *progress) write(text string) {
	if !p.terminal {
		fmt.Fprintln(os.Stderr, text)
		return
	}
	fmt.Fprint(os.Stderr, "\r", text, strings.Repeat(" ", max(p.width-len(text), 0)))
	p.width = len(text)
}

// clear takes the line away, for other output.
func (p *progress) clear() {
	if p.on && p.terminal && p.width > 0 {
		fmt.Fprint(os.Stderr, "\r", strings.Repeat(" ", p.width), "\r")
		p.width = 0
	}
}

// problem tells on standard error what went wrong with one thing.
func (p *progress) problem(where, text string) {
	p.clear()
	fmt.Fprintf(os.Stderr, "mallard: %s: %s\n", plain(where), plain(text))
}

// rate describes the speed so far, and the time that is left for some more messages.
func (p *progress) rate(messages int, octets int64, left int) string {
	elapsed := time.Since(p.start)
	if messages == 0 || elapsed < time.Millisecond {
		return "starting"
	}
	s := elapsed.Seconds()
	text := fmt.Sprintf("%.0f messages/s, %s/s", float64(messages)/s, bytesText(int64(float64(octets)/s)))
	if left > 0 {
		text += fmt.Sprintf(", %s left", time.Duration(float64(left)/float64(messages)*float64(elapsed)).Round(time.Second))
	}
	return text
}
