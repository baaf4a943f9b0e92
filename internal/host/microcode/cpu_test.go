package microcode

import (
	"reflect"
	"strings"
	"testing"
)

const cpuinfo = `processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 85
model name	: Intel(R) Xeon(R) : Gold
stepping	: 4
microcode	: 0x2006e05
flags		: fpu vme hypervisorish
bugs		: cpu_meltdown

processor	: 1
vendor_id	: AuthenticAMD
cpu family	: 25
model		: 1
model name	: AMD EPYC
stepping	: 1
microcode	: 0xa0011d5
flags		: fpu vme hypervisor lahf_lm

processor	: 2
vendor_id	: GenuineIntel
cpu family	: 15
model		: 6
stepping	: 8
`

func TestParseCPUInfo(t *testing.T) {
	want := []CPU{
		{Vendor: Intel, Family: 6, Model: 85, Stepping: 4, Signature: 0x50654, Revision: 0x2006e05, RevisionKnown: true},
		{Number: 1, Vendor: AMD, Family: 25, Model: 1, Stepping: 1, Signature: 0xa00f11, Revision: 0xa0011d5, RevisionKnown: true, Hypervisor: true},
		{Number: 2, Vendor: Intel, Family: 15, Model: 6, Stepping: 8, Signature: 0xf68},
	}
	for _, in := range []string{cpuinfo, cpuinfo + "\n", strings.TrimSuffix(cpuinfo, "\n")} {
		if got, err := ParseCPUInfo(strings.NewReader(in)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	arm := "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\n"
	if got, err := ParseCPUInfo(strings.NewReader(arm)); err != nil || len(got) != 0 {
		t.Errorf("ARM: %+v, %v", got, err)
	}
}

func TestParseCPUInfoDamage(t *testing.T) {
	for in, want := range map[string]string{
		"processor\t: -1\n":                             "offset 0: processor",
		"processor\t: 99999999999\n":                    "processor",
		"cpu family\t: 400\n":                           "cpu family",
		"model\t: 256\n":                                "model",
		"stepping\t: unknown\n":                         "stepping",
		"stepping\t: 16\n":                              "stepping",
		"microcode\t: 12\n":                             "no hexadecimal",
		"microcode\t: 0x1ffffffff\n":                    "no hexadecimal",
		"processor\t: 0\nvendor_id\t: GenuineIntel\n\n": "offset 39: processor without",
		"flags\t: " + strings.Repeat("f", 1<<20):        "line of more than",
	} {
		if got, err := ParseCPUInfo(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 200 {
			t.Errorf("%.40q: %+v, %v", in, got, err)
		}
	}
	many := strings.Repeat("processor\t: 0\nvendor_id\t: x\ncpu family\t: 6\nmodel\t: 1\nstepping\t: 1\n\n", maxCPUs+10)
	if got, err := ParseCPUInfo(strings.NewReader(many)); err == nil || len(got) > maxCPUs+1 {
		t.Errorf("%d processors, %v", len(got), err)
	}
}

func TestReadCPUs(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "proc/cpuinfo", []byte(cpuinfo))
	cpu := "sys/devices/system/cpu/cpu"
	write(t, dir, cpu+"0/microcode/version", []byte("0x2007006\n"))
	write(t, dir, cpu+"0/microcode/processor_flags", []byte("0x1\n"))
	write(t, dir, cpu+"2/microcode/version", []byte("0xffffffffffffff\n"))
	got, err := ReadCPUs(openRoot(t, dir+"/proc"), openRoot(t, dir+"/sys"))
	if len(got) != 3 || got[0].Revision != 0x2007006 || got[0].Platform != 1 || !got[0].PlatformKnown ||
		got[1].Revision != 0xa0011d5 || got[1].PlatformKnown || got[2].RevisionKnown {
		t.Errorf("%+v", got)
	}
	if err == nil || !strings.Contains(err.Error(), "devices/system/cpu/cpu2/microcode/version: offset 0: ") || strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
	if _, err := ReadCPUs(openRoot(t, dir), openRoot(t, dir)); err == nil {
		t.Error("no cpuinfo and no error")
	}
}

func TestKinds(t *testing.T) {
	a, b, old := skylake, skylake, skylake
	b.Number, old.Number, old.Revision = 1, 2, 7
	if got := Kinds([]CPU{a, b, old}); len(got) != 2 || got[0].Count != 2 || got[1].Number != 2 {
		t.Errorf("%+v", got)
	}
}

// TestSignature compares with the arithmetic of arch/x86/lib/cpu.c, turned round.
func TestSignature(t *testing.T) {
	for family := uint32(0); family <= 0xf+0xff; family++ {
		for model := uint32(0); model <= 0xff; model++ {
			s := signature(family, model, 5)
			f, m := s>>8&0xf, s>>4&0xf
			if f == 0xf {
				f += s >> 20 & 0xff
			}
			if f >= 6 {
				m += s >> 16 & 0xf << 4
			}
			if f != family || f >= 6 && m != model || s&0xf != 5 {
				t.Fatalf("family %#x model %#x: %#x", family, model, s)
			}
		}
	}
}

// TestMachine reads this machine's own.
func TestMachine(t *testing.T) {
	cpus, err := ReadCPUs(openRoot(t, "/proc"), openRoot(t, "/sys"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Kinds(cpus) {
		u, err := Installed(openRoot(t, "/"), "", k.CPU)
		t.Logf("%d of %+v: %+v, %v", k.Count, k.CPU, u, err)
	}
	images, err := Images(openRoot(t, "/"))
	t.Log(images, err)
}
