package module

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
)

const release = "6.1.0-50-amd64"

// write makes a file below dir.
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

func link(t testing.TB, dir, target, name string) {
	t.Helper()
	full := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, full); err != nil {
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

func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.Bytes())
	}
	return out
}

// build compiles and links a module as kbuild does, so that the linker makes its build
// ID, and returns the file's content.
func build(t testing.TB, name, srcversion, version string, cflags ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "m.c", []byte(`#define INFO(n, s) static const char n[] __attribute__((section(".modinfo"), used)) = s
INFO(a, "license=GPL");
INFO(b, "name=`+name+`");
INFO(c, "srcversion=`+srcversion+`");
INFO(d, "version=`+version+`");
INFO(e, "vermagic=`+release+` SMP mod_unload");
int init_module(void) { return sizeof "`+srcversion+`"; }
const char *what = "`+srcversion+`";
`))
	o, ko := filepath.Join(dir, "m.o"), filepath.Join(dir, "m.ko")
	run(t, "gcc", append(cflags, "-O2", "-c", "-o", o, filepath.Join(dir, "m.c"))...)
	run(t, "ld", "-r", "--build-id=sha1", "-o", ko, o)
	run(t, "objcopy", "--strip-debug", ko)
	b, err := os.ReadFile(ko)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pack runs a compressor.
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

// note makes a GNU build ID note.
func note(order binary.AppendByteOrder, id []byte) []byte {
	b := order.AppendUint32(nil, 4)
	b = order.AppendUint32(b, uint32(len(id)))
	b = order.AppendUint32(b, 3)
	b = append(b, "GNU\x00"...)
	b = append(b, id...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func noteOf(t testing.TB, id string) []byte {
	t.Helper()
	b, err := hex.DecodeString(id)
	if err != nil {
		t.Fatal(err)
	}
	return note(binary.NativeEndian, b)
}

type part struct {
	name    string
	typ     uint32
	content []byte
}

// makeELF makes a relocatable file by hand, of any class and byte order.
func makeELF(order interface {
	binary.AppendByteOrder
	binary.ByteOrder
}, wide bool, parts ...part) []byte {
	names := "\x00.shstrtab\x00"
	head, entry, class := 52, 40, byte(1)
	if wide {
		head, entry, class = 64, 64, 2
	}
	data := byte(1)
	if order.Uint16([]byte{0, 1}) == 1 {
		data = 2
	}
	word := func(b []byte, v uint64) []byte {
		if wide {
			return order.AppendUint64(b, v)
		}
		return order.AppendUint32(b, uint32(v))
	}
	body := make([]byte, head)
	var table []byte
	add := func(name, typ uint32, off, size int) {
		b := order.AppendUint32(nil, name)
		b = order.AppendUint32(b, typ)
		b = word(word(b, 0), 0)
		b = word(word(b, uint64(off)), uint64(size))
		table = append(table, append(b, make([]byte, entry-len(b))...)...)
	}
	add(0, 0, 0, 0)
	for _, p := range parts {
		add(uint32(len(names)), p.typ, len(body), len(p.content))
		names += p.name + "\x00"
		body = append(body, p.content...)
	}
	add(1, 3, len(body), len(names))
	body = append(body, names...)
	shoff := len(body)
	h := append([]byte("\x7fELF"), class, data, 1)
	h = append(h, make([]byte, 9)...)
	h = order.AppendUint16(h, 1)
	h = order.AppendUint16(h, 62)
	h = order.AppendUint32(h, 1)
	h = word(word(word(h, 0), 0), uint64(shoff))
	h = order.AppendUint32(h, 0)
	for _, v := range []int{head, 0, 0, entry, len(parts) + 2, len(parts) + 1} {
		h = order.AppendUint16(h, uint16(v))
	}
	copy(body, h)
	return append(body, table...)
}

// simple is a module made by hand.
func simple(name, srcversion string, id []byte) []byte {
	info := strings.Join([]string{"license=GPL", "name=" + name, "srcversion=" + srcversion, ""}, "\x00")
	parts := []part{{".modinfo", 1, []byte(info)}}
	if id != nil {
		parts = append(parts, part{".note.gnu.build-id", shtNote, note(binary.LittleEndian, id)})
	}
	return makeELF(binary.LittleEndian, true, parts...)
}

// nameless is a copy of a module of 64 bits whose .modinfo is its first section, and whose
// others have names beyond the section of names.
func nameless(module []byte) []byte {
	b := bytes.Clone(module)
	order := binary.LittleEndian
	table := b[order.Uint64(b[40:]):]
	header := func(i int) []byte { return table[64*i:][:64] }
	count := int(order.Uint16(b[60:]))
	at := order.Uint64(header(int(order.Uint16(b[62:])))[24:])
	for i := 1; i < count; i++ {
		if bytes.HasPrefix(b[at+uint64(order.Uint32(header(i))):], []byte(".modinfo\x00")) {
			first := bytes.Clone(header(1))
			copy(header(1), header(i))
			copy(header(i), first)
		}
	}
	for i := 2; i < count; i++ {
		order.PutUint32(header(i), 0xffffff)
	}
	return b
}

// seal makes the checksum of the first block's header of an .xz file right.
func seal(xz []byte) {
	size := 4 * int(xz[12])
	binary.LittleEndian.PutUint32(xz[12+size:], crc32.ChecksumIEEE(xz[12:12+size]))
}
