package sensor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/patchsensor/patchsensor/internal/workload"
	"github.com/patchsensor/patchsensor/internal/workload/container"
	"github.com/patchsensor/patchsensor/internal/workload/containerd"
	"github.com/patchsensor/patchsensor/internal/workload/cri"
	"github.com/patchsensor/patchsensor/internal/workload/docker"
	"github.com/patchsensor/patchsensor/internal/workload/inventory"
)

// protocol is a way to speak to container runtimes.
type protocol struct {
	name string
	open func(socket string) (inventory.Runtime, error)
	// sockets are where those that speak it listen unless told otherwise. Sockets that
	// belong to a user are left out: whoever owns one says what they like.
	sockets []string
}

// protocols are all ways to speak to container runtimes. Where several know a
// container, the first one names it.
func protocols() []protocol {
	return []protocol{
		{"docker", func(s string) (inventory.Runtime, error) { return docker.New(s) },
			[]string{"/run/docker.sock", "/run/podman/podman.sock"}},
		{"cri", func(s string) (inventory.Runtime, error) { return cri.New(s) },
			// With Kubernetes containerd speaks it too, and says by which reference a
			// container was asked for.
			[]string{"/run/crio/crio.sock", "/run/cri-dockerd.sock", "/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock"}},
		{"containerd", func(s string) (inventory.Runtime, error) { return containerd.New(s) },
			[]string{"/run/containerd/containerd.sock", "/run/docker/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock"}},
	}
}

// NoRuntimes as the only entry of Options.Runtimes says that no container runtime is
// to be asked.
const NoRuntimes = "none"

// ErrRuntime says that Options.Runtimes has an entry that makes no sense.
var ErrRuntime = errors.New("no socket of a container runtime")

// runtimeSockets are the sockets to ask: those that were named, or the usual ones.
func runtimeSockets(o Options) ([]inventory.Socket, error) {
	var list []inventory.Socket
	if len(o.Runtimes) == 1 && o.Runtimes[0] == NoRuntimes {
		return nil, nil
	}
	if len(o.Runtimes) == 0 {
		for _, p := range protocols() {
			for _, s := range p.sockets {
				list = append(list, inventory.Socket{Path: filepath.Join(o.Root, s), Open: p.open})
			}
		}
		return list, nil
	}
	for _, name := range o.Runtimes {
		p, socket, err := parseRuntime(name)
		if err != nil {
			return nil, err
		}
		list = append(list, inventory.Socket{Path: socket, Open: p.open, Wanted: true})
	}
	return list, nil
}

// parseRuntime takes "PROTOCOL:PATH" or a path whose name tells the protocol.
func parseRuntime(name string) (protocol, string, error) {
	kind, socket, named := strings.Cut(name, ":")
	if !named || strings.HasPrefix(name, "/") {
		socket = name
		kind = "docker"
		switch base := path.Base(name); {
		case strings.Contains(base, "crio"), strings.HasPrefix(base, "cri"):
			kind = "cri"
		case strings.Contains(base, "containerd"):
			kind = "containerd"
		}
	}
	for _, p := range protocols() {
		if p.name == kind && strings.HasPrefix(socket, "/") {
			return p, socket, nil
		}
	}
	return protocol{}, "", fmt.Errorf("%w: %q is not docker:, containerd: or cri: and an absolute path", ErrRuntime, name)
}

// openInventory makes the inventory of the options' runtimes.
func (s *Sensor) openInventory() (*inventory.Inventory, error) {
	sockets, err := runtimeSockets(s.opts)
	if err != nil {
		return nil, err
	}
	return inventory.New(sockets, inventory.Options{}), nil
}

// findContainer is the container of a place in the cgroups. What only looks like one
// counts if a runtime knows it.
func (sc *scan) findContainer(r container.Ref) (workload.Container, bool) {
	// Who owns a service manager may have named a cgroup after any container.
	if sc.inventory == nil || r.Monitor || r.Managed {
		return workload.Container{}, false
	}
	return sc.inventory.Find(r.ID)
}

// among is where a process is among containers.
type among struct {
	ref container.Ref
	ok  bool
}

// refOf is the container that a process is in, as its cgroups tell.
func (a *actors) refOf(p *process) (container.Ref, bool) {
	at := a.refs[p.CgroupKey]
	if at == nil || p.CgroupKey == 0 {
		at = new(among)
		list := a.cgroupsOf(p)
		at.ref, at.ok = container.Find(list)
		// Cgroups that could not be read of one process may be of the next.
		if list != nil {
			a.refs[p.CgroupKey] = at
		}
	}
	if !at.ok || at.ref.Monitor {
		return container.Ref{}, false
	}
	if at.ref.Guess {
		if _, known := a.sc.findContainer(at.ref); !known {
			return container.Ref{}, false
		}
	}
	return at.ref, true
}

// meetContainers makes sure that the containers of all processes are known, as far as
// any runtime knows them: what was started a moment ago is asked for once.
func (sc *scan) meetContainers(ctx context.Context) {
	if sc.inventory == nil {
		return
	}
	a := sc.actors()
	unknown := make(map[string]bool)
	met := make(map[uint64]bool) // by the key of their cgroups
	for _, p := range sc.processes {
		if met[p.CgroupKey] {
			continue
		}
		// Cgroups that could not be read of one process may be of the next.
		met[p.CgroupKey] = p.CgroupKey != 0 && a.cgroupsOf(p) != nil
		r, ok := a.refOf(p)
		if !ok || r.ID == "" {
			continue
		}
		if _, known := sc.inventory.Find(r.ID); !known {
			unknown[r.ID] = true
		}
	}
	if len(unknown) > 0 {
		sc.inventory.Seek(ctx, unknown)
	}
	sc.checkClaims(a)
	for _, problem := range sc.inventory.Problems() {
		subject := subjectRuntime + problem.Socket
		if problem.Runtime != "" {
			subject = subjectRuntime + problem.Runtime + " at " + problem.Socket
		}
		sc.warnings.add(subject, problem.Err, runtimeHelp(problem.Err))
	}
}

// runtimeHelp says what to do about a runtime that does not answer.
func runtimeHelp(err error) string {
	help := "containers are judged all the same, but not named, and not compared with what their images are now"
	if errors.Is(err, fs.ErrPermission) {
		help = "run sensor as root, or as a member of the socket's group; " + help
	}
	return help
}
