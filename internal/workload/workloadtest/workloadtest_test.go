package workloadtest

import (
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// Each way to break the contract must be seen, or the suite proves nothing.
func TestCheck(t *testing.T) {
	process := workload.Process{
		PID: 7, Comm: "-comm", Exe: "/bin/-exe",
		Cgroups: []workload.Cgroup{{Path: "/-evil.service/_-hidden.scope"}},
	}
	sound := workload.Workload{
		Kind: workload.KindUnit, Name: "a.service", Key: "unit:a.service", Target: "a.service",
		Command: []string{"systemctl", "--user", "restart", "a.service"},
	}
	tests := []struct {
		name    string
		ok      bool
		change  func(*workload.Workload)
		wantErr string
	}{
		{"sound", true, func(w *workload.Workload) {}, ""},
		{"raw name", true, func(w *workload.Workload) { w.Name = "\x1b[31m\n" }, ""},
		{"unclaimed but filled in", false, func(w *workload.Workload) {}, "not claimed"},
		{"kind", true, func(w *workload.Workload) { w.Kind = "daemon" }, "unknown kind"},
		{"no name", true, func(w *workload.Workload) { w.Name = "" }, "empty"},
		{"no key", true, func(w *workload.Workload) { w.Key = "" }, "empty"},
		{"no target", true, func(w *workload.Workload) { w.Target = "" }, "empty"},
		{"no reason", true, func(w *workload.Workload) { w.Disruptive = true }, "without a reason"},
		{"reason only", true, func(w *workload.Workload) { w.DisruptiveWhy = "x" }, "without a reason"},
		{"no way", true, func(w *workload.Workload) { w.Command = nil }, "neither"},
		{"advice only", true, func(w *workload.Workload) { w.Command, w.Advice = nil, "x" }, ""},
		{"no program", true, func(w *workload.Workload) { w.Command[0] = "" }, "plain name"},
		{"path as program", true, func(w *workload.Workload) { w.Command[0] = "/tmp/x" }, "plain name"},
		{"shell", true, func(w *workload.Workload) { w.Command = []string{"sh", "-c", "true"} }, "evaluates"},
		{"empty argument", true, func(w *workload.Workload) { w.Command[3] = "" }, "empty argument"},
		{"escape", true, func(w *workload.Workload) { w.Command[3] = "a\x1b.service" }, "plain text"},
		{"newline", true, func(w *workload.Workload) { w.Command[3] = "a\n.service" }, "plain text"},
		{"no UTF-8", true, func(w *workload.Workload) { w.Command[3] = "\xff.service" }, "plain text"},
		{"direction override", true, func(w *workload.Workload) { w.Command[3] = "a\u202e.service" }, "plain text"},
		{"option", true, func(w *workload.Workload) { w.Command[3] = "-evil.service" }, "the option"},
		{"unescaped option", true, func(w *workload.Workload) { w.Command[3] = "-hidden.scope" }, "the option"},
		{"option from the executable", true, func(w *workload.Workload) { w.Command[3] = "-exe" }, "the option"},
		{"behind the options", true, func(w *workload.Workload) { w.Command = append(w.Command[:3], "--", "-evil.service") }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := sound
			w.Command = append([]string(nil), sound.Command...)
			tt.change(&w)
			err := Check(process, w, tt.ok)
			if tt.wantErr == "" && err != nil {
				t.Errorf("unexpected: %v", err)
			}
			if tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("got %v, want %q", err, tt.wantErr)
			}
		})
	}
}

func TestHostileReachesEveryComponent(t *testing.T) {
	p := workload.Process{Cgroups: []workload.Cgroup{{Path: "/a.slice/b.service"}}}
	want := map[string]bool{
		"/-evil.service/b.service": false,
		"/a.slice/-evil.service":   false,
		"/a.slice":                 false,
		"-evil/a.slice/b.service":  false,
	}
	for _, q := range Hostile(p) {
		if _, ok := want[q.Cgroups[0].Path]; ok {
			want[q.Cgroups[0].Path] = true
		}
	}
	for path, seen := range want {
		if !seen {
			t.Errorf("%q is not tried", path)
		}
	}
	if p.Cgroups[0].Path != "/a.slice/b.service" {
		t.Error("the original was changed")
	}
}
