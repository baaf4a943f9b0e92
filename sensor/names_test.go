package sensor

import (
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

func TestLoadNameAbsolute(t *testing.T) {
	for _, c := range []struct {
		name, shown, want string
		guessed           bool
	}{
		{"/usr/bin/x", "/usr/bin/x", "/usr/bin/x", false},
		{"", "/usr/bin/x", "", false},
		{"./x", "/opt/app/x.old", "/opt/app/x", true},
		{"../lib/x.so", "/opt/app/lib/x.so", "/opt/app/lib/x.so", true},
		{"linux-vdso.so.1", "/usr/lib/libc.so.6", "/usr/lib/linux-vdso.so.1", true},
		{"/proc/self/fd/7", "/usr/bin/x", "", false},
		{"//proc/self/fd/7", "/usr/bin/x", "", false},
		{"/usr/../dev/fd/7", "/usr/bin/x", "", false},
		{"/sys/kernel/x", "/usr/bin/x", "", false},
		{"/process/x", "/usr/bin/x", "/process/x", false},
	} {
		got := loadName{text: c.name}.absolute(c.shown)
		if got.text != c.want || got.guessed != c.guessed {
			t.Errorf("%q mapped as %q: got %+v, want %q, guessed %v", c.name, c.shown, got, c.want, c.guessed)
		}
	}
}

func TestDirectories(t *testing.T) {
	for _, c := range []struct {
		name                        string
		temporary, system, searched bool
	}{
		{"/tmp/x.so", true, false, false},
		{"/tmpx/x.so", false, false, false},
		{"/dev/shm/x", true, false, false},
		{"/run/user/1000/x", true, false, false},
		{"/usr/lib/x.so", false, true, true},
		{"/lib/x86_64-linux-gnu/x.so", false, true, true},
		{"/usr/lib/x86_64-linux-gnu/x.so", false, true, true},
		{"/usr/lib/arm-linux-gnueabihf/x.so", false, true, true},
		{"/usr/lib/x86_64-linux-gnu/private/x.so", false, true, false},
		{"/usr/lib/firefox/x.so", false, true, false},
		{"/usr/local/lib/x.so", false, false, true},
		{"/opt/app/lib/x.so", false, false, false},
		{"/usr/bin/x", false, true, false},
	} {
		if got := temporary(c.name); got != c.temporary {
			t.Errorf("%s: temporary %v", c.name, got)
		}
		if got := system(c.name); got != c.system {
			t.Errorf("%s: system %v", c.name, got)
		}
		if got := searched(c.name); got != c.searched {
			t.Errorf("%s: searched %v", c.name, got)
		}
	}
}

func TestViewInside(t *testing.T) {
	for _, c := range []struct {
		link, name, want string
		ok               bool
	}{
		{"/", "/usr/bin/x", "/usr/bin/x", true},
		{"/srv/jail", "/srv/jail/bin/x", "/bin/x", true},
		{"/srv/jail", "/srv/jailbird/x", "", false},
		{"/srv/jail", "/usr/bin/x", "", false},
	} {
		got, ok := (&view{link: c.link}).inside(c.name)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s in %s: %q, %v", c.name, c.link, got, ok)
		}
	}
}

func TestDomainOf(t *testing.T) {
	for _, c := range []struct {
		exe, comm string
		want      Domain
	}{
		{"/usr/bin/dockerd", "dockerd", DomainRuntime},
		{"/usr/bin/containerd-shim-runc-v2", "containerd-shim", DomainRuntime},
		{"", "kubelet", DomainOrchestrator},
		{"/usr/local/bin/etcd", "x", DomainOrchestrator},
		{"/usr/sbin/nginx", "dockerd", DomainHost},
	} {
		if got := domainOf(c.exe, c.comm); got != c.want {
			t.Errorf("%s (%s): %s", c.exe, c.comm, got)
		}
	}
}

// The object whose bias is the last one at or below a mapping is the one that it
// belongs to.
func TestAttribute(t *testing.T) {
	r := newNameReader(nil)
	r.linked = []linkedName{{0x5000, []byte("/lib/b.so")}, {0x1000, []byte("/lib/a.so")}}
	mappings := []snapshot.Mapping{{Exe: true}, {Start: 0x800}, {Start: 0x1000}, {Start: 0x4fff}, {Start: 0x6000}}
	n := loadNames{exe: loadName{text: "/bin/x"}, mapped: r.attribute(mappings)}
	for i, want := range []string{"/bin/x", "", "/lib/a.so", "/lib/a.so", "/lib/b.so"} {
		if got, _ := n.of(i, &mappings[i]); got.text != want {
			t.Errorf("mapping at %#x: %q, want %q", mappings[i].Start, got.text, want)
		}
	}
}

// TestStuckMemory holds that names read so far are kept when a process does not
// answer.
func TestStuckMemory(t *testing.T) {
	r := newNameReader([]*process{{Process: new(snapshot.Process)}, {Process: new(snapshot.Process)}})
	r.out = append(r.out, loadNames{exe: loadName{text: "/bin/x"}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out, stuck := r.wait(ctx, patience)
	if len(out) != 1 || !stuck || !r.left {
		t.Errorf("got %v, stuck %v, left %v", out, stuck, r.left)
	}
	r.run()
	if len(r.out) != 1 {
		t.Error("a reader that was left goes on")
	}
}

func FuzzText(f *testing.F) {
	f.Add("plain")
	f.Add("bad\xff\xfe\x00byte\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		got := text(s)
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		if utf8.ValidString(s) && got != s {
			t.Errorf("%q became %q", s, got)
		}
		if !utf8.ValidString(s) && !strings.Contains(got, `\x`) {
			t.Errorf("%q lost its bytes: %q", s, got)
		}
	})
}

// Every verdict on a load that is not effective has a path for a person.
func TestJudgementPath(t *testing.T) {
	c := &class{shown: "/opt/now", loadedAs: "/opt/then"}
	for reason, want := range map[Reason]string{
		Replaced: "/opt/now", Superseded: "/opt/now", Overwritten: "/opt/now",
		MovedAside: "/opt/then", SymlinkSwitched: "/opt/then",
	} {
		if got := (judgement{class: c, verdict: Verdict{Reason: reason}}).path(); got != want {
			t.Errorf("%s: %s", reason, got)
		}
	}
	if got := (judgement{class: c, verdict: Verdict{Reason: MissingFile}, facts: Facts{Shown: Same}}).path(); got != "/opt/then" {
		t.Errorf("renamed and missing: %s", got)
	}
	if got := (judgement{class: c, verdict: Verdict{Reason: MissingFile}, facts: Facts{Shown: Gone}}).path(); got != "/opt/now" {
		t.Errorf("gone: %s", got)
	}
}
