package file

import (
	"bytes"
	"debug/buildinfo"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"testing"
)

// made is a section of a test's file.
type made struct {
	name string
	data []byte
	typ  uint32
}

const progbits = 1 // SHT_PROGBITS

// withSections appends sections to a file of an elfMaker: their data, the null
// section, their headers and their names, last .shstrtab.
func (m elfMaker) withSections(sections ...made) []byte {
	data := m.bytes()
	pad := func() {
		for len(data)%16 != 0 {
			data = append(data, 0)
		}
	}
	names := "\x00"
	type header struct {
		name, typ uint32
		off, size uint64
	}
	headers := []header{{}}
	put := func(name string, typ uint32, content []byte) {
		pad()
		headers = append(headers, header{uint32(len(names)), typ, uint64(len(data)), uint64(len(content))})
		names += name + "\x00"
		data = append(data, content...)
	}
	for _, s := range sections {
		put(s.name, s.typ, s.data)
	}
	put(".shstrtab", 3, []byte(names+".shstrtab\x00"))
	pad()
	table := uint64(len(data))
	for _, h := range headers {
		u32 := func(v ...uint32) {
			for _, v := range v {
				data = m.append(data, 4, uint64(v))
			}
		}
		word := func(v ...uint64) {
			for _, v := range v {
				data = m.append(data, m.bits/8, v)
			}
		}
		u32(h.name, h.typ)
		word(0, 0, h.off, h.size)
		u32(0, 0)
		word(1, 0)
	}
	atOffset, atSizes, entsize := 32, 46, 40
	if m.bits == 64 {
		atOffset, atSizes, entsize = 40, 58, 64
	}
	copy(data[atOffset:], m.append(nil, m.bits/8, table))
	for i, v := range []int{entsize, len(headers), len(headers) - 1} {
		copy(data[atSizes+2*i:], m.append(nil, 2, uint64(v)))
	}
	return data
}

// append appends the size bytes of v.
func (m elfMaker) append(b []byte, size int, v uint64) []byte {
	switch o := m.order.(binary.AppendByteOrder); size {
	case 2:
		return o.AppendUint16(b, uint16(v))
	case 4:
		return o.AppendUint32(b, uint32(v))
	default:
		return o.AppendUint64(b, v)
	}
}

// moduleMaker makes the files that hold nothing but lists of modules.
func moduleMaker() elfMaker { return elfMaker{bits: 64, order: binary.LittleEndian, typ: 3} }

func readModules(data []byte) (Modules, error) {
	return ReadModules(bytes.NewReader(data), int64(len(data)))
}

func readModulesFile(t testing.TB, name string) (Modules, error) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return ReadModules(f, fi.Size())
}

// run runs a tool in dir.
func run(t testing.TB, dir string, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}

// writeTree writes files by their slash-separated names under dir.
func writeTree(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// modulesOf is what the standard library's parser reads of a Go program, in the
// words of this package. It is the oracle for files that are not hostile.
func modulesOf(info *debug.BuildInfo) Modules {
	module := func(d *debug.Module) Module {
		m := Module{Ecosystem: EcosystemGo, Path: d.Path, Version: d.Version, Sum: d.Sum}
		if r := d.Replace; r != nil {
			m.Path, m.Version, m.Sum = r.Path, r.Version, r.Sum
			m.ReplacedPath, m.ReplacedVersion = d.Path, d.Version
		}
		return m
	}
	m := Modules{Toolchain: info.GoVersion}
	if lib, ok := goStdlib(info.GoVersion); ok {
		m.Deps = append(m.Deps, lib)
	}
	if info.Main != (debug.Module{}) {
		m.Main = module(&info.Main)
	}
	for _, d := range info.Deps {
		m.Deps = append(m.Deps, module(d))
	}
	return m
}

// The standard library's parser is the oracle for the Go programs of the
// toolchain that runs the test, and for the test itself.
func TestReadModulesAgreesWithBuildinfo(t *testing.T) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"/proc/self/exe"}
	for _, pattern := range []string{"bin/*", "pkg/tool/*/*"} {
		found, err := filepath.Glob(filepath.Join(string(bytes.TrimSpace(root)), pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	compared := 0
	for _, name := range names {
		info, err := buildinfo.ReadFile(name)
		if err != nil {
			continue
		}
		got, err := readModulesFile(t, name)
		if want := modulesOf(info); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, got, want)
		}
		compared++
	}
	if compared < 3 {
		t.Errorf("only %d files were compared", compared)
	}
}

func TestReadModulesNone(t *testing.T) {
	m := moduleMaker()
	tests := map[string][]byte{
		"empty":       nil,
		"script":      []byte("#!/bin/sh\n"),
		"no sections": m.bytes(),
		"others":      m.withSections(made{".text", make([]byte, 99), progbits}, made{".dep-v1", []byte("x"), progbits}),
		"debug file":  m.withSections(made{goSection, make([]byte, 99), sectionNobits}, made{rustSection, nil, sectionNobits}),
		"wiped":       m.withSections(made{goSection, make([]byte, 99), progbits}),
		"half a header": m.withSections(
			made{goSection, []byte(goMagic + "\x08\x02"), progbits}, made{".note", make([]byte, 99), progbits}),
	}
	for _, name := range []string{"libanswer.so", "libanswer-note.so", "pie", "static-pie"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		tests[name] = data
	}
	for name, data := range tests {
		if got, err := readModules(data); !errors.Is(err, ErrNoModules) || !reflect.DeepEqual(got, Modules{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := ReadModules(bytes.NewReader(nil), -1); !errors.Is(err, ErrNoModules) {
		t.Errorf("negative size: %v", err)
	}
}

// An error of the reader is no fact about the file: neither a list nor its absence.
func TestReadModulesReadError(t *testing.T) {
	data := moduleMaker().withSections(made{goSection, goBlob("go1.26.8", "mod\ta\tv1.0.0\t\n"), progbits})
	for cut := range data {
		got, err := ReadModules(bytes.NewReader(data[:cut]), int64(len(data)))
		if _, ok := errors.AsType[*FormatError](err); ok || !errors.Is(err, io.ErrUnexpectedEOF) || !reflect.DeepEqual(got, Modules{}) {
			t.Fatalf("file that shrank to %d bytes: %+v, %v", cut, got, err)
		}
	}
	broken := errors.New("broken disk")
	_, err := ReadModules(readerFunc(func([]byte, int64) (int, error) { return 0, broken }), int64(len(data)))
	if !errors.Is(err, broken) {
		t.Errorf("broken disk: %v", err)
	}
}

// A Rust program that links a Go archive says both.
func TestReadModulesBoth(t *testing.T) {
	rust := packed(t, `{"packages":[{"name":"c","version":"1.0.0","source":"crates.io"},{"name":"top","version":"0.1.0","source":"local","root":true}]}`)
	data := moduleMaker().withSections(
		made{rustSection, rust, progbits},
		made{goSection, goBlob("go1.26.8", "path\ta\nmod\texample.com/a\tv1.0.0\t\ndep\texample.com/b\tv1.2.0\th1:x=\n"), progbits})
	got, err := readModules(data)
	want := Modules{
		Main:      Module{Path: "top", Version: "0.1.0", Source: "local"},
		Toolchain: "go1.26.8",
		Deps: []Module{
			{Ecosystem: "crates.io", Path: "c", Version: "1.0.0", Source: "crates.io"},
			{Ecosystem: "Go", Path: "stdlib", Version: "1.26.8"},
			{Ecosystem: "Go", Path: "example.com/a", Version: "v1.0.0"},
			{Ecosystem: "Go", Path: "example.com/b", Version: "v1.2.0", Sum: "h1:x="},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
}

// BenchmarkReadModules reads the largest program of the Go toolchain beside what
// ReadELF reads of it.
func BenchmarkReadModules(b *testing.B) {
	dir, err := exec.Command("go", "env", "GOTOOLDIR").Output()
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(filepath.Join(string(bytes.TrimSpace(dir)), "compile"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("modules", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ReadModules(f, fi.Size()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ELF", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ReadELF(f, fi.Size()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
