package sensor

import (
	"path"
	"slices"
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

// packages of these domains that are called otherwise than their programs.
var (
	runtimePackages      = []string{"docker.io", "docker-ce", "docker-engine", "moby-engine", "containerd.io", "cri-o", "cri-tools"}
	orchestratorPackages = []string{"kubeadm", "kubernetes", "etcd-server", "mesos", "origin"}
)

// domainOfPackage says to which patch domain a package belongs, by its own name or
// that of its source.
func domainOfPackage(name, source string) Domain {
	for _, n := range []string{name, source} {
		switch {
		case slices.Contains(runtimePackages, n):
			return DomainRuntime
		case slices.Contains(orchestratorPackages, n):
			return DomainOrchestrator
		}
		if d := domainOf("", n); d != DomainHost {
			return d
		}
	}
	return DomainHost
}

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
