package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Initramfs is what a kernel starts from: busybox, files of this machine and a script
// that is PID 1.
type Initramfs struct {
	// Modules are loaded, with those that they need, before Init begins.
	Modules []string
	// Files of this machine by their absolute paths in the guest.
	Files map[string]string
	// Init is a script of busybox's shell. It finds /dev, /proc and /sys mounted and
	// busybox's commands in PATH.
	Init string
}

// initBegin is how every /init begins. The modules' names are in a file of their own.
const initBegin = `#!/bin/busybox sh
/bin/busybox mkdir -p /bin /sbin /usr/bin /usr/sbin /dev /proc /sys /tmp /run
/bin/busybox --install -s
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
while read module; do insmod "$module" || echo "no module $module"; done </modules/order
`

// Initramfs packs an initramfs for the kernel into the file out, an uncompressed archive of
// cpio(1): to unpack costs a guest more than to load.
func (k Kernel) Initramfs(t testing.TB, out string, i Initramfs) {
	t.Helper()
	tree := t.TempDir()
	copyTo(t, "/bin/busybox", filepath.Join(tree, "bin/busybox"))
	for inside, outside := range i.Files {
		copyTo(t, outside, filepath.Join(tree, inside))
	}
	var order strings.Builder
	for _, file := range k.Modules(t, i.Modules...) {
		inside := "/modules/" + strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".xz"), ".zst")
		unpackModule(t, file, filepath.Join(tree, inside))
		fmt.Fprintln(&order, inside)
	}
	write(t, filepath.Join(tree, "modules/order"), []byte(order.String()))
	write(t, filepath.Join(tree, "init"), []byte(initBegin+i.Init))
	abs, err := filepath.Abs(out)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `find . -print0 | LC_ALL=C sort -z | cpio --quiet --null --create --format=newc --owner=0:0 >"$1"`, "sh", abs)
	cmd.Dir = tree
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("pack %s: %v\n%s", out, err, msg)
	}
}

func unpackModule(t testing.TB, file, to string) {
	t.Helper()
	program := "cat"
	switch filepath.Ext(file) {
	case ".xz":
		program = "xzcat"
	case ".zst":
		program = "zstdcat"
	}
	cmd := exec.Command(program, file)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr = out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, stderr.String())
	}
}
