package sensor

import (
	"bytes"
	"errors"
	"io/fs"

	"github.com/patchsensor/patchsensor/internal/host"
	"github.com/patchsensor/patchsensor/internal/workload"
)

// actors assign processes to the workloads that one would act on.
type actors struct {
	sc          *scan
	recognisers []recogniser
	ownPIDNS    uint32
	inits       map[uint32]int // process 1 of each PID namespace
	cgroups     map[uint64][]workload.Cgroup
}

func (sc *scan) newActors(self int) *actors {
	users, err := host.ReadUsers(sc.root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		sc.warnings.add("/etc/passwd", err, "")
	}
	a := &actors{
		sc:          sc,
		recognisers: recognisers(users.Name),
		inits:       make(map[uint32]int),
		cgroups:     make(map[uint64][]workload.Cgroup),
	}
	for _, p := range sc.processes {
		if p.InnerPID == 1 && p.PIDNS != 0 {
			a.inits[p.PIDNS] = p.PID
		}
	}
	if p := sc.byPID[self]; p != nil {
		a.ownPIDNS = p.PIDNS
	}
	return a
}

// workload finds what one would act on to restart a process.
func (a *actors) workload(p *process) workload.Workload {
	if p.workload == nil {
		w := a.identify(p)
		p.workload = &w
	}
	return *p.workload
}

func (a *actors) identify(p *process) workload.Workload {
	wp := workload.Process{
		PID: p.PID, UID: p.UID, Comm: p.Comm, Exe: exeOf(p),
		Init:    p.InnerPID == 1,
		Foreign: p.PIDNS != 0 && a.ownPIDNS != 0 && p.PIDNS != a.ownPIDNS,
		Cgroups: a.cgroupsOf(p),
	}
	if wp.Foreign {
		wp.InitPID = a.inits[p.PIDNS]
	}
	for _, r := range a.recognisers {
		if w, ok := r.Identify(wp); ok {
			return w
		}
	}
	// A child that never called execve is part of the program that made it:
	// restarting that is the one thing to do.
	if parent := a.sc.byPID[p.PPID]; p.ForkNoExec && parent != nil && parent != p && parent.CgroupKey == p.CgroupKey && a.sc.inherits(p, parent) {
		return a.workload(parent)
	}
	return workload.Bare(wp)
}

// cgroupsOf reads the cgroups of a process, once for all that share them.
func (a *actors) cgroupsOf(p *process) []workload.Cgroup {
	if p.CgroupKey != 0 {
		if list, ok := a.cgroups[p.CgroupKey]; ok {
			return list
		}
	}
	dir, err := a.sc.open(p)
	if err != nil {
		return nil
	}
	defer dir.Close()
	b, err := dir.Cgroup(make([]byte, 64<<10))
	if err != nil {
		return nil
	}
	list, err := workload.ParseCgroups(bytes.NewReader(b))
	if err != nil {
		a.sc.warnings.add("/proc/PID/cgroup", err, "")
	}
	if p.CgroupKey != 0 {
		a.cgroups[p.CgroupKey] = list
	}
	return list
}

// exeOf is the path of a process's executable inside its own root, empty if it
// is not known.
func exeOf(p *process) string {
	for _, c := range p.classes {
		if c.exe {
			return c.shown
		}
	}
	return ""
}
