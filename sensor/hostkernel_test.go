package sensor

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/host/kernel"
	"github.com/patchsensor/patchsensor/internal/owner"
)

var (
	bootedAt = time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	before   = bootedAt.Add(-24 * time.Hour)
	after    = bootedAt.Add(24 * time.Hour)
)

// image is an installed kernel image with a release and a time of change.
func image(release string, at time.Time, build Answer) bootImage {
	return bootImage{
		Installed: kernel.Installed{File: "/boot/vmlinuz-" + release, Info: file.Info{Ctime: at}, Image: kernel.Image{Release: release}},
		build:     build, how: "so it was found",
	}
}

func named(file string, img bootImage) bootImage {
	img.File = file
	return img
}

func damaged(img bootImage) bootImage {
	img.Err = kernel.ErrNotKernel
	return img
}

func withheld(img bootImage) bootImage {
	img.Err = fs.ErrPermission
	return img
}

func dpkgPackage(name, version string) owner.Package {
	return owner.Package{Manager: "dpkg", Name: name, Version: version, Arch: "amd64", State: owner.StateInstalled}
}

// TestJudgeKernel is the decision table of the kernel, a row for each case.
func TestJudgeKernel(t *testing.T) {
	const old, running, newer = "6.1.0-40-amd64", "6.1.0-44-amd64", "6.1.0-49-amd64"
	boots := func(release string) kernel.Next {
		return kernel.Next{Loader: kernel.LoaderGRUB, Config: "/boot/grub/grub.cfg", Release: release}
	}
	for _, c := range []struct {
		name     string
		release  string
		images   []bootImage
		packages []owner.Package
		next     kernel.Next
		nextErr  error
		foreign  string
		state    State
		why      string
		newer    string
		since    time.Time
		warning  string
		advice   string
		pinned   bool
		trees    []string
		fstab    string
	}{
		{name: "the newest runs", release: running, images: []bootImage{image(old, before, NotKnown), image(running, before, Yes)},
			next: boots(running), state: Effective},
		{name: "a newer one is installed", release: running,
			images: []bootImage{image(running, before, Yes), image(newer, after, NotKnown)},
			next:   boots(newer), state: Stale, newer: newer, since: after},
		{name: "two newer ones, exposed since the first", release: old,
			images: []bootImage{image(old, before, Yes), image(running, after, NotKnown), image(newer, after.Add(time.Hour), NotKnown)},
			next:   boots(newer), state: Stale, newer: newer, since: after},
		{name: "numbers are compared as such", release: "6.1.0-9-amd64", images: []bootImage{image("6.1.0-9-amd64", before, Yes), image("6.1.0-10-amd64", after, NotKnown)},
			next: boots("6.1.0-10-amd64"), state: Stale, newer: "6.1.0-10-amd64", since: after},
		{name: "a newer one of another flavour", release: running,
			images: []bootImage{image(running, before, Yes), image("6.1.0-49-rt-amd64", after, NotKnown), image("6.1.0-49-cloud-amd64", after, NotKnown)},
			next:   boots(running), state: Effective},
		{name: "it is not installed, only another flavour", release: running, images: []bootImage{image("6.1.0-44-cloud-amd64", before, NotKnown)}, nextErr: kernel.ErrUncertain,
			state: Unknown, why: "no kernel like the running one"},
		{name: "installed but will not boot", release: running, images: []bootImage{image(running, before, Yes), image(newer, after, NotKnown)},
			next: boots(running), state: Stale, newer: newer, since: after, warning: newer + " is installed but will not boot: grub chooses " + running, pinned: true},
		{name: "the loader names what is gone", release: running, images: []bootImage{image(running, before, Yes)},
			nextErr: fmt.Errorf("grub.cfg: %w", fs.ErrNotExist), state: Effective, warning: "the next boot would fail"},
		{name: "the next boot goes back", release: newer, images: []bootImage{image(running, before, NotKnown), image(newer, before, Yes)},
			next: boots(running), state: Effective, warning: "would not take the running kernel but " + running},
		{name: "what boots is not certain", release: running, images: []bootImage{image(running, before, Yes)}, nextErr: kernel.ErrUncertain, state: Effective},
		{name: "rebuilt, the same release", release: running, images: []bootImage{image(running, after, No)}, next: boots(running),
			state: Stale, newer: running, since: after, why: "so it was found"},
		{name: "one of two copies is of another build, and not known to boot", release: running,
			images: []bootImage{image(running, before, Yes), named("/boot/copy", image(running, after, No))}, next: boots(running), state: Effective},
		{name: "the copy that boots is of another build", release: running,
			images: []bootImage{image(running, before, Yes), named("/boot/copy", image(running, after, No))},
			next:   kernel.Next{Loader: kernel.LoaderGRUB, Release: running, File: "/boot/copy"}, state: Stale, newer: running, since: after},
		{name: "the copy that boots is what runs", release: running,
			images: []bootImage{named("/boot/copy", image(running, after, No)), image(running, before, Yes)},
			next:   kernel.Next{Loader: kernel.LoaderGRUB, Release: running, File: "/boot/vmlinuz-" + running}, state: Effective},
		{name: "a newer one is half installed", release: running, images: []bootImage{image(running, before, Yes), image(newer, after, NotKnown)},
			packages: []owner.Package{{Manager: "dpkg", Name: "linux-image-" + newer, Version: "1", State: "half-configured"}}, state: Unknown, why: "is half-configured"},
		{name: "a newer one is half installed, another is whole", release: old, images: []bootImage{image(old, before, Yes), image(running, after, NotKnown), image(newer, after, NotKnown)},
			packages: []owner.Package{{Manager: "dpkg", Name: "linux-image-" + newer, Version: "1", State: "unpacked"}}, nextErr: kernel.ErrNoLoader,
			state: Stale, newer: running, since: after, warning: "is not finished"},
		{name: "a newer one is garbage", release: running, images: []bootImage{image(running, before, Yes), damaged(image(newer, after, NotKnown))}, state: Unknown, why: "is not finished"},
		{name: "a newer one must not be read", release: running, images: []bootImage{image(running, before, Yes), withheld(image(newer, after, NotKnown))},
			nextErr: kernel.ErrNoLoader, state: Stale, newer: newer, since: after},
		{name: "a newer one of another kind boots next", release: running, images: []bootImage{image(running, before, Yes), image("6.1.0-49-rt-amd64", after, NotKnown)},
			next: boots("6.1.0-49-rt-amd64"), state: Effective, advice: "a newer kernel of another kind"},
		{name: "only another kind, and it boots next", release: running, images: []bootImage{image("6.1.0-49-cloud-amd64", before, NotKnown)},
			next: boots("6.1.0-49-cloud-amd64"), state: Ignored, advice: "the next boot takes 6.1.0-49-cloud-amd64"},
		{name: "only another kind that is older, and it boots next", release: running, images: []bootImage{image("6.1.0-40-cloud-amd64", before, NotKnown)},
			next: boots("6.1.0-40-cloud-amd64"), state: Ignored, warning: "the next boot takes 6.1.0-40-cloud-amd64"},
		{name: "from outside, beside others", release: "6.18.44-vendor", images: []bootImage{image(running, before, NotKnown)}, nextErr: kernel.ErrNoLoader, state: Ignored, why: "comes from outside"},
		{name: "its modules are here, it is not", release: running, images: []bootImage{image("6.1.0-44-cloud-amd64", before, NotKnown)}, nextErr: kernel.ErrNoLoader, trees: []string{running}, state: Unknown, why: "no kernel like"},
		{name: "the packages of one version are counted", release: "6.1.28-gentoo-r1", images: []bootImage{image("6.1.28-gentoo-r1", before, Yes), image("6.1.31-gentoo", after, NotKnown)},
			nextErr: kernel.ErrNoLoader, state: Stale, newer: "6.1.31-gentoo", since: after},
		{name: "a name that cannot be ordered, beside its own", release: "6.9.7+", images: []bootImage{image("6.9.7", after, NotKnown), image("6.9.7+", before, Yes)},
			nextErr: kernel.ErrNoLoader, state: Effective},
		{name: "a name that cannot be ordered", release: "6.9.7+", images: []bootImage{image("6.9.7", after, NotKnown)}, nextErr: kernel.ErrNoLoader, state: Unknown, why: "cannot be told"},
		{name: "an image without a release", release: running, images: []bootImage{image("", before, NotKnown)}, nextErr: kernel.ErrNoLoader, state: Unknown, why: "does not tell its release"},
		{name: "only modules of a newer one", release: running, trees: []string{running, newer}, nextErr: kernel.ErrNoLoader, state: Unknown, why: "modules of kernel " + newer},
		{name: "/boot is not mounted", release: running, fstab: "/boot", nextErr: kernel.ErrNoLoader, state: Unknown, why: "not mounted"},
		{name: "a loader, and nothing to load", release: running, nextErr: kernel.ErrUncertain, state: Unknown, why: "boot loader"},
		{name: "no copy can be read", release: running, images: []bootImage{image(running, after, NotKnown)}, next: boots(running), state: Unknown, why: "so it was found"},
		{name: "one copy can be read", release: running, images: []bootImage{image(running, after, NotKnown), image(running, before, Yes)}, next: boots(running), state: Effective},
		{name: "it was removed while it runs", release: newer, images: []bootImage{image(running, before, NotKnown)}, next: boots(running),
			state: Effective, warning: "not installed any more: the next boot takes an older one"},
		{name: "no kernel at all", release: running, nextErr: kernel.ErrNoLoader, state: Ignored, why: "comes from outside"},
		{name: "a package, but no image", release: running, packages: []owner.Package{dpkgPackage("linux-image-"+newer, "6.1.170-1")},
			state: Unknown, why: "no kernel that can be read"},
		{name: "a container", release: running, images: []bootImage{image(newer, after, NotKnown)}, foreign: "it is that of a container", state: Ignored},
		{name: "a rescue image is none", release: "6.17.1-300.fc43.x86_64", images: []bootImage{
			{Installed: kernel.Installed{File: "/boot/vmlinuz-0-rescue-4711", Image: kernel.Image{Release: "6.18.0-100.fc43.x86_64"}}},
			image("6.17.1-300.fc43.x86_64", before, Yes)}, state: Effective, nextErr: kernel.ErrNoLoader},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &machine{foreign: c.foreign, booted: bootedAt, images: c.images, next: c.next, nextErr: c.nextErr, trees: c.trees, unmounted: c.fstab}
			m.running.Release = c.release
			v := judgeKernel(m, installedKernels(c.images, c.packages), c.packages)
			got := ""
			if v.newer != nil {
				got = v.newer.release
			}
			if v.state != c.state || got != c.newer || !v.since.Equal(c.since) || !strings.Contains(v.why, c.why) {
				t.Errorf("%s, newer %q, since %v: %s", v.state, got, v.since, v.why)
			}
			if warning := strings.Join(v.warnings, "; "); (c.warning == "") != (warning == "") || !strings.Contains(warning, c.warning) {
				t.Errorf("warning %q", warning)
			}
			if !strings.Contains(v.advice, c.advice) || c.advice == "" && v.advice != "" || v.pinned != c.pinned {
				t.Errorf("advice %q, pinned %v", v.advice, v.pinned)
			}
		})
	}
}

func TestReleaseOfPackage(t *testing.T) {
	for _, c := range []struct{ manager, name, version, arch, want string }{
		{"dpkg", "linux-image-6.1.0-44-amd64", "6.1.164-1", "amd64", "6.1.0-44-amd64"},
		{"dpkg", "linux-image-6.1.0-44-amd64-unsigned", "6.1.164-1", "amd64", "6.1.0-44-amd64"},
		{"dpkg", "linux-image-6.1.0-44-amd64-dbg", "6.1.164-1", "amd64", ""},
		{"dpkg", "linux-image-unsigned-6.8.0-45-generic", "6.8.0-45.45", "amd64", "6.8.0-45-generic"},
		{"dpkg", "linux-image-amd64", "6.1.164-1", "amd64", ""},
		{"dpkg", "linux-image-generic", "6.8.0-45.45", "amd64", ""},
		{"rpm", "kernel-core", "5.14.0-427.el9", "x86_64", "5.14.0-427.el9.x86_64"},
		{"rpm", "kernel", "3.10.0-1160.el7", "x86_64", "3.10.0-1160.el7.x86_64"},
		{"rpm", "kernel-rt-core", "5.14.0-427.el9", "x86_64", "5.14.0-427.el9.x86_64+rt"},
		{"rpm", "kernel-headers", "5.14.0-427.el9", "x86_64", ""},
	} {
		if got := releaseOfPackage(owner.Package{Manager: c.manager, Name: c.name, Version: c.version, Arch: c.arch}); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestBranchOf(t *testing.T) {
	for version, want := range map[string]string{"6.1.192-2": "6.1", "6.12.117-1": "6.12", "0:5.14.0-427.el9": "5.14", "6": "6", "": ""} {
		if got := branchOf(version); got != want {
			t.Errorf("%q: %q", version, got)
		}
	}
}

func TestBuildText(t *testing.T) {
	for _, c := range []struct{ version, build, built string }{
		{"Linux version 6.1.0-35-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.137-1 (2025-05-07)",
			"#1 SMP PREEMPT_DYNAMIC Debian 6.1.137-1 (2025-05-07)", "6.1.137-1"},
		{"6.1.0-35-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.137-1 (2025-05-07)",
			"#1 SMP PREEMPT_DYNAMIC Debian 6.1.137-1 (2025-05-07)", "6.1.137-1"},
		{"Linux version 6.8.0-45-generic (buildd@lcy02) (x86_64-linux-gnu-gcc-13) #45-Ubuntu SMP PREEMPT_DYNAMIC Fri Aug 30 12:02:04 UTC 2024",
			"#45-Ubuntu SMP PREEMPT_DYNAMIC Fri Aug 30 12:02:04 UTC 2024", ""},
		{"no build", "", ""}, {"", "", ""},
	} {
		if got := buildText(c.version); got != c.build {
			t.Errorf("%q: build %q", c.version, got)
		}
		if got := builtVersion(c.version); got != c.built {
			t.Errorf("%q: version %q", c.version, got)
		}
	}
}
