package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/filter"
	"github.com/patchsensor/patchsensor/sensor"
)

// maxShown bounds how many packages of one workload, and how many warnings,
// the table shows on a terminal.
const maxShown = 5

// maxGaps is how many gaps a table mentions, the last ones.
const maxGaps = 3

// view is a report as people see it.
type view struct {
	*sensor.Report
	excluded filter.Excluded
	asked    string // the filters as typed, "" for none
	wide     bool
	unknown  bool // show each unknown workload
	severity bool // show what advisories say
	zone     *time.Location
	userName func(uid uint32) string
}

// write prints the table and everything under it.
func (v *view) write(out *screen) {
	if v.asked == "" && v.Reboot != nil {
		hostLine(out.printer, v.Reboot, maxWhy)
	}
	t := table{columns: []column{
		{head: "STATE"},
		{head: "WORKLOAD", min: 16},
		{head: "REASON", drop: true},
		{head: "PACKAGE", min: 20},
		{head: "CVES", drop: true},
		{head: "SINCE", drop: true},
		{head: "REMEDY", min: 12, drop: true},
	}}
	v.severity = v.wide && v.advised()
	if v.severity {
		t.columns = slices.Insert(t.columns, 5, column{head: "SEVERITY"})
	}
	for i := range v.Findings {
		if x := &v.Findings[i]; v.shows(x) {
			v.rows(&t, x, out.width > 0 && !v.wide)
		}
	}
	if len(t.rows) > 0 {
		limit := out.width
		if v.wide {
			limit = 0
		}
		t.write(out.printer, limit)
		out.printf("\n")
	}
	v.conclude(out.printer)
	v.missing(out.printer)
	for _, action := range []sensor.Action{sensor.Restart, sensor.Redeploy, sensor.Reload, sensor.Reboot} {
		v.remedies(out.printer, action)
	}
	v.superseded(out.printer)
	v.unknowns(out.printer)
	v.warnings(out.printer, out.width > 0 && !v.wide)
}

// shows reports whether the table has a finding. What is unknown is counted below,
// and what is no alarm is only mentioned there.
func (v *view) shows(x *sensor.Finding) bool {
	switch x.State {
	case sensor.Unknown:
		return v.unknown
	case sensor.Effective:
		return v.wide
	}
	return true
}

// rows adds a finding, with a further row for each further package.
func (v *view) rows(t *table, x *sensor.Finding, brief bool) {
	packages := v.packageCells(x)
	if brief && len(packages) > maxShown {
		more := fmt.Sprintf("and %d more (-o wide)", len(packages)-maxShown+1)
		packages = append(packages[:maxShown-1:maxShown-1], []cell{{text: more, style: dim}})
	}
	first := []cell{{text: string(x.State), style: stateStyle(x.State)}, v.workload(x), {text: reasonText(x)}}
	first = append(first, packages[0]...)
	t.add(append(first, v.since(x.Since), remedyOf(x))...)
	for _, p := range packages[1:] {
		t.add(append([]cell{{}, {}, {}}, p...)...)
	}
	if v.wide {
		t.rows[len(t.rows)-1].below = func(p *printer) { v.details(p, x) }
	}
}

// workload names the thing to act on, in wide with the image that a container is of.
func (v *view) workload(x *sensor.Finding) cell {
	c := cell{text: x.Workload.Name}
	if k := x.Workload.Container; v.wide && k != nil && k.Image != "" {
		c.text += " (" + k.Image + ")"
	}
	return c
}

// reasonText is the reason, and that it will be back with a new container.
func reasonText(x *sensor.Finding) string {
	text := string(x.Reason)
	if x.Drift {
		text += "+drift"
	}
	return text
}

func stateStyle(s sensor.State) style {
	switch s {
	case sensor.Missing:
		return red
	case sensor.Stale:
		return yellow
	case sensor.Unknown:
		return cyan
	}
	return green
}

// packageCells returns at least one row: package with versions, CVEs, and where it is
// shown what advisories say.
func (v *view) packageCells(x *sensor.Finding) [][]cell {
	var rows [][]cell
	for _, p := range packagesOf(x) {
		row := []cell{{text: "-"}, {text: "?"}}
		switch files := filesOf(x, p.Name); {
		case p.Name != "":
			row = []cell{versions(x, &p), cves(&p, !v.severity)}
		case len(files) == 1:
			row[0] = cell{text: files[0] + " (no package)", short: files[0]}
		case len(files) > 1:
			more := fmt.Sprintf(" and %d more", len(files)-1)
			row[0] = cell{text: files[0] + more + " (no package)", short: files[0] + more}
		case x.State == sensor.Effective:
			row[1] = cell{text: "-"}
		}
		if v.severity {
			row = append(row, gravityCell(&p, row[1]))
		}
		rows = append(rows, row)
	}
	if len(x.Causes) > 0 {
		rows = rows[:len(x.Packages)]
	}
	for i := range x.Causes {
		// The package of the kernel says what there is to say of it.
		if c := &x.Causes[i]; c.Reason != sensor.KernelOutdated || len(x.Packages) == 0 {
			row := []cell{{text: causeText(c), short: c.Subject}, {text: "?"}}
			if v.severity {
				row = append(row, cell{text: "?"})
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func versions(x *sensor.Finding, p *sensor.Package) cell {
	loaded, installed := p.Loaded.Version, p.Installed.Version
	if loaded == "" {
		loaded = "?"
	}
	if installed == "" {
		installed = "?"
		if x.State == sensor.Missing {
			installed = "nothing"
		}
	}
	text := p.Name + " " + loaded + " → " + installed
	if p.Installed.State != "" {
		text += " (" + p.Installed.State + ")"
	}
	return cell{text: text, short: p.Name + " → " + installed}
}

// since says how long ago, and the day.
func (v *view) since(t *time.Time) cell {
	if t == nil {
		return cell{text: "?"}
	}
	day := t.In(v.zone).Format(time.DateOnly)
	age := v.ScannedAt.Sub(*t)
	if age < 0 {
		return cell{text: day}
	}
	return cell{text: ageText(age) + " (" + day + ")", short: ageText(age)}
}

// ageText rounds down to the largest unit.
func ageText(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*365*day:
		return fmt.Sprintf("%dy", d/(365*day))
	case d >= 2*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dmin", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func remedyOf(x *sensor.Finding) cell {
	if x.State == sensor.Missing && x.Remedy.Action == sensor.None {
		return cell{text: "do not restart", style: red}
	}
	return remedyCell(&x.Remedy)
}

func remedyCell(r *sensor.Remedy) cell {
	c := cell{text: string(r.Action)}
	if len(r.Command) > 0 {
		c = cell{text: shellCommand(r.Command), short: string(r.Action)}
	}
	if r.Disruptive {
		c.text += " (disruptive)"
		c.short = string(r.Action) + " (!)"
	}
	return c
}

// userText names a user of a workload; those of a container have names of
// their own.
func (v *view) userText(x *sensor.Finding, uid uint32) string {
	if x.Workload.Container == nil && x.Workload.Pod == nil {
		if name := v.userName(uid); name != "" {
			return name
		}
	}
	return fmt.Sprintf("uid %d", uid)
}

// details prints what only wide shows of a finding.
func (v *view) details(p *printer, x *sensor.Finding) {
	line := func(label, text string) {
		if text != "" {
			p.printf("    %s %s\n", styled{dim, fmt.Sprintf("%-10s", label)}, text)
		}
	}
	line("kind", x.Workload.Kind+" in domain "+string(x.Domain))
	if c := x.Workload.Container; c != nil {
		line("container", words(c.Name, c.ID, c.Runtime))
		line("image", words(c.Image, c.ImageID))
	}
	if d := x.Workload.Pod; d != nil {
		text := d.Namespace + "/" + d.Name
		if owner := words(d.OwnerKind, d.OwnerName); owner != "" {
			text += " of " + owner
		}
		line("pod", text)
	}
	line("cgroup", x.Workload.Cgroup)
	for i := range x.Causes {
		line("cause", string(x.Causes[i].State)+" "+string(x.Causes[i].Reason)+": "+x.Causes[i].Why)
	}
	line("why", x.Remedy.Why)
	line("urgency", x.Urgency)
	for _, k := range x.Packages {
		line("package", packageText(x, &k))
		for i := range k.Vulnerabilities {
			line("", vulnerabilityText(&k.Vulnerabilities[i]))
		}
		line("", strings.Join(unadvised(&k), " "))
		if k.Layer != nil {
			line("layer", layerText(k.Layer))
		}
	}
	for i := range x.Processes {
		q := &x.Processes[i]
		text := fmt.Sprintf("%d %s of %s", q.PID, q.Comm, v.userText(x, q.UID))
		if q.ContainerPID != 0 && q.ContainerPID != q.PID {
			text += fmt.Sprintf(", %d in its container", q.ContainerPID)
		}
		if !q.StartTime.IsZero() {
			text += ", started " + v.moment(q.StartTime)
		}
		if q.EndedAt != nil {
			text += ", ended " + v.moment(*q.EndedAt)
		}
		if q.Exe != "" {
			text += ": " + q.Exe
		}
		line("process", text)
		for _, f := range q.Files {
			p.printf("      %s %s%s\n", styled{stateStyle(f.State), fmt.Sprintf("%-8s", f.State)}, f.Path, v.fileText(&f))
		}
	}
}

// words are those that there are.
func words(list ...string) string {
	return strings.Join(slices.DeleteFunc(list, func(s string) bool { return s == "" }), " ")
}

func packageText(x *sensor.Finding, p *sensor.Package) string {
	text := p.Name
	if p.Arch != "" {
		text += ":" + p.Arch
	}
	if p.Source != "" && p.Source != p.Name {
		text += " of source " + p.Source
	}
	if p.Loaded.Version != "" {
		text += ", loaded " + p.Loaded.Version + " (" + string(p.Loaded.Evidence) + ")"
	} else {
		text += ", loaded version not known"
	}
	if p.Installed.Version != "" {
		text += ", " + whereNewer(x) + " " + p.Installed.Version
	}
	if p.Installed.State != "" {
		text += " (" + p.Installed.State + ")"
	}
	if p.CVEs == nil {
		text += ", CVEs not known"
	}
	return text
}

func (v *view) fileText(f *sensor.File) string {
	text := ": " + string(f.Reason)
	if f.Package != "" {
		text += ", package " + f.Package
	}
	if f.LoadedBuildID != "" || f.InstalledBuildID != "" {
		text += ", build ID " + orUnknown(f.LoadedBuildID) + " → " + orUnknown(f.InstalledBuildID)
	}
	if f.LoadedAt != nil {
		text += ", loaded " + v.moment(*f.LoadedAt)
	}
	if f.Detail != "" {
		text += "; " + f.Detail
	}
	return text
}

func orUnknown(s string) string {
	if s == "" {
		return "?"
	}
	return s
}

func (v *view) moment(t time.Time) string { return t.In(v.zone).Format(time.DateTime) }
