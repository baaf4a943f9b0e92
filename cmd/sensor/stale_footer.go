package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/patchsensor/patchsensor/sensor"
)

// conclude says in one line what came out, and in another who said so if that was
// not this process. "Nothing stale" is only said when everything was seen.
func (v *view) conclude(p *printer) {
	v.verdict(p)
	v.exploited(p)
	if v.Source == sourceDaemon {
		p.printf("source: daemon, as of %s\n", v.moment(v.ScannedAt))
	}
}

func (v *view) verdict(p *printer) {
	s := v.Summary
	looked := fmt.Sprintf("%s in %s", count(s.Processes, "process", "processes"), count(s.Workloads, "workload", "workloads"))
	if v.Host.Name != "" {
		looked += " on " + v.Host.Name
	}
	var found []string
	for _, n := range []struct {
		n    int
		what string
	}{{s.Missing, "missing"}, {s.Stale, "stale"}, {s.Unknown, "unknown"}} {
		if n.n > 0 {
			found = append(found, fmt.Sprintf("%d %s", n.n, n.what))
		}
	}
	about := ""
	if v.asked != "" {
		about = " for " + v.asked
	}
	switch {
	case len(found) > 0:
		p.printf("%s%s; looked at %s.\n", styled{bold, strings.Join(found, ", ")}, about, looked)
	case s.Processes == 0:
		p.printf("%s%s: no process was seen.\n", styled{cyan, "Could not tell"}, about)
	case outcome(v.Report) != exitFine:
		p.printf("%s%s: the report is incomplete; looked at %s.\n", styled{cyan, "Could not tell"}, about, looked)
	case v.asked != "":
		p.printf("%s%s; looked at %s.\n", styled{green, "Nothing stale"}, about, looked)
	case v.excluded.Any():
		p.printf("%s apart from what was excluded; looked at %s.\n", styled{green, "Nothing stale"}, looked)
	default:
		p.printf("%s: %s run what is installed.\n", styled{green, "Nothing stale"}, looked)
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// missing says why there is no remedy.
func (v *view) missing(p *printer) {
	if v.Summary.Missing == 0 {
		return
	}
	p.printf("\n%s Code that runs is gone from the disk and nothing newer replaces it:\n", styled{red, "DO NOT RESTART."})
	p.printf("a restart would fail. Install it again first.\n")
	for i := range v.Findings {
		x := &v.Findings[i]
		if x.State != sensor.Missing {
			continue
		}
		p.printf("  %s\n", x.Workload.Name)
		for _, path := range missingFiles(x) {
			p.printf("      %s\n", path)
		}
		if x.Remedy.Why != "" {
			p.printf("      %s\n", styled{dim, x.Remedy.Why})
		}
	}
}

func missingFiles(x *sensor.Finding) []string {
	var paths []string
	seen := map[string]bool{}
	for i := range x.Processes {
		for _, f := range x.Processes[i].Files {
			if f.State == sensor.Missing && !seen[f.Path] {
				seen[f.Path] = true
				text := f.Path
				if f.Package != "" {
					text += " (package " + f.Package + ")"
				}
				paths = append(paths, text)
			}
		}
	}
	return paths
}

// remedies lists the commands of one action, ready to be copied: first those
// that disturb nobody, then those that do, then what no command can do.
func (v *view) remedies(p *printer, action sensor.Action) {
	title := strings.ToUpper(string(action)[:1]) + string(action)[1:]
	var easy, hard, manual []*sensor.Finding
	seen := map[string]bool{}
	for i := range v.Findings {
		x := &v.Findings[i]
		if x.Remedy.Action != action {
			continue
		}
		if len(x.Remedy.Command) == 0 {
			manual = append(manual, x)
			continue
		}
		command := shellCommand(x.Remedy.Command)
		switch {
		case seen[command]:
		case x.Remedy.Disruptive:
			hard = append(hard, x)
		default:
			easy = append(easy, x)
		}
		seen[command] = true
	}
	if len(easy) > 0 {
		p.printf("\n%s\n", styled{bold, title + ":"})
		for _, x := range easy {
			p.printf("  %s\n", shellCommand(x.Remedy.Command))
		}
	}
	if len(hard) > 0 {
		p.printf("\n%s\n", styled{bold, title + ", which disrupts (choose the time):"})
		for _, x := range hard {
			p.printf("  %s\n", shellCommand(x.Remedy.Command))
			if x.Remedy.Why != "" {
				p.printf("      %s\n", styled{dim, x.Remedy.Why})
			}
		}
	}
	if len(manual) > 0 {
		p.printf("\n%s\n", styled{bold, title + " by hand, no command is known:"})
		for _, x := range manual {
			text := x.Workload.Name
			if len(x.Processes) > 0 {
				text += " (PID " + pidText(x) + ")"
			}
			if x.Remedy.Why != "" {
				text += ": " + x.Remedy.Why
			}
			p.printf("  %s\n", text)
		}
	}
}

func pidText(x *sensor.Finding) string {
	var pids []string
	for i := range x.Processes {
		if i == maxShown {
			pids = append(pids, "…")
			break
		}
		pids = append(pids, strconv.Itoa(x.Processes[i].PID))
	}
	return orUnknown(strings.Join(pids, " "))
}

// superseded counts the containers whose image has a newer one under its name in
// which nothing differs that they run.
func (v *view) superseded(p *printer) {
	n := 0
	for i := range v.Findings {
		if x := &v.Findings[i]; x.State == sensor.Effective && x.Reason == sensor.ImageSuperseded {
			n++
		}
	}
	if n == 0 {
		return
	}
	runs, them := "runs a superseded image", "it"
	if n > 1 {
		runs, them = "run superseded images", "them"
	}
	p.printf("\n%s %s in which nothing that runs differs", count(n, "container", "containers"), runs)
	if !v.wide {
		p.printf(" (-o wide lists %s)", them)
	}
	p.printf(".\n")
}

// unknowns counts what could not be judged by its reason.
func (v *view) unknowns(p *printer) {
	if v.Summary.Unknown == 0 {
		return
	}
	reasons := map[sensor.Reason]int{}
	for i := range v.Findings {
		if x := &v.Findings[i]; x.State == sensor.Unknown {
			reasons[x.Reason]++
		}
	}
	var parts []string
	for reason, n := range reasons {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	p.printf("\n%s could not be judged (%s), which is not fine:",
		styled{cyan, count(v.Summary.Unknown, "workload", "workloads")}, strings.Join(parts, ", "))
	if !v.unknown {
		p.printf(" \"sensor stale --state unknown -o wide\" shows each,")
	}
	p.printf(" \"sensor doctor\" says how to see more.\n")
}

func (v *view) warnings(p *printer, brief bool) {
	title := "Notes:"
	switch said := len(v.Warnings) + len(v.Gaps); {
	case !v.Complete && said == 0:
		title = "The report is incomplete."
	case !v.Complete:
		title = "The report is incomplete:"
	case said == 0:
		return
	}
	p.printf("\n%s\n", styled{bold, title})
	gaps := v.Gaps
	if n := len(gaps) - maxGaps; brief && n > 0 {
		gaps = gaps[n:]
		p.printf("  %d more times in which not everything was observed: \"sensor status\" lists them\n", n)
	}
	for _, g := range gaps {
		p.printf("  not everything was observed from %s to %s: %s\n", v.moment(g.From), v.moment(g.To), g.Why)
	}
	// What was left out on purpose is always said.
	shown := v.Warnings
	if brief && len(shown) > maxShown {
		shown = shown[:maxShown]
		for _, w := range v.Warnings[maxShown:] {
			if w.Subject == "exclude" || w.Subject == "filter" {
				shown = append(slices.Clip(shown), w)
			}
		}
	}
	for _, w := range shown {
		p.printf("  %s\n", warningText(w))
	}
	if more := len(v.Warnings) - len(shown); more > 0 {
		p.printf("  and %d more (-o wide)\n", more)
	}
}
