package lab

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// GuestPackages are what a root directory must have installed to become a GuestDisk,
// beside a kernel of Debian's.
var GuestPackages = []string{
	"systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "udev", "kmod",
	// A guest of this lab needs no driver that is not in the kernel, and this makes
	// in no time what takes others a minute here.
	"tiny-initramfs",
	"grub-pc-bin", "grub2-common",
}

// GuestUser is the user of every guest that is not root. It may read the journal.
const GuestUser = "alice"

// GuestDisk is the disk of a machine with a Debian of its own. Which kernel it boots
// the GRUB of that Debian decides.
type GuestDisk struct {
	dir   string
	image string
	grub  string // a boot loader that QEMU starts like a kernel
	key   string // for ssh(1)
}

// guestDevice is what Linux calls the disk. The driver is in the kernel itself.
const guestDevice = "/dev/nvme0n1"

// guestArguments are what every kernel of a guest is told.
const guestArguments = "console=ttyS0 panic=-1 reboot=t mitigations=off nokaslr"

// NewGuestDisk makes the disk of a guest out of a root directory with GuestPackages and
// with one kernel, which is changed on the way. Files are copied into it: names in the
// guest by names here. It lives as long as the test.
func NewGuestDisk(t testing.TB, root string, files map[string]string) GuestDisk {
	t.Helper()
	dir := Scratch(t)
	d := GuestDisk{dir: dir, image: filepath.Join(dir, "disk"), grub: filepath.Join(dir, "grub"), key: filepath.Join(dir, "key")}
	Output(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", d.key)
	for name, text := range guestFiles(t) {
		put(t, root, name, text)
	}
	for inside, outside := range files {
		to := filepath.Join(root, inside)
		Output(t, "install", "-D", outside, to)
	}
	for _, unit := range []string{"systemd-networkd-wait-online.service", "e2scrub_reap.service", "apt-daily.timer", "apt-daily-upgrade.timer"} {
		Output(t, "ln", "-sfn", "/dev/null", filepath.Join(root, "etc/systemd/system", unit))
	}
	d.installGRUB(t, root)
	inRoot(t, root, "systemctl", "enable", "systemd-networkd.service")
	inRoot(t, root, "useradd", "--create-home", "--groups", "adm", "--shell", "/bin/bash", GuestUser)
	d.authorize(t, root, "root", "/root")
	d.authorize(t, root, GuestUser, "/home/"+GuestUser)
	Output(t, "mke2fs", "-q", "-t", "ext4", "-d", root, d.image, "1500M")
	return d
}

// guestFiles are the texts of files of a guest by their names.
func guestFiles(t testing.TB) map[string]string {
	t.Helper()
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"etc/hostname": "guest\n",
		// One that is known is no first boot, which would take longer.
		"etc/machine-id":                         hex.EncodeToString(id) + "\n",
		"etc/fstab":                              guestDevice + " / ext4 defaults 0 0\n",
		"etc/systemd/network/guest.network":      "[Match]\nName=e*\n[Network]\nAddress=10.0.2.15/24\n",
		"etc/tiny-initramfs/tiny-initramfs.conf": "AUTO_MODULES=no\n",
		"etc/ssh/sshd_config.d/guest.conf":       "UseDNS no\n",
		"etc/systemd/system.conf.d/guest.conf":   "[Manager]\nShowStatus=no\nDefaultTimeoutStopSec=10s\n",
		"etc/default/grub":                       "GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_DISABLE_LINUX_UUID=true\nGRUB_DISABLE_OS_PROBER=true\nGRUB_TERMINAL=console\nGRUB_CMDLINE_LINUX=\"" + guestArguments + "\"\nGRUB_CMDLINE_LINUX_DEFAULT=quiet\n",
	}
}

// installGRUB makes the boot loader, which reads what else it needs from the disk, and a
// first configuration. From then on the root's own update-grub writes it.
func (d GuestDisk) installGRUB(t testing.TB, root string) {
	t.Helper()
	images, err := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		t.Fatalf("the guest's kernels are %q, %v; one is needed", images, err)
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	put(t, root, "boot/grub/grub.cfg", fmt.Sprintf("set timeout=0\nmenuentry 'Debian GNU/Linux' {\n\tlinux /boot/vmlinuz-%s root=%s ro %s quiet\n\tinitrd /boot/initrd.img-%s\n}\n",
		release, guestDevice, guestArguments, release))
	const modules = "usr/lib/grub/i386-pc"
	Output(t, "cp", "-r", filepath.Join(root, modules), filepath.Join(root, "boot/grub"))
	const core = "var/tmp/core.img"
	inRoot(t, root, "grub-mkimage", "--format=i386-pc", "--prefix=(hd0)/boot/grub", "--output=/"+core, "biosdisk", "ext2", "normal", "configfile", "linux")
	var loader []byte
	// lnxboot.img makes of GRUB what looks like a kernel of Linux.
	for _, part := range []string{modules + "/lnxboot.img", core} {
		content, err := os.ReadFile(filepath.Join(root, part))
		if err != nil {
			t.Fatal(err)
		}
		loader = append(loader, content...)
	}
	write(t, d.grub, loader)
}

func (d GuestDisk) authorize(t testing.TB, root, user, home string) {
	t.Helper()
	key, err := os.ReadFile(d.key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	put(t, root, home+"/.ssh/authorized_keys", string(key))
	inRoot(t, root, "chown", "--recursive", user+":", home+"/.ssh")
	inRoot(t, root, "chmod", "--recursive", "go=", home+"/.ssh")
}

// put writes a file that nobody executes into a root.
func put(t testing.TB, root, name, text string) {
	t.Helper()
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// inRoot runs a command of a root in it.
func inRoot(t testing.TB, root string, argv ...string) {
	t.Helper()
	cmd := exec.Command("chroot", append([]string{root}, argv...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in the root, %q: %v\n%s", argv, err, out)
	}
}
