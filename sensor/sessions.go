package sensor

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"

	"github.com/patchsensor/patchsensor/internal/host"
	"github.com/patchsensor/patchsensor/internal/workload"
	"github.com/patchsensor/patchsensor/internal/workload/systemd"
)

// session is where a login session of this system is, looked up once.
func (a *actors) session(id string) (systemd.Session, bool) {
	if known, ok := a.sessions[id]; ok {
		return known, known != (systemd.Session{})
	}
	s, err := host.ReadSession(a.sc.root, id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.sc.warnings.add("/run/systemd/sessions", err, "")
	}
	known := systemd.Session{UID: s.UID, Terminal: s.Terminal, Remote: s.Remote}
	if err == nil && known.Terminal == "" {
		known.Terminal = a.terminal(id)
	}
	a.sessions[id] = known
	return known, err == nil
}

// terminal is that of the oldest process of a session that has one: sshd makes it
// only after it has told the login manager of the session, and those of terminal
// multiplexers come later.
func (a *actors) terminal(id string) string {
	if a.members == nil {
		a.members = make(map[string][]*process)
		for _, p := range a.sc.processes {
			if in, ok := systemd.SessionOf(a.describe(p)); ok {
				a.members[in] = append(a.members[in], p)
			}
		}
	}
	members := a.members[id]
	slices.SortFunc(members, func(p, q *process) int { return cmp.Compare(p.Start, q.Start) })
	for _, p := range members[:min(len(members), maxTries)] {
		dir, err := a.sc.open(p)
		if err != nil {
			continue
		}
		st, err := dir.Stat()
		dir.Close()
		if err == nil && st.Terminal() != "" {
			return st.Terminal()
		}
	}
	return ""
}

// describe is what a source of workloads may know of a process.
func (a *actors) describe(p *process) workload.Process {
	wp := workload.Process{
		PID: p.PID, UID: p.UID, Comm: p.Comm, Exe: exeOf(p),
		Init:    p.InnerPID == 1,
		Foreign: p.PIDNS != 0 && a.ownPIDNS != 0 && p.PIDNS != a.ownPIDNS,
		Cgroups: a.cgroupsOf(p),
	}
	if wp.Foreign {
		wp.InitPID = a.inits[p.PIDNS]
	}
	return wp
}
