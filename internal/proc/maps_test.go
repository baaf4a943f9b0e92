package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"
)

func parseMaps(r io.Reader) ([]Area, error) {
	var areas []Area
	err := ParseMaps(r, func(a Area) { areas = append(areas, a) })
	return areas, err
}

func TestParseMaps(t *testing.T) {
	const libc, loader = "/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
	odd := func(name string, start uint64, inode uint64) Area {
		return Area{start, start + 0x1000, 0xfe, 0, inode, "/tmp/ptf/odd/" + name}
	}
	tests := []struct {
		name string
		want []Area
	}{
		{"sleep", []Area{
			{0x55eb10db1000, 0x55eb10db6000, 0xfe, 0, 247766, "/usr/bin/sleep"},
			{0x7fd5a39cf000, 0x7fd5a3b25000, 0xfe, 0, 326269, libc},
			{0x7fd5a3ba3000, 0x7fd5a3bc9000, 0xfe, 0, 325835, loader},
		}},
		{"odd", []Area{
			{0x7fc273b1d000, 0x7fc273b1e000, 0, 1, 1116, "/dev/zero (deleted)"},
			{0x7fc273b1e000, 0x7fc273b1f000, 0, 1, 0, "/SYSV00000000 (deleted)"}, // the inode is the identifier, from 0
			{0x7fc273b1f000, 0x7fc273b20000, 0, 1, 1114, "/memfd:jit code (deleted)"},
			odd("()[]-:", 0x7fc273b20000, 9986076),
			odd("\x1b[31mred\xff", 0x7fc273b21000, 9986075),
			odd(" leads and trails ", 0x7fc273b22000, 9986074),
			odd("gone (deleted)", 0x7fc273d99000, 9986073),
			odd("ends in (deleted)", 0x7fc273d9a000, 9986072),
			odd("literal\n", 0x7fc273e0c000, 9986071), // not to be told from the next but one
			odd("tab\tand back\\slash", 0x7fc273e2c000, 9986070),
			{0x7fc274244000, 0x7fc27439a000, 0xfe, 0, 326269, libc},
			odd("new\nline", 0x7fc2749ba000, 9986069),
			odd("two  spaces", 0x7fc274aa9000, 9986068),
			odd("a space", 0x7fc274aaa000, 9986067),
			{0x7fc274ac1000, 0x7fc274ae7000, 0xfe, 0, 325835, loader},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := fixture(t, "maps/"+test.name)
			for _, r := range []io.Reader{bytes.NewReader(b), iotest.OneByteReader(bytes.NewReader(b)), iotest.DataErrReader(bytes.NewReader(b))} {
				got, err := parseMaps(r)
				if err != nil || !reflect.DeepEqual(got, test.want) {
					t.Errorf("%v", err)
					for i := range max(len(got), len(test.want)) {
						t.Errorf("got %s want %s", at(got, i), at(test.want, i))
					}
				}
			}
		})
	}
}

func at(areas []Area, i int) string {
	if i >= len(areas) {
		return "nothing"
	}
	a := areas[i]
	return fmt.Sprintf("%x-%x %x:%x %d %q", a.Start, a.End, a.Major, a.Minor, a.Inode, a.Path)
}

const goodLine = "1000-2000 r-xp 00000000 08:1f 12                         /a\n"

func TestParseMapsText(t *testing.T) {
	good := Area{0x1000, 0x2000, 8, 0x1f, 12, "/a"}
	line := func(path string) string { return strings.TrimSuffix(goodLine, "/a\n") + path + "\n" }
	named := func(path string) []Area { a := good; a.Path = path; return []Area{a, good} }
	long := "/" + strings.Repeat("x", unix.PathMax-2)
	tests := []struct {
		name, text string
		want       []Area
	}{
		{"nothing", "", nil},
		{"no newline at the end", strings.TrimSuffix(goodLine, "\n"), []Area{good}},
		{"highest numbers", "fffffffffffff000-ffffffffffffffff r-xp ffffffff fff:fffff 18446744073709551615 /a\n",
			[]Area{{0xfffffffffffff000, 0xffffffffffffffff, 0xfff, 0xfffff, 18446744073709551615, "/a"}}},
		{"not executable", strings.Replace(goodLine, "r-xp", "rw-p", 1), nil},
		{"no path", strings.TrimSuffix(line(""), " \n") + "\n", nil},
		{"no file", line("[vdso]") + line("[anon:/a]") + line("[anon_shmem:jit]") + line("anon_inode:[perf_event]"), nil},
		{"one space before the path", "1000-2000 r-xp 00000000 08:1f 12 /a\n", []Area{good}},
		{"longest path", line(long) + goodLine, named(long)},
		{"path of escapes", line("/"+strings.Repeat(`\012`, unix.PathMax-2)) + goodLine, named("/" + strings.Repeat("\n", unix.PathMax-2))},
		{"path that no call takes", line(long+"x") + goodLine, named("")},
		{"path beyond the buffer", line("/"+strings.Repeat(`\012`, 3*unix.PathMax)) + goodLine, named("")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got, err := parseMaps(strings.NewReader(test.text)); err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("%v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestParseMapsError(t *testing.T) {
	for _, line := range []string{
		"",
		" ",
		"\x00",
		"1000-2000",
		"1000-2000 r-xp 00000000 08:1f",
		"1000-2000 r-xps 00000000 08:1f 12 /a",
		"1000-2000 rx 00000000 08:1f 12 /a",
		"10002000 r-xp 00000000 08:1f 12 /a",
		"1000-2000 r-xp 00000000 081f 12 /a",
		"x000-2000 r-xp 00000000 08:1f 12 /a",
		"1000-x000 r-xp 00000000 08:1f 12 /a",
		"1000-2000 r-xp 00000000 x8:1f 12 /a",
		"1000-2000 r-xp 00000000 08:xf 12 /a",
		"1000-2000 r-xp 00000000 08:100000000 12 /a",
		"1000-2000 r-xp 00000000 08:1f 1f /a",
		"1000-10000000000000000 r-xp 00000000 08:1f 12 /a",
		"2000-1000 r-xp 00000000 08:1f 12 /a",
		"1000-1000 r-xp 00000000 08:1f 12 /a",
		"-1000-2000 r-xp 00000000 08:1f 12 /a",
		strings.Repeat("x", 2*maxMapsLine),
	} {
		// What stands before the line is not lost.
		got, err := parseMaps(strings.NewReader(goodLine + line + "\n" + goodLine))
		me, ok := errors.AsType[*MapsError](err)
		if len(got) != 1 || !ok || me.Offset != int64(len(goodLine)) || !errors.Is(err, errArea) {
			t.Errorf("%q: %v, %v", line, got, err)
		}
		if ok && !strings.Contains(err.Error(), fmt.Sprintf("offset %d", len(goodLine))) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestParseMapsReadError(t *testing.T) {
	long := strings.TrimSuffix(goodLine, "a\n") + strings.Repeat("x", 2*maxMapsLine)
	for _, text := range []string{"", goodLine, long} {
		got, err := parseMaps(io.MultiReader(strings.NewReader(text), iotest.ErrReader(syscall.ESRCH)))
		if _, ok := errors.AsType[*MapsError](err); !ok || !errors.Is(err, syscall.ESRCH) || len(got) != min(1, len(text)) {
			t.Errorf("%.20q: %v, %v", text, got, err)
		}
	}
}

func FuzzParseMaps(f *testing.F) {
	f.Add(fixture(f, "maps/sleep"))
	f.Add(fixture(f, "maps/odd"))
	f.Add([]byte(goodLine + "1000-2000 r-xp\n" + goodLine))
	f.Fuzz(func(t *testing.T, b []byte) {
		areas, err := parseMaps(bytes.NewReader(b))
		if len(areas) > bytes.Count(b, []byte{'\n'})+1 {
			t.Fatalf("%d areas", len(areas))
		}
		for _, a := range areas {
			if a.Start >= a.End || len(a.Path) >= unix.PathMax || (a.Path != "" && a.Path[0] != '/') {
				t.Fatalf("%+v", a)
			}
		}
		if err != nil {
			// The error names the line that is wrong: all before it is right.
			me, ok := errors.AsType[*MapsError](err)
			if !ok || me.Offset < 0 || me.Offset >= int64(len(b)) || (me.Offset > 0 && b[me.Offset-1] != '\n') {
				t.Fatalf("%v", err)
			}
			before, err := parseMaps(bytes.NewReader(b[:me.Offset]))
			if err != nil || !reflect.DeepEqual(before, areas) {
				t.Fatalf("before %v: %v; %v", before, areas, err)
			}
			return
		}
		// What was read, written as the kernel does, reads the same.
		var text bytes.Buffer
		for _, a := range areas {
			if a.Path == "" {
				return
			}
			fmt.Fprintf(&text, "%08x-%08x r-xp %08x %02x:%02x %-26d %s\n", a.Start, a.End, 0, a.Major, a.Minor, a.Inode,
				strings.ReplaceAll(a.Path, "\n", `\012`))
		}
		if again, err := parseMaps(&text); err != nil || !reflect.DeepEqual(again, areas) {
			t.Fatalf("%v, %v; want %v", again, err, areas)
		}
	})
}
