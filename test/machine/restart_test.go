package machine

import (
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// want is what a report must say of the processes that have lost files of a package
// after its upgrade. What to do about users' units and about sessions is left open: the
// tests do it.
func (w world) want(t *testing.T, before string, p patch, lost []loadedFile, r *sensor.Report) (pids []int, want []lab.Finding) {
	t.Helper()
	after := lab.Unpacked(t, p.deb)
	pkg := w.wantPackage(t, after, p)
	for _, one := range lost {
		pids = append(pids, one.pid)
	}
	got, err := lab.ByProcess(r, pids...)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range lost {
		i := slices.IndexFunc(want, func(f lab.Finding) bool { return f.PID == one.pid })
		if i < 0 {
			f := lab.Finding{
				PID: one.pid, Comm: one.comm, Exe: one.exe, State: sensor.Stale, Reason: sensor.Replaced,
				Domain: sensor.DomainHost, Action: sensor.Restart, Packages: []sensor.Package{pkg},
			}
			f.Workload, f.Command = remedyOf(one)
			if f.Command == nil {
				if k := slices.IndexFunc(got, func(g lab.Finding) bool { return g.PID == one.pid }); k >= 0 {
					f.Command = got[k].Command
				}
			}
			i, want = len(want), append(want, f)
		}
		want[i].Files = append(want[i].Files, sensor.File{
			Path: one.path, State: sensor.Stale, Reason: sensor.Replaced, Package: p.Name,
			LoadedBuildID: lab.BuildID(t, filepath.Join(before, one.path)), InstalledBuildID: lab.BuildID(t, shipped(after, one.path)),
		})
	}
	return pids, want
}

// shipped is a file of an unpacked package, which may have it outside of /usr.
func shipped(dir, name string) string {
	if file := filepath.Join(dir, name); exists(file) {
		return file
	}
	return filepath.Join(dir, strings.TrimPrefix(name, "/usr"))
}

func (w world) wantPackage(t *testing.T, after string, p patch) sensor.Package {
	t.Helper()
	field := func(name string) string { return strings.TrimSpace(lab.Output(t, "dpkg-deb", "--field", p.deb, name)) }
	pkg := sensor.Package{
		Manager: "dpkg", Name: p.Name, Source: p.Name, Arch: field("Architecture"),
		Loaded: sensor.LoadedVersion{Version: p.From, Evidence: sensor.History}, Installed: sensor.InstalledVersion{Version: p.To},
	}
	if source := strings.Fields(field("Source")); len(source) > 0 {
		pkg.Source = source[0]
	}
	pkg.CVEs, pkg.Urgency = lab.Changes(lab.Changelog(t, after, p.Name), p.From, p.To)
	return pkg
}

// remedyOf is the kind of workload that a process is of, by its cgroup, and how that is
// restarted: nil where it is not for the system's manager to do.
func remedyOf(p loadedFile) (kind string, command []string) {
	unit := ""
	for name := range strings.SplitSeq(p.cgroup, "/") {
		if strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".scope") {
			unit = name
			if name != "init.scope" && !strings.HasPrefix(name, "user@") {
				break
			}
		}
	}
	switch {
	case p.cgroup == "/init.scope":
		return "unit", []string{"systemctl", "daemon-reexec"}
	case p.comm == "(sd-pam)":
		return "unit", []string{"systemctl", "restart", path.Base(path.Dir(p.cgroup))}
	case strings.HasPrefix(unit, "session-"):
		return "session", nil
	case strings.HasPrefix(p.cgroup, "/user.slice/"):
		return "user-unit", nil
	}
	return "unit", []string{"systemctl", "restart", unit}
}

func (g *guest) lost(t *testing.T) []loadedFile {
	t.Helper()
	return parseLost(t, g.Run(t, "sh", "-c", lostScript))
}

func (g *guest) pid(t *testing.T, unit string) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(g.Run(t, "systemctl", "show", "--value", "--property=MainPID", unit)))
	if err != nil || pid == 0 {
		t.Fatalf("%s has no main process: %d, %v", unit, pid, err)
	}
	return pid
}

// checkLibrary upgrades a library that systemd itself has loaded and so has most of the
// machine, makes the patch effective step by step, and looks after each.
func (g *guest) checkLibrary(t *testing.T) {
	login := g.Login(t, lab.GuestUser, "journalctl --follow")
	began := g.now(t)
	g.install(t, g.manager.inside())
	lost := g.lost(t)
	now := g.stale(t)
	pids, want := g.want(t, g.before, g.manager, lost, &now.Report)
	lab.Check(t, &now.Report, pids, want...)
	g.checkOnly(t, &now.Report, pids)
	for _, f := range now.Report.Findings {
		if f.Since == nil || f.Since.Before(began) || f.Since.After(now.Began) {
			t.Errorf("%s is stale since %v, the upgrade was from %v to %v", f.Workload.Name, f.Since, began, now.Began)
		}
	}
	if !slices.Contains(pids, 1) {
		t.Fatalf("%s is no library of PID 1's, of which there are %d users", g.manager.Name, len(pids))
	}
	report := &now.Report
	t.Run("service", func(t *testing.T) { g.checkService(t, report) })
	t.Run("manager", func(t *testing.T) { g.checkManager(t, report) })
	t.Run("session", func(t *testing.T) { g.checkSession(t, report, login) })
	t.Run("user managers", func(t *testing.T) { g.checkUserManagers(t, report) })
	g.settled(t)
	t.Run("rest", func(t *testing.T) { g.checkRest(t, report) })
}

// checkOnly holds that no other processes are in a report.
func (g *guest) checkOnly(t *testing.T, r *sensor.Report, pids []int) {
	t.Helper()
	for _, f := range r.Findings {
		for _, p := range f.Processes {
			if !slices.Contains(pids, p.PID) {
				t.Errorf("%s, PID %d, has lost no file and is in a finding: %+v", p.Comm, p.PID, f)
			}
		}
	}
}

// checkService restarts one unit as its finding says.
func (g *guest) checkService(t *testing.T, r *sensor.Report) {
	const service = "ssh.service"
	before := g.pid(t, service)
	f := finding(t, r, service, named("unit", service))
	if len(f.Processes) != 1 || f.Processes[0].PID != before || f.Remedy.Disruptive || f.Remedy.Target != service ||
		!strings.Contains(f.Remedy.Why, g.manager.From) || !strings.Contains(f.Remedy.Why, g.manager.To) {
		t.Errorf("the finding of PID %d is %+v", before, f)
	}
	g.Run(t, f.Remedy.Command...)
	if after := g.pid(t, service); after == before {
		t.Errorf("%q did not restart PID %d", f.Remedy.Command, before)
	}
}

// checkManager has PID 1 execute itself anew, which leaves all units running.
func (g *guest) checkManager(t *testing.T, r *sensor.Report) {
	f := finding(t, r, "PID 1", named("unit", "init.scope"))
	if len(f.Processes) != 1 || f.Processes[0].PID != 1 || f.Remedy.Disruptive || !slices.Equal(f.Remedy.Command, []string{"systemctl", "daemon-reexec"}) {
		t.Errorf("the finding of PID 1 is %+v", f)
	}
	units := []string{"ssh.service", "dbus.service", "systemd-journald.service"}
	var before []int
	for _, unit := range units {
		before = append(before, g.pid(t, unit))
	}
	g.Run(t, f.Remedy.Command...)
	for i, unit := range units {
		if after := g.pid(t, unit); after != before[i] {
			t.Errorf("%s was PID %d and is %d", unit, before[i], after)
		}
	}
}

// checkSession holds that a login session is called by its user and terminal, and that
// the command ends it.
func (g *guest) checkSession(t *testing.T, r *sensor.Report, login *lab.Login) {
	f := finding(t, r, "the session of "+lab.GuestUser, func(f *sensor.Finding) bool {
		return f.Workload.Kind == "session" && strings.Contains(f.Workload.Name, lab.GuestUser)
	})
	var comms []string
	for _, p := range f.Processes {
		comms = append(comms, p.Comm)
	}
	if !slices.Contains(comms, "journalctl") || !slices.Contains(comms, "sshd") {
		t.Errorf("of the session %q are stale", comms)
	}
	if !f.Remedy.Disruptive {
		t.Error("it is not disruptive to end a session")
	}
	if !strings.Contains(f.Workload.Name, login.Terminal) {
		t.Errorf("the session is at %s and is called %q", login.Terminal, f.Workload.Name)
	}
	g.Run(t, f.Remedy.Command...)
	login.Wait(t)
}

// checkUserManagers has the managers of users execute themselves anew.
func (g *guest) checkUserManagers(t *testing.T, r *sensor.Report) {
	managers := 0
	for _, f := range r.Findings {
		if f.Workload.Kind != "user-unit" {
			continue
		}
		managers++
		if out, err := g.Try(f.Remedy.Command...); err != nil {
			t.Errorf("%q: %v\n%s", f.Remedy.Command, err, out)
		}
	}
	if managers == 0 {
		t.Error("no manager of a user is stale")
	}
}

// checkRest looks at what the remedies so far have left, does all else that the sensor
// says, the disruptive included, and logs in anew as the last of it.
func (g *guest) checkRest(t *testing.T, before *sensor.Report) {
	now := g.stale(t)
	for _, f := range now.Report.Findings {
		k := slices.IndexFunc(before.Findings, func(b sensor.Finding) bool { return b.ID == f.ID })
		remedied := f.Workload.Name == "ssh.service" || f.Workload.Name == "init.scope" || strings.Contains(f.Workload.Name, lab.GuestUser)
		if k < 0 || remedied {
			t.Errorf("after some remedies there is %+v", f)
		}
		if f.Workload.Kind == "session" {
			continue // that of this test
		}
		if out, err := g.Try(f.Remedy.Command...); err != nil {
			t.Errorf("%q: %v\n%s", f.Remedy.Command, err, out)
		}
	}
	g.settled(t)
	g.Reenter(t)
	g.checkClean(t)
}

// settled waits until no unit of the guest is on its way to another state.
func (g *guest) settled(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		out, err := g.Try("systemctl", "list-jobs", "--no-legend", "--plain")
		if moving := strings.TrimSpace(out); err == nil && (moving == "" || strings.HasPrefix(moving, "No jobs")) {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("units still change: %s (%v)", moving, err)
		}
	}
}

// checkBus upgrades a library of the bus, which is better not restarted.
func (g *guest) checkBus(t *testing.T) {
	const service = "dbus.service"
	g.install(t, g.bus.inside())
	lost := g.lost(t)
	now := g.stale(t)
	pids, want := g.want(t, g.before, g.bus, lost, &now.Report)
	lab.Check(t, &now.Report, pids, want...)
	g.checkOnly(t, &now.Report, pids)
	f := finding(t, &now.Report, service, named("unit", service))
	if !f.Remedy.Disruptive || !strings.Contains(f.Remedy.Why, "reboot when it suits") || !slices.Equal(f.Remedy.Command, []string{"systemctl", "restart", service}) {
		t.Errorf("what to do about the bus is %+v", f.Remedy)
	}
	g.Run(t, f.Remedy.Command...)
	g.settled(t)
	g.checkClean(t)
}
