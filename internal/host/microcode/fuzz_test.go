package microcode

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// holds says that an update stands where it is said to.
func holds(t *testing.T, b []byte, u Update, err error) {
	t.Helper()
	if u == (Update{}) {
		if err == nil {
			t.Fatal("neither update nor error")
		}
		return
	}
	if u.Offset < 0 || u.Offset+8 > int64(len(b)) || le.Uint32(b[u.Offset+4:]) != u.Revision {
		t.Fatalf("%+v in %d bytes", u, len(b))
	}
	var d *Error
	if errors.As(err, &d) && (d.Offset < u.Offset || d.Offset > int64(len(b))) {
		t.Fatalf("%+v before %v", u, err)
	}
}

// mend makes the checksums of the first update right, which a fuzzer does not find.
func mend(b []byte) {
	if len(b) < intelHeader {
		return
	}
	data, total := int64(le.Uint32(b[28:])), int64(le.Uint32(b[32:]))
	if data%4 != 0 || intelHeader+data > int64(len(b)) {
		return
	}
	main := b[:intelHeader+data]
	le.PutUint32(main[16:], 0)
	le.PutUint32(main[16:], -sum(main))
	if total > int64(len(b)) || total < int64(len(main))+intelExtHeader {
		return
	}
	table := b[len(main):total]
	le.PutUint32(table[4:], 0)
	le.PutUint32(table[4:], -sum(table))
}

func FuzzIntel(f *testing.F) {
	f.Add(intelFile(1, 0x01012024, 0x50654, 1, 64, processor{0x906e9, 2}))
	f.Add(intelFile(0, 0, 0x50654, 1, 64))
	f.Add(bytes.Repeat(intelFile(2, 0x01012024, 0x50654, 1, 4), 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := newest(b, skylake)
		holds(t, b, u, err)
		b = bytes.Clone(b)
		mend(b)
		u, err = newest(b, skylake)
		holds(t, b, u, err)
	})
}

func FuzzAMD(f *testing.F) {
	f.Add(amdFile([]equiv{{0x600f20, 0x6020}}, patch{0x06000852, 0x02062018, 0x6020, 100, 0}))
	f.Add(amdFile([]equiv{{0xa00f11, 0xa011}}, patch{0x0a0011d5, 0x02062018, 0xa011, 64, 0}, patch{0x0a0011d6, 0x02062018, 0xa011, 64, 0}))
	f.Add(amdFile([]equiv{{0x600f20, 0x6020}}, patch{0, 0, 0x6020, 64, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, cpu := range []CPU{dozer, zen3} {
			u, err := newest(b, cpu)
			holds(t, b, u, err)
		}
	})
}

func FuzzEarly(f *testing.F) {
	f.Add(image(f))
	f.Add(head(members[Intel], 0o100644, 4, "abcd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, cpu := range []CPU{zen3, kaby} {
			offset, size, err := findMember(bytes.NewReader(b), int64(len(b)), members[cpu.Vendor])
			if err == nil && (offset < cpioHeader || size < 0 || offset+size > int64(len(b))) {
				t.Fatalf("%d bytes at %d of %d", size, offset, len(b))
			}
			if u, err := EarlyIn(bytes.NewReader(b), int64(len(b)), cpu); u == (Update{}) && err == nil {
				t.Fatal("neither update nor error")
			}
		}
	})
}

func FuzzCPUInfo(f *testing.F) {
	f.Add(cpuinfo)
	f.Fuzz(func(t *testing.T, s string) {
		cpus, _ := ParseCPUInfo(strings.NewReader(s))
		for _, c := range cpus {
			if c.Vendor == "" || c.Stepping > 0xf || c.Model > 0xff || c.Family > 0xf+0xff || c.Number < 0 {
				t.Fatalf("%+v", c)
			}
		}
	})
}
