package container

import (
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/workload"
)

const (
	id1 = "4f1a6c3b9d2e8f7051a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708"
	id2 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	uid = "2f3e1c9a-7b1d-4c55-9b0e-6d1f0a2b3c4d"
	// A static pod's UID is the hash of its manifest.
	staticUID = "c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7"
	buildID   = "k3v0x1p9z7q5m2n8b4c6d1f3g"
	taskUUID  = "9a1b2c3d-0e4f-4a5b-8c6d-7e8f9a0b1c2d"
)

var uidUnderscores = strings.ReplaceAll(uid, "-", "_")

// shapes are paths as the engines make them, and what they tell.
var shapes = []struct {
	name, path string
	want       Ref // Cgroup empty: the whole path without "/.."
}{
	// dockerd, --exec-opt native.cgroupdriver=cgroupfs, and its default with systemd.
	{"docker, cgroupfs", "/docker/" + id1, Ref{ID: id1, Engine: Docker}},
	{"docker, systemd", "/system.slice/docker-" + id1 + ".scope", Ref{ID: id1, Engine: Docker}},
	// docker run --cgroup-parent=/actions_job, as GitHub's runner does.
	{"docker, own parent", "/actions_job/" + id1, Ref{ID: id1}},
	{"docker, own slice", "/ci.slice/docker-" + id1 + ".scope", Ref{ID: id1, Engine: Docker}},
	// systemd's form of the path given to a cgroupfs driver (opencontainers/runc#2872).
	{"docker, wrong driver", "/system.slice/docker.service/system.slice:docker:" + id1, Ref{ID: id1, Engine: Docker}},
	// ECS: /ecs/TASK/ID, and with systemd /ecstasks.slice/ecstasks-TASK.slice/docker-ID.scope.
	{"ECS", "/ecs/c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7/" + id1, Ref{ID: id1}},
	{"ECS, systemd", "/ecstasks.slice/ecstasks-c2d1.slice/docker-" + id1 + ".scope", Ref{ID: id1, Engine: Docker}},
	{"docker in docker", "/docker/" + id1 + "/docker/" + id2, Ref{ID: id1, Engine: Docker, Cgroup: "/docker/" + id1}},
	{"manager in docker", "/docker/" + id1 + "/system.slice/nginx.service", Ref{ID: id1, Engine: Docker, Cgroup: "/docker/" + id1}},
	{"docker --cgroupns=host seen from a sibling", "/../" + id1, Ref{ID: id1}},
	{"docker, systemd, from a sibling", "/../docker-" + id1 + ".scope", Ref{ID: id1, Engine: Docker}},
	{"docker, from inside kind", "/../../docker/" + id1, Ref{ID: id1, Engine: Docker}},
	{"docker, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + id1 + ".scope", Ref{ID: id1, Engine: Docker, Managed: true, UID: 1000}},

	// kind: the node is a container of docker, its kubelet's root is /kubelet.
	{"kind, from the host", "/system.slice/docker-" + id1 + ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + uidUnderscores + ".slice/cri-containerd-" + id2 + ".scope",
		Ref{ID: id1, Engine: Docker, Cgroup: "/system.slice/docker-" + id1 + ".scope"}},
	{"kind, from the node", "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + uidUnderscores + ".slice/cri-containerd-" + id2 + ".scope",
		Ref{ID: id2, Engine: Containerd, PodUID: uid}},
	{"kind, cgroupfs, from the node", "/kubelet/kubepods/burstable/pod" + uid + "/" + id2, Ref{ID: id2, PodUID: uid}},

	// Kubelet, cgroupfs driver (docker by cri-dockerd and containerd name alike).
	{"pod, burstable", "/kubepods/burstable/pod" + uid + "/" + id1, Ref{ID: id1, PodUID: uid}},
	{"pod, guaranteed", "/kubepods/pod" + uid + "/" + id1, Ref{ID: id1, PodUID: uid}},
	{"pod, static", "/kubepods/besteffort/pod" + staticUID + "/" + id1, Ref{ID: id1, PodUID: staticUID}},
	{"pod, from another pod", "/../../../besteffort/pod" + uid + "/" + id1, Ref{ID: id1, PodUID: uid}},
	{"pod, from its sibling", "/../" + id1, Ref{ID: id1}},
	{"pod, CRI-O, cgroupfs", "/kubepods/burstable/pod" + uid + "/crio-" + id1, Ref{ID: id1, Engine: CRIO, PodUID: uid}},
	{"k3s in a container", "/k3s/kubepods/besteffort/pod" + uid + "/" + id1, Ref{ID: id1, PodUID: uid}},
	// Kubelet, systemd driver.
	{"pod, containerd", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + uidUnderscores + ".slice/cri-containerd-" + id1 + ".scope", Ref{ID: id1, Engine: Containerd, PodUID: uid}},
	{"pod, CRI-O", "/kubepods.slice/kubepods-pod" + uidUnderscores + ".slice/crio-" + id1 + ".scope", Ref{ID: id1, Engine: CRIO, PodUID: uid}},
	{"pod, CRI-O with crun", "/kubepods.slice/kubepods-pod" + uidUnderscores + ".slice/crio-" + id1 + ".scope/container", Ref{ID: id1, Engine: CRIO, PodUID: uid,
		Cgroup: "/kubepods.slice/kubepods-pod" + uidUnderscores + ".slice/crio-" + id1 + ".scope"}},
	{"pod, cri-dockerd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uidUnderscores + ".slice/docker-" + id1 + ".scope", Ref{ID: id1, Engine: Docker, PodUID: uid}},
	{"pod, conmon", "/kubepods.slice/kubepods-pod" + uidUnderscores + ".slice/crio-conmon-" + id1 + ".scope", Ref{ID: id1, Engine: CRIO, PodUID: uid, Monitor: true}},
	// CRI-O, conmon_cgroup = "system.slice".
	{"conmon of CRI-O", "/system.slice/crio-conmon-" + id1 + ".scope", Ref{ID: id1, Engine: CRIO, Monitor: true}},
	// SystemdCgroup = false in containerd, systemd in the kubelet.
	{"pod, wrong driver", "/system.slice/containerd.service/kubepods-burstable-pod" + uidUnderscores + ".slice:cri-containerd:" + id1, Ref{ID: id1, Engine: Containerd, PodUID: uid}},
	{"pod with a UID of its own", "/kubepods/burstable/podmine/" + id1, Ref{ID: id1}},

	// containerd, "/NAMESPACE/ID" (pkg/oci/spec.go).
	{"CRI without a parent", "/k8s.io/" + id1, Ref{ID: id1, Engine: Containerd, Namespace: "k8s.io"}},
	{"ctr in k8s.io", "/k8s.io/web", Ref{ID: "web", Engine: Containerd, Namespace: "k8s.io"}},
	{"ctr", "/default/redis", Ref{ID: "redis", Engine: Containerd, Namespace: "default", Guess: true}},
	{"ctr from a sibling's parent", "/../redis/x", Ref{ID: "x", Engine: Containerd, Namespace: "redis", Guess: true}},
	{"nerdctl, cgroupfs", "/default/" + id1, Ref{ID: id1, Engine: Containerd, Namespace: "default"}},
	{"nerdctl, another namespace", "/build/" + id1, Ref{ID: id1}},
	{"nerdctl, systemd", "/system.slice/nerdctl-" + id1 + ".scope", Ref{ID: id1, Engine: Containerd}},
	{"nerdctl, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-" + id1 + ".scope", Ref{ID: id1, Engine: Containerd, Managed: true, UID: 1000}},

	// BuildKit (executor/oci/spec.go).
	{"docker build", "/docker/buildkit/" + buildID, Ref{ID: buildID, Engine: BuildKit}},
	{"docker build, systemd", "/system.slice/docker-" + buildID + ".scope", Ref{ID: buildID, Engine: BuildKit}},
	{"buildkitd in docker", "/docker/" + id1 + "/buildkit/" + buildID, Ref{ID: id1, Engine: Docker, Cgroup: "/docker/" + id1}},

	// Podman (libpod/container_internal_linux.go, pkg/systemd/quadlet).
	{"podman", "/machine.slice/libpod-" + id1 + ".scope", Ref{ID: id1, Engine: Podman}},
	{"podman with crun", "/machine.slice/libpod-" + id1 + ".scope/container", Ref{ID: id1, Engine: Podman, Cgroup: "/machine.slice/libpod-" + id1 + ".scope"}},
	{"podman, cgroupfs", "/libpod_parent/libpod-" + id1, Ref{ID: id1, Engine: Podman}},
	{"podman's pod", "/machine.slice/machine-libpod_pod_" + id2 + ".slice/libpod-" + id1 + ".scope/container", Ref{ID: id1, Engine: Podman,
		Cgroup: "/machine.slice/machine-libpod_pod_" + id2 + ".slice/libpod-" + id1 + ".scope"}},
	{"podman's pod, cgroupfs", "/libpod_parent/" + id2 + "/libpod-" + id1, Ref{ID: id1, Engine: Podman}},
	{"podman, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id1 + ".scope/container", Ref{ID: id1, Engine: Podman, Managed: true, UID: 1000,
		Cgroup: "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id1 + ".scope"}},
	{"podman in root's manager", "/user.slice/user-0.slice/user@0.service/user.slice/libpod-" + id1 + ".scope", Ref{ID: id1, Engine: Podman, Managed: true}},
	{"podman, somebody's", "/../../user.slice/libpod-" + id1 + ".scope", Ref{ID: id1, Engine: Podman, Managed: true, UID: -1}},
	{"Quadlet", "/system.slice/web.service/libpod-payload-" + id1, Ref{ID: id1, Engine: Podman, Unit: "web.service"}},
	{"Quadlet with crun", "/system.slice/web.service/libpod-payload-" + id1 + "/container", Ref{ID: id1, Engine: Podman, Unit: "web.service", Cgroup: "/system.slice/web.service/libpod-payload-" + id1}},
	{"Quadlet of a user", "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-" + id1, Ref{ID: id1, Engine: Podman, Unit: "web.service", Managed: true, UID: 1000}},
	{"Quadlet of somebody", "/../../app.slice/web.service/libpod-payload-" + id1, Ref{ID: id1, Engine: Podman, Unit: "web.service", Managed: true, UID: -1}},
	{"unit that looks like an option", "/system.slice/-web.service/libpod-payload-" + id1, Ref{ID: id1, Engine: Podman}},
	{"conmon", "/machine.slice/libpod-conmon-" + id1 + ".scope", Ref{ID: id1, Engine: Podman, Monitor: true}},
	{"conmon, cgroupfs", "/libpod_parent/libpod-conmon-" + id1, Ref{ID: id1, Engine: Podman, Monitor: true}},

	// LXC up to 3.0, 3.2, from 4.0 on; LXD and Incus name an instance PROJECT_NAME.
	{"LXC 3.0", "/lxc/c1", Ref{ID: "c1", Name: "c1", Engine: LXC}},
	{"LXC 3.2", "/lxc.payload/c1/init.scope", Ref{ID: "c1", Name: "c1", Engine: LXC, Cgroup: "/lxc.payload/c1"}},
	{"LXC 4", "/lxc.payload.c1", Ref{ID: "c1", Name: "c1", Engine: LXC}},
	{"Incus project", "/lxc.payload.shop_web/system.slice/nginx.service", Ref{ID: "shop_web", Name: "shop_web", Engine: LXC, Cgroup: "/lxc.payload.shop_web"}},
	{"Proxmox", "/lxc/101/ns/system.slice/ssh.service", Ref{ID: "101", Name: "101", Engine: LXC, Cgroup: "/lxc/101"}},
	{"docker in LXC", "/lxc.payload.c1/docker/" + id1, Ref{ID: "c1", Name: "c1", Engine: LXC, Cgroup: "/lxc.payload.c1"}},
	{"LXC's own process", "/lxc.monitor.c1", Ref{ID: "c1", Name: "c1", Engine: LXC, Monitor: true}},
	{"LXC, unprivileged", "/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope/lxc.payload.c1", Ref{ID: "c1", Name: "c1", Engine: LXC, Managed: true, UID: 1000}},

	// systemd-nspawn@.service and systemd-machined.
	{"nspawn", `/machine.slice/systemd-nspawn@my\x2dweb.service/payload/system.slice/x.service`, Ref{ID: `my\x2dweb`, Name: "my-web", Engine: Nspawn, Cgroup: `/machine.slice/systemd-nspawn@my\x2dweb.service/payload`}},
	{"nspawn's own process", "/machine.slice/systemd-nspawn@web.service/supervisor", Ref{ID: "web", Name: "web", Engine: Nspawn, Monitor: true}},
	{"nspawn by hand", "/machine.slice/machine-web.scope/payload", Ref{ID: "web", Name: "web", Engine: Nspawn}},
	{"registered machine", "/machine.slice/machine-web.scope", Ref{ID: "web", Name: "web", Guess: true}},
	{"LXC of libvirt", `/machine.slice/machine-lxc\x2d12\x2dweb.scope/libvirt`, Ref{ID: `lxc\x2d12\x2dweb`, Name: "lxc-12-web", Guess: true, Cgroup: `/machine.slice/machine-lxc\x2d12\x2dweb.scope`}},

	// Mesos (src/slave/containerizer/mesos/isolators/cgroups).
	{"Mesos", "/mesos/" + taskUUID, Ref{ID: taskUUID, Engine: Mesos}},
	{"Mesos, nested", "/mesos/" + taskUUID + "/mesos/" + uid, Ref{ID: taskUUID, Engine: Mesos, Cgroup: "/mesos/" + taskUUID}},
}

var noContainers = []string{
	"", "/", "/..", "/../..", "/system.slice", "/system.slice/ssh.service", "/init.scope",
	"/user.slice/user-1000.slice/session-3.scope", "/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service",
	"/docker", "/docker/short", "/docker/buildkit", "/docker/" + strings.ToUpper(id1), "/docker/" + id1[1:] + "/x",
	"/system.slice/docker.service", "/system.slice/docker-registry.service", "/system.slice/docker-" + id1 + ".service",
	"/system.slice/docker-short.scope", "/x/y/a" + id1,
	// Podman's health check is a unit of the system.
	"/system.slice/" + id1 + ".service", "/system.slice/" + id1 + "-4f1a6c3b9d2e8f70.service",
	"/libpod_parent", "/libpod_parent/" + id1,
	"/kubepods/burstable/pod" + uid, "/kubepods.slice/kubepods-pod" + uidUnderscores + ".slice",
	"/machine.slice/systemd-nspawn@web.service", "/machine.slice/machine-.scope", `/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator`,
	"/payload/system.slice/x.service", "/lxc.payload.", "/mesos/agent/x", "/a/b/c", "/openrc.sshd", "/a b/c", "/-a/c", "/a/c.mount", "/user.slice/web",
	"/agent/_x/y",
	// The kernel gives absolute paths only.
	"docker/" + id1, "web.service/libpod-payload-" + id1,
}

func TestFind(t *testing.T) {
	for _, tt := range shapes {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			if want.Cgroup == "" {
				want.Cgroup, _ = fromNamespace(tt.path)
			}
			if !want.Managed {
				want.UID = -1
			}
			got, ok := Find([]workload.Cgroup{{Path: tt.path}})
			if !ok || got != want {
				t.Errorf("%s:\n got  %+v, %v\n want %+v", tt.path, got, ok, want)
			}
		})
	}
}

func TestFindNone(t *testing.T) {
	for _, path := range append([]string{
		strings.Repeat("/x", maxPath) + "/docker/" + id1,
		strings.Repeat("/x", maxComponents) + "/docker/" + id1,
	}, noContainers...) {
		if got, ok := Find([]workload.Cgroup{{Path: path}}); ok {
			t.Errorf("%s: got %+v", path, got)
		}
	}
	if got, ok := Find(nil); ok {
		t.Errorf("no cgroups: got %+v", got)
	}
}

func TestFindAmongHierarchies(t *testing.T) {
	v2 := func(path string) workload.Cgroup { return workload.Cgroup{Path: path} }
	named := func(path string) workload.Cgroup {
		return workload.Cgroup{Hierarchy: 1, Controllers: "name=systemd", Path: path}
	}
	memory := func(path string) workload.Cgroup {
		return workload.Cgroup{Hierarchy: 4, Controllers: "memory", Path: path}
	}
	for name, tt := range map[string]struct {
		in   []workload.Cgroup
		want string
	}{
		"version 1":                   {[]workload.Cgroup{memory("/docker/" + id1), named("/docker/" + id1)}, id1},
		"named only":                  {[]workload.Cgroup{memory("/"), named("/docker/" + id1), v2("/")}, id1},
		"controller only":             {[]workload.Cgroup{memory("/docker/" + id1), named("/"), v2("/system.slice/docker.service")}, id1},
		"unified only":                {[]workload.Cgroup{memory("/"), named("/"), v2("/docker/" + id1)}, id1},
		"disagreement, named first":   {[]workload.Cgroup{memory("/docker/" + id2), v2("/docker/" + id2), named("/docker/" + id1)}, id1},
		"disagreement, unified next":  {[]workload.Cgroup{memory("/docker/" + id2), v2("/docker/" + id1), named("/")}, id1},
		"certainty before order":      {[]workload.Cgroup{memory("/docker/" + id1), named("/default/web"), v2("/a/b")}, id1},
		"a guess where none is sure":  {[]workload.Cgroup{memory("/agent/abc"), named("/default/web")}, "web"},
		"a v1 controller's own guess": {[]workload.Cgroup{memory("/default/web"), named("/")}, "web"},
	} {
		if got, ok := Find(tt.in); !ok || got.ID != tt.want {
			t.Errorf("%s: got %+v, %v", name, got, ok)
		}
	}
}

func FuzzFind(f *testing.F) {
	for _, tt := range shapes {
		f.Add(tt.path)
	}
	for _, path := range noContainers {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, ok := Find([]workload.Cgroup{{Path: path}})
		if !ok {
			if r != (Ref{}) {
				t.Fatalf("none, yet %+v", r)
			}
			return
		}
		if r.ID == "" || !strings.Contains(r.Cgroup, r.ID) || strings.Contains(r.ID, "/") {
			t.Fatalf("ID %q is in no component of %q", r.ID, r.Cgroup)
		}
		if !strings.Contains(path, r.Cgroup) || r.PodUID != "" && !isUUID(r.PodUID) && len(r.PodUID) != 32 {
			t.Fatalf("%+v is not of %q", r, path)
		}
		if r.Unit != "" && (!isUnit(r.Unit) || !strings.Contains(path, "/"+r.Unit+"/")) {
			t.Fatalf("unit %q is not of %q", r.Unit, path)
		}
		if r.Guess {
			return
		}
		// What stands below a container is not this machine's to name.
		for _, below := range []string{"/docker/" + id2, "/kubepods/pod" + uid + "/" + id2, "/init.scope", "/lxc.payload.x", "/container"} {
			if again, ok := Find([]workload.Cgroup{{Path: path + below}}); len(path+below) <= maxPath && (!ok || again != r) {
				t.Fatalf("%q: %+v\nbelow it: %+v, %v", path, r, again, ok)
			}
		}
	})
}
