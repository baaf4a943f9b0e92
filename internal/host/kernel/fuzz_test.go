package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
)

func FuzzIdentify(f *testing.F) {
	elf := makeELF(binary.LittleEndian, 64, 600)
	image := makeBzImage(packGzip(f, elf))
	for _, seed := range [][]byte{
		elf, makeELF(binary.BigEndian, 32, 600), image, makeBzImage(packXZ(f, elf)), makeBzImage(packLZMA(f, elf)), makeBzImage(packZstd(f, elf)),
		makeBzImage(packLZ4(f, elf)), makeZBoot(packGzip(f, elf)), packGzip(f, makeArm64()),
		makeUKI(section{".linux", string(image)}, section{".uname", "6.1"}, section{".osrel", "ID=x"}),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		head, headErr := ReadImage(r, int64(len(data)))
		img, err := Identify(context.Background(), r, int64(len(data)))
		if headErr != nil && err == nil || err == nil && img.BuildID == "" {
			t.Errorf("%+v, %v without headers or a build ID: %v", img, err, headErr)
		}
		if headErr == nil && (head.Format == "" || head.Format != img.Format || head.Release != "" && head.Release != img.Release) {
			t.Errorf("headers %+v, all %+v", head, img)
		}
		if len(img.Version) > maxVersion || len(img.Release) > maxVersion || len(img.BuildID) > 2*maxBuildID || len(img.OSRelease) > maxOSRelease {
			t.Errorf("no bound: %+v", img)
		}
		var e *Error
		if errors.As(err, &e) && e.Err == nil {
			t.Errorf("no reason: %#v", err)
		}
	})
}

func FuzzParseNotes(f *testing.F) {
	f.Add(makeNotes(binary.LittleEndian))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := ParseNotes(data, binary.LittleEndian)
		if len(n.BuildID) > 2*maxBuildID || len(n.Salt) > maxSalt {
			t.Errorf("no bound: %+v", n)
		}
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Offset < 0 || e.Offset > int64(len(data))) {
			t.Errorf("no offset: %v", err)
		}
		// Another note at the end does not change what is there.
		if err == nil && len(data)%4 == 0 && len(data) < 1000 {
			more, err := ParseNotes(append(bytes.Clone(data), makeNote(binary.LittleEndian, "Linux", 1, nil)...), binary.LittleEndian)
			if err == nil && n.BuildID != more.BuildID {
				t.Errorf("%+v, then %+v", n, more)
			}
		}
	})
}

func FuzzGrub(f *testing.F) {
	for _, name := range []string{"debian.cfg", "fedora.cfg"} {
		data, err := os.ReadFile("testdata/grub/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data), "1>1")
	}
	f.Add("menuentry a { linux /a; }\nset default=\"${saved_entry}\"\n", "0")
	f.Fuzz(func(t *testing.T, script, saved string) {
		config, err := ParseGrub(strings.NewReader(script))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "offset ") {
				t.Errorf("no offset: %v", err)
			}
			return
		}
		entries := []BLSEntry{{ID: "a", Linux: "/a"}, {ID: "b", Linux: "/b"}}
		choice, err := config.Choose(map[string]string{"saved_entry": saved}, entries)
		switch {
		case err != nil && !errors.Is(err, ErrUncertain):
			t.Errorf("another error: %v", err)
		case err == nil && strings.Contains(choice.Path, "$"):
			t.Errorf("%+v", choice)
		case err == nil && !strings.Contains(script, "linux") && choice.Path != "/a" && choice.Path != "/b":
			t.Errorf("%+v from nowhere", choice)
		}
		// What cannot be told does not become certain by more that cannot be told.
		if config, err2 := ParseGrub(strings.NewReader(script + "\nif [ $x = y ]; then set default=z; fi\n")); err2 == nil && err != nil {
			if again, err := config.Choose(map[string]string{"saved_entry": saved}, entries); err == nil {
				t.Errorf("certain: %+v", again)
			}
		}
	})
}

func FuzzGrubEnv(f *testing.F) {
	f.Add(grubEnvHeader + "saved_entry=a\\\\b\n####")
	f.Fuzz(func(t *testing.T, data string) {
		env, err := ParseGrubEnv(strings.NewReader(data))
		size := 0
		for name, value := range env {
			size += len(name) + len(value)
		}
		if size > len(data) || err == nil && !strings.HasPrefix(data, grubEnvHeader) {
			t.Errorf("%q, %v", env, err)
		}
	})
}

func FuzzBLS(f *testing.F) {
	f.Add("title x\nversion 6.9\nlinux /linux\n", "a+3-1.conf", "mid-*")
	f.Fuzz(func(t *testing.T, data, name, pattern string) {
		e, err := ParseBLS(strings.NewReader(data))
		if err != nil {
			return
		}
		e.setName(name, ".conf")
		e.File = "/" + name
		if !strings.HasPrefix(name, e.ID) || !strings.Contains(data, e.Linux) || e.TriesLeft < -1 {
			t.Errorf("%+v", e)
		}
		other := BLSEntry{ID: "mid-6.9", Linux: "/x", TriesLeft: -1}
		if CompareBLS(e, other) != -CompareBLS(other, e) {
			t.Errorf("no order: %+v", e)
		}
		chosen, err := ChooseBLS([]BLSEntry{e, other}, pattern)
		if err == nil && chosen != e && chosen != other || err != nil && !errors.Is(err, ErrUncertain) {
			t.Errorf("%+v, %v", chosen, err)
		}
		if p, err := ParseLoaderConf(strings.NewReader(data)); err == nil && !strings.Contains(data, p) {
			t.Errorf("pattern %q", p)
		}
	})
}

func FuzzExtlinux(f *testing.F) {
	f.Add("default l0\nlabel l0\nlinux /boot/vmlinuz\nmenu default\n")
	f.Fuzz(func(t *testing.T, data string) {
		c, err := ParseExtlinux(strings.NewReader(data))
		if err == nil && (c.Path == "" || !strings.Contains(data, c.Path) || !strings.Contains(data, c.Label)) {
			t.Errorf("%+v", c)
		}
	})
}
