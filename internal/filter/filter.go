// Package filter narrows a report to what was asked about and leaves out what
// the operator does not want to see. It never turns "not known" into "no": what
// might match is counted, and what is left out is said.
package filter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/sensor"
)

// Filter chooses findings. Within a field any value may match, between fields
// all must; an empty field asks for nothing. A finding is kept or dropped as a
// whole, because a workload is acted on as a whole.
type Filter struct {
	Packages []Glob // binary or source package name
	CVEs     []string
	Units    []Glob // name of the workload, ".service" may be left out
	Actions  []sensor.Action
	Domains  []sensor.Domain
	States   []sensor.State
	PIDs     []int
	UIDs     []uint32

	// What only containers have. Namespaces are those of Kubernetes.
	Containers, Images []Ident
	Namespaces, Pods   []Glob
}

// answer is three-valued, ordered so that min is "and" and max is "or".
type answer int

const (
	no answer = iota
	maybe
	yes
)

// Empty reports whether the filter keeps everything.
func (f *Filter) Empty() bool {
	return len(f.Packages) == 0 && len(f.CVEs) == 0 && len(f.Actions) == 0 &&
		len(f.Domains) == 0 && len(f.States) == 0 && !f.OfWhatRuns()
}

// OfWhatRuns reports whether it asks for processes and workloads, which must have been
// looked at for an answer: then the report has to hold what was.
func (f *Filter) OfWhatRuns() bool {
	return len(f.PIDs)+len(f.Units)+len(f.UIDs) > 0 || f.ofContainers()
}

// Apply returns the report with the findings that match and a summary of
// these; what was looked at stays as it was. Where findings might match, for
// all that is known of them, the result is incomplete and a warning says so.
// The report given is left as it is.
func (f *Filter) Apply(r *sensor.Report) *sensor.Report {
	if f.Empty() {
		return r
	}
	out := *r
	out.Findings = make([]sensor.Finding, 0, len(r.Findings))
	perhaps, unnamed := 0, 0
	for i := range r.Findings {
		switch f.match(&r.Findings[i]) {
		case yes:
			out.Findings = append(out.Findings, r.Findings[i])
		case maybe:
			if f.matchContained(containedIn(&r.Findings[i].Workload)) == maybe {
				unnamed++
			} else {
				perhaps++
			}
		}
	}
	out.Summary = summarize(r.Summary, out.Findings)
	out.Warnings = f.relevant(r.Warnings, out.Summary.Unknown > 0, r.Seen)
	out.Complete = r.Complete || len(out.Warnings) == 0
	if perhaps > 0 {
		out.Complete = false
		out.Warnings = append(out.Warnings, sensor.Warning{
			Subject: "filter",
			Message: fmt.Sprintf("workloads that may match, their packages or CVEs are not known: %d", perhaps),
			Help:    "without --package and --cve they are shown",
		})
	}
	if unnamed > 0 {
		out.Complete = false
		out.Warnings = append(out.Warnings, sensor.Warning{
			Subject: "filter",
			Message: fmt.Sprintf("containers that may match, no runtime tells their names, images or pods: %d", unnamed),
			Help:    "\"sensor doctor\" says which runtimes answer; without --container, --image, --namespace and --pod they are shown",
		})
	}
	if !f.saw(r.Seen) {
		flags := "--pid, --unit and --user"
		if f.ofContainers() {
			flags = "--pid, --unit, --user, --container, --image, --namespace and --pod"
		}
		out.Complete = false
		out.Warnings = append(out.Warnings, sensor.Warning{
			Subject: "filter",
			Message: "no process was looked at that " + flags + " ask for",
			Help:    "it does not run, or is called otherwise: \"sensor explain PID\" names a process's workload",
		})
	}
	return &out
}

// saw reports whether anything that the filter asks for was looked at, as far as
// the report says what was.
func (f *Filter) saw(seen []sensor.Seen) bool {
	if seen == nil {
		return true
	}
	return slices.ContainsFunc(seen, f.asks)
}

// asks reports whether a process is one that the filter asks about, whatever it runs.
func (f *Filter) asks(s sensor.Seen) bool {
	return min(among(f.PIDs, s.PID), among(f.UIDs, s.UID), f.matchName(s.Workload), f.matchContained(containerOf(&s))) == yes
}

// relevant leaves out the warnings that count unknown findings when none of these
// is left, and those about containers in general when no container was asked about: what
// could not be judged then is not what was asked about.
func (f *Filter) relevant(list []sensor.Warning, unknown bool, seen []sensor.Seen) []sensor.Warning {
	out := make([]sensor.Warning, 0, len(list))
	for _, w := range list {
		counts := w.Subject == sensor.SubjectProcesses || w.Subject == sensor.SubjectFindings
		if counts && !unknown || w.AboutContainers() && !f.asksContainers(seen) {
			continue
		}
		out = append(out, w)
	}
	return out
}

// asksContainers reports whether any process in a container may be asked about.
func (f *Filter) asksContainers(seen []sensor.Seen) bool {
	return seen == nil || slices.ContainsFunc(seen, func(s sensor.Seen) bool {
		return s.ContainerID != "" && f.asks(s)
	})
}

func (f *Filter) match(x *sensor.Finding) answer {
	return min(
		among(f.Actions, x.Remedy.Action),
		among(f.Domains, x.Domain),
		among(f.States, x.State),
		f.matchName(x.Workload.Name),
		f.matchContained(containedIn(&x.Workload)),
		f.matchProcess(x),
		f.matchPackage(x),
		f.matchCVE(x),
	)
}

func among[T comparable](want []T, have T) answer {
	if len(want) == 0 || slices.Contains(want, have) {
		return yes
	}
	return no
}

func (f *Filter) matchName(name string) answer {
	if len(f.Units) == 0 {
		return yes
	}
	short, _ := strings.CutSuffix(name, ".service")
	for _, g := range f.Units {
		if g.Match(name) || g.Match(short) {
			return yes
		}
	}
	return no
}

func (f *Filter) matchProcess(x *sensor.Finding) answer {
	pid, uid := no, no
	for i := range x.Processes {
		pid = max(pid, among(f.PIDs, x.Processes[i].PID))
		uid = max(uid, among(f.UIDs, x.Processes[i].UID))
	}
	if len(f.PIDs) == 0 {
		pid = yes
	}
	if len(f.UIDs) == 0 {
		uid = yes
	}
	return min(pid, uid)
}

func (f *Filter) matchPackage(x *sensor.Finding) answer {
	if len(f.Packages) == 0 {
		return yes
	}
	for i := range x.Packages {
		p := &x.Packages[i]
		for _, g := range f.Packages {
			if g.Match(p.Name) || p.Source != "" && g.Match(p.Source) {
				return yes
			}
		}
	}
	if ownerOpen(x) {
		return maybe
	}
	return no
}

// ownerOpen reports whether the finding may run code of packages that it does
// not name.
func ownerOpen(x *sensor.Finding) bool {
	files := 0
	for i := range x.Processes {
		for _, file := range x.Processes[i].Files {
			files++
			if file.State == sensor.Unknown && file.Package == "" {
				return true
			}
		}
	}
	return x.State == sensor.Unknown && files == 0
}

func (f *Filter) matchCVE(x *sensor.Finding) answer {
	if len(f.CVEs) == 0 {
		return yes
	}
	if x.State == sensor.Effective {
		// Nothing that it runs is older.
		return f.namedCVE(x, no)
	}
	if len(x.Packages) == 0 || ownerOpen(x) {
		return f.namedCVE(x, maybe)
	}
	return f.namedCVE(x, no)
}

// namedCVE looks for the CVEs in what the packages list; otherwise is the
// answer where each list is known and none holds one.
func (f *Filter) namedCVE(x *sensor.Finding, otherwise answer) answer {
	for i := range x.Packages {
		if x.Packages[i].CVEs == nil {
			otherwise = maybe
		}
		for _, cve := range x.Packages[i].CVEs {
			if slices.Contains(f.CVEs, cve) {
				return yes
			}
		}
	}
	return otherwise
}

// summarize counts the findings; what was looked at is taken over from s.
func summarize(s sensor.Summary, findings []sensor.Finding) sensor.Summary {
	sum := sensor.Summary{Processes: s.Processes, Workloads: s.Workloads}
	for i := range findings {
		switch findings[i].State {
		case sensor.Stale:
			sum.Stale++
		case sensor.Missing:
			sum.Missing++
		case sensor.Unknown:
			sum.Unknown++
		}
		switch findings[i].Remedy.Action {
		case sensor.Restart:
			sum.Restart++
		case sensor.Redeploy:
			sum.Redeploy++
		case sensor.Reboot:
			sum.Reboot++
		case sensor.Reload:
			sum.Reload++
		}
	}
	return sum
}
