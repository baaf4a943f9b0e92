package sensor

import (
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// TestPackagesOfThisHost holds the list against dpkg's own, and finds what this test runs.
func TestPackagesOfThisHost(t *testing.T) {
	out, err := exec.Command("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package} ${Architecture} ${Version}\n").Output()
	if err != nil {
		t.Skip("SKIPPED, NOT TESTED: this host has no dpkg")
	}
	installed := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "installed "); ok {
			installed[rest] = true
		}
	}
	l, err := New(Options{Runtimes: []string{NoRuntimes}}).Packages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	self := false
	for _, p := range l.Packages {
		if p.Processes < p.Stale || p.Stale > 0 && len(p.LoadedVersions) == 0 && p.File == "" {
			t.Errorf("counts of %+v", p)
		}
		if p.Where != "/" {
			continue
		}
		if p.Manager != "dpkg" || p.File != "" {
			self = self || p.Manager == managerGo && p.Name == "github.com/patchsensor/patchsensor" && p.Processes > 0
			continue
		}
		key := p.Name + " " + p.Arch + " " + p.Version
		if seen[key] {
			t.Errorf("%s is listed twice", key)
		}
		seen[key] = true
		if !installed[key] {
			t.Errorf("%s is listed and not installed", key)
		}
		if p.Name == "libc6" && p.Processes == 0 {
			t.Error("nothing has loaded libc6")
		}
	}
	for key := range installed {
		if !seen[key] {
			t.Errorf("%s is installed and not listed", key)
		}
	}
	if !self {
		name, _ := os.Executable()
		t.Errorf("this test, %s, is not listed as a Go program", name)
	}
	if !slices.IsSortedFunc(l.Packages, func(a, b ListedPackage) int { return strings.Compare(a.Where, b.Where) }) {
		t.Error("the list is not sorted")
	}
}

// Who runs something that could not be judged is not said to run what is installed.
func TestPackagesUnsure(t *testing.T) {
	fs, err := proc.NewFS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := file.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sc := newScan(New(Options{Runtimes: []string{NoRuntimes}}), fs, root, SourceMaps, snapshot.BootTime{})
	defer sc.close()
	c := &class{file: new(loaded), plainUntil: math.MaxInt64}
	// Nothing is known of it, and the process is the one of a running sensor's last look.
	p := &process{Process: new(snapshot.Process), view: &view{}, classes: []*class{c}, recent: true}
	p.Mappings = []snapshot.Mapping{{}}
	sc.processes = []*process{p}
	l := sc.list(t.Context())
	if !slices.ContainsFunc(l.Warnings, func(w Warning) bool { return strings.Contains(w.Message, "could not be judged") }) || l.Complete {
		t.Errorf("list %+v", l)
	}
}
