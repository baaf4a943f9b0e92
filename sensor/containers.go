package sensor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/owner/layer"
	"github.com/patchsensor/patchsensor/internal/workload"
)

// containers is what a scan found out about what containers are made of.
type containers struct {
	roots map[string]*containerRoot // by container
	// shared are the package databases that containers have from their image alone,
	// by the layers that this is made of.
	shared map[string]*packages
	// images are package databases of images, by image.
	images map[string]*packages
	stacks []*layer.Stack
	borrowed
}

func (cs *containers) close() {
	for _, s := range cs.stacks {
		s.Close()
	}
}

// containerRoot is the root of one container as a stack of layers.
type containerRoot struct {
	stack *layer.Stack // nil if it is not known, or no overlay
	image workload.Image
}

// containerOf is the container that a process is in, nil if it is in none or no
// runtime knows it.
func (sc *scan) containerOf(p *process) *workload.Container {
	if p == nil {
		return nil
	}
	return sc.actors().workload(p).Container
}

// rootOf is what a container's root is made of, as far as its runtime tells.
func (sc *scan) rootOf(ctx context.Context, c *workload.Container) *containerRoot {
	if r := sc.containers.roots[c.ID]; r != nil {
		return r
	}
	r := new(containerRoot)
	if sc.containers.roots == nil {
		sc.containers.roots = make(map[string]*containerRoot)
	}
	sc.containers.roots[c.ID] = r
	if sc.inventory == nil || len(c.Rootfs.Lower) == 0 {
		return r
	}
	stack, err := layer.OpenUnmarked(sc.root, c.Rootfs.Upper, c.Rootfs.Lower)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // it is being removed
			sc.warnings.add(subjectContainer+c.Name, fmt.Errorf("layers: %w", err), "")
		}
		return r
	}
	sc.containers.stacks = append(sc.containers.stacks, stack)
	r.stack = stack
	if image, err := sc.inventory.Image(ctx, c.ID); err == nil {
		r.image = image
	}
	return r
}

// absent reports whether an error says that there is no such file.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

// chainOf is the key of a package database that a view has from its image alone, empty
// if it is the view's own: then the container was changed, or that cannot be told.
func (sc *scan) chainOf(v *view, m manager) string {
	c := sc.containerOf(v.first)
	if c == nil || c.Rootfs.Upper == "" || !sc.ownRoot(c, v) {
		return ""
	}
	r := sc.rootOf(context.Background(), c)
	if r.stack == nil {
		return ""
	}
	// What is read beside the databases must be the image's, too.
	beside := append([]string{"etc/os-release", "usr/lib/os-release", "usr/share/doc", "bin", "sbin", "lib", "lib32", "lib64", "libx32"}, m.logs...)
	for _, name := range beside {
		if _, err := sc.root.Lstat(path.Join(c.Rootfs.Upper, name)); !absent(err) || v.mountedOver("/"+name) {
			return ""
		}
	}
	key := ""
	for _, mark := range m.marks {
		where, _, err := r.stack.Find("/" + mark)
		if err != nil {
			continue
		}
		dir := "/" + path.Dir(mark)
		if where.Upper || v.mountedOver("/"+mark) || slices.ContainsFunc(v.points, func(point string) bool { return under(point, dir) }) {
			return ""
		}
		// Anything of the database may have been written to.
		if _, err := sc.root.Lstat(path.Join(c.Rootfs.Upper, path.Dir(mark))); !errors.Is(err, fs.ErrNotExist) {
			return ""
		}
		key = m.name + " " + layer.Key(c.Rootfs.Upper, c.Rootfs.Lower)
	}
	return key
}

// sharedPackages is the package database of an image, as it was read in another container
// of it, lately by a running sensor; nil if there is none.
func (sc *scan) sharedPackages(chain string, v *view) *packages {
	if chain == "" {
		return nil
	}
	if pk := sc.containers.shared[chain]; pk != nil {
		return pk
	}
	if sc.mem == nil || sc.mem.chains[chain] == nil {
		return nil
	}
	kept := sc.mem.chains[chain]
	kept.root.tree, kept.packages.classes, kept.used = v.root, nil, true
	sc.keepShared(chain, kept.packages)
	return kept.packages
}

// share has other containers of the image use a package database too. What is read of it
// later, is read from whichever root shows it then.
func (sc *scan) share(chain string, pk *packages, root tree) tree {
	sc.keepShared(chain, pk)
	if sc.mem == nil {
		return root
	}
	kept := &keptPackages{packages: pk, root: &anyRoot{root}, used: true}
	sc.mem.chains[chain] = kept
	return kept.root
}

func (sc *scan) keepShared(chain string, pk *packages) {
	if sc.containers.shared == nil {
		sc.containers.shared = make(map[string]*packages)
	}
	sc.containers.shared[chain] = pk
}

// keptPackages is the package database of an image, which does not change, as a running
// sensor keeps it while anything uses it.
type keptPackages struct {
	*packages
	root  *anyRoot     // of containers
	stack *layer.Stack // of images at rest
	used  bool         // since the last full scan
}

// anyRoot is one of several roots that show the same.
type anyRoot struct{ tree }

// useKept begins a full scan: what the one before did not use is let go, and what could
// not be read in full is read anew. Nobody uses that one any more.
func (m *memory) useKept() {
	for _, kept := range []map[string]*keptPackages{m.chains, m.images} {
		for key, k := range kept {
			if !k.used || k.troubled() {
				if k.stack != nil {
					k.stack.Close()
				}
				delete(kept, key)
			}
			k.used = false
		}
	}
}

// layerOf is the image layer that shipped the file which a process of a container has
// loaded, nil if that is not known, or no layer of the image did.
func (sc *scan) layerOf(ctx context.Context, c *workload.Container, j judgement) *Layer {
	r := sc.rootOf(ctx, c)
	if r.stack == nil || len(r.image.Layers) == 0 {
		return nil
	}
	if !sc.inImage(c, j.class) {
		return nil
	}
	where, ok := sc.shippedBy(r, j)
	if !ok || where.Upper {
		return nil
	}
	return imageLayer(c, &r.image, where)
}

func imageLayer(c *workload.Container, image *workload.Image, where layer.Where) *Layer {
	index, ok := layerIndex(where, c.Rootfs.Lower, image.Layers)
	if !ok {
		return nil
	}
	l := image.Layers[index]
	return &Layer{Digest: text(l.Digest), Index: index, CreatedBy: text(l.CreatedBy)}
}

// layerIndex says which layer of an image a lower directory of a container's root is: the
// one that is kept there or, if that is not known, the one at its place. Docker's commits
// leave directories between layers that are none.
func layerIndex(where layer.Where, lower []string, layers []workload.Layer) (index int, ok bool) {
	if !where.Upper && where.Index >= 0 && where.Index < len(lower) {
		dir := lower[where.Index]
		if i := slices.IndexFunc(layers, func(l workload.Layer) bool { return l.Dir != "" && l.Dir == dir }); i >= 0 {
			return i, true
		}
	}
	return layer.IndexOf(where, len(lower), len(layers))
}

// drifted reports whether what stands at a load's name now was written inside the
// container: a new container of the same image would not have it.
func (sc *scan) drifted(ctx context.Context, c *workload.Container, j judgement) bool {
	switch j.verdict.Reason {
	case Replaced, Overwritten, MovedAside, SymlinkSwitched, Superseded:
	default:
		return false
	}
	r := sc.rootOf(ctx, c)
	if r.stack == nil || !sc.inImage(c, j.class) {
		return false
	}
	name := j.class.shown
	if j.class.otherOK {
		name = j.class.otherPath
	}
	if j.class.base.mountedOver(name) {
		return false
	}
	where, info, err := r.stack.Find(name)
	// That a name is in the writable layer is plain, whatever that hides.
	return where.Upper && info.Mode != 0 && (err == nil || errors.Is(err, layer.ErrNotKnown))
}

// reversed are the directories of an image's layers as an overlay has them, topmost
// first; nil if any is not known.
func reversed(layers []workload.Layer) []string {
	dirs := make([]string, 0, len(layers))
	for _, l := range slices.Backward(layers) {
		if l.Dir == "" {
			return nil
		}
		dirs = append(dirs, l.Dir)
	}
	return dirs
}
