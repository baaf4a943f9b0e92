package file

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestReadELFFixtures(t *testing.T) {
	tests := map[string]ELF{
		"libanswer.so": {
			BuildID: "b1fe8e337eed7a8d3ca422a8766d4c19ce338e06",
			Soname:  "libanswer.so.42", Needed: []string{"libm.so.6", "libc.so.6"},
			RelroVaddr: 0x1f20, RelroSize: 0xe0, Class: 64, Type: 3, Machine: 62,
		},
		"libanswer-nobuildid.so": {
			Soname: "libanswer.so.42", Needed: []string{"libc.so.6"},
			RelroVaddr: 0x1f30, RelroSize: 0xd0, Class: 64, Type: 3, Machine: 62,
		},
		"libanswer-note.so": {
			BuildID: "7077497e511d7ad235d47bb35572c5850224ea63",
			PackageNote: &PackageNote{
				Type: "deb", Name: "answer", Version: "4.2-1+deb12u1", Architecture: "amd64",
				OS: "debian", OSVersion: "12", DebugInfoURL: "https://debuginfod.debian.net",
			},
			Soname: "libanswer.so.42", Needed: []string{"libc.so.6"},
			RelroVaddr: 0x1f30, RelroSize: 0xd0, Class: 64, Type: 3, Machine: 62,
		},
		"pie": {
			BuildID: "00c0ffee", Interp: "/lib64/ld-linux-x86-64.so.2", Needed: []string{"libc.so.6"},
			RelroVaddr: 0x1f20, RelroSize: 0xe0, Class: 64, Type: 3, Machine: 62,
		},
		"static-pie": {
			RelroVaddr: 0x1f30, RelroSize: 0xd0, Class: 64, Type: 3, Machine: 62, Static: true,
		},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := readELFFile(t, filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			got.Layout = Layout{} // see TestLayout
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func readELFFile(t *testing.T, name string) (ELF, error) {
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
	return ReadELF(f, fi.Size())
}

// A program as the Go toolchain links it: no interpreter, no dynamic section.
func TestReadELFGoProgram(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"go.mod":  "module tiny\n",
		"main.go": "package main\n\nfunc main() {}\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-o", "tiny", "-ldflags=-B=none")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64", "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	program := filepath.Join(dir, "tiny")
	id, err := exec.Command("go", "tool", "buildid", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := readELFFile(t, program)
	if err != nil {
		t.Fatal(err)
	}
	want := ELF{
		GoBuildID: strings.TrimSpace(string(id)),
		Class:     64, Type: 2, Machine: 183, Static: true,
	}
	got.Layout = Layout{} // see TestLayout
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// makers are one file of every class and byte order.
func makers() map[string]elfMaker {
	m := map[string]elfMaker{}
	for name, order := range map[string]binary.ByteOrder{"little": binary.LittleEndian, "big": binary.BigEndian} {
		m["32 "+name] = elfMaker{bits: 32, order: order, typ: 3}
		m["64 "+name] = elfMaker{bits: 64, order: order, typ: 3}
	}
	return m
}

func TestReadELFClasses(t *testing.T) {
	for name, m := range makers() {
		t.Run(name, func(t *testing.T) {
			m.noteSegments = []noteSegment{
				{8, append(m.note(8, "GNU\x00", 5, make([]byte, 12)), m.note(8, "Long owner\x00", 3, []byte("x"))...)},
				{4, append(m.note(4, "Go\x00\x00", 4, []byte("action/content")), m.note(4, "GNU\x00", 3, []byte{0xab, 0xcd, 0x01})...)},
				{4, m.note(4, "GNU\x00", 3, []byte("second, ignored"))},
				{4, m.note(4, "FDO\x00", 0xcafe1a7e, []byte("{\"name\":\"n\",\"version\":\"1\",\"future\":[{}]}\x00\x00"))},
			}
			m.interp = "/lib/ld.so.1"
			m.strtab = "\x00libone.so\x00libtwo.so.2\x00"
			m.dynamic = []dynEntry{{dtNeeded, 1}, {dtSoname, 11}, {dtNeeded, 4}}
			m.relro = [2]uint64{0x401000, 0x2000}
			data := m.bytes()
			got, err := ReadELF(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			want := ELF{
				BuildID: "abcd01", GoBuildID: "action/content",
				PackageNote: &PackageNote{Name: "n", Version: "1"},
				Interp:      "/lib/ld.so.1", Soname: "libtwo.so.2", Needed: []string{"libone.so", "one.so"},
				RelroVaddr: 0x401000, RelroSize: 0x2000, Class: uint8(m.bits), Type: 3, Machine: 8,
			}
			got.Layout = Layout{} // see TestLayout
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestReadELFNotELF(t *testing.T) {
	for _, data := range []string{"", "\x7f", "\x7fEL", "#!/bin/sh\necho\n", "\x7fELG" + strings.Repeat("\x00", 100)} {
		if got, err := ReadELF(strings.NewReader(data), int64(len(data))); !errors.Is(err, ErrNotELF) || !reflect.DeepEqual(got, ELF{}) {
			t.Errorf("%q: %+v, %v", data, got, err)
		}
	}
	if _, err := ReadELF(strings.NewReader(elfMagic), -1); !errors.Is(err, ErrNotELF) {
		t.Errorf("negative size: %v", err)
	}
}

// An error of the reader is no fact about the file's format.
func TestReadELFReadError(t *testing.T) {
	data, err := os.ReadFile("testdata/libanswer.so")
	if err != nil {
		t.Fatal(err)
	}
	_, err = ReadELF(bytes.NewReader(data[:len(data)/2]), int64(len(data)))
	if _, ok := errors.AsType[*FormatError](err); ok || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("file that shrank: %v", err)
	}
	broken := errors.New("broken disk")
	_, err = ReadELF(readerFunc(func([]byte, int64) (int, error) { return 0, broken }), 1000)
	if !errors.Is(err, broken) {
		t.Errorf("broken disk: %v", err)
	}
}

type readerFunc func([]byte, int64) (int, error)

func (f readerFunc) ReadAt(b []byte, off int64) (int, error) { return f(b, off) }

// The standard library's parser, which trusts section headers, is the oracle
// for the programs and libraries of the machine that runs the test.
func TestReadELFAgreesWithDebugELF(t *testing.T) {
	names := []string{"/proc/self/exe"}
	for _, pattern := range []string{"testdata/*", "/usr/bin/*", "/usr/sbin/*", "/lib/*-linux-gnu/*.so*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found[:min(len(found), 60)]...)
	}
	compared := 0
	for _, name := range names {
		want, err := elf.Open(name)
		if err != nil {
			continue // scripts, directories, dangling links
		}
		defer want.Close()
		got, err := readELFFile(t, name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		compared++
		if int(got.Machine) != int(want.Machine) || int(got.Type) != int(want.Type) {
			t.Errorf("%s: machine %d type %d, want %d and %d", name, got.Machine, got.Type, want.Machine, want.Type)
		}
		if libs, err := want.ImportedLibraries(); err != nil || !reflect.DeepEqual(got.Needed, libs) {
			t.Errorf("%s: needs %q, want %q, %v", name, got.Needed, libs, err)
		}
		soname, err := want.DynString(elf.DT_SONAME)
		if err != nil || got.Soname != strings.Join(soname, "") {
			t.Errorf("%s: soname %q, want %q, %v", name, got.Soname, soname, err)
		}
		interp := ""
		for _, p := range want.Progs {
			if p.Type == elf.PT_INTERP {
				b, err := io.ReadAll(p.Open())
				if err != nil {
					t.Fatal(err)
				}
				interp = strings.TrimRight(string(b), "\x00")
			}
		}
		if got.Interp != interp {
			t.Errorf("%s: interpreter %q, want %q", name, got.Interp, interp)
		}
		buildID := ""
		// Go's linker leaves its section out of every PT_NOTE.
		if s := want.Section(".note.gnu.build-id"); s != nil && inNotes(want, s) {
			b, err := s.Data()
			if err != nil {
				t.Fatal(err)
			}
			buildID = hex.EncodeToString(b[16:])
		}
		if got.BuildID != buildID {
			t.Errorf("%s: build ID %s, want %s", name, got.BuildID, buildID)
		}
	}
	if compared < 4 {
		t.Errorf("only %d files were compared", compared)
	}
}

func inNotes(f *elf.File, s *elf.Section) bool {
	for _, p := range f.Progs {
		if p.Type == elf.PT_NOTE && s.Offset >= p.Off && s.Offset+s.FileSize <= p.Off+p.Filesz {
			return true
		}
	}
	return false
}

// A file may be of any size; what is read of it stays small.
func TestReadELFReadsLittle(t *testing.T) {
	data, err := os.ReadFile("testdata/libanswer-note.so")
	if err != nil {
		t.Fatal(err)
	}
	var total int
	r := readerFunc(func(b []byte, off int64) (int, error) {
		total += len(b)
		clear(b)
		if off < int64(len(data)) {
			copy(b, data[off:])
		}
		return len(b), nil
	})
	if _, err := ReadELF(r, math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	if total > 3*elfWindow {
		t.Errorf("%d bytes were read", total)
	}
}

func BenchmarkReadELF(b *testing.B) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadELF(f, fi.Size()); err != nil {
			b.Fatal(err)
		}
	}
}
