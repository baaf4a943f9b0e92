package sensor

import (
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/host/microcode"
)

// readMicrocode reads which microcode the processors run and which there is for them. What
// a hypervisor gives its guests cannot be changed by them.
func (m *machine) readMicrocode(r hostRoots) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "386" {
		return
	}
	cpus, err := microcode.ReadCPUs(r.proc, r.sys)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.errs = append(m.errs, err)
	}
	for _, k := range microcode.Kinds(cpus) {
		c := cpuMicrocode{Kind: k}
		if !k.Hypervisor && k.RevisionKnown && (k.Vendor == microcode.Intel || k.Vendor == microcode.AMD) {
			m.findMicrocode(r, &c)
		}
		m.microcode = append(m.microcode, c)
	}
}

// findMicrocode looks for updates: in the firmware files, and in what the kernel that will
// boot finds before it has a file system.
func (m *machine) findMicrocode(r hostRoots, c *cpuMicrocode) {
	c.installed, c.installedErr = microcode.Installed(r.root, m.running.Release, c.CPU)
	if name := c.installed.File; name != "" {
		if info, err := r.root.Stat(strings.TrimPrefix(name, "/")); err == nil {
			c.installedAt = info.Ctime
		}
	}
	names, err := microcode.Images(r.root)
	if err != nil {
		c.earlyErr = err
	}
	for _, name := range names {
		base := name
		if target, err := r.root.Readlink(strings.TrimPrefix(name, "/")); err == nil {
			base = target
		}
		if !m.bootsWith(base) {
			continue
		}
		c.ramdisks++
		u, err := microcode.Early(r.root, name, c.CPU)
		if err != nil && !errors.Is(err, microcode.ErrNoUpdate) {
			c.earlyErr = errors.Join(c.earlyErr, err)
		}
		if u.Revision > c.early.Revision {
			c.early = u
			c.earlyAt = time.Time{}
			if info, err := r.root.Stat(strings.TrimPrefix(name, "/")); err == nil {
				c.earlyAt = info.Ctime
			}
		}
	}
}

// bootsWith reports whether an initial ramdisk may go with the kernel that will boot: it
// does not name another one that is installed. Arch's intel-ucode.img names none.
func (m *machine) bootsWith(name string) bool {
	release := m.next.Release
	if m.nextErr != nil || release == "" {
		release = m.running.Release
	}
	if strings.HasSuffix(name, ".old") || strings.HasSuffix(name, ".bak") {
		return false
	}
	if release == "" || strings.Contains(name, release) {
		// Of releases of which one begins like the other, the longer is meant.
		return !slices.ContainsFunc(m.images, func(i bootImage) bool { return len(i.Release) > len(release) && strings.Contains(name, i.Release) })
	}
	return !slices.ContainsFunc(m.images, func(i bootImage) bool {
		return i.Release != "" && i.Release != release && strings.Contains(name, i.Release)
	})
}
