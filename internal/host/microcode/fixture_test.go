package microcode

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
)

func write(t testing.TB, dir, name string, content []byte) {
	t.Helper()
	full := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func openRoot(t testing.TB, dir string) *file.Root {
	t.Helper()
	r, err := file.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

var le = binary.LittleEndian

// intelFile makes an update whose checksums are right; size is that of the data.
func intelFile(revision, date, sig, platform uint32, size int, more ...processor) []byte {
	total := intelHeader + size
	if len(more) > 0 {
		total += intelExtHeader + intelExtEntry*len(more)
	}
	var b []byte
	for _, v := range []uint32{1, revision, date, sig, 0, 1, platform, uint32(size), uint32(total), 0, 0, 0} {
		b = le.AppendUint32(b, v)
	}
	b = append(b, bytes.Repeat([]byte{0xa5}, size)...)
	le.PutUint32(b[16:], -sum(b))
	if len(more) == 0 {
		return b
	}
	base := sig + platform + le.Uint32(b[16:])
	table := append(le.AppendUint32(nil, uint32(len(more))), make([]byte, 16)...)
	for _, p := range more {
		table = le.AppendUint32(table, p.signature)
		table = le.AppendUint32(table, p.platform)
		table = le.AppendUint32(table, base-p.signature-p.platform)
	}
	le.PutUint32(table[4:], -sum(table))
	return append(b, table...)
}

type patch struct {
	id, date uint32
	rev      uint16
	size     int
	chipset  uint32
}

type equiv struct {
	signature uint32
	id        uint16
}

// amdFile makes one container.
func amdFile(table []equiv, patches ...patch) []byte {
	b := le.AppendUint32(nil, amdMagic)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, uint32(amdEntry*(len(table)+1)))
	for _, e := range append(table, equiv{}) {
		b = le.AppendUint32(b, e.signature)
		b = append(b, make([]byte, 8)...)
		b = le.AppendUint16(b, e.id)
		b = append(b, 0, 0)
	}
	for _, p := range patches {
		b = le.AppendUint32(b, 1)
		b = le.AppendUint32(b, uint32(p.size))
		h := make([]byte, p.size)
		le.PutUint32(h, p.date)
		le.PutUint32(h[4:], p.id)
		le.PutUint32(h[16:], p.chipset)
		le.PutUint16(h[24:], p.rev)
		for i := amdPatch; i < len(h); i++ {
			h[i] = 0x5a
		}
		b = append(b, h...)
	}
	return b
}

// cpio makes an archive by the real tool.
func cpio(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	dir := t.TempDir()
	names := []string{"kernel", "kernel/x86", "kernel/x86/microcode"}
	if err := os.MkdirAll(filepath.Join(dir, names[2]), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		write(t, dir, name, b)
		names = append(names, name)
	}
	cmd := exec.Command("cpio", "-o", "-H", "newc", "--quiet")
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(strings.Join(names, "\n") + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func pack(t testing.TB, data []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

// Processors that exist: Skylake-SP, Kaby Lake, Zen 3 and a Bulldozer.
var (
	skylake = CPU{Vendor: Intel, Family: 6, Model: 0x55, Stepping: 4, Signature: 0x50654, Platform: 1, PlatformKnown: true}
	kaby    = CPU{Vendor: Intel, Family: 6, Model: 0x9e, Stepping: 9, Signature: 0x906e9, Platform: 2, PlatformKnown: true}
	zen3    = CPU{Vendor: AMD, Family: 0x19, Model: 1, Stepping: 1, Signature: 0xa00f11}
	dozer   = CPU{Vendor: AMD, Family: 0x15, Model: 2, Stepping: 0, Signature: 0x600f20}
)
