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

// forge holds what the herds are made of: the daemon, its library in two versions,
// the daemon of crowds; the loop; and what runs in containers.
type forge struct{ idle, oldLib, newLib, crowd, loop, flock string }

//go:embed testdata
var sources embed.FS

// build compiles the sources in testdata into dir.
func build(dir string) (forge, error) {
	if err := os.CopyFS(dir, sources); err != nil {
		return forge{}, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	f := forge{in("idle"), in("old.so"), in("new.so"), in("crowd"), in("loop"), in("flock")}
	idle, lib := in("testdata/idle.c"), in("testdata/lib.c")
	for _, argv := range [][]string{
		{"-o", f.idle, idle},
		{"-o", f.oldLib, "-shared", "-fPIC", `-DVERSION="1"`, lib},
		{"-o", f.newLib, "-shared", "-fPIC", `-DVERSION="2"`, lib},
		{"-o", f.crowd, "-static", in("testdata/crowd.c")},
		{"-o", f.loop, in("testdata/loop.c")},
		{"-o", f.flock, in("testdata/flock.c")},
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
	children        []*exec.Cmd
}

// size says what a herd is like.
type size struct {
	processes int
	pieces    int  // mappings beside the usual ones
	distinct  bool // a library for each process instead of one for all
	current   bool // nothing is replaced
	// executed are processes as a service manager starts them: a daemon was forked, so
	// that nobody can tell since when it has what is mapped.
	executed bool
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
	err := h.spawn(s.processes, s.executed, func(i int) []string {
		argv := []string{f.idle, libs[i%len(libs)], strconv.Itoa(s.pieces)}
		if s.executed {
			argv = append(argv, "stay")
		}
		return argv
	})
	if err != nil {
		h.stop()
		return nil, err
	}
	if s.current {
		return h, nil
	}
	for _, lib := range libs {
		if err := install(f.newLib, lib); err != nil {
			h.stop()
			return nil, err
		}
	}
	return h, nil
}

// gather starts a crowd: processes that each have the given number of files mapped,
// the program itself being one, of a pool of so many in the empty directory dir.
func (f forge) gather(dir string, processes, files, pool int) (*herd, error) {
	name := func(i int) string { return filepath.Join(dir, fmt.Sprintf("lib%05d.so", i%pool)) }
	for i := range pool {
		if err := install(f.oldLib, name(i)); err != nil {
			return nil, err
		}
	}
	h := new(herd)
	err := h.spawn(processes, true, func(i int) []string {
		argv := []string{f.crowd}
		for j := range files - 1 {
			argv = append(argv, name(i*(files-1)+j))
		}
		return argv
	})
	if err != nil {
		h.stop()
		return nil, err
	}
	return h, nil
}

// spawn starts processes, each by a command that stays or becomes a daemon.
func (h *herd) spawn(processes int, stay bool, argv func(i int) []string) error {
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
	for i := range processes {
		command := argv(i)
		cmd := exec.Command(command[0], command[1:]...)
		cmd.ExtraFiles = []*os.File{theirs, said}
		cmd.Stderr = os.Stderr
		if stay {
			if err := cmd.Start(); err != nil {
				return err
			}
			h.children = append(h.children, cmd)
			continue
		}
		// It ends at once: what goes on is the daemon.
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	said.Close()
	pids := make([]int32, processes)
	if err := binary.Read(alive, binary.NativeEndian, pids); err != nil {
		return fmt.Errorf("not all of %d daemons came up: %w", processes, err)
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
	for _, cmd := range h.children {
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
