package filter

import (
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
)

const (
	webID  = "4f1a6c3b9d2e8f7051a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708"
	podsID = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	lostID = "beef2233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	image  = "sha256:77aa2233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

func idents(t *testing.T, patterns ...string) []Ident {
	t.Helper()
	var out []Ident
	for _, p := range patterns {
		id, err := ParseIdent(p)
		if err != nil {
			t.Fatal(err)
		}
		if id.String() != p {
			t.Errorf("String: %q, want %q", id, p)
		}
		out = append(out, id)
	}
	return out
}

// containers has a stale container of Docker, one of a pod, one that no runtime tells
// of, one whose image is superseded to no effect, a machine and a unit.
func containers() *sensor.Report {
	of := func(id string, state sensor.State, w sensor.Workload) sensor.Finding {
		return sensor.Finding{ID: id, State: state, Workload: w, Packages: []sensor.Package{}, Processes: []sensor.Process{}}
	}
	r := &sensor.Report{Complete: true, Warnings: []sensor.Warning{}, Findings: []sensor.Finding{
		of("web", sensor.Stale, sensor.Workload{Kind: "container", Name: "web", Container: &sensor.Container{
			ID: webID, Name: "web", Runtime: "docker", Image: "nginx:1.25", ImageID: image}}),
		of("pod", sensor.Stale, sensor.Workload{Kind: "pod", Name: "shop/cart-0/app", Container: &sensor.Container{
			ID: podsID, Name: "k8s_app_cart-0", Runtime: "containerd", Image: "registry.example:5000/shop/cart@sha256:" + podsID},
			Pod: &sensor.Pod{Namespace: "shop", Name: "cart-0"}}),
		of("lost", sensor.Stale, sensor.Workload{Kind: "container", Name: lostID[:12], Container: &sensor.Container{ID: lostID}}),
		of("idle", sensor.Effective, sensor.Workload{Kind: "container", Name: "idle", Container: &sensor.Container{
			ID: "7777", Name: "idle", Image: "docker.io/library/nginx:1.25"}}),
		of("machine", sensor.Unknown, sensor.Workload{Kind: "container", Name: "guest", Container: &sensor.Container{ID: "guest", Name: "guest"}}),
		of("unit", sensor.Stale, sensor.Workload{Kind: "unit", Name: "web.service"}),
	}}
	r.Summary = summarize(sensor.Summary{Processes: 9, Workloads: 9}, r.Findings)
	return r
}

func TestFilterContainers(t *testing.T) {
	for name, c := range map[string]struct {
		filter Filter
		want   string
		maybes string // the number in the warning, "" for no warning
	}{
		"name":                     {Filter{Containers: idents(t, "web")}, "web", "1"},
		"names":                    {Filter{Containers: idents(t, "web", "idle", "gu*")}, "web idle machine", "1"},
		"ID":                       {Filter{Containers: idents(t, "4f1a6c")}, "web", "1"},
		"ID of one not told of":    {Filter{Containers: idents(t, "beef")}, "lost", ""},
		"whole ID":                 {Filter{Containers: idents(t, webID)}, "web", "1"},
		"too short for an ID":      {Filter{Containers: idents(t, "4f1")}, "", "1"},
		"name in a pod":            {Filter{Containers: idents(t, "app")}, "pod", "1"},
		"name of the runtime":      {Filter{Containers: idents(t, "k8s_*")}, "pod", "1"},
		"name of the workload":     {Filter{Containers: idents(t, "shop/*/app")}, "pod", "1"},
		"no container is a unit":   {Filter{Containers: idents(t, "web.service")}, "", "1"},
		"image without tag":        {Filter{Images: idents(t, "nginx")}, "web idle", "1"},
		"image with tag":           {Filter{Images: idents(t, "nginx:1.25")}, "web idle", "1"},
		"image in full":            {Filter{Images: idents(t, "docker.io/library/nginx")}, "web idle", "1"},
		"another tag":              {Filter{Images: idents(t, "nginx:1.26")}, "", "1"},
		"image by digest":          {Filter{Images: idents(t, "registry.example:5000/shop/cart")}, "pod", "1"},
		"images of a registry":     {Filter{Images: idents(t, "registry.example:5000/**")}, "pod", "1"},
		"image ID":                 {Filter{Images: idents(t, "77aa")}, "web", "1"},
		"image ID, marked":         {Filter{Images: idents(t, "sha256:77aa2")}, "web", "1"},
		"namespace":                {Filter{Namespaces: globs(t, "sh*")}, "pod", "1"},
		"pod":                      {Filter{Pods: globs(t, "cart-?")}, "pod", "1"},
		"namespace and pod":        {Filter{Namespaces: globs(t, "shop"), Pods: globs(t, "cart-1")}, "", "1"},
		"nothing of no namespace":  {Filter{Namespaces: globs(t, "**")}, "pod", "1"},
		"image and unit":           {Filter{Images: idents(t, "nginx"), Units: globs(t, "web")}, "web", ""},
		"not told of, other state": {Filter{Images: idents(t, "nginx"), States: []sensor.State{sensor.Effective}}, "idle", ""},
	} {
		t.Run(name, func(t *testing.T) {
			out := c.filter.Apply(containers())
			if got := ids(out); got != c.want {
				t.Errorf("kept %q, want %q", got, c.want)
			}
			said := ""
			for _, w := range out.Warnings {
				_, said, _ = strings.Cut(w.Message, "no runtime tells their names, images or pods: ")
			}
			if said != c.maybes || out.Complete != (said == "") {
				t.Errorf("complete %v, said %q, want %q: %v", out.Complete, said, c.maybes, out.Warnings)
			}
		})
	}
}

// Nothing that runs differs in a container whose image is superseded to no effect, so
// it runs no code of a package or before a fix that was asked for.
func TestFilterNoAlarm(t *testing.T) {
	idle := Filter{Units: globs(t, "idle"), CVEs: []string{"CVE-2026-0001"}}
	if out := idle.Apply(containers()); !out.Complete || len(out.Findings) > 0 {
		t.Errorf("%+v", out)
	}
	idle = Filter{Units: globs(t, "idle")}
	if out := idle.Apply(containers()); out.Summary != (sensor.Summary{Processes: 9, Workloads: 9}) || len(out.Findings) != 1 {
		t.Errorf("%+v", out)
	}
}

func TestFilterAsksForContainersNotSeen(t *testing.T) {
	r := containers()
	r.Seen = []sensor.Seen{
		{PID: 1, Workload: "init.scope"},
		{PID: 10, Workload: "db", Container: "db", ContainerID: webID, Image: "postgres:17", ImageID: image},
		{PID: 20, Workload: "shop/cart-1/app", Container: "k8s_app_cart-1", ContainerID: podsID, Image: "cart", Namespace: "shop", Pod: "cart-1"},
		{PID: 30, Workload: lostID[:12], ContainerID: lostID},
	}
	// Nothing else may make the answer open.
	r.Findings = nil
	for _, c := range []struct {
		name     string
		filter   Filter
		complete bool
	}{
		{"a container", Filter{Containers: idents(t, "db")}, true},
		{"its ID", Filter{Containers: idents(t, "4f1a")}, true},
		{"the ID of one not told of", Filter{Containers: idents(t, "beef22")}, true},
		{"an image", Filter{Images: idents(t, "postgres")}, true},
		{"its ID", Filter{Images: idents(t, "77aa")}, true},
		{"a pod", Filter{Pods: globs(t, "cart-1"), Containers: idents(t, "app")}, true},
		{"a namespace", Filter{Namespaces: globs(t, "shop")}, true},
		{"one that does not run", Filter{Containers: idents(t, "dbs")}, false},
		{"an image that does not run", Filter{Images: idents(t, "postgres:16")}, false},
		{"a container of another pod", Filter{Pods: globs(t, "cart-1"), Containers: idents(t, "db")}, false},
		{"another namespace", Filter{Namespaces: globs(t, "shops")}, false},
		{"no container", Filter{Containers: idents(t, "init*")}, false},
		{"a process of another container", Filter{PIDs: []int{10}, Containers: idents(t, "app")}, false},
	} {
		if got := c.filter.Apply(r); got.Complete != c.complete {
			t.Errorf("%s: complete is %v, warnings %v", c.name, got.Complete, got.Warnings)
		}
		if !c.filter.OfWhatRuns() || c.filter.Empty() {
			t.Errorf("%s: it is not known that something is asked", c.name)
		}
	}
}

func TestImageNames(t *testing.T) {
	for ref, want := range map[string]string{
		"":                                      "",
		"nginx":                                 "nginx docker.io/library/nginx",
		"nginx:1.25":                            "nginx:1.25 docker.io/library/nginx:1.25 nginx docker.io/library/nginx",
		"docker.io/library/nginx:1.25":          "docker.io/library/nginx:1.25 nginx:1.25 docker.io/library/nginx nginx",
		"bitnami/redis@sha256:ab":               "bitnami/redis@sha256:ab docker.io/bitnami/redis@sha256:ab bitnami/redis docker.io/bitnami/redis",
		"docker.io/bitnami/redis":               "docker.io/bitnami/redis bitnami/redis",
		"localhost/web:2":                       "localhost/web:2 web:2 localhost/web web",
		"registry.example:5000/a/b:c@sha256:ab": "registry.example:5000/a/b:c@sha256:ab registry.example:5000/a/b:c registry.example:5000/a/b",
		"registry.example:5000/a":               "registry.example:5000/a",
		"sha256:77aa":                           "sha256:77aa",
		"docker.io/":                            "docker.io/",
		":@":                                    ":@ docker.io/library/:@ : docker.io/library/: docker.io/library/",
	} {
		if got := strings.Join(imageNames(ref), " "); got != want {
			t.Errorf("%q: %q, want %q", ref, got, want)
		}
	}
}

func TestParseIdentErrors(t *testing.T) {
	for pattern, want := range map[string]string{"": "empty", "[": "without", "sha256:": "4 digits", "sha256:abc": "4 digits"} {
		if _, err := ParseIdent(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseIdent(%q): %v, want an error about %q", pattern, err, want)
		}
	}
}

// An ID that matches begins with what the pattern says, an image is found by whatever
// covers its reference as given, and its names are few and not much longer than that.
func FuzzIdent(f *testing.F) {
	for _, s := range [][2]string{
		{"nginx", "nginx:1.25"}, {"4f1a", webID}, {"sha256:77aa", image}, {"a/b", "docker.io/a/b@sha256:00"}, {"*", "::"}, {"localhost/x", "x"}, {"", "@"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, ref string) {
		names := imageNames(ref)
		if (len(names) == 0) != (ref == "") || len(names) > 9 || slices.Contains(names, "") {
			t.Fatalf("%q is called %q", ref, names)
		}
		for _, name := range names {
			if len(name) > len(ref)+len("docker.io/library/") {
				t.Fatalf("%q is called %q", ref, name)
			}
		}
		p, err := ParseIdent(pattern)
		if err != nil {
			return
		}
		if p.MatchID(ref) && !strings.Contains(ref, strings.TrimPrefix(pattern, "sha256:")) {
			t.Fatalf("%q is taken for the beginning of %q", pattern, ref)
		}
		c := contained{inside: true, told: true, image: ref}
		if p.MatchName(ref) && ref != "" && !c.runs(p) {
			t.Fatalf("%q does not find %q, which it is a pattern of", pattern, ref)
		}
	})
}
