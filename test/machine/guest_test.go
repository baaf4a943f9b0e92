package machine

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

const inside = "/usr/local/bin/sensor"

// guest is the machine under test.
type guest struct {
	world
	*lab.Guest
	before  string // the root directory that its disk was made of
	modules []module
}

// stale asks the guest's sensor.
func (g *guest) stale(t *testing.T, args ...string) lab.Result {
	t.Helper()
	return lab.Sensor{Path: inside}.StaleBy(t, g.Via(), args...)
}

// host asks for the page of the guest itself.
func (g *guest) host(t *testing.T) (page sensor.HostReport, exit int) {
	t.Helper()
	r := lab.Run(t, append(g.Via(), inside, "host", "-o", "json")...)
	dec := json.NewDecoder(bytes.NewReader(r.Stdout))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&page); err != nil {
		t.Fatalf("no page, exit code %d: %v\n%s%s", r.Exit, err, r.Stdout, r.Stderr)
	}
	if page.Schema != sensor.HostSchema || !page.Complete || len(page.Warnings) > 0 {
		t.Errorf("the page has schema %q, complete is %v, %q", page.Schema, page.Complete, page.Warnings)
	}
	return page, r.Exit
}

// say asks for what people read.
func (g *guest) say(t *testing.T, command string) string {
	t.Helper()
	return string(lab.Run(t, append(g.Via(), inside, command)...).Stdout)
}

// install installs packages by the guest's dpkg.
func (g *guest) install(t *testing.T, files ...string) {
	t.Helper()
	lab.NextSecond()
	g.Run(t, append([]string{"dpkg", "--install"}, files...)...)
}

// TestGuest takes a machine through the life of its patches.
func TestGuest(t *testing.T) {
	lab.Kernels(t)
	w := newWorld(t)
	g := &guest{world: w, before: w.root(t)}
	files := map[string]string{inside: sensorAt.Path}
	for _, name := range []string{counted, uncounted} {
		m := rebuild(t, g.before, w.older, name)
		g.modules = append(g.modules, m)
		files[put(m.rebuilt)] = m.rebuilt
	}
	for _, p := range []patch{w.manager, w.bus, w.kernel} {
		files[p.inside()] = p.deb
	}
	for _, deb := range w.newer.Debs {
		files[put(deb)] = deb
	}
	disk := lab.NewGuestDisk(t, g.before, files)
	g.Guest = disk.Boot(t)
	if release := strings.TrimSpace(g.Run(t, "uname", "-r")); release != w.older.Release {
		t.Fatalf("the guest runs %s, not %v", release, w.older)
	}
	for _, step := range []struct {
		name string
		test func(*testing.T)
	}{
		{"fresh", g.checkFresh},
		{"library", g.checkLibrary},
		{"bus", g.checkBus},
		{"module", g.checkModule},
		{"kernel", g.checkKernel},
	} {
		// Each starts from where the one before should have ended.
		t.Run(step.name, step.test)
	}
}

// now is the guest's time.
func (g *guest) now(t *testing.T) time.Time {
	t.Helper()
	now, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(g.Run(t, "date", "--utc", "+%FT%T.%NZ")))
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// checkFresh holds that a machine that was just booted has nothing stale.
func (g *guest) checkFresh(t *testing.T) {
	now := g.stale(t)
	if now.Exit != lab.ExitClean || len(now.Report.Findings) > 0 || !now.Report.Complete || len(now.Report.Warnings) > 0 {
		t.Errorf("exit code %d, %s", now.Exit, now.Stdout)
	}
	if now.Report.Host.Kernel != g.older.Release || now.Report.Host.Name != "guest" {
		t.Errorf("the host is %+v", now.Report.Host)
	}
	g.checkHost(t, g.older)
}

// checkHost holds what a machine says of itself that runs the kernel that is installed.
func (g *guest) checkHost(t *testing.T, k lab.Kernel) {
	t.Helper()
	page, exit := g.host(t)
	if exit != lab.ExitClean || page.Reboot.Need != sensor.NeedNone || len(page.Reboot.Warnings) > 0 || len(page.Causes) > 0 ||
		page.Kernel.State != sensor.Effective || page.Kernel.Release != k.Release || page.Kernel.PackageVersion != k.PackageVersion || page.Kernel.Next != k.Release {
		t.Errorf("exit code %d, the host is %+v", exit, page)
	}
	if page.Modules.Loaded == 0 || page.Modules.Current != page.Modules.Loaded {
		t.Errorf("the modules are %+v", page.Modules)
	}
	for _, m := range page.Microcode {
		if m.State != sensor.Ignored {
			t.Errorf("the microcode of an emulated processor is %+v", m)
		}
	}
	if text := g.say(t, "host"); !strings.HasPrefix(text, "host: no reboot needed\n") || !strings.Contains(text, k.Release) {
		t.Errorf("the page begins otherwise:\n%s", text)
	}
	booted := strings.TrimSpace(g.Run(t, "uptime", "--since"))
	if at, err := time.Parse(time.DateTime, booted); err != nil || at.Sub(page.BootedAt).Abs() > 2*time.Second {
		t.Errorf("it was booted at %v, uptime says %s, %v", page.BootedAt, booted, err)
	}
}

// checkClean holds that nothing is left to do.
func (g *guest) checkClean(t *testing.T) {
	t.Helper()
	if now := g.stale(t); now.Exit != lab.ExitClean || len(now.Report.Findings) > 0 {
		t.Errorf("exit code %d, there still are %+v", now.Exit, now.Report.Findings)
	}
}

// finding is the one for which a condition holds.
func finding(t *testing.T, r *sensor.Report, what string, holds func(*sensor.Finding) bool) *sensor.Finding {
	t.Helper()
	i := slices.IndexFunc(r.Findings, func(f sensor.Finding) bool { return holds(&f) })
	if i < 0 {
		var others []string
		for _, f := range r.Findings {
			others = append(others, f.Workload.Kind+" "+f.Workload.Name)
		}
		t.Fatalf("no finding of %s among %q", what, others)
	}
	return &r.Findings[i]
}

func named(kind, name string) func(*sensor.Finding) bool {
	return func(f *sensor.Finding) bool { return f.Workload.Kind == kind && f.Workload.Name == name }
}
