package proc

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
)

const mountinfoSample = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
36 22 0:32 /mnt1 /home/a\040b\134c rw,nosuid,nodev shared:7 master:2 - fuse.sshfs me@host:/ rw,user_id=1000
37 22 0:33 / /odd\012line\011tab ro - tmpfs - rw
38 22 0:34 / / rw - overlay overlay rw,relatime,lowerdir=/l/A\040a:/l/B,upperdir=/u,workdir=/w
39 22 0:35 / /ro ro - overlay overlay ro,lowerdir+=/l/A,lowerdir+=/l/B
40 22 0:36 / /odd rw - overlay overlay rw,lowerdir=/l/A\134:b:/l/B,upperdir=/u,workdir=/w
41 22 0:37 / /data ro - overlay overlay ro,lowerdir=/l/A::/l/B
`

func TestParseMountinfo(t *testing.T) {
	got, err := ParseMountinfo(strings.NewReader(mountinfoSample))
	if err != nil {
		t.Fatal(err)
	}
	want := []Mount{
		{22, file.MakeDev(254, 0), "/", "ext4", nil},
		{36, file.MakeDev(0, 32), `/home/a b\c`, "fuse.sshfs", nil},
		{37, file.MakeDev(0, 33), "/odd\nline\ttab", "tmpfs", nil},
		{38, file.MakeDev(0, 34), "/", "overlay", &Overlay{"/u", []string{"/l/A a", "/l/B"}}},
		{39, file.MakeDev(0, 35), "/ro", "overlay", &Overlay{"", []string{"/l/A", "/l/B"}}},
		{40, file.MakeDev(0, 36), "/odd", "overlay", nil},
		{41, file.MakeDev(0, 37), "/data", "overlay", nil},
	}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("line %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestParseMountinfoMalformed(t *testing.T) {
	first, _, _ := strings.Cut(mountinfoSample, "\n")
	for _, bad := range []string{"x", "1 2 3 4 5 6 7", "36 22 032 / / rw - ext4 d rw", "36 22 0:99999999999 / / rw - ext4 d rw", "36 22 0:32 / / rw - ", "x 22 0:32 / / rw - ext4 d rw"} {
		list, err := ParseMountinfo(strings.NewReader(first + "\n" + bad + "\n"))
		var me *MountError
		if !errors.As(err, &me) || me.Offset != int64(len(first)+1) {
			t.Errorf("%q: got error %v, want one at offset %d", bad, err, len(first)+1)
		}
		if len(list) != 1 {
			t.Errorf("%q: the line before is lost: %v", bad, list)
		}
	}
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add(mountinfoSample)
	f.Add("1 1 0:0 \\ \\1 x - y")
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseMountinfo(strings.NewReader(s))
		if err == nil && len(list) != strings.Count(strings.TrimSuffix(s, "\n")+"\n", "\n") && s != "" {
			t.Errorf("%d mounts of %q", len(list), s)
		}
		for _, m := range list {
			if m.Type == "" || len(m.Point) > len(s) {
				t.Errorf("impossible mount %+v", m)
			}
		}
	})
}
