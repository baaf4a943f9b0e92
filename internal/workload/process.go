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
	// One string holds both: there may be as many such processes as there are.
	var pid [20]byte
	number := strconv.AppendInt(pid[:0], int64(p.PID), 10)
	var room [128]byte
	both := append(append(append(append(room[:0], "process:"...), number...), ':'), name...)
	key := len(both)
	both = append(append(append(append(append(both, "process "...), number...), " ("...), name...), ')')
	text := string(both)
	w := Workload{Kind: KindProcess, Name: name, Key: text[:key], Target: text[key:]}
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
