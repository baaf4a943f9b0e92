package sensor

import (
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/workload"
)

// Containers of one image have most of their files from it. What was found out of a
// layer's file, and of a name that leads to it, in one of them holds in all others that
// have changed nothing on the way of that name: each file is looked at once for each
// image, however many containers run it.

// pristine is what a view has of its image as it is.
type pristine struct {
	// chain names the layers of the image; empty if the view is not that of a
	// container, or cannot be compared with others.
	chain string
	// touched are the entries of the root directory in which the container may differ
	// from its image: written to, or mounted over.
	touched map[string]bool
}

// imageFile is a file of an image, found in one of its containers.
type imageFile struct {
	file snapshot.File // as mapped: another state of the file is another file
	name string        // the kernel's
	tops []string      // on the way of name
	info file.Info
}

// imageName is what a name leads to in an image.
type imageName struct {
	id   file.ID // in the layer
	tops []string
}

type chainFile struct {
	chain string
	id    file.ID
}

type chainName struct{ chain, name string }

// borrowed is what containers can have from one another.
type borrowed struct {
	files map[chainFile]*imageFile
	names map[chainName]*imageName
}

// ofImage says what a view has of its image.
func (sc *scan) ofImage(v *view) *pristine {
	if v.image != nil {
		return v.image
	}
	v.image = new(pristine)
	// A running sensor needs each container's own numbers for its files, by which it
	// knows what brief processes load.
	if sc.mem != nil || sc.inventory == nil || v.root == nil || v.link != "/" || v.overlay == nil || v.first == nil {
		return v.image
	}
	c := sc.containerOf(v.first)
	// The kernel says what is mounted, the runtime what that is called; both must agree.
	if c == nil || c.Rootfs.Upper == "" || c.Rootfs.Upper != v.overlay.Upper || len(c.Rootfs.Lower) != len(v.overlay.Lower) {
		return v.image
	}
	touched := make(map[string]bool)
	own := []string{c.Rootfs.Upper}
	lower := c.Rootfs.Lower
	if isInit(c) {
		own, lower = append(own, lower[0]), lower[1:]
	}
	const limit = 1000
	for _, dir := range own {
		names, err := sc.root.ReadDir(dir, limit)
		if err != nil || len(names) >= limit {
			return v.image
		}
		for _, name := range names {
			touched[name] = true
		}
	}
	for _, point := range v.points {
		top, _, _ := strings.Cut(strings.TrimPrefix(point, "/"), "/")
		touched[top] = true
	}
	v.image.chain, v.image.touched = strings.Join(lower, ":"), touched
	return v.image
}

// isInit reports whether the topmost lower layer of a container is the one that Docker
// makes for each, with its /etc/hosts and the like.
func isInit(c *workload.Container) bool { return strings.HasSuffix(c.Rootfs.Lower[0], "-init/diff") }

// clean reports whether the container changed nothing of these entries.
func (p *pristine) clean(tops []string) bool {
	return p.chain != "" && !slices.ContainsFunc(tops, func(top string) bool { return p.touched[top] })
}

// borrow takes over what is known of a file from another container of the image.
func (sc *scan) borrow(f *snapshot.File, l *loaded, v *view) {
	if f.ID.View != file.LayerView {
		return
	}
	p := sc.ofImage(v)
	known := sc.containers.borrowed.files[chainFile{p.chain, f.ID}]
	if known == nil || !p.clean(known.tops) || f.Ctime != known.file.Ctime || f.Size != known.file.Size || f.FSType != known.file.FSType {
		return
	}
	l.shown, l.named, l.info, l.known = known.name, true, known.info, true
	l.info.Mount = 0 // it is mounted elsewhere here
	l.seen, l.standing, l.borrowed = &seenAt{v.key, known.name, known.name, l.info}, true, true
}

// lend keeps what was found out of a file for other containers of the image.
func (sc *scan) lend(f *snapshot.File, l *loaded, v *view) {
	// A file of several names may be loaded by another one elsewhere.
	if !l.known || l.borrowed || l.copied || f.ID.View != file.LayerView || l.info.Nlink != 1 {
		return
	}
	p := sc.ofImage(v)
	key := chainFile{p.chain, f.ID}
	if p.chain == "" || sc.containers.borrowed.files[key] != nil {
		return
	}
	tops, _, err := v.root.Tops(l.shown)
	if err != nil || !p.clean(tops) {
		return
	}
	if info, err := v.root.Stat(l.shown); err != nil || info.ID != l.info.ID {
		return
	}
	if sc.containers.borrowed.files == nil {
		sc.containers.borrowed.files = make(map[chainFile]*imageFile)
	}
	sc.containers.borrowed.files[key] = &imageFile{*f, l.shown, tops, l.info}
}

// leads reports whether a name leads to a file, as is known from another container of
// the image.
func (sc *scan) leads(v *view, name string, l *loaded) bool {
	p := sc.ofImage(v)
	known := sc.containers.borrowed.names[chainName{p.chain, name}]
	return known != nil && known.id == l.id && p.clean(known.tops)
}

// lendName keeps that a name leads to a file for other containers of the image.
func (sc *scan) lendName(v *view, name string, l *loaded) {
	if l.borrowed || l.id.View != file.LayerView {
		return
	}
	p := sc.ofImage(v)
	key := chainName{p.chain, name}
	if p.chain == "" || sc.containers.borrowed.names[key] != nil {
		return
	}
	tops, _, err := v.root.Tops(name)
	if err != nil || !p.clean(tops) {
		return
	}
	if sc.containers.borrowed.names == nil {
		sc.containers.borrowed.names = make(map[chainName]*imageName)
	}
	sc.containers.borrowed.names[key] = &imageName{l.id, tops}
}

// redeem looks at a borrowed file itself, through a process that has it mapped.
func (sc *scan) redeem(l *loaded) {
	if !l.borrowed {
		return
	}
	l.borrowed, l.known, l.standing, l.tries = false, false, false, 0
	for _, at := range l.at {
		dir, err := sc.open(at.process)
		if err != nil {
			l.err = err
			continue
		}
		l.look(dir, at.process, at.mapping)
		dir.Close()
		if l.known {
			return
		}
	}
}

// overlayOf is the overlay that is a view's root, nil if it is none.
func overlayOf(mounts []proc.Mount) *proc.Overlay {
	var o *proc.Overlay
	for _, m := range mounts {
		if m.Point == "/" {
			o = m.Overlay // the last one is on top
		}
	}
	return o
}
