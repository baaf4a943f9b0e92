package module

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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

// TestHostileFiles holds that a module file which unpacks to much more than it is, or
// says so, gives an error with its name and where, in bounded memory: 64 MiB of content
// and the decoder's window.
func TestHostileFiles(t *testing.T) {
	zeros := func(size, packer string) []byte {
		return pack(t, nil, "sh", "-c", "head -c "+size+" /dev/zero | "+packer)
	}
	member := pack(t, make([]byte, 1<<20), "gzip", "-1")
	plain := build(t, "m", "A", "1")
	xz := pack(t, plain, "xz", "--check=crc32")
	window := bytes.Clone(xz) // flags, filter, size of its properties, window
	if !bytes.Equal(window[12:16], []byte{2, 0, 0x21, 1}) {
		t.Fatalf("block header % x", window[12:24])
	}
	cut := xz[:len(xz)/2]
	window[16] = 41
	sealed := bytes.Clone(window)
	seal(sealed)
	frame := []byte("\x28\xb5\x2f\xfd")
	empty := append(bytes.Clone(frame), 0, 0, 1, 0, 0) // window of 1 KiB, an empty last block
	skipped := append(bytes.Clone(empty), 0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 12)
	for name, test := range map[string]struct {
		content []byte
		size    int64 // to which the file is extended
		want    string
		limit   uint64 // MiB
		is      error
	}{
		"bomb.ko.gz":        {zeros("100M", "gzip -1"), 0, `gzip: more than 67108864 bytes after unpacking`, 70, file.ErrTooLarge},
		"bomb.ko.zst":       {zeros("256M", "zstd -q"), 0, `zstd: more than 67108864 bytes after unpacking`, 80, file.ErrTooLarge},
		"bomb-long.ko.zst":  {zeros("100M", "zstd -q --long=26"), 0, `zstd: more than 67108864 bytes after unpacking`, 300, file.ErrTooLarge},
		"bomb.ko.xz":        {zeros("70M", "xz -1"), 0, `xz: more than 67108864 bytes after unpacking`, 70, file.ErrTooLarge},
		"bomb-9.ko.xz":      {zeros("70M", "xz -9"), 0, `xz: more than 67108864 bytes after unpacking`, 132, file.ErrTooLarge},
		"members.ko.gz":     {bytes.Repeat(member, 200), 0, `gzip: more than 67108864 bytes after unpacking`, 80, file.ErrTooLarge},
		"skipped.ko.zst":    {skipped, 300 << 20, `zstd: more than 75563008 packed bytes`, 16, file.ErrTooLarge},
		"size.ko.zst":       {append(bytes.Clone(frame), 0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 0, 0), 0, `zstd: `, 2, nil},
		"window.ko.zst":     {append(bytes.Clone(frame), 0, 0xf8, 1, 0, 0), 0, `zstd: `, 2, nil},
		"window.ko.xz":      {window, 0, `xz: damaged header`, 2, nil},
		"window-sum.ko.xz":  {sealed, 0, `xz: window's size is not valid`, 2, nil},
		"cut.ko.xz":         {cut, 0, `xz: unexpected EOF`, 20, io.ErrUnexpectedEOF},
		"cut.ko.gz":         {pack(t, plain, "gzip")[:300], 0, `gzip: unexpected EOF`, 2, io.ErrUnexpectedEOF},
		"cut.ko.zst":        {pack(t, plain, "zstd", "-q")[:300], 0, `zstd: unexpected EOF`, 4, io.ErrUnexpectedEOF},
		"unpacked-table.ko": {nameless(plain), 0, `name of section 2 at 16777215`, 1, nil},
		"plain-large.ko":    {plain[:64], 1 << 40, `ELF file without \.modinfo`, 10, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, name, test.content)
			if test.size > 0 {
				if err := os.Truncate(filepath.Join(dir, name), test.size); err != nil {
					t.Fatal(err)
				}
			}
			root := openRoot(t, dir)
			var info Info
			var err error
			used := allocates(func() { info, err = new(Cache).ReadFile(root, name) })
			if err == nil || info != (Info{}) || !regexp.MustCompile(`^`+name+`: offset \d+: (`+test.want+`)`).MatchString(err.Error()) {
				t.Errorf("%+v, %v", info, err)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("another kind of error: %v", err)
			}
			if used > test.limit {
				t.Errorf("%d MiB were allocated", used)
			}
		})
	}
}

// endless repeats a text for ever.
type endless struct {
	text string
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	return n, nil
}

// TestHostileListing reads lists of modules that do not end.
func TestHostileListing(t *testing.T) {
	holders := strings.Repeat(strings.Repeat("h", 100)+",", 9000)
	for name, test := range map[string]struct {
		line, want string
		limit      uint64 // MiB
	}{
		"modules": {"a 1 0 - Live 0x0\n", "offset 278528: more than 16384 modules", 16},
		"holders": {"a 1 0 " + holders + " Live 0x0\n", "more than 65536 holders", 64},
		"spaces":  {"a 1 0 - Live" + strings.Repeat(" ", 1<<19) + "0x0\n", "more than 33554432 bytes", 80},
		"line":    {strings.Repeat("a", 4096), "offset 0: bufio.Scanner: token too long", 4},
		"name":    {strings.Repeat("a", 1<<19) + " 1 0 - Live 0x0\n", "offset 0: ", 4},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			used := allocates(func() { _, err = ParseModules(&endless{text: test.line}) })
			if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 300 {
				t.Error(err)
			}
			if used > test.limit {
				t.Errorf("%d MiB were allocated", used)
			}
		})
	}
}

// TestHostileSysfs reads values that no kernel has, one at a time; the error names each,
// and the rest is read.
func TestHostileSysfs(t *testing.T) {
	const id = "notes/.note.gnu.build-id"
	order := binary.NativeEndian
	for name, test := range map[string]struct{ file, value, want string }{
		"refcount":    {"refcnt", strings.Repeat("9", 400), `offset 0: count of users "9999`},
		"negative":    {"refcnt", "-2\n", `offset 0: count of users "-2"`},
		"large count": {"refcnt", strings.Repeat("9", 1<<20), file.ErrTooLarge.Error()},
		"state":       {"initstate", "\x1b[2Jlive\n", `offset 0: state "\x1b`},
		"version":     {"version", strings.Repeat("v", 4000), "offset 0: 4000 bytes where 512 are allowed"},
		"srcversion":  {"srcversion", strings.Repeat("v", 1<<20), file.ErrTooLarge.Error()},
		"note":        {id, strings.Repeat("\x00", 1<<20), file.ErrTooLarge.Error()},
		"note's size": {id, "\x04\x00\x00\x00\xf0\xff\xff\xff\x03\x00\x00\x00GNU\x00", "offset 0: note of 4+4294967280 bytes"},
		"long ID":     {id, string(note(order, make([]byte, 65))), "offset 0: build ID of 65 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "proc/modules", []byte("m 1 0 - Live 0x0\n"))
			write(t, dir, "sys/module/m/taint", []byte("OE\n"))
			write(t, dir, "sys/module/m/"+test.file, []byte(test.value))
			proc, sys := openRoot(t, dir+"/proc"), openRoot(t, dir+"/sys")
			var got []Loaded
			var err error
			used := allocates(func() { got, err = ReadLoaded(proc, sys) })
			if err == nil || !strings.HasPrefix(err.Error(), "module/m/"+test.file+": ") || !strings.Contains(err.Error(), test.want) && name != "state" {
				t.Error(err)
			}
			if strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 300 {
				t.Errorf("not fit to be shown: %q", err)
			}
			if len(got) != 1 || got[0].Taint != "OE" || len(got[0].BuildID)+len(got[0].Srcversion)+len(got[0].Version) > 0 {
				t.Errorf("%+v", got)
			}
			if used > 1 {
				t.Errorf("%d MiB were allocated", used)
			}
		})
	}
}

// TestHostileHolders: the names of all modules' holders are bounded together.
func TestHostileHolders(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a/module/m/holders/0", nil)
	write(t, dir, "a/module/n/holders/0", nil)
	for i := range 99 {
		write(t, dir, fmt.Sprintf("a/module/n/holders/x%04d", i), nil)
	}
	sys := openRoot(t, dir+"/a")
	left := 100
	m, n := Loaded{Name: "m"}, Loaded{Name: "n"}
	if err := readSysfs(sys, &m, &left); err != nil || len(m.Holders) != 1 {
		t.Error(m, err)
	}
	err := readSysfs(sys, &n, &left)
	if err == nil || err.Error() != "module/n/holders: more than 65536 holders of modules" || len(n.Holders) != 0 || left != 0 {
		t.Error(n, err, left)
	}
}

// TestHostileConfig has more rules for depmod than are looked at.
func TestHostileConfig(t *testing.T) {
	dir := t.TempDir()
	for i := range maxConfigFiles + 1 {
		write(t, dir, fmt.Sprintf("etc/depmod.d/%d.conf", i), nil)
	}
	if _, err := readOrder(openRoot(t, dir), release); err == nil || err.Error() != "etc/depmod.d: more than 256 entries" {
		t.Error(err)
	}
}
