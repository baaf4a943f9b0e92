package container

import "strings"

// recognise reports whether a component is the cgroup of a container, and sets where
// that ends. The shapes, and who makes them:
//
//	docker/ID, docker-ID.scope, SLICE:docker:ID    dockerd (daemon/oci_linux.go), cgroupfs, systemd, and
//	                                               systemd's form given to a cgroupfs driver
//	PARENT/ID                                      docker run --cgroup-parent, kubelet, ECS
//	libpod-ID[.scope], libpod-payload-ID           Podman (libpod/container_internal_linux.go)
//	libpod-conmon-ID[.scope], crio-conmon-ID…      conmon
//	crio-ID[.scope]                                CRI-O (internal/config/cgmgr)
//	cri-containerd-ID.scope, SLICE:cri-containerd:ID
//	                                               containerd (internal/cri/server/helpers.go, getCgroupsPath)
//	nerdctl-ID.scope                               nerdctl (pkg/cmd/container, generateCgroupPath)
//	k8s.io/ID                                      containerd (pkg/oci/spec.go, "/NAMESPACE/ID")
//	buildkit/ID, docker-ID.scope                   BuildKit (executor/oci/spec.go)
//	lxc/NAME, lxc.payload/NAME, lxc.payload.NAME, lxc.monitor…
//	                                               LXC 1 to 3.0, 3.2, 4 and later (src/lxc/cgroups/cgfsng.c)
//	systemd-nspawn@NAME.service/payload            systemd-nspawn@.service
//	machine-NAME.scope[/payload]                   systemd-machined (src/machine/machine.c)
//	mesos/UUID                                     Mesos (--cgroups_root)
func (s *scan) recognise(name string, end int) (Ref, bool) {
	s.end = end
	if r, ok := s.oci(name); ok {
		if r.PodUID == "" {
			r.PodUID = s.podUID
		}
		return r, true
	}
	if r, ok := s.child(name); ok {
		return r, true
	}
	return s.machine(name, end)
}

// oci knows the containers of 64 hexadecimal digits.
func (s *scan) oci(name string) (Ref, bool) {
	head, id, ok := splitID(name)
	if !ok {
		return s.buildStep(name)
	}
	r := Ref{ID: id}
	switch {
	case head == "":
		if s.parent == "libpod_parent" {
			return Ref{}, false // a pod of Podman, whose containers stand below
		}
		r.Engine, r.Namespace = engineOfParent(s.parent, s.above)
		return r, true
	case strings.HasSuffix(head, ":"):
		// "SLICE:PREFIX:" is how systemd's driver is told slice and scope.
		slice, prefix, _ := strings.Cut(head[:len(head)-1], ":")
		r.PodUID, _ = podUID(slice)
		head = prefix + "-"
	}
	switch head {
	case "docker-":
		r.Engine = Docker
	case "cri-containerd-", "nerdctl-":
		r.Engine = Containerd
	case "crio-":
		r.Engine = CRIO
	case "crio-conmon-":
		r.Engine, r.Monitor = CRIO, true
	case "libpod-":
		r.Engine = Podman
	case "libpod-conmon-":
		r.Engine, r.Monitor = Podman, true
	case "libpod-payload-":
		r.Engine = Podman
		if isUnit(s.parent) && strings.HasSuffix(s.parent, ".service") {
			r.Unit = s.parent
		}
	}
	return r, true
}

// engineOfParent tells who makes cgroups named by an ID alone.
func engineOfParent(parent, above string) (engine, namespace string) {
	switch parent {
	case "docker":
		return Docker, ""
	case "k8s.io":
		return Containerd, parent
	case "default":
		// nerdctl with the cgroupfs driver.
		if above == "" {
			return Containerd, parent
		}
	}
	return "", ""
}

// buildStepLen is the length of BuildKit's identifiers: 128 random bits in base 36
// (identity/randomid.go).
const buildStepLen = 25

// buildStep knows the steps of a build.
func (s *scan) buildStep(name string) (Ref, bool) {
	id := name
	if s.parent != "buildkit" {
		id = strings.TrimSuffix(name, ".scope")
		at := strings.LastIndexAny(id, "-:")
		head := id[:at+1]
		if head != "docker-" && head != "buildkit-" && !strings.HasSuffix(head, ":docker:") && !strings.HasSuffix(head, ":buildkit:") {
			return Ref{}, false
		}
		id = id[at+1:]
	}
	if len(id) != buildStepLen || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return Ref{}, false
	}
	return Ref{ID: id, Engine: BuildKit}, true
}

// child knows the containers that the directory above them tells.
func (s *scan) child(name string) (Ref, bool) {
	switch s.parent {
	case "k8s.io":
		if isIdentifier(name) {
			return Ref{ID: name, Engine: Containerd, Namespace: s.parent}, true
		}
	case "mesos":
		if isUUID(name) {
			return Ref{ID: name, Engine: Mesos}, true
		}
	case "lxc", "lxc.payload":
		return lxc(name, false), true
	case "lxc.monitor":
		return lxc(name, true), true
	}
	return Ref{}, false
}

func lxc(name string, monitor bool) Ref {
	return Ref{ID: name, Name: name, Engine: LXC, Monitor: monitor}
}

// machine knows the containers that have a name in place of an ID.
func (s *scan) machine(name string, end int) (Ref, bool) {
	if n, ok := strings.CutPrefix(name, "lxc.payload."); ok && n != "" {
		return lxc(n, false), true
	}
	if n, ok := strings.CutPrefix(name, "lxc.monitor."); ok && n != "" {
		return lxc(n, true), true
	}
	next, nextEnd := component(s.path, end)
	if n, ok := between(name, "systemd-nspawn@", ".service"); ok && isUnit(name) {
		r := Ref{ID: n, Name: unescapeUnit(n), Engine: Nspawn}
		switch next {
		case "payload":
			s.end = nextEnd
			return r, true
		case "supervisor":
			s.end, r.Monitor = nextEnd, true
			return r, true
		}
		// The unit itself, which is none of a container's.
		return Ref{}, false
	}
	n, ok := between(name, "machine-", ".scope")
	if !ok || n == "" || !isUnit(name) || strings.HasPrefix(n, `qemu\x2d`) {
		return Ref{}, false // a virtual machine of libvirt
	}
	r := Ref{ID: n, Name: unescapeUnit(n), Engine: Nspawn}
	switch next {
	case "payload":
		s.end = nextEnd
	case "supervisor":
		s.end, r.Monitor = nextEnd, true
	default:
		// Virtual machines register so too, and libvirt's LXC.
		r.Engine, r.Guess = "", true
	}
	return r, true
}

// guessTwo takes a path of exactly two components for containerd's "/NAMESPACE/ID",
// where the identifier may be any name.
func (s *scan) guessTwo() (Ref, bool) {
	namespace, end := component(s.path, 0)
	id, end := component(s.path, end)
	if rest, _ := component(s.path, end); rest != "" || !isIdentifier(namespace) || !isIdentifier(id) {
		return Ref{}, false
	}
	switch namespace {
	case "docker", "libpod_parent", "kubepods":
		return Ref{}, false // others', whose containers have IDs
	}
	for _, name := range []string{namespace, id} {
		if isUnit(name) || strings.HasSuffix(name, ".slice") {
			return Ref{}, false
		}
	}
	return Ref{ID: id, Engine: Containerd, Namespace: namespace, Cgroup: s.path[:end], Guess: true, Managed: s.managed, UID: s.uid}, true
}
