package microcode

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Limits of what the kernel says of its processors.
const (
	maxCPUs    = 1 << 14
	maxCPUInfo = 64 << 20  // bytes of /proc/cpuinfo; 2 KiB a processor
	maxLine    = 256 << 10 // bytes of one line of it
	maxAttr    = 4096      // bytes of a file of sysfs: one page
)

// CPU is one logical processor that is online.
type CPU struct {
	Number int
	Vendor string // as CPUID spells it: Intel, AMD or another
	// Family, Model and Stepping are those of /proc/cpuinfo: the extended parts are
	// added. Signature is what CPUID(1) returns in EAX for them.
	Family, Model, Stepping uint32
	Signature               uint32
	// Revision is that of the microcode which the processor runs. A hypervisor may
	// tell its guests what it likes.
	Revision      uint32
	RevisionKnown bool
	// Platform has the bit of the processor's platform (Intel's processor flags).
	Platform      uint32
	PlatformKnown bool
	// Hypervisor: the processor is a guest's, which loads no microcode.
	Hypervisor bool
}

// Kind is a set of processors for which the same microcode is, and is loaded.
type Kind struct {
	CPU   // of the lowest number
	Count int
}

// Kinds puts processors together that differ in their numbers alone.
func Kinds(cpus []CPU) []Kind {
	var kinds []Kind
	seen := make(map[CPU]int)
	for _, c := range cpus {
		key := c
		key.Number = 0
		i, ok := seen[key]
		if !ok {
			i = len(kinds)
			seen[key] = i
			kinds = append(kinds, Kind{CPU: c})
		}
		kinds[i].Count++
	}
	return kinds
}

// ReadCPUs lists the processors that are online, from procfs and sysfs at the roots proc
// and sys. Other architectures than x86 have none. The error joins what could not be
// read; the list is what could.
func ReadCPUs(proc, sys Root) ([]CPU, error) {
	f, err := proc.Open("cpuinfo")
	if err != nil {
		return nil, defect("cpuinfo", err)
	}
	defer f.Close()
	var errs []error
	cpus, err := ParseCPUInfo(f)
	if err != nil {
		errs = append(errs, defect("cpuinfo", err))
	}
	for i := range cpus {
		c := &cpus[i]
		dir := "devices/system/cpu/cpu" + strconv.Itoa(c.Number) + "/microcode/"
		// A guest's kernel has no such directory.
		if v, ok, err := readHex(sys, dir+"version"); err != nil {
			errs = append(errs, err)
		} else if ok {
			c.Revision, c.RevisionKnown = v, true
		}
		v, ok, err := readHex(sys, dir+"processor_flags")
		if err != nil {
			errs = append(errs, err)
		}
		c.Platform, c.PlatformKnown = v, ok
	}
	return cpus, errors.Join(errs...)
}

// readHex reads a file of sysfs that holds 0x and hexadecimal digits; false if there is
// none.
func readHex(sys Root, name string) (uint32, bool, error) {
	b, err := sys.ReadFile(name, maxAttr)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, defect(name, err)
	}
	v, err := parseHex(strings.TrimSuffix(string(b), "\n"))
	if err != nil {
		return 0, false, defect(name, formatErrorf(0, "%w", err))
	}
	return v, true, nil
}

func parseHex(s string) (uint32, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	v, err := strconv.ParseUint(digits, 16, 32)
	if !ok || err != nil {
		return 0, fmt.Errorf("%q is no hexadecimal number of 32 bits", clip(s))
	}
	return uint32(v), nil
}

// ParseCPUInfo parses /proc/cpuinfo of x86 (show_cpuinfo of arch/x86/kernel/cpu/proc.c):
// lines of a name, a tab or more, a colon and a value, and an empty line after each
// processor. The error is an *Error without a file name; processors before the bad line
// are returned, too.
func ParseCPUInfo(r io.Reader) ([]CPU, error) {
	in := bufio.NewReaderSize(r, maxLine)
	var cpus []CPU
	var p partial
	for next := 0; ; {
		line, err := in.ReadSlice('\n')
		start := next
		next += len(line)
		switch {
		case err == bufio.ErrBufferFull:
			return cpus, formatErrorf(start, "line of more than %d bytes", maxLine)
		case next > maxCPUInfo || len(cpus) > maxCPUs:
			return cpus, formatErrorf(start, "more than %d processors or %d bytes", maxCPUs, maxCPUInfo)
		case err != nil && err != io.EOF:
			return cpus, formatErrorf(start, "%w", err)
		}
		text := strings.TrimSuffix(string(line), "\n")
		if text == "" { // between processors, and at the end
			c, ok, bad := p.cpu()
			if bad != nil {
				return cpus, formatErrorf(start, "%w", bad)
			}
			if ok {
				cpus = append(cpus, c)
			}
			p = partial{}
			if err == io.EOF {
				return cpus, nil
			}
			continue
		}
		name, value, _ := strings.Cut(text, ":")
		if bad := p.set(strings.TrimRight(name, "\t "), strings.TrimSpace(value)); bad != nil {
			return cpus, formatErrorf(start, "%w", bad)
		}
	}
}

// partial is a processor of which some lines were read.
type partial struct {
	c    CPU
	seen [4]bool // processor, family, model, stepping
}

func (p *partial) set(name, value string) error {
	number := func(i int, v *uint32, limit uint64) error {
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || n > limit {
			return fmt.Errorf("%s %q", name, clip(value))
		}
		*v, p.seen[i] = uint32(n), true
		return nil
	}
	switch name {
	case "processor":
		var n uint32
		err := number(0, &n, 1<<20)
		p.c.Number = int(n)
		return err
	case "vendor_id":
		p.c.Vendor = clip(value)
	case "cpu family":
		return number(1, &p.c.Family, 0xf+0xff)
	case "model":
		return number(2, &p.c.Model, 0xff)
	case "stepping":
		return number(3, &p.c.Stepping, 0xf)
	case "microcode":
		v, err := parseHex(value)
		if err != nil {
			return err
		}
		p.c.Revision, p.c.RevisionKnown = v, true
	case "flags":
		p.c.Hypervisor = slices.Contains(strings.Fields(value), "hypervisor")
	}
	return nil
}

// cpu returns the processor; false if it is none of x86.
func (p *partial) cpu() (CPU, bool, error) {
	if p.c.Vendor == "" {
		return CPU{}, false, nil
	}
	if p.seen != [4]bool{true, true, true, true} {
		return CPU{}, false, errors.New("processor without number, family, model or stepping")
	}
	p.c.Signature = signature(p.c.Family, p.c.Model, p.c.Stepping)
	return p.c, true, nil
}

// signature is the inverse of x86_family, x86_model and x86_stepping of
// arch/x86/lib/cpu.c: families from 15 on have an extended part, and models one of four
// bits.
func signature(family, model, stepping uint32) uint32 {
	base := min(family, 0xf)
	return (family-base)<<20 | model>>4<<16 | base<<8 | model&0xf<<4 | stepping
}

// clip bounds what is quoted.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
