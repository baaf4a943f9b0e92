package sensor

import (
	"fmt"
	"slices"
	"strings"
)

// RebootAdvice says from when on a reboot is advised although restarts would do. The zero
// value stands for half of the workloads and ten of them.
type RebootAdvice struct {
	// Percent is how much of what runs is to be restarted, of all workloads; negative
	// for never.
	Percent int
	// Least is how many workloads that are at least.
	Least int
}

func (a RebootAdvice) withDefaults() RebootAdvice {
	if a.Percent == 0 {
		a.Percent = 50
	}
	if a.Least == 0 {
		a.Least = 10
	}
	return a
}

// rebootVerdict says whether the machine is to be rebooted: what only that makes effective
// comes first, then what speaks for it, then what could not be told.
func rebootVerdict(it *itself, r *Report, advice RebootAdvice) RebootVerdict {
	var needed, advised, unknown []string
	for i := range it.causes {
		switch c := &it.causes[i]; c.Need {
		case NeedReboot:
			needed = append(needed, c.Why)
		case NeedAdvised:
			advised = append(advised, c.Why)
		case NeedUnknown:
			unknown = append(unknown, c.Why)
		}
	}
	advised = append(advised, it.advice...)
	for _, s := range it.sentinels {
		if s.Counts {
			advised = append(advised, sentinelWhy(&s))
		}
	}
	if why := advice.judge(r); why != "" {
		advised = append(advised, why)
	}
	v := RebootVerdict{NeedNone, []string{}, append([]string{}, it.warnings...)}
	switch {
	case len(needed) > 0:
		v.Need, v.Why = NeedReboot, slices.Concat(needed, advised, unknown)
	case len(advised) > 0:
		v.Need, v.Why = NeedAdvised, append(advised, unknown...)
	case len(unknown) > 0:
		v.Need, v.Why = NeedUnknown, unknown
	}
	return v
}

func sentinelWhy(s *Sentinel) string {
	why := s.Source + " asks for it"
	if names := s.Packages; len(names) > 0 {
		if len(names) > 4 {
			names = append(append([]string{}, names[:4]...), fmt.Sprintf("%d more", len(names)-4))
		}
		why += " (" + strings.Join(names, ", ") + ")"
	}
	return why
}

// judge says why a reboot is cheaper than all restarts, empty if it is not known to be.
func (a RebootAdvice) judge(r *Report) string {
	a = a.withDefaults()
	restarts, disruptive := 0, 0
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.State == Stale && f.Remedy.Action == Restart && f.Workload.Container == nil {
			restarts++
			if f.Remedy.Disruptive {
				disruptive++
			}
		}
	}
	if a.Percent < 0 || restarts < a.Least || restarts*100 < a.Percent*r.Summary.Workloads {
		return ""
	}
	why := fmt.Sprintf("%d of %d workloads are to be restarted", restarts, r.Summary.Workloads)
	if disruptive > 0 {
		why += fmt.Sprintf(", %d of which disrupts", disruptive)
	}
	return why + ": a reboot is the cheaper way"
}
