package filter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/patchsensor/patchsensor/sensor"
)

// Exclude leaves out what the operator does not want to see. A pattern is one
// of
//
//	uid:N     the processes of the user with that number
//	PATTERN   workloads by their name and, where the pattern holds a "/",
//	          by their cgroup path, and files by the path they were loaded from
//
// where PATTERN is a Glob.
type Exclude struct {
	patterns []pattern
}

type pattern struct {
	text string
	glob Glob
	uid  int64 // -1 where the pattern is a glob
	path bool  // paths are compared too
}

// Excluded counts what was left out: whole findings, and processes and files
// of findings that stay.
type Excluded struct {
	Findings, Processes, Files int
}

// Any reports whether anything was left out.
func (e Excluded) Any() bool { return e != Excluded{} }

func (e Excluded) String() string {
	return fmt.Sprintf("workloads: %d, processes of others: %d, files of others: %d", e.Findings, e.Processes, e.Files)
}

// ParseExclude compiles patterns; an error names the one that is wrong.
func ParseExclude(texts []string) (*Exclude, error) {
	e := &Exclude{patterns: make([]pattern, 0, len(texts))}
	for _, text := range texts {
		p := pattern{text: text, uid: -1}
		if number, ok := strings.CutPrefix(text, "uid:"); ok {
			uid, err := strconv.ParseUint(number, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("exclude pattern %q: a user's number must follow \"uid:\"", text)
			}
			p.uid = int64(uid)
		} else {
			glob, err := ParseGlob(text)
			if err != nil {
				return nil, fmt.Errorf("exclude: %w", err)
			}
			p.glob, p.path = glob, strings.Contains(text, "/")
		}
		e.patterns = append(e.patterns, p)
	}
	return e, nil
}

// Empty reports whether there is no pattern.
func (e *Exclude) Empty() bool { return len(e.patterns) == 0 }

// run is one application of the patterns.
type run struct {
	*Exclude
	hits  []int          // by pattern
	paths map[string]int // pattern that covers a path, -1 for none
	left  Excluded
}

// Apply returns the report without what the patterns cover, and how much that
// was. A warning in the report counts it too. The report stays as complete as
// it was: what is left out was left out on purpose. The report given is left as
// it is.
func (e *Exclude) Apply(r *sensor.Report) (*sensor.Report, Excluded) {
	if e.Empty() {
		return r, Excluded{}
	}
	u := &run{Exclude: e, hits: make([]int, len(e.patterns)), paths: map[string]int{}}
	out := *r
	out.Findings = make([]sensor.Finding, 0, len(r.Findings))
	for i := range r.Findings {
		if x, keep := u.finding(&r.Findings[i]); keep {
			out.Findings = append(out.Findings, x)
		}
	}
	if !u.left.Any() {
		return r, Excluded{}
	}
	out.Summary = summarize(r.Summary, out.Findings)
	out.Warnings = append(slices.Clip(r.Warnings), sensor.Warning{
		Subject: "exclude",
		Message: "left out " + u.left.String() + "; by pattern: " + u.counts(),
		Help:    "exclude patterns come from --exclude and from the configuration file",
	})
	return &out, u.left
}

func (u *run) counts() string {
	var parts []string
	for i, n := range u.hits {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%q: %d", u.patterns[i].text, n))
		}
	}
	return strings.Join(parts, ", ")
}

func (u *run) finding(x *sensor.Finding) (sensor.Finding, bool) {
	for i, p := range u.patterns {
		if p.uid >= 0 {
			continue
		}
		if p.glob.Match(x.Workload.Name) || p.path && p.glob.Match(x.Workload.Cgroup) {
			u.hits[i]++
			u.left.Findings++
			return sensor.Finding{}, false
		}
	}
	var left Excluded
	processes := make([]sensor.Process, 0, len(x.Processes))
	for i := range x.Processes {
		p, keep := u.process(&x.Processes[i], &left)
		if keep {
			processes = append(processes, p)
		}
	}
	switch {
	case !left.Any():
		return *x, true
	case len(processes) == 0:
		u.left.Findings++
		return sensor.Finding{}, false
	}
	u.left.Processes += left.Processes
	u.left.Files += left.Files
	return narrowed(x, processes), true
}

func (u *run) process(p *sensor.Process, left *Excluded) (sensor.Process, bool) {
	for i, q := range u.patterns {
		if q.uid == int64(p.UID) {
			u.hits[i]++
			left.Processes++
			return sensor.Process{}, false
		}
	}
	files := make([]sensor.File, 0, len(p.Files))
	for _, file := range p.Files {
		if i := u.covers(file.Path); i >= 0 {
			u.hits[i]++
			continue
		}
		files = append(files, file)
	}
	if len(files) == 0 && len(p.Files) > 0 {
		left.Processes++
		return sensor.Process{}, false
	}
	left.Files += len(p.Files) - len(files)
	out := *p
	out.Files = files
	return out, true
}

// covers returns the index of the pattern that covers the file, or -1.
// Processes share their libraries, so each path is matched once.
func (u *run) covers(path string) int {
	i, ok := u.paths[path]
	if !ok {
		i = slices.IndexFunc(u.patterns, func(p pattern) bool {
			return p.path && p.glob.Match(path)
		})
		u.paths[path] = i
	}
	return i
}

// narrowed is the finding as far as the remaining processes and their files
// bear it out.
func narrowed(x *sensor.Finding, processes []sensor.Process) sensor.Finding {
	out := *x
	out.Processes = processes
	out.State, out.Reason = worst(x, processes)

	named, still := owners(x.Processes), owners(processes)
	out.Packages = make([]sensor.Package, 0, len(x.Packages))
	for _, p := range x.Packages {
		if still[p.Name] || !named[p.Name] {
			out.Packages = append(out.Packages, p)
		}
	}
	if len(out.Packages) < len(x.Packages) {
		// The time belonged to all the packages together.
		out.Since = nil
	}
	if out.State != x.State {
		switch {
		case x.State == sensor.Missing:
			// Leaving a file out of the report does not bring it back.
			out.Remedy.Why = "a restart would fail: a file that is missing on disk was excluded from this report"
		case out.State == sensor.Unknown:
			out.Remedy = sensor.Remedy{Action: sensor.None, Command: []string{}, Why: "what is stale was excluded from this report"}
		}
	}
	return out
}

// worst derives state and reason from the files. A finding none of whose
// files say anything keeps its own.
func worst(x *sensor.Finding, processes []sensor.Process) (sensor.State, sensor.Reason) {
	rank := func(s sensor.State) int {
		return slices.Index([]sensor.State{sensor.Unknown, sensor.Stale, sensor.Missing}, s)
	}
	state, reason, best := x.State, x.Reason, -1
	for i := range processes {
		for _, file := range processes[i].Files {
			// Of equals, the reason that the whole was given is kept.
			if n := rank(file.State); n > best || n == best && n >= 0 && file.Reason == x.Reason {
				state, reason, best = file.State, file.Reason, n
			}
		}
	}
	return state, reason
}

func owners(processes []sensor.Process) map[string]bool {
	names := map[string]bool{}
	for i := range processes {
		for _, file := range processes[i].Files {
			if file.Package != "" {
				names[file.Package] = true
			}
		}
	}
	return names
}
