package deploy

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// everywhere are the files of both packages with their modes.
var everywhere = map[string]string{
	"/usr/bin/sensor":                                  "-rwxr-xr-x",
	"/usr/lib/systemd/system/sensor.service":           "-rw-r--r--",
	"/usr/lib/sysusers.d/sensor.conf":                  "-rw-r--r--",
	"/etc/sensor":                                      "drwxr-xr-x",
	"/etc/sensor/sensor.yaml":                          "-rw-r--r--",
	"/usr/share/bash-completion/completions/sensor":    "-rw-r--r--",
	"/usr/share/fish/vendor_completions.d/sensor.fish": "-rw-r--r--",
	"/usr/share/man/man1/sensor.1.gz":                  "-rw-r--r--",
	"/usr/share/man/man1/sensor-stale.1.gz":            "-rw-r--r--",
	"/usr/share/doc/sensor/README.md":                  "-rw-r--r--",
}

var inDeb = map[string]string{
	"/usr/share/zsh/vendor-completions/_sensor":     "-rw-r--r--",
	"/usr/share/doc/sensor/copyright":               "-rw-r--r--",
	"/usr/share/doc/sensor/changelog.Debian.gz":     "-rw-r--r--",
	"/usr/share/doc/sensor/third-party-licenses.gz": "-rw-r--r--",
}

var inRPM = map[string]string{
	"/usr/share/zsh/site-functions/_sensor":              "-rw-r--r--",
	"/usr/share/licenses/sensor/LICENSE":                 "-rw-r--r--",
	"/usr/share/licenses/sensor/third-party-licenses.gz": "-rw-r--r--",
}

// TestFiles installs what was packed into roots without a running systemd, and
// looks at what is there then.
func TestFiles(t *testing.T) {
	lab.Root(t)
	built, again := pack(t, sensorAt.Path, "v1.2.3-4-gabcdef0"), pack(t, sensorAt.Path, "v1.2.3-4-gabcdef0")
	if read(t, built.deb) != read(t, again.deb) || read(t, built.rpm) != read(t, again.rpm) {
		t.Error("two builds of the same differ")
	}
	for _, tt := range []struct {
		name  string
		own   map[string]string
		files func(t *testing.T, r root) string
	}{
		{"deb", inDeb, func(t *testing.T, r root) string {
			r.quietly(t, "dpkg", "--install", r.put(t, built.deb))
			checkText(t, "dpkg's entry", r.run(t, "dpkg", "--status", "sensor"), "Version: 1.2.3+4.gabcdef0\n", "Status: install ok installed\n")
			checkText(t, "what dpkg verifies", r.run(t, "dpkg", "--verify", "sensor")+".", ".")
			return r.run(t, "dpkg", "--listfiles", "sensor")
		}},
		{"rpm", inRPM, func(t *testing.T, r root) string {
			r.quietly(t, "rpm", "--force-debian", "--install", r.put(t, built.rpm))
			checkText(t, "rpm's entry", r.run(t, "rpm", "--query", "--info", "sensor"), "Version     : 1.2.3+4.gabcdef0\n", "License     : Apache-2.0\n")
			checkText(t, "the files that rpm keeps", r.run(t, "rpm", "--query", "--configfiles", "sensor"), "/etc/sensor/sensor.yaml\n")
			checkText(t, "rpm's changelog", r.run(t, "rpm", "--query", "--changelog", "sensor"), "1.2.3+4.gabcdef0\n")
			r.run(t, "rpm", "--verify", "--nodeps", "sensor")
			return r.run(t, "rpm", "--query", "--list", "sensor")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRoot(t)
			listed := strings.Fields(tt.files(t, r))
			want := maps.Clone(everywhere)
			maps.Copy(want, tt.own)
			for name, mode := range want {
				if !slices.Contains(listed, name) {
					t.Errorf("%s is not in the package", name)
				}
				checkFile(t, r.path(name), mode)
			}
			for _, name := range listed {
				if info, err := os.Lstat(r.path(name)); err == nil && info.IsDir() && info.Mode().Perm() != 0o755 {
					t.Errorf("directory %s has mode %v", name, info.Mode())
				}
			}
			r.checkInstalled(t)
			r.checkUnit(t)
		})
	}
}

// quietly runs a package manager, whose scripts are to have nothing to say.
func (r root) quietly(t *testing.T, argv ...string) {
	t.Helper()
	for line := range strings.Lines(r.run(t, argv...)) {
		dpkg := slices.ContainsFunc([]string{"Selecting previously", "(Reading database", "Preparing to unpack", "Unpacking sensor", "Setting up sensor"},
			func(begin string) bool { return strings.HasPrefix(line, begin) })
		if !dpkg {
			t.Errorf("%q says %q", argv, line)
		}
	}
}

// checkInstalled holds what has to be so after an installation, whoever made it.
func (r root) checkInstalled(t *testing.T) {
	t.Helper()
	if out, err := r.command("systemctl", "is-enabled", service).Output(); string(out) != "disabled\n" {
		t.Errorf("the service is %q, %v, want disabled", out, err)
	}
	checkText(t, "the users and groups", r.run(t, "getent", "passwd", "sensor")+r.run(t, "getent", "group", "sensor"), "/usr/sbin/nologin\nsensor:x:")
	checkText(t, "sensor version", r.run(t, "/usr/bin/sensor", "version"), "sensor ")
	r.run(t, "sh", "-c", "find /usr/share -path '*/sensor*.gz' -exec gzip --test {} +")
	if _, err := os.Lstat(r.path("/var/lib/sensor")); err == nil {
		t.Error("the state directory is there before the service ever ran")
	}
}

func checkFile(t *testing.T, name, mode string) {
	t.Helper()
	info, err := os.Lstat(name)
	if err != nil {
		t.Error(err)
		return
	}
	if got := info.Mode().String(); got != mode {
		t.Errorf("%s has mode %s, want %s", name, got, mode)
	}
	if owner := lab.Output(t, "stat", "--format", "%u:%g", name); owner != "0:0\n" {
		t.Errorf("%s belongs to %s", name, owner)
	}
	if info.Mode().IsRegular() && info.Size() == 0 {
		t.Errorf("%s is empty", name)
	}
}

func checkText(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s: %q is not in %q", what, want, text)
		}
	}
}
