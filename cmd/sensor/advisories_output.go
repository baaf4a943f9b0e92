package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/advisory"
)

// The formats of the documents about advisories; docs/advisories.md describes them.
const (
	importSchema = "sensor.advisories-import/v1"
	indexSchema  = "sensor.advisories/v1"
)

// importDocument tells what an import did.
type importDocument struct {
	Schema string `json:"schema"`
	Index  string `json:"index"`
	// Unchanged says that every file was imported before, and nothing was done.
	Unchanged  bool              `json:"unchanged"`
	Files      int               `json:"files"`
	Ignored    int               `json:"ignored"`
	Advisories int               `json:"advisories"`
	Withdrawn  int               `json:"withdrawn"`
	Malformed  int               `json:"malformed"`
	Problems   []problemDocument `json:"problems"`
}

// problemDocument is one of the first things that could not be understood. Offset is in
// bytes, null where there is none.
type problemDocument struct {
	File    string `json:"file"`
	Entry   string `json:"entry"`
	Offset  *int64 `json:"offset"`
	Message string `json:"message"`
}

func imported(index string, s *advisory.Stats) *importDocument {
	d := &importDocument{
		Schema: importSchema, Index: index, Unchanged: s.Unchanged, Files: s.Files, Ignored: s.Ignored,
		Advisories: s.Entries, Withdrawn: s.Withdrawn, Malformed: s.Malformed, Problems: []problemDocument{},
	}
	for _, p := range s.Problems {
		one := problemDocument{File: p.File, Entry: p.Entry, Message: p.Err.Error()}
		if p.Offset >= 0 {
			one.Offset = &p.Offset
		}
		d.Problems = append(d.Problems, one)
	}
	return d
}

// maxProblems is how many problems people are shown; JSON has more.
const maxProblems = 10

func writeImported(p *printer, index string, s *advisory.Stats) {
	held := fmt.Sprintf("%s from %s", count(s.Entries, "advisory", "advisories"), count(s.Files, "file", "files"))
	if s.Unchanged {
		p.printf("%s since the last import: %s has %s.\n", styled{green, "Nothing has changed"}, index, held)
	} else {
		p.printf("%s %s into %s.\n", styled{green, "Imported"}, held, index)
	}
	if s.Withdrawn > 0 {
		p.printf("  %s by their authors.\n", count(s.Withdrawn, "more was withdrawn", "more were withdrawn"))
	}
	if s.Ignored > 0 {
		p.printf("  %s no advisories, and left out.\n", count(s.Ignored, "file holds", "files hold"))
	}
	if s.Malformed == 0 {
		return
	}
	p.printf("\n%s could not be understood; all the rest is there:\n", styled{yellow, count(s.Malformed, "entry", "entries")})
	shown := s.Problems[:min(len(s.Problems), maxProblems)]
	for _, problem := range shown {
		p.printf("  %s\n", problem)
	}
	if more := s.Malformed - len(shown); more > 0 && len(shown) > 0 {
		p.printf("  and %d more\n", more)
	}
}

// indexDocument tells what an index holds.
type indexDocument struct {
	Schema     string    `json:"schema"`
	Index      string    `json:"index"`
	ImportedAt time.Time `json:"imported_at"`
	// Newest is when the newest advisory was last modified; null if none says.
	Newest     *time.Time `json:"newest"`
	Files      int        `json:"files"`
	Advisories int        `json:"advisories"`
	Malformed  int        `json:"malformed"`
	// Sources are the files, those with most advisories first, 1,000 at most.
	Sources    []sourceDocument    `json:"sources"`
	Ecosystems []ecosystemDocument `json:"ecosystems"`
}

// sourceDocument is one imported file.
type sourceDocument struct {
	File       string     `json:"file"`
	Kinds      []string   `json:"kinds"`
	Advisories int        `json:"advisories"`
	Newest     *time.Time `json:"newest"`
	// Complete is false if the file could not be read to its end; Problem is the first
	// thing that could not be understood, empty if there is none.
	Complete  bool   `json:"complete"`
	Malformed int    `json:"malformed"`
	Problem   string `json:"problem"`
}

// ecosystemDocument is a distribution's release or a language, with how many of its
// packages there are advisories for.
type ecosystemDocument struct {
	Ecosystem string `json:"ecosystem"`
	Packages  int    `json:"packages"`
}

func indexed(index string, s *advisory.Status) *indexDocument {
	d := &indexDocument{
		Schema: indexSchema, Index: index, ImportedAt: s.ImportedAt, Newest: momentOrNull(s.Newest),
		Files: s.Files, Advisories: s.Entries, Malformed: s.Malformed,
		Sources: []sourceDocument{}, Ecosystems: []ecosystemDocument{},
	}
	for i := range s.Sources {
		f := &s.Sources[i]
		d.Sources = append(d.Sources, sourceDocument{
			File: f.File, Kinds: kindsOf(f), Advisories: f.Entries, Newest: momentOrNull(f.Newest),
			Complete: f.Complete, Malformed: f.Malformed, Problem: f.Problem,
		})
	}
	for _, e := range s.Ecosystems {
		d.Ecosystems = append(d.Ecosystems, ecosystemDocument{e.Ecosystem, e.Packages})
	}
	return d
}

func kindsOf(s *advisory.Source) []string {
	if s.Kind == "" {
		return []string{}
	}
	return strings.Split(s.Kind, ",")
}

func momentOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// maxSources is how many files people are shown; JSON has more.
const maxSources = 20

func writeIndexed(out *screen, index string, s *advisory.Status, zone *time.Location) {
	moment := func(t time.Time) string {
		if t.IsZero() {
			return "?"
		}
		return t.In(zone).Format(time.DateTime)
	}
	out.printf("%s\n", styled{bold, index})
	out.printf("  imported    %s\n", moment(s.ImportedAt))
	out.printf("  newest      %s\n", moment(s.Newest))
	out.printf("  advisories  %d from %s\n", s.Entries, count(s.Files, "file", "files"))
	if s.Malformed > 0 {
		out.printf("  malformed   %s\n", styled{yellow, fmt.Sprintf("%d, which were left out", s.Malformed)})
	}
	files := table{columns: []column{{head: "FILE", min: 20}, {head: "KIND", drop: true}, {head: "ADVISORIES"}, {head: "NEWEST", drop: true}, {head: "PROBLEM", min: 12, drop: true}}}
	for i := range s.Sources {
		if i == maxSources {
			files.add(cell{text: fmt.Sprintf("and %d more", s.Files-maxSources), style: dim})
			break
		}
		f := &s.Sources[i]
		problem := cell{}
		switch {
		case !f.Complete:
			problem = cell{text: "not read to its end: " + f.Problem, style: yellow}
		case f.Malformed > 0:
			problem = cell{text: fmt.Sprintf("%d malformed: %s", f.Malformed, f.Problem), style: yellow}
		}
		files.add(cell{text: f.File}, cell{text: strings.Join(kindsOf(f), " ")}, cell{text: fmt.Sprint(f.Entries)}, cell{text: moment(f.Newest)}, problem)
	}
	out.printf("\n")
	files.write(out.printer, out.width)
	if len(s.Ecosystems) == 0 {
		out.printf("\nIt knows of no package, only of CVEs.\n")
		return
	}
	known := table{columns: []column{{head: "ECOSYSTEM", min: 12}, {head: "PACKAGES"}}}
	for _, e := range s.Ecosystems {
		known.add(cell{text: e.Ecosystem}, cell{text: fmt.Sprint(e.Packages)})
	}
	out.printf("\n")
	known.write(out.printer, out.width)
}
