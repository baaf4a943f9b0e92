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

// unfinished says why it is not known to boot: its package is not installed to the end, or
// none of its images is known to be a kernel. One that may not be read is believed by its
// name. It is empty if nothing speaks against it.
func (k *installedKernel) unfinished() string {
	if k.pkg != nil && k.pkg.State != owner.StateInstalled {
		return k.pkg.Name + " is " + k.pkg.State
	}
	why := ""
	for _, img := range k.images {
		if img.Err == nil || errors.Is(img.Err, fs.ErrPermission) {
			return ""
		}
		if why == "" {
			why = img.Err.Error()
		}
	}
	return why
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
	// pinned says that the next boot takes the running kernel again.
	pinned bool
	// warnings are what would go wrong at the next boot, and advice what speaks for one
	// although nothing is known to be stale; empty if nothing is known to.
	warnings []string
	advice   string
}

// judgeKernel judges the running kernel. It is pure: installed are the kernels, newest
// first, and packages those that should bring one.
func judgeKernel(m *machine, installed []*installedKernel, packages []owner.Package) kernelVerdict {
	running := m.running.Release
	switch {
	case m.foreign != "" && m.guess:
		return kernelVerdict{state: Unknown, why: m.foreign + ", not those of the machine whose root was named (--proc names its procfs)"}
	case m.foreign != "":
		return kernelVerdict{state: Ignored, why: "this root is not that of the machine: " + m.foreign}
	case running == "":
		return kernelVerdict{state: Unknown, why: "the running kernel does not tell its release"}
	case len(installed) == 0:
		return judgeNoKernel(m, packages)
	}
	v := kernelVerdict{state: Effective, why: "no newer one of its kind is installed"}
	var own, newest, equal, older *installedKernel
	unfinished := ""
	for _, k := range installed {
		if k.release == running {
			own = k
			continue
		}
		if kernelLine(k.release) != kernelLine(running) {
			continue
		}
		switch order := kernel.Compare(k.release, running); {
		case order == 0:
			equal = k
		case order < 0 && older == nil:
			older = k
		case order > 0:
			if why := k.unfinished(); why != "" {
				unfinished = "the installation of kernel " + k.release + " is not finished: " + why
				continue
			}
			if newest == nil {
				newest = k
			}
			if !k.at.IsZero() && (v.since.IsZero() || k.at.Before(v.since)) {
				v.since = k.at
			}
		}
	}
	switch {
	case newest != nil:
		v.state, v.newer = Stale, newest
		if unfinished != "" {
			v.warnings = append(v.warnings, unfinished)
		}
	case unfinished != "":
		return kernelVerdict{state: Unknown, why: unfinished}
	case own != nil:
		newest = own
		v.judgeBuild(m, own)
	case equal != nil:
		return kernelVerdict{state: Unknown, why: "which of " + running + " and " + equal.release + " is newer cannot be told"}
	case older != nil:
		newest = older
		v.why = "it is newer than those installed"
		v.warnings = append(v.warnings, "the running kernel is not installed any more: the next boot takes an older one, "+older.name())
		return v
	default:
		return judgeOtherKinds(m, installed)
	}
	v.judgeNext(m, newest)
	return v
}

// judgeNoKernel judges where no installed kernel can be seen: it may come from outside, as in
// many guests, if nothing speaks for one of the machine's own.
func judgeNoKernel(m *machine, packages []owner.Package) kernelVerdict {
	if len(m.images) > 0 {
		img := &m.images[0]
		why := img.File + " does not tell its release"
		if img.Err != nil {
			why += ": " + img.Err.Error()
		}
		return kernelVerdict{state: Unknown, why: why}
	}
	if len(packages) > 0 {
		newest := slices.MaxFunc(packages, func(a, b owner.Package) int {
			return kernel.Compare(releaseOfPackage(a), releaseOfPackage(b))
		})
		return kernelVerdict{state: Unknown, why: "package " + newest.Name + " is installed, and there is no kernel that can be read"}
	}
	if m.unmounted != "" {
		return kernelVerdict{state: Unknown, why: m.unmounted + " of fstab is not mounted"}
	}
	for _, release := range m.trees {
		if kernelLine(release) == kernelLine(m.running.Release) && kernel.Compare(release, m.running.Release) > 0 {
			return kernelVerdict{state: Unknown, why: "modules of kernel " + release + " are installed, and there is no kernel that can be read"}
		}
	}
	if m.nextErr != nil && !errors.Is(m.nextErr, kernel.ErrNoLoader) {
		return kernelVerdict{state: Unknown, why: "a boot loader is set up, and there is no kernel that can be read: " + m.nextErr.Error()}
	}
	return kernelVerdict{state: Ignored, why: "no kernel is installed here: the one that runs comes from outside"}
}

// judgeOtherKinds judges where only kernels of other kinds than the running one are
// installed.
func judgeOtherKinds(m *machine, installed []*installedKernel) kernelVerdict {
	all := releases(installed)
	switch {
	case m.nextErr == nil && m.next.Release != "":
		v := kernelVerdict{state: Ignored, why: "no kernel of its kind is installed, only " + all}
		says := fmt.Sprintf("the next boot takes %s, a kernel of another kind: so %s chooses (%s)", m.next.Release, m.next.Loader, m.next.Config)
		if kernel.Compare(m.next.Release, m.running.Release) > 0 {
			v.advice = says
		} else {
			v.warnings = []string{says}
		}
		return v
	case errors.Is(m.nextErr, kernel.ErrNoLoader) && !m.hasTree():
		return kernelVerdict{state: Ignored, why: "it comes from outside: neither it nor its modules are installed here, only " + all}
	}
	return kernelVerdict{state: Unknown, why: "no kernel like the running one is installed, only " + all}
}

// judgeBuild compares the running kernel with the installed one of the same release, of
// which there may be several copies. Where they differ, the one that will boot counts.
func (v *kernelVerdict) judgeBuild(m *machine, k *installedKernel) {
	same, other, unknown := "", "", ""
	for _, img := range k.images {
		how := img.File + ": " + img.how
		if img.Err != nil {
			how = img.how // which names the file
		}
		if m.nextErr == nil && m.next.File == img.File && img.build != NotKnown {
			same, other, unknown = "", "", ""
		}
		switch {
		case img.build == Yes && same == "":
			same = how
		case img.build == No && other == "":
			other, v.since = how, img.Info.Ctime
		case img.build == NotKnown && unknown == "":
			unknown = how
		}
		if m.nextErr == nil && m.next.File == img.File && img.build != NotKnown {
			break
		}
	}
	switch {
	case same != "":
		v.why, v.since = same, time.Time{}
	case other != "":
		v.state, v.newer, v.why = Stale, k, other
		if why := k.unfinished(); why != "" {
			v.state, v.newer, v.why = Unknown, nil, "the installation of kernel "+k.release+" is not finished: "+why
		}
	default:
		v.state, v.why = Unknown, unknown
	}
}

// judgeNext says what is wrong with what will boot, of which wanted is the best.
func (v *kernelVerdict) judgeNext(m *machine, wanted *installedKernel) {
	running, next := m.running.Release, m.next.Release
	var warning string
	switch {
	case errors.Is(m.nextErr, kernel.ErrNoLoader), errors.Is(m.nextErr, kernel.ErrUncertain):
	case errors.Is(m.nextErr, fs.ErrNotExist):
		warning = "the next boot would fail: " + m.nextErr.Error()
	case m.nextErr != nil, next == "":
	case v.state == Stale && next == running && v.newer.release != running:
		v.pinned = true
		warning = fmt.Sprintf("%s is installed but will not boot: %s chooses %s, which runs (%s)", wanted.release, m.next.Loader, next, m.next.Config)
	case next == wanted.release:
	case v.state == Stale:
		warning = fmt.Sprintf("%s is installed but will not boot: %s chooses %s (%s)", wanted.release, m.next.Loader, next, m.next.Config)
	case kernelLine(next) != kernelLine(running) && kernel.Compare(next, running) > 0:
		v.advice = fmt.Sprintf("the next boot takes %s, a newer kernel of another kind: so %s chooses (%s)", next, m.next.Loader, m.next.Config)
	case next != running:
		warning = fmt.Sprintf("the next boot would not take the running kernel but %s: so %s chooses (%s)", next, m.next.Loader, m.next.Config)
	}
	if warning != "" {
		v.warnings = append(v.warnings, warning)
	}
}

// kernelLine tells the kernels that follow one another from others: the flavour, without
// what counts the packages of one version in it. Gentoo has 6.1.28-gentoo-r1 and
// 6.1.31-gentoo, Mageia 6.6.14-desktop-2.mga9.
func kernelLine(release string) string {
	var words []string
	for _, word := range strings.Split(kernel.Flavour(release), "-") {
		word, _, _ = strings.Cut(word, ".mga")
		if word == "" || strings.Trim(word, "0123456789") == "" && len(words) > 0 {
			continue
		}
		if rest := strings.TrimRight(word, "0123456789"); rest != "r" {
			words = append(words, rest)
		}
	}
	return strings.Join(words, "-")
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
			if rest, ok := strings.CutPrefix(p.Name, prefix); ok && rest != "" && '0' <= rest[0] && rest[0] <= '9' && strings.Contains(rest, ".") {
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
