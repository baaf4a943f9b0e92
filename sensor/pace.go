package sensor

import "time"

// pace spreads the worker's looks: soon after something happened, but seldom
// enough that the sensor does not take a large part of a processor, however much
// happens. It has no clock of its own.
type pace struct {
	due     *time.Timer
	pending bool
	next    time.Time // not before
}

const (
	// lag is how long to wait for what comes together with the first event.
	lag = 25 * time.Millisecond
	// rest is how long to pause at least between looks, and share how much longer
	// a pause is than the look before it.
	rest  = 100 * time.Millisecond
	share = 10
	// longest is the longest pause.
	longest = 5 * time.Second
)

// schedule makes the timer fire soon, if it is not about to.
func (p *pace) schedule(now time.Time) {
	if p.pending {
		return
	}
	p.pending = true
	wait := max(lag, p.next.Sub(now))
	if p.due == nil {
		p.due = time.NewTimer(wait)
		return
	}
	p.due.Reset(wait)
}

// timer fires when it is time to look; nil if there is no reason to.
func (p *pace) timer() <-chan time.Time {
	if !p.pending {
		return nil
	}
	return p.due.C
}

// done takes note of a look, or of an answer, which is as good as one.
func (p *pace) done(began, ended time.Time) {
	p.pending = false
	if p.due != nil {
		p.due.Stop()
	}
	p.next = ended.Add(min(max(rest, share*ended.Sub(began)), longest))
}

// hold makes those who ask wait for as long as the last answer took: however many
// ask, the sensor spends half of its time on other things.
type hold struct{ until time.Time }

// wait fires when questions may be taken again; nil if they may be now.
func (h *hold) wait(now time.Time) <-chan time.Time {
	if !now.Before(h.until) {
		return nil
	}
	return time.After(h.until.Sub(now))
}

func (h *hold) done(began, ended time.Time) { h.until = ended.Add(ended.Sub(began)) }
