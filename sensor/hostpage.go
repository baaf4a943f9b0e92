package sensor

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/host"
	"github.com/patchsensor/patchsensor/internal/host/lifecycle"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// HostPage looks at everything once and tells all that there is to say of the machine
// itself.
func (s *Sensor) HostPage(ctx context.Context) (*HostReport, error) {
	began := time.Now()
	sc, err := s.judge(ctx, false)
	if err != nil {
		return nil, err
	}
	defer sc.close()
	sc.pageWanted = true
	p := sc.page(ctx, sc.report(ctx), began)
	p.DurationSeconds = time.Since(began).Seconds()
	return p, nil
}

// page is the machine's page, made beside a report.
func (sc *scan) page(ctx context.Context, r *Report, now time.Time) *HostReport {
	it := sc.about
	p := &HostReport{
		Schema: HostSchema, Version: sc.opts.Version, Host: r.Host, ScannedAt: now.UTC(),
		BootedAt: time.Time(sc.boot).UTC().Round(time.Second), Reboot: *r.Reboot, Causes: append([]Cause{}, it.causes...),
		Kernel: it.kernel, Modules: it.modules, Microcode: it.microcode, Sentinels: it.sentinels,
		Managers: []ManagerStatus{}, Images: []ImageRelease{}, Summary: r.Summary,
	}
	data, err := lifecycle.ReadData(sc.root)
	if err != nil {
		sc.warnings.add(sc.root.Name(), err, "")
	}
	p.Release = releaseLife(releaseOf(sc.root), data, now)
	p.Managers = sc.managerStatus()
	p.Images = sc.imageReleases(data, now)
	p.Warnings = sc.warnings.all()
	p.Complete = len(p.Warnings) == 0
	return p
}

// releaseLife is a release with how long it is supported.
func releaseLife(r host.OSRelease, data lifecycle.Data, now time.Time) Release {
	life := lifecycle.Decide(lifecycle.Release{
		ID: r.ID, VersionID: r.VersionID, Codename: r.Codename, PrettyName: r.PrettyName, SupportEnd: r.SupportEnd,
	}, data, now)
	out := Release{ID: text(r.ID), VersionID: text(r.VersionID), PrettyName: text(r.PrettyName), State: string(life.State), Source: string(life.Source), Support: string(life.Phase.Kind)}
	if !life.Phase.Last.IsZero() {
		out.EndOfLife = life.Phase.Last.Format(time.DateOnly)
	}
	return out
}

// managerStatus says of each package manager of the machine when it last changed
// something, as far as its history tells.
func (sc *scan) managerStatus() []ManagerStatus {
	list := []ManagerStatus{}
	pk := sc.packagesOf(sc.hostView())
	if pk.db == nil {
		return list
	}
	byManager := make(map[string]*ManagerStatus)
	for _, p := range pk.db.Packages() {
		m := byManager[p.Manager]
		if m == nil {
			m = &ManagerStatus{Manager: text(p.Manager)}
			byManager[p.Manager] = m
		}
		m.Packages++
		noteChanges(m, sc.historyOf(pk, p))
	}
	for _, m := range byManager {
		if len(byManager) == 1 {
			// Removals are of packages that are not there any more.
			for _, history := range pk.history {
				noteChanges(m, history)
			}
		}
		list = append(list, *m)
	}
	slices.SortFunc(list, func(a, b ManagerStatus) int { return strings.Compare(a.Manager, b.Manager) })
	return list
}

func noteChanges(m *ManagerStatus, history []owner.Change) {
	for _, ch := range history {
		if at := changedAt(ch); !at.IsZero() && (m.LastChange == nil || at.After(*m.LastChange)) {
			m.LastChange = moment(at)
		}
	}
}

// imageReleases are the releases that containers run, by image.
func (sc *scan) imageReleases(data lifecycle.Data, now time.Time) []ImageRelease {
	type key struct{ image, release string }
	byImage := make(map[key]*ImageRelease)
	for _, v := range sc.views {
		c := sc.containerOf(v.first)
		if c == nil || v.root == nil {
			continue
		}
		release := releaseLife(releaseOf(v.root), data, now)
		image := text(c.Image)
		if image == "" {
			image = text(c.ImageID)
		}
		k := key{image, release.ID + " " + release.VersionID}
		one := byImage[k]
		if one == nil {
			one = &ImageRelease{Image: image, Containers: []string{}, Release: release}
			byImage[k] = one
		}
		name := text(c.Name)
		if name == "" {
			name = text(c.ID)
		}
		if !slices.Contains(one.Containers, name) {
			one.Containers = append(one.Containers, name)
		}
	}
	list := []ImageRelease{}
	for _, one := range byImage {
		slices.Sort(one.Containers)
		list = append(list, *one)
	}
	slices.SortFunc(list, func(a, b ImageRelease) int {
		return strings.Compare(a.Image+"\x00"+a.Release.ID+a.Release.VersionID, b.Image+"\x00"+b.Release.ID+b.Release.VersionID)
	})
	return list
}
