package container

import (
	"strconv"
	"strings"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// remedy is a command, or an advice where none can do it.
type remedy struct {
	command  []string
	advice   string
	disrupts string // why it interrupts people or the machine; empty if it does not
}

// restart is how a container's processes are started anew from the image that it has.
// known says that c is from an inventory.
func restart(r Ref, c workload.Container, known bool) remedy {
	switch {
	case r.Unit != "" && (!r.Managed || r.UID >= 0):
		// Podman's container lives and dies with the unit.
		return remedy{command: append(systemctl(r), "restart", r.Unit)}
	case r.Rootless():
		return remedy{advice: "it belongs to " + owner(r) + ", whose own engine runs it: restart it as that user"}
	case c.Pod != nil:
		return restartPod(*c.Pod)
	case r.PodUID != "":
		return remedy{advice: "the kubelet runs it for a pod whose name nothing tells: restart the pod through its controller"}
	case r.Engine == LXC:
		return remedy{advice: "LXC, Incus, LXD or Proxmox runs it: restart it by the one that made it (lxc-stop --reboot, incus restart, lxc restart, pct reboot)"}
	case r.Engine == Nspawn:
		return restartMachine(r.Name)
	}
	switch c.Runtime {
	case Docker:
		return restartDocker(c)
	case Podman:
		return restartPodman(r, c)
	case Containerd:
		return restartContainerd(c)
	case CRIO:
		return remedy{advice: "CRI-O runs it for Kubernetes: restart its pod through its controller"}
	case BuildKit:
		return remedy{advice: "it is a step of an image build, and ends with that"}
	case Mesos:
		return remedy{advice: "Mesos runs it: restart the task by its framework"}
	}
	if known {
		return remedy{advice: "restart it by the engine that runs it"}
	}
	return remedy{advice: "nothing tells which engine runs it: restart it by that"}
}

func restartDocker(c workload.Container) remedy {
	if service, ok := swarmService(c); ok {
		return remedy{
			command: docker(c, "service", "update", "--force", service),
			advice:  "it is a task of a swarm service: the command runs on a manager of the swarm, and renews all tasks of the service",
		}
	}
	if project, service, ok := composeService(c); ok {
		// With a project's name alone, restart needs no Compose file.
		return remedy{command: docker(c, "compose", "-p", project, "restart", service)}
	}
	return remedy{command: docker(c, "restart", handle(c))}
}

func restartPodman(r Ref, c workload.Container) remedy {
	if unit, ok := podmanUnit(c); ok {
		return remedy{command: append(systemctl(r), "restart", unit)}
	}
	return remedy{command: []string{"podman", "restart", handle(c)}}
}

func restartContainerd(c workload.Container) remedy {
	name, ok := nerdctlName(c)
	if !ok {
		return remedy{advice: "containerd itself restarts no container: restart it by the program that made it"}
	}
	return remedy{command: []string{"nerdctl", "--namespace", c.Namespace, "restart", name}}
}

// restartMachine reboots a machine that is registered with systemd-machined.
func restartMachine(name string) remedy {
	if !isPlain(name) {
		return remedy{advice: "its name cannot stand in a command: reboot it with machinectl"}
	}
	return remedy{command: []string{"machinectl", "reboot", name}, disrupts: "reboots the whole container, with everything in it"}
}

// restartPod replaces a pod. The kubelet restarts containers only that ended, so all
// goes through who owns the pod.
func restartPod(p workload.Pod) remedy {
	if p.OwnerKind == "Node" {
		return remedy{advice: "it is a static pod, which the kubelet runs from a manifest on this node: stop its sandbox with crictl stopp, and the kubelet starts it anew"}
	}
	if !isKubeName(p.Namespace) || !isKubeName(p.Name) {
		return remedy{advice: "the names of its pod are none of Kubernetes: restart the pod through its controller"}
	}
	kubectl := []string{"kubectl", "-n", p.Namespace}
	switch p.OwnerKind {
	case "Deployment", "StatefulSet", "DaemonSet":
		if isKubeName(p.OwnerName) {
			return remedy{command: append(kubectl, "rollout", "restart", strings.ToLower(p.OwnerKind)+"/"+p.OwnerName)}
		}
	case "Job":
		return remedy{
			command:  append(kubectl, "delete", "pod", p.Name),
			advice:   "its Job starts another pod in its place",
			disrupts: "aborts a run of the job, which begins anew",
		}
	case "ReplicaSet", "ReplicationController":
		return remedy{
			command:  append(kubectl, "delete", "pod", p.Name),
			advice:   "its " + p.OwnerKind + " starts another pod in its place",
			disrupts: "ends the pod before another one has started",
		}
	}
	return remedy{advice: "nothing tells what made its pod, so deleting it may be for good: restart it through its controller, or delete it and create it anew"}
}

// systemctl begins the command for the manager below which the container stands. See
// the package systemd for the form that reaches a user's.
func systemctl(r Ref) []string {
	if !r.Managed {
		return []string{"systemctl"}
	}
	return []string{"systemctl", "--user", "--machine=" + strconv.FormatInt(r.UID, 10) + "@.host"}
}

// docker is a command of Docker's client, to the daemon that runs the container.
func docker(c workload.Container, args ...string) []string {
	switch c.Socket {
	case "", "/run/docker.sock", "/var/run/docker.sock":
		return append([]string{"docker"}, args...)
	}
	return append([]string{"docker", "-H", "unix://" + c.Socket}, args...)
}
