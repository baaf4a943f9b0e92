package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// writeEvent prints an event as one line.
func writeEvent(p *printer, e *sensor.Event, zone *time.Location) {
	p.printf("%s  %s  %s\n", e.Time.In(zone).Format(time.DateTime), styled{eventStyle(e.Type), fmt.Sprintf("%-8s", e.Type)}, eventText(e, zone))
}

func eventStyle(t sensor.EventType) style {
	switch t {
	case sensor.EventMissing:
		return red
	case sensor.EventStale, sensor.EventChanged:
		return yellow
	case sensor.EventUnknown, sensor.EventGap:
		return cyan
	case sensor.EventResolved:
		return green
	}
	return plain
}

// eventText says what happened to whom.
func eventText(e *sensor.Event, zone *time.Location) string {
	switch {
	case e.Patch != nil:
		return patchText(e.Patch)
	case e.Gap != nil:
		return gapText(e.Gap, zone)
	case e.Finding == nil:
		return "of this nothing is known here: the sensor is newer than this program"
	case e.Type == sensor.EventResolved:
		return e.Finding.Workload.Name + exposureText(e.Exposure)
	case e.Type == sensor.EventChanged:
		return e.Finding.Workload.Name + " is still " + string(e.Finding.State) + ": " + findingText(e.Finding)
	}
	return e.Finding.Workload.Name + " " + findingText(e.Finding)
}

func patchText(p *sensor.Patch) string {
	text := p.Package + " " + p.From + " → " + p.To
	switch {
	case p.From == "":
		text = p.Package + " " + p.To + " is new"
	case p.To == "":
		text = p.Package + " " + p.From + " was removed"
	}
	if p.Root != "" && p.Root != "/" {
		text += " in " + p.Root
	}
	return text
}

// gapText leaves out when it was if that is not known.
func gapText(g *sensor.Gap, zone *time.Location) string {
	if !g.From.Before(g.To) {
		return g.Why
	}
	return fmt.Sprintf("not everything was observed from %s to %s: %s",
		g.From.In(zone).Format(time.DateTime), g.To.In(zone).Format(time.DateTime), g.Why)
}

func exposureText(x *sensor.Exposure) string {
	if x == nil {
		return ""
	}
	if x.AtLeast {
		return " after at least " + spanText(x.Seconds)
	}
	return " after " + spanText(x.Seconds)
}

// spanText says how long something took, to two units.
func spanText(seconds float64) string {
	const minute, hour, day = 60, 60 * 60, 24 * 60 * 60
	s := int64(seconds)
	switch {
	case s >= day:
		return fmt.Sprintf("%dd%dh", s/day, s%day/hour)
	case s >= hour:
		return fmt.Sprintf("%dh%dm", s/hour, s%hour/minute)
	case s >= minute:
		return fmt.Sprintf("%dm%ds", s/minute, s%minute)
	case s >= 10:
		return fmt.Sprintf("%ds", s)
	}
	return fmt.Sprintf("%.1fs", max(seconds, 0))
}

// findingText says what a workload runs and what to do about it.
func findingText(x *sensor.Finding) string {
	switch x.State {
	case sensor.Missing:
		return "runs " + some(missingFiles(x)) + ", which is gone from the disk; " + adviceText(x)
	case sensor.Stale:
		return runsText(x) + some(olderCode(x)) + "; " + adviceText(x)
	}
	if x.State == sensor.Effective {
		return "runs nothing that is older: " + string(x.Reason)
	}
	return "cannot be judged: " + string(x.Reason)
}

// runsText tells what runs from what ended before anybody could look at it.
func runsText(x *sensor.Finding) string {
	if len(x.Processes) == 0 || slices.ContainsFunc(x.Processes, func(p sensor.Process) bool { return p.EndedAt == nil }) {
		return "runs "
	}
	p := &x.Processes[0]
	return fmt.Sprintf("had a process %d (%s), which has ended; it ran ", p.PID, p.Comm)
}

func adviceText(x *sensor.Finding) string {
	if x.State == sensor.Stale && x.Remedy.Action == sensor.None {
		return "nothing to restart"
	}
	return remedyOf(x).text
}

// olderCode names what is older than what is installed, by package where that is
// known.
func olderCode(x *sensor.Finding) []string {
	var parts []string
	for _, p := range packagesOf(x) {
		if p.Name == "" {
			for _, path := range filesOf(x, "") {
				parts = append(parts, path+" ("+string(x.Reason)+")")
			}
			continue
		}
		text := p.Name + " " + p.Loaded.Version
		if p.Loaded.Version == "" {
			text = "an older " + p.Name
		}
		if p.Installed.Version != "" {
			text += " while " + p.Installed.Version + " is " + whereNewer(x)
		}
		if c := cves(&p, true); len(p.CVEs) > 0 {
			text += " (CVEs: " + c.text + ")"
		}
		parts = append(parts, text)
	}
	return parts
}

// whereNewer says where the version stands that a package has now.
func whereNewer(x *sensor.Finding) string {
	if x.Reason == sensor.ImageSuperseded {
		return "in the newer image"
	}
	return "installed"
}

// some lists the first few.
func some(parts []string) string {
	if len(parts) == 0 {
		return "code that is not named"
	}
	if n := len(parts) - maxShown; n > 0 {
		parts = append(parts[:maxShown:maxShown], fmt.Sprintf("%d more", n))
	}
	return strings.Join(parts, ", ")
}
