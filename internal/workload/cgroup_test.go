package workload

import (
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseCgroups(t *testing.T) {
	tests := []struct {
		name, in string
		want     []Cgroup
		wantErr  string
	}{
		{"empty", "", nil, ""},
		{"v2", "0::/system.slice/ssh.service\n", []Cgroup{{0, "", "/system.slice/ssh.service"}}, ""},
		{"v2 without newline", "0::/a", []Cgroup{{0, "", "/a"}}, ""},
		{"v1", "12:cpu,cpuacct:/x\n1:name=systemd:/init.scope\n", []Cgroup{
			{12, "cpu,cpuacct", "/x"},
			{1, "name=systemd", "/init.scope"},
		}, ""},
		{"hybrid", "2:freezer:/\n1:name=systemd:/user.slice\n0::/user.slice\n", []Cgroup{
			{2, "freezer", "/"}, {1, "name=systemd", "/user.slice"}, {0, "", "/user.slice"},
		}, ""},
		{"colons, blanks and bytes in the path", "0::/kubepods-x.slice:cri-containerd:1/a b\x1b\xff\n",
			[]Cgroup{{0, "", "/kubepods-x.slice:cri-containerd:1/a b\x1b\xff"}}, ""},
		{"removed v2", "0::/a.service (deleted)\n", []Cgroup{{0, "", "/a.service"}}, ""},
		{"v1 never says so", "3:pids:/a (deleted)\n", []Cgroup{{3, "pids", "/a (deleted)"}}, ""},
		{"namespace", "0::/../..\n", []Cgroup{{0, "", "/../.."}}, ""},

		{"no colon", "0::/a\nrubbish\n1:cpu:/b\n", []Cgroup{{0, "", "/a"}, {1, "cpu", "/b"}}, "offset 6: no hierarchy"},
		{"number", "x:cpu:/\n", nil, "offset 0: hierarchy"},
		{"negative", "-1:cpu:/\n", nil, "hierarchy"},
		{"huge number", "99999999999:cpu:/\n", nil, "hierarchy"},
		{"two fields", "1:cpu\n", nil, "no absolute path"},
		{"relative", "0::a\n", nil, "no absolute path"},
		{"blank line", "\n0::/a\n", []Cgroup{{0, "", "/a"}}, "offset 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseCgroups(strings.NewReader(tt.in))
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if tt.wantErr == "" && err != nil {
				t.Errorf("unexpected: %v", err)
			}
			if tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("got error %v, want %q", err, tt.wantErr)
			}
		})
	}
}

func TestParseCgroupsBounds(t *testing.T) {
	lines, err := ParseCgroups(strings.NewReader(strings.Repeat("1:cpu:/\n", maxCgroups+1)))
	if len(lines) != maxCgroups || err == nil || !strings.Contains(err.Error(), "offset 2048: more than 256 lines") {
		t.Errorf("%d lines, %v", len(lines), err)
	}

	long := "0::/a\n1:cpu:/" + strings.Repeat("x", maxCgroupBytes) + "\n"
	lines, err = ParseCgroups(strings.NewReader(long))
	if len(lines) != 1 || err == nil || !strings.Contains(err.Error(), "offset 6: more than") {
		t.Errorf("%d lines, %v", len(lines), err)
	}
}

func TestParseCgroupsReadError(t *testing.T) {
	gone := errors.New("no such process")
	r := io.MultiReader(strings.NewReader("0::/a.service\n1:cpu:/b.serv"), iotest.ErrReader(gone))
	got, err := ParseCgroups(r)
	if !errors.Is(err, gone) {
		t.Errorf("got error %v", err)
	}
	if want := []Cgroup{{0, "", "/a.service"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v: a cut line is no cgroup", got, want)
	}
}

func TestParseCgroupsOfThisProcess(t *testing.T) {
	f, err := os.Open("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cgroups, err := ParseCgroups(f)
	if err != nil || len(cgroups) == 0 {
		t.Errorf("%+v, %v", cgroups, err)
	}
}

func TestSystemdPath(t *testing.T) {
	systemd := func(path string) Cgroup { return Cgroup{1, "name=systemd", path} }
	v2 := func(path string) Cgroup { return Cgroup{0, "", path} }
	tests := []struct {
		name string
		in   []Cgroup
		want string
	}{
		{"none", nil, ""},
		{"other v1 only", []Cgroup{{4, "memory", "/system.slice/a.service"}}, ""},
		{"v2", []Cgroup{v2("/system.slice/a.service")}, "/system.slice/a.service"},
		{"v1", []Cgroup{{4, "memory", "/m"}, systemd("/system.slice/a.service")}, "/system.slice/a.service"},
		{"hybrid", []Cgroup{systemd("/a.service"), v2("/b.service")}, "/a.service"},
		{"hybrid with an idle named hierarchy", []Cgroup{systemd("/"), v2("/b.service")}, "/b.service"},
		{"both idle", []Cgroup{systemd("/"), v2("/")}, "/"},
		{"another name", []Cgroup{{1, "name=elogind", "/1"}, v2("/")}, "/"},
		{"from a container", []Cgroup{v2("/../ssh.service")}, "/ssh.service"},
		{"from deeper", []Cgroup{v2("/../../../user.slice/user-1.slice/session-2.scope")}, "/user.slice/user-1.slice/session-2.scope"},
		{"ancestor", []Cgroup{v2("/../..")}, "/"},
		{"named hierarchy from a container", []Cgroup{systemd("/.."), v2("/../a.service")}, "/a.service"},
		{"from inside a user's manager", []Cgroup{v2("/../../app.slice/a.service")}, "/../../app.slice/a.service"},
		{"a system's own app.slice", []Cgroup{v2("/app.slice/a.service")}, "/app.slice/a.service"},
		{"names that begin with dots", []Cgroup{v2("/..a/b")}, "/..a/b"},
	}
	for _, tt := range tests {
		if got := SystemdPath(tt.in); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzParseCgroups(f *testing.F) {
	f.Add("0::/system.slice/ssh.service\n")
	f.Add("12:cpu,cpuacct:/\n1:name=systemd:/a:b c\n0::/a (deleted)\n")
	f.Add("0::/../../x\nrubbish\n:::\n0:/\n")
	f.Fuzz(func(t *testing.T, in string) {
		cgroups, err := ParseCgroups(strings.NewReader(in))
		lines := strings.Count(in, "\n")
		if in != "" && !strings.HasSuffix(in, "\n") {
			lines++
		}
		if err == nil && len(cgroups) != lines {
			t.Fatalf("%d lines gave %d cgroups and no error", lines, len(cgroups))
		}
		for _, c := range cgroups {
			if !strings.HasPrefix(c.Path, "/") || strings.Contains(c.Path, "\n") || c.Hierarchy < 0 || strings.Contains(c.Controllers, ":") {
				t.Fatalf("%+v", c)
			}
			if !strings.Contains(in, c.Controllers+":"+c.Path) {
				t.Fatalf("%+v is not in the input", c)
			}
		}
		if path := SystemdPath(cgroups); path != "" && path[0] != '/' {
			t.Fatalf("path %q", path)
		}
	})
}
