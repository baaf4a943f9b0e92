package live

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// group makes a control group where systemd would keep it, and returns its directory.
func (m *machine) group(name string) string {
	m.t.Helper()
	top := "/sys/fs/cgroup/systemd" // version 1 and hybrid, cgroups(7)
	if _, err := os.Stat(top + "/cgroup.procs"); err != nil {
		top = "/sys/fs/cgroup"
	}
	dir := top
	for _, element := range strings.Split(name, "/") {
		dir += "/" + element
		if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			m.t.Fatal(err)
		}
		mine := dir
		// Last in, first out: after the end of the processes in it.
		m.t.Cleanup(func() {
			err := os.Remove(mine)
			for deadline := time.Now().Add(lab.Patience); errors.Is(err, unix.EBUSY) && time.Now().Before(deadline); err = os.Remove(mine) {
				time.Sleep(10 * time.Millisecond)
			}
			if err != nil && !errors.Is(err, unix.EBUSY) {
				m.t.Error(err)
			}
		})
	}
	return dir
}

func (m *machine) join(group string, pid int) {
	m.t.Helper()
	must(m.t, os.WriteFile(group+"/cgroup.procs", []byte(fmt.Sprint(pid)), 0))
}

// Processes are moved to another control group after they were read, as pam_systemd
// does with those of a login. Each is told of as what it belongs to now.
func TestMovedToAnotherUnit(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	suffix := strings.TrimPrefix(m.name, "libfoo1-")
	unit, session := "lab"+suffix+".service", "session "+suffix+" of user 0"
	service := m.group("system.slice/" + unit)
	scope := m.group("user.slice/user-0.slice/session-" + suffix + ".scope")
	var stay, move []shifter
	pids := []int{m.control.PID}
	for i := range 6 {
		s := m.shifter(fmt.Sprintf("app%d", i))
		m.join(service, s.PID)
		pids = append(pids, s.PID)
		if i%2 == 0 {
			stay = append(stay, s)
		} else {
			move = append(move, s)
		}
	}
	r := m.run("--sweep", "off")
	events := r.Follow(t, 0)
	time.Sleep(settled)
	lab.Check(t, r.Ask(t), pids)
	// One of each kind is told of before it moves.
	stay[0].replaceLib()
	move[0].replaceLib()
	whose := func(want map[int]string) {
		t.Helper()
		got := make(map[int]string)
		for _, f := range r.Ask(t).Findings {
			for _, p := range f.Processes {
				if slices.Contains(pids, p.PID) {
					got[p.PID] = string(f.State) + " " + f.Workload.Kind + " " + f.Workload.Name
				}
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	asUnit, asSession := "stale unit "+unit, "stale session "+session
	whose(map[int]string{stay[0].PID: asUnit, move[0].PID: asUnit})

	want := make(map[int]string)
	for _, s := range move {
		m.join(scope, s.PID)
		want[s.PID] = asSession
	}
	for _, s := range stay {
		want[s.PID] = asUnit
	}
	for _, s := range slices.Concat(stay[1:], move[1:]) {
		s.replaceLib()
	}
	for range 10 {
		whose(want)
	}
	m.equal(r, "after the move")
	for _, w := range []string{unit, session} {
		told := slices.DeleteFunc(events.Events(), func(e sensor.Event) bool { return e.Finding == nil || e.Finding.Workload.Name != w })
		if got := kinds(told); len(got) == 0 || got[0] != sensor.EventStale || slices.Contains(got, sensor.EventResolved) {
			t.Errorf("told of %s: %v", w, got)
		}
	}
}

// The tier that is told of nothing but execve has not seen what was opened since.
func TestOpenedLateUnseen(t *testing.T) {
	for _, tier := range []string{"exec", "poll"} {
		t.Run(tier, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			plain := m.start(plainPath)
			lib := "/opt/app/lib/libapp.so.1"
			m.put(library(t, "libapp.so.1", 1), lib)
			r := m.run("--tier", tier, "--sweep", "off")
			fresh := m.start(plainPath)
			time.Sleep(4 * time.Second)
			lab.Check(t, r.Ask(t), []int{plain.PID, fresh.PID, m.control.PID})
			plain.Do(t, "open "+lib)
			fresh.Do(t, "open "+lib)
			time.Sleep(30 * time.Millisecond)
			m.put(library(t, "libapp.so.1", 2), lib)
			lab.Check(t, r.Ask(t), []int{plain.PID, fresh.PID, m.control.PID}, m.replaced(plain, lib), m.replaced(fresh, lib))
			m.equal(r, "after dlopen")
		})
	}
}
