package workload

import (
	"path"
	"strconv"
)

// Bare is the workload of a process that no source claims. No command can
// restart it, because nothing tells how it was started.
func Bare(p Process) Workload {
	name := p.Comm
	if p.Exe != "" {
		name = path.Base(p.Exe)
	}
	if name == "" {
		name = "?"
	}
	pid := strconv.Itoa(p.PID)
	w := Workload{
		Kind:   KindProcess,
		Name:   name,
		Key:    "process:" + pid + ":" + name,
		Target: "process " + pid + " (" + name + ")",
	}
	switch {
	case p.Init && p.Foreign:
		w.Advice = "it is process 1 of its PID namespace: restart what started that, which ends everything in it"
	case p.Init:
		w.Advice = "it is process 1, which only a reboot replaces"
	default:
		w.Advice = "nothing that is known started it: restart it the way it was started"
	}
	return w
}
