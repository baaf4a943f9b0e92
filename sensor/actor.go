package sensor

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/patchsensor/patchsensor/internal/host"
	"github.com/patchsensor/patchsensor/internal/workload"
	"github.com/patchsensor/patchsensor/internal/workload/systemd"
)

// actors assign processes to the workloads that one would act on.
type actors struct {
	sc          *scan
	recognisers []kind
	ownPIDNS    uint32
	inits       map[uint32]int // process 1 of each PID namespace
	// charges are, for the PID of each process that looks after a container, one of
	// the container's processes.
	charges map[int]*process
	// cgroups and refs are by the key of a process's cgroups.
	cgroups map[uint64][]workload.Cgroup
	refs    map[uint64]*among
	// sessions are the login sessions that were looked up, by their identifiers.
	sessions map[string]systemd.Session
	// members are the processes of login sessions, once asked for.
	members map[string][]*process
	// shared are the workloads that the cgroups alone tell, nil where they tell of none.
	shared map[sharedKey]*workload.Workload
	// room is where the next workloads are put, and buf what cgroups are read into.
	room []workload.Workload
	buf  []byte
}

// sharedKey is a recogniser, by its place in the list, and the key of a process's cgroups.
type sharedKey struct {
	kind   int
	cgroup uint64
}

// actors assigns the processes of this scan to workloads.
func (sc *scan) actors() *actors {
	if sc.whose == nil {
		sc.whose = sc.newActors(os.Getpid())
	}
	return sc.whose
}

func (sc *scan) newActors(self int) *actors {
	users, err := host.ReadUsers(sc.root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		sc.warnings.add("/etc/passwd", err, "")
	}
	a := &actors{
		sc:       sc,
		sessions: make(map[string]systemd.Session),
		inits:    make(map[uint32]int),
		cgroups:  make(map[uint64][]workload.Cgroup),
		refs:     make(map[uint64]*among),
		shared:   make(map[sharedKey]*workload.Workload),
	}
	a.recognisers = sc.recognisers(users.Name, a.session)
	for _, p := range sc.processes {
		if p.InnerPID == 1 && p.PIDNS != 0 {
			a.inits[p.PIDNS] = p.PID
		}
	}
	if p := sc.byPID[self]; p != nil {
		a.ownPIDNS = p.PIDNS
	}
	a.findCharges()
	return a
}

// monitors are the programs that look after one container, or one pod, for as long as
// it runs: restarting the runtime does not replace them.
func isMonitor(comm string) bool {
	// The kernel cuts a name after 15 bytes: containerd-shim-runc-v2.
	return strings.HasPrefix(comm, "containerd-shim") || comm == "conmon" || comm == "conmonrs"
}

// findCharges finds whom the monitors of containers look after: their children.
func (a *actors) findCharges() {
	a.charges = make(map[int]*process)
	for _, p := range a.sc.processes {
		parent := a.sc.byPID[p.PPID]
		if parent == nil || parent == p || !isMonitor(parent.Comm) {
			continue
		}
		// Who is in a container may be called anything.
		if _, contained := a.refOf(parent); contained {
			continue
		}
		if _, ok := a.refOf(p); !ok {
			continue
		}
		// Of a pod's processes the first one is the oldest, its sandbox's.
		if old := a.charges[parent.PID]; old == nil || p.Start < old.Start {
			a.charges[parent.PID] = p
		}
	}
}

// monitorKey begins the keys of workloads that look after containers.
const monitorKey = "monitor:"

// monitored is the workload of a process that looks after a container: that, since
// only its restart replaces the monitor.
func (a *actors) monitored(p *process) *workload.Workload {
	charge := a.charges[p.PID]
	if charge == nil || !isMonitor(p.Comm) {
		return nil
	}
	of := a.workload(charge)
	if of.Container == nil {
		return nil
	}
	w := a.keep(*of)
	w.Key, w.Name = monitorKey+w.Key, p.Comm+" of "+w.Name
	w.Advice = strings.TrimPrefix(w.Advice+"; ", "; ") + "it is replaced only when what it looks after is started anew"
	return w
}

// workload finds what one would act on to restart a process. Others share the answer.
func (a *actors) workload(p *process) *workload.Workload {
	if p.workload == nil {
		p.workload = a.identify(p)
	}
	return p.workload
}

// keep puts a workload where it stays.
func (a *actors) keep(w workload.Workload) *workload.Workload {
	if len(a.room) == cap(a.room) {
		a.room = make([]workload.Workload, 0, min(256, len(a.sc.processes)+1))
	}
	a.room = append(a.room, w)
	return &a.room[len(a.room)-1]
}

func (a *actors) identify(p *process) *workload.Workload {
	wp := a.describe(p)
	if w := a.monitored(p); w != nil {
		return w
	}
	for i, k := range a.recognisers {
		if w := a.recognise(i, k, p.CgroupKey, wp); w != nil {
			return w
		}
	}
	// A child that never called execve is part of the program that made it:
	// restarting that is the one thing to do.
	if parent := a.sc.byPID[p.PPID]; p.ForkNoExec && parent != nil && parent != p && parent.CgroupKey == p.CgroupKey && a.sc.inherits(p, parent) {
		return a.workload(parent)
	}
	return a.keep(workload.Bare(wp))
}

// recognise asks one of the recognisers, once for all processes of which it has to say
// the same; nil if it does not know the process.
func (a *actors) recognise(i int, k kind, cgroup uint64, p workload.Process) *workload.Workload {
	// As with refs, what could not be read says nothing.
	shared := k.shared && cgroup != 0 && p.Cgroups != nil
	key := sharedKey{i, cgroup}
	if shared {
		if w, ok := a.shared[key]; ok {
			return w
		}
	}
	var kept *workload.Workload
	if w, ok := k.Identify(p); ok {
		kept = a.keep(w)
	}
	if shared {
		a.shared[key] = kept
	}
	return kept
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
	if a.buf == nil {
		a.buf = make([]byte, 64<<10)
	}
	b, err := dir.Cgroup(a.buf)
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
