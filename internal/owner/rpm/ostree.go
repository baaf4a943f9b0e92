package rpm

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
)

const (
	ostreeBooted = "run/ostree-booted"
	ostreeStaged = "run/ostree/staged-deployment"
	bootEntries  = "boot/loader/entries"
	ostreeDeploy = "ostree/deploy"
	// maxEntry bounds a boot loader entry, in bytes, and maxBoots how many are read.
	maxEntry = 64 << 10
	maxBoots = 256
)

// Deployment is what an rpm-ostree or bootc machine runs and what it would run after a
// reboot. The names are those of the directories of deployments, COMMIT.SERIAL, and empty
// where they are not known.
type Deployment struct {
	Booted  string
	Default string // of the boot loader's first entry
	// Staged says that another deployment is finished at shutdown; Default is then
	// not yet it (ostree's src/libostree/ostree-sysroot-deploy.c).
	Staged bool
}

// Pending reports whether a reboot would bring another deployment, and whether that is
// known.
func (d Deployment) Pending() (pending, known bool) {
	if d.Staged {
		return true, true
	}
	return d.Booted != d.Default, d.Booted != "" && d.Default != ""
}

// Deployments looks which deployment of the root's machine is booted and which comes
// next. cmdline is the kernel's command line. It is false for a machine that was not
// booted by ostree, or a root that does not show it. The error is an *owner.Error, beside
// which the rest holds.
//
// The boot loader's entries name /ostree/boot.N/OS/CHECKSUM/SERIAL, a link to the
// deployment (ostree's docs/deployment.md); the one booted may be gone when a newer
// deployment was written, and is then the one whose directory is the root itself.
func Deployments(root Root, cmdline string) (d Deployment, ok bool, err error) {
	switch _, err := root.Stat(ostreeBooted); {
	case absent(err):
		return d, false, nil
	case err != nil:
		return d, true, owner.Defect(ostreeBooted, -1, err)
	}
	if _, err := root.Stat(ostreeStaged); err == nil {
		d.Staged = true
	}
	d.Booted = deploymentOf(root, ostreeArgument(cmdline))
	if d.Booted == "" {
		d.Booted = deploymentAt(root)
	}
	names, err := root.ReadDir(bootEntries, maxBoots)
	if err != nil {
		return d, true, owner.Defect(bootEntries, -1, err)
	}
	var entries []bootEntry
	for _, n := range names {
		if !strings.HasSuffix(n, ".conf") {
			continue
		}
		name := bootEntries + "/" + n
		content, e := root.ReadFile(name, maxEntry)
		if e != nil {
			err = owner.Defect(name, -1, e)
			continue
		}
		if b := parseBootEntry(string(content)); b.ostree != "" {
			b.name = n
			entries = append(entries, b)
		}
	}
	if first, ok := firstEntry(entries); ok && err == nil {
		d.Default = deploymentOf(root, first.ostree)
	}
	return d, true, err
}

// bootEntry is an entry of a boot loader (the UAPI group's Boot Loader Specification).
type bootEntry struct {
	name    string
	version int // ostree numbers them, the greatest one first
	ostree  string
}

func parseBootEntry(content string) (b bootEntry) {
	for line := range strings.Lines(content) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "version":
			b.version, _ = strconv.Atoi(strings.TrimSpace(value))
		case "options":
			b.ostree = cmp.Or(ostreeArgument(value), b.ostree)
		}
	}
	return b
}

func firstEntry(entries []bootEntry) (bootEntry, bool) {
	if len(entries) == 0 {
		return bootEntry{}, false
	}
	return slices.MaxFunc(entries, func(a, b bootEntry) int {
		return cmp.Or(cmp.Compare(a.version, b.version), cmp.Compare(a.name, b.name))
	}), true
}

// ostreeArgument returns the value of ostree= on a kernel's command line.
func ostreeArgument(cmdline string) string {
	for word := range strings.FieldsSeq(cmdline) {
		if v, ok := strings.CutPrefix(word, "ostree="); ok {
			return v
		}
	}
	return ""
}

// deploymentOf returns the deployment that a link below /ostree leads to.
func deploymentOf(root Root, link string) string {
	if !strings.HasPrefix(file.Clean(link), "/ostree/") {
		return ""
	}
	to, err := root.Readlink(file.Clean(link))
	if err != nil {
		return ""
	}
	return deploymentName(path.Base(to))
}

// deploymentName is name if it is COMMIT.SERIAL, else empty.
func deploymentName(name string) string {
	commit, serial, _ := strings.Cut(name, ".")
	if len(commit) != 64 || strings.Trim(commit, "0123456789abcdef") != "" || strings.Trim(serial, "0123456789") != "" || serial == "" {
		return ""
	}
	return name
}

// deploymentAt finds the deployment whose directory is the root directory.
func deploymentAt(root Root) string {
	here, err := root.Stat("/")
	if err != nil {
		return ""
	}
	systems, err := root.ReadDir(ostreeDeploy, maxBoots)
	if err != nil {
		return ""
	}
	for _, s := range systems {
		dir := path.Join(ostreeDeploy, s, "deploy")
		names, err := root.ReadDir(dir, maxBoots)
		if err != nil {
			continue
		}
		for _, n := range names {
			if info, err := root.Stat(path.Join(dir, n)); err == nil && info.ID == here.ID && deploymentName(n) != "" {
				return n
			}
		}
	}
	return ""
}
