package host

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestKernelRelease(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := KernelRelease(), strings.TrimSpace(string(b)); got != want {
		t.Errorf("%q; want %q", got, want)
	}
	if _, _, ok := KernelVersion(KernelRelease()); !ok {
		t.Errorf("%q has no version", KernelRelease())
	}
}

func TestKernelVersion(t *testing.T) {
	tests := []struct {
		release      string
		major, minor int
		ok           bool
	}{
		{"6.1.0-28-amd64", 6, 1, true},
		{"5.10.0-33-cloud-arm64", 5, 10, true},
		{"6.8.0-45-generic", 6, 8, true},
		{"5.14.0-427.13.1.el9_4.x86_64", 5, 14, true},
		{"6.18.44-fc-v595", 6, 18, true},
		{"4.18.0", 4, 18, true},
		{"6.11", 6, 11, true},
		{"6.13-rc1", 6, 13, true},
		{"6.6+", 6, 6, true},
		{"10.0.1", 10, 0, true},
		{"", 0, 0, false},
		{"6", 0, 0, false},
		{"6.", 0, 0, false},
		{".1", 0, 0, false},
		{"6.x", 0, 0, false},
		{"x.6", 0, 0, false},
		{"-6.1", 0, 0, false},
		{"6.-1", 0, 0, false},
		{" 6.1", 0, 0, false},
		{"6 .1", 0, 0, false},
		{"6.99999999999999999999", 0, 0, false},
		{"99999999999999999999.1", 0, 0, false},
	}
	for _, test := range tests {
		major, minor, ok := KernelVersion(test.release)
		if ok != test.ok || (ok && (major != test.major || minor != test.minor)) {
			t.Errorf("%q: %d.%d, %t; want %d.%d, %t", test.release, major, minor, ok, test.major, test.minor, test.ok)
		}
	}
}

func TestWriteProtectsExecutables(t *testing.T) {
	tests := []struct {
		release string
		want    bool
	}{
		{"5.10.0-33-amd64", true},
		{"6.1.0-28-amd64", true},
		{"6.10.11-amd64", true},
		{"6.11.0", false},
		{"6.12.6-amd64", false}, // of which some have the revert
		{"6.13-rc1", true},
		{"7.11.0", true},
		{"7.12.0", true},
		{"", false},
		{"unknown", false},
	}
	for _, test := range tests {
		if got := WriteProtectsExecutables(test.release); got != test.want {
			t.Errorf("%q: %t; want %t", test.release, got, test.want)
		}
	}
	// What is said of the running kernel must be so.
	if WriteProtectsExecutables(KernelRelease()) {
		f, err := os.OpenFile("/proc/self/exe", os.O_WRONLY, 0)
		if !errors.Is(err, syscall.ETXTBSY) && !errors.Is(err, os.ErrPermission) { // the owner is told more
			t.Errorf("%s lets a running executable be written to: %v", KernelRelease(), err)
		}
		f.Close()
	}
}

func FuzzKernelVersion(f *testing.F) {
	for _, s := range []string{"6.1.0-28-amd64", "6.13-rc1", "6.", "-6.1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		major, minor, ok := KernelVersion(s)
		if ok && (major < 0 || minor < 0) {
			t.Fatalf("%d.%d", major, minor)
		}
		// What comes after the second number changes nothing.
		if a, b, ok2 := KernelVersion(s + "-amd64"); ok && (!ok2 || a != major || b != minor) {
			t.Fatalf("%d.%d, %t; want %d.%d", a, b, ok2, major, minor)
		}
	})
}
