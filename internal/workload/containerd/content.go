package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxBlob bounds an index, manifest or configuration, in bytes. Registries refuse
// manifests over 4 MiB.
const maxBlob = 4 << 20

// blob reads what desc names from the content store and checks that it is that.
// The error wraps ErrNoContent if it is not there.
func (s *Source) blob(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("%w: digest %.100q: %w", errMalformed, string(desc.Digest), err)
	}
	if desc.Size < 0 || desc.Size > maxBlob {
		return nil, fmt.Errorf("%s: %w: %d bytes, where at most %d are read", desc.Digest, errMalformed, desc.Size, maxBlob)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// No size is asked for: the daemon refuses one that is beyond the end.
	stream, err := s.content.Read(ctx, &contentapi.ReadContentRequest{Digest: desc.Digest.String()})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", desc.Digest, err)
	}
	var data []byte
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return data, verify(desc.Digest, data)
		case missing(err):
			return nil, fmt.Errorf("%s: %w", desc.Digest, ErrNoContent)
		case err != nil:
			return nil, fmt.Errorf("%s: %w", desc.Digest, err)
		}
		if data = append(data, m.GetData()...); len(data) > maxBlob {
			return nil, fmt.Errorf("%s: %w: more than %d bytes", desc.Digest, errMalformed, maxBlob)
		}
	}
}

func verify(want digest.Digest, data []byte) error {
	if got := want.Algorithm().FromBytes(data); got != want {
		return fmt.Errorf("%s: %w: what is stored under it has the digest %s", want, errMalformed, got)
	}
	return nil
}
