package distros

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// The inode stays and its content does not. What was loaded is lost with the bytes, and
// no package says that it was anything but its own.
func TestOverwritten(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		food := b.food()
		other := b.library(t, "libfoo.so.1", "2")
		b.change(func() { b.write(other, b.Path(b.lib()), 0) })
		must(t, os.RemoveAll(b.Path("var/log"))) // apk-tools 3 has a log there
		f := b.of(finding(food, sensor.Stale, sensor.Overwritten, b.lib(), "", lab.BuildID(t, other)), b.libfoo(t, b.first(), "1"), "")
		b.expect(f)
	})
}

// The checksum that its package recorded before the daemon began proves that a touched
// file still holds what was loaded.
func TestTouched(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		b.food()
		now := time.Now()
		b.change(func() { must(t, os.Chtimes(b.Path(b.lib()), now, now)) })
		b.expect()
	})
}

func TestMovedAside(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		food := b.food()
		newer := b.libfoo(t, b.second(), "2")
		must(t, os.Rename(b.Path(b.lib()), b.Path(b.lib()+".orig")))
		b.upgrade(newer)
		f := b.upgraded(food)
		f.Reason, f.Files[0].Reason = sensor.MovedAside, sensor.MovedAside
		b.expect(f)
	})
}

// Two versions stand side by side, each in a package of its own, and the upgrade is of a
// third one with the link that leads to the one or the other.
func TestSymlinkSwitched(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		link := b.libdir + "/libside.so.1"
		side := func(name, content string, history []release) pkg {
			return pkg{name: "libside" + content, source: "side", history: history, files: map[string]string{
				b.libdir + "/" + name: b.library(t, "libside.so.1", content, b.noted("side", history[0].version)...),
			}}
		}
		leading := func(history []release, target string) pkg {
			return pkg{name: "libside-links", source: "side", history: history, links: map[string]string{link: target}}
		}
		old, newer := side("libside.so.1.0", "1", b.first()), side("libside.so.1.1", "2", b.second())
		b.Install(t, b.build(t, old), b.build(t, newer), b.build(t, leading(b.first(), "libside.so.1.0")))
		one := b.start("/usr/sbin/plain", "open", link)
		b.upgrade(leading(b.second(), "libside.so.1.1"))
		f := b.stale(one, sensor.SymlinkSwitched, link, old.files[b.libdir+"/libside.so.1.0"], newer.files[b.libdir+"/libside.so.1.1"])
		b.expect(b.of(f, newer, b.first()[0].version))
	})
}

// The new version names its file otherwise, and the old one went with the upgrade.
func TestVersionInTheFileName(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		bar := func(history []release, file, content string) pkg {
			return pkg{
				name: "libbar1", source: "bar", history: history, links: map[string]string{b.libdir + "/libbar.so.1": file},
				files: map[string]string{b.libdir + "/" + file: b.library(t, "libbar.so.1", content, b.noted("bar", history[0].version)...)},
			}
		}
		old, newer := bar(b.first(), "libbar.so.1.0", "1"), bar(b.second(), "libbar.so.1.1", "2")
		b.Install(t, b.build(t, old))
		one := b.start("/usr/sbin/plain", "open", "libbar.so.1")
		b.upgrade(newer)
		name := b.libdir + "/libbar.so.1.0"
		b.expect(b.of(b.stale(one, sensor.Superseded, name, old.files[name], newer.files[b.libdir+"/libbar.so.1.1"]), newer, b.first()[0].version))
	})
}

// A file of an installed package is gone: a restart would fail.
func TestFileRemoved(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		food := b.food()
		b.change(func() { must(t, os.Remove(b.Path(b.lib()))) })
		p := b.libfoo(t, b.first(), "1")
		b.expect(b.of(finding(food, sensor.Missing, sensor.MissingFile, b.lib(), lab.BuildID(t, p.files[b.lib()]), ""), p, b.first()[0].version))
	})
}

// The package is gone and with it the library that the daemon needs.
func TestPackageRemoved(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		d.evidence = sensor.EvidenceUnknown // the file does not name it either
		b := newBox(t, d)
		food := b.food()
		b.change(func() { b.Remove(t, "libfoo1") })
		b.expect(finding(food, sensor.Missing, sensor.MissingFile, b.lib(), lab.BuildID(t, b.fooLibrary(t, b.first(), "1")), ""))
	})
}

// What a program made for itself was never installed: code of its own, a library that
// it extracted, itself in memory.
func TestEphemeral(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		for _, dir := range []string{"/tmp", "/var/lib"} {
			b.start("/usr/sbin/plain", "jit", dir+"/code")
			b.put(b.library(t, "libjni.so", "1"), dir+"/libjni123.so")
			b.start("/usr/sbin/plain", "open", dir+"/libjni123.so")
		}
		b.start("/usr/sbin/plain", "memfd", "/usr/sbin/plain")
		b.change(func() {
			for _, dir := range []string{"/tmp", "/var/lib"} {
				must(t, os.Remove(b.Path(dir+"/libjni123.so")))
			}
		})
		b.expect()
	})
}

// A library that was closed before the upgrade left nothing behind, but in the process
// of a C library that never unloads one (musl's dlclose(3)).
func TestClosed(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		one := b.start("/usr/sbin/plain", "openclose", b.lib())
		b.upgrade(b.libfoo(t, b.second(), "2"))
		if b.manager == "apk" {
			b.expect(b.upgraded(one))
		} else {
			b.expect()
		}
	})
}

// Packages name their files by /lib although that is a link to /usr/lib, as newer releases
// have it.
func TestMergedDirectories(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		shown := d.lib()
		d.libdir = strings.TrimPrefix(d.libdir, "/usr")
		of := d.tree
		d.tree = func(t testing.TB, dir string) tree {
			t.Helper()
			for _, name := range []string{"bin", "sbin", "lib"} {
				if d.manager == "apk" {
					must(t, os.MkdirAll(dir+"/usr/"+name, 0o755))
					must(t, os.Symlink("usr/"+name, dir+"/"+name))
				}
			}
			return of(t, dir)
		}
		b := newBox(t, d)
		food := b.food()
		b.upgrade(b.libfoo(t, b.second(), "2"))
		f := b.upgraded(food)
		f.Files[0].Path = shown
		b.expect(f)
	})
}
