package owner

import (
	"slices"
	"time"
)

// stampSlack is how far a file's change time may lie outside the bounds that a
// log gives for it: the kernel stamps files with a clock of its own tick, and
// the log is written after the fact.
const stampSlack = time.Second

// LoadedVersion tells which version of a package a process runs of which it
// mapped a file, from the history of the root, oldest change first.
//
// started is the earliest moment at which the file can have been mapped.
// replaced is the change time that the mapped file has since it was unlinked,
// the moment at which its successor took its place; zero if there is none.
//
//   - If replaced lies within just one change of the package, the answer is the
//     version before that change.
//   - If it lies within none, the log does not tell what replaced the file. The
//     version in force at both moments is the answer, if it is the same.
//   - Without replaced it is the version in force at started, or the first one
//     after that if the package was not installed.
//
// It is false rather than a guess: when the log does not end with the installed
// version (dpkg --root writes the log of the host, not of the root), when it
// shows a gap after the moment in question, when it does not reach back to
// replaced, and when nothing is known of the package. The answer may be the
// installed version, as when a version was installed again.
func LoadedVersion(changes []Change, name, arch, installed string, started, replaced time.Time) (string, bool) {
	h := historyOf(changes, name, arch)
	if len(h) == 0 || installed == "" || h[len(h)-1].To != installed {
		return "", false
	}
	if replaced.IsZero() {
		return h.runningAt(started)
	}
	if within := h.around(replaced, started); len(within) > 0 {
		if len(within) > 1 || within[0].From == "" {
			return "", false
		}
		return within[0].From, true
	}
	if replaced.Before(h[0].Begin) && replaced.Before(changes[0].Begin) {
		return "", false
	}
	// A change that begins with another version than the one before ended with was preceded
	// by one that the log does not have, maybe at replaced.
	if i := slices.IndexFunc(h, func(c Change) bool { return c.End.After(replaced) }); i > 0 && h[i-1].To != h[i].From {
		return "", false
	}
	a, okA := h.runningAt(started)
	b, okB := h.runningAt(replaced)
	if !okA || !okB || a != b {
		return "", false
	}
	return a, true
}

// packageHistory is the changes of one package, each with an End: a change
// that was not seen to finish ends at the latest when the next one begins.
type packageHistory []Change

// unfinished is the End of a change that may still go on.
var unfinished = time.Unix(1<<62, 0)

func historyOf(changes []Change, name, arch string) packageHistory {
	var h packageHistory
	for _, c := range changes {
		if c.Name == name && sameArch(c.Arch, arch) {
			h = append(h, c)
		}
	}
	for i := range h {
		if !h[i].End.IsZero() {
			continue
		}
		h[i].End = unfinished
		if i+1 < len(h) {
			h[i].End = h[i+1].Begin
		}
	}
	return h
}

// sameArch reports whether two architectures may be those of one package at
// two times: packages become architecture-independent and back, and old logs
// name none.
func sameArch(a, b string) bool {
	independent := func(arch string) bool { return arch == "" || arch == "all" || arch == "noarch" || arch == "any" }
	return a == b || independent(a) || independent(b)
}

// around returns the changes within which a file that was mapped after started
// can have been replaced at t: those whose bounds t is strictly within, or
// else those that are near enough.
func (h packageHistory) around(t, started time.Time) packageHistory {
	for _, slack := range [...]time.Duration{0, stampSlack} {
		within := slices.DeleteFunc(slices.Clone(h), func(c Change) bool {
			return t.Before(c.Begin.Add(-slack)) || t.After(c.End.Add(slack)) || c.End.Before(started)
		})
		if len(within) > 0 {
			return within
		}
	}
	return nil
}

// runningAt returns the version that a file had which was mapped at t, or soon
// after if the package was not installed then.
func (h packageHistory) runningAt(t time.Time) (string, bool) {
	i := slices.IndexFunc(h, func(c Change) bool { return c.End.After(t) })
	if i < 0 {
		return h[len(h)-1].To, true
	}
	for j := i + 1; j < len(h); j++ {
		if h[j].From != h[j-1].To {
			return "", false
		}
	}
	for _, c := range h[i:] {
		if c.From != "" {
			return c.From, true
		}
	}
	return h[len(h)-1].To, true
}
