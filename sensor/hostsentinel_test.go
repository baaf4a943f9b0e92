package sensor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// The daemon's own request for a reboot is there for as long as one is needed, and what it
// cannot tell changes nothing.
func TestMaintain(t *testing.T) {
	dir := t.TempDir()
	b := newBox(t, "6.1.0-44-amd64", "6.1.164-1")
	d := &daemon{Sensor: New(Options{Log: zap.NewNop()}), live: LiveOptions{SentinelDir: dir}}
	file := filepath.Join(dir, "reboot-required")
	for _, step := range []struct {
		need Need
		want bool
	}{{NeedNone, false}, {NeedUnknown, false}, {NeedReboot, true}, {NeedReboot, true}, {NeedUnknown, true}, {NeedAdvised, false}, {NeedReboot, true}, {NeedNone, false}} {
		sc := b.scan(time.Now(), nil)
		sc.about = &itself{causes: []Cause{{State: Stale, Action: Reboot, Need: NeedReboot, Since: moment(before)}}, pkg: &Package{Name: "linux-image-x"}}
		d.maintain(sc, &Report{Reboot: &RebootVerdict{Need: step.need, Why: []string{"an old kernel runs"}}})
		content, err := os.ReadFile(file)
		if (err == nil) != step.want {
			t.Fatalf("%s: %v (%s)", step.need, err, d.sentinel)
		}
		if !step.want {
			continue
		}
		names, err := os.ReadFile(file + ".pkgs")
		if err != nil || !strings.Contains(string(names), "linux-image-x") || !strings.Contains(string(content), "an old kernel runs") {
			t.Errorf("%s: %q, %q, %v", step.need, content, names, err)
		}
	}

	// What speaks for a reboot does not say that the rest is known.
	sc := b.scan(time.Now(), nil)
	sc.about = &itself{causes: []Cause{{State: Stale, Action: Reboot, Need: NeedReboot}}}
	d.maintain(sc, &Report{Reboot: &RebootVerdict{Need: NeedReboot, Why: []string{"an old kernel runs"}}})
	sc.about = &itself{causes: []Cause{{State: Unknown, Need: NeedUnknown}}}
	d.maintain(sc, &Report{Reboot: &RebootVerdict{Need: NeedAdvised, Why: []string{"somebody asks"}}})
	if _, err := os.Stat(file); err != nil {
		t.Errorf("gone although something is not known: %v", err)
	}
	sc.about = &itself{}
	d.maintain(sc, &Report{Reboot: &RebootVerdict{Need: NeedNone}})

	// Another's is left alone.
	if err := os.WriteFile(file, []byte("*** System restart required ***\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d.maintain(sc, &Report{Reboot: &RebootVerdict{Need: NeedNone}})
	if content, err := os.ReadFile(file); err != nil || string(content) != "*** System restart required ***\n" {
		t.Errorf("%q, %v", content, err)
	}
}

// A module of which it cannot be told what it drives drives something.
func TestDrives(t *testing.T) {
	b := newBox(t, "6.1.0-44-amd64", "6.1.164-1")
	b.put(b.sys, "module/idle/refcnt", "0\n")
	b.put(b.sys, "module/driver/drivers/pci:x", "")
	b.put(b.sys, "module/odd/drivers", "no directory")
	sc := b.scan(time.Now(), nil)
	for name, want := range map[string]bool{"idle": false, "driver": true, "odd": true} {
		if got := sc.drives(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Who asks for a reboot is told, but for the sensor itself.
func TestReadSentinels(t *testing.T) {
	b := newBox(t, "6.1.0-44-amd64", "6.1.164-1")
	b.put(b.root, "run/reboot-required", "*** System restart required ***\n")
	b.put(b.root, "run/reboot-required.pkgs", "dbus\nlibc6\ndbus\n")
	list := b.scan(time.Now(), nil).readSentinels(time.Now())
	if len(list) != 1 || strings.Join(list[0].Packages, " ") != "dbus libc6" || !list[0].Counts || list[0].Since == nil {
		t.Errorf("%+v", list)
	}
	// What was written before the boot was left over.
	if list := b.scan(time.Now(), nil).readSentinels(time.Now().Add(time.Hour)); len(list) != 1 || list[0].Counts {
		t.Errorf("%+v", list)
	}
}
