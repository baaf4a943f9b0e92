package advisory

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

var errVector = errors.New("not a CVSS vector")

// maxVector bounds a CVSS vector, in bytes. One with all metrics has 150.
const maxVector = 512

// Score returns the base score of a CVSS vector of version 2, 3.0 or 3.1, after
// the formulas of FIRST (first.org/cvss/v2/guide 3.2.1, first.org/cvss/v3.0 8.1,
// first.org/cvss/v3.1 7.1). Metrics that are not base metrics are ignored. A
// vector of version 4.0, which has tables in place of formulas, is an error.
func Score(vector string) (float64, error) {
	if len(vector) > maxVector {
		return 0, fmt.Errorf("%w: %d bytes", errVector, len(vector))
	}
	version, metrics, _ := strings.Cut(vector, "/")
	switch {
	case version == "CVSS:3.0" || version == "CVSS:3.1":
		m, err := parseMetrics(metrics)
		if err != nil {
			return 0, err
		}
		return score3(m)
	case strings.HasPrefix(version, "CVSS:"):
		return 0, fmt.Errorf("%w of version 2 or 3: %.64q", errVector, vector)
	}
	vector = strings.TrimSuffix(strings.TrimPrefix(vector, "("), ")")
	m, err := parseMetrics(vector)
	if err != nil {
		return 0, err
	}
	return score2(m)
}

type metrics map[string]string

func parseMetrics(s string) (metrics, error) {
	m := make(metrics, 8)
	for metric := range strings.SplitSeq(s, "/") {
		name, value, ok := strings.Cut(metric, ":")
		if !ok || name == "" || value == "" {
			return nil, fmt.Errorf("%w: metric %.32q", errVector, metric)
		}
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("%w: metric %.32q is there twice", errVector, name)
		}
		m[name] = value
	}
	return m, nil
}

// weigh returns the weights of the metrics, each by the letters of its values.
func (m metrics) weigh(metric string, letters string, weights ...float64) (float64, error) {
	value := m[metric]
	if i := strings.Index(letters, value); len(value) == 1 && i >= 0 {
		return weights[i], nil
	}
	return 0, fmt.Errorf("%w: %s:%.32s", errVector, metric, value)
}

func score3(m metrics) (float64, error) {
	scope, err := m.weigh("S", "UC", 0, 1)
	changed := scope == 1
	low, high := 0.62, 0.27
	if changed {
		low, high = 0.68, 0.5
	}
	av, err1 := m.weigh("AV", "NALP", 0.85, 0.62, 0.55, 0.2)
	ac, err2 := m.weigh("AC", "LH", 0.77, 0.44)
	pr, err3 := m.weigh("PR", "NLH", 0.85, low, high)
	ui, err4 := m.weigh("UI", "NR", 0.85, 0.62)
	c, err5 := m.weigh("C", "HLN", 0.56, 0.22, 0)
	i, err6 := m.weigh("I", "HLN", 0.56, 0.22, 0)
	a, err7 := m.weigh("A", "HLN", 0.56, 0.22, 0)
	if err := errors.Join(err, err1, err2, err3, err4, err5, err6, err7); err != nil {
		return 0, err
	}
	iss := 1 - (1-c)*(1-i)*(1-a)
	impact := 6.42 * iss
	if changed {
		impact = 7.52*(iss-0.029) - 3.25*math.Pow(iss-0.02, 15)
	}
	if impact <= 0 {
		return 0, nil
	}
	score := impact + 8.22*av*ac*pr*ui
	if changed {
		score *= 1.08
	}
	return roundUp(min(score, 10)), nil
}

// roundUp is the Roundup of version 3.1 (appendix A), which gives the results that
// version 3.0 means, whatever the floating point.
func roundUp(score float64) float64 {
	n := int64(math.Round(score * 100_000))
	if n%10_000 == 0 {
		return float64(n) / 100_000
	}
	return float64(n/10_000+1) / 10
}

func score2(m metrics) (float64, error) {
	av, err1 := m.weigh("AV", "LAN", 0.395, 0.646, 1)
	ac, err2 := m.weigh("AC", "HML", 0.35, 0.61, 0.71)
	au, err3 := m.weigh("Au", "MSN", 0.45, 0.56, 0.704)
	c, err4 := m.weigh("C", "NPC", 0, 0.275, 0.660)
	i, err5 := m.weigh("I", "NPC", 0, 0.275, 0.660)
	a, err6 := m.weigh("A", "NPC", 0, 0.275, 0.660)
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return 0, err
	}
	impact := 10.41 * (1 - (1-c)*(1-i)*(1-a))
	if impact == 0 {
		return 0, nil
	}
	score := (0.6*impact + 0.4*20*av*ac*au - 1.5) * 1.176
	return math.Round(score*10) / 10, nil
}

// rate returns the rating of a score: the scale of FIRST (v3.1, 5), for version 2
// that of NVD, which has no critical (nvd.nist.gov/vuln-metrics/cvss).
func rate(score float64, vector string) string {
	switch {
	case score <= 0:
		return ""
	case score < 4:
		return "low"
	case score < 7:
		return "medium"
	case score < 9 || !strings.HasPrefix(vector, "CVSS:3"):
		return "high"
	}
	return "critical"
}

// rating returns one of the four ratings for the words that distributions and
// databases use for them, and an empty string for all others.
func rating(word string) string {
	if len(word) > 32 {
		return ""
	}
	// Debian puts stars behind an urgency that it has not confirmed.
	switch strings.TrimRight(strings.ToLower(word), "*") {
	case "low", "negligible", "unimportant", "minor":
		return "low"
	case "medium", "moderate":
		return "medium"
	case "high", "important":
		return "high"
	case "critical":
		return "critical"
	}
	return ""
}
