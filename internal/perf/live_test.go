package perf

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

func stat(t testing.TB, name string) (file.Dev, uint64) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	return file.Dev(st.Dev), st.Ino
}

// TestProgram follows a program from its fork to its end.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "we (ird)\n\\012 名\xff")
	if err := os.WriteFile(name, b, 0o755); err != nil {
		t.Fatal(err)
	}
	r := open(t, Options{Tasks: true})
	cmd := self()
	cmd.Path = name
	before := Now()
	pid, _ := run(t, cmd)
	records := of(r, pid)
	after := Now()

	program := named(records, Map, name)
	if len(program) == 0 {
		t.Fatalf("no Map of %q in %+v", name, records)
	}
	dev, ino := stat(t, name)
	if m := program[0]; m.Dev != dev || m.Ino != ino || m.TID != pid || m.Prot&unix.PROT_EXEC == 0 || m.Len == 0 || m.Flags&unix.MAP_PRIVATE == 0 {
		t.Errorf("%+v, file is %s:%d", m, dev, ino)
	}
	index := func(f func(Record) bool) int { return slices.IndexFunc(records, f) }
	fork := index(func(r Record) bool { return r.Kind == Fork && r.PPID == os.Getpid() })
	exec := index(func(r Record) bool { return r.Kind == Exec && r.Name == filepath.Base(name)[:15] })
	mapped := slices.Index(records, program[0])
	exit := index(func(r Record) bool { return r.Kind == Exit && r.TID == pid })
	if fork != 0 || exec <= fork || mapped <= exec || exit <= mapped {
		t.Errorf("fork %d, exec %d, map %d, exit %d in %+v", fork, exec, mapped, exit, records)
	}
	for _, rec := range records {
		if rec.Time < before || rec.Time > after {
			t.Errorf("not between %s and %s: %+v", before, after, rec)
		}
	}
}

// TestMappings holds which mappings come, and what is said of them.
func TestMappings(t *testing.T) {
	dir := t.TempDir()
	plain, data, later, gone := code(t, dir, "lib x.so\n(y)"), code(t, dir, "data"), code(t, dir, "later"), code(t, dir, "gone")
	ids := make(map[string]Record)
	for _, name := range []string{plain, data, later, gone} {
		dev, ino := stat(t, name)
		ids[name] = Record{Dev: dev, Ino: ino}
	}
	r := open(t, Options{})
	before := r.Stats()
	pid, lines := run(t, self("exec="+plain, "shared="+plain, "data="+data, "mprotect="+later, "unlink="+gone, "memfd=a b", "anon"))
	records := of(r, pid)
	one := func(name string) Record {
		t.Helper()
		found := named(records, Map, name)
		if len(found) != 1 {
			t.Fatalf("%d Maps of %q in %+v", len(found), name, records)
		}
		return found[0]
	}

	maps := named(records, Map, plain)
	if len(maps) != 2 {
		t.Fatalf("%d Maps of %q", len(maps), plain)
	}
	for i, flag := range []uint32{unix.MAP_PRIVATE, unix.MAP_SHARED} {
		m := maps[i]
		if m.Flags&unix.MAP_TYPE != flag || m.Prot != unix.PROT_READ|unix.PROT_EXEC || m.Pgoff != uint64(page) || m.Len != uint64(page) ||
			strconv.FormatUint(m.Addr, 10) != lines[i] || m.Dev != ids[plain].Dev || m.Ino != ids[plain].Ino {
			t.Errorf("%+v, mapped at %s", m, lines[i])
		}
	}
	if found := named(records, Map, data); len(found) > 0 {
		t.Errorf("not executable: %+v", found)
	}
	if m := one(later); m.Ino != ids[later].Ino || m.Prot != unix.PROT_READ|unix.PROT_EXEC {
		t.Errorf("mprotect: %+v", m)
	}
	if m := one(gone + " (deleted)"); m.Ino != ids[gone].Ino || m.Dev != ids[gone].Dev {
		t.Errorf("deleted: %+v", m)
	}
	if m := one("/memfd:a b (deleted)"); m.Ino == 0 || m.Dev == 0 {
		t.Errorf("memfd: %+v", m)
	}
	for _, rec := range records {
		if rec.Kind != Map || rec.Name == "" || rec.Name[0] != '/' || rec.Name[:2] == "//" {
			t.Errorf("%+v", rec)
		}
	}
	if s := r.Stats(); s.NoFile <= before.NoFile || s.Forks+s.Execs+s.Exits+s.Renames != 0 || s.Tasks == 0 || s.Lost+s.Malformed+s.Unknown != 0 {
		t.Errorf("%+v", s)
	}
}

// TestTasks holds what is said of threads.
func TestTasks(t *testing.T) {
	r := open(t, Options{Tasks: true})
	pid, _ := run(t, self("thread", "rename=other"))
	records := of(r, pid)
	var forks, exits, execs int
	for _, rec := range records {
		switch rec.Kind {
		case Fork:
			forks++
		case Exec:
			execs++
		case Exit:
			if rec.TID != pid {
				exits++
			}
		}
	}
	if s := r.Stats(); forks != 1 || execs != 1 || exits == 0 || s.Threads == 0 || s.Renames == 0 {
		t.Errorf("%d forks, %d execs, %d ends of threads, %+v", forks, execs, exits, s)
	}
}

// TestChroot holds that a name is that in the process's own root.
func TestChroot(t *testing.T) {
	dir := t.TempDir()
	name := code(t, dir, "inside")
	r := open(t, Options{})
	pid, _ := run(t, self("chroot="+dir, "exec=/inside"))
	dev, ino := stat(t, name)
	if m := named(of(r, pid), Map, "/inside"); len(m) != 1 || m[0].Dev != dev || m[0].Ino != ino {
		t.Errorf("%+v, file is %s:%d", m, dev, ino)
	}
}

// TestNamespace holds that a process in another PID namespace goes by its number
// in the Reader's, and that a Reader leaves out those that its own does not show.
func TestNamespace(t *testing.T) {
	name := code(t, t.TempDir(), "lib")
	r := open(t, Options{})
	inside := self("exec=" + name)
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	pid, _ := run(t, inside)
	if m := named(of(r, pid), Map, name); len(m) != 1 {
		t.Errorf("%+v", m)
	}

	watcher := self("watch=16", "exec="+name)
	watcher.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	w := start(t, watcher)
	w.until(t, "waiting")
	run(t, self("exec="+name))
	fmt.Fprintln(w.in)
	var foreign, maps, bytes int
	if _, err := fmt.Sscan(w.line(t), &foreign, &maps, &bytes); err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(w.line(t)) {
		if pid != "1" {
			t.Errorf("a record of process %s", pid)
		}
	}
	if foreign == 0 || maps != 0 {
		t.Errorf("%d records of foreigners left out, %d Maps", foreign, maps)
	}
	w.end(t)
}

// TestOverlay holds that a file on overlayfs goes by its identity in the layer or
// in the overlay, whichever this kernel tells, and says which.
func TestOverlay(t *testing.T) {
	dir := t.TempDir()
	lower, merged := filepath.Join(dir, "lower"), filepath.Join(dir, "merged")
	for _, d := range []string{lower, merged, filepath.Join(dir, "empty")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	inLayer, name := code(t, lower, "lib"), filepath.Join(merged, "lib")
	r := open(t, Options{})
	cmd := self("overlay="+dir, "stat="+name, "exec="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	c := start(t, cmd)
	lines := c.until(t, "ready")
	var dev, ino uint64
	if _, err := fmt.Sscan(lines[0], &dev, &ino); err != nil {
		t.Fatal(err)
	}
	var shown string
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", c.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); strings.HasSuffix(line, "/lib\n") {
			shown = f[3] + " " + f[4]
		}
	}
	var m []Record
	for _, rec := range of(r, c.Process.Pid) {
		if filepath.Base(rec.Name) == "lib" {
			m = append(m, rec)
		}
	}
	if len(m) != 1 {
		t.Fatalf("%+v", m)
	}
	layerDev, layerIno := stat(t, inLayer)
	if (m[0].Dev != layerDev || m[0].Ino != layerIno) && (m[0].Dev != file.Dev(dev) || m[0].Ino != ino) {
		t.Errorf("%+v", m[0])
	}
	t.Logf("record %s:%d %s, stat %s:%d, layer %s:%d, /proc/PID/maps %s", m[0].Dev, m[0].Ino, m[0].Name,
		file.Dev(dev), ino, layerDev, layerIno, shown)
	c.end(t)
}

// TestOrder holds that records of several CPUs come in the order of time, within
// an answer and from one to the next.
func TestOrder(t *testing.T) {
	cpus, err := onlineCPUs()
	if err != nil {
		t.Fatal(err)
	}
	if len(cpus) < 2 {
		t.Skip("one CPU")
	}
	name := code(t, t.TempDir(), "lib")
	r := open(t, Options{Pages: 512, Tasks: true})
	var children []*child
	for _, cpu := range cpus[:2] {
		children = append(children, start(t, self(fmt.Sprintf("cpu=%d", cpu), "repeat=2000:"+name)))
	}
	finished := make(chan struct{})
	go func() {
		for _, c := range children {
			c.until(t, "ready")
		}
		close(finished)
	}()
	// What is as old as this is in its ring even if a hypervisor took the CPU.
	const slack = 200 * time.Millisecond
	var records []Record
	for done := false; !done; {
		select {
		case <-finished:
			done = true
		default:
		}
		records = r.Drain(records, Now()-slack)
		time.Sleep(time.Millisecond)
	}
	records = r.Drain(records, Now())
	maps := make(map[int]int)
	var last Record
	for _, rec := range records {
		if rec.Time < last.Time {
			t.Fatalf("%+v\ncomes after\n%+v", rec, last)
		}
		last = rec
		if rec.Name == name {
			maps[rec.CPU]++
		}
	}
	if s := r.Stats(); maps[cpus[0]] != 2000 || maps[cpus[1]] != 2000 || s.Lost > 0 {
		t.Errorf("Maps by CPU %v, %+v", maps, s)
	}
	for _, c := range children {
		c.end(t)
	}
}

// TestPrivileges holds that Open is refused without privileges, and that with
// CAP_PERFMON alone rings are as large as memory may be locked.
func TestPrivileges(t *testing.T) {
	open(t, Options{}).Close()
	as := func(caps ...uintptr) *exec.Cmd {
		cmd := self("watch=4096")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: caps}
		return cmd
	}
	level := func() int {
		b, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}()
	if level < 1 {
		t.Skip("perf_event_paranoid below 1: everybody may")
	}
	c := start(t, as())
	if l := c.line(t); l != "refused" {
		t.Errorf("without privileges: %s", l)
	}
	c.until(t, "ready")
	c.end(t)

	c = start(t, as(unix.CAP_PERFMON))
	if l := c.line(t); l != "waiting" {
		if level > 2 && l == "refused" {
			t.Skip("perf_event_paranoid above 2 wants CAP_SYS_ADMIN")
		}
		t.Fatal(l)
	}
	run(t, self())
	fmt.Fprintln(c.in)
	var foreign, maps, bytes int
	if _, err := fmt.Sscan(c.line(t), &foreign, &maps, &bytes); err != nil {
		t.Fatal(err)
	}
	cpus, err := onlineCPUs()
	if err != nil {
		t.Fatal(err)
	}
	if whole := len(cpus) * (1 + 4096) * page; maps == 0 || bytes == 0 || bytes >= whole {
		t.Errorf("%d Maps, rings of %d bytes, whole ones have %d", maps, bytes, whole)
	}
	c.until(t, "ready")
	c.end(t)
}
