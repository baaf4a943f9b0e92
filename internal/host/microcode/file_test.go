package microcode

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
)

func TestIntel(t *testing.T) {
	older := intelFile(0x2006e05, 0x07122021, 0x50654, 0xb7, 1000)
	newer := intelFile(0x2007006, 0x03062023, 0x50654, 0x01, 2000)
	foreign := intelFile(0x99999999, 0x03062023, 0x50654, 0x80, 64)
	other := intelFile(0xf4, 0x02232023, 0x906e9, 0x2a, 512)
	extended := intelFile(0x70, 0x01012024, 0x906ea, 0x22, 64, processor{0x50654, 1}, processor{0x906e9, 2})
	legacy := intelFile(5, 0x13992020, 0x633, 0, intelData) // its header gives no sizes
	le.PutUint32(legacy[28:], 0)
	le.PutUint32(legacy[32:], 0)
	le.PutUint32(legacy[16:], 0)
	le.PutUint32(legacy[16:], -sum(legacy))
	pentium := CPU{Vendor: Intel, Family: 6, Model: 3, Stepping: 3, Signature: 0x633, PlatformKnown: true}
	unplaced := skylake
	unplaced.PlatformKnown = false
	all := slices.Concat(older, newer, foreign, other, legacy, make([]byte, 512))
	for _, c := range []struct {
		name string
		b    []byte
		cpu  CPU
		want Update
		err  error
	}{
		{"newest", all, skylake, Update{Revision: 0x2007006, Date: "2023-03-06", Offset: int64(len(older))}, nil},
		{"other", all, kaby, Update{Revision: 0xf4, Date: "2023-02-23", Offset: int64(len(older) + len(newer) + len(foreign))}, nil},
		{"extended", extended, skylake, Update{Revision: 0x70, Date: "2024-01-01"}, nil},
		{"extended too", extended, kaby, Update{Revision: 0x70, Date: "2024-01-01"}, nil},
		{"no sizes", legacy, pentium, Update{Revision: 5}, nil},
		{"none", other, skylake, Update{}, ErrNoUpdate},
		{"platform", foreign, skylake, Update{}, ErrNoUpdate},
		{"platform unknown", newer, unplaced, Update{Revision: 0x2007006, Date: "2023-03-06"}, ErrPlatform},
		{"revision 0", intelFile(0, 0x01012024, 0x50654, 1, 64), skylake, Update{}, ErrNoUpdate},
		{"empty", nil, skylake, Update{}, ErrNoUpdate},
		{"AMD", all, zen3, Update{}, nil},
	} {
		got, err := newest(c.b, c.cpu)
		if c.name == "AMD" {
			if err == nil {
				t.Error("an AMD processor takes Intel's file")
			}
			continue
		}
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

func TestIntelDamage(t *testing.T) {
	good := intelFile(1, 0x01012024, 0x50654, 1, 64, processor{0x906e9, 2}, processor{0x906ea, 2})
	table := intelHeader + 64
	put := func(at int, v uint32, fix bool) []byte {
		b := slices.Clone(good)
		le.PutUint32(b[at:], v)
		if fix {
			main := b[:table]
			le.PutUint32(main[16:], 0)
			le.PutUint32(main[16:], -sum(main))
		}
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"short":              {good[:40], "offset 0: 40 bytes where a header has 48"},
		"cut":                {good[:100], "offset 32: update of"},
		"version":            {put(0, 2, true), "header version 0x2"},
		"loader":             {put(20, 7, true), "loader version 0x7"},
		"total past the end": {put(32, 0xfffffffc, true), "update of 4294967292 bytes"},
		"data past total":    {put(28, 0xfffffffc, true), "4294967292 bytes of data in an update of"},
		"data odd":           {put(28, 63, true), "63 bytes of data"},
		"total odd":          {put(32, 155, true), "in an update of 155"},
		"total zero":         {put(32, 0, true), "in an update of 0"},
		"checksum":           {put(4, 2, false), "offset 16: checksum does not match: off by 0x1"},
		"table count":        {put(table, 0xffffffff, true), "offset 112: table of 4294967295 processors in 44 bytes"},
		"table sum":          {put(table+4, 5, true), "checksum of the table does not match"},
		"table overlaps":     {put(28, 64+28, true), "checksum does not match"},
		"entry sum": {func() []byte {
			b := slices.Clone(good)
			le.PutUint32(b[table+28:], le.Uint32(b[table+28:])+1)
			le.PutUint32(b[table+40:], le.Uint32(b[table+40:])-1)
			return b
		}(), "checksum of processor 0x906e9"},
		"second": {append(intelFile(9, 0, 0x50654, 1, 64), "rubbish follows here, enough of it for a header, and more"...), "offset 112: header version"},
	} {
		u, err := newest(c.b, skylake)
		var d *Error
		if !errors.As(err, &d) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
		if name == "second" && u.Revision != 9 {
			t.Errorf("what stands before the damage: %+v", u)
		}
	}
	many := slices.Repeat(intelFile(1, 0, 1, 1, 4), maxUpdates+1)
	if _, err := newest(many, skylake); err == nil || !strings.Contains(err.Error(), "more than 8192 updates") {
		t.Error(err)
	}
}

func TestAMD(t *testing.T) {
	first := amdFile([]equiv{{0x600f20, 0x6020}, {0x600f12, 0x6012}},
		patch{0x0600063e, 0x02072018, 0x6012, 100, 0}, patch{0x06000852, 0x02062018, 0x6020, 2592, 0}, patch{0x06000999, 0, 0x6020, 64, 7})
	second := amdFile([]equiv{{0xa00f11, 0xa011}, {0xa00f10, 0xa010}},
		patch{0x0a0011d1, 0x07102023, 0xa011, 5568, 0}, patch{0x0a0011d5, 0x01302024, 0xa011, 5568, 0}, patch{0x0a001079, 0, 0xa010, 64, 0})
	both := slices.Concat(first, second, make([]byte, 300))
	swapped := amdFile([]equiv{{0x600f20, 0xa011}}, patch{0x06000852, 0, 0xa011, 64, 0}) // of another family than it says
	for _, c := range []struct {
		name string
		b    []byte
		cpu  CPU
		want uint32
		date string
	}{
		{"equivalence", both, dozer, 0x06000852, "2018-02-06"},
		{"newest of a Zen", both, zen3, 0x0a0011d5, "2024-01-30"},
		{"Zen without table", amdFile(nil, patch{0x0a0011d5, 0, 1, 64, 0}), zen3, 0x0a0011d5, ""},
		{"none", second, dozer, 0, ""},
		{"family", swapped, dozer, 0, ""},
	} {
		u, err := newest(c.b, c.cpu)
		if u.Revision != c.want || u.Date != c.date || (c.want == 0) != errors.Is(err, ErrNoUpdate) || c.want != 0 && err != nil {
			t.Errorf("%s: %+v, %v", c.name, u, err)
		}
		if c.want != 0 && binary.LittleEndian.Uint32(c.b[u.Offset+4:]) != c.want {
			t.Errorf("%s: offset %d", c.name, u.Offset)
		}
	}
}

func TestAMDDamage(t *testing.T) {
	good := amdFile([]equiv{{0xa00f11, 0xa011}}, patch{0x0a0011d1, 0x07102023, 0xa011, 200, 0}, patch{0x0a0011d5, 0x01302024, 0xa011, 200, 0})
	section := amdHeader + 2*amdEntry
	put := func(at int, v uint32) []byte {
		b := slices.Clone(good)
		le.PutUint32(b[at:], v)
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		want string
		rev  uint32
	}{
		"short":             {good[:8], "offset 0: 8 bytes where a container's header has 12", 0},
		"magic":             {put(0, 1), "container begins with 0x1", 0},
		"type":              {put(4, 1), "offset 4: section of type 1", 0},
		"table past end":    {put(8, 0xfffffff0), "offset 8: table of 4294967280 bytes where", 0},
		"table odd":         {put(8, 17), "table of 17 bytes", 0},
		"table empty":       {put(8, 0), "table of 0 bytes", 0},
		"table absurd":      {append(put(8, 1<<20), make([]byte, 1<<20)...), "table of 1048576 bytes", 0},
		"table overlaps":    {put(8, 48), "section of type", 0},
		"patch type":        {put(section, 2), "offset 44: section of type 2", 0},
		"patch past end":    {put(section+4, 0xffffffff), "offset 48: patch of 4294967295 bytes where", 0},
		"patch short":       {put(section+4, 60), "patch of 60 bytes where its header has 64", 0},
		"second patch cut":  {good[:len(good)-1], "patch of 200 bytes where 199 are left", 0x0a0011d1},
		"second header cut": {good[:section+8+200+5], "5 bytes where a section's header has 8", 0x0a0011d1},
		"patches overlap":   {put(section+4, 100), "section of type", 0x0a0011d1},
	} {
		u, err := newest(c.b, zen3)
		var d *Error
		if !errors.As(err, &d) || !strings.Contains(err.Error(), c.want) || u.Revision != c.rev {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
	var patches []patch
	for range maxUpdates + 1 {
		patches = append(patches, patch{1, 0, 1, 64, 0})
	}
	if _, err := newest(amdFile(nil, patches...), zen3); err == nil || !strings.Contains(err.Error(), "more than 8192 patches") {
		t.Error(err)
	}
}

func TestInstalled(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	const rel = "6.1.0-50-amd64"
	if _, err := Installed(root, rel, skylake); !errors.Is(err, ErrNoUpdate) {
		t.Error(err)
	}
	intel := func(rev uint32) []byte { return intelFile(rev, 0x01012024, 0x50654, 1, 64) }
	amd := func(rev uint32) []byte { return amdFile([]equiv{{0xa00f11, 0xa011}}, patch{rev, 0, 0xa011, 64, 0}) }
	ask := func(cpu CPU, rev uint32, file string) {
		t.Helper()
		u, err := Installed(root, rel, cpu)
		if err != nil || u.Revision != rev || u.File != file {
			t.Errorf("%+v, %v; want %#x of %s", u, err, rev, file)
		}
	}
	write(t, dir, "usr/lib/firmware/amd-ucode/microcode_amd_fam19h.bin.xz", pack(t, amd(0x0a001101), "xz", "-c", "--check=crc32"))
	ask(zen3, 0x0a001101, "/usr/lib/firmware/amd-ucode/microcode_amd_fam19h.bin.xz")
	write(t, dir, "lib/firmware/amd-ucode/microcode_amd_fam19h.bin.zst", pack(t, amd(0x0a001102), "zstd", "-qc"))
	ask(zen3, 0x0a001102, "/lib/firmware/amd-ucode/microcode_amd_fam19h.bin.zst")
	write(t, dir, "lib/firmware/amd-ucode/microcode_amd_fam19h.bin", amd(0x0a001103))
	ask(zen3, 0x0a001103, "/lib/firmware/amd-ucode/microcode_amd_fam19h.bin")
	write(t, dir, "lib/firmware/intel-ucode/06-55-04", intel(1))
	ask(skylake, 1, "/lib/firmware/intel-ucode/06-55-04")
	write(t, dir, "lib/firmware/intel-ucode/06-55-04.initramfs", intel(2))
	ask(skylake, 2, "/lib/firmware/intel-ucode/06-55-04.initramfs")
	write(t, dir, "lib/firmware/updates/"+rel+"/intel-ucode/06-55-04", intel(3))
	ask(skylake, 3, "/lib/firmware/updates/"+rel+"/intel-ucode/06-55-04")
	if _, err := Installed(root, "../../..", skylake); err != nil {
		t.Error(err)
	}

	write(t, dir, "lib/firmware/amd-ucode/microcode_amd_fam15h.bin", []byte("DMA\x00rubbish"))
	u, err := Installed(root, rel, dozer)
	if u != (Update{}) || err == nil || !strings.HasPrefix(err.Error(), "lib/firmware/amd-ucode/microcode_amd_fam15h.bin: offset 0: ") {
		t.Errorf("%+v, %v", u, err)
	}
	write(t, dir, "lib/firmware/intel-ucode/06-9e-09.xz", pack(t, nil, "sh", "-c", "head -c 40M /dev/zero | xz -0"))
	if _, err := Installed(root, rel, kaby); err == nil || !errors.Is(err, file.ErrTooLarge) || !strings.Contains(err.Error(), "06-9e-09.xz: offset ") {
		t.Error(err)
	}
	if _, err := Installed(root, rel, CPU{Vendor: "HygonGenuine"}); !errors.Is(err, ErrNoUpdate) {
		t.Error(err)
	}
}
