package probe_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/probe"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// viewed is a file that the kernel and user space see with different numbers.
type viewed struct {
	name string // by which it is mapped
	// layer is the device and inode by which the kernel knows it. A device of 0 is
	// one that stat does not show.
	layer   file.ID
	overlay bool
}

// TestIdentity holds, for files in overlays and on btrfs, which of the numbers that such
// a file has are told of it; and that the mapped file, as user space sees it, is the one
// of the path for as long as nobody replaces it.
func TestIdentity(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: tracing needs root")
	}
	places := map[string][]viewed{"overlay": overlaid(t, t.TempDir())}
	for _, dir := range btrfsMounts(t) {
		sub, err := os.MkdirTemp(dir, "identity.")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(sub) })
		name := filepath.Join(sub, "code")
		places["btrfs"] = []viewed{{name: name, layer: file.LayerID(0, write(t, name).ID.Ino)}}
		places["overlay on btrfs"] = overlaid(t, sub)
		for i := range places["overlay on btrfs"] {
			places["overlay on btrfs"][i].layer.Dev = 0
		}
	}
	tiers := seeing(t)
	var iterator *probe.Snapshot
	if kernelHas(5, 12) {
		iterator = openBPF(t)
	}
	for place, files := range places {
		t.Run(place, func(t *testing.T) {
			for _, tier := range tiers {
				t.Run(tier, func(t *testing.T) { identify(t, tier, iterator, files) })
			}
		})
	}
}

// identify maps each of the files in a process of its own. iterator is nil where the
// kernel has none.
func identify(t *testing.T, tier string, iterator *probe.Snapshot, files []viewed) {
	tr := openTracer(t, probe.TracerOptions{Tier: tier}).run()
	var pids []int
	for _, f := range files {
		cmd := self(childWaits, f.name)
		start(t, cmd, true)
		pids = append(pids, cmd.Process.Pid)
	}
	texts := byText(t)
	var iterated []snapshot.Process
	if iterator != nil {
		var err error
		if iterated, err = iterator.Read(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for i, f := range files {
		text := mappingOf(t, find(t, texts, pids[i]), f)
		sameFile(t, pids[i], text, f)
		if iterator != nil {
			taken := mappingOf(t, find(t, iterated, pids[i]), f)
			sameFile(t, pids[i], taken, f)
			if f.layer.Dev == 0 {
				f.layer.Dev = taken.File.ID.Dev
			}
			if taken.File.ID != f.layer {
				t.Errorf("%s: the iterator shows %v; want %v", f.name, taken.File.ID, f.layer)
			}
		}
		want := f.layer
		switch {
		case tier == probe.TierPerf: // what /proc/PID/maps shows
			want = text.File.ID
		case f.overlay && tier != probe.TierSysExit:
			// Before the mapping is made it is the file that was asked for.
			want = file.ID{View: file.LayerView, Dev: stat(t, f.name).ID.Dev, Ino: stat(t, f.name).ID.Ino}
		}
		told := slices.DeleteFunc(tr.of(pids[i]), func(e trace.Event) bool {
			return e.Kind != trace.Map || e.File.ID.Ino != want.Ino || want.Dev != 0 && e.File.ID != want
		})
		if len(told) != 1 {
			t.Errorf("%s: %v was told %d times in %+v", f.name, want, len(told), tr.of(pids[i]))
		}
	}
}

// mappingOf is the mapping of a file in a process that has one besides its executable,
// a memfd aside.
func mappingOf(t *testing.T, p snapshot.Process, f viewed) snapshot.Mapping {
	t.Helper()
	for _, m := range p.Mappings {
		if name, err := open(t, p.PID).NameOf(m); err == nil && name == f.name {
			return m
		}
	}
	t.Fatalf("%s is not among %+v", f.name, p.Mappings)
	return snapshot.Mapping{}
}

// sameFile holds that stat says the same of a mapping and of the path.
func sameFile(t *testing.T, pid int, m snapshot.Mapping, f viewed) {
	t.Helper()
	mapped, err := open(t, pid).StatOf(m)
	if err != nil {
		t.Fatal(err)
	}
	named := stat(t, f.name)
	if mapped.ID != named.ID || mapped.Size != named.Size || !mapped.Ctime.Equal(named.Ctime) {
		t.Errorf("%s: mapped %+v, named %+v", f.name, mapped, named)
	}
}

// write makes a file that can be mapped, and says what it is.
func write(t *testing.T, name string) file.Info {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, make([]byte, os.Getpagesize()), 0o755); err != nil {
		t.Fatal(err)
	}
	return stat(t, name)
}

func stat(t *testing.T, name string) file.Info {
	t.Helper()
	info, err := file.StatAt(unix.AT_FDCWD, name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// overlaid are a file of the lower directory in two overlays, as two containers of one
// image have it, and one of an upper directory.
func overlaid(t *testing.T, dir string) []viewed {
	t.Helper()
	layer := func(info file.Info) file.ID {
		return file.ID{View: file.LayerView, Dev: info.ID.Dev, Ino: info.ID.Ino}
	}
	lower := layer(write(t, filepath.Join(dir, "lower/code")))
	var list []viewed
	for i := range 2 {
		path := func(what string) string { return filepath.Join(dir, fmt.Sprint(what, i)) }
		for _, what := range []string{"upper", "work", "merged"} {
			if err := os.Mkdir(path(what), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		options := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s,workdir=%s", dir, path("upper"), path("work"))
		if err := unix.Mount("overlay", path("merged"), "overlay", 0, options); err != nil {
			t.Fatalf("overlay: %v", err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(path("merged"), unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		list = append(list, viewed{path("merged") + "/code", lower, true})
	}
	own := filepath.Join(dir, "merged0/own")
	write(t, own)
	return append(list, viewed{own, layer(stat(t, filepath.Join(dir, "upper0/own"))), true})
}

// btrfsMounts are where btrfs can be written to here: at most one place.
func btrfsMounts(t *testing.T) []string {
	t.Helper()
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		word := strings.Fields(lines.Text())
		if len(word) > 3 && word[2] == "btrfs" && strings.HasPrefix(word[3], "rw") {
			return []string{word[1]}
		}
	}
	return nil
}
