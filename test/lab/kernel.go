package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// kernelPackage depends on the newest kernel for virtual machines of its release.
// Those are as all of Debian's, with fewer drivers.
const kernelPackage = "linux-image-cloud-amd64"

// Kernel is a kernel of Debian's, unpacked.
type Kernel struct {
	Suite          string   // codename of the Debian release
	Series         string   // major and minor number, "6.1"
	Release        string   // what uname -r prints
	PackageVersion string   // of the packages
	Image          string   // the file to boot
	ModulesDir     string   // of this release, the one with modules.dep
	Debs           []string // the packages' files, in the order in which they can be installed
}

func (k Kernel) String() string {
	return fmt.Sprintf("%s (%s, %s)", k.Release, k.PackageVersion, k.Suite)
}

// Kernels skips the test unless kernels of other machines can be booted here.
func Kernels(t testing.TB) {
	t.Helper()
	Root(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("SKIPPED, NOT TESTED: the kernels of this lab are for amd64")
	}
}

// OldestKernel and NewestKernel are those that the archive has for the release now. It
// has two of most: that of the last point release and that of the security team. Where
// it has one, both are the same.
func (s Suite) OldestKernel(t testing.TB) Kernel {
	t.Helper()
	return s.kernel(t, s.kernelVersions(t)[0])
}

// NewestKernel: see OldestKernel.
func (s Suite) NewestKernel(t testing.TB) Kernel {
	t.Helper()
	versions := s.kernelVersions(t)
	return s.kernel(t, versions[len(versions)-1])
}

func (s Suite) kernelVersions(t testing.TB) []string {
	t.Helper()
	versions := s.Versions(t, kernelPackage)
	if len(versions) == 0 {
		t.Fatalf("the archive has no %s of %s any more", kernelPackage, s.Codename)
	}
	return versions
}

// kernel downloads and unpacks the kernel on which a version of kernelPackage depends,
// unless that was done before.
func (s Suite) kernel(t testing.TB, version string) Kernel {
	t.Helper()
	image := slices.IndexFunc(s.Depends(t, kernelPackage, version), isKernelImage)
	if image < 0 {
		t.Fatalf("%s %s of %s depends on no kernel", kernelPackage, version, s.Codename)
	}
	name := s.Depends(t, kernelPackage, version)[image]
	release := strings.TrimPrefix(name, "linux-image-")
	dir := filepath.Join(s.cache, s.Codename+"-"+strings.Map(plain, version))
	unlock := s.lock(t, strings.Map(plain, version))
	defer unlock() // of several that want it, one unpacks it
	if _, err := os.Stat(dir); err != nil {
		partial := dir + ".partial"
		if err := os.RemoveAll(partial); err != nil {
			t.Fatal(err)
		}
		s.unpackKernel(t, partial, name, release, version)
		if err := os.Rename(partial, dir); err != nil {
			t.Fatal(err)
		}
	}
	return s.unpackedKernel(t, dir, release, version)
}

func isKernelImage(name string) bool {
	return strings.HasPrefix(name, "linux-image-") && name != kernelPackage
}

// unpackKernel fills dir with debs/, in the order of installation, and root/.
func (s Suite) unpackKernel(t testing.TB, dir, name, release, version string) {
	t.Helper()
	// Since 7.2 the image, the modules and what they share are packages of their own.
	parts := []string{name}
	for _, one := range s.Depends(t, name, version) {
		if strings.HasPrefix(one, "linux-") && strings.HasSuffix(one, "-"+release) {
			parts = append(parts, one)
		}
	}
	slices.Reverse(parts)
	debs, root := filepath.Join(dir, "debs"), filepath.Join(dir, "root")
	for _, dir := range []string{debs, root} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i, part := range parts {
		deb := s.download(t, debs, part, version)
		Output(t, "dpkg-deb", "--extract", deb, root)
		if err := os.Rename(deb, filepath.Join(debs, fmt.Sprintf("%d-%s.deb", i, part))); err != nil {
			t.Fatal(err)
		}
	}
	// Where /lib is a link, as on all of today's machines, this is the same place.
	if err := os.Symlink("usr/lib", filepath.Join(root, "lib")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	// The packages leave that to their installation.
	Output(t, "depmod", "--basedir", root, release)
}

func (s Suite) unpackedKernel(t testing.TB, dir, release, version string) Kernel {
	t.Helper()
	k := Kernel{Suite: s.Codename, Release: release, PackageVersion: version, ModulesDir: filepath.Join(dir, "root/lib/modules", release)}
	major, rest, _ := strings.Cut(release, ".")
	minor := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	k.Series = major + "." + minor
	for _, image := range []string{filepath.Join(dir, "root/boot/vmlinuz-"+release), filepath.Join(k.ModulesDir, "vmlinuz")} {
		if _, err := os.Stat(image); err == nil {
			k.Image = image
			break
		}
	}
	debs, err := filepath.Glob(filepath.Join(dir, "debs/*.deb"))
	if err != nil {
		t.Fatal(err)
	}
	k.Debs = debs
	if _, err := os.Stat(filepath.Join(k.ModulesDir, "modules.dep")); err != nil || k.Image == "" || len(debs) == 0 {
		t.Fatalf("the packages of %s are not what was expected: image %q, packages %q, %v; %s may be removed", release, k.Image, debs, err, dir)
	}
	return k
}

// Modules are the files of modules with those that they need, in the order of loading.
// What is built into the kernel has none.
func (k Kernel) Modules(t testing.TB, names ...string) []string {
	t.Helper()
	var files []string
	for _, name := range names {
		// Three up from lib/modules/RELEASE.
		base := filepath.Join(k.ModulesDir, "../../..")
		cmd := exec.Command("modprobe", "--dirname", base, "--set-version", k.Release, "--show-depends", "--ignore-install", name)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s has no module %s: %v\n%s", k, name, err, stderr.String())
		}
		for line := range strings.Lines(string(out)) {
			f := strings.Fields(line)
			if len(f) >= 2 && f[0] == "insmod" && !slices.Contains(files, f[1]) {
				files = append(files, f[1])
			}
		}
	}
	return files
}
