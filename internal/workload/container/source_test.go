package container

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/workload"
	"github.com/patchsensor/patchsensor/internal/workload/workloadtest"
)

func in(path string) workload.Process {
	return workload.Process{PID: 4711, Comm: "nginx", Exe: "/usr/sbin/nginx", Foreign: true, InitPID: 4711,
		Cgroups: []workload.Cgroup{{Path: path}}}
}

// knows answers for one container, whatever its ID.
func knows(c workload.Container) func(Ref) (workload.Container, bool) {
	return func(r Ref) (workload.Container, bool) {
		c := c
		if c.ID == "" {
			c.ID = r.ID
		}
		return c, true
	}
}

func pod(kind, owner string) *workload.Pod {
	return &workload.Pod{Namespace: "shop", Name: "web-0", UID: uid, OwnerKind: kind, OwnerName: owner}
}

const (
	dockerPath  = "/docker/" + id1
	podmanPath  = "/machine.slice/libpod-" + id1 + ".scope"
	podPath     = "/kubepods/burstable/pod" + uid + "/" + id1
	defaultPath = "/default/" + id1
	usersPodman = "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id1 + ".scope"
	rootsPodman = "/user.slice/user-0.slice/user@0.service/user.slice/libpod-" + id1 + ".scope"
)

func compose(project, service string) map[string]string {
	return map[string]string{labelComposeProject: project, labelComposeService: service}
}

// remedies are what an inventory says of a container, and what is to be done then.
var remedies = []struct {
	name, path string
	c          *workload.Container // nil: nothing is known
	kind       workload.Kind
	display    string
	target     string
	command    string
	disrupts   string // part of the reason
	advice     string // part of it
}{
	{"docker", dockerPath, &workload.Container{Runtime: Docker, Name: "web"}, workload.KindContainer, "web", "container web", "docker restart web", "", ""},
	{"docker, unknown", dockerPath, nil, workload.KindContainer, id1[:12], "container " + id1[:12], "docker restart " + id1, "", ""},
	{"docker, no name", dockerPath, &workload.Container{Runtime: Docker}, workload.KindContainer, id1[:12], "container " + id1[:12], "docker restart " + id1, "", ""},
	{"docker, name like an option", dockerPath, &workload.Container{Runtime: Docker, Name: "--all"}, workload.KindContainer, "--all", "container --all", "docker restart " + id1, "", ""},
	{"docker, name with an escape", dockerPath, &workload.Container{Runtime: Docker, Name: "a\x1b[31m"}, workload.KindContainer, "a\x1b[31m", "container a\x1b[31m", "docker restart " + id1, "", ""},
	{"docker, name like another's ID", dockerPath, &workload.Container{Runtime: Docker, Name: id2}, workload.KindContainer, id2, "container " + id2, "docker restart " + id1, "", ""},
	{"another container's answer", dockerPath, &workload.Container{ID: id2, Runtime: Docker, Name: "web"}, workload.KindContainer, id1[:12], "container " + id1[:12], "docker restart " + id1, "", ""},
	{"docker engine, another runtime", dockerPath, &workload.Container{Runtime: "x", Name: "web"}, workload.KindContainer, "web", "container web", "", "", "the engine that runs it"},
	{"any engine, unknown", "/actions_job/" + id1, nil, workload.KindContainer, id1[:12], "container " + id1[:12], "", "", "nothing tells which engine"},
	{"any engine, docker", "/actions_job/" + id1, &workload.Container{Runtime: Docker, Name: "job"}, workload.KindContainer, "job", "container job", "docker restart job", "", ""},

	{"compose", dockerPath, &workload.Container{Runtime: Docker, Name: "shop-web-1", Labels: compose("shop", "web")}, workload.KindContainer, "shop-web-1", "container shop-web-1", "docker compose -p shop restart web", "", ""},
	{"compose version 1", dockerPath, &workload.Container{Runtime: Docker, Name: "shop_web_12", Labels: compose("shop", "web")}, workload.KindContainer, "shop_web_12", "container shop_web_12", "docker compose -p shop restart web", "", ""},
	{"compose, container_name", dockerPath, &workload.Container{Runtime: Docker, Name: "frontend", Labels: compose("shop", "web")}, workload.KindContainer, "frontend", "container frontend", "docker restart frontend", "", ""},
	{"compose, labels of an image", dockerPath, &workload.Container{Runtime: Docker, Name: "evil", Labels: compose("bank", "db")}, workload.KindContainer, "evil", "container evil", "docker restart evil", "", ""},
	{"compose, labels like options", dockerPath, &workload.Container{Runtime: Docker, Name: "--file-x-1", Labels: compose("--file", "x")}, workload.KindContainer, "--file-x-1", "container --file-x-1", "docker restart " + id1, "", ""},
	{"swarm", dockerPath, &workload.Container{Runtime: Docker, Name: "api.1.x8yqv0c4", Labels: map[string]string{labelSwarmService: "api"}}, workload.KindContainer, "api.1.x8yqv0c4", "container api.1.x8yqv0c4", "docker service update --force api", "", "manager"},
	{"swarm, labels of an image", dockerPath, &workload.Container{Runtime: Docker, Name: "evil", Labels: map[string]string{labelSwarmService: "api"}}, workload.KindContainer, "evil", "container evil", "docker restart evil", "", ""},

	{"podman", podmanPath, &workload.Container{Runtime: Podman, Name: "web"}, workload.KindContainer, "web", "container web", "podman restart web", "", ""},
	{"podman, unknown", podmanPath, nil, workload.KindContainer, id1[:12], "container " + id1[:12], "podman restart " + id1, "", ""},
	{"conmon", "/machine.slice/libpod-conmon-" + id1 + ".scope", &workload.Container{Runtime: Podman, Name: "web"}, workload.KindContainer, "web", "container web", "podman restart web", "", ""},
	{"quadlet by its cgroup", "/system.slice/web.service/libpod-payload-" + id1, nil, workload.KindContainer, id1[:12], "container " + id1[:12], "systemctl restart web.service", "", ""},
	{"quadlet of a user by its cgroup", "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-" + id1, nil, workload.KindContainer, id1[:12], "container " + id1[:12] + " of user 1000", "systemctl --user --machine=1000@.host restart web.service", "", ""},
	{"quadlet of somebody", "/../../app.slice/web.service/libpod-payload-" + id1, nil, workload.KindContainer, id1[:12], "container " + id1[:12] + " of another user", "", "", "another user"},
	{"quadlet by its label", podmanPath, &workload.Container{Runtime: Podman, Name: "systemd-web", Labels: map[string]string{labelPodmanUnit: "web.service"}}, workload.KindContainer, "systemd-web", "container systemd-web", "systemctl restart web.service", "", ""},
	{"generated unit", podmanPath, &workload.Container{Runtime: Podman, Name: "web", Labels: map[string]string{labelPodmanUnit: "container-web.service"}}, workload.KindContainer, "web", "container web", "systemctl restart container-web.service", "", ""},
	{"unit of podman-compose", podmanPath, &workload.Container{Runtime: Podman, Name: "shop_web_1", Labels: map[string]string{labelPodmanUnit: "podman-compose@shop.service"}}, workload.KindContainer, "shop_web_1", "container shop_web_1", "podman restart shop_web_1", "", ""},
	{"unit of an image", podmanPath, &workload.Container{Runtime: Podman, Name: "evil", Labels: map[string]string{labelPodmanUnit: "dbus.service"}}, workload.KindContainer, "evil", "container evil", "podman restart evil", "", ""},
	{"podman, rootless", usersPodman, nil, workload.KindContainer, id1[:12], "container " + id1[:12] + " of user 1000", "", "", "as that user"},
	{"podman, rootless and known", usersPodman, &workload.Container{Runtime: Podman, Name: "web"}, workload.KindContainer, "web", "container web of user 1000", "", "", "as that user"},
	{"podman in root's manager", rootsPodman, &workload.Container{Runtime: Podman, Name: "web"}, workload.KindContainer, "web", "container web of user 0", "podman restart web", "", ""},

	{"nerdctl", defaultPath, &workload.Container{Runtime: Containerd, Namespace: "default", Name: "web", Labels: map[string]string{labelNerdctlName: "web"}}, workload.KindContainer, "web", "container web", "nerdctl --namespace default restart web", "", ""},
	{"nerdctl, name like an ID", defaultPath, &workload.Container{Runtime: Containerd, Namespace: "default", Name: "cafe", Labels: map[string]string{labelNerdctlName: "cafe"}}, workload.KindContainer, "cafe", "container cafe", "nerdctl --namespace default restart " + id1, "", ""},
	{"nerdctl, namespace like an option", defaultPath, &workload.Container{Runtime: Containerd, Namespace: "-x", Name: "web", Labels: map[string]string{labelNerdctlName: "web"}}, workload.KindContainer, "web", "container web", "", "", "the program that made it"},
	{"ctr", "/default/redis", &workload.Container{Runtime: Containerd, Namespace: "default", Labels: map[string]string{labelNerdctlName: "of-the-image"}}, workload.KindContainer, "redis", "container redis", "", "", "the program that made it"},
	{"containerd, unknown", defaultPath, nil, workload.KindContainer, id1[:12], "container " + id1[:12], "", "", "the program that made it"},

	{"deployment", podPath, &workload.Container{Runtime: Containerd, Name: "nginx", Pod: pod("Deployment", "web")}, workload.KindPod, "shop/web-0/nginx", "deployment shop/web", "kubectl -n shop rollout restart deployment/web", "", ""},
	{"statefulset", podPath, &workload.Container{Runtime: CRIO, Labels: map[string]string{labelContainerName: "db"}, Pod: pod("StatefulSet", "web")}, workload.KindPod, "shop/web-0/db", "statefulset shop/web", "kubectl -n shop rollout restart statefulset/web", "", ""},
	{"daemonset", podPath, &workload.Container{Runtime: CRIO, Sandbox: true, Pod: pod("DaemonSet", "web")}, workload.KindPod, "shop/web-0/POD", "daemonset shop/web", "kubectl -n shop rollout restart daemonset/web", "", ""},
	{"job", podPath, &workload.Container{Runtime: CRIO, Name: "x", Pod: pod("Job", "web")}, workload.KindPod, "shop/web-0/x", "job shop/web", "kubectl -n shop delete pod web-0", "aborts a run", "starts another"},
	{"replicaset", podPath, &workload.Container{Runtime: CRIO, Name: "x", Pod: pod("ReplicaSet", "web")}, workload.KindPod, "shop/web-0/x", "replicaset shop/web", "kubectl -n shop delete pod web-0", "before another", "starts another"},
	{"bare pod", podPath, &workload.Container{Runtime: CRIO, Name: "x", Pod: pod("", "")}, workload.KindPod, "shop/web-0/x", "pod shop/web-0", "", "", "may be for good"},
	{"static pod", podPath, &workload.Container{Runtime: CRIO, Name: "x", Pod: pod("Node", "")}, workload.KindPod, "shop/web-0/x", "pod shop/web-0", "", "", "crictl stopp"},
	{"pod with hostile names", podPath, &workload.Container{Runtime: CRIO, Name: "x", Pod: &workload.Pod{Namespace: "--kubeconfig=/x", Name: "a", UID: uid, OwnerKind: "Deployment", OwnerName: "b"}}, workload.KindPod, "--kubeconfig=/x/a/x", "deployment --kubeconfig=/x/b", "", "", "none of Kubernetes"},
	{"pod with a hostile owner", podPath, &workload.Container{Runtime: CRIO, Name: "x", Pod: pod("Deployment", "--all")}, workload.KindPod, "shop/web-0/x", "deployment shop/--all", "", "", "may be for good"},
	{"pod, unknown", podPath, nil, workload.KindContainer, id1[:12], "container " + id1[:12], "", "", "whose name nothing tells"},
	{"pod by cri-dockerd, unknown", "/kubepods.slice/kubepods-pod" + uidUnderscores + ".slice/docker-" + id1 + ".scope", nil, workload.KindContainer, id1[:12], "container " + id1[:12], "", "", "whose name nothing tells"},
	{"pod by cri-dockerd", podPath, &workload.Container{Runtime: Docker, Name: "k8s_x_web-0_shop_0", Pod: pod("Deployment", "web")}, workload.KindPod, "shop/web-0/k8s_x_web-0_shop_0", "deployment shop/web", "kubectl -n shop rollout restart deployment/web", "", ""},
	{"pod of an image's labels", dockerPath, &workload.Container{Runtime: Docker, Name: "evil", Pod: pod("Deployment", "bank")}, workload.KindContainer, "evil", "container evil", "docker restart evil", "", ""},
	{"pod of another's labels", "/kubepods/pod" + staticUID + "/" + id1, &workload.Container{Runtime: CRIO, Name: "x", Pod: pod("Deployment", "bank")}, workload.KindContainer, "x", "container x", "", "", "whose name nothing tells"},
	{"pod from its sibling", "/../" + id1, &workload.Container{Runtime: Containerd, Name: "x", Pod: pod("Deployment", "web")}, workload.KindPod, "shop/web-0/x", "deployment shop/web", "kubectl -n shop rollout restart deployment/web", "", ""},

	{"LXC", "/lxc.payload.c1", nil, workload.KindContainer, "c1", "container c1", "", "", "incus restart"},
	{"nspawn", `/machine.slice/systemd-nspawn@my\x2dweb.service/payload`, nil, workload.KindContainer, "my-web", "container my-web", "machinectl reboot my-web", "whole container", ""},
	{"nspawn, hostile", `/machine.slice/systemd-nspawn@\x2dall.service/payload`, nil, workload.KindContainer, "-all", "container -all", "", "", "cannot stand in a command"},
	{"Mesos", "/mesos/" + taskUUID, nil, workload.KindContainer, taskUUID, "container " + taskUUID, "", "", "framework"},
	{"build", "/docker/buildkit/" + buildID, nil, workload.KindContainer, buildID, "container " + buildID, "", "", "image build"},
}

func TestIdentify(t *testing.T) {
	for _, tt := range remedies {
		t.Run(tt.name, func(t *testing.T) {
			s := New(nil)
			if tt.c != nil {
				s = New(knows(*tt.c))
			}
			p := in(tt.path)
			w, ok := s.Identify(p)
			if !ok {
				t.Fatal("not claimed")
			}
			if err := workloadtest.Check(p, w, ok); err != nil {
				t.Error(err)
			}
			if w.Kind != tt.kind || w.Name != tt.display || w.Target != tt.target {
				t.Errorf("got %s %q, target %q", w.Kind, w.Name, w.Target)
			}
			if got := strings.Join(w.Command, " "); got != tt.command {
				t.Errorf("command %q, want %q", got, tt.command)
			}
			if w.Disruptive != (tt.disrupts != "") || !strings.Contains(w.DisruptiveWhy, tt.disrupts) {
				t.Errorf("disruptive %v %q, want %q", w.Disruptive, w.DisruptiveWhy, tt.disrupts)
			}
			if tt.advice == "" && w.Advice != "" || !strings.Contains(w.Advice, tt.advice) {
				t.Errorf("advice %q, want %q", w.Advice, tt.advice)
			}
			if w.Container == nil || !strings.Contains(w.Cgroup, w.Container.ID) || (w.Kind == workload.KindPod) != (w.Container.Pod != nil) {
				t.Errorf("container %+v", w.Container)
			}
			if tt.c == nil && tt.path == podmanPath && w.Container.Runtime != Podman {
				t.Errorf("the engine is lost: %+v", w.Container)
			}
		})
	}
}

func TestIdentifyGuess(t *testing.T) {
	p := in("/default/redis")
	for name, tt := range map[string]struct {
		c    workload.Container
		want bool
	}{
		"confirmed":         {workload.Container{ID: "redis", Runtime: Containerd, Namespace: "default"}, true},
		"another namespace": {workload.Container{ID: "redis", Runtime: Containerd, Namespace: "test"}, false},
		"another container": {workload.Container{ID: "nginx", Runtime: Containerd, Namespace: "default"}, false},
	} {
		if w, ok := New(knows(tt.c)).Identify(p); ok != tt.want {
			t.Errorf("%s: %v, %+v", name, ok, w)
		}
	}
}

func TestIdentifyKeys(t *testing.T) {
	s := New(nil)
	seen := map[string]string{}
	for _, path := range []string{
		dockerPath, usersPodman, rootsPodman, strings.ReplaceAll(usersPodman, "1000", "1001"),
		"/lxc.payload.c1", "/machine.slice/machine-c1.scope/payload", "/k8s.io/c1", "/docker/" + id2,
	} {
		w, ok := s.Identify(in(path))
		if other, dup := seen[w.Key]; !ok || dup {
			t.Errorf("%s: key %q of %q", path, w.Key, other)
		}
		seen[w.Key] = path
	}
	if w, _ := s.Identify(in(dockerPath)); w.Key != "container:"+id1 {
		t.Errorf("key %q", w.Key)
	}
}

// unclaimed are also containers that only an inventory could confirm.
func unclaimed() []workload.Process {
	var none []workload.Process
	for _, path := range append([]string{"/default/redis", "/machine.slice/machine-web.scope"}, noContainers...) {
		none = append(none, in(path))
	}
	return none
}

func TestContract(t *testing.T) {
	var claimed []workload.Process
	for _, tt := range shapes {
		if !tt.want.Guess {
			claimed = append(claimed, in(tt.path))
		}
	}
	workloadtest.Run(t, New(nil), claimed, unclaimed())

	// An inventory that has a different answer for each container, some of them in
	// pods and none of a guess.
	inventory := func(r Ref) (workload.Container, bool) {
		c := workload.Container{ID: r.ID, Runtime: Docker, Name: "name-of-" + r.ID[:1]}
		if r.ID == id2 {
			c.Runtime, c.Pod = Containerd, &workload.Pod{Namespace: "shop", Name: "web-0", UID: uid, OwnerKind: "Deployment", OwnerName: "web"}
		}
		return c, !r.Guess
	}
	workloadtest.Run(t, New(inventory), claimed, unclaimed())
}

func TestRedeploy(t *testing.T) {
	swarm := map[string]string{labelSwarmService: "api"}
	digest := "@sha256:" + id1
	for _, tt := range []struct {
		name            string
		c               workload.Container
		command, advice string
	}{
		{"docker", workload.Container{Runtime: Docker, Name: "web", Image: "nginx:1.25"}, "", "run it anew from nginx:1.25, with the options it was made with"},
		{"docker, hostile reference", workload.Container{Runtime: Docker, Image: "x; rm -rf /"}, "", "run it anew from its image"},
		{"compose", workload.Container{Runtime: Docker, Name: "shop-web-1", Labels: compose("shop", "web")}, "docker compose -p shop up -d web", "Compose file"},
		{"compose, container_name", workload.Container{Runtime: Docker, Name: "frontend", Labels: compose("shop", "web")}, "docker compose -p shop up -d web", "Compose file"},
		{"compose, like options", workload.Container{Runtime: Docker, Name: "x", Labels: compose("-f", "web")}, "", "anew"},
		{"swarm", workload.Container{Runtime: Docker, Name: "api.1.x8y", Image: "reg:5000/api:2" + digest, Labels: swarm}, "docker service update --force --image reg:5000/api:2 api", "manager"},
		{"swarm without a tag", workload.Container{Runtime: Docker, Name: "api.1.x8y", Image: "reg:5000/api" + digest, Labels: swarm}, "docker service update --force api", "manager"},
		{"podman", workload.Container{Runtime: Podman, Name: "web", Image: "web"}, "", "anew from web"},
		{"quadlet", workload.Container{Runtime: Podman, Name: "systemd-web", Labels: map[string]string{labelPodmanUnit: "web.service"}}, "systemctl restart web.service", "Quadlet"},
		{"deployment", workload.Container{Runtime: Containerd, Pod: pod("Deployment", "web")}, "kubectl -n shop rollout restart deployment/web", "imagePullPolicy"},
		{"bare pod", workload.Container{Runtime: Containerd, Pod: pod("", "")}, "", "controller"},
		{"nerdctl compose", workload.Container{ID: id1, Runtime: Containerd, Namespace: "default", Labels: map[string]string{labelNerdctlName: "w", labelComposeProject: "shop"}}, "", "nerdctl compose up"},
		{"LXC", workload.Container{Runtime: LXC, Name: "c1"}, "", "from inside"},
		{"nothing", workload.Container{}, "", "anew"},
	} {
		command, advice := Redeploy(tt.c)
		if got := strings.Join(command, " "); got != tt.command || !strings.Contains(advice, tt.advice) {
			t.Errorf("%s: %q, %q", tt.name, got, advice)
		}
	}
}

// FuzzRemedies holds that nothing that a runtime says acts in a command.
func FuzzRemedies(f *testing.F) {
	for _, tt := range remedies {
		if c := tt.c; c != nil {
			var p workload.Pod
			if c.Pod != nil {
				p = *c.Pod
			}
			f.Add(tt.path, c.Runtime, c.Namespace, c.Name, c.Image, c.Labels[labelComposeProject], c.Labels[labelComposeService], c.Labels[labelPodmanUnit], p.Namespace, p.Name, p.OwnerKind, p.OwnerName)
		}
	}
	f.Fuzz(func(t *testing.T, path, runtime, namespace, name, image, one, two, unit, podNamespace, podName, kind, owner string) {
		c := workload.Container{ID: id1, Runtime: runtime, Namespace: namespace, Name: name, Image: image, Labels: map[string]string{
			labelComposeProject: one, labelComposeService: two, labelSwarmService: two, labelNerdctlName: one, labelPodmanUnit: unit, labelContainerName: two,
		}}
		if podName != "" {
			c.Pod = &workload.Pod{Namespace: podNamespace, Name: podName, UID: uid, OwnerKind: kind, OwnerName: owner}
		}
		before := c
		p := in(path)
		w, ok := New(knows(c)).Identify(p)
		if err := workloadtest.Check(workload.Process{}, w, ok); err != nil {
			t.Fatal(err)
		}
		command, advice := Redeploy(c)
		if len(command) == 0 && advice == "" {
			t.Fatal("neither a command nor an advice")
		}
		if !reflect.DeepEqual(c, before) {
			t.Fatal("the container was written to")
		}
		for _, command := range [][]string{w.Command, command} {
			for i, arg := range command {
				if arg == "" || strings.ContainsFunc(arg, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
					t.Fatalf("argument %q of %q", arg, command)
				}
				switch arg {
				case "-n", "-p", "-d", "--namespace", "--force", "--image", "--user":
					continue // ours: data is refused that begins with "-"
				}
				if strings.HasPrefix(arg, "-") && !(i == 2 && command[0] == "systemctl" && strings.HasPrefix(arg, "--machine=")) {
					t.Fatalf("argument %q of %q", arg, command)
				}
			}
			for _, data := range []string{namespace, name, image, one, two, unit, podNamespace, podName, owner} {
				if strings.HasPrefix(data, "-") && slices.Contains(command, data) && !slices.Contains([]string{"-n", "-p", "-d", "--namespace", "--force", "--image", "--user"}, data) {
					t.Fatalf("%q is data in %q", data, command)
				}
			}
		}
	})
}
