package docker

import (
	"slices"
	"strings"

	"github.com/docker/docker/api/types/image"
)

// createdBy says which instructions made the layers, lowest first. It is nil where
// that cannot be told: an image's configuration says which of its instructions made
// no layer (empty_layer), but the API does not. So instructions are taken for the
// layers' only if just as many can be.
func createdBy(newestFirst []image.HistoryResponseItem, layers int) []string {
	// The first reading and the last hold every instruction that made a layer, and
	// perhaps more; the second holds none that did not. Of the right count, each is
	// exact.
	readings := []func(image.HistoryResponseItem) bool{
		func(image.HistoryResponseItem) bool { return true },
		func(step image.HistoryResponseItem) bool { return step.Size > 0 },
		// An instruction that may write can have made a layer of directories and
		// empty files, which has no size.
		func(step image.HistoryResponseItem) bool { return step.Size > 0 || !setsConfig(step.CreatedBy) },
	}
	for _, made := range readings {
		var steps []string
		for _, step := range slices.Backward(newestFirst) {
			if made(step) && len(steps) <= layers {
				steps = append(steps, clip(step.CreatedBy, maxString))
			}
		}
		if len(steps) == layers {
			return steps
		}
	}
	return nil
}

// setsConfig reports whether the instruction of a Dockerfile changes an image's
// configuration alone. Docker's old builder and Buildah write it behind a shell's
// comment, BuildKit plainly.
func setsConfig(step string) bool {
	if _, after, ok := strings.Cut(step, "#(nop) "); ok {
		step = after
	}
	word, _, _ := strings.Cut(strings.TrimSpace(step), " ")
	switch word {
	case "ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME":
		return true
	}
	return false
}
