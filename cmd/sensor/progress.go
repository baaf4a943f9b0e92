package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// progressAfter is how long a scan takes before it is talked about.
	progressAfter = time.Second
	// progressEvery is how often the line changes at most.
	progressEvery = 100 * time.Millisecond
	// progressWidth fits any terminal, so that the line never wraps.
	progressWidth = 72
)

// progress is one line on a terminal that says how far a scan is. It is safe
// for concurrent use; one for no terminal does nothing.
type progress struct {
	w   io.Writer
	now func() time.Time

	mu    sync.Mutex // a scan reports from several goroutines
	due   time.Time
	shown bool
}

// newProgress returns a progress for standard error.
func newProgress(env *environment) *progress {
	if _, tty := terminal(env.stderr); !tty || env.getenv("TERM") == "dumb" {
		return &progress{}
	}
	return &progress{w: env.stderr, now: env.now, due: env.now().Add(progressAfter)}
}

// report returns the function that a scan calls, nil where nobody watches.
func (p *progress) report() func(done, total int, what string) {
	if p.w == nil {
		return nil
	}
	return p.show
}

func (p *progress) show(done, total int, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if now.Before(p.due) {
		return
	}
	p.due, p.shown = now.Add(progressEvery), true
	line := fmt.Sprintf("%s %d", escape(what), done)
	if total > 0 {
		line += fmt.Sprintf(" of %d", total)
	}
	// A terminal that cannot be written to is no reason to stop a scan.
	_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s", cut(line, progressWidth))
}

// clear takes the line away.
func (p *progress) clear() {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		_, _ = io.WriteString(p.w, "\r\x1b[K")
		p.shown = false
	}
}
