package sensor

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/workload"
)

// comparison is one of what a container has loaded with what an image has.
type comparison struct {
	container *workload.Container
	image     workload.Image
	there     *packages
	// compared is how many loads are as in the image, back a package that it has in an
	// older version, unsure why something could not be compared, and strange says that a
	// process has a root which is not known to be the container's, nor another one.
	compared int
	back     string
	unsure   error
	strange  bool
}

// The rules by which a load is of a superseded image.
const (
	newerRule     = "the reference by which the container was made now names another image, which has the package in a newer version"
	otherwiseRule = "the reference by which the container was made now names another image, which has the file with another content"
	goneRule      = "the reference by which the container was made now names another image, which has the file no more"
)

// notice is what there is to say if nothing differs.
func (cmp *comparison) notice() (notice, bool) {
	const superseded = "the reference of its image now names another one"
	switch {
	case cmp.unsure != nil:
		return notice{state: Unknown, why: superseded + ", and whether what it runs differs there cannot be told: " + cmp.unsure.Error()}, true
	case cmp.compared == 0 && cmp.back == "" && cmp.strange:
		return notice{state: Unknown, why: superseded + ", and none of its processes shows the root that its runtime tells of, with which to compare"}, true
	case cmp.container.ImageID == "":
		return notice{}, false // what it was made from is not known, so it may be the same
	case cmp.back != "":
		return notice{state: Effective, why: superseded + ", but with older packages: to redeploy would take back " + cmp.back}, true
	case cmp.compared > 0:
		return notice{state: Effective, why: superseded + ", but no package that it runs differs there"}, true
	}
	return notice{}, false // nothing of it was compared
}

// outdated are judgements on those of a process's loads that the image has newer, or
// otherwise where no version tells. What is stale already has been judged.
func (sc *scan) outdated(ctx context.Context, p *process, cmp *comparison) []judgement {
	var list []judgement
	for _, c := range p.classes {
		if c.facts.Kernel {
			continue
		}
		if !sc.inImage(cmp.container, c) {
			v := c.base
			cmp.strange = cmp.strange || v == nil || v.link == "/" && !sc.ownRoot(cmp.container, v) && !sc.isHost(v)
			continue
		}
		j := sc.decide(ctx, p, c)
		if j.verdict.State != Effective {
			continue
		}
		n, rule := sc.newerOf(ctx, j, cmp)
		if n == nil {
			continue
		}
		n.from, n.created = cmp.there, cmp.image.Created
		j.verdict, j.newer = Verdict{Stale, ImageSuperseded, Certain, rule}, n
		list = append(list, j)
	}
	return list
}

// newerOf is what the image has instead of a load, nil if that is the same, or older, or
// cannot be told.
func (sc *scan) newerOf(ctx context.Context, j judgement, cmp *comparison) (*newer, string) {
	n := new(newer)
	if o := j.class.shownOwner; o != nil {
		// What runs is what the container's own database names.
		mine := o.Package
		n.pkg, n.version, n.evidence = mine, mine.Version, Observed
		n.pkg.Version = ""
		if there, ok := cmp.there.version(mine); ok {
			switch {
			case there.State != owner.StateInstalled:
				cmp.unsure = fmt.Errorf("package %s is %s there", there.Name, there.State)
			case there.Version == mine.Version:
				cmp.compared++
			case supersedes(there, mine):
				n.pkg = there
				return n, newerRule
			default:
				cmp.back = fmt.Sprintf("%s from %s to %s", mine.Name, mine.Version, there.Version)
			}
			return nil, ""
		}
		if cmp.there.db != nil && len(cmp.there.db.Problems()) > 0 {
			cmp.unsure = cmp.there.db.Problems()[0]
			return nil, ""
		}
	} else if where, ok := sc.shippedBy(sc.rootOf(ctx, cmp.container), j); !ok || where.Upper {
		// The program made it, or it was put there: no image has it.
		return nil, ""
	}
	rule, err := sc.otherwise(ctx, j.class, cmp.there)
	switch {
	case err != nil:
		cmp.unsure = err
		return nil, ""
	case rule == "":
		cmp.compared++
		return nil, ""
	}
	return n, rule
}

// otherwise is the rule by which a file differs in an image, empty if it does not.
func (sc *scan) otherwise(ctx context.Context, c *class, there *packages) (string, error) {
	if !c.file.known {
		return "", c.file.err
	}
	info, err := there.tree.Stat(c.shown)
	switch {
	case absent(err):
		return goneRule, nil
	case err != nil:
		return "", err
	case !info.Regular():
		return otherwiseRule, nil
	}
	theirs := file.Ref{Key: file.KeyOf(info), Open: func() (*os.File, error) { return there.tree.Open(c.shown) }}
	same, _, err := file.SameContent(ctx, sc.cache, sc.ref(c.file), theirs)
	if err != nil || same {
		return "", err
	}
	return otherwiseRule, nil
}

// inImage reports whether a load is of what a container's image and its own changes make
// up: from the container's own root, and not from a volume or anything else mounted there.
func (sc *scan) inImage(c *workload.Container, cl *class) bool {
	return cl.base != nil && sc.ownRoot(c, cl.base) && !cl.base.mountedOver(cl.shown)
}

// ownRoot reports whether a view shows the root that the runtime made for a container: a
// process in its cgroup may have another one.
func (sc *scan) ownRoot(c *workload.Container, v *view) bool {
	if v.link != "/" || v.root == nil {
		return false
	}
	if v.overlay != nil && c.Rootfs.Upper != "" {
		// A long list of layers is mounted by names relative to their directory.
		upper := v.overlay.Upper
		return len(v.overlay.Lower) == len(c.Rootfs.Lower) &&
			(upper == c.Rootfs.Upper || upper != "" && !strings.HasPrefix(upper, "/") && strings.HasSuffix(c.Rootfs.Upper, "/"+upper))
	}
	// Otherwise the root of its first process is, if that can be told.
	first := sc.byPID[c.PID]
	return first != nil && first.view == v
}

// mountedOver reports whether a name lies on a mount of its own.
func (v *view) mountedOver(name string) bool {
	for _, point := range v.points {
		if rest, ok := strings.CutPrefix(path.Clean(name), point); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}
