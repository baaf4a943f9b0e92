package microcode

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
)

// allocates returns how many MiB f allocates in all, which bounds what it holds at any
// time.
func allocates(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) >> 20
}

// TestHostileFirmware holds that files whose lengths lie, and those that unpack to much
// more than they are, give an error with their name and where, in bounded memory.
func TestHostileFirmware(t *testing.T) {
	const intel, amd = "lib/firmware/intel-ucode/06-55-04", "lib/firmware/amd-ucode/microcode_amd_fam19h.bin"
	update := intelFile(1, 0x01012024, 0x50654, 1, 64, processor{0x906e9, 2})
	table := intelHeader + 64
	container := amdFile([]equiv{{0xa00f11, 0xa011}}, patch{0x0a0011d1, 0x07102023, 0xa011, 200, 0})
	section := amdHeader + 2*amdEntry
	// put changes a word and makes the checksum of Intel's main part right.
	put := func(b []byte, at int, v uint32) []byte {
		b = slices.Clone(b)
		le.PutUint32(b[at:], v)
		if len(b) == len(update) {
			le.PutUint32(b[16:], 0)
			le.PutUint32(b[16:], -sum(b[:table]))
		}
		return b
	}
	for name, test := range map[string]struct {
		file    string
		cpu     CPU
		content []byte
		size    int64 // to which the file is extended
		want    string
		limit   uint64 // MiB
	}{
		"total":         {intel, skylake, put(update, 32, 0xfffffffc), 0, `offset 32: update of 4294967292 bytes where 144 are left`, 3},
		"data":          {intel, skylake, put(update, 28, 0xfffffffc), 0, `offset 28: 4294967292 bytes of data in an update of 144`, 3},
		"data and all":  {intel, skylake, put(put(update, 28, 0xffffffcc), 32, 0xfffffffc), 0, `offset 32: update of `, 3},
		"processors":    {intel, skylake, put(update, table, 0x15555555), 0, `offset 112: table of 357913941 processors in 32 bytes`, 3},
		"table":         {amd, zen3, put(container, 8, 0xfffffff0), 0, `offset 8: table of 4294967280 bytes where `, 3},
		"long table":    {amd, zen3, put(container, 8, 16<<20), 20 << 20, `offset 8: table of 16777216 bytes`, 48},
		"patch":         {amd, zen3, put(container, section+4, 0xffffffff), 0, `offset 48: patch of 4294967295 bytes where 200 are left`, 3},
		"second patch":  {amd, zen3, append(slices.Clone(container), 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), 0, `offset 256: patch of 4294967295 bytes where 0 are left`, 3},
		"large":         {amd, zen3, container, 1 << 40, `offset \d+: plain: more than 33554432 bytes after unpacking: `, 48},
		"bomb":          {intel + ".xz", skylake, pack(t, nil, "sh", "-c", "head -c 256M /dev/zero | xz -1"), 0, `offset \d+: xz: more than 33554432 bytes`, 64},
		"other bomb":    {intel + ".zst", skylake, pack(t, nil, "sh", "-c", "head -c 256M /dev/zero | zstd -q"), 0, `offset \d+: zstd: more than 33554432 bytes`, 64},
		"many":          {intel, skylake, bytes.Repeat(intelFile(1, 0, 1, 1, 4), maxUpdates+1), 0, `offset 425984: more than 8192 updates`, 3},
		"cut when read": {intel + ".xz", skylake, pack(t, update, "xz")[:60], 0, `offset \d+: xz: unexpected EOF`, 12},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, test.file, test.content)
			if test.size > 0 {
				if err := os.Truncate(filepath.Join(dir, test.file), test.size); err != nil {
					t.Fatal(err)
				}
			}
			root := openRoot(t, dir)
			var err error
			used := allocates(func() { _, err = Installed(root, "6.1", test.cpu) })
			if err == nil || !regexp.MustCompile(`^`+test.file+`: `+test.want).MatchString(err.Error()) {
				t.Error(err)
			}
			if used > test.limit {
				t.Errorf("%d MiB were allocated", used)
			}
		})
	}
}

// TestHostileRamdisk holds the same of microcode in an initial ramdisk.
func TestHostileRamdisk(t *testing.T) {
	name := members[AMD]
	lying := amdFile(nil, patch{0x0a0011d5, 0, 1, 64, 0})
	le.PutUint32(lying[amdHeader+amdEntry+4:], 0xfffffff0)
	for what, test := range map[string]struct {
		content []byte
		size    int64
		want    string
		limit   uint64 // MiB
	}{
		"member":    {head(name, 0o100644, 0xffffffff, "x"), 0, `offset 0: member of 4294967295 bytes where 1 are left`, 0},
		"large":     {head(name, 0o100644, 1<<30, "x"), 2 << 30, `offset 148: kernel/x86/microcode/AuthenticAMD.bin of 1073741824 bytes`, 0},
		"patch":     {head(name, 0o100644, uint32(len(lying)), string(lying)), 0, `offset 180: patch of 4294967280 bytes where 64 are left`, 0},
		"zeros":     {nil, 1 << 40, `offset 1048572: more than 1048576 zeros`, 0},
		"skips":     {head("a", 0o100644, 0xfffffff0, ""), 1 << 40, `offset 4296015964: more than 1048576 zeros`, 0},
		"directory": {bytes.Repeat(head("a", 0o40755, 0, ""), maxMembers+1), 0, `offset 7340032: more than 65536 members`, 12},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "boot/initrd.img", test.content)
			if test.size > 0 {
				if err := os.Truncate(filepath.Join(dir, "boot/initrd.img"), test.size); err != nil {
					t.Fatal(err)
				}
			}
			root := openRoot(t, dir)
			var u Update
			var err error
			used := allocates(func() { u, err = Early(root, "boot/initrd.img", zen3) })
			if err == nil || !strings.HasPrefix(err.Error(), "boot/initrd.img: "+test.want) || u != (Update{}) {
				t.Errorf("%+v, %v", u, err)
			}
			if used > test.limit {
				t.Errorf("%d MiB were allocated", used)
			}
		})
	}
}

// TestHostileCPU reads what no kernel says of its processors.
func TestHostileCPU(t *testing.T) {
	const attr = "devices/system/cpu/cpu0/microcode/"
	one := "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\nstepping\t: 4\n\n"
	for name, test := range map[string]struct {
		cpuinfo, file, value, want string
		limit                      uint64 // MiB
	}{
		"version":      {one, "version", "0xfffffffffffffffff\n", attr + `version: offset 0: "0xfffffffffffffffff" is no hexadecimal number of 32 bits`, 1},
		"long version": {one, "version", "0x" + strings.Repeat("0", 4000) + "x", attr + `version: offset 0: "0x000`, 1},
		"huge version": {one, "version", strings.Repeat("0", 8<<20), attr + `version: ` + file.ErrTooLarge.Error(), 1},
		"flags":        {one, "processor_flags", "-1\n", attr + `processor_flags: offset 0: "-1" is no`, 1},
		"number":       {strings.Replace(one, ": 0", ": 4294967295", 1), "version", "0x1\n", `cpuinfo: offset 0: processor "4294967295"`, 1},
		"family":       {strings.Replace(one, ": 6", ": 99999999999", 1), "version", "0x1\n", `cpuinfo: offset 39: cpu family "99999999999"`, 1},
		"line":         {"flags\t: " + strings.Repeat("x", 8<<20), "version", "0x1\n", `cpuinfo: offset 0: line of more than 262144 bytes`, 1},
		"processors":   {strings.Repeat(one, maxCPUs+2), "version", "0x1\n", `more than 16384 processors or`, 128},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "proc/cpuinfo", []byte(test.cpuinfo))
			write(t, dir, "sys/"+attr+test.file, []byte(test.value))
			proc, sys := openRoot(t, dir+"/proc"), openRoot(t, dir+"/sys")
			var cpus []CPU
			var err error
			used := allocates(func() { cpus, err = ReadCPUs(proc, sys) })
			if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 300 {
				t.Errorf("%d processors, %.500v", len(cpus), err)
			}
			if used > test.limit {
				t.Errorf("%d MiB were allocated", used)
			}
		})
	}
	if _, err := ReadCPUs(openRoot(t, t.TempDir()), openRoot(t, t.TempDir())); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestHostileBoot has more initial ramdisks than any machine.
func TestHostileBoot(t *testing.T) {
	dir := t.TempDir()
	for i := range maxImages + 5 {
		write(t, dir, "boot/initrd.img-"+strconv.Itoa(i), nil)
	}
	images, err := Images(openRoot(t, dir))
	if len(images) != maxImages || err == nil || !strings.Contains(err.Error(), "initial ramdisks behind the first 256") {
		t.Errorf("%d, %v", len(images), err)
	}
}
