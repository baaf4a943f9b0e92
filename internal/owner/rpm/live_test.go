package rpm

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
)

const liveSpec = `Name: live%{n}
Version: %{v}
Release: 1
Epoch: 3
Summary: x
License: MIT
Vendor: Live
AutoReqProv: no
BuildArch: noarch
%description
x
%install
mkdir -p %{buildroot}/usr/lib/live%{n} %{buildroot}/usr/share/live
echo %{v} > %{buildroot}/usr/lib/live%{n}/"a file"
echo %{v} > %{buildroot}/usr/lib/live%{n}/only-%{v}
echo same > %{buildroot}/usr/share/live/common
ln -s common %{buildroot}/usr/share/live/link%{n}
%post -p <lua>
if posix.access("/hold") then
  local f = io.open("/held", "w"); f:close()
  while posix.access("/hold") do posix.sleep(1) end
end
%files
"/usr/lib/live%{n}"
/usr/share/live
%changelog
* Fri Nov 20 2026 Jane Doe <jane@example.org> - 3:%{v}-1
- CVE-2026-0001
`

// buildLive builds packages live1 and live2 in versions 1 and 2.
func buildLive(t *testing.T) (rpms map[string]string) {
	t.Helper()
	for _, tool := range []string{"rpm", "rpmbuild"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("SKIPPED, NOT TESTED: there is no " + tool)
		}
	}
	top := t.TempDir()
	write(t, top, "live.spec", []byte(liveSpec))
	rpms = make(map[string]string)
	for _, n := range []string{"1", "2"} {
		for _, v := range []string{"1", "2"} {
			run(t, "rpmbuild", "-bb", "--quiet", "--define", "_topdir "+top, "--define", "n "+n, "--define", "v "+v,
				"--define", "__os_install_post %{nil}", filepath.Join(top, "live.spec"))
			rpms[n+"-"+v] = filepath.Join(top, "RPMS/noarch", fmt.Sprintf("live%s-%s-1.noarch.rpm", n, v))
		}
	}
	return rpms
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, stderr.String())
	}
	return string(out)
}

func rpmIn(dir string, args ...string) []string {
	return append([]string{"--root", dir, "--dbpath", "/var/lib/rpm", "--nosignature"}, args...)
}

// TestLive holds what is read against what rpm itself says, over installations, upgrades
// and removals, and in the midst of them.
func TestLive(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: rpm needs root to install into a root")
	}
	rpms := buildLive(t)
	dir := t.TempDir()
	steps := [][]string{{"-U", rpms["1-1"], rpms["2-1"]}, {"-U", rpms["1-2"]}, {"-i", "--replacefiles", rpms["2-2"]}, {"-e", "live1"}}
	for _, s := range steps {
		run(t, "rpm", rpmIn(dir, s...)...)
		d := open(t, dir)
		noProblems(t, d)
		compareLive(t, dir, d)
	}
}

// compareLive compares packages, owners and checksums.
func compareLive(t *testing.T, dir string, d *Database) {
	t.Helper()
	var have []string
	for _, p := range d.Packages() {
		have = append(have, strings.Join([]string{p.Name, p.Version, p.Arch, p.Vendor}, " "))
	}
	want := strings.Split(strings.TrimSpace(run(t, "rpm", rpmIn(dir, "-qa", "--qf", `%{NAME} %{EVR} %{ARCH} %{VENDOR}\n`)...)), "\n")
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("packages %q, rpm says %q", have, want)
	}
	files := run(t, "rpm", rpmIn(dir, "-qa", "--qf", `[%{=NAME}|%{=EVR}|%{FILESTATES}|%{FILEDIGESTS}|%{FILENAMES}\n]`)...)
	claims := make(map[string]map[string]string) // path to package to checksum
	for sc := bufio.NewScanner(strings.NewReader(files)); sc.Scan(); {
		f := strings.SplitN(sc.Text(), "|", 5)
		if f[2] != "0" {
			continue
		}
		if claims[f[4]] == nil {
			claims[f[4]] = make(map[string]string)
		}
		claims[f[4]][f[0]+" "+f[1]] = f[3]
	}
	var paths []string
	for p := range claims {
		paths = append(paths, p)
	}
	owners, err := d.Owners(paths)
	if err != nil || len(owners) != len(paths) {
		t.Errorf("%d owners of %d, %v", len(owners), len(paths), err)
	}
	for p, o := range owners {
		sum, ok := claims[p][o.Package.Name+" "+o.Package.Version]
		if !ok {
			t.Errorf("%s is of %s %s, rpm says %v", p, o.Package.Name, o.Package.Version, claims[p])
		}
		if got, _, err := d.Checksum(o); err != nil || got.Sum != sum {
			t.Errorf("checksum of %s: %+v, %v, rpm says %q", p, got, err, sum)
		}
	}
}

// TestLiveTransaction looks while rpm is at work: it says so, and is not wrong.
func TestLiveTransaction(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: rpm needs root to install into a root")
	}
	rpms := buildLive(t)
	dir := t.TempDir()
	run(t, "rpm", rpmIn(dir, "-U", rpms["1-1"])...)
	write(t, dir, "hold", nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "rpm", rpmIn(dir, "-U", rpms["1-2"])...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for ctx.Err() == nil {
		if _, err := os.Stat(filepath.Join(dir, "held")); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	root := openRoot(t, dir)
	if busy, err := Busy(root); !busy || err != nil {
		t.Errorf("in a transaction: %v, %v", busy, err)
	}
	d := open(t, dir)
	checkTold(t, d.Problems(), "var/lib/rpm/"+lockFile)
	for _, p := range d.Packages() {
		if p.Name != "live1" || p.Version != "3:1-1" && p.Version != "3:2-1" {
			t.Errorf("package %+v", p)
		}
	}
	if err := os.Remove(filepath.Join(dir, "hold")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if busy, err := Busy(root); busy || err != nil {
		t.Errorf("after the transaction: %v, %v", busy, err)
	}
	d = open(t, dir)
	noProblems(t, d)
	if p := d.Packages(); len(p) != 1 || p[0].Version != "3:2-1" {
		t.Errorf("packages %v", p)
	}
	log, err := d.Changelog(owner.Package{Name: "live1", Arch: "noarch", Version: "3:2-1"}, "3:1-1")
	if err != nil || len(log.Entries) != 1 {
		t.Errorf("changelog %+v, %v", log, err)
	}
}
