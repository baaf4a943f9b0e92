package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/patchsensor/patchsensor/sensor"
)

// ratings, the worst first, as advisories give them.
var ratings = []string{"critical", "high", "medium", "low"}

// gravity is what advisories say of the vulnerabilities of one package taken together.
type gravity struct {
	rating    string  // the worst, empty if none is known
	score     float64 // the highest CVSS base score, 0 if none is known
	exploited int     // how many are exploited in the wild
}

func gravityOf(p *sensor.Package) gravity {
	var g gravity
	worst := len(ratings)
	for _, v := range p.Vulnerabilities {
		if i := slices.Index(ratings, v.Severity); i >= 0 && i < worst {
			worst, g.rating = i, v.Severity
		}
		g.score = max(g.score, v.Score)
		if v.Exploited {
			g.exploited++
		}
	}
	return g
}

// vulnerabilityIDs are the CVEs of a package, and what advisories name that has no CVE.
func vulnerabilityIDs(p *sensor.Package) []string {
	ids := slices.Clone(p.CVEs)
	for _, v := range p.Vulnerabilities {
		if !slices.Contains(ids, v.ID) {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

const exploitedText = "EXPLOITED"

// cves counts the CVEs between the two versions, names a single one, and if rated says
// how bad the worst is: by advisories, else the urgency that the changelog gives. "?" is
// not known, which is not none.
func cves(p *sensor.Package, rated bool) cell {
	if p.CVEs == nil {
		return cell{text: "?"}
	}
	ids := vulnerabilityIDs(p)
	c := cell{text: fmt.Sprint(len(ids))}
	c.short = c.text
	if len(ids) == 1 {
		c.text = ids[0]
	}
	if len(ids) == 0 || !rated {
		return c
	}
	g := gravityOf(p)
	rating := g.rating
	if rating == "" {
		rating = p.Urgency
	}
	if rating != "" {
		c.text += " " + rating
	}
	if g.exploited > 0 {
		c.text += " " + exploitedText
		c.short += " " + exploitedText
	}
	c.style = ratingStyle(rating, g.exploited > 0)
	return c
}

// gravityCell is what advisories say, else the urgency of the changelog, for wide. Without CVEs there is nothing to say.
func gravityCell(p *sensor.Package, cves cell) cell {
	if cves.text == "-" || p.CVEs != nil && len(vulnerabilityIDs(p)) == 0 {
		return cell{text: "-"}
	}
	g := gravityOf(p)
	text := words(g.rating, scoreText(g.score))
	if g.exploited > 0 {
		text = words(text, exploitedText)
	}
	if text == "" && p.Urgency != "" {
		return cell{text: p.Urgency + " urgency", style: ratingStyle(p.Urgency, false)}
	}
	return cell{text: orUnknown(text), style: ratingStyle(g.rating, g.exploited > 0)}
}

func ratingStyle(rating string, exploited bool) style {
	switch {
	case exploited, rating == "high", rating == "emergency", rating == "critical":
		return red
	}
	return plain
}

// scoreText is a CVSS base score, "" if it is not known.
func scoreText(score float64) string {
	if score == 0 {
		return ""
	}
	return strconv.FormatFloat(score, 'f', 1, 64)
}

// vulnerabilityText is all that people are told of one vulnerability.
func vulnerabilityText(v *sensor.Vulnerability) string {
	text := v.ID
	if how := words(v.Severity, scoreText(v.Score)); how != "" {
		text += ", " + how
	} else {
		text += ", severity not known"
	}
	if v.Exploited {
		text += ", " + exploitedText + " in the wild"
	}
	if v.Fixed != "" {
		text += ", fixed in " + v.Fixed
	}
	if len(v.Advisories) > 0 {
		text += " (" + strings.Join(v.Advisories, " ") + ")"
	}
	return text
}

// unadvised are the CVEs of a package of which advisories say nothing.
func unadvised(p *sensor.Package) []string {
	return slices.DeleteFunc(slices.Clone(p.CVEs), func(cve string) bool {
		return slices.ContainsFunc(p.Vulnerabilities, func(v sensor.Vulnerability) bool { return v.ID == cve })
	})
}

// advised reports whether advisories say anything of the findings.
func (v *view) advised() bool {
	return slices.ContainsFunc(v.Findings, func(x sensor.Finding) bool {
		return slices.ContainsFunc(x.Packages, func(p sensor.Package) bool { return len(p.Vulnerabilities) > 0 })
	})
}

// exploited counts the workloads that cannot wait.
func (v *view) exploited(p *printer) {
	n := 0
	for i := range v.Findings {
		if v.Findings[i].Exploited {
			n++
		}
	}
	if n > 0 {
		p.printf("%s known to be exploited in the wild.\n", styled{red, count(n, "workload runs", "workloads run") + " code with vulnerabilities"})
	}
}
