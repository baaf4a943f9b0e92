package systemd

import (
	"strconv"
	"strings"
)

// place is what a cgroup path says of the unit that a process belongs to.
type place struct {
	// end is the length of the path up to and with the unit. What is below it
	// was delegated to the unit and is its own affair.
	end int
	// container is the path of the cgroup in which another service manager
	// keeps its units, empty where the unit belongs to the one that runs here.
	container string
	// unit is the unit's name, always a valid one.
	unit string
	// user says that the unit belongs to the service manager of owner, whose
	// own unit ends at managerEnd.
	user       bool
	managerEnd int
	// owner is the user in whose slice the unit stands, if owned.
	owner uint32
	owned bool
}

// parse finds the unit in a cgroup path, by the rules of systemd's
// cg_path_get_unit and cg_path_get_user_unit (src/basic/cgroup-util.c): after
// the slices comes the unit, and what is below belongs to the unit; below
// user@UID.service the same begins anew for the units of that user.
//
// With foreign the process lives in another PID namespace, so its unit may be
// that of a manager inside a container, which is then told by the top-level
// cgroups of its own that it makes below the container's.
func parse(path string, foreign bool) (place, bool) {
	found, rest, ok := locate(path, 0)
	for {
		// Whoever got a subtree delegated may name the cgroups in it after
		// another's units. So a unit of this system is believed before what
		// stands below it, but where PID namespaces differ; and an
		// unprivileged user's is believed always.
		if ok && (!foreign || found.user || isSession(found.unit)) {
			return found, true
		}
		root, isRoot := managerRoot(path, rest)
		if !isRoot {
			return found, ok
		}
		inner, innerRest, innerOK := locate(path, root)
		if !innerOK {
			return found, ok
		}
		if foreign {
			inner.container = strings.TrimRight(path[:root], "/")
		}
		found, rest, ok = inner, innerRest, true
	}
}

// locate reads the slices and the unit that begin at offset at. rest is the
// offset behind what was read.
func locate(path string, at int) (p place, rest int, ok bool) {
	name, end := p.skipSlices(path, at)
	unit := unescape(name)
	if !validUnit(unit) {
		return place{}, end, false
	}
	p.unit, p.end = unit, end

	uid, isManager := instanceUID(unit, "user@", ".service")
	if !isManager {
		return p, end, true
	}
	p.owner, p.owned = uid, true
	inner := place{user: true, managerEnd: end, owner: uid, owned: true}
	name, end = inner.skipSlices(path, end)
	if unit = unescape(name); !validUnit(unit) {
		// A process in no unit of its user's manager is the manager's own.
		return p, p.end, true
	}
	inner.unit, inner.end = unit, end
	return inner, end, true
}

// skipSlices returns the first component at or behind offset at that is no
// slice, and where it ends. It notes the owner of a user-UID.slice.
func (p *place) skipSlices(path string, at int) (name string, end int) {
	for {
		name, end = component(path, at)
		slice := unescape(name)
		if !strings.HasSuffix(slice, ".slice") || !validName(slice) {
			return name, end
		}
		if uid, ok := instanceUID(slice, "user-", ".slice"); ok && !p.user {
			p.owner, p.owned = uid, true
		}
		at = end
	}
}

// managerRoot finds the first component at or behind offset at that a system
// manager makes at the top of its tree: it is then where that tree begins.
func managerRoot(path string, at int) (root int, ok bool) {
	for {
		name, end := component(path, at)
		switch name {
		case "":
			return 0, false
		case "init.scope", "system.slice", "user.slice", "machine.slice":
			return end - len(name), true
		}
		at = end
	}
}

// component returns the first component of path at or behind offset at, and
// the offset of its end; name is empty at the end of the path.
func component(path string, at int) (name string, end int) {
	for at < len(path) && path[at] == '/' {
		at++
	}
	end = len(path)
	if n := strings.IndexByte(path[at:], '/'); n >= 0 {
		end = at + n
	}
	return path[at:end], end
}

// unescape undoes cg_escape: names that the kernel might use itself, and those
// that begin with "_", have one "_" put before them.
func unescape(name string) string { return strings.TrimPrefix(name, "_") }

// unitNameMax is UNIT_NAME_MAX of systemd's src/basic/unit-name.h, with its
// terminating zero.
const unitNameMax = 256

// validUnit reports whether name is that of a unit which processes can belong
// to (systemd.unit(5)); slices hold units, not processes.
func validUnit(name string) bool {
	if !validName(name) {
		return false
	}
	switch name[strings.LastIndexByte(name, '.'):] {
	case ".service", ".scope", ".mount", ".socket", ".swap":
		return true
	}
	return false
}

// validName reports whether name is a plain or instance unit name by
// unit_name_is_valid (src/basic/unit-name.c), of whatever type. Such a name
// holds nothing that a terminal or a shell glob would act upon.
func validName(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 || len(name) >= unitNameMax {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && strings.IndexByte(`:-_.\@`, c) < 0 {
			return false
		}
	}
	at := strings.IndexByte(name, '@')
	template := at >= 0 && at+1 == dot
	return at != 0 && !template && strings.IndexByte(name[dot:], '@') < 0
}

// instanceUID reads the user number between prefix and suffix. 65535 and
// 4294967295 stand for no user (uid_is_valid, src/basic/user-util.c).
func instanceUID(name, prefix, suffix string) (uid uint32, ok bool) {
	digits, ok := between(name, prefix, suffix)
	if !ok || len(digits) > 1 && digits[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 1<<16-1 || n == 1<<32-1 {
		return 0, false
	}
	return uint32(n), true
}

// sessionID reads the identifier of a login session from the name of its
// scope: ASCII letters and digits (session_id_valid, src/basic/login-util.c).
func sessionID(unit string) (id string, ok bool) {
	id, ok = between(unit, "session-", ".scope")
	if !ok || id == "" {
		return "", false
	}
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') {
			return "", false
		}
	}
	return id, true
}

func isSession(unit string) bool {
	_, ok := sessionID(unit)
	return ok
}

func between(s, prefix, suffix string) (string, bool) {
	s, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(s, suffix)
}
