package file

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestKernelDev(t *testing.T) {
	tests := []struct {
		sdev uint32
		dev  Dev
		text string
	}{
		{0, 0, "0:0"},
		{0x00000027, 0x27, "0:39"},                  // an anonymous device: overlay, btrfs
		{0x00800001, 0x801, "8:1"},                  // sda1
		{0x0fe00000, 0xfe00, "254:0"},               // vda
		{0x10300005, 0x10305, "259:5"},              // nvme0n1p5
		{0x00000100, 0x100000, "0:256"},             // a minor of more than 8 bits
		{0xffffffff, 0xffffffff, "4095:1048575"},    // the last of both
		{0x0fdfffff, 0xfff0_fdff, "253:1048575"},    // device mapper, last minor
		{8<<20 | 0x12345, 0x1230_0845, "8:74565"},   // minor split around the major
		{0xfff<<20 | 0x000ff, 0xfffff, "4095:255"},  // last minor of the old encoding
		{0xfff<<20 | 0x00100, 0x1fff00, "4095:256"}, // first minor beyond it
	}
	for _, test := range tests {
		dev := KernelDev(test.sdev)
		if dev != test.dev || dev.String() != test.text {
			t.Errorf("KernelDev(%#x) = %#x %s, want %#x %s", test.sdev, uint64(dev), dev, uint64(test.dev), test.text)
		}
	}
}

// FuzzKernelDev holds that no device number is lost on any of the ways to a Dev.
func FuzzKernelDev(f *testing.F) {
	f.Add(uint32(0))
	f.Add(uint32(0x0fe00001))
	f.Add(^uint32(0))
	f.Fuzz(func(t *testing.T, sdev uint32) {
		major, minor := sdev>>20, sdev&0xfffff
		dev := KernelDev(sdev)
		if unix.Major(uint64(dev)) != major || unix.Minor(uint64(dev)) != minor {
			t.Errorf("KernelDev(%#x) = %s", sdev, dev)
		}
		if MakeDev(major, minor) != dev {
			t.Errorf("MakeDev(%d, %d) = %s, KernelDev gives %s", major, minor, MakeDev(major, minor), dev)
		}
	})
}

func TestViewsDiffer(t *testing.T) {
	const sdev, ino = 0x0fe00001, 42
	ids := []ID{StatID(uint64(KernelDev(sdev)), ino), LayerID(sdev, ino), MapsID(254, 1, ino)}
	for i, a := range ids {
		if a.Dev != ids[0].Dev || a.Ino != ino || a.String() != "254:1:42" {
			t.Errorf("%+v", a)
		}
		for j, b := range ids {
			if (a == b) != (i == j) {
				t.Errorf("%+v == %+v: %v", a, b, a == b)
			}
		}
	}
}

func TestStat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("12345"), 0o640); err != nil {
		t.Fatal(err)
	}
	mtime := time.Unix(1_234_567_890, 123_456_789)
	if err := os.Chtimes(path, mtime, mtime); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, path+".link"); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	info, err := StatAt(unix.AT_FDCWD, path+".link")
	if err != nil {
		t.Fatal(err)
	}
	want := Info{
		ID: StatID(st.Dev, st.Ino), Mode: unix.S_IFREG | 0o640, Nlink: 1, UID: uint32(os.Getuid()),
		Size: 5, Mtime: mtime, Ctime: time.Unix(st.Ctim.Unix()), Birth: info.Birth, Mount: info.Mount,
	}
	if info != want || !info.Regular() || info.Symlink() {
		t.Errorf("got  %+v\nwant %+v", info, want)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if byFD, err := StatFD(int(f.Fd())); err != nil || byFD != info {
		t.Errorf("StatFD gives %+v, %v", byFD, err)
	}
	if KeyOf(info) != (ContentKey{info.ID, st.Ctim.Nano(), 5}) {
		t.Errorf("key %+v", KeyOf(info))
	}
	if _, err := StatAt(unix.AT_FDCWD, path+".gone"); !os.IsNotExist(err) {
		t.Error(err)
	}
}
