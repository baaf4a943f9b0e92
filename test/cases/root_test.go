package cases

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// Two roots with the same package: the one is upgraded, the other is not. Each
// process is judged by the database of its own root.
func TestChrootUpgraded(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	other := p.tree("other")
	d := p.food()
	p.start(lab.Command{Path: "/usr/sbin/food", Root: other.Dir})
	p.upgrade(p.libfoo(second, "2", changesSecond))
	p.expect(p.upgraded(d))
}

// The sensor's own root is upgraded and a chroot below it is not, and then the
// other way round.
func TestHostAndChroot(t *testing.T) {
	for name, hostUpgraded := range map[string]bool{"host upgraded": true, "chroot upgraded": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPackaged(t)
			host := p.Tree
			inner := p.tree("root/srv/inner")
			onHost := p.start(lab.Command{Path: "/usr/sbin/food", Root: host.Dir})
			inChroot := p.start(lab.Command{Path: "/usr/sbin/food", Root: inner.Dir})
			d := onHost
			if !hostUpgraded {
				p.Tree, d = inner, inChroot
			}
			p.upgrade(p.libfoo(second, "2", changesSecond))

			p.expectBy(host, []string{"unshare", "--mount", "sh", "-c",
				`mount -t proc proc "$0/proc" && mount -t sysfs sysfs "$0/sys" && exec chroot "$0" "$@"`, host.Dir}, p.upgraded(d))
		})
	}
}

// expectBy is expect by a sensor that the wrapper runs inside the given tree,
// as if that were the host.
func (p *packaged) expectBy(host lab.Tree, wrapper []string, want ...lab.Finding) {
	p.t.Helper()
	binary, err := os.ReadFile(sensorAt.Path)
	must(p.t, err)
	must(p.t, os.WriteFile(host.Path("/sensor"), binary, 0o755))
	inside := lab.Sensor{Path: "/sensor"}
	lab.EachSource(p.t, func(t *testing.T, source string) {
		r := inside.StaleBy(t, wrapper, "--source", source)
		lab.Check(t, &r.Report, p.pids, want...)
	})
}

// enter starts a program in a mount namespace of its own, with root as its
// root.
func (p *packaged) enter(root lab.Tree, program string, args ...string) *lab.Daemon {
	p.t.Helper()
	d := p.start(lab.Command{
		Path: workshop.C(p.t, "testdata/enter.c"),
		Args: append([]string{"pivot", root.Dir, program}, args...),
	})
	d.Exe, d.Comm = program, filepath.Base(program)
	return d
}

func TestMountNamespaceUpgraded(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	other := p.tree("other")
	d := p.enter(p.Tree, "/usr/sbin/food")
	p.enter(other, "/usr/sbin/food")
	p.upgrade(p.libfoo(second, "2", changesSecond))
	p.expect(p.upgraded(d))
}

// The same path leads one process to a directory of its own. What is upgraded
// is the one or the other; only the processes that see it are stale.
func TestBindMount(t *testing.T) {
	for name, private := range map[string]bool{"its own upgraded": true, "the host's upgraded": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
			lib := b.install(v1, "lib/libfoo.so.1")
			b.install(v1, "private/libfoo.so.1")
			exe := b.install(daemon(t, "1"), "bin/food")
			plain := b.start(lab.Command{Path: exe, Args: []string{"open", lib}})
			bound := b.start(lab.Command{
				Path: workshop.C(t, "testdata/enter.c"),
				Args: []string{"bind", b.path("private"), b.path("lib"), exe, "open", lib},
			})
			bound.Exe, bound.Comm = exe, "food"
			d, upgraded := plain, "lib/libfoo.so.1"
			if private {
				d, upgraded = bound, "private/libfoo.so.1"
			}
			b.change(func() { b.install(v2, upgraded) })
			b.expect(b.stale(d, sensor.Replaced, lib, v1, v2))
		})
	}
}

// Like sshd's privileged separation: the process's root is empty, what it
// loaded lies outside.
func TestDaemonThatChrootsItself(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	lib := b.install(v1, "lib/libfoo.so.1")
	must(t, os.Mkdir(b.path("empty"), 0o755))
	exe := b.install(daemon(t, "1"), "bin/food")
	// One whose files stay: silence.
	b.start(lab.Command{Path: exe, Args: []string{"chroot", b.path("empty")}})
	d := b.start(lab.Command{Path: exe, Args: []string{"open", lib, "chroot", b.path("empty")}})
	b.change(func() { b.install(v2, "lib/libfoo.so.1") })
	b.expect(b.stale(d, sensor.Replaced, lib, v1, v2))
}

// The same on a host with packages: its database still knows the file.
func TestPackagedDaemonThatChrootsItself(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	d := p.enter(p.Tree, "/usr/sbin/food", "chroot", "/empty")
	p.upgrade(p.libfoo(second, "2", changesSecond))
	p.expectBy(p.Tree, []string{"nsenter", "--mount", "--target", strconv.Itoa(d.PID)}, p.upgraded(d))
}

// The sensor in a container, with the host's root mounted below /host, says of
// the host's processes what it would say on the host.
func TestFromAContainer(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	must(t, os.Mkdir(p.Tree.Path("/host"), 0o755))
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	d := p.box.food()
	inRoot := p.food()
	p.change(func() { p.install(v2, "lib/libfoo.so.1") })
	p.upgrade(p.libfoo(second, "2", changesSecond))
	p.expectBy(p.Tree, []string{"unshare", "--mount", "sh", "-c",
		`mount --rbind / "$0/host" && mount -t proc proc "$0/proc" && mount -t sysfs sysfs "$0/sys" &&
		exec chroot "$0" "$@" --root /host --proc /host/proc`, p.Dir},
		p.stale(d, sensor.Replaced, p.path("lib/libfoo.so.1"), v1, v2), p.upgraded(inRoot))
}
