package sensor

import (
	"fmt"
	"strings"

	"github.com/patchsensor/patchsensor/internal/workload/inventory"
)

// initialPIDNS is the number of the PID namespace in which runtimes of a host count
// (PROC_PID_INIT_INO in include/linux/proc_ns.h).
const initialPIDNS = 0xEFFFFFFC

// checkClaims compares what runtimes say of processes with what the kernel says: a
// runtime that is wrong about the one may be wrong about the other things that it says.
func (sc *scan) checkClaims(a *actors) {
	if a.ownPIDNS != initialPIDNS {
		return // the numbers here are not theirs
	}
	wrong := make(map[string]int)
	example := make(map[string]string)
	for _, claim := range sc.inventory.Claims() {
		if sc.claimed(a, claim) {
			continue
		}
		c := claim.Container
		wrong[claim.Socket]++
		if wrong[claim.Socket] == 1 {
			example[claim.Socket] = fmt.Sprintf("process %d is not in container %.12s", c.PID, c.ID)
		}
	}
	for socket, n := range wrong {
		sc.warnings.add(subjectRuntime+socket, fmt.Errorf("it is wrong about the processes of %d containers (%s): what it says of images may be wrong too", n, example[socket]),
			"what processes run is judged by the kernel's word alone")
	}
}

// claimed reports whether a process may be in the container that a runtime says it is in.
func (sc *scan) claimed(a *actors, claim inventory.Claim) bool {
	c := claim.Container
	p := sc.byPID[c.PID]
	if p == nil {
		return true // it has ended, or was not seen
	}
	if r, ok := a.refOf(p); ok {
		return r.ID == c.ID
	}
	list := a.cgroupsOf(p)
	for _, cgroup := range list {
		if strings.Contains(cgroup.Path, c.ID) {
			return true
		}
	}
	return len(list) == 0
}
