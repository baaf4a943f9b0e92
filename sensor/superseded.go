package sensor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/layer"
	"github.com/patchsensor/patchsensor/internal/workload"
	"github.com/patchsensor/patchsensor/internal/workload/container"
	"github.com/patchsensor/patchsensor/internal/workload/inventory"
)

// newer is the package of a newer image, in another version than a load is of.
type newer struct {
	pkg      owner.Package
	from     *packages
	version  string // that is loaded, empty if not known
	evidence Evidence
	created  time.Time // of the image
}

const supersededRule = "the reference by which the container was made now names another image, which has the package in another version"

// supersede finds the containers whose image reference now names another image, and
// what they run that differs there. A container that is not in groups yet and runs
// something that differs gets one; one that runs nothing of the kind is returned.
func (sc *scan) supersede(ctx context.Context, groups map[string]*group, inside map[string]*group) []*group {
	if sc.inventory == nil || sc.inventory.Empty() {
		return nil
	}
	var idle []*group
	nobodys := 0
	defer func() {
		if nobodys > 0 {
			sc.warnings.add(SubjectContainers, fmt.Errorf("%d are known to no runtime that answers: they were not compared with their images", nobodys),
				"name the socket of their runtime with --runtime-socket")
		}
	}()
	for key, all := range inside {
		c := all.w.Container
		if c == nil || all.monitors() {
			continue
		}
		if c.Runtime == container.LXC || c.Runtime == container.Nspawn {
			continue // they are not made from images of a store
		}
		image, err := sc.inventory.Current(ctx, c.ID)
		switch {
		case errors.Is(err, workload.ErrNoImage):
			continue // it was removed, or lost its name: there is nothing newer
		case errors.Is(err, inventory.ErrUnknown):
			nobodys++
			continue
		case err != nil:
			sc.warnings.add("image "+c.Image, fmt.Errorf("what the reference of container %s names now cannot be told: %w", c.Name, err), "")
			continue
		case image.ID == "" || image.ID == c.ImageID:
			continue
		}
		pk, err := sc.imagePackages(ctx, image)
		if err != nil {
			sc.warnings.add("image "+c.Image, fmt.Errorf("container %s was made from what the reference named before, and the two cannot be compared: %w", c.Name, err), "")
			continue
		}
		sc.ownAll(all)
		g := groups[key]
		differs := false
		for _, m := range all.members {
			m.suspects = sc.older(ctx, m.p, pk, image)
			if len(m.suspects) == 0 || !sc.present(&m) {
				continue
			}
			differs = true
			if g == nil {
				g = &group{w: all.w}
				groups[key] = g
			}
			g.add(m.p, m.suspects)
		}
		if !differs && (g == nil || g == all) {
			idle = append(idle, all)
		}
	}
	return idle
}

// add adds judgements on a process.
func (g *group) add(p *process, more []judgement) {
	for i := range g.members {
		if g.members[i].p == p {
			g.members[i].suspects = append(g.members[i].suspects, more...)
			return
		}
	}
	g.members = append(g.members, member{p, more})
}

var errNotUnpacked = errors.New("the layers of the image are not unpacked, or not where they can be read")

// imagePackages opens the package database of an image, once.
func (sc *scan) imagePackages(ctx context.Context, image workload.Image) (*packages, error) {
	if pk := sc.containers.images[image.ID]; pk != nil {
		return pk, pk.err
	}
	if sc.containers.images == nil {
		sc.containers.images = make(map[string]*packages)
	}
	if sc.mem != nil {
		if kept := sc.mem.images[image.ID]; kept != nil {
			kept.used = true
			sc.containers.images[image.ID] = kept.packages
			return kept.packages, kept.err
		}
	}
	pk := &packages{}
	sc.containers.images[image.ID] = pk
	dirs := reversed(image.Layers)
	if len(dirs) == 0 {
		pk.err = errNotUnpacked
		return pk, pk.err
	}
	// A package manager does not make the directories of its database anew.
	stack, err := layer.OpenUnmarked(sc.root, "", dirs)
	if err != nil {
		pk.err = err
		return pk, err
	}
	if sc.mem != nil {
		sc.mem.images[image.ID] = &keptPackages{packages: pk, stack: stack, used: true}
	} else {
		sc.containers.stacks = append(sc.containers.stacks, stack)
	}
	pk.tree = stack
	for _, m := range managers() {
		db, err := m.open(stack)
		sc.parsed++
		if noDatabase(err) {
			continue
		}
		*pk = *newPackages("image "+image.ID, m)
		pk.db, pk.err, pk.tree = db, err, stack
		return pk, err
	}
	// An image of one static program has none.
	return pk, nil
}

// older are judgements on those of a process's loads that a newer image has otherwise:
// their package in another version or, where they are of no package, the file with
// another content. What is stale already has been judged.
func (sc *scan) older(ctx context.Context, p *process, pk *packages, image workload.Image) []judgement {
	var list []judgement
	for _, c := range p.classes {
		if c.facts.Kernel {
			continue
		}
		j := sc.decide(ctx, p, c)
		if j.verdict.State != Effective {
			continue
		}
		o := c.shownOwner
		if o == nil {
			if sc.otherwise(ctx, c, pk) {
				j.verdict = Verdict{Stale, ImageSuperseded, Certain, otherwiseRule}
				j.newer = &newer{from: pk, created: image.Created}
				list = append(list, j)
			}
			continue
		}
		there, ok := pk.version(o.Package)
		if !ok || there.Version == o.Package.Version {
			continue
		}
		// What runs is what the container's own database names.
		j.verdict = Verdict{Stale, ImageSuperseded, Certain, supersededRule}
		j.newer = &newer{pkg: there, from: pk, version: o.Package.Version, evidence: Observed, created: image.Created}
		list = append(list, j)
	}
	return list
}

const otherwiseRule = "the reference by which the container was made now names another image, which has the file, of no package, with another content"

// otherwise reports whether a file that is of no package has another content in an image.
func (sc *scan) otherwise(ctx context.Context, c *class, pk *packages) bool {
	if !c.file.known || c.owners == nil || c.owners.err != nil || c.owners.db != nil && len(c.owners.db.Problems()) > 0 {
		return false // whose it is may only not be known
	}
	info, err := pk.tree.Stat(c.shown)
	if err != nil || !info.Regular() {
		return false
	}
	theirs := file.Ref{Key: file.KeyOf(info), Open: func() (*os.File, error) { return pk.tree.Open(c.shown) }}
	same, _, err := file.SameContent(ctx, sc.cache, sc.ref(c.file), theirs)
	return err == nil && !same
}

// newerBuildID is the build ID of the newer image's file of the same name, empty if it
// has none.
func (sc *scan) newerBuildID(ctx context.Context, j judgement) string {
	tree, name := j.newer.from.tree, j.class.shown
	info, err := tree.Stat(name)
	if err != nil || !info.Regular() {
		return ""
	}
	e, err := usable(sc.cache.Facts(ctx, file.KeyOf(info), func() (*os.File, error) { return tree.Open(name) }))
	if err != nil {
		return ""
	}
	return e.BuildID
}

// version is a package as this database has it.
func (pk *packages) version(p owner.Package) (owner.Package, bool) {
	if pk.installed == nil {
		pk.installed = make(map[nameArch]owner.Package)
		if pk.db == nil {
			return owner.Package{}, false
		}
		for _, q := range pk.db.Packages() {
			pk.installed[nameArch{q.Name, q.Arch}] = q
		}
	}
	q, ok := pk.installed[nameArch{p.Name, p.Arch}]
	return q, ok && q.State == owner.StateInstalled
}

// idleFinding tells of a container whose image is superseded by one in which nothing
// that it runs differs: no alarm.
func (sc *scan) idleFinding(g *group) Finding {
	first := g.members[0].p
	return Finding{
		ID: sc.id(g, first), State: Effective, Reason: ImageSuperseded, Domain: DomainImage, Urgency: "low",
		Workload: workloadOf(g.w), Packages: []Package{}, Processes: []Process{},
		Remedy: Remedy{Action: None, Target: text(g.w.Target), Command: []string{},
			Why: "the reference of its image now names another one, but no package that it runs differs there"},
	}
}
