package cases

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// script makes an executable script of an interpreter.
func (b *box) script(interpreter, name string) string {
	b.t.Helper()
	at := b.path(name)
	must(b.t, os.MkdirAll(filepath.Dir(at), 0o755))
	must(b.t, os.WriteFile(at+".new", []byte("#!"+interpreter+" script\n"), 0o755))
	must(b.t, os.Rename(at+".new", at))
	return at
}

// The interpreter of a script was upgraded: that is what must be loaded anew, and
// the script is not in its place.
func TestInterpreterReplaced(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := worker(t, "1"), worker(t, "2")
	interpreter := b.install(v1, "bin/worker")
	d := b.start(lab.Command{Path: b.script(interpreter, "scripts/food")})
	d.Exe = interpreter
	b.change(func() { b.install(v2, "bin/worker") })
	b.expect(b.stale(d, sensor.Replaced, interpreter, v1, v2))
}

// The interpreter is called by a link, as python3 is, which leads to a new version.
func TestInterpreterLinkSwitched(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := worker(t, "1"), worker(t, "2")
	first := b.install(v1, "bin/worker1")
	link := b.path("bin/worker")
	b.link("worker1", link)
	d := b.start(lab.Command{Path: b.script(link, "scripts/food")})
	d.Exe = first
	b.change(func() {
		b.install(v2, "bin/worker2")
		b.link("worker2", link)
	})
	b.expect(b.stale(d, sensor.SymlinkSwitched, link, v1, v2))
}

// The script is gone and the interpreter has another link, as backups make it.
func TestScriptRemovedInterpreterLinked(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	interpreter := b.install(worker(t, "1"), "bin/worker")
	script := b.script(interpreter, "scripts/food")
	b.start(lab.Command{Path: script})
	b.change(func() {
		must(t, os.Remove(script))
		must(t, os.Link(interpreter, b.path("bin/backup")))
	})
	b.silence()
}

// A program was replaced by a script, as wrappers do: it can be started.
func TestExecutableReplacedByScript(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1 := daemon(t, "1")
	exe := b.install(v1, "bin/food")
	d := b.start(lab.Command{Path: exe})
	b.change(func() { b.script("/bin/sh", "bin/food") })
	b.expect(want(d, sensor.Stale, sensor.Replaced, exe, lab.BuildID(t, v1), ""))
}

// A name relative to a directory that PWD does not tell: the same name there is
// another program, which never ran.
func TestRelativeNameWithOtherPWD(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.install(daemon(t, "2"), "v1/food")
	b.install(daemon(t, "1"), "v2/food")
	b.start(lab.Command{Path: "./food", Dir: b.path("v2"), Env: []string{"PWD=" + b.path("v1")}})
	b.change(func() {})
	b.silence()
}
