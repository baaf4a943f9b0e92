package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
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

// TestHostileImages holds that a malformed image gives an error with its file and
// offset, and costs little memory; TestBombs has those that grow.
func TestHostileImages(t *testing.T) {
	order := binary.LittleEndian
	put32 := func(data []byte, at int, v uint32) []byte {
		data = append([]byte(nil), data...)
		order.PutUint32(data[at:], v)
		return data
	}
	plain := makeELF(order, 64, 5000)
	good := makeBzImage(packGzip(t, plain))
	inner := func(elf []byte) []byte { return makeBzImage(packGzip(t, elf)) }
	uki := makeUKI(section{".linux", string(good)}, section{".osrel", "ID=x"})
	header := 0x80 + 24 + 0x70
	withNote := func(note []byte) []byte {
		elf := append(makeELF(order, 64, 5000)[:5000], note...)
		order.PutUint64(elf[152:], uint64(len(note)))
		return inner(elf)
	}
	longID := makeNote(order, "GNU", noteBuildID, make([]byte, 1000))
	lying := put32(longID, 4, 0xfffffff0)
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"setup":            {put32(good, 0x1f1, 0xff), `offset 497: 131072 bytes of setup in a file of `},
		"version":          {put32(good, 0x20e, 0xffff), `offset 526: version string at `},
		"payload-offset":   {put32(good, 0x248, 0xffffffff), `offset 584: payload of `},
		"payload-length":   {put32(good, 0x24c, 0xffffffff), `offset 584: payload of 4294967295 bytes`},
		"payload-cut":      {put32(good, 0x24c, 30), `offset 1666: gzip: unexpected EOF`},
		"payload-damaged":  {put32(good, 1636+20, 0xffffffff), `offset \d+: gzip: `},
		"pe":               {put32(uki, 0x3c, 0xfffffff0), `offset 4294967280: 24 bytes wanted`},
		"sections":         {put32(uki, 0x86, 0xffff), `offset 134: 65535 sections`},
		"section":          {put32(uki, header+20, 0xfffffff0), `offset \d+: section "\.linux" of `},
		"osrel":            {put32(put32(uki, header+40+8, 1<<30), header+40+16, 1<<30), `offset \d+: section "\.osrel" of 1073741824 bytes`},
		"xz-window":        {makeBzImage(xzBlock(40, nil)), `offset \d+: xz: window of \d+ bytes where 134217728 are allowed`},
		"xz-size":          {makeBzImage([]byte("\xfd7zXZ\x00\x00\x00\xff\x12\xd9\x41\xff")), `offset \d+: xz: unexpected EOF`},
		"lzma-window":      {makeBzImage([]byte("\x5d\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00")), `offset \d+: lzma: window of `},
		"zstd-size":        {makeBzImage([]byte("\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\x0f\x01\x00\x00")), `offset \d+: zstd: `},
		"zstd-window":      {makeBzImage([]byte("\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00")), `offset \d+: zstd: `},
		"lz4-block":        {makeBzImage([]byte("\x02\x21\x4c\x18\xff\xff\xff\x7f and more of it")), `offset \d+: lz4: `},
		"program-headers":  {inner(put32(plain, 56, 0xffff)), `offset 0: unpacked: 65535 program headers`},
		"headers-far":      {inner(put32(plain, 36, 0xffff)), `offset 0: unpacked: 2 program headers`},
		"notes-size":       {inner(put32(plain, 152, 0xffffffff)), `offset 120: unpacked: notes of 4294967295 bytes`},
		"notes-offset":     {inner(put32(plain, 128, 0xffffffff)), `offset 120: unpacked: notes of `},
		"notes-behind-end": {inner(put32(plain, 128, 0xfffffff)), `offset \d+: the kernel ends in its segments, after \d+ bytes`},
		"note-size":        {withNote(lying), `offset 5000: unpacked: note of 4\+4294967280 bytes where `},
		"build-id":         {withNote(longID), `offset 5000: unpacked: build ID of 1000 bytes`},
		"many-notes":       {withNote(make([]byte, 60<<10)), `offset 8072: unpacked: more than 256 notes`},
	} {
		t.Run(name, func(t *testing.T) {
			file := "boot/vmlinuz-" + name
			root := makeRoot(t, map[string]string{file: string(test.data)})
			var img Image
			var err error
			used := allocates(func() { img, err = IdentifyFile(context.Background(), root, file) })
			if err == nil || !regexp.MustCompile("^"+file+": "+test.want).MatchString(err.Error()) || img.BuildID != "" {
				t.Errorf("%+v, %v", img, err)
			}
			if used > 8 {
				t.Errorf("%d MiB were allocated", used)
			}
		})
	}
}

// TestHostileBombFile holds the same of a file that unpacks to too much.
func TestHostileBombFile(t *testing.T) {
	head := make([]byte, 64)
	copy(head[0x38:], "ARM\x64")
	bomb := packGzip(t, head)
	more := packGzip(t, make([]byte, 16<<20))
	for range 32 {
		bomb = append(bomb, more...)
	}
	root := makeRoot(t, map[string]string{"boot/vmlinuz": string(makeZBoot(bomb))})
	var err error
	used := allocates(func() { _, err = IdentifyFile(context.Background(), root, "boot/vmlinuz") })
	if !errors.Is(err, file.ErrTooLarge) || !regexp.MustCompile(`^boot/vmlinuz: offset \d+: gzip: more than 268435456 bytes after unpacking: `).MatchString(err.Error()) {
		t.Error(err)
	}
	if used > 8 {
		t.Errorf("%d MiB were allocated", used)
	}
}

// TestHostileNotes reads what a kernel would never say of itself.
func TestHostileNotes(t *testing.T) {
	order := binary.NativeEndian
	id := makeNotes(order)
	for name, test := range map[string]struct{ notes, want string }{
		"huge":      {strings.Repeat("\x00", 8<<20), "kernel/notes: " + file.ErrTooLarge.Error()},
		"build ID":  {string(makeNote(order, "GNU", noteBuildID, make([]byte, 65))), "kernel/notes: offset 0: build ID of 65 bytes"},
		"empty ID":  {string(makeNote(order, "GNU", noteBuildID, nil)), "kernel/notes: offset 0: build ID of 0 bytes"},
		"many":      {string(id) + strings.Repeat("\x00", 12*(maxNotes+1)), "kernel/notes: offset 3132: more than 256 notes"},
		"name size": {string(id) + "\xff\xff\xff\xff\x04\x00\x00\x00\x03\x00\x00\x00", fmt.Sprintf("kernel/notes: offset %d: note of 4294967295+", len(id))},
	} {
		t.Run(name, func(t *testing.T) {
			sys := makeRoot(t, map[string]string{"kernel/notes": test.notes})
			proc := makeRoot(t, map[string]string{"sys/kernel/osrelease": "6.1\n", "version": "Linux version 6.1\n"})
			var k Running
			var err error
			used := allocates(func() { k, err = ReadRunning(proc, sys) })
			if err == nil || !strings.Contains(err.Error(), test.want) || k.Release != "6.1" {
				t.Errorf("%+v, %v", k, err)
			}
			if used > 1 {
				t.Errorf("%d MiB were allocated", used)
			}
		})
	}
}

// TestHostileLivepatches reads directories without end and values that are none.
func TestHostileLivepatches(t *testing.T) {
	const dir = "kernel/livepatch/"
	patches := func(n int) map[string]string {
		files := make(map[string]string)
		for i := range n {
			name := fmt.Sprintf("%spatch%05d", dir, i)
			files[name+"/enabled"], files[name+"/transition"] = "1\n", "0\n"
		}
		return files
	}
	objects := patches(5)
	for name, test := range map[string]struct {
		files map[string]string
		dirs  int // objects of each patch
		want  string
		found int
	}{
		"patches": {patches(maxPatches + 1), 0, "/kernel/livepatch: more than 256 entries", maxPatches},
		"objects": {objects, 400, "/kernel/livepatch/patch00002: more than 1024 patched objects", 2},
		"entries": {patches(1), maxObjects, "/kernel/livepatch/patch00000: more than 1024 entries", 0},
		"flag":    {map[string]string{dir + "a/enabled": strings.Repeat("1", 8<<20)}, 0, "kernel/livepatch/a/enabled: " + file.ErrTooLarge.Error(), 0},
		"value":   {map[string]string{dir + "a/enabled": strings.Repeat("7", 4000)}, 0, `kernel/livepatch/a/enabled: offset 0: "77777777777777777777" is neither`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			sys := makeRoot(t, test.files)
			for i := range test.dirs {
				for p := range len(test.files) / 2 {
					object := filepath.Join(sys.Name(), fmt.Sprintf("%spatch%05d/object%05d", dir, p, i))
					if err := os.Mkdir(object, 0o755); err != nil {
						t.Fatal(err)
					}
				}
			}
			var got []Livepatch
			var err error
			used := allocates(func() { got, err = ReadLivepatches(sys) })
			if err == nil || !strings.Contains(err.Error(), test.want) || len(got) != test.found {
				t.Errorf("%d patches, %v", len(got), err)
			}
			if used > 16 { // 4 KiB a file that is read
				t.Errorf("%d MiB were allocated", used)
			}
		})
	}
}

// TestHostileList has more kernels than any machine.
func TestHostileList(t *testing.T) {
	osrel := strings.Repeat("X=1\n", maxOSRelease/4)
	image := string(makeUKI(section{".linux", string(makeBzImage(packGzip(t, makeELF(binary.LittleEndian, 64, 600))))}, section{".osrel", osrel}))
	root := makeRoot(t, map[string]string{"efi/EFI/Linux/image": image})
	dir := filepath.Join(root.Name(), "efi/EFI/Linux")
	for i := range maxKernels + 100 {
		if err := os.Link(filepath.Join(dir, "image"), fmt.Sprintf("%s/a%04d.efi", dir, i)); err != nil {
			t.Fatal(err)
		}
	}
	var found []Installed
	var err error
	used := allocates(func() { found, err = List(root) })
	if len(found) != maxKernels || err == nil || !strings.Contains(err.Error(), "/efi/EFI/Linux/a0511.efi: kernels behind the first 512") {
		t.Errorf("%d kernels, %v", len(found), err)
	}
	if used > 128 {
		t.Errorf("%d MiB were allocated", used)
	}
	if _, err := readUKIs(root, "efi/EFI/Linux"); err != nil {
		t.Error(err)
	}
}
