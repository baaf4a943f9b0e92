// Package lifecycle knows until when the release of a distribution is supported.
// It has no dates of its own: they come from the distribution data package of the
// machine, which its distribution keeps current, and from the release itself.
//
// What it reads and what describes it:
//
//	usr/share/distro-info/debian.csv, ubuntu.csv   distro-info-data (README.Debian), debian-distro-info(1)
//	SUPPORT_END of os-release                      os-release(5)
package lifecycle

import (
	"fmt"
	"slices"
	"time"
)

// Release is what os-release(5) says of a release. What it does not say is empty.
type Release struct {
	ID         string // "debian"
	VersionID  string // "12"
	Codename   string // "bookworm"
	PrettyName string // "Debian GNU/Linux 12 (bookworm)"
	SupportEnd string // "2029-06-30": the first day without support
}

// State is what can be said of a release on a given day.
type State string

// The states of a release.
const (
	Supported State = "supported"
	Ended     State = "ended"
	Unknown   State = "unknown"
)

// Kind is a kind of support. Those that are not named here are spelled as the
// distribution data spell them, without "eol-".
type Kind string

// The kinds of support. Who runs Debian or Ubuntu gets the first three for
// nothing, and the others by contract.
const (
	Standard Kind = "standard"
	Server   Kind = "server" // Ubuntu, for the packages of servers
	LTS      Kind = "lts"    // Debian; not for all architectures and packages

	ELTS   Kind = "elts"   // Debian, by Freexian
	ESM    Kind = "esm"    // Ubuntu Pro
	Legacy Kind = "legacy" // Ubuntu Pro with an add-on
)

// Contract reports whether the support goes only to those who have an agreement
// about it. Whether a machine has one is not known here.
func (k Kind) Contract() bool { return k != Standard && k != Server && k != LTS }

// Phase is one kind of support for a release.
type Phase struct {
	Kind Kind
	// Last is the last day with support, midnight UTC. The distribution data name
	// that day; os-release names the one after it.
	Last time.Time
}

// Covers reports whether the phase has not ended on a day.
func (p Phase) Covers(day time.Time) bool { return !civil(day).After(p.Last) }

func (p Phase) String() string {
	return fmt.Sprintf("%s until %s", p.Kind, p.Last.Format(time.DateOnly))
}

// Source says where the dates are from.
type Source string

// The sources of dates.
const (
	DistroInfo Source = "distro-info-data"
	OSRelease  Source = "os-release"
)

// Life is what is known of a release's support on a day.
type Life struct {
	Release
	State State
	// Phase is the one that counts: the support without a contract that is in force
	// and ends first, or, where all has ended, the one that ended last. It is zero
	// if the state is unknown.
	Phase Phase
	// Later are the other phases that have not ended, the first to end first.
	Later []Phase
	// Source is empty if nothing was found.
	Source Source
	// Why says why the state is unknown.
	Why string
}

// Decide judges a release on the day that today is in its own location. The
// distribution data come before what the release says of itself, because they are
// kept current while an image stays as it was made.
func Decide(r Release, data Data, today time.Time) Life {
	life := Life{Release: r, State: Unknown}
	day := civil(today)
	e, found := data.find(r)
	switch {
	case found && len(e.Phases) > 0:
		life.Source = DistroInfo
		if e.Released.IsZero() || day.Before(e.Released) {
			life.Why = "it is not released yet"
			return life
		}
		life.decide(e.Phases, day)
		return life
	case r.SupportEnd != "":
		life.Source = OSRelease
		end, err := time.Parse(time.DateOnly, r.SupportEnd)
		if err != nil {
			life.Why = fmt.Sprintf("its SUPPORT_END %.20q is no date", r.SupportEnd)
			return life
		}
		life.decide([]Phase{{Standard, end.AddDate(0, 0, -1)}}, day)
		return life
	case found:
		life.Source = DistroInfo
		life.Why = "no end of its support has been announced"
	case r.ID == debian && r.VersionID == "":
		life.Why = "testing and unstable have no end of support"
	case r.VersionID == "":
		life.Why = "it does not say which version it is, and names no end of its support"
	case data.knows(r.ID):
		life.Why = "the distribution data of this machine do not have it"
	default:
		life.Why = "it names no end of its support, and this machine has no data about its distribution"
	}
	return life
}

func (l *Life) decide(phases []Phase, day time.Time) {
	phases = slices.Clone(phases)
	slices.SortStableFunc(phases, func(a, b Phase) int { return a.Last.Compare(b.Last) })
	l.State = Ended
	for _, p := range phases {
		switch {
		case !p.Covers(day):
			if !p.Kind.Contract() {
				l.Phase = p
			}
		case l.State == Ended && !p.Kind.Contract():
			l.State, l.Phase = Supported, p
		case !p.Kind.Contract() && p.Last.Equal(l.Phase.Last):
			// Ubuntu has one day in two columns.
		default:
			l.Later = append(l.Later, p)
		}
	}
	if l.Phase == (Phase{}) {
		// Only what is sold is on record, which says nothing of the rest.
		l.State, l.Why = Unknown, "only support by contract is on record"
	}
}

// civil is the day of a time in its own location, as midnight UTC.
func civil(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}
