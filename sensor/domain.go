package sensor

import (
	"path"
	"strings"
)

// programs of the two domains beside the host, by the base name of their
// executables (OWASP Docker Top 10, D02).
var (
	runtimePrograms = []string{"dockerd", "docker-proxy", "docker-init", "containerd", "crio", "podman", "conmon", "conmonrs", "runc", "crun",
		"buildkitd", "rootlesskit", "netavark", "aardvark-dns"}
	orchestratorPrograms = []string{"kubelet", "kube-proxy", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd",
		"k3s", "k0s", "rke2", "hyperkube", "mesos-agent", "mesos-master", "mesos-slave", "openshift", "nomad"}
)

// domainOf says to which patch domain a program belongs.
func domainOf(exe, comm string) Domain {
	name := path.Base(exe)
	if exe == "" {
		name = comm
	}
	if strings.HasPrefix(name, "containerd-shim") {
		return DomainRuntime
	}
	for _, p := range runtimePrograms {
		if name == p {
			return DomainRuntime
		}
	}
	for _, p := range orchestratorPrograms {
		if name == p {
			return DomainOrchestrator
		}
	}
	return DomainHost
}
