package sensor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sort"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/layer"
	"github.com/patchsensor/patchsensor/internal/workload"
)

// explainLayers draws the layers of a container's root, topmost first, with what is
// stale on the layers that shipped it and what replaced that on those where it stands.
func (sc *scan) explainLayers(ctx context.Context, g *group) []ExplainedLayer {
	c := g.w.Container
	if c == nil || g.monitors() {
		return nil
	}
	r := sc.rootOf(ctx, c)
	if r.stack == nil || len(r.image.Layers) == 0 {
		return nil
	}
	stale, newer := make(map[int]map[string]bool), make(map[int]map[string]bool)
	put := func(on map[int]map[string]bool, where layer.Where, name string) {
		index, ok := layerIndex(where, c.Rootfs.Lower, r.image.Layers)
		if where.Upper {
			index, ok = writable, true
		}
		if !ok {
			return
		}
		if on[index] == nil {
			on[index] = make(map[string]bool)
		}
		on[index][text(name)] = true
	}
	for _, m := range g.members {
		for _, j := range m.suspects {
			if j.verdict.State != Stale || !sc.inImage(c, j.class) {
				continue
			}
			if where, ok := sc.shippedBy(r, j); ok {
				put(stale, where, j.class.shown)
			}
			if where, _, err := r.stack.Find(j.class.otherPath); j.class.otherOK && (err == nil || errors.Is(err, layer.ErrNotKnown)) {
				put(newer, where, j.class.otherPath)
			}
		}
	}
	of := func(on map[int]map[string]bool, index int) []string {
		return slices.AppendSeq([]string{}, slices.Values(slices.Sorted(maps.Keys(on[index]))))
	}
	list := []ExplainedLayer{{Index: writable, Writable: true, Files: of(stale, writable), Newer: of(newer, writable)}}
	for i, l := range slices.Backward(r.image.Layers) {
		list = append(list, ExplainedLayer{Index: i, Digest: text(l.Digest), CreatedBy: text(l.CreatedBy), Files: of(stale, i), Newer: of(newer, i)})
	}
	return list
}

// writable is the index of a container's own layer.
const writable = -1

// shippedBy is the layer that holds the file which a process has loaded.
func (sc *scan) shippedBy(r *containerRoot, j judgement) (layer.Where, bool) {
	if r.stack == nil {
		return layer.Where{}, false
	}
	l := j.class.file
	if l.id.View == file.LayerView {
		return r.stack.Holder(j.class.shown, l.id)
	}
	// The other sources do not tell which layer's file is mapped, but an overlay shows
	// the number, size and modification time of its layers' files. The change time is
	// its own once the file was replaced.
	if !l.known || l.copied {
		return layer.Where{}, false
	}
	for i := range r.stack.Lowers() {
		where := layer.Where{Index: i}
		info, err := sc.root.Lstat(path.Join(r.stack.Dir(where), j.class.shown))
		if err == nil && info.ID.Ino == l.info.ID.Ino && info.Size == l.info.Size && info.Mtime.Equal(l.info.Mtime) {
			return where, true
		}
	}
	return layer.Where{}, false
}

// maxHints bounds the hints about one workload.
const maxHints = 20

// hints tell of packages that a container runs and that another container of the same
// base, or a local image on the same layers, has in another version: no finding, since
// nothing says that this one is to have it.
func (sc *scan) hints(ctx context.Context, g *group) []string {
	c := g.w.Container
	if c == nil || sc.inventory == nil || g.monitors() {
		return nil
	}
	mine := sc.rootOf(ctx, c)
	if len(mine.image.Layers) == 0 {
		return nil
	}
	sc.ownAll(g)
	var hints []string
	for _, image := range sc.inventory.Others(ctx, c.ID) {
		if image.ID == mine.image.ID || image.ID == c.ImageID || !sameBase(image.Layers, mine.image.Layers) {
			continue
		}
		pk, err := sc.imagePackages(ctx, image)
		if err != nil {
			continue
		}
		name := image.ID
		if len(image.Names) > 0 {
			name = image.Names[0]
		}
		seen := make(map[string]bool)
		for _, m := range g.members {
			for _, class := range m.p.classes {
				o := class.shownOwner
				if o == nil || seen[o.Package.Name] || !sc.inImage(c, class) {
					continue
				}
				there, ok := pk.version(o.Package)
				if !ok || there.State != owner.StateInstalled || !supersedes(there, o.Package) {
					continue
				}
				seen[o.Package.Name] = true
				hints = append(hints, text(fmt.Sprintf("%s %s is loaded; image %s, on the same base, has %s", o.Package.Name, o.Package.Version, name, there.Version)))
			}
		}
	}
	sort.Strings(hints)
	hints = slices.Compact(hints)
	if len(hints) > maxHints {
		hints = append(hints[:maxHints], fmt.Sprintf("and %d more", len(hints)-maxHints))
	}
	return hints
}

// sameBase reports whether two images have their lowest layer in common.
func sameBase(a, b []workload.Layer) bool {
	return len(a) > 0 && len(b) > 0 && a[0].Digest != "" && a[0].Digest == b[0].Digest
}
