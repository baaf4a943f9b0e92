package sensor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// Packages looks at every process once and lists the packages that are installed with what
// of them runs. A stale one may have been patched, and the patch is not effective.
func (s *Sensor) Packages(ctx context.Context) (*PackageList, error) {
	began := time.Now()
	sc, err := s.judge(ctx, true)
	if err != nil {
		return nil, err
	}
	defer sc.close()
	l := sc.list(ctx)
	l.ScannedAt, l.DurationSeconds = began.UTC(), time.Since(began).Seconds()
	return l, nil
}

// listedKey is a package of a database, or what a file was built from.
type listedKey struct {
	from                *packages // nil for the latter
	manager, name, arch string
	version             string
	where, file         string // of the latter
}

// listing is a list in the making.
type listing struct {
	sc   *scan
	rows map[listedKey]*ListedPackage
	// unsure are processes of which something could not be judged: that they run what is
	// installed is not known.
	unsure int
}

func (sc *scan) list(ctx context.Context) *PackageList {
	l := &PackageList{
		Schema: PackageListSchema, Version: sc.opts.Version, Host: sc.describe(), Source: sc.source, Packages: []ListedPackage{},
	}
	n := &listing{sc: sc, rows: make(map[listedKey]*ListedPackage)}
	if pk := sc.packagesOf(sc.hostView()); pk.db != nil {
		for _, p := range pk.db.Packages() {
			n.row(pk, p)
		}
	} else if pk.err == nil {
		sc.warnings.add(sc.root.Name(), errors.New("there is no package database"), "")
	}
	unread := 0
	for _, p := range sc.processes {
		if p.Err != nil {
			unread++
			continue
		}
		n.count(ctx, p)
	}
	sc.warnUnreadable(unread)
	if n.unsure > 0 {
		sc.warnings.add(SubjectProcesses, fmt.Errorf("%d run something that could not be judged, and are not counted as stale", n.unsure),
			"`sensor stale --state unknown` tells which")
	}
	sc.warnDatabases()
	for _, row := range n.rows {
		l.Packages = append(l.Packages, *row)
		l.Summary.Packages++
		if row.Processes > 0 {
			l.Summary.Loaded++
		}
		if row.Stale > 0 {
			l.Summary.Stale++
		}
	}
	slices.SortFunc(l.Packages, func(a, b ListedPackage) int {
		return cmp.Or(cmp.Compare(a.Where, b.Where), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch),
			cmp.Compare(a.Manager, b.Manager), cmp.Compare(a.Version, b.Version), cmp.Compare(a.File, b.File))
	})
	l.Warnings = sc.warnings.all()
	l.Complete = len(l.Warnings) == 0
	return l
}

// row is the row of a package of a database.
func (n *listing) row(pk *packages, p owner.Package) *ListedPackage {
	key := listedKey{from: pk, manager: p.Manager, name: p.Name, arch: p.Arch, version: p.Version}
	if row := n.rows[key]; row != nil {
		return row
	}
	row := &ListedPackage{
		Manager: p.Manager, Name: text(p.Name), Source: text(p.Source), Arch: text(p.Arch), Version: text(p.Version),
		Vendor: text(p.Vendor), Module: text(p.Module), Where: text(n.sc.whereOf(pk)),
		Distribution: text(pk.release.ID), Release: text(pk.release.VersionID),
	}
	for _, ch := range n.sc.historyOf(pk, p) {
		if at := changedAt(ch); !at.IsZero() && (row.LastChange == nil || !at.Before(row.LastChange.Time)) {
			row.LastChange = &PackageChange{at.UTC(), text(ch.From), text(ch.To)}
		}
	}
	n.rows[key] = row
	return row
}

// changedAt is when a change was over, or began if that is not known.
func changedAt(ch owner.Change) time.Time {
	if ch.End.IsZero() {
		return ch.Begin
	}
	return ch.End
}

// whereOf is what people call the root of a database.
func (sc *scan) whereOf(pk *packages) string {
	if pk == sc.packagesOf(sc.hostView()) {
		return sc.root.Name()
	}
	for _, shared := range sc.containers.shared {
		if shared != pk {
			continue
		}
		for _, v := range sc.views {
			if c := sc.containerOf(v.first); v.dbOpened && v.db == pk && c != nil && c.Image != "" {
				return subjectImage + c.Image
			}
		}
	}
	return pk.name
}

// count adds what one process has loaded.
func (n *listing) count(ctx context.Context, p *process) {
	stale := make(map[*class]judgement)
	m := member{p, n.sc.suspects(ctx, p)}
	if len(m.suspects) > 0 && !n.sc.present(&m) {
		return
	}
	unknown := false
	for _, j := range m.suspects {
		switch j.verdict.State {
		case Stale, Missing:
			stale[j.class] = j
		default:
			unknown = true
		}
	}
	if unknown {
		n.unsure++
	}
	rows := make(map[*ListedPackage]bool)
	for _, c := range p.classes {
		if c.facts.Kernel || c.base == nil {
			continue
		}
		j, old := stale[c]
		o := c.shownOwner
		if old {
			o = ownerOf(c)
		}
		if o == nil || c.owners == nil {
			for _, row := range n.modules(ctx, c) {
				rows[row] = rows[row] || old
			}
			continue
		}
		row := n.row(c.owners, o.Package)
		rows[row] = rows[row] || old
		if old {
			version, evidence := n.sc.loadedVersion(ctx, c.owners, o.Package, j)
			if v := (LoadedVersion{text(version), evidence}); !slices.Contains(row.LoadedVersions, v) {
				row.LoadedVersions = append(row.LoadedVersions, v)
			}
		}
	}
	for row, old := range rows {
		row.Processes++
		if old {
			row.Stale++
		}
	}
}

// modules are the rows of what a file says that it was built from.
func (n *listing) modules(ctx context.Context, c *class) []*ListedPackage {
	if !c.file.known {
		return nil
	}
	where := n.sc.root.Name()
	if c.base.first != nil && !n.sc.isHost(c.base) {
		where = n.sc.nameOf(c.base)
	}
	var rows []*ListedPackage
	for _, m := range n.sc.modulesOf(ctx, n.sc.ref(c.file)) {
		key := listedKey{manager: m.manager, name: m.name, version: m.version, where: where, file: c.shown}
		row := n.rows[key]
		if row == nil {
			row = &ListedPackage{
				Manager: text(m.manager), Name: text(m.name), Source: text(m.name), Version: text(m.version), Where: text(where),
				File: text(c.shown),
			}
			n.rows[key] = row
		}
		rows = append(rows, row)
	}
	return rows
}
