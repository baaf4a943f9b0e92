package advisory

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kinds of events within a range, as they are stored.
const (
	introduced   = 'i'
	fixed        = 'f'
	lastAffected = 'l'
	limit        = 'm'
)

// Kinds of ranges, as they are stored.
const (
	byEcosystem = 'E'
	bySemver    = 'S'
	// undecidable stands for what cannot be evaluated: the record names the package,
	// but not in a way from which a version can be told.
	undecidable = '?'
)

var errUndecidable = fmt.Errorf("%w: the record's ranges cannot be understood", ErrVersion)

type event struct {
	kind    byte
	version string
}

// span is one of the ranges of an OSV record.
type span struct {
	kind   byte
	events []event
}

// encodeSpans writes one line for each span and each of its events: the kind, and
// the version. Versions hold no line feeds.
func encodeSpans(spans []span) string {
	var b strings.Builder
	for _, s := range spans {
		b.WriteByte(s.kind)
		b.WriteByte('\n')
		for _, e := range s.events {
			b.WriteByte(e.kind)
			b.WriteString(e.version)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// decodeSpans is the inverse of encodeSpans.
func decodeSpans(text string) ([]span, error) {
	var spans []span
	for text != "" {
		line, rest, ok := strings.Cut(text, "\n")
		if !ok || line == "" {
			return nil, fmt.Errorf("%w: a range", ErrCorrupt)
		}
		text = rest
		switch kind := line[0]; kind {
		case byEcosystem, bySemver, undecidable:
			if len(line) > 1 {
				return nil, fmt.Errorf("%w: a range", ErrCorrupt)
			}
			spans = append(spans, span{kind: kind})
		case introduced, fixed, lastAffected, limit:
			if len(spans) == 0 {
				return nil, fmt.Errorf("%w: an event without a range", ErrCorrupt)
			}
			s := &spans[len(spans)-1]
			s.events = append(s.events, event{kind, line[1:]})
		default:
			return nil, fmt.Errorf("%w: a range", ErrCorrupt)
		}
	}
	return spans, nil
}

// affected evaluates a version against all spans, as IncludedInRanges of the OSV
// specification ("Evaluation"). If it is in one of them, fix is the first version
// of that span's fixed events that is newer, or empty. An error that stands beside
// false means not known.
func affected(spans []span, text string, ecosystem order) (in bool, fix string, err error) {
	for _, s := range spans {
		parse := ecosystem
		switch s.kind {
		case undecidable:
			err = errors.Join(err, errUndecidable)
			continue
		case bySemver:
			parse = semver
		}
		v, spanErr := parse(text)
		if spanErr == nil {
			var inSpan bool
			inSpan, fix, spanErr = s.holds(v, parse)
			if inSpan && spanErr == nil {
				return true, fix, nil
			}
		}
		if spanErr != nil {
			err = errors.Join(err, spanErr)
		}
	}
	return false, "", err
}

// moment is an event with its version read; zero sorts before all versions.
type moment struct {
	event
	at   version
	zero bool
}

func (s span) holds(v version, parse order) (in bool, fix string, err error) {
	moments := make([]moment, 0, len(s.events))
	limits, before := 0, false
	for _, e := range s.events {
		if e.kind == limit {
			limits++
			if e.version == "*" {
				before = true
				continue
			}
		}
		m := moment{event: e, zero: e.kind == introduced && e.version == "0"}
		if !m.zero {
			if m.at, err = parse(e.version); err != nil {
				return false, "", err
			}
		}
		if e.kind != limit {
			moments = append(moments, m)
			continue
		}
		n, err := v.compare(m.at)
		if err != nil {
			return false, "", err
		}
		before = before || n < 0
	}
	if limits > 0 && !before {
		return false, "", nil
	}
	// Stable: the specification leaves open which of two events at one version
	// comes first, so the record decides.
	slices.SortStableFunc(moments, func(a, b moment) int {
		switch {
		case a.zero && b.zero:
			return 0
		case a.zero:
			return -1
		case b.zero:
			return 1
		}
		n, compareErr := a.at.compare(b.at)
		if compareErr != nil {
			err = compareErr
		}
		return n
	})
	if err != nil {
		return false, "", err
	}
	for _, m := range moments {
		n := 1
		if !m.zero {
			if n, err = v.compare(m.at); err != nil {
				return false, "", err
			}
		}
		switch {
		case m.kind == introduced && n >= 0:
			in = true
		case m.kind == fixed && n >= 0, m.kind == lastAffected && n > 0:
			in = false
		case m.kind == fixed && in && fix == "":
			fix = m.version
		}
	}
	if !in {
		fix = ""
	}
	return in, fix, nil
}
