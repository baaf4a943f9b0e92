package containerd

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// maxNames bounds the names of one image.
const maxNames = 256

func compareImages(a, b image) int {
	return cmp.Or(cmp.Compare(a.target.Digest, b.target.Digest), cmp.Compare(a.name, b.name))
}

// made is an image in the store that a container was made from.
type made struct {
	image   image
	variant variant
}

// Image is what c was made from.
//
// containerd keeps only the image's name with a container, and names move. But
// the container's snapshot has the image's top layer for its parent, whose name
// is a hash over all layers. So the image is the one that has those layers: that
// which c.Image names if it still does, else the first by digest of those in the
// namespace. Images of equal layers, which differ in their configuration alone,
// are thus not told apart, and hold the same files. If no image has them, as when
// it was removed while the container runs, the error wraps workload.ErrNoImage:
// the hash does not tell the digests of the layers, and c.Rootfs.Lower still
// tells their directories.
//
// The directories of layers are those that a container's root is made of. For an
// image that no container uses, a snapshot is the only thing that tells them: so
// a read-only one is made, named "sensor-view-…", under a lease of a minute, and
// removed at once. With the snapshotters that this is done for it is an empty
// directory and an entry in containerd's database. It is the only thing that the
// sensor ever writes to a runtime. If it fails, directories are left out.
//
// If what c.Image names cannot be read, it may or may not be what c was made
// from; the error wraps ErrNoContent if that is why.
func (s *Source) Image(ctx context.Context, c workload.Container) (_ workload.Image, err error) {
	defer because(ctx, &err)
	ctx, known, err := s.in(ctx, c)
	if err != nil {
		return workload.Image{}, err
	}
	found, snapshotter, ok, err := s.madeFrom(ctx, known, c)
	if err != nil {
		return workload.Image{}, fmt.Errorf("containerd: container %s: %w", c.ID, err)
	}
	if !ok {
		if i, named := known.byName[c.Image]; named {
			if _, err := s.variantsOf(ctx, known.namespace, i); err != nil {
				return workload.Image{}, fmt.Errorf("containerd: what container %s was made from: image %.200q: %w", c.ID, c.Image, err)
			}
		}
		return workload.Image{}, fmt.Errorf("containerd: what container %s was made from: %w", c.ID, workload.ErrNoImage)
	}
	return s.open(ctx, known, found, snapshotter)
}

// Current is what c.Image names now in c's namespace, for the platform of what c
// was made from if there is a choice, else for the host's. Of a container of Docker's it
// may be in the short form that Docker tells. Directories are as with
// [Source.Image]. If the store has the image but not its description, the image
// has an ID and names alone, and the error wraps ErrNoContent.
func (s *Source) Current(ctx context.Context, c workload.Container) (_ workload.Image, err error) {
	defer because(ctx, &err)
	ctx, known, err := s.in(ctx, c)
	if err != nil {
		return workload.Image{}, err
	}
	i, ok, err := s.lookup(ctx, known, c.Image)
	if err != nil {
		return workload.Image{}, fmt.Errorf("containerd: image %.200q: %w", c.Image, err)
	}
	if !ok && c.Labels[dockerLabel] != "" {
		i, ok = known.byName[full(c.Image)]
	}
	if !ok {
		return workload.Image{}, fmt.Errorf("containerd: image %.200q: %w", c.Image, workload.ErrNoImage)
	}
	variants, err := s.variantsOf(ctx, known.namespace, i)
	if err == nil && len(variants) == 0 {
		err = fmt.Errorf("no manifest for any platform: %w", ErrNoContent)
	}
	if err != nil {
		return bare(known, i), fmt.Errorf("containerd: image %.200q: %w", c.Image, err)
	}
	chosen, snapshotter := variants[0], c.Rootfs.Driver
	if len(variants) > 1 {
		was, _, ok, err := s.madeFrom(ctx, known, c)
		if err := s.lost(ctx, err); err != nil {
			return workload.Image{}, fmt.Errorf("containerd: container %s: %w", c.ID, err)
		}
		if ok {
			chosen = samePlatform(variants, was.variant)
		}
	}
	return s.open(ctx, known, made{i, chosen}, snapshotter)
}

// samePlatform is the variant for the platform of was, else the host's.
func samePlatform(variants []variant, was variant) variant {
	match := platforms.OnlyStrict(was.platform)
	for _, v := range variants {
		if match.Match(v.platform) {
			return v
		}
	}
	return variants[0]
}

// in enters the namespace of c and lists its images.
func (s *Source) in(ctx context.Context, c workload.Container) (context.Context, *catalogue, error) {
	if !validNamespace(c.Namespace) {
		return nil, nil, fmt.Errorf("containerd: namespace %.100q: %w", c.Namespace, workload.ErrNoImage)
	}
	ctx = within(ctx, c.Namespace)
	known, err := s.imagesIn(ctx, c.Namespace)
	if err != nil {
		return nil, nil, fmt.Errorf("containerd: namespace %s: %w", c.Namespace, err)
	}
	return ctx, known, nil
}

// madeFrom finds what c was made from, and the snapshotter that keeps its root. A
// container that is gone by now was made from what it was said to be.
func (s *Source) madeFrom(ctx context.Context, known *catalogue, c workload.Container) (made, string, bool, error) {
	r, err := s.containers.Get(ctx, &containersapi.GetContainerRequest{ID: c.ID})
	if missing(err) {
		found, ok, err := s.byID(ctx, known, c.ImageID)
		return found, c.Rootfs.Driver, ok, err
	}
	if err != nil {
		return made{}, "", false, err
	}
	rec := recordOf(r.GetContainer())
	if rec.snapshot, err = s.snapshotOf(ctx, rec); err != nil {
		return made{}, "", false, err
	}
	root, err := s.rootOf(ctx, rec.snapshot)
	if err != nil {
		return made{}, "", false, err
	}
	s.learn(ctx, known.namespace, rec.snapshot.snapshotter, root)
	found, ok, err := s.find(ctx, known, rec.image, root.chain)
	return found, rec.snapshot.snapshotter, ok, err
}

// byID finds an image by the digest that its name points to.
func (s *Source) byID(ctx context.Context, known *catalogue, id string) (made, bool, error) {
	for _, i := range known.all {
		if i.target.Digest.String() != id {
			continue
		}
		variants, err := s.variantsOf(ctx, known.namespace, i)
		if err != nil || len(variants) == 0 {
			return made{}, false, err
		}
		return made{i, variants[0]}, true, nil
	}
	return made{}, false, nil
}

// find finds the image whose layers have the chain ID, the named one if it is it.
// An image that cannot be read is not found; the only errors are ctx's and the
// connection's.
func (s *Source) find(ctx context.Context, known *catalogue, name, chain string) (made, bool, error) {
	if chain == "" {
		return made{}, false, nil
	}
	if i, ok := known.byName[name]; ok {
		variants, err := s.readable(ctx, known, i)
		if err != nil {
			return made{}, false, err
		}
		for _, v := range variants {
			if v.chain == chain {
				return made{i, v}, true, nil
			}
		}
	}
	if known.byChain == nil {
		all := make(map[string]made)
		for _, i := range known.all {
			variants, err := s.readable(ctx, known, i)
			if err != nil {
				return made{}, false, err
			}
			for _, v := range variants {
				if _, ok := all[v.chain]; !ok {
					all[v.chain] = made{i, v}
				}
			}
		}
		known.byChain = all
	}
	found, ok := known.byChain[chain]
	return found, ok, nil
}

// readable returns the variants of an image, none if it cannot be read.
func (s *Source) readable(ctx context.Context, known *catalogue, i image) ([]variant, error) {
	variants, err := s.variantsOf(ctx, known.namespace, i)
	if err != nil {
		return nil, s.lost(ctx, err)
	}
	return variants, nil
}

// lookup finds what a reference names: the image of that name; or, for one by
// digest or ID, one that has it for its index, manifest or configuration.
func (s *Source) lookup(ctx context.Context, known *catalogue, ref string) (image, bool, error) {
	_, after, _ := strings.Cut(ref, "@")
	id := digest.Digest(cmp.Or(after, ref))
	byDigest := id.Validate() == nil
	if i, ok := known.byName[ref]; ok && (after == "" || i.target.Digest == id) {
		return i, true, nil
	}
	if !byDigest {
		return image{}, false, nil
	}
	for _, i := range known.all {
		if i.target.Digest == id {
			return i, true, nil
		}
	}
	for _, i := range known.all {
		variants, err := s.readable(ctx, known, i)
		if err != nil {
			return image{}, false, err
		}
		for _, v := range variants {
			if v.manifest == id || v.config.Digest == id {
				return i, true, nil
			}
		}
	}
	return image{}, false, nil
}

// full is the name under which Docker has containerd keep the image that it calls ref:
// with its registry and its tag. It is empty if ref is no reference.
func full(ref string) string {
	if len(ref) > maxString {
		return ""
	}
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return ""
	}
	return named.String()
}

// bare is an image without its layers.
func bare(known *catalogue, i image) workload.Image {
	found := workload.Image{ID: i.target.Digest.String()}
	for _, other := range known.all {
		if other.target.Digest == i.target.Digest && len(found.Names) < maxNames {
			found.Names = append(found.Names, other.name)
		}
	}
	return found
}

// open reads the layers of an image.
func (s *Source) open(ctx context.Context, known *catalogue, m made, snapshotter string) (workload.Image, error) {
	found := bare(known, m.image)
	c, err := s.configOf(ctx, m.variant.config)
	if err != nil {
		return found, fmt.Errorf("containerd: image %s: %w", found.ID, err)
	}
	found.Created = c.created()
	found.Layers = c.layers()
	dirs := s.directoriesOf(ctx, known.namespace, snapshotter, c.RootFS.DiffIDs)
	for i, dir := range dirs {
		found.Layers[i].Dir = dir
	}
	return found, nil
}
