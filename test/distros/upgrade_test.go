package distros

import (
	"os"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

func TestUpgraded(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		food := b.food()
		b.expect()
		b.upgrade(b.libfoo(t, b.second(), "2"))
		b.everywhere(b.upgraded(food))
		r := b.expect(b.upgraded(food))
		lab.CheckTimes(t, &r.Report, food, b.changed, b.done, true)
		b.pids = append(b.pids, b.food().PID) // and restarted it is current
		b.expect(b.upgraded(food))
	})
}

// Two upgrades after the start: the finding spans both, that of the daemon that was
// started in between only the second.
func TestUpgradedTwice(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		early := b.food()
		b.upgrade(b.libfoo(t, b.second(), "2"))
		late := b.food()
		third := b.libfoo(t, b.third(), "3")
		b.upgrade(third)
		finding := func(d *lab.Daemon, history []release, content string) lab.Finding {
			return b.of(b.stale(d, sensor.Replaced, b.lib(), b.fooLibrary(t, history, content), third.files[b.lib()]), third, history[0].version)
		}
		b.expect(finding(early, b.first(), "1"), finding(late, b.second(), "2"))
	})
}

// What leaves the same bytes behind is no reason to restart anything.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(b *box){
		"reinstalled": func(b *box) { b.upgrade(b.libfoo(b.t, b.first(), "1")) },
		"new version, file unchanged": func(b *box) {
			p := b.libfoo(b.t, b.second(), "2")
			p.files[b.lib()] = b.fooLibrary(b.t, b.first(), "1")
			b.upgrade(p)
		},
		"upgraded and rolled back": func(b *box) {
			b.upgrade(b.libfoo(b.t, b.second(), "2"), b.libfoo(b.t, b.first(), "1"))
		},
		"removed and installed again": func(b *box) {
			file := b.build(b.t, b.libfoo(b.t, b.first(), "1"))
			b.change(func() {
				b.Remove(b.t, "libfoo1")
				b.Install(b.t, file)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachDistro(t, func(t *testing.T, d *distro) {
				b := newBox(t, d)
				b.food()
				change(b)
				b.expect()
			})
		})
	}
}

// A downgrade is as good a reason for a restart; no CVE was fixed by it.
func TestDowngraded(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		b.upgrade(b.libfoo(t, b.second(), "2"))
		food := b.food()
		first := b.libfoo(t, b.first(), "1")
		b.upgrade(first)
		f := b.of(b.stale(food, sensor.Replaced, b.lib(), b.fooLibrary(t, b.second(), "2"), first.files[b.lib()]), first, b.second()[0].version)
		if b.changelogs {
			f.Packages[0].CVEs = []string{}
		}
		b.expect(f)
	})
}

// One package, three libraries, one of them changed. The daemon that has that one is
// told which; the one that has the others is left alone.
func TestSeveralLibraries(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		several := func(history []release, content string) pkg {
			p := pkg{name: "libseveral1", source: "several", history: history, files: map[string]string{}}
			for _, name := range []string{"liba.so.1", "libc2.so.1"} {
				p.files[b.libdir+"/"+name] = b.library(t, name, "1")
			}
			p.files[b.libdir+"/libb.so.1"] = b.library(t, "libb.so.1", content, b.noted("several", history[0].version)...)
			return p
		}
		old, newer := several(b.first(), "1"), several(b.second(), "2")
		b.Install(t, b.build(t, old))
		start := func(names ...string) *lab.Daemon {
			var steps []string
			for _, name := range names {
				steps = append(steps, "open", b.libdir+"/"+name)
			}
			return b.start("/usr/sbin/plain", steps...)
		}
		one := start("liba.so.1", "libb.so.1", "libc2.so.1")
		start("liba.so.1", "libc2.so.1")
		b.upgrade(newer)
		name := b.libdir + "/libb.so.1"
		b.expect(b.of(b.stale(one, sensor.Replaced, name, old.files[name], newer.files[name]), newer, b.first()[0].version))
	})
}

// The daemon's own program is packaged; its name leads there by a link of nobody's.
func TestExecutable(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		bard := func(history []release, content string) pkg {
			return pkg{name: "bard", history: history, files: map[string]string{
				"/usr/sbin/bard": b.program(t, content, b.noted("bard", history[0].version)...),
			}}
		}
		old, newer := bard(b.first(), "1"), bard(b.second(), "2")
		b.Install(t, b.build(t, old))
		must(t, os.Symlink("../sbin/bard", b.Path("/usr/bin/bard")))
		one := b.start("/usr/bin/bard")
		b.upgrade(newer)
		one.Exe = "/usr/sbin/bard"
		b.expect(b.of(b.stale(one, sensor.Replaced, one.Exe, old.files[one.Exe], newer.files[one.Exe]), newer, b.first()[0].version))
	})
}

// Upgraded while it is the interpreter of a script that runs.
func TestInterpreter(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		const name, script = "/usr/bin/interpreter", "/usr/bin/script"
		interpreter := func(history []release, content string) pkg {
			flags := append(b.noted("interpreter", history[0].version), b.compiler...)
			if b.manager == "apk" {
				flags = append(flags, "-Ddlmopen(a,b,c)=dlopen(b,c)") // which musl has not
			}
			return pkg{name: "interpreter", history: history, files: map[string]string{
				name: workshop.C(t, append([]string{"-DVERSION=\"" + content + "\"", "../cases/testdata/worker.c"}, flags...)...),
			}}
		}
		old, newer := interpreter(b.first(), "1"), interpreter(b.second(), "2")
		b.Install(t, b.build(t, old))
		must(t, os.WriteFile(b.Path(script), []byte("#!"+name+" script\n"), 0o755))
		one := b.start(script)
		one.Exe = name
		b.upgrade(newer)
		b.expect(b.of(b.stale(one, sensor.Replaced, name, old.files[name], newer.files[name]), newer, b.first()[0].version))
	})
}

// A child that was forked after the upgrade runs what its parent loaded before.
func TestForkAfterTheUpgrade(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		food := b.food()
		b.upgrade(b.libfoo(t, b.second(), "2"))
		child := food.Fork(t)
		b.pids = append(b.pids, child.PID)
		b.expect(b.upgraded(food), b.upgraded(child))
	})
}

// Two roots of one kind: the one is upgraded, the other is not, and each process is
// judged by the database of its own root.
func TestTwoRoots(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b, other := newBox(t, d), newBox(t, d)
		food := b.food()
		other.food()
		b.pids = append(b.pids, other.pids...)
		b.upgrade(b.libfoo(t, b.second(), "2"))
		b.expect(b.upgraded(food))
	})
}
