// Package container recognises the container that a process is in by its cgroup
// paths, and knows how each kind of container is restarted and redeployed.
//
// It asks no runtime and reads no file. What a path cannot tell, such as a
// container's name, comes from an inventory that the caller passes.
package container

import (
	"strconv"
	"strings"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// The engines that cgroup paths tell apart. LXC's paths are those of LXD, Incus and
// Proxmox too, which make their containers by it.
const (
	Docker     = "docker"
	Podman     = "podman"
	Containerd = "containerd"
	CRIO       = "cri-o"
	BuildKit   = "buildkit"
	LXC        = "lxc"
	Nspawn     = "systemd-nspawn"
	Mesos      = "mesos"
)

// Ref is a container as far as a cgroup path tells of it.
type Ref struct {
	// ID is the runtime's identifier: 64 hexadecimal digits with most, a name with
	// LXC, systemd-nspawn and containerd's ctr.
	ID string
	// Engine is what made the cgroup; empty where several name theirs so, such as
	// the kubelet's "/kubepods/burstable/podUID/ID".
	Engine string
	// Namespace is containerd's, where the path tells.
	Namespace string
	// PodUID identifies the Kubernetes pod; empty if there is none or it is not told.
	PodUID string
	// Name is the name of a machine (LXC, systemd-nspawn), which is its ID too.
	Name string
	// Unit is the systemd unit in whose cgroup Podman put the container
	// (--cgroups=split, which Quadlet uses). It is a valid unit name.
	Unit string
	// Cgroup is the path that decided, up to and with the container's own cgroup
	// and without the leading "/.." of a reader in a cgroup namespace.
	Cgroup string
	// Monitor says that the process is not in the container but watches over it:
	// conmon, or the process that LXC and systemd-nspawn leave outside.
	Monitor bool
	// Guess says that other programs name cgroups so as well: believe it only if an
	// inventory knows the container.
	Guess bool
	// Managed says that the cgroup stands below the service manager of the user UID,
	// who may then have named it: mostly a rootless container. UID is -1 where it
	// cannot be told whose manager it is.
	Managed bool
	UID     int64
}

// Rootless says that a user other than root owns the container's cgroup. Whoever owns
// it may have named it after another's container.
func (r Ref) Rootless() bool { return r.Managed && r.UID != 0 }

// Find returns the container of a process with these cgroups, and false if they name
// none. Of containers in containers it is the outermost below the root of the
// reader's cgroup namespace: that is the one which this machine's engine runs, and
// restarting it renews all in it.
//
// The hierarchies may disagree (on a hybrid machine the unified one is often idle):
// the named one of systemd is believed first, then version 2, then the others in
// order, and a guess only where none is certain.
func Find(cgroups []workload.Cgroup) (Ref, bool) {
	var guess Ref
	guessed := false
	for rank := range 3 {
		for _, c := range cgroups {
			if hierarchyRank(c) != rank {
				continue
			}
			r, ok := findIn(c.Path)
			switch {
			case ok && !r.Guess:
				return r, true
			case ok && !guessed:
				guess, guessed = r, true
			}
		}
	}
	return guess, guessed
}

func hierarchyRank(c workload.Cgroup) int {
	switch {
	case c.Controllers == "name=systemd":
		return 0
	case c.Hierarchy == 0:
		return 1
	}
	return 2
}

// Limits of one path: the kernel gives at most PATH_MAX bytes, and a container stands
// near the top of it.
const (
	maxPath       = 4096
	maxComponents = 64
)

// findIn reads one path from its top.
func findIn(path string) (Ref, bool) {
	if len(path) > maxPath || !strings.HasPrefix(path, "/") {
		return Ref{}, false
	}
	path, below := fromNamespace(path)
	s := scan{path: path, uid: -1}
	if below && partOfManager(path) {
		s.managed = true
	}
	for range maxComponents {
		name, end := component(path, s.at)
		if name == "" {
			break
		}
		if r, ok := s.recognise(name, end); ok {
			if end = s.end; r.Cgroup == "" {
				r.Cgroup = path[:end]
			}
			r.Managed, r.UID = s.managed, s.uid
			return r, true
		}
		s.pass(name, end)
	}
	return s.guessTwo()
}

// scan is how far a path is read.
type scan struct {
	path string
	at   int // where the next component begins
	end  int // where the recognised cgroup ends
	// The names passed: the last two, and what they say of those below.
	parent, above string
	podUID        string
	managed       bool
	uid           int64
}

// pass goes below a component that is no container's.
func (s *scan) pass(name string, end int) {
	s.at, s.above, s.parent = end, s.parent, name
	if uid, ok := podUID(name); ok {
		s.podUID = uid
	}
	if digits, ok := between(name, "user@", ".service"); ok && !s.managed {
		if uid, err := strconv.ParseUint(digits, 10, 32); err == nil {
			s.managed, s.uid = true, int64(uid)
		}
	}
}

// fromNamespace takes the leading ".." components off, which a reader in a cgroup
// namespace sees of processes outside of it (cgroup_namespaces(7)). below says that
// there were any.
func fromNamespace(path string) (rest string, below bool) {
	rest = path
	for rest == "/.." || strings.HasPrefix(rest, "/../") {
		rest = rest[len("/.."):]
	}
	return rest, len(rest) != len(path)
}

// partOfManager reports whether a path from above the reader can only be a part of a
// user's service manager: the slices of systemd.special(7) that only such a manager
// has, and a user.slice that holds no user's slice.
func partOfManager(path string) bool {
	first, end := component(path, 0)
	switch first {
	case "app.slice", "session.slice", "background.slice":
		return true
	case "user.slice":
		second, _ := component(path, end)
		return second != "" && !strings.HasPrefix(second, "user-")
	}
	return false
}

// component returns the first component of path at or behind offset at, and the offset
// of its end; name is empty at the end of the path.
func component(path string, at int) (name string, end int) {
	for at < len(path) && path[at] == '/' {
		at++
	}
	end = len(path)
	if n := strings.IndexByte(path[at:], '/'); n >= 0 {
		end = at + n
	}
	return path[at:end], end
}

func between(s, prefix, suffix string) (string, bool) {
	s, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(s, suffix)
}
