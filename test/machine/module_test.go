package machine

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// Modules that any machine can do without. The first is one that the kernel counts the
// users of. Those of network links it does not count.
const (
	counted   = "romfs"
	uncounted = "dummy"
)

// module is a module of the older kernel, and another build of it.
type module struct {
	name    string
	file    string // in the guest
	rebuilt string // on this machine
}

// rebuild makes a module as another build of the same kernel would have it: of another
// build ID, and without a signature, which is for the first.
func rebuild(t *testing.T, root string, k lab.Kernel, name string) module {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "usr/lib/modules", k.Release, "kernel/*/*", name+".ko*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v has %q for the module %s, %v", k, files, name, err)
	}
	content := []byte(lab.Output(t, "xz", "--decompress", "--force", "--stdout", files[0])) // of what is not packed, a copy
	// struct module_signature of include/linux/module_signature.h, of which the last
	// four bytes are the signature's length, then what marks that there is one.
	const mark, header = "~Module signature appended~\n", 12
	if unmarked, ok := bytes.CutSuffix(content, []byte(mark)); ok {
		size := int(binary.BigEndian.Uint32(unmarked[len(unmarked)-4:]))
		content = unmarked[:len(unmarked)-header-size]
	}
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	note := f.Section(".note.gnu.build-id")
	if note == nil {
		t.Fatalf("%s has no build ID", files[0])
	}
	content[note.Offset+note.Size-1] ^= 0xff
	m := module{name, strings.TrimPrefix(files[0], root), filepath.Join(t.TempDir(), name+".ko")}
	if err := os.WriteFile(m.rebuilt, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if filepath.Ext(m.file) == ".xz" {
		lab.Output(t, "xz", "--check=crc32", m.rebuilt)
		m.rebuilt += ".xz"
	}
	return m
}

// replace puts the other build in the place of the module, as a package manager does it.
func (g *guest) replace(t *testing.T, m module) {
	t.Helper()
	g.Run(t, "modprobe", m.name)
	g.Run(t, "cp", put(m.rebuilt), m.file+".new")
	g.Run(t, "mv", m.file+".new", m.file)
}

// checkModule replaces the files of modules that are loaded, and loads them anew.
func (g *guest) checkModule(t *testing.T) {
	one, other := g.modules[0], g.modules[1]
	g.replace(t, one)
	now := g.stale(t)
	f := finding(t, &now.Report, "a module", func(f *sensor.Finding) bool { return f.Reason == sensor.ModuleReplaced })
	if len(now.Report.Findings) != 1 || f.State != sensor.Stale || f.Workload.Kind != "host" || f.Domain != sensor.DomainHost ||
		f.Remedy.Action != sensor.Reload || f.Remedy.Disruptive || !strings.Contains(f.Remedy.Why, "modprobe -r "+counted) {
		t.Errorf("%d findings, of the module %+v", len(now.Report.Findings), f)
	}
	g.checkModules(t, sensor.NeedNone, one)
	g.replace(t, other)
	g.checkModules(t, sensor.NeedReboot, one, other)
	for _, m := range g.modules {
		g.Run(t, "modprobe", "--remove", m.name)
		g.Run(t, "modprobe", m.name)
	}
	g.checkClean(t)
}

// checkModules holds which modules are stale.
func (g *guest) checkModules(t *testing.T, need sensor.Need, stale ...module) {
	t.Helper()
	page, exit := g.host(t)
	if exit != lab.ExitStale || page.Reboot.Need != need || page.Modules.Stale != len(stale) || len(page.Modules.Listed) != len(stale) || len(page.Causes) != len(stale) {
		t.Errorf("exit code %d, %+v, the modules are %+v because of %+v", exit, page.Reboot, page.Modules, page.Causes)
	}
	for _, m := range stale {
		if !slices.ContainsFunc(page.Modules.Listed, func(l sensor.Module) bool { return l.Name == m.name && l.File == m.file && l.State == sensor.Stale }) {
			t.Errorf("%s is not among %+v", m.name, page.Modules.Listed)
		}
	}
}
