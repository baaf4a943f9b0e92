package cri

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// Image is what a container was made from, without the directories of its layers,
// which the interface does not tell. It is workload.ErrNoImage if the store has it no
// more, and for a sandbox, of whose image nothing is told.
func (s *Source) Image(ctx context.Context, c workload.Container) (workload.Image, error) {
	return s.image(ctx, c.ImageID)
}

// Current is what the reference of a container names now in the local store, and
// workload.ErrNoImage if it names nothing.
func (s *Source) Current(ctx context.Context, c workload.Container) (workload.Image, error) {
	return s.image(ctx, c.Image)
}

// image asks for what a reference or ID names. A runtime answers with no image, or by
// the code NotFound, if there is none.
func (s *Source) image(ctx context.Context, ref string) (workload.Image, error) {
	if ref == "" || len(ref) > maxString {
		return workload.Image{}, workload.ErrNoImage
	}
	r, err := s.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: ref}, Verbose: true})
	switch {
	case grpcstatus.Code(err) == codes.NotFound:
		return workload.Image{}, workload.ErrNoImage
	case err != nil:
		return workload.Image{}, fmt.Errorf("cri: image %q: %w", ref, failed(ctx, err))
	case r.GetImage() == nil:
		return workload.Image{}, workload.ErrNoImage
	}
	image := workload.Image{ID: r.GetImage().GetId()}
	if image.ID == "" || len(image.ID) > maxID {
		return workload.Image{}, fmt.Errorf("cri: image %q: it has no ID", ref)
	}
	image.Layers, image.Created = parseImage(r.GetInfo())
	for _, name := range r.GetImage().GetRepoTags() {
		if name = bounded(name); name != "" && len(image.Names) < maxNames {
			image.Names = append(image.Names, name)
		}
	}
	return image, nil
}
