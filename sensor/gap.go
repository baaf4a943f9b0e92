package sensor

import "time"

// openGap is a time of losses that may not be over.
type openGap struct {
	gap  Gap
	last time.Time
}

// quiet is how long nothing has to be lost for a gap to be over.
const quiet = 5 * time.Second

func (g *openGap) lost(now time.Time, why string) {
	if g.gap.From.IsZero() {
		g.gap = Gap{From: now.Add(-time.Second), Why: why}
	}
	g.last = now
}

// soFar is the gap as it is now, if there is one.
func (g *openGap) soFar() (Gap, bool) {
	return Gap{g.gap.From.UTC(), g.last.UTC(), g.gap.Why}, !g.gap.From.IsZero()
}

// over returns the gap if it has ended.
func (g *openGap) over(now time.Time) (Gap, bool) {
	if g.gap.From.IsZero() || now.Sub(g.last) < quiet {
		return Gap{}, false
	}
	done := g.gap
	done.From, done.To = done.From.UTC(), g.last.UTC()
	*g = openGap{}
	return done, true
}
