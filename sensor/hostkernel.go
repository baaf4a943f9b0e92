package sensor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/host/kernel"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// installedKernel is what there is of one release: its images and the package.
type installedKernel struct {
	release, flavour string
	images           []bootImage
	pkg              *owner.Package
	// at is when the first of its images came to be what it is.
	at time.Time
}

// version is that of its package, or what its image says of it.
func (k *installedKernel) version() string {
	if k.pkg != nil {
		return k.pkg.Version
	}
	for _, img := range k.images {
		if v := builtVersion(img.Version); v != "" {
			return v
		}
	}
	return ""
}

// damaged is why none of its images is known to be a kernel, nil if one is: one that may
// not be read is believed by its name, and what a package has brought too.
func (k *installedKernel) damaged() error {
	if k.pkg != nil {
		return nil
	}
	var first error
	for _, img := range k.images {
		if img.Err == nil || errors.Is(img.Err, fs.ErrPermission) {
			return nil
		}
		if first == nil {
			first = img.Err
		}
	}
	return first
}

func (k *installedKernel) name() string { return kernelName(k.release, k.version()) }

// kernelName is a kernel for people: "6.1.0-44-amd64 (6.1.164-1)".
func kernelName(release, version string) string {
	if version == "" {
		return release
	}
	return release + " (" + version + ")"
}

// installedKernels groups images by release. Rescue images and links without a release of
// their own are none of these.
func installedKernels(images []bootImage, packages []owner.Package) []*installedKernel {
	var list []*installedKernel
	byRelease := make(map[string]*installedKernel)
	for _, img := range images {
		if img.Release == "" || strings.Contains(img.File, "/vmlinuz-0-rescue-") {
			continue
		}
		k := byRelease[img.Release]
		if k == nil {
			k = &installedKernel{release: img.Release, flavour: kernel.Flavour(img.Release), pkg: kernelPackage(packages, img.Release)}
			byRelease[img.Release] = k
			list = append(list, k)
		}
		k.images = append(k.images, img)
		if at := img.Info.Ctime; !at.IsZero() && (k.at.IsZero() || at.Before(k.at)) {
			k.at = at
		}
	}
	slices.SortFunc(list, func(a, b *installedKernel) int { return kernel.Compare(b.release, a.release) })
	return list
}

// kernelVerdict is what is to be said of the running kernel.
type kernelVerdict struct {
	state State
	why   string
	// newer is what is installed and does not run; nil unless stale.
	newer *installedKernel
	// since is when the first newer kernel was installed.
	since time.Time
	// warning is what would go wrong at the next boot, empty if nothing is known to.
	warning string
}

// judgeKernel judges the running kernel. It is pure: installed are the kernels, newest
// first, and packages says whether a package is there that should bring one.
func judgeKernel(m *machine, installed []*installedKernel, packages []owner.Package) kernelVerdict {
	running := m.running.Release
	flavour := kernel.Flavour(running)
	switch {
	case m.foreign != "":
		return kernelVerdict{state: Ignored, why: "this root is not that of the machine: " + m.foreign}
	case running == "":
		return kernelVerdict{state: Unknown, why: "the running kernel does not tell its release"}
	case len(installed) == 0 && len(packages) > 0:
		return kernelVerdict{state: Unknown, why: "package " + packages[0].Name + " is installed, and there is no kernel that can be read"}
	case len(installed) == 0:
		return kernelVerdict{state: Ignored, why: "no kernel is installed here: the one that runs comes from outside"}
	}
	var same []*installedKernel // of the flavour, newest first
	for _, k := range installed {
		if k.flavour == flavour {
			same = append(same, k)
		}
	}
	if len(same) == 0 {
		return kernelVerdict{state: Unknown, why: "no kernel like the running one is installed, only " + releases(installed)}
	}
	v := kernelVerdict{state: Effective, why: "no newer one of its kind is installed"}
	newest := same[0]
	switch order := kernel.Compare(newest.release, running); {
	case newest.release == running:
		v.judgeBuild(newest)
	case order > 0 && newest.damaged() != nil:
		return kernelVerdict{state: Unknown, why: "whether " + newest.release + " is a newer kernel cannot be told: " + newest.damaged().Error()}
	case order > 0:
		v.state, v.newer = Stale, newest
		for _, k := range same {
			if kernel.Compare(k.release, running) > 0 && !k.at.IsZero() && (v.since.IsZero() || k.at.Before(v.since)) {
				v.since = k.at
			}
		}
	case order == 0:
		return kernelVerdict{state: Unknown, why: "which of " + running + " and " + newest.release + " is newer cannot be told"}
	default:
		v.why = "it is newer than those installed"
		v.warning = "the running kernel is not installed any more: the next boot takes an older one, " + newest.name()
	}
	v.judgeNext(m, newest)
	return v
}

// judgeBuild compares the running kernel with the installed one of the same release, of
// which there may be several copies.
func (v *kernelVerdict) judgeBuild(k *installedKernel) {
	answers := make(map[Answer]string)
	for _, img := range k.images {
		if _, ok := answers[img.build]; !ok {
			answers[img.build] = img.File + ": " + img.how
		}
		if img.build == No && (v.since.IsZero() || img.Info.Ctime.Before(v.since)) {
			v.since = img.Info.Ctime
		}
	}
	if how, ok := answers[No]; ok {
		v.state, v.newer, v.why = Stale, k, how
		return
	}
	if how, ok := answers[Yes]; ok {
		v.why = how
		return
	}
	v.state, v.why = Unknown, answers[NotKnown]
}

// judgeNext says what is wrong with what will boot, of which wanted is the best.
func (v *kernelVerdict) judgeNext(m *machine, wanted *installedKernel) {
	switch {
	case v.warning != "" || errors.Is(m.nextErr, kernel.ErrNoLoader) || errors.Is(m.nextErr, kernel.ErrUncertain):
	case errors.Is(m.nextErr, fs.ErrNotExist):
		v.warning = "the next boot would fail: " + m.nextErr.Error()
	case m.nextErr != nil || m.next.Release == "" || m.next.Release == wanted.release:
	case v.state == Stale:
		v.warning = fmt.Sprintf("%s is installed but will not boot: %s chooses %s (%s)", wanted.release, m.next.Loader, m.next.Release, m.next.Config)
	case kernel.Compare(m.next.Release, m.running.Release) < 0 || kernel.Flavour(m.next.Release) != kernel.Flavour(m.running.Release):
		v.warning = fmt.Sprintf("the next boot would not take the running kernel but %s: so %s chooses (%s)", m.next.Release, m.next.Loader, m.next.Config)
	}
}

func releases(list []*installedKernel) string {
	var names []string
	for _, k := range list {
		names = append(names, k.release)
	}
	if len(names) > 3 {
		names = append(names[:3], fmt.Sprintf("%d more", len(names)-3))
	}
	return strings.Join(names, ", ")
}

// builtVersion is the version of the package that a kernel says it was built as; Debian
// alone writes it down: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-06-19)". It is
// empty if there is none.
func builtVersion(version string) string {
	_, rest, ok := strings.Cut(buildText(version), " Debian ")
	if !ok {
		return ""
	}
	v, _, _ := strings.Cut(rest, " ")
	return v
}

// kernelPackages are the installed packages that bring a kernel's image, each in the way
// of its distribution.
func kernelPackages(list []owner.Package) []owner.Package {
	var found []owner.Package
	for _, p := range list {
		if bringsKernel(p) {
			found = append(found, p)
		}
	}
	return found
}

// bringsKernel reports whether a package has a kernel's image in it, by its name.
func bringsKernel(p owner.Package) bool {
	if releaseOfPackage(p) != "" {
		return true
	}
	switch p.Manager {
	case "rpm":
		return slices.Contains([]string{"kernel-default", "kernel-default-base", "kernel-azure", "kernel-rt"}, p.Name)
	case "apk":
		return slices.Contains([]string{"linux-lts", "linux-virt", "linux-stable", "linux-edge", "linux-rpi"}, p.Name)
	case "pacman":
		return slices.Contains([]string{"linux", "linux-lts", "linux-zen", "linux-hardened", "linux-rt", "linux-rt-lts"}, p.Name)
	}
	return false
}

// releaseOfPackage is the release of the kernel that a package has, as far as its name
// and version say: Debian's linux-image-6.1.0-44-amd64, Ubuntu's
// linux-image-unsigned-6.8.0-45-generic, and kernel-core of Fedora and RHEL.
func releaseOfPackage(p owner.Package) string {
	switch p.Manager {
	case "dpkg":
		for _, prefix := range []string{"linux-image-unsigned-", "linux-image-", "linux-binary-"} {
			if rest, ok := strings.CutPrefix(p.Name, prefix); ok && rest != "" && '0' <= rest[0] && rest[0] <= '9' {
				if strings.HasSuffix(rest, "-dbg") || strings.HasSuffix(rest, "-dbgsym") {
					return ""
				}
				return strings.TrimSuffix(rest, "-unsigned")
			}
		}
	case "rpm":
		version := withoutEpoch(p.Version)
		switch p.Name {
		case "kernel-core", "kernel-uek-core", "kernel-uek", "kernel":
			return version + "." + p.Arch
		case "kernel-rt-core", "kernel-64k-core", "kernel-debug-core":
			flavour := strings.TrimSuffix(strings.TrimPrefix(p.Name, "kernel-"), "-core")
			return version + "." + p.Arch + "+" + flavour
		}
	}
	return ""
}

// kernelPackage is the package of a release's kernel, by name; nil if none is known. Of
// RPM, kernel-core has the image where there is one, and kernel is only a name.
func kernelPackage(packages []owner.Package, release string) *owner.Package {
	var found *owner.Package
	for i, p := range packages {
		if r := releaseOfPackage(p); r == release && (found == nil || strings.HasSuffix(p.Name, "-core")) {
			found = &packages[i]
		}
	}
	return found
}
