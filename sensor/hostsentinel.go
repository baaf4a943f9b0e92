package sensor

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/host/sentinel"
)

// readSentinels lists who asks for a reboot. What the sensor wrote itself only repeats its
// own verdict, and what is older than the boot was left over: /run is not always made
// anew.
func (sc *scan) readSentinels(booted time.Time) []Sentinel {
	list := []Sentinel{}
	requests, err := sentinel.Read(sc.root)
	if err != nil {
		sc.warnings.add(subjectMachine, err, "")
	}
	for _, r := range requests {
		if r.Own {
			continue
		}
		s := Sentinel{Source: text(r.File), Packages: []string{}, Since: moment(r.Since), Counts: !r.Since.Before(booted.Add(-bootMargin))}
		for _, p := range r.Packages {
			s.Packages = append(s.Packages, text(p))
		}
		list = append(list, s)
	}
	return list
}

// wouldAsk says for which packages needs-restarting or zypper would ask for a reboot. They
// hold the time of the installation against that of the boot, whatever runs since; the
// sensor looks at what runs, so this is told and does not count. Times are those of the
// package manager's history.
func (sc *scan) wouldAsk(booted time.Time) []Sentinel {
	pk := sc.packagesOf(sc.hostView())
	if pk.db == nil {
		return nil
	}
	list, err := sentinel.ReadRedHat(sc.root)
	name := "needs-restarting"
	if r := pk.release; r.ID == "sles" || slices.Contains(r.IDLike, "suse") {
		list, err = sentinel.ReadSUSE(sc.root)
		name = "zypper needs-rebooting"
	}
	if err != nil {
		sc.warnings.add(subjectMachine, err, "")
	}
	var candidates []sentinel.Package
	for _, p := range pk.db.Packages() {
		c := sentinel.Package{Name: p.Name}
		if p.Manager != "rpm" || !list.Has(c) {
			continue
		}
		for _, ch := range sc.historyOf(pk, p) {
			if at := changedAt(ch); at.After(c.Installed) && ch.To == p.Version {
				c.Installed = at
			}
		}
		candidates = append(candidates, c)
	}
	names := list.After(booted, candidates)
	if len(names) == 0 {
		return nil
	}
	s := Sentinel{Source: name, Packages: []string{}}
	for _, n := range names {
		s.Packages = append(s.Packages, text(n))
	}
	return []Sentinel{s}
}

// maintain writes down that a reboot is needed for as long as it is, if that is wanted. What
// could not be told changes nothing.
func (d *daemon) maintain(sc *scan, r *Report) {
	dir := d.live.SentinelDir
	if dir == "" {
		return
	}
	unknown := slices.ContainsFunc(sc.about.causes, func(c Cause) bool { return c.Need == NeedUnknown })
	if r.Reboot.Need != NeedReboot && (unknown || r.Reboot.Need == NeedUnknown) {
		return
	}
	var need *sentinel.Need
	if r.Reboot.Need == NeedReboot {
		need = &sentinel.Need{Reasons: r.Reboot.Why}
		for i := range sc.about.causes {
			if c := &sc.about.causes[i]; c.Since != nil && (need.Since.IsZero() || c.Since.Before(need.Since)) {
				need.Since = *c.Since
			}
		}
		if p := sc.about.pkg; p != nil {
			need.Packages = []string{p.Name}
		}
	}
	outcome, err := sentinel.Maintain(dir, need)
	said := string(outcome)
	if err != nil {
		said = err.Error()
	}
	if said == d.sentinel {
		return
	}
	d.sentinel = said
	switch {
	case err != nil:
		d.log.Error("that a reboot is needed could not be written down", zap.String("directory", dir), zap.Error(err))
	case outcome == sentinel.Written || outcome == sentinel.Removed || outcome == sentinel.Foreign:
		d.log.Info("request for a reboot", zap.String("directory", dir), zap.String("outcome", said))
	}
}
