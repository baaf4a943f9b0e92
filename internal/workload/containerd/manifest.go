package containerd

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/patchsensor/patchsensor/internal/workload"
)

const (
	maxPlatforms = 128  // manifests of one index
	maxHistory   = 2048 // entries of an image's history
	maxCreatedBy = 2048 // bytes of an instruction
)

// errMalformed says that content is not what its place wants.
var errMalformed = errors.New("malformed")

// document is an index or a manifest (image-spec, image-index.md and manifest.md,
// and Docker's forms of them, whose fields are the same).
type document struct {
	Manifests []ocispec.Descriptor `json:"manifests"`
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []json.RawMessage    `json:"layers"`
}

// parseDocument reads an index or a manifest. One that could be both is neither:
// who reads it as the other would see another image.
func parseDocument(data []byte) (document, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return document{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	switch isIndex := d.Manifests != nil; {
	case isIndex && (d.Config != nil || d.Layers != nil):
		return document{}, fmt.Errorf("%w: both an index and a manifest", errMalformed)
	case !isIndex && d.Config == nil:
		return document{}, fmt.Errorf("%w: neither an index nor a manifest", errMalformed)
	case len(d.Manifests) > maxPlatforms:
		return document{}, fmt.Errorf("%w: more than %d manifests in an index", errMalformed, maxPlatforms)
	}
	return d, nil
}

// isImage reports whether an index's entry can be an image that runs: those of
// attestations name the platform "unknown".
func isImage(desc ocispec.Descriptor) bool {
	return desc.Platform == nil || desc.Platform.OS != "unknown"
}

// config is what matters of an image's configuration (image-spec, config.md).
type config struct {
	Created *time.Time `json:"created"`
	ocispec.Platform
	RootFS struct {
		DiffIDs []digest.Digest `json:"diff_ids"`
	} `json:"rootfs"`
	History []struct {
		CreatedBy  string `json:"created_by"`
		EmptyLayer bool   `json:"empty_layer"`
	} `json:"history"`
}

func parseConfig(data []byte) (config, error) {
	var c config
	if err := json.Unmarshal(data, &c); err != nil {
		return config{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if len(c.RootFS.DiffIDs) > maxLayers {
		return config{}, fmt.Errorf("%w: more than %d layers", errMalformed, maxLayers)
	}
	for i, id := range c.RootFS.DiffIDs {
		if err := id.Validate(); err != nil {
			return config{}, fmt.Errorf("%w: layer %d: %w", errMalformed, i, err)
		}
	}
	return c, nil
}

// chain is the name of the snapshot of all layers, empty if there are none.
func (c config) chain() string { return identity.ChainID(c.RootFS.DiffIDs).String() }

// layers are the image's, lowest first, without their directories. Instructions
// are left out where there are not exactly as many as layers: which is whose is
// then not told.
func (c config) layers() []workload.Layer {
	layers := make([]workload.Layer, len(c.RootFS.DiffIDs))
	for i, id := range c.RootFS.DiffIDs {
		layers[i].Digest = id.String()
	}
	if len(c.History) > maxHistory {
		return layers
	}
	var by []string
	for _, h := range c.History {
		if !h.EmptyLayer {
			by = append(by, h.CreatedBy)
		}
	}
	if len(by) != len(layers) {
		return layers
	}
	for i := range layers {
		layers[i].CreatedBy = strings.Clone(by[i][:min(len(by[i]), maxCreatedBy)])
	}
	return layers
}

func (c config) created() time.Time {
	if c.Created == nil {
		return time.Time{}
	}
	return *c.Created
}
