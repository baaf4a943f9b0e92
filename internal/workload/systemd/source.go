// Package systemd recognises the units and login sessions of systemd by the
// cgroup paths of their processes, and knows how each is restarted.
//
// It asks no service manager and reads no file: a path says which unit a
// process belongs to, because systemd keeps one cgroup per unit
// (https://systemd.io/CGROUP_DELEGATION). Who a user is, and where a session, it is
// told.
package systemd

import (
	"path"
	"strconv"
	"strings"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// Source is a workload source; see New. It has no state of its own and may be
// used concurrently if the functions that it was given may.
type Source struct {
	users    func(uid uint32) (name string, ok bool)
	sessions func(id string) (Session, bool)
}

// Session is what the login manager knows of a login session. What it does not know
// is empty.
type Session struct {
	UID      uint32
	Terminal string // "pts/3", "tty1"
	Remote   string // host from which the user came
}

// New returns a source that names users by the function users, which may be
// nil; a user without a name there is called by number.
func New(users func(uid uint32) (name string, ok bool)) *Source {
	if users == nil {
		users = func(uint32) (string, bool) { return "", false }
	}
	return &Source{users: users, sessions: func(string) (Session, bool) { return Session{}, false }}
}

// WithSessions returns a source that also says where the sessions of this system
// are, as the function sessions tells. It must say the same of a session each time:
// all processes of one have a workload of the same name.
func (s *Source) WithSessions(sessions func(id string) (Session, bool)) *Source {
	return &Source{users: s.users, sessions: sessions}
}

// Identify names the unit or session of a process. It returns false for a
// process in none, and for everything in a container, which other sources
// claim (see inContainer); a system manager inside one is the exception where
// the container is not one of those: then the unit is that manager's, and the
// command enters the container.
func (s *Source) Identify(p workload.Process) (workload.Workload, bool) {
	cgroup := workload.SystemdPath(p.Cgroups)
	if p.Init && !p.Foreign {
		if !isManager(p) {
			return workload.Workload{}, false
		}
		return s.manager(p, cgroup), true
	}
	// "/.." is where a path begins whose unit cannot be told.
	if strings.HasPrefix(cgroup, "/../") || inContainer(cgroup) {
		return workload.Workload{}, false
	}
	at, ok := parse(cgroup, p.Foreign)
	if !ok || isMachine(at.unit) {
		return workload.Workload{}, false
	}
	if at.unit == initScope {
		return s.inInitScope(p, cgroup, at)
	}
	if id, ok := sessionID(at.unit); ok && !at.user {
		return s.session(p, cgroup, at, id), true
	}
	return s.unit(p, cgroup, at), true
}

// initScope holds a service manager itself, the system's or a user's
// (systemd.special(7)).
const initScope = "init.scope"

// isManager reports whether the process runs systemd's service manager. The
// name it gives itself decides only where the executable cannot be seen.
func isManager(p workload.Process) bool {
	if p.Exe != "" {
		return path.Base(p.Exe) == "systemd"
	}
	return p.Comm == "systemd"
}

// manager is the workload of this system's own manager, process 1, which may
// stand in any cgroup before it has made its init.scope.
func (s *Source) manager(p workload.Process, cgroup string) workload.Workload {
	if path.Base(cgroup) != initScope {
		cgroup = ""
	}
	return s.reexec(p, cgroup, place{end: len(cgroup), unit: initScope})
}

// inInitScope sorts out who else stands in an init.scope.
func (s *Source) inInitScope(p workload.Process, cgroup string, at place) (workload.Workload, bool) {
	switch {
	case p.Foreign && at.container == "" && !at.user:
		// A manager in another PID namespace that shares the top of our tree
		// is not ours, and nothing tells it from the next such one.
		return workload.Workload{}, false
	case at.user && p.Comm == "(sd-pam)":
		// It holds the PAM session of user@.service open, runs the same
		// executable as the manager, and stays when that executes anew.
		at.unit = userManager(at)
		at.user = false
		at.end = at.managerEnd
		w := s.unit(p, cgroup, at)
		if at.container == "" {
			w.Advice = "only the helper that closes the user's PAM session is left, which ends when the user has logged out of every session; the command ends them at once"
		}
		return w, true
	case !isManager(p):
		return workload.Workload{}, false
	}
	return s.reexec(p, cgroup, at), true
}

// reexec is the workload of a service manager. It cannot be restarted without
// all it runs, and need not be: it executes its new self and keeps its state.
func (s *Source) reexec(p workload.Process, cgroup string, at place) workload.Workload {
	w := s.describe(cgroup, at)
	w.Command = append(s.systemctl(at), "daemon-reexec")
	w.Advice = "the service manager executes itself anew and keeps all units running; it is never restarted"
	if at.user {
		// systemctl reaches it by the user's own D-Bus alone; a version before 250
		// would be killed by the signal (systemd(1)).
		w.Advice += "; if the user has no message bus, systemctl kill --kill-who=main --signal=SIGRTMIN+25 " + userManager(at) +
			" does it from systemd 250 on"
	}
	return within(p, at, w)
}

// userManager is the unit of the system's manager that runs the user's.
func userManager(at place) string { return "user@" + uidString(at.owner) + ".service" }

func (s *Source) unit(p workload.Process, cgroup string, at place) workload.Workload {
	w := s.describe(cgroup, at)
	if strings.HasSuffix(at.unit, ".scope") {
		w.Advice = "systemd did not start what runs in a scope and cannot restart it: restart it the way it was started"
		return w
	}
	w.Command = append(s.systemctl(at), "restart")
	if strings.HasPrefix(at.unit, "-") {
		w.Command = append(w.Command, "--")
	}
	w.Command = append(w.Command, at.unit)
	w.DisruptiveWhy = disruption(at.unit, at.user)
	w.Disruptive = w.DisruptiveWhy != ""
	w.Advice = instead(at.unit, at.user)
	return within(p, at, w)
}

// SessionOf returns the identifier of the login session of this system that a process
// belongs to, as the function given to WithSessions is asked for it. It is false for
// sessions inside containers.
func SessionOf(p workload.Process) (id string, ok bool) {
	cgroup := workload.SystemdPath(p.Cgroups)
	if strings.HasPrefix(cgroup, "/../") || inContainer(cgroup) {
		return "", false
	}
	at, ok := parse(cgroup, p.Foreign)
	if !ok || at.user || at.container != "" {
		return "", false
	}
	return sessionID(at.unit)
}

func (s *Source) session(p workload.Process, cgroup string, at place, id string) workload.Workload {
	w := s.describe(cgroup, at)
	w.Kind = workload.KindSession
	owner := ""
	if at.owned {
		owner = uidString(at.owner)
	}
	w.Key = key(at, "session:"+owner+":"+id)
	known := s.known(&at, id)
	of := ""
	if at.owned {
		of = " of " + s.person(at)
	}
	if known.Terminal != "" {
		of += " on " + known.Terminal
	}
	ends := "ends the login session" + of
	if known.Remote != "" {
		ends += " from " + known.Remote
	}
	w.Name = "session " + id + of
	w.Target = w.Name + inside(at)
	w.Command = []string{"loginctl", "terminate-session", id}
	w.Disruptive, w.DisruptiveWhy = true, ends
	w.Advice = "log out and in again; the command does so by force"
	return within(p, at, w)
}

// known is what is known of a session of this system. It tells the owner where the
// path does not, and is not believed where they differ: then the number has been
// given to another session meanwhile.
func (s *Source) known(at *place, id string) Session {
	if at.container != "" {
		return Session{} // of the same number, but of another system
	}
	session, ok := s.sessions(id)
	if !ok || at.owned && session.UID != at.owner {
		return Session{}
	}
	at.owner, at.owned = session.UID, true
	return session
}

// describe fills in what a unit is called.
func (s *Source) describe(cgroup string, at place) workload.Workload {
	w := workload.Workload{
		Kind:   workload.KindUnit,
		Name:   at.unit,
		Cgroup: cgroup[:at.end],
		Key:    key(at, "unit:"+at.unit),
		Target: at.unit,
	}
	if at.user {
		w.Kind = workload.KindUserUnit
		w.Key = key(at, "user-unit:"+uidString(at.owner)+":"+at.unit)
		w.Target += " of " + s.person(at)
	}
	w.Target += inside(at)
	return w
}

// key tells the same unit of two managers apart. No unit's name has a "/", so
// the last one of a key ends the container's path.
func key(at place, name string) string {
	if at.container == "" {
		return name
	}
	return "nested:" + at.container + "/" + name
}

// inside names the container for a person: what stands before the cgroup "payload"
// that systemd-nspawn puts its own into.
func inside(at place) string {
	if at.container == "" {
		return ""
	}
	name := at.container
	if outer := strings.TrimSuffix(name, "/payload"); outer != "" {
		name = outer
	}
	return " in " + path.Base(name)
}

// within puts the command of a unit of a container's own manager into the
// container's namespaces.
func within(p workload.Process, at place, w workload.Workload) workload.Workload {
	if at.container == "" {
		return w
	}
	if p.InitPID <= 0 {
		w.Command, w.Disruptive, w.DisruptiveWhy = nil, false, ""
		w.Advice = "it belongs to the service manager inside a container whose process 1 cannot be seen: act inside that container"
		return w
	}
	enter := []string{"nsenter", "--target", strconv.Itoa(p.InitPID), "--all"}
	w.Command = append(enter, w.Command...)
	// Entering keeps the caller's capabilities, and what is then executed is
	// a file of the container.
	w.Advice = "it belongs to the service manager inside a container, and the command runs that container's own program with the caller's rights: use it only if you trust the container"
	return w
}

// systemctl begins the command for the manager of a unit. "--machine=USER@.host"
// reaches a user's manager from outside of the user's session; it needs systemd
// 248 and the user's own D-Bus (Debian: dbus-user-session).
func (s *Source) systemctl(at place) []string {
	if !at.user {
		return []string{"systemctl"}
	}
	user, ok := s.userName(at)
	if !ok || !plainUserName(user) {
		user = uidString(at.owner)
	}
	return []string{"systemctl", "--user", "--machine=" + user + "@.host"}
}

// person calls the owner by name or number.
func (s *Source) person(at place) string {
	if name, ok := s.userName(at); ok {
		return name
	}
	return "user " + uidString(at.owner)
}

// userName names the owner, but not one inside a container, where numbers mean
// other people.
func (s *Source) userName(at place) (string, bool) {
	if at.container != "" {
		return "", false
	}
	name, ok := s.users(at.owner)
	return name, ok && name != ""
}

// plainUserName reports whether name can stand in an argument without meaning
// something else there: letters, digits, "_", "-" and ".", as in
// https://systemd.io/USER_NAMES.
func plainUserName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("_-.", c) >= 0) {
			return false
		}
	}
	return name != "" && name[0] != '-'
}

func uidString(uid uint32) string { return strconv.FormatUint(uint64(uid), 10) }
