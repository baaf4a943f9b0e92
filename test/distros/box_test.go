package distros

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// box is one case: a root with the first version of libfoo1, programs that no package
// owns, and the processes that were started there, among them one whose files nobody
// touches and for which there must never be a finding.
type box struct {
	*distro
	tree
	t    *testing.T
	dir  string // of the root
	pids []int
	// changed and done bound the change that makes running code stale.
	changed, done time.Time
}

func newBox(t *testing.T, d *distro) *box {
	t.Helper()
	b := &box{distro: d, t: t, dir: filepath.Join(lab.Scratch(t), "root")}
	must(t, os.Mkdir(b.dir, 0o755))
	b.tree = d.tree(t, b.dir)
	b.put(d.program(t, "1", d.library(t, "libfoo.so.1", "1")), "/usr/sbin/food")
	b.put(d.program(t, "1"), "/usr/sbin/plain")
	b.Install(t, d.build(t, d.libfoo(t, d.first(), "1")),
		d.build(t, pkg{name: "control", history: d.first(), files: map[string]string{
			d.libdir + "/libcontrol.so.1": d.library(t, "libcontrol.so.1", "1"), "/usr/sbin/controld": d.program(t, "control"),
		}}))
	b.start("/usr/sbin/controld", "open", d.libdir+"/libcontrol.so.1")
	return b
}

// muslTriplet is the name of the machine for musl, as Debian's directories have it.
func muslTriplet() string {
	cpu := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	return cpu + "-linux-musl"
}

// put places a copy of a file in the root as a new file of no package, aged as those of
// packages are.
func (b *box) put(from, name string) {
	b.t.Helper()
	to := b.Path(name)
	must(b.t, os.MkdirAll(filepath.Dir(to), 0o755))
	b.write(from, to+".new", os.O_CREATE|os.O_EXCL)
	past := time.Now().Add(-30 * 24 * time.Hour)
	must(b.t, os.Chtimes(to+".new", past, past))
	must(b.t, os.Rename(to+".new", to))
}

// write copies a file into one that is opened with the given flags.
func (b *box) write(from, to string, flags int) {
	b.t.Helper()
	src, err := os.Open(from)
	must(b.t, err)
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|flags, 0o755)
	must(b.t, err)
	_, err = io.Copy(dst, src)
	must(b.t, err)
	must(b.t, dst.Close())
}

// settle separates what was done before from what is done after: start times of
// processes are known in clock ticks of 10 ms, change times of files in those of the
// kernel's timer. Logs of package managers are kept in whole seconds.
func (b *box) settle() {
	if b.evidence == sensor.History {
		lab.NextSecond()
		return
	}
	time.Sleep(30 * time.Millisecond)
}

// start starts a program in the root.
func (b *box) start(path string, args ...string) *lab.Daemon {
	b.t.Helper()
	b.settle()
	d := lab.Start(b.t, lab.Command{Path: path, Args: args, Root: b.dir})
	b.pids = append(b.pids, d.PID)
	return d
}

// food starts the daemon that needs libfoo1.
func (b *box) food() *lab.Daemon {
	b.t.Helper()
	return b.start("/usr/sbin/food")
}

// upgrade builds packages and installs them one by one, well after the daemons began.
func (b *box) upgrade(list ...pkg) {
	b.t.Helper()
	var files []string
	for _, p := range list {
		files = append(files, b.build(b.t, p))
	}
	b.change(func() {
		for _, file := range files {
			b.Install(b.t, file)
		}
	})
}

// change does what makes running code stale.
func (b *box) change(f func()) {
	b.t.Helper()
	b.settle()
	b.changed = time.Now()
	f()
	b.done = time.Now()
}

// finding is that for a process which belongs to nothing, with one file, which no
// package owns.
func finding(d *lab.Daemon, state sensor.State, reason sensor.Reason, name, loaded, installed string) lab.Finding {
	action := sensor.Restart
	if state != sensor.Stale {
		action = sensor.None
	}
	return lab.Finding{
		PID: d.PID, Comm: d.Comm, Exe: d.Exe, Workload: "process",
		State: state, Reason: reason, Domain: sensor.DomainHost, Action: action, Command: []string{},
		Files:    []sensor.File{{Path: name, State: state, Reason: reason, LoadedBuildID: loaded, InstalledBuildID: installed}},
		Packages: []sensor.Package{},
	}
}

// stale is the finding for a daemon of whose file the content loaded was replaced by
// the content installed.
func (b *box) stale(d *lab.Daemon, reason sensor.Reason, name, loaded, installed string) lab.Finding {
	b.t.Helper()
	return finding(d, sensor.Stale, reason, name, lab.BuildID(b.t, loaded), lab.BuildID(b.t, installed))
}

// of adds to a finding the package of its file: what is installed of it, and since which
// release the process runs it; loaded is empty if that is not known.
func (b *box) of(f lab.Finding, installed pkg, loaded string) lab.Finding {
	b.t.Helper()
	f.Files[0].Package = installed.name
	p := sensor.Package{
		Manager: b.manager, Name: installed.name, Source: installed.source, Arch: b.arch(b.t),
		Loaded:    sensor.LoadedVersion{Version: loaded, Evidence: b.evidence},
		Installed: sensor.InstalledVersion{Version: installed.version()},
	}
	if p.Source == "" {
		p.Source = p.Name
	}
	if loaded == "" {
		p.Loaded.Evidence = sensor.EvidenceUnknown
	} else if b.changelogs {
		p.CVEs = fixedSince(installed.history, loaded)
	}
	f.Packages = []sensor.Package{p}
	return f
}

// fixedSince are the CVEs that the releases after one fix.
func fixedSince(history []release, after string) []string {
	cves := []string{}
	for _, r := range history {
		if r.version == after {
			break
		}
		cves = append(cves, r.cves...)
	}
	slices.Sort(cves)
	return slices.Compact(cves)
}

// upgraded is the finding for a daemon that runs the first version of libfoo1 while the
// second is installed.
func (b *box) upgraded(d *lab.Daemon) lab.Finding {
	b.t.Helper()
	p := b.libfoo(b.t, b.second(), "2")
	f := b.stale(d, sensor.Replaced, b.lib(), b.fooLibrary(b.t, b.first(), "1"), p.files[b.lib()])
	return b.of(f, p, b.first()[0].version)
}

// expect asserts that the sensor finds exactly this of the case's processes.
func (b *box) expect(want ...lab.Finding) lab.Result {
	b.t.Helper()
	r := sensorAt.Stale(b.t)
	lab.Check(b.t, &r.Report, b.pids, want...)
	return r
}

// everywhere is expect with each source of mappings.
func (b *box) everywhere(want ...lab.Finding) {
	b.t.Helper()
	lab.EachSource(b.t, func(t *testing.T, source string) {
		r := sensorAt.Stale(t, "--source", source)
		lab.Check(t, &r.Report, b.pids, want...)
	})
}
