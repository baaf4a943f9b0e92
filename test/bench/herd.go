package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// forge holds what the herds are made of: the daemon, and its library in two
// versions.
type forge struct{ idle, oldLib, newLib string }

// build compiles the sources in testdata into dir.
func build(dir string) (forge, error) {
	f := forge{filepath.Join(dir, "idle"), filepath.Join(dir, "old.so"), filepath.Join(dir, "new.so")}
	for _, argv := range [][]string{
		{"-o", f.idle, "testdata/idle.c"},
		{"-o", f.oldLib, "-shared", "-fPIC", `-DVERSION="1"`, "testdata/lib.c"},
		{"-o", f.newLib, "-shared", "-fPIC", `-DVERSION="2"`, "testdata/lib.c"},
	} {
		cmd := exec.Command("gcc", append([]string{"-O1", "-Wl,--build-id=sha1"}, argv...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return forge{}, fmt.Errorf("%q: %w\n%s(test/install-deps installs what is needed)", cmd.Args, err, out)
		}
	}
	return f, nil
}

// herd is a number of stale daemons. They live as long as one end of a pipe.
type herd struct {
	dir      string
	lifeline *os.File
	members  []*exec.Cmd
	mappings int // of one member
}

// size says what a herd is like.
type size struct {
	processes int
	pieces    int  // mappings beside the usual ones
	distinct  bool // a library for each process instead of one for all
}

// start starts a herd in the empty directory dir and replaces its libraries.
func (f forge) start(dir string, s size) (*herd, error) {
	h := &herd{dir: dir}
	libs := []string{filepath.Join(dir, "lib.so")}
	if s.distinct {
		libs = libs[:0]
		for i := range s.processes {
			libs = append(libs, filepath.Join(dir, fmt.Sprintf("lib%d.so", i)))
		}
	}
	for _, lib := range libs {
		if err := install(f.oldLib, lib); err != nil {
			return nil, err
		}
	}
	if err := h.spawn(f.idle, libs, s); err != nil {
		h.stop()
		return nil, err
	}
	for _, lib := range libs {
		if err := install(f.newLib, lib); err != nil {
			h.stop()
			return nil, err
		}
	}
	return h, nil
}

func (h *herd) spawn(idle string, libs []string, s size) error {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	h.lifeline = ours
	ready, said, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	for i := range s.processes {
		cmd := exec.Command(idle, libs[i%len(libs)], strconv.Itoa(s.pieces))
		cmd.ExtraFiles = []*os.File{theirs, said}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			said.Close()
			return err
		}
		h.members = append(h.members, cmd)
	}
	said.Close()
	if n, err := io.ReadFull(ready, make([]byte, s.processes)); err != nil {
		return fmt.Errorf("%d of %d daemons came up: %w", n, s.processes, err)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", h.members[0].Process.Pid))
	if err != nil {
		return err
	}
	for _, c := range maps {
		if c == '\n' {
			h.mappings++
		}
	}
	return nil
}

// stop ends all daemons of the herd.
func (h *herd) stop() {
	h.lifeline.Close()
	for _, cmd := range h.members {
		_ = cmd.Wait()
	}
}

// install puts a copy of from at to as a new inode.
func install(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to+".new", content, 0o755); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
