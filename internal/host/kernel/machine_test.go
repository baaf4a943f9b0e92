package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

func TestParseNotes(t *testing.T) {
	want := Notes{BuildID: testID, Salt: "6.1.0-35-amd64"}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		data := makeNotes(order)
		if n, err := ParseNotes(data, order); err != nil || n != want {
			t.Errorf("%+v, %v", n, err)
		}
		// Without the last padding it is still whole.
		if n, err := ParseNotes(data[:len(data)-1], order); err != nil || n != want {
			t.Errorf("without padding: %+v, %v", n, err)
		}
	}
	good := makeNote(binary.LittleEndian, "GNU", noteBuildID, testIDBytes)
	for name, data := range map[string][]byte{
		"long name":       append(bytes.Clone(good), "\xff\xff\xff\xff\x00\x00\x00\x00\x03\x00\x00\x00"...),
		"long descriptor": append(bytes.Clone(good), "\x04\x00\x00\x00\xff\xff\xff\xff\x03\x00\x00\x00GNU\x00"...),
		"many":            append(bytes.Clone(good), make([]byte, 12*maxNotes)...),
	} {
		n, err := ParseNotes(data, binary.LittleEndian)
		var e *Error
		if !errors.As(err, &e) || e.Offset < int64(len(good)) || n.BuildID != testID {
			t.Errorf("%s: %+v, %v", name, n, err)
		}
	}
	if _, err := ParseNotes(make([]byte, maxNoteBytes+1), binary.LittleEndian); err == nil {
		t.Error("no bound")
	}
}

// TestRunning reads the kernel that runs the test.
func TestRunning(t *testing.T) {
	proc, sys := openDir(t, "/proc"), openDir(t, "/sys")
	k, err := ReadRunning(proc, sys)
	if err != nil {
		t.Fatal(err)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	if k.Release != unix.ByteSliceToString(u.Release[:]) || !strings.HasPrefix(k.Version, "Linux version "+k.Release) {
		t.Errorf("%+v", k)
	}
	if len(k.BuildID) < 16 || strings.Trim(k.BuildID, "0123456789abcdef") != "" {
		t.Errorf("build ID %q", k.BuildID)
	}
	if _, err := ReadLivepatches(sys); err != nil {
		t.Error(err)
	}
}

func openDir(t *testing.T, dir string) *file.Root {
	t.Helper()
	root, err := file.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestRunningDamaged(t *testing.T) {
	proc := makeRoot(t, map[string]string{"sys/kernel/osrelease": "6.1.0-35-amd64\n", "version": strings.Repeat("x", maxLine+1)})
	sys := makeRoot(t, map[string]string{"kernel/notes": string(makeNotes(binary.NativeEndian)) + strings.Repeat("\xff", 12)})
	k, err := ReadRunning(proc, sys)
	if k.Release != "6.1.0-35-amd64" || k.Version != "" || k.BuildID != testID {
		t.Errorf("%+v", k)
	}
	if !errors.Is(err, file.ErrTooLarge) || !strings.Contains(err.Error(), "kernel/notes: offset ") {
		t.Error(err)
	}
}

func TestLivepatches(t *testing.T) {
	dir := "kernel/livepatch/"
	sys := makeRoot(t, map[string]string{
		dir + "klp_a/enabled": "1\n", dir + "klp_a/transition": "0\n", dir + "klp_a/replace": "1\n",
		dir + "klp_a/vmlinux/patched": "1\n", dir + "klp_a/vmlinux/do_x,1/x": "", dir + "klp_a/nfs/patched": "0\n",
		dir + "klp_b/enabled": "1\n", dir + "klp_b/transition": "1\n", dir + "klp_b/vmlinux/f,1/x": "",
		dir + "klp_c/enabled": "0\n", dir + "klp_c/transition": "1\n",
		dir + "klp_d/enabled": "maybe\n", dir + "klp_d/transition": "1\n",
		dir + "klp_e/transition": "1\n",
	})
	got, err := ReadLivepatches(sys)
	want := []Livepatch{
		{Name: "klp_a", Enabled: true, Objects: []PatchedObject{{"nfs", false}, {"vmlinux", true}}},
		{Name: "klp_b", Enabled: true, Transition: true, Objects: []PatchedObject{{"vmlinux", false}}},
		{Name: "klp_c", Transition: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if err == nil || !strings.Contains(err.Error(), `klp_d/enabled: offset 0: "maybe"`) {
		t.Error(err)
	}
	var states []string
	for _, p := range got {
		states = append(states, p.String())
	}
	if s := strings.Join(states, ", "); s != "klp_a (enabled), klp_b (being applied), klp_c (being taken back)" {
		t.Error(s)
	}
	if got, err := ReadLivepatches(makeRoot(t, nil)); got != nil || err != nil {
		t.Errorf("without the feature: %v, %v", got, err)
	}
}

func TestImageName(t *testing.T) {
	for name, want := range map[string]string{
		"vmlinuz-6.1.0-35-amd64": "6.1.0-35-amd64", "vmlinux-6.4.0-default.gz": "6.4.0-default", "vmlinuz-4.10.0-42-generic.efi.signed": "4.10.0-42-generic",
		"kernel-6.6.30-gentoo-dist": "6.6.30-gentoo-dist", "Image-6.4.0-1-default": "6.4.0-1-default", "vmlinuz-6.1.old": "no", "vmlinuz-6.1.orig": "no",
		"vmlinuz-lts": "", "vmlinuz-linux": "", "vmlinuz-0-rescue-0123": "", "vmlinuz": "", "vmlinuz.old": "no", "kernel8.img": "", "Image.gz": "",
		"initrd.img-6.1": "no", "vmlinuzx": "no", "config-6.1": "no", "vmlinuz-6.1.sig": "no", "vmlinuz-6.1.dpkg-new": "no", "System.map-6.1": "no",
	} {
		if got, ok := imageName(name); ok != (want != "no") || ok && got != want {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

func TestList(t *testing.T) {
	elf := makeELF(binary.LittleEndian, 64, 5000)
	image := string(makeBzImage(packGzip(t, elf)))
	bare := string(packGzip(t, makeArm64()))
	root := makeRoot(t, map[string]string{
		"boot/vmlinuz-6.1.0-35-amd64":                image,
		"boot/vmlinuz":                               "-> vmlinuz-6.1.0-35-amd64",
		"boot/vmlinuz.old":                           "-> vmlinuz-6.1.0-34-amd64", // gone
		"boot/vmlinuz-6.1.0-36-amd64.dpkg-new":       image,
		"boot/.vmlinuz-6.1.0-35-amd64.hmac":          "sum",
		"boot/vmlinuz-6.1.0-33-arm64":                bare,
		"boot/vmlinuz-6.1.0-32-amd64":                "damaged",
		"boot/vmlinuz-lts":                           image,
		"boot/initrd.img-6.1.0-35-amd64":             "initrd",
		"boot/config-6.1.0-35-amd64":                 "config",
		"usr/lib/modules/6.9.7-200.fc40/vmlinuz":     image,
		"usr/lib/modules/6.9.7-200.fc40/modules.dep": "",
		"usr/lib/modules/6.9.8-200.fc40/x.efi":       string(makeUKI(section{".linux", image}, section{".uname", "6.9.8-200.fc40"})),
		"lib":                                        "-> usr/lib",
		"boot/efi/EFI/Linux/a.EFI":                   string(makeUKI(section{".linux", image}, section{".uname", "6.9.9"})),
	})
	found, err := List(root)
	if err != nil {
		t.Fatal(err)
	}
	type line struct {
		file, link, release string
		named, damaged      bool
	}
	var got []line
	for _, k := range found {
		got = append(got, line{k.File, k.Link, k.Release, k.Named, k.Err != nil})
		if k.Err == nil && k.Info.Size == 0 {
			t.Errorf("%s: no info", k.File)
		}
	}
	want := []line{
		{"/boot/vmlinuz", "vmlinuz-6.1.0-35-amd64", testRelease, false, false},
		{"/boot/vmlinuz-6.1.0-32-amd64", "", "6.1.0-32-amd64", true, true},
		{"/boot/vmlinuz-6.1.0-33-arm64", "", "6.1.0-33-arm64", true, false},
		{"/boot/vmlinuz-6.1.0-35-amd64", "", testRelease, false, false},
		{"/boot/vmlinuz-lts", "", testRelease, false, false},
		{"/usr/lib/modules/6.9.7-200.fc40/vmlinuz", "", testRelease, false, false},
		{"/usr/lib/modules/6.9.8-200.fc40/x.efi", "", "6.9.8-200.fc40", false, false},
		{"/boot/efi/EFI/Linux/a.EFI", "", "6.9.9", false, false},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	img, err := IdentifyFile(context.Background(), root, "/boot/vmlinuz")
	if err != nil || img.BuildID != testID {
		t.Errorf("%+v, %v", img, err)
	}
	if _, err := IdentifyFile(context.Background(), root, "/boot/vmlinuz-6.1.0-32-amd64"); !errors.Is(err, ErrNotKernel) || !strings.Contains(err.Error(), "vmlinuz-6.1.0-32") {
		t.Error(err)
	}
	if _, err := IdentifyFile(context.Background(), root, "/boot/vmlinuz.old"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if found, err := List(makeRoot(t, nil)); found != nil || err != nil {
		t.Errorf("without kernels: %v, %v", found, err)
	}
}
