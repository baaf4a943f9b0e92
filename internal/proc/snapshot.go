package proc

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// Method is a way to list a process's mappings.
type Method int

// The methods.
const (
	ByQuery Method = iota // PROCMAP_QUERY, Linux 6.11
	ByText                // the text of /proc/PID/maps
)

// Snapshot lists every process of the procfs that has user memory, with its
// executable file mappings. A process that cannot be read is listed with Err;
// one that ends meanwhile is left out.
func (f FS) Snapshot(ctx context.Context, by Method) ([]snapshot.Process, error) {
	return f.Snapshotter(by).All(ctx)
}

// Others lists, by the text of their maps, the processes that have user memory and
// are not among those already seen. One that was started since may be among them.
func (f FS) Others(ctx context.Context, seen map[int]bool) ([]snapshot.Process, error) {
	return f.Snapshotter(ByText).Others(ctx, seen)
}

// Snapshotter takes one snapshot after another. Its keys (snapshot.File.Key,
// RootKey, CgroupKey) mean the same in all of them. It is for one goroutine.
type Snapshotter struct {
	fs   FS
	by   Method
	seed maphash.Seed
}

// Snapshotter makes one that reads mappings by a method.
func (f FS) Snapshotter(by Method) *Snapshotter {
	return &Snapshotter{f, by, maphash.MakeSeed()}
}

// All is FS.Snapshot.
func (s *Snapshotter) All(ctx context.Context) ([]snapshot.Process, error) {
	return s.Others(ctx, nil)
}

// Others is FS.Others, by this snapshotter's method.
func (s *Snapshotter) Others(ctx context.Context, seen map[int]bool) ([]snapshot.Process, error) {
	pids, err := s.fs.PIDs()
	if err != nil {
		return nil, err
	}
	return s.Some(ctx, slices.DeleteFunc(pids, func(pid int) bool { return seen[pid] }))
}

// Some lists those of the processes named that there are.
func (s *Snapshotter) Some(ctx context.Context, pids []int) ([]snapshot.Process, error) {
	r := reading{seed: s.seed, by: s.by, files: make(map[fileKey]*listed), cgroup: make([]byte, maxCgroup)}
	list := make([]snapshot.Process, 0, len(pids))
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p, ok, err := r.process(s.fs, pid)
		if errors.Is(err, ErrNoQuery) {
			return nil, err
		}
		if ok {
			list = append(list, p)
		}
	}
	return list, nil
}

// reading is one snapshot in the making.
type reading struct {
	seed   maphash.Seed
	by     Method
	files  map[fileKey]*listed
	cgroup []byte
}

// listed is a file, and the process that listed it last.
type listed struct {
	file snapshot.File
	pid  int
}

// maxCgroup bounds /proc/PID/cgroup: a line of at most PATH_MAX bytes for each
// of the hierarchies, of which cgroups(7) v1 has some thirteen.
const maxCgroup = 64 << 10

// fileKey tells files apart as /proc/PID/maps does.
type fileKey struct {
	id    file.ID
	path  string
	mntNS uint32
}

// process reads one process; ok is false for one that is gone or has no user
// memory.
func (s *reading) process(f FS, pid int) (snapshot.Process, bool, error) {
	dir, err := f.Process(pid)
	if err != nil {
		return refused(pid, err)
	}
	defer dir.Close()
	st, err := dir.Stat()
	if err != nil {
		return refused(pid, err)
	}
	if st.Kernel() {
		return snapshot.Process{}, false, nil
	}
	p := snapshot.Process{PID: pid, TID: pid, PPID: st.PPID, Start: st.Start, Uncertainty: Tick,
		Comm: st.Comm, ForkNoExec: st.ForkNoExec()}
	live := dir
	if st.Dead() {
		thread, err := survivor(f, dir)
		if err != nil {
			return refused(pid, err)
		}
		if thread == nil {
			return snapshot.Process{}, false, nil
		}
		defer thread.Close()
		live, p.TID = thread, thread.PID()
	}
	s.identity(live, &p)
	p.Err = s.mappings(live, &p)
	if errors.Is(p.Err, ErrGone) {
		return snapshot.Process{}, false, nil
	}
	if p.Err == nil {
		// A process whose memory cannot be read still has mappings.
		if aux, err := live.Auxv(); err == nil {
			p.Aux = aux
		}
	}
	return p, true, p.Err
}

// refused is a process of which nothing is known but why.
func refused(pid int, err error) (snapshot.Process, bool, error) {
	if errors.Is(err, ErrGone) {
		return snapshot.Process{}, false, nil
	}
	return snapshot.Process{PID: pid, TID: pid, Err: err}, true, nil
}

// survivor opens a live thread of a process whose main thread has ended, nil if
// there is none.
func survivor(f FS, dir *Process) (*Process, error) {
	tids, err := dir.Threads()
	if err != nil {
		return nil, err
	}
	for _, tid := range tids {
		if tid == dir.PID() {
			continue
		}
		t, err := f.Process(tid)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		status, err := t.Status()
		st, err2 := t.Stat()
		if err == nil && err2 == nil && status.TGID == dir.PID() && !st.Dead() {
			return t, nil
		}
		t.Close()
	}
	return nil, nil
}

// identity fills what is known without reading the mappings; each part may be
// refused without harm to the others.
func (s *reading) identity(dir *Process, p *snapshot.Process) {
	if status, err := dir.Status(); err == nil {
		p.UID = status.UID
		if n := len(status.NSPIDs); n > 0 {
			p.InnerPID = status.NSPIDs[n-1]
		}
	}
	p.PIDNS, _ = dir.PIDNS()
	p.MntNS, _ = dir.MntNS()
	// The root directory is known by mount and inode (statx(2),
	// STATX_MNT_ID, Linux 5.8): the same directory may carry other mounts
	// in another mount namespace.
	var st unix.Statx_t
	if err := unix.Statx(dir.FD(), "root", 0, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st); err == nil {
		p.RootKey = s.key(uint64(st.Dev_major), uint64(st.Dev_minor), st.Ino, st.Mnt_id, uint64(p.MntNS))
	}
	if b, err := dir.Cgroup(s.cgroup); err == nil && len(b) > 0 && len(b) < len(s.cgroup) {
		p.CgroupKey = maphash.Bytes(s.seed, b)
	}
}

func (s *reading) key(parts ...uint64) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, n := range parts {
		h.WriteString(strconv.FormatUint(n, 36))
		h.WriteByte(' ')
	}
	return h.Sum64()
}

// mappings lists the executable first, whether it is mapped executable or not: a
// program may have moved its code elsewhere.
func (s *reading) mappings(dir *Process, p *snapshot.Process) error {
	exe, err := dir.Readlink("exe")
	if err == nil {
		p.Exe = exe
		p.Mappings = append(p.Mappings, snapshot.Mapping{Exe: true})
	}
	add := func(a Area) { s.add(p, a) }
	if s.by == ByQuery {
		err = dir.QueryMaps(add)
	} else {
		err = dir.TextMaps(add)
	}
	if len(p.Mappings) > 0 && p.Mappings[0].Exe && p.Mappings[0].File == nil {
		// Not mapped: the name is all that tells it apart.
		p.Mappings[0].File = &s.file(fileKey{path: exe, mntNS: p.MntNS}).file
	}
	return err
}

func (s *reading) file(key fileKey) *listed {
	f := s.files[key]
	if f == nil {
		f = &listed{file: snapshot.File{Key: maphash.Comparable(s.seed, key), ID: key.id, Path: key.path}}
		s.files[key] = f
	}
	return f
}

// add lists a mapping unless the process has one of the same file already.
func (s *reading) add(p *snapshot.Process, a Area) {
	f := s.file(fileKey{file.MapsID(a.Major, a.Minor, a.Inode), a.Path, p.MntNS})
	if f.pid == p.PID {
		return
	}
	f.pid = p.PID
	if len(p.Mappings) > 0 && a.Path != "" && a.Path == p.Exe {
		p.Mappings[0].File = &f.file
		return
	}
	p.Mappings = append(p.Mappings, snapshot.Mapping{Start: a.Start, End: a.End, File: &f.file})
}
