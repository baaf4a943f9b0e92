package sensor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/store"
	"github.com/patchsensor/patchsensor/internal/watch"
)

// packageVersion is one installed package, as lists of packages are kept.
type packageVersion struct {
	Manager string `json:"m"`
	Name    string `json:"n"`
	Arch    string `json:"a"`
	Version string `json:"v"`
	Source  string `json:"s,omitempty"`
}

func versionsOf(db database) []packageVersion {
	var list []packageVersion
	for _, p := range db.Packages() {
		v := packageVersion{Manager: p.Manager, Name: p.Name, Arch: p.Arch, Version: p.Version}
		if p.Source != p.Name {
			v.Source = p.Source
		}
		list = append(list, v)
	}
	slices.SortStableFunc(list, compareVersions)
	return list
}

// withMissing adds to a list the packages that only the one before has: what a damaged
// database does not show may be there all the same, and is not told as removed.
func withMissing(before, now []packageVersion) []packageVersion {
	list := slices.Clone(now)
	for _, p := range before {
		if _, found := slices.BinarySearchFunc(now, p, compareVersions); !found {
			list = append(list, p)
		}
	}
	slices.SortStableFunc(list, compareVersions)
	return list
}

func compareVersions(a, b packageVersion) int {
	return cmp.Or(cmp.Compare(a.Manager, b.Manager), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch))
}

// diff lists what changed between two lists of packages. Of a package that may be
// installed in several versions at once, as kernels are, each version comes and goes.
func diff(before, after []packageVersion) []Patch {
	var list []Patch
	change := func(p packageVersion, from, to string) {
		source := p.Source
		if source == "" {
			source = p.Name
		}
		list = append(list, Patch{Manager: p.Manager, Package: p.Name, Source: source, Arch: p.Arch, From: from, To: to})
	}
	for len(before) > 0 || len(after) > 0 {
		gone, come := before, after
		switch {
		case len(before) == 0:
			gone = nil
		case len(after) == 0:
			come = nil
		case compareVersions(before[0], after[0]) < 0:
			come = nil
		case compareVersions(before[0], after[0]) > 0:
			gone = nil
		}
		gone, come = versionsAhead(gone), versionsAhead(come)
		before, after = before[len(gone):], after[len(come):]
		removed, added := without(gone, come), without(come, gone)
		if len(removed) == 1 && len(added) == 1 {
			change(added[0], removed[0].Version, added[0].Version)
			continue
		}
		for _, p := range removed {
			change(p, p.Version, "")
		}
		for _, p := range added {
			change(p, "", p.Version)
		}
	}
	return list
}

// versionsAhead are the versions of the first package of a list.
func versionsAhead(list []packageVersion) []packageVersion {
	n := 0
	for n < len(list) && compareVersions(list[0], list[n]) == 0 {
		n++
	}
	return list[:n]
}

// without are the versions of a that b does not have.
func without(a, b []packageVersion) []packageVersion {
	var list []packageVersion
	for _, p := range a {
		if !slices.ContainsFunc(b, func(q packageVersion) bool { return q.Version == p.Version }) {
			list = append(list, p)
		}
	}
	return list
}

// targets are the package databases to watch.
func (d *daemon) targets() []watch.Target {
	var list []watch.Target
	for _, m := range managers() {
		list = append(list, watch.Target{
			Name: m.name, Root: d.opts.Root, Paths: m.marks,
			Busy: func() (bool, error) { return m.busy(d.locks) },
		})
	}
	return list
}

// packagesKey is where the store keeps the list of packages of the host.
const packagesKey = "packages/host"

// changed follows a change of a package database.
func (d *daemon) changed(ctx context.Context, c watch.Change) error {
	if c.Err != nil {
		d.log.Warn("package database", zap.String("database", c.Target), zap.Error(c.Err))
	}
	if ofRoot(c) {
		// Nothing of it is remembered that may have changed. Any container can have that
		// happen as often as it likes, so it waits its turn.
		d.owed = true
		d.pace.schedule(time.Now())
		return nil
	}
	d.mem.forget()
	d.owed = true
	if err := d.readChanges(ctx); err != nil {
		return err
	}
	// What changed is told before what that makes stale.
	d.tellPatches(ctx, c.First, c.Last)
	return d.rejudge(ctx)
}

// tellMissed tells what changed while the sensor did not run, or takes the packages as
// they are if it never did. What a package manager is at will be told when it has
// done that.
func (d *daemon) tellMissed(ctx context.Context, since time.Time) {
	for _, m := range managers() {
		if busy, err := m.busy(d.root); d.packages != nil && busy && err == nil {
			return
		}
	}
	d.tellPatches(ctx, since, time.Now())
}

// tellPatches tells what changed among the packages in a span of time.
func (d *daemon) tellPatches(ctx context.Context, first, last time.Time) {
	sc := newScan(d.Sensor, d.fs, d.root, SourceDaemon, snapshot.BootTime{})
	d.mem.hostPackages(sc)
	d.recordPatches(ctx, first, last, sc.describe())
}

// recordPatches compares the host's packages with those that were there when it
// was last asked.
func (d *daemon) recordPatches(ctx context.Context, first, last time.Time, h Host) {
	pk := d.mem.host
	if pk == nil || pk.db == nil {
		return
	}
	now := versionsOf(pk.db)
	before := d.packages
	if len(pk.db.Problems()) > 0 {
		now = withMissing(before, now)
	}
	d.packages = now
	if before == nil || slices.Equal(before, now) {
		if before == nil {
			d.keepPackages(ctx, nil, h)
		}
		return
	}
	patches := diff(before, now)
	history, err := pk.db.History()
	if err != nil {
		d.log.Warn("the package manager's log cannot be read", zap.Error(err))
	}
	for i := range patches {
		p := &patches[i]
		p.Domain, p.Root = domainOfPackage(p.Package, p.Source), d.opts.Root
		p.Time = patchedAt(history, p, first, last).UTC()
	}
	d.keepPackages(ctx, patches, h)
}

// patchedAt is when a package changed, by the log where that tells.
func patchedAt(history []owner.Change, p *Patch, first, last time.Time) time.Time {
	for i := len(history) - 1; i >= 0; i-- {
		c := &history[i]
		if c.Name != p.Package || c.To != p.To || c.Arch != "" && c.Arch != p.Arch {
			continue
		}
		// The log is written in whole seconds.
		if !c.End.IsZero() && !c.End.Before(first.Add(-time.Minute)) && !c.End.After(last.Add(time.Minute)) {
			return c.End
		}
		break
	}
	return last
}

// keepPackages writes down the list of packages together with what changed in it,
// so that neither is there without the other.
func (d *daemon) keepPackages(ctx context.Context, patches []Patch, h Host) {
	body, err := json.Marshal(d.packages)
	if err != nil {
		d.log.Error("list of packages cannot be written down", zap.Error(err))
		return
	}
	n := &entry{Batch: store.Batch{Meta: map[string]string{packagesKey: string(body)}}}
	for i := range patches {
		p := &patches[i]
		n.Patches = append(n.Patches, store.Patch{At: p.Time, Domain: string(p.Domain), Root: p.Root, Manager: p.Manager,
			Package: p.Package, Source: p.Source, Arch: p.Arch, From: p.From, To: p.To})
		n.entries.events = append(n.entries.events, Event{Schema: EventSchema, Time: p.Time, Type: EventPatch, Host: h, Patch: p})
	}
	d.book.add(ctx, n)
	d.vitals.patched(patches)
}

// recallPackages takes over the list of packages from before the sensor was last
// stopped: what changed since is told, too.
func (d *daemon) recallPackages(ctx context.Context) {
	if d.book.store == nil {
		return
	}
	body, ok, err := d.book.store.Meta(ctx, packagesKey)
	if err == nil && ok {
		var list []packageVersion
		if err = json.Unmarshal([]byte(body), &list); err == nil && slices.IsSortedFunc(list, compareVersions) {
			d.packages = list
			return
		}
		err = errors.Join(err, errors.New("the list of packages is damaged"))
	}
	if err != nil {
		d.log.Warn("what was installed when the sensor last ran is not known", zap.Error(err))
	}
}
