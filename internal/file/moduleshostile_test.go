package file

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// Every lie is named with its place, and what stands beside it is read.
func TestReadModulesLies(t *testing.T) {
	m := moduleMaker()
	golang := func(blob []byte) []byte { return m.withSections(made{goSection, blob, progbits}) }
	rust := func(data []byte) []byte { return m.withSections(made{rustSection, data, progbits}) }
	crates := func(text string) []byte { return rust(packed(t, text)) }
	lib := Module{Ecosystem: "Go", Path: "stdlib", Version: "1.26.8"}
	good := Modules{
		Main: Module{Ecosystem: "Go", Path: "m", Version: "v1"}, Toolchain: "go1.26.8",
		Deps: []Module{lib, {Ecosystem: "Go", Path: "d", Version: "v2"}},
	}
	const list = "mod\tm\tv1\t\ndep\td\tv2\t\n"
	// Where the first section, its header and its strings stand.
	plain := golang(goBlob("go1.26.8", list))
	at := bytes.Index(plain, []byte(goMagic))
	table := int(binary.LittleEndian.Uint64(plain[40:]))
	header := table + 64
	first := at + goHeader + 1 + len("go1.26.8") + 1 + goFrame
	blobOf := func(lengths ...uint64) []byte {
		b := append([]byte(goMagic), 8, goInline)
		b = append(b, make([]byte, goHeader-len(b))...)
		for i, n := range lengths {
			b = append(binary.AppendUvarint(b, n), strings.Repeat("x", int(n)*(1-i/(len(lengths)-1)))...)
		}
		return b
	}
	pointers := func(size byte, version uint64) []byte {
		b := append([]byte(goMagic), size, 0)
		b = binary.LittleEndian.AppendUint64(b, version)
		return append(b, make([]byte, goHeader-len(b))...)
	}
	huge := strings.Repeat("x", maxModuleWord+1)
	onlyLib := Modules{Toolchain: "go1.26.8", Deps: []Module{lib}}
	a := Module{Ecosystem: "crates.io", Path: "a", Version: "1.0.0", Source: "crates.io"}
	const crateA = `{"name":"a","version":"1.0.0","source":"crates.io"}`

	tests := map[string]struct {
		data   []byte
		offset int // -1 for anywhere in the file
		says   string
		want   Modules
	}{
		"magic only":          {[]byte(elfMagic), -1, "ends before 16 bytes", Modules{}},
		"odd section headers": {set16(bytes.Clone(plain), 58, 40), 58, "40 bytes instead of 64", Modules{}},
		"many sections":       {set16(bytes.Clone(plain), 60, maxSections+1), 60, "4097 section headers", Modules{}},
		"names in no section": {set16(bytes.Clone(plain), 62, 3), 62, "section 3 of 3 has the names", Modules{}},
		"headers beyond":      {set(bytes.Clone(plain), 40, 1<<40), -1, "the file ends before 192 bytes", Modules{}},
		"headers wrap around": {set(bytes.Clone(plain), 40, 1<<64-64), -1, "the file ends before 192 bytes", Modules{}},
		"names beyond":        {set(bytes.Clone(plain), header+64+24, 1<<40), -1, "the file ends before", Modules{}},
		"Go beyond":           {set(bytes.Clone(plain), header+24, 1<<40), header, "beyond the end", Modules{}},
		"Go too long":         {set(bytes.Clone(plain), header+32, 1<<40), header, "beyond the end", Modules{}},
		"Rust beyond":         {set(rust([]byte(strings.Repeat("x", len(goBlob("go1.26.8", list))))), header+24, 1<<63), header, "beyond the end", Modules{}},
		"Go string of 1 EiB":  {golang(blobOf(8, 1<<60)), at + goHeader + 9, "string of 1152921504606846976 bytes", Modules{Toolchain: "xxxxxxxx"}},
		"Go string past end":  {golang(blobOf(8, maxGoText)), -1, "the file ends before 524288 bytes", Modules{Toolchain: "xxxxxxxx"}},
		"giant Go version":    {golang(blobOf(maxGoVersion+1, 0)), at + goHeader, "string of 257 bytes", Modules{}},
		"no length":           {golang(append(blobOf(0, 0)[:goHeader], bytes.Repeat([]byte{0xff}, 20)...)), at + goHeader, "without a length", Modules{}},
		"pointers of 3 bytes": {golang(pointers(3, 1)), at + goAtPtrSize, "pointers of 3 bytes", Modules{}},
		"pointer nowhere":     {golang(pointers(8, 1<<40)), at + goAtPtrs, "address 0x10000000000", Modules{}},
		"one column":          {golang(goBlob("go1.26.8", "dep\tx\n"+list)), first, "1 columns", good},
		"four columns":        {golang(goBlob("go1.26.8", list+"dep\tx\ty\tz\tz\n")), first + len(list), "4 columns", good},
		"replaces nothing":    {golang(goBlob("go1.26.8", "=>\tx\ty\tz\n"+list)), first, "replaces none", good},
		"replaced twice":      {golang(goBlob("go1.26.8", "mod\tx\ty\n=>\tm\tv1\t\n=>\tm\tv2\t\n")), first + 17, "replaces none", Modules{Main: Module{Ecosystem: "Go", Path: "m", Version: "v1", ReplacedPath: "x", ReplacedVersion: "y"}, Toolchain: "go1.26.8", Deps: []Module{lib}}},
		"long path":           {golang(goBlob("go1.26.8", "dep\t"+huge+"\tv1\t\n"+list)), first + 1, "word of 1025 bytes", good},
		"Go modules by the ten thousand": {
			golang(goBlob("go1.26.8", strings.Repeat("dep\td\tv2\t\n", 2*maxModules))), first + 2 + (maxModules-1)*10, "more than 4096 modules",
			Modules{Toolchain: "go1.26.8", Deps: append([]Module{lib}, repeat(good.Deps[1], maxModules-1)...)},
		},
		"no list":         {golang(goBlob("go1.26.8", "")), -1, "", onlyLib},
		"list of nothing": {golang(goBlob("go1.26.8", "\n\t\n=\nbuild\t=>\n")), -1, "", onlyLib},

		"no zlib":          {rust(nil), at, "audit data: unexpected EOF", Modules{}},
		"other zlib":       {rust(make([]byte, 40)), at, "audit data: zlib: invalid header", Modules{}},
		"cut zlib":         {rust(packed(t, `{"packages":[`+crateA+`]}`)[:20]), at, "unexpected EOF", Modules{}},
		"wrong checksum":   {rust(spoil(packed(t, `{"packages":[`+crateA+`]}`))), at, "invalid checksum", Modules{Deps: []Module{a}}},
		"giant section":    {rust(make([]byte, maxAuditPacked+1)), -1, "audit data of 524289 bytes", Modules{}},
		"zlib bomb":        {crates(`{"packages":[` + crateA + `]` + strings.Repeat(" ", 200<<20)), at, "more than 8388608 bytes", Modules{Deps: []Module{a}}},
		"bomb in a name":   {crates(`{"packages":[` + crateA + `,{"name":"` + strings.Repeat("a", 9<<20)), at, "more than 8388608 bytes", Modules{Deps: []Module{a}}},
		"deep JSON":        {crates(`{"x":` + strings.Repeat("[", 1<<20)), at, "exceeded max depth", Modules{}},
		"a million crates": {crates(`{"packages":[{}` + strings.Repeat(",{}", 1e6) + `]}`), at, "more than 4096 modules", Modules{Deps: repeat(Module{}, maxModules)}},
		"long crate":       {crates(`{"packages":[{"name":"` + huge + `"},` + crateA + `]}`), at, "word of 1025 bytes", Modules{Deps: []Module{a}}},
		"much text": {
			crates(`{"packages":[` + crateA + strings.Repeat(`,{"name":"`+huge[1:]+`"}`, 2048) + `]}`), at, "more than 1048576 bytes",
			Modules{Deps: append([]Module{a}, repeat(Module{Path: huge[1:]}, 1023)...)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := readModules(test.data)
			if test.says == "" {
				if err != nil {
					t.Error(err)
				}
			} else if fe, ok := errors.AsType[*FormatError](err); !ok || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got error %v, want one that says %q", err, test.says)
			} else if fe.Offset < 0 || fe.Offset > int64(len(test.data)) || test.offset >= 0 && fe.Offset != int64(test.offset) {
				t.Errorf("got %v, want it at offset %d of %d", err, test.offset, len(test.data))
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %.2000v\nwant %.2000v", fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", test.want))
			}
		})
	}
}

// set16 overwrites the 16 bits at offset.
func set16(data []byte, offset int, v uint16) []byte {
	binary.LittleEndian.PutUint16(data[offset:], v)
	return data
}

// spoil changes the last byte.
func spoil(data []byte) []byte {
	data[len(data)-1] ^= 1
	return data
}

// The worst that a file of any size can say costs a bounded amount of memory and
// of reading.
func TestReadModulesBounds(t *testing.T) {
	m := moduleMaker()
	var text strings.Builder
	text.WriteString(`{"packages":[{"name":"`)
	text.WriteString(strings.Repeat("a", maxAudit))
	data := m.withSections(
		made{rustSection, packed(t, text.String()), progbits},
		made{goSection, goBlob("go1.26.8", strings.Repeat("dep\t\t\n", (maxGoText-64)/6)), progbits})
	total := 0
	r := readerFunc(func(b []byte, off int64) (int, error) {
		total += len(b)
		clear(b)
		if off < int64(len(data)) {
			copy(b, data[off:])
		}
		return len(b), nil
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ReadModules(r, math.MaxInt64)
	runtime.ReadMemStats(&after)
	if _, ok := errors.AsType[*FormatError](err); !ok {
		t.Error(err)
	}
	if total > elfBudget {
		t.Errorf("%d bytes were read", total)
	}
	// What was allocated in all bounds what was held at any time.
	if held := after.TotalAlloc - before.TotalAlloc; held > 64<<20 {
		t.Errorf("%d bytes were allocated", held)
	}
}

// Many names of sections and sections of many names do not add up.
func TestReadModulesManySections(t *testing.T) {
	sections := repeat(made{".dep-v" + strings.Repeat("x", 40), nil, progbits}, maxSections-3)
	last := made{goSection, goBlob("go1.26.8", ""), progbits}
	got, err := readModules(moduleMaker().withSections(append(sections, last)...))
	// The names take more than is read of them, so the last one is not found.
	if !errors.Is(err, ErrNoModules) {
		t.Errorf("%+v, %v", got, err)
	}
	sections = append([]made{last}, sections...)
	if got, err := readModules(moduleMaker().withSections(sections...)); err != nil || got.Toolchain != "go1.26.8" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCacheModules(t *testing.T) {
	ctx := t.Context()
	maker := moduleMaker()
	const list = "mod\tm\tv1\t\n"
	tests := map[string]struct {
		data   []byte
		opened int64 // for three questions
		check  func(Modules, error) bool
	}{
		"list": {maker.withSections(made{goSection, goBlob("go1.26.8", list), progbits}), 1, func(m Modules, err error) bool {
			return err == nil && m.Main.Path == "m"
		}},
		"none":   {maker.bytes(), 1, func(_ Modules, err error) bool { return errors.Is(err, ErrNoModules) }},
		"script": {[]byte("#!/bin/sh\n"), 1, func(_ Modules, err error) bool { return errors.Is(err, ErrNoModules) }},
		"malformed": {maker.withSections(made{goSection, goBlob("go1.26.8", list+"dep\n"), progbits}), 1, func(m Modules, err error) bool {
			_, ok := errors.AsType[*FormatError](err)
			return ok && m.Main.Path == "m"
		}},
		"large": {
			maker.withSections(made{goSection, goBlob("go1.26.8", list+strings.Repeat("dep\td\tv2\t\n", 1000)), progbits}), 3,
			func(m Modules, err error) bool { return err == nil && len(m.Deps) == 1001 },
		},
	}
	for name, test := range tests {
		c, s := NewCache(0), write(t, test.data)
		for range 3 {
			if m, err := c.Modules(ctx, s.Key, s.Open); !test.check(m, err) {
				t.Errorf("%s: %+v, %v", name, m, err)
			}
		}
		if n := s.opened.Load(); n != test.opened {
			t.Errorf("%s: opened %d times", name, n)
		}
	}
	s := write(t, tests["list"].data)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := NewCache(0).Modules(ended, s.Key, s.Open); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	c := NewCache(0)
	refuse := func() (*os.File, error) { return nil, fs.ErrPermission }
	if _, err := c.Modules(ctx, s.Key, refuse); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("refused: %v", err)
	}
	if _, err := c.Modules(ctx, s.Key, s.Open); err != nil {
		t.Errorf("the refusal was remembered: %v", err)
	}
}

// A list is not believed of a file that changed while, or before, it was read.
func TestCacheModulesChanged(t *testing.T) {
	data := moduleMaker().withSections(made{goSection, goBlob("go1.26.8", "mod\tm\tv1\t\n"), progbits})
	s, c := write(t, data), NewCache(0)
	tick(t, s.path)
	whileOpen := func() (*os.File, error) {
		f, err := s.Open()
		if err != nil {
			return nil, err
		}
		return f, os.WriteFile(s.path, data[:len(data)/2], 0o600)
	}
	for range 2 {
		if m, err := c.Modules(t.Context(), s.Key, whileOpen); !errors.Is(err, ErrChanged) || !reflect.DeepEqual(m, Modules{}) {
			t.Errorf("%+v, %v", m, err)
		}
	}
}

// FuzzModules holds that whatever a file says, the reading stays within the file
// and the limits, gives the same list twice, and names a place in the file when it
// complains.
func FuzzModules(f *testing.F) {
	for _, m := range makers() {
		f.Add(m.withSections(
			made{rustSection, packed(f, `{"packages":[{"name":"a","version":"1.0.0","source":"crates.io","root":true},{"name":"b"}]}`), progbits},
			made{goSection, goBlob("go1.26.8", "path\tp\nmod\tm\tv1\t\ndep\ta\tv1\th1:=\ndep\tb\tv1\n=>\tc\tv2\t\nbuild\tx=y\n"), progbits}))
	}
	m := moduleMaker()
	m.strtab = string(goBlob("go1.17", "mod\tm\tv1\t\n"))
	f.Add(m.bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		size, total := int64(len(data)), 0
		r := readerFunc(func(b []byte, off int64) (int, error) {
			if off < 0 || off+int64(len(b)) > size {
				t.Fatalf("read of %d bytes at %d of %d", len(b), off, size)
			}
			total += len(b)
			return copy(b, data[off:]), nil
		})
		got, err := ReadModules(r, size)
		if total > elfBudget {
			t.Errorf("%d bytes were read", total)
		}
		checkModules(t, got, err, size)
		again, err2 := readModules(data)
		if !reflect.DeepEqual(got, again) || (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Errorf("%+v, %v and then %+v, %v", got, err, again, err2)
		}
	})
}

// FuzzModuleLists holds the same of lists that are found where they should be.
func FuzzModuleLists(f *testing.F) {
	f.Add("go1.26.8", "mod\tm\tv1\t\ndep\ta\tv1\th1:=\n=>\tc\tv2\t\n", `{"packages":[{"name":"a","version":"1.0.0","root":true}]}`)
	f.Add("devel", "\t\n", `{"packages":[{"name":"\u0000"}],"x":[{}]}`)
	f.Fuzz(func(t *testing.T, version, list, crates string) {
		if len(version) > maxGoVersion {
			return
		}
		data := moduleMaker().withSections(
			made{goSection, goBlob(version, list), progbits}, made{rustSection, packed(t, crates), progbits})
		got, err := readModules(data)
		checkModules(t, got, err, int64(len(data)))
		if errors.Is(err, ErrNoModules) || got.Toolchain != version {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// checkModules checks what holds of every answer about a file of size bytes.
func checkModules(t *testing.T, m Modules, err error, size int64) {
	t.Helper()
	fe, ok := errors.AsType[*FormatError](err)
	switch {
	case err == nil:
	case errors.Is(err, ErrNoModules):
		if !reflect.DeepEqual(m, Modules{}) {
			t.Errorf("no modules, but %+v", m)
		}
	case !ok:
		t.Errorf("error of another kind: %v", err)
	case fe.Offset < 0 || fe.Offset > size:
		t.Errorf("%v in a file of %d bytes", err, size)
	}
	held := 0
	for _, mod := range append([]Module{m.Main}, m.Deps...) {
		for _, word := range mod.words() {
			if held += len(*word); len(*word) > maxModuleWord {
				t.Errorf("word of %d bytes", len(*word))
			}
		}
		if e := mod.Ecosystem; e != "" && e != EcosystemGo && e != EcosystemCrate {
			t.Errorf("ecosystem %q", e)
		}
	}
	if held > maxModuleBytes || len(m.Deps) > maxModules || len(m.Toolchain) > maxGoVersion {
		t.Errorf("%d bytes of %d modules are held", held, len(m.Deps))
	}
}
