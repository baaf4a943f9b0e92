package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// writePackages writes the list in one of packagesFormats; sure says that nothing stale
// can have been overlooked.
func writePackages(out *screen, l *sensor.PackageList, output string, sure bool, zone *time.Location) error {
	switch output {
	case "json":
		return writeJSON(out.w, l)
	case "jsonl":
		return writePackageLines(out.w, l)
	case "csv":
		return writePackageCSV(out.w, l)
	case "names":
		return writePackageNames(out.w, l)
	case "cyclonedx":
		return writeCycloneDX(out.w, l)
	case "spdx":
		return writeSPDX(out.w, l)
	}
	(&stock{l, sure, output == "wide", zone, out}).write()
	return nil
}

// packageSchema is the identifier of the format of one line of jsonl.
const packageSchema = "sensor.package/v1"

// packageLine is a package that stands alone.
type packageLine struct {
	Schema    string      `json:"schema"`
	Host      sensor.Host `json:"host"`
	ScannedAt time.Time   `json:"scanned_at"`
	// Complete is that of the list: whether the other lines are all there is.
	Complete bool `json:"complete"`
	sensor.ListedPackage
}

func writePackageLines(w io.Writer, l *sensor.PackageList) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, p := range l.Packages {
		if err := enc.Encode(&packageLine{packageSchema, l.Host, l.ScannedAt, l.Complete, p}); err != nil {
			return err
		}
	}
	return nil
}

// writePackageNames writes each name once.
func writePackageNames(w io.Writer, l *sensor.PackageList) error {
	b := bufio.NewWriter(w)
	seen := map[string]bool{}
	for i := range l.Packages {
		if name := l.Packages[i].Name; !seen[name] {
			seen[name] = true
			b.WriteString(escape(name) + "\n")
		}
	}
	return b.Flush()
}

var packageHeader = []string{
	"host", "scanned_at", "where", "manager", "package", "source", "arch", "version",
	"processes", "stale", "loaded_versions", "changed_at", "changed_from", "changed_to",
	"vendor", "module", "distribution", "release", "file", "purl",
}

// writePackageCSV writes one row a package, in the form of writeCSV. loaded_versions
// holds several values with a space between, "?" for one that is not known. Columns are
// only ever added, at the end.
func writePackageCSV(w io.Writer, l *sensor.PackageList) error {
	enc := csv.NewWriter(w)
	if err := enc.Write(packageHeader); err != nil {
		return err
	}
	for i := range l.Packages {
		p := &l.Packages[i]
		var versions []string
		for _, v := range p.LoadedVersions {
			versions = append(versions, orUnknown(v.Version))
		}
		var at, from, to string
		if c := p.LastChange; c != nil {
			at, from, to = c.Time.UTC().Format(time.RFC3339Nano), c.From, c.To
		}
		row := []string{
			l.Host.Name, l.ScannedAt.UTC().Format(time.RFC3339Nano), p.Where, p.Manager, p.Name, p.Source, p.Arch, p.Version,
			strconv.Itoa(p.Processes), strconv.Itoa(p.Stale), strings.Join(versions, " "), at, from, to,
			p.Vendor, p.Module, p.Distribution, p.Release, p.File, purl(p),
		}
		for j := range row {
			row[j] = csvCell(row[j])
		}
		if err := enc.Write(row); err != nil {
			return err
		}
	}
	enc.Flush()
	return enc.Error()
}

// stock is a list of packages as people see it.
type stock struct {
	*sensor.PackageList
	sure bool
	wide bool
	zone *time.Location
	*screen
}

func (s *stock) write() {
	t := table{columns: []column{
		{head: "PACKAGE", min: 16}, {head: "VERSION", min: 12}, {head: "LOADED"}, {head: "STALE"},
		{head: "LAST PATCH", min: 16, drop: true}, {head: "WHERE", min: 8, drop: true},
	}}
	for i := range s.Packages {
		p := &s.Packages[i]
		name, look := p.Name, plain
		if p.Stale > 0 {
			look = yellow
		}
		if p.Arch != "" && s.wide {
			name += ":" + p.Arch
		}
		t.add(
			cell{text: name, style: look}, cell{text: orUnknown(p.Version)}, cell{text: number(p.Processes)}, cell{text: number(p.Stale), style: look},
			s.patch(p.LastChange), cell{text: p.Where},
		)
		if s.wide {
			t.rows[i].below = func(out *printer) { details(out, p) }
		}
	}
	if len(t.rows) > 0 {
		limit := s.width
		if s.wide {
			limit = 0
		}
		t.write(s.printer, limit)
		s.printf("\n")
	}
	s.conclude()
	v := &view{Report: &sensor.Report{Complete: s.Complete, Warnings: s.Warnings}, zone: s.zone}
	v.warnings(s.printer, s.width > 0 && !s.wide)
}

// number leaves out what is nothing, so that the rest stands out.
func number(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

// patch says when a package was last changed, and how.
func (s *stock) patch(c *sensor.PackageChange) cell {
	if c == nil {
		return cell{text: "?"}
	}
	at := c.Time.In(s.zone)
	long, short := at.Format("2006-01-02 15:04"), at.Format(time.DateOnly)
	switch {
	case c.To == "":
		return cell{text: long + " " + c.From + " was removed", short: short}
	case c.From == "":
		return cell{text: long + " " + c.To + " was new", short: short}
	}
	return cell{text: long + " " + c.From + " → " + c.To, short: short}
}

// details prints what only wide shows of a package.
func details(out *printer, p *sensor.ListedPackage) {
	line := func(label, text string) {
		if text != "" {
			out.printf("    %s %s\n", styled{dim, fmt.Sprintf("%-7s", label)}, text)
		}
	}
	from := p.Manager
	if p.Source != "" && p.Source != p.Name {
		from += ", of source " + p.Source
	}
	if p.Vendor != "" {
		from += ", by " + p.Vendor
	}
	if p.Module != "" {
		from += ", module " + p.Module
	}
	line("from", from)
	for _, v := range p.LoadedVersions {
		if v.Version == "" {
			line("runs", "a version that is not known")
		} else {
			line("runs", v.Version+" ("+string(v.Evidence)+")")
		}
	}
	line("file", p.File)
}

// conclude says in one line what came out. That nothing is stale is only said when
// everything was seen.
func (s *stock) conclude() {
	n := s.Summary
	on := ""
	if s.Host.Name != "" {
		on = " on " + s.Host.Name
	}
	all := fmt.Sprintf("%s%s, %d of them loaded", count(n.Packages, "package", "packages"), on, n.Loaded)
	if n.Packages == 0 {
		all = "No package is listed" + on
	}
	switch {
	case n.Stale > 0:
		s.printf("%s; %s. \"sensor stale\" says what to restart.\n", all,
			styled{bold, count(n.Stale, "runs in another version than is installed", "run in other versions than are installed")})
	case !s.sure:
		s.printf("%s; %s whether any is stale.\n", all, styled{cyan, "could not tell"})
	default:
		s.printf("%s; %s.\n", all, styled{green, "none is stale"})
	}
}
