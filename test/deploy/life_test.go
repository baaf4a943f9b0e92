package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// manager is a package manager as an administrator uses it in the guest.
type manager struct {
	name    string
	file    func(packages) string
	install func(file string) []string
	remove  []string
	// purge removes what remove leaves, with no word of the package manager where
	// it has none for that.
	purge []string
}

var managers = []manager{
	{
		"dpkg", func(p packages) string { return p.deb },
		func(file string) []string { return []string{"dpkg", "--install", file} },
		[]string{"dpkg", "--remove", "sensor"}, []string{"dpkg", "--purge", "sensor"},
	},
	{
		"rpm", func(p packages) string { return p.rpm },
		func(file string) []string { return []string{"rpm", "--force-debian", "--upgrade", file} },
		[]string{"rpm", "--force-debian", "--erase", "sensor"}, nil,
	},
}

// TestLife takes the package through its life on a machine with a running systemd.
func TestLife(t *testing.T) {
	lab.Root(t)
	first, second := pack(t, sensorAt.Path, "v1.0.0"), pack(t, sensorAt.Path, "v1.0.1")
	for _, m := range managers {
		t.Run(m.name, func(t *testing.T) {
			r := newRoot(t)
			old, anew := r.put(t, m.file(first)), r.put(t, m.file(second))
			m.live(t, r.boot(t), old, anew)
		})
	}
}

func (m manager) live(t *testing.T, g guest, old, anew string) {
	kept := g.path(config)

	g.run(t, m.install(old)...)
	if state := g.state(); state != "inactive" {
		t.Fatalf("after installation the service is %s", state)
	}
	if _, err := g.enter("systemctl", "is-enabled", service).Output(); err == nil {
		t.Fatal("installation enables the service")
	}
	g.run(t, m.install(anew)...)
	if state := g.state(); state != "inactive" {
		t.Fatalf("an upgrade starts a service that does not run: it is %s", state)
	}
	g.run(t, m.remove...)
	g.run(t, m.install(old)...)

	text := read(t, kept) + "# the administrator's\n"
	if err := os.WriteFile(kept, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	g.run(t, "systemctl", "enable", "--now", service)
	if state := g.state(); state != "active" {
		t.Fatalf("the service is %s", state)
	}
	before := g.show(t, "MainPID")
	g.run(t, m.install(anew)...)
	if after := g.show(t, "MainPID"); g.state() != "active" || after == before {
		t.Errorf("after an upgrade of what runs it is %s, PID %s after %s", g.state(), after, before)
	}
	if g.run(t, "systemctl", "is-enabled", service) != "enabled\n" {
		t.Error("an upgrade disables the service")
	}
	if got := read(t, kept); got != text {
		t.Errorf("an upgrade changes the configuration to %q", got)
	}

	g.run(t, m.remove...)
	if state := g.state(); state != "inactive" {
		t.Errorf("removed, the service is %s", state)
	}
	for _, name := range []string{"/usr/bin/sensor", "/usr/lib/systemd/system/sensor.service", "/run/sensor"} {
		if _, err := os.Lstat(g.path(name)); err == nil {
			t.Errorf("removed, %s is still there", name)
		}
	}
	if _, err := os.Stat(g.path("/var/lib/sensor/sensor.db")); err != nil {
		t.Errorf("removed, what it has seen is lost: %v", err)
	}
	if m.purge == nil {
		return
	}
	if got := read(t, kept); got != text {
		t.Errorf("removal changes the configuration to %q", got)
	}
	g.run(t, m.purge...)
	checkNothing(t, g)
}

// checkNothing holds that a purge leaves nothing of the package.
func checkNothing(t *testing.T, g guest) {
	t.Helper()
	for _, pattern := range []string{"/etc/sensor", "/var/lib/sensor", "/run/sensor", "/etc/systemd/system/*/sensor*", "/var/lib/dpkg/info/sensor.*",
		"/usr/lib/sysusers.d/sensor*", "/usr/share/*/sensor*", "/usr/share/*/*/*sensor*"} {
		if left, err := filepath.Glob(g.path(pattern)); err != nil || len(left) > 0 {
			t.Errorf("purged, %q are left, %v", left, err)
		}
	}
	out := g.run(t, "systemctl", "list-unit-files", "--all", "--no-legend")
	if strings.Contains(out, service) {
		t.Errorf("purged, systemd still knows the unit: %s", out)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
