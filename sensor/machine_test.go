package sensor

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// bzImage is as much of a kernel image as tells its version (boot.rst).
func bzImage(version string) []byte {
	b := make([]byte, 5*512+16)
	b[0x1f1] = 4 // sectors of setup
	copy(b[0x202:], "HdrS")
	b[0x1fe], b[0x1ff] = 0x55, 0xaa
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	binary.LittleEndian.PutUint16(b[0x20e:], 0x300)
	copy(b[0x500:], version+"\x00")
	binary.LittleEndian.PutUint32(b[0x24c:], 16)
	return b
}

// box is a made machine.
type box struct {
	t               *testing.T
	root, proc, sys string
}

const debianBuild = " (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian "

// newBox makes a machine that runs a release, built as a version of Debian's package.
func newBox(t *testing.T, release, version string) box {
	t.Helper()
	b := box{t, t.TempDir(), t.TempDir(), t.TempDir()}
	b.put(b.proc, "sys/kernel/osrelease", release+"\n")
	b.put(b.proc, "version", "Linux version "+release+debianBuild+version+" (2026-01-01)\n")
	b.put(b.proc, "modules", "")
	b.put(b.proc, "cmdline", "quiet\n")
	b.put(b.sys, "kernel/notes", "")
	b.put(b.root, "etc/os-release", "ID=debian\nVERSION_ID=12\n")
	return b
}

func (b box) put(dir, name, content string) {
	b.t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b box) link(target, name string) {
	b.t.Helper()
	name = filepath.Join(b.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		b.t.Fatal(err)
	}
}

// kernel installs an image.
func (b box) kernel(release, version string) {
	b.t.Helper()
	b.put(b.root, "boot/vmlinuz-"+release, string(bzImage(release+debianBuild+version+" (2026-01-01)")))
}

// scan is a look at the box, which was booted at a time; a running sensor's with mem.
func (b box) scan(booted time.Time, mem *memory) *scan {
	b.t.Helper()
	fs, err := proc.NewFS(b.proc)
	if err != nil {
		b.t.Fatal(err)
	}
	root, err := file.OpenRoot(b.root)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { root.Close() })
	sc := newScan(New(Options{Root: b.root, Proc: b.proc, Sys: b.sys, Log: zap.NewNop()}), fs, root, SourceMaps, snapshot.BootTime(booted))
	sc.mem = mem
	return sc
}

// judge returns the finding of the box itself; the zero one if there is none.
func (b box) judge(sc *scan) Finding {
	f, _ := sc.hostFinding(sc.judgeItself(context.Background(), false))
	return f
}

// TestMachine judges made machines from their files.
func TestMachine(t *testing.T) {
	const old, newer = "6.1.0-44-amd64", "6.1.0-49-amd64"
	hour := time.Hour
	for _, c := range []struct {
		name   string
		make   func(b box)
		booted time.Duration // after now
		state  State
		reason Reason
		why    string
	}{
		{"booted from what is installed", func(b box) { b.kernel(old, "6.1.164-1") }, hour, "", "", ""},
		{"a newer one", func(b box) { b.kernel(old, "6.1.164-1"); b.kernel(newer, "6.1.170-3") }, -hour, Stale, KernelOutdated,
			"6.1.0-44-amd64 (6.1.164-1) runs while 6.1.0-49-amd64 (6.1.170-3) is installed"},
		{"upgraded in place", func(b box) { b.kernel(old, "6.1.164-2") }, -hour, Stale, KernelOutdated, "while 6.1.0-44-amd64 (6.1.164-2)"},
		{"touched since, and of no build ID", func(b box) { b.kernel(old, "6.1.164-1") }, -hour, Unknown, Unresolved, "build ID"},
		{"none", func(box) {}, -hour, "", "", ""},
		{"a newer one where systemd-boot has it", func(b box) {
			b.put(b.root, "boot/efi/0123456789abcdef0123456789abcdef/"+newer+"/linux", string(bzImage(newer+debianBuild+"6.1.170-3 (2026-01-01)")))
		}, -hour, Stale, KernelOutdated, newer},
		{"a newer configuration of NixOS", func(b box) {
			b.put(b.root, "nix/store/x/bzImage", string(bzImage(newer+" (nixbld@localhost) #1-NixOS SMP")))
			b.link("/nix/store/x/bzImage", "run/current-system/kernel")
		}, -hour, Stale, KernelOutdated, newer},
		{"a newer one of which a link comes first", func(b box) {
			b.kernel(old, "6.1.164-1")
			b.kernel(newer, "6.1.170-3")
			b.link("vmlinuz-"+newer, "boot/vmlinuz")
		}, hour, Stale, KernelOutdated, newer},
		{"what was put aside", func(b box) {
			b.kernel(old, "6.1.164-1")
			b.put(b.root, "boot/vmlinuz-"+old+".old", string(bzImage(old+debianBuild+"6.1.163-1 (2026-01-01)")))
		}, hour, "", "", ""},
		{"/boot is not mounted", func(b box) {
			b.put(b.root, "etc/fstab", "# here\nUUID=1 / ext4 defaults 0 1\nUUID=2 /boot ext4 noauto 0 2\n")
			b.put(b.root, "boot/README", "")
		}, -hour, Unknown, Unresolved, "/boot of fstab is not mounted"},
		{"only modules of a newer one", func(b box) { b.put(b.root, "usr/lib/modules/"+newer+"/modules.dep", "") }, -hour, Unknown, Unresolved, newer},
		{"GRUB is told to take the running one", func(b box) {
			b.kernel(old, "6.1.164-1")
			b.kernel(newer, "6.1.170-3")
			b.put(b.root, "boot/grub/grub.cfg", "menuentry 'x' {\n linux /vmlinuz-"+old+"\n}\n")
		}, hour, Stale, KernelOutdated, "will not boot"},
		{"a package without an image", func(b box) {
			b.put(b.root, "var/lib/dpkg/status", "Package: linux-image-"+newer+"\nStatus: install ok installed\nArchitecture: amd64\nVersion: 6.1.170-3\n\n")
		}, -hour, Unknown, Unresolved, "no kernel that can be read"},
		{"garbage beside it", func(b box) {
			b.kernel(old, "6.1.164-1")
			b.put(b.root, "boot/vmlinuz-"+newer, strings.Repeat("x", 4096))
		}, hour,
			Unknown, Unresolved, newer},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, old, "6.1.164-1")
			c.make(b)
			f := b.judge(b.scan(time.Now().Add(c.booted), nil))
			if f.State != c.state || f.Reason != c.reason || !strings.Contains(f.Remedy.Why, c.why) {
				t.Errorf("%s %s: %s", f.State, f.Reason, f.Remedy.Why)
			}
			action := Reboot
			if f.State != Stale || strings.Contains(c.why, "will not") {
				action = None
			}
			if f.State != "" && f.Remedy.Action != action || f.State == Stale && f.Since == nil {
				t.Errorf("%+v", f)
			}
		})
	}
}

// A running sensor answers as a look does, whatever happens to the files of kernels.
func TestMachineRemembered(t *testing.T) {
	const old, newer = "6.1.0-44-amd64", "6.1.0-49-amd64"
	b := newBox(t, old, "6.1.164-1")
	b.kernel(old, "6.1.164-1")
	booted := time.Now().Add(time.Hour)
	mem := newMemory(zap.NewNop(), nil)
	look := func() (remembered, fresh Finding) {
		t.Helper()
		mem.machine.cost = 0 // as if that was long ago
		return b.judge(b.scan(booted, mem)), b.judge(b.scan(booted, nil))
	}
	facts := func() *machine { return mem.machine.facts }
	for _, step := range []struct {
		name  string
		do    func()
		again bool // the machine is read again
		state State
	}{
		{"at first", func() {}, true, ""},
		{"nothing happened", func() {}, false, ""},
		{"a newer kernel", func() { b.kernel(newer, "6.1.170-3") }, true, Stale},
		{"nothing happened again", func() {}, false, Stale},
		{"it is removed", func() {
			if err := os.Remove(filepath.Join(b.root, "boot/vmlinuz-"+newer)); err != nil {
				t.Fatal(err)
			}
		}, true, ""},
		{"the running one is written over", func() { b.kernel(old, "6.1.164-2") }, true, Stale},
		{"and back", func() { b.kernel(old, "6.1.164-1") }, true, ""},
		{"a boot loader", func() { b.put(b.root, "boot/grub/grub.cfg", "menuentry 'x' {\n linux /vmlinuz-"+old+"\n}\n") }, true, ""},
		{"a module is loaded", func() { b.put(b.proc, "modules", "m 4096 0 - Live 0x0\n") }, true, ""},
	} {
		step.do()
		was := facts()
		got, want := look()
		if (facts() != was) != step.again {
			t.Errorf("%s: read again: %v", step.name, facts() != was)
		}
		if got.State != step.state || want.State != step.state || got.Remedy.Why != want.Remedy.Why {
			t.Errorf("%s: %s (%s), a look says %s (%s)", step.name, got.State, got.Remedy.Why, want.State, want.Remedy.Why)
		}
	}
}
