package systemd

import (
	"reflect"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/workload"
	"github.com/patchsensor/patchsensor/internal/workload/workloadtest"
)

const hexID = "4f1a6c3b9d2e8f7051a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708"

func users(uid uint32) (string, bool) {
	switch uid {
	case 0:
		return "root", true
	case 1000:
		return "alice", true
	case 1001:
		return "-bob$(id)", true
	}
	return "", false
}

func in(path string) workload.Process {
	return workload.Process{PID: 4711, Comm: "nginx", Exe: "/usr/sbin/nginx", Cgroups: []workload.Cgroup{{Path: path}}}
}

func systemdIn(path string) workload.Process {
	p := in(path)
	p.Comm, p.Exe = "systemd", "/usr/lib/systemd/systemd"
	return p
}

func first(p workload.Process) workload.Process {
	p.PID, p.Init = 1, true
	return p
}

func foreign(p workload.Process, initPID int) workload.Process {
	p.Foreign, p.InitPID = true, initPID
	return p
}

func comm(name string, p workload.Process) workload.Process {
	p.Comm = name
	return p
}

func named(path string) workload.Process {
	p := in("/")
	p.Cgroups = []workload.Cgroup{{Hierarchy: 3, Controllers: "memory", Path: "/m"}, {Hierarchy: 1, Controllers: "name=systemd", Path: path}, {Path: "/"}}
	return p
}

// claimed are paths of real machines, as systemd 247 to 257 makes them.
var claimed = []struct {
	name    string
	p       workload.Process
	kind    workload.Kind
	unit    string
	key     string
	target  string
	cgroup  string // empty: the whole path
	command string
	disrupt string // part of the reason
}{
	{"service", in("/system.slice/ssh.service"), workload.KindUnit, "ssh.service", "unit:ssh.service", "ssh.service", "",
		"systemctl restart ssh.service", ""},
	{"service on version 1", named("/system.slice/ssh.service"), workload.KindUnit, "ssh.service", "unit:ssh.service", "ssh.service", "/system.slice/ssh.service",
		"systemctl restart ssh.service", ""},
	{"template instance", in("/system.slice/system-getty.slice/getty@tty1.service"), workload.KindUnit, "getty@tty1.service", "unit:getty@tty1.service", "getty@tty1.service", "",
		"systemctl restart getty@tty1.service", "login on that terminal"},
	{"escaped instance", in(`/system.slice/system-openvpn.slice/openvpn@a\x2db.service`), workload.KindUnit, `openvpn@a\x2db.service`, `unit:openvpn@a\x2db.service`, `openvpn@a\x2db.service`, "",
		`systemctl restart openvpn@a\x2db.service`, "tunnels"},
	{"delegated subtree", in("/system.slice/containerd.service/sub/_deeper"), workload.KindUnit, "containerd.service", "unit:containerd.service", "containerd.service", "/system.slice/containerd.service",
		"systemctl restart containerd.service", "containers"},
	{"escaped name", in("/system.slice/_cpu.service"), workload.KindUnit, "cpu.service", "unit:cpu.service", "cpu.service", "",
		"systemctl restart cpu.service", ""},
	{"name like an option", in("/-evil.service"), workload.KindUnit, "-evil.service", "unit:-evil.service", "-evil.service", "",
		"systemctl restart -- -evil.service", ""},
	{"no slice", in("/../ssh.service"), workload.KindUnit, "ssh.service", "unit:ssh.service", "ssh.service", "/ssh.service",
		"systemctl restart ssh.service", ""},
	{"FUSE mount", in("/system.slice/mnt-data.mount"), workload.KindUnit, "mnt-data.mount", "unit:mnt-data.mount", "mnt-data.mount", "",
		"systemctl restart mnt-data.mount", "unmounts"},
	{"scope", in("/system.slice/run-u12.scope"), workload.KindUnit, "run-u12.scope", "unit:run-u12.scope", "run-u12.scope", "",
		"", ""},
	{"longest name", in("/" + strings.Repeat("a", 247) + ".service"), workload.KindUnit, strings.Repeat("a", 247) + ".service", "unit:" + strings.Repeat("a", 247) + ".service", strings.Repeat("a", 247) + ".service", "",
		"systemctl restart " + strings.Repeat("a", 247) + ".service", ""},
	{"service that only sounds like a container's", in("/system.slice/docker-registry.service"), workload.KindUnit, "docker-registry.service", "unit:docker-registry.service", "docker-registry.service", "",
		"systemctl restart docker-registry.service", ""},
	{"scope that only looks like a container's", in("/system.slice/x" + hexID + ".scope"), workload.KindUnit, "x" + hexID + ".scope", "unit:x" + hexID + ".scope", "x" + hexID + ".scope", "",
		"", ""},
	{"manager of nobody", in("/user.slice/user@65535.service/foo.service"), workload.KindUnit, "user@65535.service", "unit:user@65535.service", "user@65535.service", "/user.slice/user@65535.service",
		"systemctl restart user@65535.service", "of that user"},
	{"sandboxed process of a service", foreign(in("/system.slice/chronyd.service"), 88), workload.KindUnit, "chronyd.service", "unit:chronyd.service", "chronyd.service", "",
		"systemctl restart chronyd.service", ""},

	{"system bus", comm("dbus-daemon", in("/system.slice/dbus.service")), workload.KindUnit, "dbus.service", "unit:dbus.service", "dbus.service", "",
		"systemctl restart dbus.service", "system bus"},
	{"system bus by dbus-broker", comm("dbus-broker", in("/system.slice/dbus-broker.service")), workload.KindUnit, "dbus-broker.service", "unit:dbus-broker.service", "dbus-broker.service", "",
		"systemctl restart dbus-broker.service", "system bus"},
	{"started by dbus-broker", in(`/system.slice/system-dbus\x2d:1.3\x2dorg.freedesktop.problems.slice/dbus-:1.3-org.freedesktop.problems@0.service`), workload.KindUnit,
		"dbus-:1.3-org.freedesktop.problems@0.service", "unit:dbus-:1.3-org.freedesktop.problems@0.service", "dbus-:1.3-org.freedesktop.problems@0.service", "",
		"systemctl restart dbus-:1.3-org.freedesktop.problems@0.service", ""},

	{"process 1", first(systemdIn("/init.scope")), workload.KindUnit, "init.scope", "unit:init.scope", "init.scope", "",
		"systemctl daemon-reexec", ""},
	{"process 1 elsewhere", first(systemdIn("/docker/" + hexID + "/init.scope")), workload.KindUnit, "init.scope", "unit:init.scope", "init.scope", "",
		"systemctl daemon-reexec", ""},

	{"user service", in("/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service"), workload.KindUserUnit, "foo.service", "user-unit:1000:foo.service", "foo.service of alice", "",
		"systemctl --user --machine=alice@.host restart foo.service", ""},
	{"user bus", in("/user.slice/user-1000.slice/user@1000.service/session.slice/dbus.service"), workload.KindUserUnit, "dbus.service", "user-unit:1000:dbus.service", "dbus.service of alice", "",
		"systemctl --user --machine=alice@.host restart dbus.service", "graphical session"},
	{"user bus by dbus-broker", in("/user.slice/user-1000.slice/user@1000.service/session.slice/dbus-broker.service"), workload.KindUserUnit, "dbus-broker.service", "user-unit:1000:dbus-broker.service", "dbus-broker.service of alice", "",
		"systemctl --user --machine=alice@.host restart dbus-broker.service", "graphical session"},
	{"application that the user bus started", in(`/user.slice/user-1000.slice/user@1000.service/app.slice/app-dbus\x2d:1.2\x2dorg.gnome.Loupe.slice/dbus-:1.2-org.gnome.Loupe@0.service`), workload.KindUserUnit,
		"dbus-:1.2-org.gnome.Loupe@0.service", "user-unit:1000:dbus-:1.2-org.gnome.Loupe@0.service", "dbus-:1.2-org.gnome.Loupe@0.service of alice", "",
		"systemctl --user --machine=alice@.host restart dbus-:1.2-org.gnome.Loupe@0.service", "not saved"},
	{"bus that dbus-launch started", comm("dbus-daemon", in("/user.slice/user-1000.slice/session-3.scope")), workload.KindSession, "session 3 of alice", "session:1000:3", "session 3 of alice", "",
		"loginctl terminate-session 3", "login session of alice"},
	{"manager of root", systemdIn("/user.slice/user-0.slice/user@0.service/init.scope"), workload.KindUserUnit, "init.scope", "user-unit:0:init.scope", "init.scope of root", "",
		"systemctl --user --machine=root@.host daemon-reexec", ""},
	{"user manager whose executable cannot be seen", func() workload.Process {
		p := comm("systemd", in("/user.slice/user-1000.slice/user@1000.service/init.scope"))
		p.Exe = ""
		return p
	}(), workload.KindUserUnit, "init.scope", "user-unit:1000:init.scope", "init.scope of alice", "",
		"systemctl --user --machine=alice@.host daemon-reexec", ""},
	{"user manager in a container", foreign(systemdIn("/payload/user.slice/user-1000.slice/user@1000.service/init.scope"), 5), workload.KindUserUnit, "init.scope",
		"nested:/payload/user-unit:1000:init.scope", "init.scope of user 1000 in payload", "",
		"nsenter --target 5 --all systemctl --user --machine=1000@.host daemon-reexec", ""},
	{"user's slice named after another's", in("/user.slice/user-1000.slice/user@1000.service/user-0.slice/foo.service"), workload.KindUserUnit, "foo.service", "user-unit:1000:foo.service", "foo.service of alice", "",
		"systemctl --user --machine=alice@.host restart foo.service", ""},
	{"user's scope named like a session", in("/user.slice/user-1000.slice/user@1000.service/session-9.scope"), workload.KindUserUnit, "session-9.scope", "user-unit:1000:session-9.scope", "session-9.scope of alice", "",
		"", ""},
	{"user without a name", in("/user.slice/user-1234.slice/user@1234.service/foo.service"), workload.KindUserUnit, "foo.service", "user-unit:1234:foo.service", "foo.service of user 1234", "",
		"systemctl --user --machine=1234@.host restart foo.service", ""},
	{"user with a hostile name", in("/user.slice/user-1001.slice/user@1001.service/foo.service"), workload.KindUserUnit, "foo.service", "user-unit:1001:foo.service", "foo.service of -bob$(id)", "",
		"systemctl --user --machine=1001@.host restart foo.service", ""},
	{"user manager", systemdIn("/user.slice/user-1000.slice/user@1000.service/init.scope"), workload.KindUserUnit, "init.scope", "user-unit:1000:init.scope", "init.scope of alice", "",
		"systemctl --user --machine=alice@.host daemon-reexec", ""},
	{"helper of the user manager", comm("(sd-pam)", systemdIn("/user.slice/user-1000.slice/user@1000.service/init.scope")), workload.KindUnit, "user@1000.service", "unit:user@1000.service", "user@1000.service", "/user.slice/user-1000.slice/user@1000.service",
		"systemctl restart user@1000.service", "of that user"},
	{"user manager before it had a scope", in("/user.slice/user-1000.slice/user@1000.service"), workload.KindUnit, "user@1000.service", "unit:user@1000.service", "user@1000.service", "",
		"systemctl restart user@1000.service", "of that user"},
	{"application", foreign(in(`/user.slice/user-1000.slice/user@1000.service/app.slice/app-flatpak-org.mozilla.firefox-2211.scope`), 90), workload.KindUserUnit,
		"app-flatpak-org.mozilla.firefox-2211.scope", "user-unit:1000:app-flatpak-org.mozilla.firefox-2211.scope", "app-flatpak-org.mozilla.firefox-2211.scope of alice", "",
		"", ""},

	{"session", in("/user.slice/user-1000.slice/session-3.scope"), workload.KindSession, "session 3 of alice", "session:1000:3", "session 3 of alice", "",
		"loginctl terminate-session 3", "login session of alice"},
	{"greeter's session", in("/user.slice/user-117.slice/session-c1.scope"), workload.KindSession, "session c1 of user 117", "session:117:c1", "session c1 of user 117", "",
		"loginctl terminate-session c1", "login session of user 117"},
	{"session seen from another", in("/../session-4.scope"), workload.KindSession, "session 4", "session::4", "session 4", "/session-4.scope",
		"loginctl terminate-session 4", "login session"},

	{"manager in a namespace", foreign(in("/lab1/system.slice/nginx.service"), 321), workload.KindUnit, "nginx.service", "nested:/lab1/unit:nginx.service", "nginx.service in lab1", "",
		"nsenter --target 321 --all systemctl restart nginx.service", ""},
	{"process 1 in a namespace", foreign(first(systemdIn("/lab1/init.scope")), 321), workload.KindUnit, "init.scope", "nested:/lab1/unit:init.scope", "init.scope in lab1", "",
		"nsenter --target 321 --all systemctl daemon-reexec", ""},
	{"nspawn's own process", in("/machine.slice/systemd-nspawn@web.service/supervisor"), workload.KindUnit, "systemd-nspawn@web.service", "unit:systemd-nspawn@web.service", "systemd-nspawn@web.service", "/machine.slice/systemd-nspawn@web.service",
		"systemctl restart systemd-nspawn@web.service", "everything in it"},
	{"nspawn payload without a manager", foreign(in("/machine.slice/systemd-nspawn@web.service/payload"), 5), workload.KindUnit, "systemd-nspawn@web.service", "unit:systemd-nspawn@web.service", "systemd-nspawn@web.service", "/machine.slice/systemd-nspawn@web.service",
		"systemctl restart systemd-nspawn@web.service", "everything in it"},
	{"nspawn payload", foreign(in("/machine.slice/systemd-nspawn@web.service/payload/system.slice/dbus.service"), 5), workload.KindUnit, "dbus.service",
		"nested:/machine.slice/systemd-nspawn@web.service/payload/unit:dbus.service", "dbus.service in systemd-nspawn@web.service", "",
		"nsenter --target 5 --all systemctl restart dbus.service", "system bus"},
	{"nspawn without a host manager", foreign(in("/payload/system.slice/nginx.service"), 5), workload.KindUnit, "nginx.service", "nested:/payload/unit:nginx.service", "nginx.service in payload", "",
		"nsenter --target 5 --all systemctl restart nginx.service", ""},
	{"registered machine", foreign(in("/machine.slice/machine-web.scope/payload/user.slice/user-1000.slice/session-7.scope"), 5), workload.KindSession, "session 7 of user 1000",
		"nested:/machine.slice/machine-web.scope/payload/session:1000:7", "session 7 of user 1000 in machine-web.scope", "",
		"nsenter --target 5 --all loginctl terminate-session 7", "login session of user 1000"},
	{"LXC", foreign(in("/lxc.payload.c1/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service"), 5), workload.KindUserUnit, "foo.service",
		"nested:/lxc.payload.c1/user-unit:1000:foo.service", "foo.service of user 1000 in lxc.payload.c1", "",
		"nsenter --target 5 --all systemctl --user --machine=1000@.host restart foo.service", ""},
	{"container in a container", foreign(in("/machine.slice/machine-a.scope/payload/machine.slice/machine-b.scope/payload/system.slice/x.service"), 5), workload.KindUnit, "x.service",
		"nested:/machine.slice/machine-a.scope/payload/machine.slice/machine-b.scope/payload/unit:x.service", "x.service in machine-b.scope", "",
		"nsenter --target 5 --all systemctl restart x.service", ""},
	{"container's process 1 unseen", foreign(in("/lab1/system.slice/dbus.service"), 0), workload.KindUnit, "dbus.service", "nested:/lab1/unit:dbus.service", "dbus.service in lab1", "",
		"", ""},
	{"sensor inside the container", in("/lab1/system.slice/nginx.service"), workload.KindUnit, "nginx.service", "unit:nginx.service", "nginx.service", "",
		"systemctl restart nginx.service", ""},

	{"cgroups named after another unit in a delegated subtree", in("/system.slice/own.service/system.slice/ssh.service"), workload.KindUnit, "own.service", "unit:own.service", "own.service", "/system.slice/own.service",
		"systemctl restart own.service", ""},
	{"the same by a user with namespaces", foreign(in("/user.slice/user-1000.slice/user@1000.service/app.slice/own.service/system.slice/ssh.service"), 66), workload.KindUserUnit,
		"own.service", "user-unit:1000:own.service", "own.service of alice", "/user.slice/user-1000.slice/user@1000.service/app.slice/own.service",
		"systemctl --user --machine=alice@.host restart own.service", ""},
	{"the same from a session", foreign(in("/user.slice/user-1000.slice/session-3.scope/system.slice/ssh.service"), 66), workload.KindSession,
		"session 3 of alice", "session:1000:3", "session 3 of alice", "/user.slice/user-1000.slice/session-3.scope",
		"loginctl terminate-session 3", "login session of alice"},
}

var unclaimed = map[string]workload.Process{
	"root":                     in("/"),
	"slice only":               in("/system.slice"),
	"no cgroup":                {PID: 9, Comm: "x"},
	"other init":               first(in("/")),
	"other init in init.scope": first(comm("systemd", in("/init.scope"))),
	"process 1 that is not systemd, of a container": foreign(first(comm("tini", in("/engine/web"))), 5),
	"kernel thread":                     {PID: 2, Comm: "kthreadd", Cgroups: []workload.Cgroup{{Path: "/"}}},
	"kernel thread called systemd":      {PID: 77, Comm: "systemd", Cgroups: []workload.Cgroup{{Hierarchy: 1, Controllers: "name=systemd", Path: "/"}, {Path: "/"}}},
	"kernel thread in a namespace":      foreign(workload.Process{PID: 78, Comm: "kworker/0:0", Cgroups: []workload.Cgroup{{Path: "/"}}}, 0),
	"stray process in init.scope":       in("/init.scope"),
	"manager sharing the top":           foreign(first(systemdIn("/init.scope")), 77),
	"stray process in a user's":         in("/user.slice/user-1000.slice/user@1000.service/init.scope"),
	"OpenRC":                            in("/openrc.sshd"),
	"not a unit":                        in("/system.slice/evil service.service"),
	"template":                          in("/system.slice/getty@.service"),
	"instance of nothing":               in("/system.slice/@a.service"),
	"name too long":                     in("/" + strings.Repeat("a", 248) + ".service"),
	"below a unit of a user unknown":    in("/../../app.slice/foo.service/system.slice/ssh.service"),
	"unit of a user unknown":            in("/../../app.slice/foo.service"),
	"docker, cgroupfs":                  foreign(in("/docker/"+hexID), 5),
	"docker, systemd":                   foreign(in("/system.slice/docker-"+hexID+".scope"), 5),
	"docker sharing the PID namespace":  in("/system.slice/docker-" + hexID + ".scope"),
	"docker seen from another":          foreign(in("/../docker-"+hexID+".scope"), 5),
	"manager in docker":                 foreign(in("/docker/"+hexID+"/system.slice/nginx.service"), 5),
	"podman":                            foreign(in("/machine.slice/libpod-"+hexID+".scope/container"), 5),
	"podman, cgroupfs":                  foreign(in("/libpod_parent/libpod-"+hexID), 5),
	"podman, rootless":                  foreign(in("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-"+hexID+".scope"), 5),
	"conmon":                            in("/machine.slice/libpod-conmon-" + hexID + ".scope"),
	"Quadlet's payload":                 foreign(in("/system.slice/web.service/libpod-payload-"+hexID), 5),
	"CRI-O":                             foreign(in("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/crio-"+hexID+".scope"), 5),
	"containerd":                        foreign(in("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-"+hexID+".scope"), 5),
	"kubelet, cgroupfs":                 foreign(in("/kubepods/burstable/pod1/"+hexID), 5),
	"containerd with the wrong driver":  foreign(in("/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:"+hexID), 5),
	"ctr":                               foreign(in("/k8s.io/abc"), 5),
	"ctr with the default namespace":    foreign(in("/default/web"), 5),
	"container of an unknown engine":    foreign(in("/engine/"+hexID), 5),
	"virtual machine":                   in(`/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator`),
	"LXC without a manager":             foreign(in("/lxc/c1"), 5),
	"LXC's own process":                 in("/lxc.monitor.c1"),
	"machine without a manager, nested": foreign(in("/lab1/machine.slice/machine-a.scope"), 5),
}

func TestIdentify(t *testing.T) {
	s := New(users)
	for _, tt := range claimed {
		t.Run(tt.name, func(t *testing.T) {
			w, ok := s.Identify(tt.p)
			if !ok {
				t.Fatal("not claimed")
			}
			if w.Kind != tt.kind || w.Name != tt.unit || w.Key != tt.key || w.Target != tt.target {
				t.Errorf("got %s %q, key %q, target %q", w.Kind, w.Name, w.Key, w.Target)
			}
			if got := strings.Join(w.Command, " "); got != tt.command {
				t.Errorf("command %q, want %q", got, tt.command)
			}
			if w.Disruptive != (tt.disrupt != "") || !strings.Contains(w.DisruptiveWhy, tt.disrupt) {
				t.Errorf("disruptive %v %q, want %q", w.Disruptive, w.DisruptiveWhy, tt.disrupt)
			}
			cgroup := tt.cgroup
			if cgroup == "" {
				cgroup = tt.p.Cgroups[0].Path
			}
			if w.Cgroup != cgroup {
				t.Errorf("cgroup %q, want %q", w.Cgroup, cgroup)
			}
		})
	}
}

func TestIdentifyLeavesToOthers(t *testing.T) {
	s := New(users)
	for name, p := range unclaimed {
		if w, ok := s.Identify(p); ok {
			t.Errorf("%s: claimed as %+v", name, w)
		}
	}
}

func TestContract(t *testing.T) {
	var yes, no []workload.Process
	for _, tt := range claimed {
		yes = append(yes, tt.p)
	}
	for _, p := range unclaimed {
		no = append(no, p)
	}
	workloadtest.Run(t, New(users), yes, no)
}

func TestAdvice(t *testing.T) {
	s := New(users)
	for want, p := range map[string]workload.Process{
		"executes itself anew":          first(systemdIn("/init.scope")),
		"SIGRTMIN+25 user@1000.service": systemdIn("/user.slice/user-1000.slice/user@1000.service/init.scope"),
		"helper that closes":            comm("(sd-pam)", systemdIn("/user.slice/user-1000.slice/user@1000.service/init.scope")),
		"cannot restart it":             in("/system.slice/run-u12.scope"),
		"log out and in again":          in("/user.slice/user-1000.slice/session-3.scope"),
		"not made to be restarted":      in("/system.slice/dbus.service"),
		"out of every session":          in("/user.slice/user-1000.slice/user@1000.service/session.slice/dbus.service"),
		"only if you trust":             foreign(in("/lab1/system.slice/nginx.service"), 321),
		"act inside that container":     foreign(in("/lab1/system.slice/nginx.service"), 0),
		"the way it was started":        foreign(in("/lab1/system.slice/run-u1.scope"), 321),
	} {
		if w, _ := s.Identify(p); !strings.Contains(w.Advice, want) {
			t.Errorf("%q lacks %q", w.Advice, want)
		}
	}
	if w, _ := s.Identify(in("/system.slice/ssh.service")); w.Advice != "" {
		t.Errorf("an ordinary restart has the advice %q", w.Advice)
	}
}

func TestNewWithoutUsers(t *testing.T) {
	w, ok := New(nil).Identify(in("/user.slice/user-1000.slice/session-3.scope"))
	if !ok || w.Name != "session 3 of user 1000" {
		t.Errorf("%v %+v", ok, w)
	}
}

func FuzzIdentify(f *testing.F) {
	for _, tt := range claimed {
		f.Add(tt.p.Cgroups[0].Path, tt.p.Comm, tt.p.Exe, tt.p.Init, tt.p.Foreign, tt.p.InitPID)
	}
	for _, p := range unclaimed {
		if len(p.Cgroups) > 0 {
			f.Add(p.Cgroups[0].Path, p.Comm, p.Exe, p.Init, p.Foreign, p.InitPID)
		}
	}
	f.Fuzz(func(t *testing.T, path, comm, exe string, init, foreign bool, initPID int) {
		p := workload.Process{PID: 2, Comm: comm, Exe: exe, Init: init, Foreign: foreign, InitPID: initPID,
			Cgroups: []workload.Cgroup{{Path: path}}}
		s := New(users).WithSessions(logins)
		w, ok := s.Identify(p)
		if err := workloadtest.Check(p, w, ok); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(workload.SystemdPath(p.Cgroups), w.Cgroup) {
			t.Fatalf("cgroup %q is not on the path %q", w.Cgroup, path)
		}
		// What stands below the unit is not its name.
		if ok && !init && !foreign {
			p.Cgroups[0].Path = w.Cgroup
			if again, _ := s.Identify(p); comm != "(sd-pam)" && !reflect.DeepEqual(w, again) {
				t.Fatalf("from the unit's own cgroup: %+v, from below: %+v", again, w)
			}
		}
	})
}
