package microcode

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// image is an initial ramdisk as Debian makes it: an archive of microcode for each
// vendor, then the compressed main one.
func image(t testing.TB) []byte {
	t.Helper()
	amd := cpio(t, map[string][]byte{members[AMD]: amdFile([]equiv{{0xa00f11, 0xa011}}, patch{0x0a0011d5, 0x01302024, 0xa011, 64, 0})})
	intel := cpio(t, map[string][]byte{members[Intel]: slices.Concat(intelFile(1, 0x01012024, 0x50654, 1, 64), intelFile(0xf4, 0x01012024, 0x906e9, 2, 64))})
	main := cpio(t, map[string][]byte{"init": []byte("#!/bin/sh\n")})
	return slices.Concat(amd, make([]byte, 1000), intel, pack(t, main, "gzip", "-c"))
}

func TestEarly(t *testing.T) {
	dir := t.TempDir()
	img := image(t)
	write(t, dir, "boot/initrd.img-6.1", img)
	write(t, dir, "boot/initrd.img-none", pack(t, []byte("x"), "gzip", "-c"))
	write(t, dir, "boot/initrd.img-empty", nil)
	write(t, dir, "boot/initrd.img-plain", cpio(t, map[string][]byte{"init": []byte("x")}))
	root := openRoot(t, dir)
	for _, c := range []struct {
		name string
		cpu  CPU
		want uint32
	}{
		{"boot/initrd.img-6.1", zen3, 0x0a0011d5}, {"/boot/initrd.img-6.1", skylake, 1}, {"boot/initrd.img-6.1", kaby, 0xf4},
		{"boot/initrd.img-6.1", dozer, 0}, {"boot/initrd.img-none", zen3, 0}, {"boot/initrd.img-empty", zen3, 0}, {"boot/initrd.img-plain", zen3, 0},
	} {
		u, err := Early(root, c.name, c.cpu)
		if c.want == 0 {
			if !errors.Is(err, ErrNoUpdate) || u != (Update{}) {
				t.Errorf("%s: %+v, %v", c.name, u, err)
			}
			continue
		}
		if err != nil || u.Revision != c.want || u.File != "/boot/initrd.img-6.1" || u.Member != members[c.cpu.Vendor] {
			t.Errorf("%s: %+v, %v", c.name, u, err)
		}
	}
	if _, err := Early(root, "boot/missing", zen3); err == nil || strings.Contains(err.Error(), dir) {
		t.Error(err)
	}
}

// head makes a header by hand.
func head(name string, mode, size uint32, content string) []byte {
	b := fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0)
	b = append(b, name...)
	b = append(b, 0)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return append(b, content...)
}

func TestEarlyDamage(t *testing.T) {
	name := members[AMD]
	pad := strings.Repeat("x", 200)
	bad := head(name, 0o100644, 8, pad)
	copy(bad[54:], "zzzzzzzz")
	noName := head(name, 0o100644, 8, pad)
	copy(noName[94:], "00000000")
	long := head(name, 0o100644, 8, pad)
	copy(long[94:], "7fffffff")
	for what, c := range map[string]struct {
		b    []byte
		want string
	}{
		"lying size":  {head(name, 0o100644, 0xffffffff, pad), "offset 0: member of 4294967295 bytes where 200 are left"},
		"lying skip":  {head("kernel", 0o40755, 0xfffffff0, pad), "member of 4294967280 bytes"},
		"no number":   {bad, `offset 54: "zzzzzzzz" is no number`},
		"no name":     {noName, "name of 0 bytes"},
		"long name":   {long, "name of 2147483647 bytes"},
		"cut":         {head(name, 0o100644, 100, pad)[:200], "member of 100 bytes where"},
		"not AMD's":   {head(name, 0o100644, 100, pad), "offset 148: container begins with 0x78787878"},
		"many":        {bytes.Repeat(head("a", 0o100644, 0, ""), maxMembers+10), "more than 65536 members"},
		"many zeros":  {make([]byte, 4<<20), "more than 1048576 zeros"},
		"dir of name": {head(name, 0o40755, 100, pad), ErrNoUpdate.Error()},
	} {
		u, err := EarlyIn(bytes.NewReader(c.b), int64(len(c.b)), zen3)
		if err == nil || !strings.Contains(err.Error(), c.want) || u != (Update{}) {
			t.Errorf("%s: %+v, %v", what, u, err)
		}
	}
}

// TestEarlyFirst: the first member of the name counts, as for the kernel.
func TestEarlyFirst(t *testing.T) {
	one := amdFile(nil, patch{0x0a001101, 0, 1, 64, 0})
	two := amdFile(nil, patch{0x0a001102, 0, 1, 64, 0})
	b := slices.Concat(cpio(t, map[string][]byte{members[AMD]: one}), cpio(t, map[string][]byte{members[AMD]: two}))
	if u, err := EarlyIn(bytes.NewReader(b), int64(len(b)), zen3); err != nil || u.Revision != 0x0a001101 {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestImages(t *testing.T) {
	dir := t.TempDir()
	id := "0123456789abcdef0123456789abcdef"
	for _, name := range []string{
		"boot/initrd.img-6.1.0-50-amd64", "boot/vmlinuz-6.1.0-50-amd64", "boot/initramfs-5.14.0.img", "boot/intel-ucode.img", "boot/initrd.d/x",
		"boot/" + id + "/6.12/initrd", "boot/" + id + "/6.12/linux", "boot/" + id + "/readme", "boot/efi/" + id + "/6.13/initrd-1", "boot/grub/initrd/x",
	} {
		write(t, dir, name, nil)
	}
	got, err := Images(openRoot(t, dir))
	want := []string{"/boot/" + id + "/6.12/initrd", "/boot/efi/" + id + "/6.13/initrd-1", "/boot/initramfs-5.14.0.img", "/boot/initrd.img-6.1.0-50-amd64", "/boot/intel-ucode.img"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := Images(openRoot(t, t.TempDir())); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
}
