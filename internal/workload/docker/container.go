package docker

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/storage"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// listed is what the list of all containers says of one (ContainerSummary of the
// Engine API). The client's own type has many more fields, which an answer within
// its bounds could fill with gigabytes.
type listed struct {
	ID      string `json:"Id"`
	Names   []string
	Image   string
	ImageID string
	State   string
	Created int64 // Unix time in seconds
	Labels  map[string]string
}

// details is what a container says of itself, beyond the list.
type details struct {
	image, imageID string
	pid            int
	running        bool
	rootfs         workload.Rootfs
}

// lives reports whether there may be processes in a container of that state, and
// whether the state is one that is known. The words are those of Docker and Podman.
func lives(state string) (alive, known bool) {
	switch state {
	case "running", "paused", "restarting", "stopping":
		return true, true
	case "created", "configured", "initialized", "exited", "stopped", "dead", "removing":
		return false, true
	}
	return false, false
}

// needsDetails reports whether the list does not say enough: of a container that
// runs, or may, or one whose reference the list replaced by the identifier of its
// image, as Docker does once the reference names another image.
func needsDetails(l listed) bool {
	alive, known := lives(l.State)
	return alive || !known || maybeIdentifier(l.Image)
}

func maybeIdentifier(ref string) bool {
	return isHex(strings.TrimPrefix(ref, "sha256:"))
}

// describe maps a container's own words.
func describe(in container.InspectResponse) details {
	var d details
	if in.Config != nil && len(in.Config.Image) <= maxString {
		d.image = in.Config.Image
	}
	if in.ContainerJSONBase == nil {
		return d
	}
	d.imageID = identifier(in.Image)
	if in.State != nil {
		d.running = in.State.Running || in.State.Paused || in.State.Restarting
		d.pid = pid(in.State.Pid)
	}
	d.rootfs = rootfs(in.GraphDriver)
	return d
}

// pid returns the number if it can be that of a process: Linux has at most 2^22
// (PID_MAX_LIMIT in include/linux/threads.h).
func pid(n int) int {
	if n < 1 || n > 1<<22 {
		return 0
	}
	return n
}

// assemble makes a container of what the list says of it and, if known, the
// container itself.
func assemble(engine string, l listed, d *details) workload.Container {
	c := workload.Container{
		Runtime: engine,
		ID:      l.ID,
		ImageID: identifier(l.ImageID),
		Labels:  labels(l.Labels),
		Created: unixTime(l.Created),
		Pod:     pod(l.Labels),
		Sandbox: l.Labels["io.kubernetes.docker.type"] == "podsandbox",
	}
	if len(l.Names) > 0 {
		c.Name = clip(strings.TrimPrefix(l.Names[0], "/"), maxString)
	}
	alive, known := lives(l.State)
	c.Running = alive
	if d == nil {
		// What looks like an identifier may stand for a reference that is not known,
		// which would then seem to name the same image for ever.
		if len(l.Image) <= maxString && !maybeIdentifier(l.Image) {
			c.Image = l.Image
		}
		return c
	}
	if !known {
		c.Running = d.running
	}
	if c.Running {
		c.PID = d.pid
	}
	c.Image = d.image
	if c.ImageID == "" {
		c.ImageID = d.imageID
	}
	c.Rootfs = d.rootfs
	return c
}

// unixTime returns the zero time for seconds that no calendar has.
func unixTime(seconds int64) time.Time {
	const end = 253402300800 // the year 10000
	if seconds <= 0 || seconds >= end {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// labels returns the labels of bounded length, and of too many the first by name.
func labels(all map[string]string) map[string]string {
	kept := make(map[string]string, min(len(all), maxLabels))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if len(kept) == maxLabels {
			break
		}
		if len(key) <= maxString && len(all[key]) <= maxString {
			kept[key] = all[key]
		}
	}
	return kept
}

// pod reads the labels that the kubelet gives by way of cri-dockerd
// (pkg/kubelet/types/labels.go of Kubernetes).
func pod(all map[string]string) *workload.Pod {
	p := workload.Pod{
		Namespace: clip(all["io.kubernetes.pod.namespace"], maxString),
		Name:      clip(all["io.kubernetes.pod.name"], maxString),
		UID:       clip(all["io.kubernetes.pod.uid"], maxString),
	}
	if p.Name == "" {
		return nil
	}
	return &p
}

// rootfs maps a container's storage. Docker with containerd's image store tells
// nothing of it here but the snapshotter's name.
func rootfs(driver storage.DriverData) workload.Rootfs {
	upper, lower, ok := stack(driver)
	if !ok {
		if driver.Name == "vfs" {
			return workload.Rootfs{Driver: driver.Name}
		}
		return workload.Rootfs{}
	}
	// A stack with a hole in it would show the wrong files.
	if upper == "" || slices.Contains(lower, "") {
		return workload.Rootfs{Driver: driver.Name}
	}
	return workload.Rootfs{Driver: driver.Name, Upper: upper, Lower: lower}
}

// stack reads the directories of an overlay, topmost first. It reports false for
// any other storage; a directory that is not absolute and clean is "".
func stack(driver storage.DriverData) (upper string, lower []string, ok bool) {
	switch driver.Name {
	case "overlay2", "fuse-overlayfs", "overlay":
	default:
		return "", nil, false
	}
	upper, ok = driver.Data["UpperDir"]
	if !ok {
		return "", nil, false
	}
	if list := driver.Data["LowerDir"]; list != "" {
		if strings.Count(list, ":") >= maxLayers {
			return "", nil, false
		}
		lower = strings.Split(list, ":")
	}
	for i := range lower {
		lower[i] = directory(lower[i])
	}
	return directory(upper), lower, true
}
