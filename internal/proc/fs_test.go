package proc

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// fakeFS makes a directory that looks like a procfs; a name that ends in a slash
// is a directory.
func fakeFS(t *testing.T, files map[string][]byte) FS {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		full := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(full, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(string(content), "-> "); ok {
			if err := os.Symlink(target, full); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(full, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestNewFS(t *testing.T) {
	if _, err := NewFS(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := NewFS("/proc/self/stat"); !errors.Is(err, unix.ENOTDIR) {
		t.Error(err)
	}
	f := fakeFS(t, map[string][]byte{"1/": nil, "20/": nil, "self": nil, "-3/": nil, "0/": nil, "4x/": nil})
	if pids, err := f.PIDs(); err != nil || len(pids) != 2 || pids[0]+pids[1] != 21 {
		t.Errorf("%v, %v", pids, err)
	}
	if err := os.RemoveAll(f.Dir()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.PIDs(); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := f.Snapshot(context.Background(), ByText); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestFixtures reads files that no process of this machine may have.
func TestFixtures(t *testing.T) {
	f := fakeFS(t, map[string][]byte{
		"1/status": fixture(t, "status/groups"), // beyond the small buffer
		"1/auxv":   fixture(t, "auxv/386"),
		"2/status": []byte("Tgid:\t2\nUid:\t1\n"),
		"2/ns/mnt": []byte("-> mnt:[4026531841]"),
		"2/ns/pid": []byte("-> pid:[4294967296]"),
		"3/ns/mnt": []byte("-> nothing of the kind"),
		"3/ns/pid": []byte("-> ]["),
	})
	one, two, three := openIn(t, f, 1), openIn(t, f, 2), openIn(t, f, 3)
	if got, err := one.Status(); err != nil || !reflect.DeepEqual(got.NSPIDs, []int{26579}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := one.Auxv(); err != nil || got != (snapshot.Aux{Phdr: 0x8048034, Phnum: 6, ExecFn: 0xffe68fea}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := two.Status(); err == nil || !strings.Contains(err.Error(), f.Dir()+"/2/status") {
		t.Errorf("the error names no file: %v", err)
	}
	if got, err := two.MntNS(); err != nil || got != 4026531841 {
		t.Errorf("%d, %v", got, err)
	}
	for name, ns := range map[string]func() (uint32, error){"2/ns/pid": two.PIDNS, "3/ns/mnt": three.MntNS, "3/ns/pid": three.PIDNS} {
		if got, err := ns(); err == nil || !strings.Contains(err.Error(), f.Dir()+"/"+name) {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

func openIn(t testing.TB, f FS, pid int) *Process {
	t.Helper()
	p, err := f.Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestSnapshotFixtures takes a snapshot of processes of which some are broken.
func TestSnapshotFixtures(t *testing.T) {
	broken := []byte(goodLine + "1000-2000\n" + goodLine)
	files := map[string][]byte{
		"2/stat":            fixture(t, "stat/kthread"),
		"26577/stat":        fixture(t, "stat/zombie"),
		"26577/task/26577/": nil,
		"26578/stat":        fixture(t, "stat/odd"),
		"26578/status":      fixture(t, "status/odd"),
		"26578/maps":        fixture(t, "maps/odd"),
		"26578/exe":         []byte("-> /tmp/ptf/odd/new\nline"),
		"26578/auxv":        fixture(t, "auxv/amd64"),
		"26581/stat":        fixture(t, "stat/leader"),
		"26581/status":      fixture(t, "status/leader"),
		"26581/maps":        nil,
		"26581/task/26581/": nil,
		"26581/task/26582/": nil,
		"26581/task/26999/": nil, // ended meanwhile
		"26582/stat":        fixture(t, "stat/thread"),
		"26582/status":      fixture(t, "status/thread"),
		"26582/maps":        fixture(t, "maps/sleep"),
		"26582/exe":         []byte("-> /usr/bin/sleep"),
		"30001/stat":        []byte("30001 (x"),
		"30002/stat":        fixture(t, "stat/sleep"),
		"30002/maps":        broken,
		"30003/":            nil, // ended meanwhile
		"30004/stat":        fixture(t, "stat/sleep"),
		"30004/maps":        fixture(t, "maps/sleep"),
		"30004/exe":         []byte("-> /elsewhere"),
	}
	for tid := 26590; tid < 26600; tid++ { // threads that have ended too
		dir := strconv.Itoa(tid)
		files["26581/task/"+dir+"/"] = nil
		files[dir+"/stat"] = bytes.Replace(fixture(t, "stat/thread"), []byte(") S "), []byte(") Z "), 1)
		files[dir+"/status"] = fixture(t, "status/thread")
	}
	f := fakeFS(t, files)
	// Threads are not listed among the processes, though they are found.
	list := make(map[int]snapshot.Process)
	s, err := f.Snapshot(context.Background(), ByText)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range s {
		list[p.PID] = p
	}
	delete(list, 26582)
	odd, leader := list[26578], list[26581]
	if odd.Err != nil || odd.TID != 26578 || odd.InnerPID != 26578 || odd.Comm != "a) R 1\n(b) c" || odd.Aux.Phnum != 13 || len(odd.Mappings) != 15 {
		t.Errorf("%+v", odd)
	}
	for _, m := range odd.Mappings {
		if m.Exe != (m.File.Path == "/tmp/ptf/odd/new\nline") {
			t.Errorf("%+v", m)
		}
	}
	if leader.Err != nil || leader.TID != 26582 || leader.InnerPID != 1 || leader.UID != 65534 || leader.ForkNoExec || leader.Start != 426346*Tick ||
		len(leader.Mappings) != 3 || !leader.Mappings[0].Exe {
		t.Errorf("%+v", leader)
	}
	if p := list[30001]; !errors.Is(p.Err, errStat) || !strings.Contains(p.Err.Error(), f.Dir()+"/30001/stat") {
		t.Errorf("%+v", p)
	}
	me, ok := errors.AsType[*MapsError](list[30002].Err)
	if !ok || me.Offset != int64(len(goodLine)) || !strings.Contains(list[30002].Err.Error(), f.Dir()+"/30002/maps") {
		t.Errorf("%+v", list[30002])
	}
	// The executable is listed though no code of it is mapped.
	if p := list[30004]; len(p.Mappings) != 4 || p.Exe != "/elsewhere" || !p.Mappings[0].Exe || p.Mappings[0].File.Path != p.Exe || p.Mappings[0].File.Key == 0 ||
		p.Mappings[1].Exe || p.Mappings[1].File.Path != "/usr/bin/sleep" {
		t.Errorf("%+v", p)
	}
	if len(list) != 5 {
		t.Errorf("%d processes: %+v", len(list), list)
	}
}
