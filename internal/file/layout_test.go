package file

import (
	"debug/elf"
	"os"
	"testing"
)

// TestLayout compares with the standard library's reading of the same file.
func TestLayout(t *testing.T) {
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{name}
	for _, n := range []string{"/bin/sh", "/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6"} {
		if _, err := os.Stat(n); err == nil {
			names = append(names, n)
		}
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadELF(f, fi.Size())
		if err != nil {
			t.Fatal(err)
		}
		ref, err := elf.NewFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var want Layout
		for _, p := range ref.Progs {
			switch {
			case p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && want.ExecVaddr == 0:
				want.ExecVaddr = p.Vaddr
			case p.Type == elf.PT_DYNAMIC:
				want.DynamicVaddr, want.DynamicOffset, want.DynamicSize = p.Vaddr, p.Off, p.Filesz
			}
		}
		for _, tag := range []elf.DynTag{elf.DT_RELASZ, elf.DT_RELSZ, 35} {
			v, err := ref.DynValue(tag)
			want.Relocated = want.Relocated || err == nil && len(v) > 0 && v[0] != 0
		}
		if got.Layout != want {
			t.Errorf("%s: got %+v, want %+v", name, got.Layout, want)
		}
	}
}
