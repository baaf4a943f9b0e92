package containerd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// image is a name in a namespace's image store, and what it points to.
type image struct {
	name    string
	target  ocispec.Descriptor
	updated time.Time
}

// catalogue holds the images of one namespace, ordered by digest and name.
type catalogue struct {
	namespace string
	all       []image
	byName    map[string]image
	// byChain holds the first image of each chain ID, once it was asked for.
	byChain map[string]made
}

// imagesIn lists the images of the namespace ns, in which ctx already is.
func (s *Source) imagesIn(ctx context.Context, ns string) (*catalogue, error) {
	r, err := s.images.List(ctx, &imagesapi.ListImagesRequest{})
	if err != nil && !missing(err) {
		return nil, fmt.Errorf("images: %w", err)
	}
	if len(r.GetImages()) > maxImages {
		return nil, fmt.Errorf("more than %d images", maxImages)
	}
	known := &catalogue{namespace: ns, byName: make(map[string]image, len(r.GetImages()))}
	for _, i := range r.GetImages() {
		target := i.GetTarget()
		id := digest.Digest(target.GetDigest())
		if i.GetName() == "" || len(i.GetName()) > maxString || id.Validate() != nil {
			continue
		}
		found := image{
			name:    i.GetName(),
			target:  ocispec.Descriptor{Digest: id, Size: target.GetSize()},
			updated: timeOf(i.GetUpdatedAt()),
		}
		known.all = append(known.all, found)
		known.byName[found.name] = found
	}
	slices.SortFunc(known.all, compareImages)
	return known, nil
}

// variant is an image for one platform.
type variant struct {
	manifest digest.Digest
	config   ocispec.Descriptor
	platform ocispec.Platform
	// chain names the snapshot of all its layers; empty if it has none.
	chain string
}

// maxDepth bounds how deep indexes may stand in indexes.
const maxDepth = 3

// variantsOf returns the variants of an image that are in the store, those that
// the host would choose first. They are remembered for as long as the image's
// record is not changed, as every pull does. The error wraps ErrNoContent if there
// are none because content is missing.
func (s *Source) variantsOf(ctx context.Context, ns string, i image) ([]variant, error) {
	key := ns + "\x00" + i.target.Digest.String() + "\x00" + i.updated.String()
	if found, ok := s.variants.get(key); ok {
		return found, nil
	}
	found, err := s.walk(ctx, i.target, maxDepth, nil)
	if err != nil && (!errors.Is(err, ErrNoContent) || len(found) == 0) {
		return nil, err
	}
	host := platforms.Default()
	slices.SortStableFunc(found, func(a, b variant) int {
		switch {
		case host.Less(a.platform, b.platform):
			return -1
		case host.Less(b.platform, a.platform):
			return 1
		}
		return 0
	})
	s.variants.put(key, found)
	return found, nil
}

// walk appends the variants below desc. With ErrNoContent the others are returned
// too.
func (s *Source) walk(ctx context.Context, desc ocispec.Descriptor, depth int, found []variant) ([]variant, error) {
	if depth == 0 {
		return found, fmt.Errorf("%s: %w: indexes stand more than %d deep", desc.Digest, errMalformed, maxDepth)
	}
	data, err := s.blob(ctx, desc)
	if err != nil {
		return found, err
	}
	d, err := parseDocument(data)
	if err != nil {
		return found, fmt.Errorf("%s: %w", desc.Digest, err)
	}
	if d.Config != nil {
		v, err := s.variantOf(ctx, desc, *d.Config)
		if err != nil {
			return found, err
		}
		return append(found, v), nil
	}
	var gone error
	for _, entry := range d.Manifests {
		if !isImage(entry) || len(found) == maxPlatforms {
			continue
		}
		found, err = s.walk(ctx, entry, depth-1, found)
		switch {
		case errors.Is(err, ErrNoContent):
			gone = err
		case err != nil:
			return found, err
		}
	}
	return found, gone
}

// variantOf reads the configuration of the manifest desc.
func (s *Source) variantOf(ctx context.Context, desc, conf ocispec.Descriptor) (variant, error) {
	conf = ocispec.Descriptor{Digest: conf.Digest, Size: conf.Size}
	c, err := s.configOf(ctx, conf)
	if err != nil {
		return variant{}, err
	}
	v := variant{manifest: desc.Digest, config: conf, platform: c.Platform, chain: c.chain()}
	if desc.Platform != nil {
		v.platform = *desc.Platform
	}
	v.platform = platforms.Normalize(platformOf(v.platform))
	return v, nil
}

// platformOf leaves out what Linux does not tell images by, and what no platform is
// called.
func platformOf(p ocispec.Platform) ocispec.Platform {
	const longest = 64
	if len(p.OS) > longest || len(p.Architecture) > longest || len(p.Variant) > longest {
		return ocispec.Platform{}
	}
	return ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

func (s *Source) configOf(ctx context.Context, desc ocispec.Descriptor) (config, error) {
	data, err := s.blob(ctx, desc)
	if err != nil {
		return config{}, err
	}
	c, err := parseConfig(data)
	if err != nil {
		return config{}, fmt.Errorf("%s: %w", desc.Digest, err)
	}
	return c, nil
}
