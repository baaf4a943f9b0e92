package probe_test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// facts are what the sources must agree on; what they do not know is left out.
func facts(p snapshot.Process) snapshot.Process {
	p.TID, p.RootKey, p.CgroupKey, p.Uncertainty, p.Mappings = 0, 0, 0, 0, nil
	p.Start = p.Start / proc.Tick * proc.Tick
	return p
}

// area is a mapping without what only one source knows.
type area struct {
	start, end uint64
	exe        bool
}

func areas(p snapshot.Process) map[area]bool {
	got := make(map[area]bool)
	for _, m := range p.Mappings {
		got[area{m.Start, m.End, m.Exe}] = true
	}
	return got
}

// TestSourcesAgree holds that all sources give the same loads.
func TestSourcesAgree(t *testing.T) {
	all := subjects(t)
	text := byText(t)
	for _, src := range sources[:2] {
		t.Run(src.name, func(t *testing.T) {
			list := src.take(t)
			for _, s := range all {
				t.Run(s.name, func(t *testing.T) { agree(t, find(t, list, s.pid), find(t, text, s.pid)) })
			}
		})
	}
}

func agree(t *testing.T, p, text snapshot.Process) {
	a, b := facts(p), facts(text)
	if fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", b) {
		t.Errorf("got  %+v\ntext %+v", a, b)
	}
	if !maps.Equal(areas(p), areas(text)) {
		t.Fatalf("got  %+v\ntext %+v", p.Mappings, text.Mappings)
	}
	for i := range text.Mappings {
		m, o := text.Mappings[i].File, p.Mappings[i].File
		if o.Path != "" && o.Path != m.Path {
			t.Errorf("path %q, text %q", o.Path, m.Path)
		}
		if fstype, ok := oneView(m.Path); ok {
			if o.ID.Dev != m.ID.Dev || o.ID.Ino != m.ID.Ino {
				t.Errorf("%s: file %v, text %v", m.Path, o.ID, m.ID)
			}
			if o.FSType != 0 && o.FSType != fstype {
				t.Errorf("%s: file system %#x, statfs %#x", m.Path, o.FSType, fstype)
			}
		}
	}
}

// oneView returns the type of the file system in which name lies, if that is one
// where every view shows the same numbers: not so on overlayfs and btrfs.
func oneView(name string) (fstype int64, ok bool) {
	var st unix.Statfs_t
	if strings.HasPrefix(name, "/memfd:") || unix.Statfs(filepath.Dir(name), &st) != nil {
		return 0, false
	}
	return st.Type, st.Type == unix.EXT4_SUPER_MAGIC || st.Type == unix.XFS_SUPER_MAGIC || st.Type == unix.TMPFS_MAGIC
}

// TestSourcesAgreeOnHost compares every process of this machine that looked the
// same before and after. An area whose name is not a path ("[anon_shmem:…]") is
// seen by BPF alone.
func TestSourcesAgreeOnHost(t *testing.T) {
	for _, src := range sources[:2] {
		t.Run(src.name, func(t *testing.T) {
			before := stable(byText(t))
			list := stable(src.take(t))
			after := stable(byText(t))
			compared := 0
			for id, want := range before {
				// Where /proc/PID/exe is refused, text does not know the executable
				// from other files.
				if again, ok := after[id]; !ok || !maps.Equal(want, again) || !want[area{}] {
					continue
				}
				compared++
				got, ok := list[id]
				if !ok && len(want) > 0 {
					t.Errorf("%+v is missing", id)
				}
				for a := range want {
					if !got[a] {
						t.Errorf("%+v: %+v is missing", id, a)
					}
				}
				if src.name != "bpf" && len(got) != len(want) {
					t.Errorf("%+v: %v; want %v", id, got, want)
				}
			}
			if compared == 0 {
				t.Error("no process was compared")
			}
		})
	}
}

// stable are the loads of readable processes by what does not change.
func stable(list []snapshot.Process) map[string]map[area]bool {
	got := make(map[string]map[area]bool)
	for _, p := range list {
		if p.Err != nil {
			continue
		}
		id := fmt.Sprintf("pid=%d start=%v mnt=%d pidns=%d inner=%d fork=%t", p.PID, p.Start/proc.Tick*proc.Tick, p.MntNS, p.PIDNS, p.InnerPID, p.ForkNoExec)
		got[id] = make(map[area]bool)
		for _, m := range p.Mappings {
			got[id][area{m.Start, m.End, false}] = true
		}
	}
	return got
}

// TestReadTwice holds that nothing which one pass wrote is left out of the next.
func TestReadTwice(t *testing.T) {
	cmd := sleeper(t)
	start(t, cmd, false)
	settle(t, cmd.Process.Pid, "sleep", func(st proc.Stat) bool { return st.State == 'S' })
	s := openBPF(t)
	var passes [3]snapshot.Process
	for i := range passes {
		list, err := s.Read(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		passes[i] = find(t, list, cmd.Process.Pid)
	}
	for i, p := range passes {
		if len(p.Mappings) < 3 || !maps.Equal(areas(p), areas(passes[0])) {
			t.Errorf("pass %d: %+v; the first: %+v", i, p.Mappings, passes[0].Mappings)
		}
	}
}
