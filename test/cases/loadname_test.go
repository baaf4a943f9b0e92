package cases

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// A 32-bit program has 32-bit vectors in its memory.
func TestExecutableOf32BitsMovedAside(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := static32(t, "1"), static32(t, "2")
	exe := b.install(v1, "bin/food")
	if err := exec.Command(exe, "version").Run(); errors.Is(err, syscall.ENOEXEC) {
		t.Skip("SKIPPED, NOT TESTED: this machine runs no 32-bit programs")
	}
	d := b.start(lab.Command{Path: exe})
	b.change(func() {
		must(t, os.Rename(exe, exe+".orig"))
		b.install(v2, "bin/food")
	})
	d.Exe = exe + ".orig"
	b.expect(b.stale(d, sensor.MovedAside, exe, v1, v2))
}

// static32 is testdata/static.go in a version, for the machine's 32-bit mode.
func static32(t *testing.T, version string) string {
	t.Helper()
	arch, ok := map[string]string{"amd64": "386", "arm64": "arm"}[runtime.GOARCH]
	if !ok {
		t.Skipf("SKIPPED, NOT TESTED: no 32-bit mode of %s is known", runtime.GOARCH)
	}
	out := filepath.Join(t.TempDir(), "static")
	cmd := exec.Command("go", "build", "-o", out, "-ldflags=-X main.version="+version, "testdata/static.go")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, msg)
	}
	return out
}

// The link by which the program was started is gone; the program is not.
func TestLinkToExecutableRemoved(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.install(daemon(t, "1"), "bin/food-1.0")
	link := b.path("bin/food")
	b.link("food-1.0", link)
	b.start(lab.Command{Path: link})
	b.change(func() { must(t, os.Remove(link)) })
	b.silence()
}

// The program's name, as the kernel keeps it, is that of the script; the
// interpreter is what runs.
func TestScriptRemoved(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	interpreter := b.install(worker(t, "1"), "bin/worker")
	for _, name := range []string{"food", "worker"} {
		script := b.path("scripts/" + name)
		must(t, os.MkdirAll(filepath.Dir(script), 0o755))
		must(t, os.WriteFile(script, []byte("#!"+interpreter+" script\n"), 0o755))
		b.start(lab.Command{Path: script})
		b.change(func() { must(t, os.Remove(script)) })
	}
	b.silence()
}

// Renamed and nothing put in its place: there is nothing to start anew.
func TestExecutableRenamed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"backup-food", "food.bak", "other/thing"} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			v1 := daemon(t, "1")
			exe := b.install(v1, "bin/food")
			d := b.start(lab.Command{Path: exe})
			to := b.path("bin/" + name)
			must(t, os.MkdirAll(filepath.Dir(to), 0o755))
			b.change(func() { must(t, os.Rename(exe, to)) })
			d.Exe = to
			b.expect(want(d, sensor.Missing, sensor.MissingFile, exe, lab.BuildID(t, v1), ""))
		})
	}
}

// Started by a relative name in a directory that the shell reached by a link:
// the link is what the next start follows.
func TestRelativeNameBelowASwitchedLink(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := daemon(t, "1"), daemon(t, "2")
	b.install(v1, "releases/1/food")
	b.link("releases/1", b.path("current"))
	d := b.start(lab.Command{Path: "/bin/sh", Args: []string{"-c", `cd "$0" && exec ./food`, b.path("current")}})
	d.Comm = "food"
	b.change(func() {
		b.install(v2, "releases/2/food")
		b.link("releases/2", b.path("current"))
	})
	d.Exe = b.path("releases/1/food")
	b.expect(b.stale(d, sensor.SymlinkSwitched, b.path("current/food"), v1, v2))
}

// The loader keeps a list of names for each namespace.
func TestLibraryOfAnotherNamespaceMovedAside(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := library(t, "plugin.so", "1"), library(t, "plugin.so", "2")
	lib := b.install(v1, "lib/libfoo.so")
	d := b.work("openns", lib)
	b.change(func() {
		must(t, os.Rename(lib, lib+".orig"))
		b.install(v2, "lib/libfoo.so")
	})
	b.expect(b.stale(d, sensor.MovedAside, lib, v1, v2))
}
