package live

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// The mode, owner or times of files of an overlay change, or all of them, while they
// run, as configuration management does it: for one of a lower layer that makes a
// copy, and for one of the upper layer it does not. Whatever that is, it is the same
// to a sensor that saw it before and to one that did not.
func TestOverlayTouched(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	touches := map[string]func(name string) error{
		"mode":  func(name string) error { return os.Chmod(name, 0o711) },
		"owner": func(name string) error { return os.Chown(name, user, user) },
		"times": func(name string) error { return os.Chtimes(name, time.Now(), time.Now()) },
	}
	overlay := workshop.C(t, "../cases/testdata/overlay.c")
	lab.NewTree(t, m.path("/srv/lower"), shift(t, "1"))
	for _, dir := range []string{"upper", "work", "merged"} {
		must(t, os.MkdirAll(m.path("/srv/"+dir), 0o755))
	}
	m.put(overlay, "/usr/bin/overlay")
	m.put(shift(t, "1"), "/srv/lower/opt/keeper")
	layers := map[string]string{"lower": "/srv/lower", "upper": "/srv/upper"}
	for what := range touches {
		for layer, dir := range layers {
			m.put(shift(t, what+layer), fmt.Sprintf("%s/opt/%s%s", dir, what, layer))
			m.put(wide(t, what+layer), fmt.Sprintf("%s/opt/%s%s.so", dir, what, layer))
		}
	}
	keeper := lab.Start(t, lab.Command{
		Path: "/opt/keeper", Via: append(m.Via(), "/usr/bin/overlay", "mount", "/srv/lower", "/srv/upper", "/srv/work", "/srv/merged"),
	})
	join := []string{"nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", keeper.PID), fmt.Sprintf("--root=/proc/%d/root", keeper.PID), "--"}
	merged := fmt.Sprintf("/proc/%d/root", keeper.PID)
	pids := []int{keeper.PID, m.control.PID}
	type toucher struct {
		shifter
		touch func(string) error
	}
	var all []toucher
	for what, touch := range touches {
		for layer := range layers {
			s := shifter{m: m, exe: "/opt/" + what + layer, lib: "/opt/" + what + layer + ".so"}
			s.Daemon = lab.Start(t, lab.Command{Path: s.exe, Via: join})
			s.do("open " + s.lib)
			all = append(all, toucher{s, touch})
			pids = append(pids, s.PID)
		}
	}
	r := m.run("--sweep", "off")
	time.Sleep(settled)
	lab.Check(t, r.Ask(t), pids)
	for _, s := range all {
		must(t, s.touch(merged+s.exe))
	}
	m.same(r, "programs touched", pids)
	for _, s := range all {
		must(t, s.touch(merged+s.lib))
	}
	m.same(r, "libraries touched", pids)
	// And then they are replaced.
	for _, s := range all {
		must(t, os.WriteFile(merged+s.lib+".new", []byte("\x7fELF of another kind"), 0o755))
		must(t, os.Rename(merged+s.lib+".new", merged+s.lib))
	}
	m.same(r, "libraries replaced", pids)
	report := r.Ask(t)
	for _, s := range all {
		if f := findingOf(t, report, s.Daemon); f.State != sensor.Stale {
			t.Errorf("%s is %s (%s)", s.exe, f.State, f.Reason)
		}
	}
}
