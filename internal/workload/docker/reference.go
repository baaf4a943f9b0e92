package docker

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// minPrefix is how many digits a reference must share with an image's identifier
// to be taken for the identifier's beginning. Fewer are shared by chance too often:
// "a" and "cab" are names of repositories as well.
const minPrefix = 4

// identifier returns an image's identifier in its long form, "sha256:…", or "" if
// the string is none. Podman leaves out the algorithm in places.
func identifier(id string) string {
	if len(id) == 64 && isHex(id) {
		return "sha256:" + id
	}
	if !isDigest(id) {
		return ""
	}
	return id
}

// lookup says under which name to look for what a container's image reference
// names now. The name is empty where the reference, by an identifier or a digest,
// can never name anything but the image that the container was made from.
//
// Docker takes a reference for a name first, and only if there is no such name for
// the beginning of an identifier (GetImage in its daemon/images/image.go). So
// "deadbeef" may be either, and what it is now may not be what it was when the
// container was made. What it was is told by the image it gave.
func lookup(ref, imageID string) (name string, err error) {
	if len(ref) > maxString {
		return "", fmt.Errorf("image reference of %d bytes", len(ref))
	}
	// Docker lets no repository be called "sha256".
	if digits, ok := strings.CutPrefix(ref, "sha256:"); identifier(ref) != "" || ok && isHex(digits) {
		return "", nil
	}
	if len(ref) >= minPrefix && isHex(ref) && strings.HasPrefix(strings.TrimPrefix(imageID, "sha256:"), ref) {
		return "", nil
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("image reference %q: %w", clip(ref, maxMessage), err)
	}
	if _, ok := named.(reference.Digested); ok {
		return "", nil
	}
	// With its tag it cannot be taken for the beginning of an identifier.
	// And with its registry Podman cannot complete it in a way of its own.
	return reference.TagNameOnly(named).String(), nil
}
