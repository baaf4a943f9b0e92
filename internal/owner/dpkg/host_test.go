package dpkg

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestHost compares what this package reads with what dpkg-query says of the
// machine's own database.
func TestHost(t *testing.T) {
	d := open(t, "/")
	var got []string
	for _, p := range d.Packages() {
		got = append(got, p.Name+" "+p.Arch+" "+p.Version+" "+p.Source+" "+p.SourceVersion)
	}
	want := query(t, "-W", "-f", "${db:Status-Status}\t${Package} ${Architecture} ${Version} ${source:Package} ${source:Version}\n")
	want = slices.DeleteFunc(want, func(l string) bool {
		return strings.HasPrefix(l, stateNotInstalled) || strings.HasPrefix(l, stateConfigFiles)
	})
	for i, l := range want {
		_, want[i], _ = strings.Cut(l, "\t")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("packages differ from dpkg-query's:\n%q\n%q", got, want)
	}

	// Shared libraries and programs, by their canonical paths.
	owners := make(map[string]string)
	for _, pattern := range []string{"*/lib/*/lib*.so.*", "*/bin/*", "*/sbin/*"} {
		for _, l := range query(t, "-S", pattern) {
			pkg, listed, ok := strings.Cut(l, ": ")
			canonical, err := filepath.EvalSymlinks(listed)
			if !ok || err != nil || strings.ContainsAny(pkg, ", ") {
				continue // diverted, gone, or of several packages
			}
			if dir, err := filepath.EvalSymlinks(filepath.Dir(listed)); err != nil || filepath.Join(dir, filepath.Base(listed)) != canonical {
				continue // a link
			}
			owners[canonical], _, _ = strings.Cut(pkg, ":")
		}
	}
	if len(owners) < 100 {
		t.Fatalf("only %d files to compare", len(owners))
	}
	diverted := make(map[string]bool)
	for _, v := range d.diversions {
		for _, p := range []string{v.from, v.to} {
			diverted[p], diverted["/usr"+p] = true, true
		}
	}
	paths := make([]string, 0, len(owners))
	for p := range owners {
		if !diverted[p] {
			paths = append(paths, p)
		}
	}
	found, err := d.Owners(paths)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if found[p].Package.Name != owners[p] {
			t.Errorf("%s belongs to %q, dpkg-query says %q", p, found[p].Package.Name, owners[p])
		}
	}
}

// query runs dpkg-query and returns the lines it prints.
func query(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("dpkg-query", args...)
	cmd.Env = []string{"LC_ALL=C"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
