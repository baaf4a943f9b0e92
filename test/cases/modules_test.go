package cases

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// noted is a program of no package whose note says what it was built as.
func noted(t *testing.T, version string) string {
	t.Helper()
	return workshop.C(t, `-DVERSION="`+version+`"`, "-Xlinker", `--package-metadata={"type":"deb","name":"noted","version":"`+version+`"}`, "testdata/daemon.c")
}

// module builds a Go program as a version of its own module, with what it is linked with
// in a version too.
func module(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	source, err := os.ReadFile("testdata/static.go")
	must(t, err)
	for name, content := range map[string]string{
		"go.mod": "module example.com/tool\n\ngo 1.21\n\nrequire example.com/part " + version +
			"\n\nreplace example.com/part " + version + " => ./part\n",
		"main.go":      string(source),
		"use.go":       "package main\n\nimport \"example.com/part\"\n\nfunc init() { version = part.Version }\n",
		"part/go.mod":  "module example.com/part\n",
		"part/part.go": "package part\n\nconst Version = \"" + version + "\"\n",
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	out := filepath.Join(dir, "tool")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", out, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOPROXY=off")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, msg)
	}
	return out
}

// TestNotedProgramReplaced: no package ships the program, but it says its version itself.
func TestNotedProgramReplaced(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := noted(t, "1.0-1"), noted(t, "1.0-2")
	d := b.start(lab.Command{Path: b.install(v1, "bin/noted")})
	b.change(func() { b.install(v2, "bin/noted") })
	want := b.stale(d, sensor.Replaced, b.path("bin/noted"), v1, v2)
	want.Files[0].Package = "noted"
	want.Packages = []sensor.Package{{
		Manager: "note", Name: "noted", Source: "noted",
		Loaded: sensor.LoadedVersion{Version: "1.0-1", Evidence: sensor.Embedded}, Installed: sensor.InstalledVersion{Version: "1.0-2"},
	}}
	b.expect(want)
}

// TestGoModuleReplaced: the program names its module, and what of it is another version
// now.
func TestGoModuleReplaced(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := module(t, "v1.2.3"), module(t, "v1.2.4")
	d := b.start(lab.Command{Path: b.install(v1, "bin/tool")})
	b.change(func() { b.install(v2, "bin/tool") })
	want := b.stale(d, sensor.Replaced, b.path("bin/tool"), v1, v2)
	want.Files[0].Package = "example.com/tool"
	want.Packages = []sensor.Package{{
		Manager: "go", Name: "example.com/tool", Source: "example.com/tool",
		Loaded: sensor.LoadedVersion{Version: "(devel)", Evidence: sensor.Embedded}, Installed: sensor.InstalledVersion{Version: "(devel)"},
	}}
	b.expect(want)
	var e sensor.Explanation
	r := lab.Run(t, sensorAt.Path, "explain", "-o", "json", b.path("bin/tool"))
	if err := json.Unmarshal(r.Stdout, &e); err != nil {
		t.Fatalf("explain: %v\n%s%s", err, r.Stdout, r.Stderr)
	}
	found := false
	for _, w := range e.Workloads {
		for _, p := range w.Processes {
			for _, l := range p.Loads {
				for _, m := range l.Modules {
					found = found || m == "go example.com/tool (devel)"
				}
			}
		}
	}
	if !found {
		t.Errorf("explain names no module: %+v", e.Workloads)
	}
}

// crate is a program with the audit data that cargo-auditable puts into one (its
// PARSING.md): the root crate and one that it is linked with.
func crate(t *testing.T, version, part string) string {
	t.Helper()
	dir := t.TempDir()
	audit, program := filepath.Join(dir, "audit"), filepath.Join(dir, "program")
	var packed bytes.Buffer
	w := zlib.NewWriter(&packed)
	_, err := io.WriteString(w, `{"packages":[{"name":"part","version":"`+part+`","source":"crates.io"},`+
		`{"name":"tool","version":"`+version+`","source":"local","dependencies":[0],"root":true}]}`)
	must(t, err)
	must(t, w.Close())
	must(t, os.WriteFile(audit, packed.Bytes(), 0o644))
	cmd := exec.Command("objcopy", "--add-section", ".dep-v0="+audit, daemon(t, version), program)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("objcopy: %v\n%s", err, msg)
	}
	return program
}

// TestCrateReplaced: the program names its crate, and the one in it that is another version
// now.
func TestCrateReplaced(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := crate(t, "1.0.0", "0.3.1"), crate(t, "1.0.1", "0.3.2")
	d := b.start(lab.Command{Path: b.install(v1, "bin/tool")})
	b.change(func() { b.install(v2, "bin/tool") })
	want := b.stale(d, sensor.Replaced, b.path("bin/tool"), v1, v2)
	want.Files[0].Package = "tool"
	for _, m := range [][3]string{{"part", "0.3.1", "0.3.2"}, {"tool", "1.0.0", "1.0.1"}} {
		want.Packages = append(want.Packages, sensor.Package{
			Manager: "cargo", Name: m[0], Source: m[0],
			Loaded: sensor.LoadedVersion{Version: m[1], Evidence: sensor.Embedded}, Installed: sensor.InstalledVersion{Version: m[2]},
		})
	}
	b.expect(want)
}
