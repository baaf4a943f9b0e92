package store

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Bounds of what a row may hold, in bytes. A row that exceeds them is refused,
// not cut: half a version or half a path would be a false statement.
const (
	// MaxName bounds names, versions, types and keys.
	MaxName = 1024
	// MaxPath bounds paths (PATH_MAX), workloads, finding IDs and reasons.
	MaxPath = 4096
	// MaxCVEs bounds all CVEs of one exposure together.
	MaxCVEs = 1 << 20
	// MaxBody bounds Event.Body and the values of Meta.
	MaxBody = 1 << 20
)

// Sift takes out of the batch what Write would refuse and returns one error
// ([ErrInvalid]) for each, so that one hostile name does not cost its neighbours.
func (b *Batch) Sift() []error {
	var refused []error
	b.Patches = sift(b.Patches, "Patches", checkPatch, &refused)
	b.Learned = sift(b.Learned, "Learned", checkKnowledge, &refused)
	b.Opened = sift(b.Opened, "Opened", checkExposure, &refused)
	b.Changed = sift(b.Changed, "Changed", checkExposure, &refused)
	b.Closed = sift(b.Closed, "Closed", checkClosed, &refused)
	b.Gaps = sift(b.Gaps, "Gaps", checkGap, &refused)
	b.Events = sift(b.Events, "Events", checkEvent, &refused)
	if _, err := nanos(b.Beat); err != nil {
		refused = append(refused, fmt.Errorf("%w: Beat: %w", ErrInvalid, err))
		b.Beat = time.Time{}
	}
	for k, v := range b.Meta {
		if err := checkMeta(k, v); err != nil {
			refused = append(refused, fmt.Errorf("%w: Meta: %w", ErrInvalid, err))
			delete(b.Meta, k)
		}
	}
	return refused
}

func (b *Batch) check() error {
	// Sift only reslices and deletes in its own copy of the batch.
	c := *b
	c.Meta = make(map[string]string, len(b.Meta))
	for k, v := range b.Meta {
		c.Meta[k] = v
	}
	if refused := c.Sift(); len(refused) > 0 {
		return refused[0]
	}
	return nil
}

// sift returns rows itself if all of them pass, else a new slice.
func sift[T any](rows []T, what string, check func(*T) error, refused *[]error) []T {
	var kept []T
	all := true
	for i := range rows {
		err := check(&rows[i])
		switch {
		case err != nil:
			if all {
				kept, all = append(kept, rows[:i]...), false
			}
			*refused = append(*refused, fmt.Errorf("%w: %s[%d]: %w", ErrInvalid, what, i, err))
		case !all:
			kept = append(kept, rows[i])
		}
	}
	if all {
		return rows
	}
	return kept
}

func checkPatch(p *Patch) error {
	return errors.Join(needTime("At", p.At), fits(MaxPath, p.Root),
		fits(MaxName, p.Domain, p.Manager, p.Package, p.Source, p.Arch, p.From, p.To))
}

func checkKnowledge(k *Knowledge) error {
	return errors.Join(needTime("SeenAt", k.SeenAt), fits(MaxPath, k.Root, k.Path),
		fits(MaxName, k.BuildID, k.Manager, k.Name, k.Arch, k.Version, k.Source, k.SourceVersion))
}

func checkExposure(e *Exposure) error {
	_, err := nanos(e.Closed)
	if e.CVEs != nil {
		for _, c := range e.CVEs {
			if c == "" || strings.Contains(c, cveSeparator) {
				return errors.New("a CVE is empty or holds a line break")
			}
		}
		err = errors.Join(err, fits(MaxCVEs, joinCVEs(e.CVEs)))
	}
	return errors.Join(err, needTime("Opened", e.Opened), fits(MaxPath, e.Finding, e.Workload),
		fits(MaxName, e.Domain, e.Kind, e.Manager, e.Package, e.Arch, e.Loaded, e.Evidence, e.Installed))
}

func checkClosed(e *Exposure) error { return needTime("Closed", e.Closed) }

func checkGap(g *Gap) error {
	if g.To.Before(g.From) {
		return errors.New("it ends before it begins")
	}
	return errors.Join(needTime("From", g.From), needTime("To", g.To), fits(MaxPath, g.Why))
}

func checkEvent(e *Event) error {
	if len(e.Body) > MaxBody {
		return fmt.Errorf("body of %d bytes, at most %d", len(e.Body), MaxBody)
	}
	return errors.Join(needTime("At", e.At), fits(MaxName, e.Type))
}

func checkMeta(key, value string) error {
	return errors.Join(fits(MaxName, key), fits(MaxBody, value))
}

func fits(limit int, values ...string) error {
	for _, v := range values {
		if len(v) > limit {
			return fmt.Errorf("string of %d bytes, at most %d", len(v), limit)
		}
	}
	return nil
}

func needTime(field string, t time.Time) error {
	n, err := nanos(t)
	if err == nil && n == 0 {
		err = errors.New("no time")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}

// nanos returns the time as it is stored: nanoseconds since the epoch, 0 for the
// zero time.
func nanos(t time.Time) (int64, error) {
	if t.IsZero() {
		return 0, nil
	}
	if t.Before(time.Unix(0, math.MinInt64)) || t.After(time.Unix(0, math.MaxInt64)) {
		return 0, errors.New("time out of range")
	}
	return t.UnixNano(), nil
}

// stamp is nanos for times that were checked.
func stamp(t time.Time) int64 {
	n, err := nanos(t)
	if err != nil {
		return 0
	}
	return n
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// CVEs are kept as lines: whatever a damaged page makes of them still reads.
const cveSeparator = "\n"

func joinCVEs(list []string) string { return strings.Join(list, cveSeparator) }

func splitCVEs(s string) []string {
	if s == "" {
		return []string{}
	}
	return strings.Split(s, cveSeparator)
}
