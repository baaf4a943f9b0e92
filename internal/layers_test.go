package internal

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/patchsensor/patchsensor/"

// layers says which of this module's packages each package may import, tests
// aside. Imports flow down: leaves report facts, sensor alone combines them,
// outputs know only sensor, and cmd/sensor wires everything. A package that is
// not here may not exist.
var layers = map[string][]string{
	// Identity and content of files; knows no processes and no packages.
	"internal/file": {},
	// What runs at one moment, whoever saw it.
	"internal/snapshot": {"internal/file"},
	// The kernel side; knows no /proc, no packages, no verdicts.
	"internal/probe": {"internal/file", "internal/perf", "internal/snapshot", "internal/trace"},
	// What changes among processes, whoever saw it.
	"internal/trace": {"internal/snapshot"},
	// The kernel's side band of performance events; knows no BPF and no /proc.
	"internal/perf": {"internal/file"},
	// The state of what runs; no I/O, no clock, no packages, no verdicts.
	"internal/track": {"internal/file", "internal/snapshot", "internal/trace"},
	// That package databases changed and have settled; knows no packages.
	"internal/watch": {"internal/file"},
	// What was seen, over restarts; knows no decisions.
	"internal/store": {},
	// The daemon's own life: what it may do, and that there is one.
	"internal/privilege": {},
	"internal/lock":      {},
	// /proc under a given root; knows no BPF and no decisions.
	"internal/proc": {"internal/file", "internal/snapshot"},
	// Who shipped a file; the databases know nothing of one another. What their formats have
	// in common stands below them.
	"internal/owner":           {},
	"internal/owner/clock":     {"internal/owner"},
	"internal/owner/lines":     {"internal/file"},
	"internal/owner/merged":    {},
	"internal/owner/dpkg":      {"internal/file", "internal/owner", "internal/owner/clock", "internal/owner/lines", "internal/owner/merged"},
	"internal/owner/rpm":       {"internal/file", "internal/owner", "internal/owner/clock", "internal/owner/merged"},
	"internal/owner/apk":       {"internal/file", "internal/owner", "internal/owner/lines", "internal/owner/merged"},
	"internal/owner/pacman":    {"internal/file", "internal/owner", "internal/owner/clock", "internal/owner/lines", "internal/owner/merged"},
	"internal/owner/layer":     {"internal/file"},
	"internal/owner/ownertest": {"internal/file", "internal/owner"},
	// What one would act on; knows no files and no packages.
	"internal/workload":              {},
	"internal/workload/systemd":      {"internal/workload"},
	"internal/workload/workloadtest": {"internal/workload"},
	"internal/workload/container":    {"internal/workload"},
	"internal/workload/docker":       {"internal/workload"},
	"internal/workload/containerd":   {"internal/workload"},
	"internal/workload/cri":          {"internal/workload"},
	"internal/workload/inventory":    {"internal/workload"},
	// The machine; knows no processes.
	"internal/host":           {"internal/file"},
	"internal/host/packed":    {"internal/file"},
	"internal/host/lifecycle": {"internal/file"},
	"internal/host/sentinel":  {"internal/file"},
	"internal/host/kernel":    {"internal/file", "internal/host/packed"},
	"internal/host/module":    {"internal/file", "internal/host/packed"},
	"internal/host/microcode": {"internal/file", "internal/host/packed"},
	// The verdicts: the only place where facts meet.
	"sensor": {"internal/file", "internal/host", "internal/owner", "internal/owner/dpkg", "internal/probe", "internal/proc",
		"internal/snapshot", "internal/store", "internal/trace", "internal/track", "internal/watch", "internal/workload",
		"internal/owner/layer", "internal/workload/container", "internal/workload/containerd", "internal/workload/cri", "internal/workload/docker",
		"internal/workload/inventory", "internal/workload/systemd",
		"internal/advisory", "internal/owner/apk", "internal/owner/pacman", "internal/owner/rpm",
		"internal/host/kernel", "internal/host/lifecycle", "internal/host/microcode", "internal/host/module", "internal/host/sentinel"},
	// What is known of vulnerabilities, offline; knows no packages that are installed.
	"internal/advisory": {"internal/owner"},
	// The outputs know only the verdicts, and nothing of one another.
	"internal/api":          {"sensor"},
	"internal/sink/metrics": {"sensor"},
	"internal/sinktest":     {"sensor"},
	// What a person asks a report for; decides nothing.
	"internal/filter": {"sensor"},
	"cmd/sensor":      {"internal/advisory", "internal/api", "internal/filter", "internal/lock", "internal/privilege", "internal/sink/metrics", "sensor"},
	// Generates docs/report.schema.json.
	"internal/schema": {"sensor"},
	// The labs see the program from outside.
	"test/lab":        {"sensor"},
	"test/cases":      {"sensor", "test/lab"},
	"test/debian":     {"sensor", "test/lab"},
	"test/deploy":     {"sensor", "test/lab"},
	"test/live":       {"sensor", "test/lab"},
	"test/bench":      {"sensor", "test/lab"},
	"test/distros":    {"sensor", "test/lab"},
	"test/containers": {"sensor", "test/lab"},
	"test/kernels":    {"sensor", "test/lab"},
	"test/machine":    {"sensor", "test/lab"},
}

// TestLayers fails on every import that the table does not allow.
func TestLayers(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); base == "testdata" || (strings.HasPrefix(base, ".") && name != root) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		if strings.HasSuffix(name, "_test.go") && !strings.HasPrefix(pkg, "test/") {
			return nil
		}
		seen[pkg] = true
		return checkFile(t, root, name, pkg)
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range layers {
		if !seen[pkg] {
			t.Errorf("%s is in the table but does not exist", pkg)
		}
	}
}

func checkFile(t *testing.T, root, name, pkg string) error {
	src, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
	if err != nil {
		return err
	}
	allowed, known := layers[pkg]
	if !known {
		t.Errorf("%s: package %s is not in the table of layers", name, pkg)
		return nil
	}
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		target, ours := strings.CutPrefix(imported, module)
		if !ours || target == pkg {
			continue
		}
		ok := false
		for _, a := range allowed {
			ok = ok || a == target
		}
		if !ok {
			rel, _ := filepath.Rel(root, name)
			t.Errorf("%s imports %s, which %s may not", rel, path.Clean(target), pkg)
		}
	}
	return nil
}
