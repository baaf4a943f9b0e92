package workload

import (
	"strings"
	"testing"
)

func TestBare(t *testing.T) {
	tests := []struct {
		name       string
		p          Process
		wantName   string
		wantTarget string
		wantAdvice string
	}{
		{"daemon", Process{PID: 1234, Comm: "nginx: master", Exe: "/usr/sbin/nginx"}, "nginx", "process 1234 (nginx)", "the way it was started"},
		{"executable not readable", Process{PID: 5, Comm: "kthreadd"}, "kthreadd", "process 5 (kthreadd)", "the way it was started"},
		{"nothing readable", Process{PID: 6}, "?", "process 6 (?)", "the way it was started"},
		{"raw bytes", Process{PID: 7, Exe: "/tmp/a\x1b\nb"}, "a\x1b\nb", "process 7 (a\x1b\nb)", "the way it was started"},
		{"process 1", Process{PID: 1, Init: true, Exe: "/sbin/tini"}, "tini", "process 1 (tini)", "reboot"},
		{"process 1 of a container", Process{PID: 99, Init: true, Foreign: true, Exe: "/sbin/tini"}, "tini", "process 99 (tini)", "its PID namespace"},
	}
	for _, tt := range tests {
		w := Bare(tt.p)
		if w.Kind != KindProcess || w.Name != tt.wantName || w.Target != tt.wantTarget {
			t.Errorf("%s: %+v", tt.name, w)
		}
		if !strings.HasPrefix(w.Key, "process:") || len(w.Command) != 0 || w.Disruptive || !strings.Contains(w.Advice, tt.wantAdvice) {
			t.Errorf("%s: %+v", tt.name, w)
		}
	}
	if Bare(Process{PID: 1, Exe: "/a"}).Key == Bare(Process{PID: 2, Exe: "/a"}).Key {
		t.Error("two processes have one key")
	}
}
