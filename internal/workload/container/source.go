package container

import (
	"strconv"
	"strings"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// Source is a workload source; see New. It has no state of its own and may be used
// concurrently if its find function may.
type Source struct {
	find func(Ref) (workload.Container, bool)
}

// New returns a source that learns what a runtime knows of a container by the
// function find, which may be nil. An answer with another ID than the one asked for is
// not believed, nor one with another namespace where the ID is a name. For a Ref that is Rootless, find must answer from that user's runtime
// or not at all: such a user may name a cgroup after any container.
func New(find func(Ref) (workload.Container, bool)) *Source {
	if find == nil {
		find = func(Ref) (workload.Container, bool) { return workload.Container{}, false }
	}
	return &Source{find: find}
}

// Identify names the container of a process, and for one of Kubernetes its pod. It
// returns false for a process in none, and where the path is only a guess that the
// inventory does not confirm.
func (s *Source) Identify(p workload.Process) (workload.Workload, bool) {
	r, ok := Find(p.Cgroups)
	if !ok {
		return workload.Workload{}, false
	}
	told, known := s.find(r)
	known = known && told.ID == r.ID && (len(r.ID) == idLen || told.Namespace == r.Namespace)
	if r.Guess && !known {
		return workload.Workload{}, false
	}
	c := workload.Container{ID: r.ID, Runtime: r.Engine, Namespace: r.Namespace, Name: r.Name}
	if known {
		c = told
	}
	id := key(r)
	if c.Pod != nil && !corroborated(r, c) {
		c.Pod = nil
		id += ":no pod"
	}

	w := workload.Workload{
		Kind:      workload.KindContainer,
		Name:      displayName(r, c),
		Cgroup:    r.Cgroup,
		Key:       id,
		Container: &c,
	}
	w.Target = "container " + w.Name
	if c.Pod != nil {
		w.Kind = workload.KindPod
		w.Target = podTarget(*c.Pod)
	}
	if r.Managed {
		w.Target += " of " + owner(r)
	}
	do := restart(r, c, known)
	w.Command, w.Advice, w.DisruptiveWhy = do.command, do.advice, do.disrupts
	w.Disruptive = w.DisruptiveWhy != ""
	return w, true
}

// corroborated reports whether what a runtime tells of a container's pod can be so.
// Labels of an image become labels of the container with Docker and Podman, so anyone
// who makes images can claim to be in a pod; the cgroup is the kubelet's choice.
func corroborated(r Ref, c workload.Container) bool {
	if c.Pod.UID == r.PodUID {
		return r.PodUID != ""
	}
	// The kubelet may be told not to make cgroups for pods, and a reader in the same
	// pod does not see the pod's.
	return r.PodUID == "" && c.Runtime != Docker && c.Runtime != Podman
}

// key tells containers apart. Identifiers are random; machines' names are not, and
// neither are those of containerd's ctr, which are unique in one namespace.
func key(r Ref) string {
	id := r.ID
	if r.Name != "" || len(id) != idLen {
		id = r.Engine + ":" + r.Namespace + ":" + id
	}
	if r.Managed {
		id = "user " + strconv.FormatInt(r.UID, 10) + ":" + id
	}
	return "container:" + id
}

// shortIDLen is how many digits of an ID people use.
const shortIDLen = 12

// displayName is what a person calls it; never empty.
func displayName(r Ref, c workload.Container) string {
	if c.Pod != nil {
		return c.Pod.Namespace + "/" + c.Pod.Name + "/" + podContainer(c)
	}
	switch {
	case c.Name != "":
		return c.Name
	case r.Name != "":
		return r.Name
	case len(r.ID) == idLen:
		return r.ID[:shortIDLen]
	}
	return r.ID
}

// podContainer is the name of a container inside its pod.
func podContainer(c workload.Container) string {
	if c.Sandbox {
		return "POD" // what the kubelet calls it in cgroup and container names
	}
	if name := c.Labels[labelContainerName]; name != "" {
		return name
	}
	return c.Name
}

const labelContainerName = "io.kubernetes.container.name"

func podTarget(p workload.Pod) string {
	if p.OwnerKind != "" && p.OwnerName != "" {
		return strings.ToLower(p.OwnerKind) + " " + p.Namespace + "/" + p.OwnerName
	}
	return "pod " + p.Namespace + "/" + p.Name
}

// owner names the user whose service manager the container stands below.
func owner(r Ref) string {
	if r.UID < 0 {
		return "another user"
	}
	return "user " + strconv.FormatInt(r.UID, 10)
}
