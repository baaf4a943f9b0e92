package systemd

import "strings"

// inContainer reports whether a component of the cgroup path is one that a
// container engine or a kubelet makes. Such a path may well hold a unit of this
// system – Docker and Podman ask systemd for a scope, containerd's cgroups may
// stand below containerd.service, a Quadlet's payload below the unit that
// started it – but restarting that unit is not what renews a container, and the
// scope of a container cannot be restarted at all. Their own sources claim
// them.
func inContainer(path string) bool {
	for at := 0; ; {
		name, end := component(path, at)
		if name == "" {
			return false
		}
		if isContainer(name) {
			return true
		}
		at = end
	}
}

// isContainer knows the names that docker, podman and conmon (libpod), CRI-O,
// containerd, nerdctl and the kubelet give to cgroups, with either of their
// cgroup drivers:
//
//	/docker/ID                                /system.slice/docker-ID.scope
//	/libpod_parent/libpod-ID                  /machine.slice/libpod-conmon-ID.scope
//	/kubepods/burstable/podUID/ID             /kubepods.slice/…/cri-containerd-ID.scope
//	/kubepods.slice/…/crio-ID.scope           /system.slice/containerd.service/kubepods-…:cri-containerd:ID
//	/k8s.io/ID
func isContainer(name string) bool {
	// Engines make scopes, slices and plain cgroups; a docker-registry.service
	// is an ordinary unit of this system.
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		switch name[dot:] {
		case ".service", ".mount", ".socket", ".swap":
			return false
		case ".slice":
			return strings.Contains(name, "kubepods")
		}
	}
	switch name {
	case "docker", "k8s.io", "libpod_parent", "kubepods":
		return true
	}
	for _, prefix := range []string{"docker-", "libpod-", "crio-", "cri-containerd-", "nerdctl-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return endsInContainerID(strings.TrimSuffix(name, ".scope"))
}

// containerIDLen is the length of a container's identifier: 32 random bytes
// in hexadecimal digits, with every engine named above.
const containerIDLen = 64

func endsInContainerID(name string) bool {
	if len(name) < containerIDLen {
		return false
	}
	head, id := name[:len(name)-containerIDLen], name[len(name)-containerIDLen:]
	if head != "" && strings.IndexByte("-_.:", head[len(head)-1]) < 0 {
		return false
	}
	for i := range len(id) {
		if c := id[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

// isMachine reports whether the unit is the scope of a container or virtual
// machine that was registered with systemd-machined. Nothing of it can be
// restarted from outside but by whoever started it.
func isMachine(unit string) bool {
	_, ok := between(unit, "machine-", ".scope")
	return ok
}
