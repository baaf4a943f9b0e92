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

// notice is what is said of a container without a finding on what it runs.
type notice struct {
	group *group
	state State
	why   string
}

// supersede finds the containers whose image reference now names another image, and
// what they run that differs there. A container that is not in groups yet and runs
// something that differs gets one; of others it is only noted.
func (sc *scan) supersede(ctx context.Context, groups map[string]*group, inside map[string]*group) []notice {
	if sc.inventory == nil || sc.inventory.Empty() {
		return nil
	}
	var notices []notice
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
			sc.warnings.add(subjectImage+c.Image, fmt.Errorf("what the reference of container %s names now cannot be told: %w", c.Name, err), "")
			continue
		case image.ID == "" || image.ID == c.ImageID:
			continue
		}
		pk, err := sc.imagePackages(ctx, image)
		if err != nil {
			sc.warnings.add(subjectImage+c.Image, fmt.Errorf("container %s was made from what the reference named before, and the two cannot be compared: %w", c.Name, err), "")
			if groups[key] == nil {
				sum := comparison{container: c, unsure: err}
				n, _ := sum.notice()
				n.group = all
				notices = append(notices, n)
			}
			continue
		}
		sc.ownAll(all)
		sum := comparison{container: c, image: image, there: pk}
		g := groups[key]
		differs := false
		for _, m := range all.members {
			m.suspects = sc.outdated(ctx, m.p, &sum)
			if len(m.suspects) == 0 || !sc.present(&m) {
				continue
			}
			differs = true
			if g == nil {
				g = newGroup(all.w)
				groups[key] = g
			}
			g.add(m.p, m.suspects)
		}
		if !differs && (g == nil || g == all) {
			if n, ok := sum.notice(); ok {
				n.group = all
				notices = append(notices, n)
			}
		}
	}
	return notices
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
	pk := newPackages(subjectImage+image.ID, manager{})
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
	m, ok := managersOf(stack)
	if !ok {
		return pk, nil // an image of one static program has none
	}
	db, err := m.open(stack)
	sc.parsed++
	if noDatabase(err) {
		return pk, nil
	}
	*pk = *newPackages(subjectImage+image.ID, m)
	pk.db, pk.err, pk.tree = db, err, stack
	pk.release = releaseOf(stack)
	return pk, err
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
	if pk.db == nil {
		return owner.Package{}, false
	}
	if pk.installed == nil {
		pk.installed = make(map[nameArch]owner.Package)
		for _, q := range pk.db.Packages() {
			pk.installed[nameArch{q.Name, q.Arch}] = q
		}
	}
	q, ok := pk.installed[nameArch{p.Name, p.Arch}]
	return q, ok
}

// noticeFinding tells of a container in which nothing is known to be stale.
func (sc *scan) noticeFinding(n notice) Finding {
	first := n.group.members[0].p
	f := Finding{
		ID: sc.id(n.group, first), State: n.state, Reason: ImageSuperseded, Domain: DomainImage,
		Workload: workloadOf(n.group.w), Packages: []Package{}, Processes: []Process{},
		Remedy: Remedy{Action: None, Target: text(n.group.w.Target), Command: []string{}, Why: text(n.why)},
	}
	if n.state == Effective {
		f.Urgency = "low"
	} else {
		f.Reason = Unreadable
	}
	return f
}
