package containerd

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/types"
)

const (
	maxOptions = 1 << 20 // bytes of all options of a mount together
	maxLayers  = 500     // OVL_MAX_STACK of the kernel's fs/overlayfs/params.h
	maxDir     = 4096    // PATH_MAX
)

// overlays are the snapshotters that keep each layer in a directory of its own, so
// that a view costs one empty directory and a bind mount names a layer. With
// others ("native", "btrfs", …) a view may copy the whole image.
func overlays() []string { return []string{"overlayfs", "fuse-overlayfs"} }

func overlay(snapshotter string) bool { return slices.Contains(overlays(), snapshotter) }

// directories returns what a snapshot's root is made of, as far as its mounts tell
// (plugins/snapshots/overlay/overlay.go, function mounts): an overlay; or a bind
// mount, which is the snapshot's own directory if it has no parent, and its only
// parent's if it is a view. Both results are empty if that cannot be told.
func directories(mounts []*types.Mount, snapshotter string, hasParent bool) (upper string, lower []string) {
	if len(mounts) != 1 {
		return "", nil
	}
	m := mounts[0]
	switch m.GetType() {
	case "overlay", "fuse3.fuse-overlayfs":
		return overlayDirs(m.GetOptions())
	case "bind":
		source, ok := directory(m.GetSource())
		if !ok {
			return "", nil
		}
		writable := !has(m.GetOptions(), "ro")
		switch {
		case !hasParent && writable:
			return source, nil
		case hasParent && !writable && overlay(snapshotter):
			return "", []string{source}
		}
	}
	return "", nil
}

func has(options []string, option string) bool {
	for _, o := range options {
		if o == option {
			return true
		}
	}
	return false
}

// overlayDirs reads upperdir and lowerdir of an overlay's mount options, by the
// rules of the kernel's fs/overlayfs/params.c: a backslash takes the meaning from
// the comma or colon behind it, the last of equal options counts, and "lowerdir+"
// adds one directory that is taken literally. Lower is empty if any of its
// directories is not certain, for their order says which layer is which.
func overlayDirs(options []string) (upper string, lower []string) {
	total := 0
	for _, o := range options {
		total += len(o) + 1
	}
	if total > maxOptions {
		return "", nil
	}
	valid := true
	for _, option := range split(strings.Join(options, ","), ',') {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "upperdir":
			upper, _ = directory(unescape(value))
		case "lowerdir":
			lower, valid = nil, true
			for _, dir := range split(value, ':') {
				dir, ok := directory(unescape(dir))
				valid = valid && ok
				lower = append(lower, dir)
			}
		case "lowerdir+":
			dir, ok := directory(value)
			valid = valid && ok
			lower = append(lower, dir)
		case "datadir+":
			valid = false
		}
	}
	if !valid || len(lower) > maxLayers {
		lower = nil
	}
	return upper, lower
}

// split splits at each separator that no backslash stands before; the pieces keep
// their backslashes.
func split(s string, separator byte) []string {
	var pieces []string
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case separator:
			pieces = append(pieces, s[start:i])
			start = i + 1
		}
	}
	return append(pieces, s[start:])
}

// unescape mirrors ovl_unescape: of two characters the first of which is a
// backslash the second remains.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out = append(out, s[i])
	}
	return string(out)
}

// directory lets through only what names one directory, absolutely and clean.
func directory(name string) (string, bool) {
	if len(name) > maxDir || !filepath.IsAbs(name) || filepath.Clean(name) != name || name == "/" ||
		strings.IndexByte(name, 0) >= 0 {
		return "", false
	}
	return name, true
}
