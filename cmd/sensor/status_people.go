package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// condition is a status as people see it.
type condition struct {
	*sensor.Status
	zone *time.Location
	*screen
}

func (c *condition) write() {
	c.printf("sensor %s on %s, PID %d, up %s, %s\n\n", orUnknown(c.Version), orUnknown(c.Host.Name), c.PID,
		spanText(c.Now.Sub(c.StartedAt).Seconds()), c.readiness())
	c.tracking()
	c.line("follows", plain, fmt.Sprintf("%s, %s of %s", count(c.Processes, "process", "processes"),
		count(c.Loads, "load", "loads"), count(c.Files, "file", "files")))
	c.findings()
	c.line("judged", plain, c.judgements())
	c.losses()
	c.gaps()
	c.store()
	c.line("costs", plain, c.costs())
	c.patches()
	if len(c.Warnings) > 0 {
		c.printf("\n%s\n", styled{bold, "Notes:"})
	}
	for _, w := range c.Warnings {
		c.printf("  %s\n", warningText(w))
	}
}

// line prints one fact.
func (c *condition) line(label string, s style, text string) {
	c.printf("  %-9s %s\n", label, styled{s, text})
}

func (c *condition) readiness() styled {
	if c.Ready {
		return styled{green, "ready"}
	}
	return styled{cyan, "not ready: it still looks at all that runs"}
}

// tracking says by what code is seen, and why not by what stands before it.
func (c *condition) tracking() {
	t := &c.Tracking
	c.line("sees", plain, fmt.Sprintf("code by %s, mappings by %s", orUnknown(t.Tier), orUnknown(t.Source)))
	for _, better := range t.Tiers {
		if better.Name == t.Tier {
			if level(better) != sensor.LevelOK {
				c.line("", dim, better.Found)
			}
			return
		}
		text := "not by " + better.Name + ": " + better.Found
		if better.Remedy != "" {
			text += " → " + better.Remedy
		}
		c.line("", dim, text)
	}
}

func (c *condition) findings() {
	if c.Reboot != nil && c.Reboot.Need != sensor.NeedNone {
		c.line("host", yellow, rebootText(c.Reboot.Need)+strings.Join(c.Reboot.Why, "; "))
	}
	s := c.Summary
	switch {
	case s == nil:
		c.line("found", cyan, "nothing yet")
	case s.Missing+s.Stale+s.Unknown == 0:
		c.line("found", green, "nothing stale in "+count(s.Workloads, "workload", "workloads"))
	default:
		worst := yellow
		switch {
		case s.Missing > 0:
			worst = red
		case s.Stale == 0:
			worst = cyan
		}
		c.line("found", worst, fmt.Sprintf("%d missing, %d stale, %d unknown in %s", s.Missing, s.Stale, s.Unknown,
			count(s.Workloads, "workload", "workloads")))
	}
}

func (c *condition) judgements() string {
	if c.JudgedAt == nil {
		return "not yet"
	}
	j := &c.Judgements
	return fmt.Sprintf("%s ago in %s, %d times since the start", spanText(c.Now.Sub(*c.JudgedAt).Seconds()), millis(j.LastSeconds), j.Count)
}

func millis(seconds float64) string { return fmt.Sprintf("%.0f ms", 1000*seconds) }

// losses lists the counters that moved.
func (c *condition) losses() {
	var lost []string
	for _, l := range c.Losses {
		if l.Count > 0 {
			lost = append(lost, fmt.Sprintf("%s %d", l.Name, l.Count))
		}
	}
	if len(lost) == 0 {
		c.line("lost", plain, "nothing")
		return
	}
	c.line("lost", yellow, strings.Join(lost, ", "))
}

// gaps shows the newest ones.
func (c *condition) gaps() {
	if len(c.Gaps) == 0 {
		c.line("gaps", plain, "none")
		return
	}
	newest := slices.SortedStableFunc(slices.Values(c.Gaps), func(a, b sensor.Gap) int { return b.From.Compare(a.From) })
	label := "gaps"
	for i, g := range newest {
		if i == maxShown {
			c.line("", plain, fmt.Sprintf("and %d before (-o json)", len(newest)-i))
			return
		}
		c.line(label, yellow, fmt.Sprintf("%s, for %s: %s", c.moment(g.From), spanText(g.To.Sub(g.From).Seconds()), g.Why))
		label = ""
	}
}

func (c *condition) store() {
	if c.Store.Error != "" {
		c.line("keeps", red, fmt.Sprintf("nothing in %s: %s", c.Store.Path, c.Store.Error))
		return
	}
	c.line("keeps", plain, fmt.Sprintf("%s in %s", sizeText(uint64(max(c.Store.Bytes, 0))), orUnknown(c.Store.Path)))
}

func (c *condition) costs() string {
	text := fmt.Sprintf("%.1f s of CPU", c.CPUSeconds)
	if up := c.Now.Sub(c.StartedAt).Seconds(); up > 0 {
		text += fmt.Sprintf(" (%.2f %% of one)", 100*c.CPUSeconds/up)
	}
	return text + ", " + sizeText(c.MemoryBytes) + " of memory"
}

// sizeText is a number of bytes in the unit that fits.
func sizeText(n uint64) string {
	const mib, gib = 1 << 20, 1 << 30
	switch {
	case n >= 10*gib:
		return fmt.Sprintf("%.1f GiB", float64(n)/gib)
	case n >= mib:
		return fmt.Sprintf("%.1f MiB", float64(n)/mib)
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/1024)
}

// patches is a table of the last ones and what each still waits for.
func (c *condition) patches() {
	if len(c.Patches) == 0 {
		c.printf("\nNo package changed since the store began.\n")
		return
	}
	t := table{columns: []column{
		{head: "PATCHED"}, {head: "PACKAGE", min: 20}, {head: "STALE"}, {head: "SINCE", drop: true},
	}}
	for i := range c.Patches {
		p := &c.Patches[i]
		stale, since := cell{text: "effective", style: green}, cell{}
		if p.Stale > 0 {
			stale = cell{text: count(p.Stale, "workload", "workloads"), short: fmt.Sprint(p.Stale), style: yellow}
			if p.Since != nil {
				since.text = ageText(c.Now.Sub(*p.Since)) + " (" + c.moment(*p.Since) + ")"
				since.short = ageText(c.Now.Sub(*p.Since))
			}
		}
		t.add(cell{text: c.moment(p.Time)}, cell{text: patchText(&p.Patch)}, stale, since)
	}
	c.printf("\n")
	t.write(c.printer, c.width)
}

func (c *condition) moment(t time.Time) string { return t.In(c.zone).Format(time.DateTime) }
