package docker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// Image is what the container was made from. It is workload.ErrNoImage if the store
// does not have it any more, or if the container was made from no image.
func (s *Source) Image(ctx context.Context, c workload.Container) (workload.Image, error) {
	if c.ImageID == "" {
		return workload.Image{}, fmt.Errorf("docker: %w: container %s names none", workload.ErrNoImage, c.ID)
	}
	id := identifier(c.ImageID)
	if id == "" {
		return workload.Image{}, fmt.Errorf("docker: image %q is no identifier", clip(c.ImageID, maxMessage))
	}
	return s.image(ctx, id)
}

// Current is what the container's reference names now, and workload.ErrNoImage if
// it names nothing. Of a reference by identifier or digest it is what Image is; but
// Podman tells a name even of a container that was made from an identifier, if the
// image had one.
func (s *Source) Current(ctx context.Context, c workload.Container) (workload.Image, error) {
	name, err := lookup(c.Image, c.ImageID)
	if err != nil {
		return workload.Image{}, fmt.Errorf("docker: container %s: %w", c.ID, err)
	}
	if name == "" {
		return s.Image(ctx, c)
	}
	return s.image(ctx, name)
}

// maxImages bounds those of Images: each costs two questions.
const maxImages = 200

// Images lists the images that have a name, the youngest ones if they are many.
func (s *Source) Images(ctx context.Context) ([]workload.Image, error) {
	with, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	listed, err := with.api.ImageList(ctx, image.ListOptions{})
	if err != nil {
		return nil, s.fault("list images", err)
	}
	slices.SortFunc(listed, func(a, b image.Summary) int { return cmp.Compare(b.Created, a.Created) })
	var images []workload.Image
	for _, l := range listed[:min(len(listed), maxImages)] {
		id := identifier(l.ID)
		if id == "" || len(names(l.RepoTags, nil)) == 0 {
			continue
		}
		found, err := s.image(ctx, id)
		if ctx.Err() != nil {
			return images, ctx.Err()
		}
		if err == nil { // else it has just been removed
			images = append(images, found)
		}
	}
	return images, nil
}

// image asks for one image, by a name or identifier of proper form.
func (s *Source) image(ctx context.Context, name string) (workload.Image, error) {
	with, err := s.connect(ctx)
	if err != nil {
		return workload.Image{}, err
	}
	in, err := with.api.ImageInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return workload.Image{}, fmt.Errorf("docker: %w: %s", workload.ErrNoImage, name)
	}
	if err != nil {
		return workload.Image{}, s.fault("inspect image "+name, err)
	}
	found, err := mapImage(in)
	if err != nil {
		return workload.Image{}, fmt.Errorf("docker: image %s: %w", name, err)
	}
	if len(found.Layers) == 0 {
		return found, nil
	}
	steps, err := with.api.ImageHistory(ctx, found.ID)
	if ctx.Err() != nil {
		return workload.Image{}, ctx.Err()
	}
	if err != nil {
		return found, nil // the history only explains the layers
	}
	for i, step := range createdBy(steps, len(found.Layers)) {
		found.Layers[i].CreatedBy = step
	}
	return found, nil
}

// names returns the tags, then the references by digest, each once: Docker with
// containerd's image store names some twice.
func names(tags, digests []string) []string {
	var all []string
	seen := make(map[string]bool)
	for _, name := range slices.Concat(tags, digests) {
		// Old engines name an untagged image so.
		if name == "<none>:<none>" || name == "<none>@<none>" {
			continue
		}
		if name == "" || len(name) > maxString || seen[name] {
			continue
		}
		if len(all) == maxNames {
			break
		}
		seen[name] = true
		all = append(all, name)
	}
	return all
}

// mapImage maps an image, all but its history.
func mapImage(in image.InspectResponse) (workload.Image, error) {
	out := workload.Image{ID: identifier(in.ID)}
	if out.ID == "" {
		return workload.Image{}, fmt.Errorf("%q is no identifier", clip(in.ID, maxMessage))
	}
	if len(in.RootFS.Layers) > maxLayers {
		return workload.Image{}, fmt.Errorf("%w: %d layers", ErrTooLarge, len(in.RootFS.Layers))
	}
	out.Names = names(in.RepoTags, in.RepoDigests)
	if created, err := time.Parse(time.RFC3339Nano, in.Created); err == nil && created.Year() > 1 {
		out.Created = created.UTC()
	}
	for _, digest := range in.RootFS.Layers {
		if !isDigest(digest) {
			return workload.Image{}, fmt.Errorf("layer %q is no digest", clip(digest, maxMessage))
		}
		out.Layers = append(out.Layers, workload.Layer{Digest: digest})
	}
	// The storage names the directory of the topmost layer as the upper one.
	upper, lower, ok := stack(in.GraphDriver)
	if !ok || 1+len(lower) != len(out.Layers) {
		return out, nil
	}
	top := len(out.Layers) - 1
	out.Layers[top].Dir = upper
	for i, dir := range lower {
		out.Layers[top-1-i].Dir = dir
	}
	return out, nil
}
