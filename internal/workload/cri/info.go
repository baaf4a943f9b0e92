package cri

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// Limits of the strings and maps of one container. A name or a label's value longer
// than that is left out, as a cut one would be another.
const (
	maxString = 4096
	maxLabels = 256
	maxID     = 256
	maxNames  = 1024
	maxLayers = 512 // overlayfs takes 500; Docker makes at most 127
)

// maxPID is the kernel's PID_MAX_LIMIT (include/linux/threads.h).
const maxPID = 4 << 20

// parseStatus reads the verbose information about a container, which no interface
// defines: JSON below the key "info", of which CRI-O (server/container_status.go,
// containerInfo) and containerd (internal/cri/server/container_status.go,
// ContainerInfo) both have the PID. What does not fit is left out.
func parseStatus(info map[string]string) status {
	var v struct {
		PID         int64  `json:"pid"`
		Snapshotter string `json:"snapshotter"` // containerd's only
	}
	if json.Unmarshal([]byte(info["info"]), &v) != nil {
		return status{}
	}
	st := status{}
	if 0 < v.PID && v.PID <= maxPID {
		st.pid = int(v.PID)
	}
	if isPlain(v.Snapshotter) {
		st.snapshotter = v.Snapshotter
	}
	return st
}

// parseImage reads the verbose information about an image: JSON below the key "info"
// with the image's configuration (OCI image-spec, config.md) as "imageSpec", in CRI-O
// (server/image_status.go, createImageInfo) and containerd (internal/cri/server/images,
// verboseImageInfo) alike. There are either all layers or none.
func parseImage(info map[string]string) (layers []workload.Layer, created time.Time) {
	var v struct {
		ImageSpec struct {
			Created time.Time `json:"created"`
			RootFS  struct {
				DiffIDs []string `json:"diff_ids"`
			} `json:"rootfs"`
			History []struct {
				CreatedBy  string `json:"created_by"`
				EmptyLayer bool   `json:"empty_layer"`
			} `json:"history"`
		} `json:"imageSpec"`
	}
	if json.Unmarshal([]byte(info["info"]), &v) != nil {
		return nil, time.Time{}
	}
	spec := v.ImageSpec
	if len(spec.RootFS.DiffIDs) > maxLayers {
		return nil, spec.Created
	}
	for _, id := range spec.RootFS.DiffIDs {
		if !isDigest(id) {
			return nil, spec.Created
		}
		layers = append(layers, workload.Layer{Digest: id})
	}
	// The history tells which layer an instruction made only if it tells of all.
	var made []string
	for _, h := range spec.History {
		if !h.EmptyLayer {
			made = append(made, h.CreatedBy)
		}
	}
	if len(made) == len(layers) {
		for i := range layers {
			layers[i].CreatedBy = bounded(made[i])
		}
	}
	return layers, spec.Created
}

// isDigest reports whether s is "sha256:" with 64 hexadecimal digits, the only
// algorithm that runtimes write into diff_ids.
func isDigest(s string) bool {
	digits, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}

// isPlain reports whether s is an identifier: ASCII letters, digits, "_", "." and "-",
// the first a letter or digit.
func isPlain(s string) bool {
	if s == "" || len(s) > maxID || strings.IndexByte("_.-", s[0]) >= 0 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("_.-", c) >= 0) {
			return false
		}
	}
	return true
}

func bounded(s string) string {
	if len(s) > maxString {
		return ""
	}
	return s
}

// boundedLabels copies the labels that fit.
func boundedLabels(labels map[string]string) map[string]string {
	if len(labels) == 0 || len(labels) > maxLabels {
		return nil
	}
	out := make(map[string]string, len(labels))
	for k, v := range labels {
		if len(k) <= maxString && len(v) <= maxString {
			out[k] = v
		}
	}
	return out
}
