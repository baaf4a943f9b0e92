package machine

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// checkKernel installs a newer kernel, which takes a reboot to run, and reboots.
func (g *guest) checkKernel(t *testing.T) {
	var debs []string
	for _, deb := range g.newer.Debs {
		debs = append(debs, put(deb))
	}
	began := g.now(t)
	g.install(t, append(debs, g.kernel.inside())...)
	now := g.stale(t)
	if now.Exit != lab.ExitStale || len(now.Report.Findings) != 1 {
		t.Fatalf("exit code %d, %s", now.Exit, now.Stdout)
	}
	f := &now.Report.Findings[0]
	if f.Workload.Kind != "host" || f.State != sensor.Stale || f.Reason != sensor.KernelOutdated || f.Domain != sensor.DomainHost ||
		f.Remedy.Action != sensor.Reboot || !f.Remedy.Disruptive || !slices.Equal(f.Remedy.Command, []string{"systemctl", "reboot"}) {
		t.Errorf("the finding is %+v", f)
	}
	if f.Since == nil || f.Since.Before(began) || f.Since.After(now.Began) {
		t.Errorf("stale since %v, the installation was from %v to %v", f.Since, began, now.Began)
	}
	cves := g.checkKernelPackage(t, f)
	t.Run("page", func(t *testing.T) { g.checkKernelPage(t, cves) })
	t.Run("line", g.checkLine)
	t.Run("other boot", g.checkOtherBoot)
	t.Run("reboot", func(t *testing.T) {
		g.Guest = g.Reboot(t)
		if release := strings.TrimSpace(g.Run(t, "uname", "-r")); release != g.newer.Release {
			t.Fatalf("GRUB has booted %s, not %v", release, g.newer)
		}
		g.checkClean(t)
		g.checkHost(t, g.newer)
	})
}

// checkKernelPackage holds the pair of kernels in a finding against what lies between.
func (g *guest) checkKernelPackage(t *testing.T, f *sensor.Finding) (cves []string) {
	t.Helper()
	image := "linux-image-" + g.newer.Release
	deb := slices.IndexFunc(g.newer.Debs, func(name string) bool { return strings.Contains(name, image) })
	// The newest come first, and there are very many.
	changes, _, ok := strings.Cut(lab.Changelog(t, lab.Unpacked(t, g.newer.Debs[deb]), image), "("+g.older.PackageVersion+")")
	if !ok {
		t.Fatalf("the changelog of %v does not reach back to %s", g.newer, g.older.PackageVersion)
	}
	cves, urgency := lab.Changes(changes, g.older.PackageVersion, g.newer.PackageVersion)
	want := sensor.Package{
		Manager: "dpkg", Name: image, Source: "linux-signed-amd64", Arch: "amd64",
		Loaded:    sensor.LoadedVersion{Version: g.older.PackageVersion, Evidence: sensor.Embedded},
		Installed: sensor.InstalledVersion{Version: g.newer.PackageVersion}, CVEs: cves, Urgency: urgency,
	}
	if len(f.Packages) != 1 || !reflect.DeepEqual(f.Packages[0], want) {
		t.Errorf("the packages are %+v, want %+v", f.Packages, want)
	}
	return cves
}

// checkKernelPage holds the guest's page while the newer kernel waits for a reboot.
func (g *guest) checkKernelPage(t *testing.T, cves []string) {
	page, exit := g.host(t)
	text := g.say(t, "host")
	k := page.Kernel
	if exit != lab.ExitStale || page.Reboot.Need != sensor.NeedReboot || len(page.Reboot.Why) != 1 || len(page.Reboot.Warnings) > 0 || len(page.Causes) != 1 {
		t.Errorf("exit code %d, %+v because of %+v", exit, page.Reboot, page.Causes)
	}
	if k.State != sensor.Stale || k.Release != g.older.Release || k.PackageVersion != g.older.PackageVersion || k.Next != g.newer.Release || !slices.Equal(k.CVEs, cves) {
		t.Errorf("the kernel is %+v", k)
	}
	for _, want := range []struct {
		lab.Kernel
		running string
		next    bool
	}{{g.older, "yes", false}, {g.newer, "no", true}} {
		i := slices.IndexFunc(k.Installed, func(k sensor.InstalledKernel) bool { return k.Release == want.Release })
		if i < 0 || len(k.Installed) != 2 {
			t.Fatalf("%s is one of the two that are installed: %+v", want.Release, k.Installed)
		}
		if got := k.Installed[i]; got.Package != "linux-image-"+want.Release || got.PackageVersion != want.PackageVersion || got.Running != want.running || got.Next != want.next || got.Error != "" {
			t.Errorf("what is installed is %+v, want %+v", got, want)
		}
		for _, part := range []string{want.Release, want.PackageVersion} {
			if !strings.Contains(text, part) {
				t.Errorf("the page does not tell %s:\n%s", part, text)
			}
		}
	}
}

// checkLine holds what a person is told first.
func (g *guest) checkLine(t *testing.T) {
	line, _, _ := strings.Cut(g.say(t, "stale"), "\n")
	if !strings.HasPrefix(line, "host: reboot needed because ") {
		t.Errorf("the first line is %q", line)
	}
	for _, k := range []lab.Kernel{g.older, g.newer} {
		if !strings.Contains(line, k.Release+" ("+k.PackageVersion+")") {
			t.Errorf("the first line does not tell %v: %q", k, line)
		}
	}
}

// checkOtherBoot has GRUB choose the older kernel for one boot, as a person does who
// does not trust the newer one, and takes that back. A reboot would not help.
func (g *guest) checkOtherBoot(t *testing.T) {
	id := strings.TrimSpace(g.Run(t, "findmnt", "--noheadings", "--output", "UUID", "/"))
	g.Run(t, "grub-reboot", "gnulinux-advanced-"+id+">gnulinux-"+g.older.Release+"-advanced-"+id)
	page, exit := g.host(t)
	if exit != lab.ExitStale || page.Reboot.Need != sensor.NeedAdvised || page.Kernel.Next != g.older.Release || len(page.Reboot.Warnings) != 1 ||
		!strings.Contains(page.Reboot.Warnings[0], g.newer.Release+" is installed but will not boot") {
		t.Errorf("GRUB will boot %s, the page has exit code %d, %s, %+v", g.older.Release, exit, page.Kernel.Next, page.Reboot)
	}
	g.Run(t, "grub-editenv", "/boot/grub/grubenv", "unset", "next_entry")
	if page, _ = g.host(t); page.Reboot.Need != sensor.NeedReboot || page.Kernel.Next != g.newer.Release || len(page.Reboot.Warnings) > 0 {
		t.Errorf("GRUB will boot %s, the page has %s, %+v", g.newer.Release, page.Kernel.Next, page.Reboot)
	}
}
