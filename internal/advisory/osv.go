package advisory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Bounds on one OSV record: its bytes, its objects, and its quotation marks, which
// bound the strings. They keep what a small text unfolds to in memory small. The
// largest real records, of kernels, have a few MB.
const (
	maxRecord  = 16 << 20
	maxObjects = 100_000
	maxQuotes  = 1_500_000
)

// osvRecord mirrors the fields of ossf.github.io/osv-schema 1.7 that are used.
type osvRecord struct {
	ID               string          `json:"id"`
	Modified         string          `json:"modified"`
	Withdrawn        string          `json:"withdrawn"`
	Aliases          []string        `json:"aliases"`
	Upstream         []string        `json:"upstream"`
	Related          []string        `json:"related"`
	Severity         []osvSeverity   `json:"severity"`
	Affected         []osvAffected   `json:"affected"`
	DatabaseSpecific json.RawMessage `json:"database_specific"`
}

type osvSeverity struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

type osvAffected struct {
	Package struct {
		Ecosystem string `json:"ecosystem"`
		Name      string `json:"name"`
	} `json:"package"`
	Severity          []osvSeverity   `json:"severity"`
	Ranges            []osvRange      `json:"ranges"`
	Versions          []string        `json:"versions"`
	EcosystemSpecific json.RawMessage `json:"ecosystem_specific"`
	DatabaseSpecific  json.RawMessage `json:"database_specific"`
}

type osvRange struct {
	Type   string     `json:"type"`
	Events []osvEvent `json:"events"`
}

type osvEvent struct {
	Introduced   *string `json:"introduced"`
	Fixed        *string `json:"fixed"`
	LastAffected *string `json:"last_affected"`
	Limit        *string `json:"limit"`
}

// parseOSV reads one record. Beside an error there may be a record: what is wrong
// with one package makes that package undecidable, and leaves the others. The error
// of what is not JSON is a *json.SyntaxError.
//
// Of a key that is there twice the later counts, as in most JSON libraries.
func parseOSV(text []byte) (*record, error) {
	if len(text) > maxRecord {
		return nil, fmt.Errorf("a record of more than %d bytes", maxRecord)
	}
	if bytes.Count(text, []byte("{")) > maxObjects || bytes.Count(text, []byte(`"`)) > maxQuotes {
		return nil, errors.New("a record with too many objects or strings")
	}
	var o osvRecord
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, err
	}
	if !validID(o.ID) {
		return nil, fmt.Errorf("not an ID: %.64q", o.ID)
	}
	modified, err := time.Parse(time.RFC3339, o.Modified)
	if err != nil {
		return nil, fmt.Errorf("%s: modified: %.64q is no time", o.ID, o.Modified)
	}
	r := &record{id: o.ID, modified: modified.UTC(), withdrawn: o.Withdrawn != ""}
	r.name(o.Aliases, o.Upstream, o.Related)
	if r.withdrawn || len(r.cves) == 1 && r.cves[0] == r.id && noVulnerability(r.id) {
		return r, nil
	}
	if len(o.Affected) > maxAffected {
		return nil, fmt.Errorf("%s: %d affected packages", o.ID, len(o.Affected))
	}
	r.severity = severityOf(o.Severity, o.DatabaseSpecific)
	var problems error
	for i := range o.Affected {
		p, err := o.Affected[i].read()
		if err != nil && problems == nil {
			problems = fmt.Errorf("%s: affected[%d]: %w", o.ID, i, err)
		}
		if p != nil {
			r.packages = append(r.packages, *p)
		}
	}
	return r, problems
}

// read returns nil for what names no package, which is fine for records about
// commits, or names one of which nothing is affected.
func (a *osvAffected) read() (*affectedPackage, error) {
	if a.Package.Ecosystem == "" && a.Package.Name == "" {
		return nil, nil
	}
	p := &affectedPackage{ecosystem: a.Package.Ecosystem, name: a.Package.Name}
	for _, s := range []string{p.ecosystem, p.name} {
		if s == "" || len(s) > maxName || !lineOfText(s) {
			return nil, fmt.Errorf("package: %.64q of ecosystem %.64q", p.name, p.ecosystem)
		}
	}
	p.severity = severityOf(a.Severity, a.EcosystemSpecific, a.DatabaseSpecific)
	events := 0
	commits := false
	for i := range a.Ranges {
		r := &a.Ranges[i]
		events += len(r.Events)
		if r.Type == "GIT" {
			commits = true
			continue
		}
		s, err := r.read()
		if err == nil && events > maxEvents {
			err = errors.New("too many events")
		}
		if err != nil {
			p.spans, p.versions = []span{{kind: undecidable}}, nil
			return p, fmt.Errorf("%s: ranges[%d]: %w", p.name, i, err)
		}
		p.spans = append(p.spans, s)
	}
	for _, v := range a.Versions {
		if len(a.Versions) > maxVersions || !validVersionText(v) {
			p.spans, p.versions = []span{{kind: undecidable}}, nil
			return p, fmt.Errorf("%s: versions: %d of them, with %.64q", p.name, len(a.Versions), v)
		}
	}
	p.versions = a.Versions
	if len(p.spans) == 0 && len(p.versions) == 0 {
		if !commits {
			return nil, nil
		}
		// Only commits are told, which no version can be compared with.
		p.spans = []span{{kind: undecidable}}
	}
	return p, nil
}

func (r *osvRange) read() (span, error) {
	s := span{kind: byEcosystem}
	switch r.Type {
	case "SEMVER":
		s.kind = bySemver
	case "ECOSYSTEM":
	default:
		return s, fmt.Errorf("type %.32q", r.Type)
	}
	begins := false
	for i := range r.Events {
		e := &r.Events[i]
		n := 0
		for _, given := range []struct {
			kind    byte
			version *string
		}{{introduced, e.Introduced}, {fixed, e.Fixed}, {lastAffected, e.LastAffected}, {limit, e.Limit}} {
			if given.version == nil {
				continue
			}
			if !validVersionText(*given.version) {
				return s, fmt.Errorf("events[%d]: version %.64q", i, *given.version)
			}
			begins = begins || given.kind == introduced
			s.events = append(s.events, event{given.kind, *given.version})
			n++
		}
		if n != 1 {
			return s, fmt.Errorf("events[%d]: %d events in one", i, n)
		}
	}
	if !begins {
		return s, errors.New("no version introduces it")
	}
	return s, nil
}

func validVersionText(v string) bool { return v != "" && len(v) <= maxVersion && printable(v) }

// lineOfText tells whether s has no control characters.
func lineOfText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// severityOf takes the newest version of CVSS of which a score can be computed,
// else a rating in words, which databases have in fields of their own.
func severityOf(list []osvSeverity, specific ...json.RawMessage) Severity {
	var best Severity
	words := ""
	newest := ""
	for _, s := range list {
		if len(s.Score) > maxVector {
			continue
		}
		switch s.Type {
		case "CVSS_V2", "CVSS_V3":
			score, err := Score(s.Score)
			key := s.Type + s.Score[:min(len(s.Score), len("CVSS:3.1"))]
			if err == nil && key > newest {
				newest = key
				best = Severity{Score: score, Vector: s.Score, Rating: rate(score, s.Score)}
			}
		case "Ubuntu":
			words = rating(s.Score)
		}
	}
	if best.Vector == "" {
		for _, s := range list {
			if s.Type == "CVSS_V4" && len(s.Score) <= maxVector && lineOfText(s.Score) {
				best.Vector = s.Score
			}
		}
	}
	for _, text := range specific {
		// These fields have no form that all databases keep to, so what does not fit is
		// no defect.
		var fields struct {
			Severity json.RawMessage `json:"severity"`
			Urgency  json.RawMessage `json:"urgency"`
		}
		if words != "" || len(text) == 0 || json.Unmarshal(text, &fields) != nil {
			continue
		}
		for _, field := range []json.RawMessage{fields.Severity, fields.Urgency} {
			var word string
			if words == "" && len(field) > 0 && json.Unmarshal(field, &word) == nil {
				words = rating(word)
			}
		}
	}
	if best.Score == 0 {
		best.Rating = words
	}
	return best
}
