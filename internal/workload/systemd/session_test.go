package systemd

import (
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/workload"
	"github.com/patchsensor/patchsensor/internal/workload/workloadtest"
)

// logins are the sessions that the login manager knows.
func logins(id string) (Session, bool) {
	switch id {
	case "3":
		return Session{UID: 1000, Terminal: "pts/3", Remote: "192.0.2.7"}, true
	case "4":
		return Session{UID: 1000, Terminal: "tty1"}, true
	case "5":
		return Session{UID: 1000}, true // ssh without a terminal
	case "7":
		return Session{UID: 1234, Terminal: "pts/7\x1b[31m"}, true
	}
	return Session{}, false
}

func TestSessionsAreNamed(t *testing.T) {
	s := New(users).WithSessions(logins)
	for _, tt := range []struct {
		what, path      string
		p               func(workload.Process) workload.Process
		name, key, ends string
	}{
		{"remote", "/user.slice/user-1000.slice/session-3.scope", nil, "session 3 of alice on pts/3", "session:1000:3", "ends the login session of alice on pts/3 from 192.0.2.7"},
		{"console", "/user.slice/user-1000.slice/session-4.scope", nil, "session 4 of alice on tty1", "session:1000:4", "ends the login session of alice on tty1"},
		{"no terminal", "/user.slice/user-1000.slice/session-5.scope", nil, "session 5 of alice", "session:1000:5", "ends the login session of alice"},
		{"not known", "/user.slice/user-1000.slice/session-6.scope", nil, "session 6 of alice", "session:1000:6", "ends the login session of alice"},
		{"hostile", "/user.slice/user-1234.slice/session-7.scope", nil, "session 7 of user 1234 on pts/7\x1b[31m", "session:1234:7", "ends the login session of user 1234 on pts/7\x1b[31m"},
		{"of another user meanwhile", "/user.slice/user-0.slice/session-3.scope", nil, "session 3 of root", "session:0:3", "ends the login session of root"},
		{"path without the user", "/../session-4.scope", nil, "session 4 of alice on tty1", "session::4", "ends the login session of alice on tty1"},
		{"with namespaces", "/user.slice/user-1000.slice/session-3.scope", func(p workload.Process) workload.Process { return foreign(p, 66) },
			"session 3 of alice on pts/3", "session:1000:3", "ends the login session of alice on pts/3 from 192.0.2.7"},
		{"of a container", "/payload/user.slice/user-1000.slice/session-3.scope", func(p workload.Process) workload.Process { return foreign(p, 66) },
			"session 3 of user 1000", "nested:/payload/session:1000:3", "ends the login session of user 1000"},
	} {
		p := in(tt.path)
		if tt.p != nil {
			p = tt.p(p)
		}
		w, ok := s.Identify(p)
		if !ok || w.Kind != workload.KindSession || w.Name != tt.name || w.Key != tt.key || w.DisruptiveWhy != tt.ends || !strings.HasPrefix(w.Target, tt.name) {
			t.Errorf("%s: %v %+v", tt.what, ok, w)
		}
		// Where nothing is known of sessions the key is the same.
		if plain, _ := New(users).Identify(p); plain.Key != w.Key || plain.Cgroup != w.Cgroup {
			t.Errorf("%s: without sessions %+v", tt.what, plain)
		}
	}
	for _, tt := range claimed {
		id, ok := SessionOf(tt.p)
		own := tt.kind == workload.KindSession && !strings.HasPrefix(tt.key, "nested:")
		if ok != own || own && !strings.HasSuffix(tt.key, ":"+id) {
			t.Errorf("%s: in session %q, %v", tt.name, id, ok)
		}
	}
	for name, p := range unclaimed {
		if id, ok := SessionOf(p); ok {
			t.Errorf("%s: in session %q", name, id)
		}
	}
	// A user's own scope is no session.
	if w, _ := s.Identify(in("/user.slice/user-1000.slice/user@1000.service/session-3.scope")); w.Kind != workload.KindUserUnit || w.Name != "session-3.scope" {
		t.Errorf("%+v", w)
	}
}

func TestContractWithSessions(t *testing.T) {
	var yes, no []workload.Process
	for _, tt := range claimed {
		yes = append(yes, tt.p)
	}
	for _, p := range unclaimed {
		no = append(no, p)
	}
	workloadtest.Run(t, New(users).WithSessions(logins), yes, no)
}
