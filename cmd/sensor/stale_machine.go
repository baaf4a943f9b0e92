package main

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// writeJSON writes a document, indented, with a newline at its end.
func writeJSON(w io.Writer, document any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(document)
}

// findingSchema is the identifier of the format of one line of jsonl.
const findingSchema = "sensor.finding/v1"

// findingLine is a finding that stands alone.
type findingLine struct {
	Schema    string      `json:"schema"`
	Version   string      `json:"version"`
	Host      sensor.Host `json:"host"`
	ScannedAt time.Time   `json:"scanned_at"`
	Source    string      `json:"source"`
	// Complete is that of the report: whether the other lines are all there is.
	Complete bool `json:"complete"`
	sensor.Finding
}

// writeLines writes one finding a line (jsonlines.org).
func writeLines(w io.Writer, r *sensor.Report) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, x := range r.Findings {
		line := findingLine{findingSchema, r.Version, r.Host, r.ScannedAt, r.Source, r.Complete, x}
		if err := enc.Encode(&line); err != nil {
			return err
		}
	}
	return nil
}

// writeNames writes the name of each workload once, but not of one for which there is
// nothing to do.
func writeNames(w io.Writer, r *sensor.Report) error {
	b := bufio.NewWriter(w)
	seen := map[string]bool{}
	for i := range r.Findings {
		if name := r.Findings[i].Workload.Name; r.Findings[i].State != sensor.Effective && !seen[name] {
			seen[name] = true
			b.WriteString(escape(name))
			b.WriteByte('\n')
		}
	}
	return b.Flush()
}

var csvHeader = []string{
	"host", "scanned_at", "id", "state", "reason", "domain", "since",
	"kind", "workload", "container", "image", "cgroup",
	"action", "target", "command", "disruptive", "why",
	"manager", "package", "source", "arch", "loaded_version", "evidence", "installed_version", "cves", "urgency",
	"pids", "uids", "files",
	"namespace", "pod", "layer",
	"severity", "score", "exploited", "vulnerabilities",
}

// writeCSV writes one row for each finding and package; files of no package
// have a row with an empty one. pids, uids, cves and files hold several values
// with a space between; files are quoted for a shell where they need it.
// "unknown" stands for a list of CVEs that is not known. severity and score are those of
// the worst that advisories know of, exploited is "true" or empty, for which no advisory
// says so, and vulnerabilities are those without a CVE. The form is that of
// RFC 4180, but lines end in a newline alone. Columns are only ever added, at the end.
func writeCSV(w io.Writer, r *sensor.Report) error {
	enc := csv.NewWriter(w)
	if err := enc.Write(csvHeader); err != nil {
		return err
	}
	for i := range r.Findings {
		for _, p := range packagesOf(&r.Findings[i]) {
			if err := enc.Write(csvRow(r, &r.Findings[i], &p)); err != nil {
				return err
			}
		}
	}
	enc.Flush()
	return enc.Error()
}

// packagesOf returns the packages of a finding, then those that only a file
// names, with an empty one for files of none. There is at least one.
func packagesOf(x *sensor.Finding) []sensor.Package {
	packages := slices.Clone(x.Packages)
	seen := map[string]bool{}
	for _, p := range packages {
		seen[p.Name] = true
	}
	for i := range x.Processes {
		for _, f := range x.Processes[i].Files {
			if !seen[f.Package] {
				seen[f.Package] = true
				packages = append(packages, sensor.Package{Name: f.Package})
			}
		}
	}
	if len(packages) == 0 {
		packages = append(packages, sensor.Package{})
	}
	return packages
}

func csvRow(r *sensor.Report, x *sensor.Finding, p *sensor.Package) []string {
	var container sensor.Container
	if x.Workload.Container != nil {
		container = *x.Workload.Container
	}
	var pod sensor.Pod
	if x.Workload.Pod != nil {
		pod = *x.Workload.Pod
	}
	layer := ""
	if p.Layer != nil {
		layer = p.Layer.Digest
	}
	since := ""
	if x.Since != nil {
		since = x.Since.UTC().Format(time.RFC3339Nano)
	}
	cves := strings.Join(p.CVEs, " ")
	if p.CVEs == nil && x.State != sensor.Effective {
		cves = "unknown"
	}
	g, exploited := gravityOf(p), ""
	if g.exploited > 0 {
		exploited = "true"
	}
	others := vulnerabilityIDs(p)[len(p.CVEs):]
	pids, uids := processesOf(x, p.Name)
	files := filesOf(x, p.Name)
	for i := range files {
		files[i] = shellQuote(files[i])
	}
	row := []string{
		r.Host.Name, r.ScannedAt.UTC().Format(time.RFC3339Nano), x.ID, string(x.State), string(x.Reason), string(x.Domain), since,
		x.Workload.Kind, x.Workload.Name, container.Name, container.Image, x.Workload.Cgroup,
		string(x.Remedy.Action), x.Remedy.Target, shellCommand(x.Remedy.Command), strconv.FormatBool(x.Remedy.Disruptive), x.Remedy.Why,
		p.Manager, p.Name, p.Source, p.Arch, p.Loaded.Version, string(p.Loaded.Evidence), p.Installed.Version, cves, cmp.Or(p.Urgency, x.Urgency),
		strings.Join(pids, " "), strings.Join(uids, " "), strings.Join(files, " "),
		pod.Namespace, pod.Name, layer,
		g.rating, scoreText(g.score), exploited, strings.Join(others, " "),
	}
	for i := range row {
		row[i] = csvCell(row[i])
	}
	return row
}

// csvCell makes text safe for a terminal and for a spreadsheet, which would
// evaluate a cell that starts like a formula (OWASP, CSV Injection).
func csvCell(s string) string {
	s = escape(s)
	if s != "" && strings.IndexByte("=+-@", s[0]) >= 0 {
		return "'" + s
	}
	return s
}

// filesOf returns the paths that belong to the package, "" for those of none,
// each once.
func filesOf(x *sensor.Finding, pkg string) []string {
	var paths []string
	seen := map[string]bool{}
	for i := range x.Processes {
		for _, f := range x.Processes[i].Files {
			if f.Package == pkg && !seen[f.Path] {
				seen[f.Path] = true
				paths = append(paths, f.Path)
			}
		}
	}
	return paths
}

// processesOf returns the PIDs and the users of the processes that run files
// of the package; those of all where no file tells.
func processesOf(x *sensor.Finding, pkg string) (pids, uids []string) {
	add := func(p *sensor.Process) {
		pids = append(pids, strconv.Itoa(p.PID))
		if uid := strconv.FormatUint(uint64(p.UID), 10); !slices.Contains(uids, uid) {
			uids = append(uids, uid)
		}
	}
	for i := range x.Processes {
		p := &x.Processes[i]
		if slices.ContainsFunc(p.Files, func(f sensor.File) bool { return f.Package == pkg }) {
			add(p)
		}
	}
	if pids == nil {
		for i := range x.Processes {
			add(&x.Processes[i])
		}
	}
	return pids, uids
}
