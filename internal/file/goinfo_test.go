package file

import (
	"archive/zip"
	"bytes"
	"debug/buildinfo"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// goBlob is Go's build information as linkers since Go 1.18 write it.
func goBlob(version, list string) []byte {
	b := append([]byte(goMagic), 8, goInline)
	b = append(b, make([]byte, goHeader-len(b))...)
	frame := strings.Repeat("~", goFrame)
	for _, s := range []string{version, frame + list + frame} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}

// goWorld is a Go program with dependencies of every kind, and a module proxy in
// a directory, so that no network is needed.
func goWorld(t testing.TB) (dir string, env []string) {
	t.Helper()
	dir = t.TempDir()
	writeTree(t, dir, map[string]string{
		"go.mod": `module example.com/program
go 1.21
require (
	example.com/plain v1.2.3
	example.com/fork v0.1.0
	example.com/local v1.0.0
)
replace example.com/fork => example.com/better v0.9.1-rc.1
replace example.com/local => ./local
`,
		"main.go": `package main
import ("example.com/plain"; "example.com/fork"; "example.com/local")
func main() { println(plain.X, fork.X, local.X) }
`,
		"library/main.go": `package main
import "C"
import ("example.com/plain"; "example.com/fork"; "example.com/local")
//export answer
func answer() C.int { return C.int(plain.X + fork.X + local.X) }
func main() {}
`,
		"local/go.mod":   "module example.com/local\n",
		"local/local.go": "package local\nvar X = 1\n",
	})
	for _, m := range []struct{ path, version, name, text string }{
		{"example.com/plain", "v1.2.3", "example.com/plain", "package plain\nvar X = 1\n"},
		{"example.com/better", "v0.9.1-rc.1", "example.com/fork", "package fork\nvar X = 1\n"},
	} {
		var archive bytes.Buffer
		w := zip.NewWriter(&archive)
		mod := "module " + m.name + "\n"
		for name, text := range map[string]string{"go.mod": mod, "x.go": m.text} {
			f, err := w.Create(m.path + "@" + m.version + "/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		writeTree(t, filepath.Join(dir, "proxy", m.path, "@v"), map[string]string{
			"list": m.version + "\n", m.version + ".info": `{"Version":"` + m.version + `"}`,
			m.version + ".mod": mod, m.version + ".zip": archive.String(),
		})
	}
	return dir, []string{
		"GOWORK=off", "GOTOOLCHAIN=local", "GOSUMDB=off", "GONOPROXY=none", "GOPRIVATE=", "CGO_ENABLED=0",
		"GOFLAGS=-mod=mod -modcacherw -buildvcs=false", "GOPROXY=file://" + filepath.ToSlash(dir) + "/proxy",
		"GOMODCACHE=" + filepath.Join(dir, "cache"),
	}
}

func TestReadModulesGoPrograms(t *testing.T) {
	dir, env := goWorld(t)
	tests := []struct {
		name string
		env  []string
		args []string
	}{
		{"usual", nil, []string{"."}},
		{"stripped", nil, []string{"-ldflags=-s -w", "."}},
		{"trimpath", nil, []string{"-trimpath", "."}},
		{"pie", nil, []string{"-buildmode=pie", "."}},
		{"mips", []string{"GOARCH=mips"}, []string{"."}},
		{"cgo", []string{"CGO_ENABLED=1"}, []string{"-ldflags=-linkmode=external", "."}},
		{"cgo-pie", []string{"CGO_ENABLED=1"}, []string{"-buildmode=pie", "-ldflags=-linkmode=external -s", "."}},
		{"shared", []string{"CGO_ENABLED=1"}, []string{"-buildmode=c-shared", "./library"}},
	}
	for _, test := range tests {
		program := filepath.Join(dir, test.name)
		run(t, dir, append(env, test.env...), "go", append([]string{"build", "-o", program}, test.args...)...)
		checkGoProgram(t, program)
	}
	for _, name := range []string{"usual", "cgo"} {
		run(t, dir, nil, "strip", "-o", name+"-strip", name)
		checkGoProgram(t, filepath.Join(dir, name+"-strip"))
	}
}

// checkGoProgram reads a program of goWorld, with and without section headers.
func checkGoProgram(t *testing.T, program string) {
	t.Helper()
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	want := modulesOf(info)
	got, err := readModulesFile(t, program)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v\ngot  %+v\nwant %+v", program, err, got, want)
	}
	// The oracle could be as wrong; sums differ with the zip archives.
	for i := range got.Deps {
		if d := &got.Deps[i]; d.Sum != "" {
			if !strings.HasPrefix(d.Sum, "h1:") {
				t.Errorf("%s: sum %q", program, d.Sum)
			}
			d.Sum = "h1:"
		}
	}
	lib, ok := goStdlib(runtime.Version())
	words := Modules{
		Main:      Module{Ecosystem: "Go", Path: "example.com/program", Version: "(devel)"},
		Toolchain: runtime.Version(),
		Deps: []Module{
			{Ecosystem: "Go", Path: "example.com/better", Version: "v0.9.1-rc.1", Sum: "h1:", ReplacedPath: "example.com/fork", ReplacedVersion: "v0.1.0"},
			{Ecosystem: "Go", Path: "./local", Version: "(devel)", ReplacedPath: "example.com/local", ReplacedVersion: "v1.0.0"},
			{Ecosystem: "Go", Path: "example.com/plain", Version: "v1.2.3", Sum: "h1:"},
		},
	}
	if ok {
		words.Deps = append([]Module{lib}, words.Deps...)
	}
	if !reflect.DeepEqual(got, words) {
		t.Errorf("%s:\ngot  %+v\nwant %+v", program, got, words)
	}

	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(program, "/pie") {
		return // Go's own linker puts megabytes of read-only data before the list
	}
	if data[4] == 2 {
		clear(data[40:48]) // e_shoff
		clear(data[58:64]) // e_shentsize, e_shnum, e_shstrndx
	} else {
		clear(data[32:36])
		clear(data[46:52])
	}
	if got, err := readModules(data); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s without section headers: %v\ngot  %+v\nwant %+v", program, err, got, want)
	}
}

// Programs before Go 1.18 have pointers, in every class and byte order.
func TestReadModulesPointers(t *testing.T) {
	list := strings.Repeat("~", goFrame) + "path\tp\nmod\texample.com/p\tv1.0.0\th1:x=\n" + strings.Repeat("~", goFrame)
	for name, m := range makers() {
		word := m.bits / 8
		// The strings stand in the string table of the dynamic section, which is mapped.
		m.interp, m.strtab = "/lib/ld.so", ""
		probe := m
		probe.strtab = "go1.17.13" + list + strings.Repeat("\x00", 4*word)
		at := bytes.Index(probe.bytes(), []byte("go1.17.13"))
		texts := uint64(loadAddr + at)
		headers := texts + uint64(len("go1.17.13"+list))
		s := []byte("go1.17.13" + list)
		for _, v := range []uint64{texts, 9, texts + 9, uint64(len(list))} {
			s = m.append(s, word, v)
		}
		m.strtab = string(s)
		blob := append([]byte(goMagic), byte(word), 0)
		blob = m.append(blob, word, headers)
		blob = m.append(blob, word, headers+uint64(2*word))
		blob = append(blob, make([]byte, goHeader-len(blob))...)
		data := m.withSections(made{goSection, blob, progbits})
		got, err := readModules(data)
		want := Modules{
			Main:      Module{Ecosystem: "Go", Path: "example.com/p", Version: "v1.0.0", Sum: "h1:x="},
			Toolchain: "go1.17.13",
			Deps:      []Module{{Ecosystem: "Go", Path: "stdlib", Version: "1.17.13"}},
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, got, want)
		}
	}
}

func TestGoStdlib(t *testing.T) {
	tests := map[string]string{
		"go1.26.8":                  "1.26.8",
		"go1.21":                    "1.21.0",
		"go1.21.0":                  "1.21.0",
		"go1.21rc2":                 "1.21.0-rc.2",
		"go1.18beta1":               "1.18.0-beta.1",
		"go1.9.2rc2":                "1.9.2-rc.2",
		"go1.22.1 X:boringcrypto":   "1.22.1",
		"go1.20.12-fips":            "1.20.12",
		"go1.24.4+auto":             "1.24.4",
		"go1.21.9 (Red Hat 1.21.9)": "1.21.9",
		"devel go1.27-0123456 now":  "",
		"":                          "",
		"go":                        "",
		"go1":                       "",
		"go1.":                      "",
		"go.1":                      "",
		"go1.2.":                    "",
		"go1.2rc":                   "",
		"go1.2x":                    "",
		"go1.2.3.4":                 "",
		"v1.2":                      "",
	}
	for toolchain, want := range tests {
		got, ok := goStdlib(toolchain)
		if ok != (want != "") || got.Version != want {
			t.Errorf("%q: %+v, %v", toolchain, got, ok)
		}
	}
}
