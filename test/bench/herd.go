package main

import (
	"bytes"
	"embed"
	"encoding/binary"
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

//go:embed testdata
var sources embed.FS

// build compiles the sources in testdata into dir.
func build(dir string) (forge, error) {
	if err := os.CopyFS(dir, sources); err != nil {
		return forge{}, err
	}
	f := forge{filepath.Join(dir, "idle"), filepath.Join(dir, "old.so"), filepath.Join(dir, "new.so")}
	idle, lib := filepath.Join(dir, "testdata/idle.c"), filepath.Join(dir, "testdata/lib.c")
	for _, argv := range [][]string{
		{"-o", f.idle, idle},
		{"-o", f.oldLib, "-shared", "-fPIC", `-DVERSION="1"`, lib},
		{"-o", f.newLib, "-shared", "-fPIC", `-DVERSION="2"`, lib},
	} {
		cmd := exec.Command("gcc", append([]string{"-O1", "-Wl,--build-id=sha1"}, argv...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return forge{}, fmt.Errorf("%q: %w\n%s(test/install-deps installs what is needed)", cmd.Args, err, out)
		}
	}
	return f, nil
}

// herd is a number of stale daemons. They live as long as lifeline is open, and
// hold the other end of alive open as long as they live.
type herd struct {
	lifeline, alive *os.File
	mappings        int // of one of them
}

// size says what a herd is like.
type size struct {
	processes int
	pieces    int  // mappings beside the usual ones
	distinct  bool // a library for each process instead of one for all
}

// start starts a herd in the empty directory dir and replaces its libraries.
func (f forge) start(dir string, s size) (*herd, error) {
	h := new(herd)
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
	alive, said, err := os.Pipe()
	if err != nil {
		return err
	}
	defer said.Close()
	h.alive = alive
	for i := range s.processes {
		cmd := exec.Command(idle, libs[i%len(libs)], strconv.Itoa(s.pieces))
		cmd.ExtraFiles = []*os.File{theirs, said}
		cmd.Stderr = os.Stderr
		// It ends at once: what goes on is the daemon.
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	said.Close()
	pids := make([]int32, s.processes)
	if err := binary.Read(alive, binary.NativeEndian, pids); err != nil {
		return fmt.Errorf("not all of %d daemons came up: %w", s.processes, err)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pids[0]))
	if err != nil {
		return err
	}
	h.mappings = bytes.Count(maps, []byte{'\n'})
	return nil
}

// stop ends all daemons of the herd and waits for their end.
func (h *herd) stop() {
	if h.lifeline != nil {
		h.lifeline.Close()
	}
	if h.alive != nil {
		_, _ = io.Copy(io.Discard, h.alive)
		h.alive.Close()
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
