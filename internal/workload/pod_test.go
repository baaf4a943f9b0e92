package workload

import (
	"reflect"
	"strings"
	"testing"
)

const podUID = "2f3e1c9a-7b1d-4c55-9b0e-6d1f0a2b3c4d"

// sandboxLabels are the labels of a pod's sandbox: the kubelet's and the pod's own.
func sandboxLabels(name string, own ...string) map[string]string {
	labels := map[string]string{labelPodNamespace: "shop", labelPodName: name, labelPodUID: podUID}
	for i := 0; i+1 < len(own); i += 2 {
		labels[own[i]] = own[i+1]
	}
	return labels
}

func TestPodOf(t *testing.T) {
	tests := []struct {
		name        string
		labels      map[string]string
		annotations map[string]string
		kind, owner string
	}{
		{"Deployment", sandboxLabels("web-7d4b9c8f6d-x2x9k", "app", "web", labelTemplateHash, "7d4b9c8f6d"), nil, "Deployment", "web"},
		{"Deployment with dashes", sandboxLabels("my-web-app-5f6c-bcdfg", labelTemplateHash, "5f6c"), nil, "Deployment", "my-web-app"},
		{"Deployment, name cut", sandboxLabels(strings.Repeat("a", 57)+"-x2x9k", labelTemplateHash, "7d4b9c8f6d"), nil, "", ""},
		{"Deployment, no name left", sandboxLabels("-7d4b-x2x9k", labelTemplateHash, "7d4b"), nil, "", ""},
		{"Deployment, another hash", sandboxLabels("web-7d4b9c8f6e-x2x9k", labelTemplateHash, "7d4b9c8f6d"), nil, "", ""},
		{"Deployment, not random", sandboxLabels("web-7d4b-aeiou", labelTemplateHash, "7d4b"), nil, "", ""},
		{"StatefulSet", sandboxLabels("db-0", labelStatefulPod, "db-0", labelRevisionHash, "db-6b8f9c7d5", "apps.kubernetes.io/pod-index", "0"), nil, "StatefulSet", "db"},
		{"StatefulSet, two digits", sandboxLabels("my-db-12", labelStatefulPod, "my-db-12", labelRevisionHash, "my-db-6b8f9c7d5"), nil, "StatefulSet", "my-db"},
		{"StatefulSet, another's label", sandboxLabels("db-0", labelStatefulPod, "web-0", labelRevisionHash, "db-6b8f9c7d5"), nil, "", ""},
		{"StatefulSet, another's revision", sandboxLabels("db-0", labelStatefulPod, "db-0", labelRevisionHash, "web-6b8f9c7d5"), nil, "", ""},
		{"StatefulSet without ordinal", sandboxLabels("db", labelStatefulPod, "db", labelRevisionHash, "db-1"), nil, "", ""},
		{"DaemonSet", sandboxLabels("kube-proxy-b4zx2", labelRevisionHash, "6c4d5b7f9", labelTemplateGeneration, "1"), nil, "DaemonSet", "kube-proxy"},
		{"DaemonSet, renamed", sandboxLabels("kube-proxy", labelRevisionHash, "6c4d5b7f9", labelTemplateGeneration, "1"), nil, "", ""},
		{"revision alone", sandboxLabels("x-b4zx2", labelRevisionHash, "6c4d5b7f9"), nil, "", ""},
		{"Job", sandboxLabels("backup-28712345-x2x9k", labelJob, "backup-28712345", labelJobOld, "backup-28712345"), nil, "Job", "backup-28712345"},
		{"Job before 1.27", sandboxLabels("backup-x2x9k", labelJobOld, "backup"), nil, "Job", "backup"},
		{"indexed Job", sandboxLabels("work-3-x2x9k", labelJob, "work"), nil, "Job", "work"},
		{"another's Job", sandboxLabels("web-1", labelJob, "backup"), nil, "", ""},
		{"static", sandboxLabels("etcd-node1", "component", "etcd"), map[string]string{annotationSource: "file"}, "Node", ""},
		{"static by URL", sandboxLabels("etcd-node1"), map[string]string{annotationSource: "http"}, "Node", ""},
		{"static with a Deployment's labels", sandboxLabels("web-7d4b-x2x9k", labelTemplateHash, "7d4b"), map[string]string{annotationSource: "file"}, "Node", ""},
		{"from the API", sandboxLabels("web"), map[string]string{annotationSource: "api"}, "", ""},
		{"bare", sandboxLabels("debug"), nil, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := Pod{Namespace: "shop", Name: tt.labels[labelPodName], UID: podUID, OwnerKind: tt.kind, OwnerName: tt.owner}
			if got := PodOf(tt.labels, tt.annotations); got == nil || *got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestPodOfNone(t *testing.T) {
	for name, labels := range map[string]map[string]string{
		"none":    nil,
		"another": {"app": "web"},
		"no UID":  {labelPodNamespace: "shop", labelPodName: "web"},
		"no name": {labelPodNamespace: "shop", labelPodUID: podUID},
		"long":    {labelPodNamespace: "shop", labelPodName: strings.Repeat("a", maxPodWord+1), labelPodUID: podUID},
	} {
		if got := PodOf(labels, nil); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestJoinSandboxes(t *testing.T) {
	of := func(uid, name string) *Pod { return &Pod{Namespace: "shop", Name: name, UID: uid} }
	owned := func(uid, name, kind, owner string) *Pod {
		return &Pod{Namespace: "shop", Name: name, UID: uid, OwnerKind: kind, OwnerName: owner}
	}
	shared := of("1", "web-0")
	containers := []Container{
		{ID: "a", Pod: shared},
		{ID: "plain"},
		{ID: "s", Sandbox: true, Pod: owned("1", "web-0", "StatefulSet", "web")},
		{ID: "s of an earlier attempt", Sandbox: true, Pod: of("1", "web-0")},
		{ID: "b", Pod: of("2", "db-0")},
		{ID: "impostor", Pod: owned("2", "db-0", "Deployment", "db")},
		{ID: "another name", Pod: of("1", "web-1")},
		{ID: "own", Pod: owned("1", "web-0", "Job", "x")},
	}
	JoinSandboxes(containers)
	for i, want := range []*Pod{
		owned("1", "web-0", "StatefulSet", "web"), nil, owned("1", "web-0", "StatefulSet", "web"), owned("1", "web-0", "StatefulSet", "web"),
		of("2", "db-0"), owned("2", "db-0", "Deployment", "db"), of("1", "web-1"), owned("1", "web-0", "Job", "x"),
	} {
		if got := containers[i].Pod; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", containers[i].ID, got, want)
		}
	}
	if shared.OwnerKind != "" {
		t.Error("a pod that others may read was written to")
	}
	JoinSandboxes(nil)
}

func FuzzPodOf(f *testing.F) {
	f.Add("web-7d4b9c8f6d-x2x9k", "7d4b9c8f6d", "", "", "", "", "")
	f.Add("db-0", "", "db-6b8f9c7d5", "", "db-0", "", "")
	f.Add("kube-proxy-b4zx2", "", "6c4d5b7f9", "1", "", "", "")
	f.Add("backup-x2x9k", "", "", "", "", "backup", "")
	f.Add("etcd-node1", "", "", "", "", "", "file")
	f.Fuzz(func(t *testing.T, name, template, revision, generation, stateful, job, source string) {
		labels := sandboxLabels(name, labelTemplateHash, template, labelRevisionHash, revision,
			labelTemplateGeneration, generation, labelStatefulPod, stateful, labelJob, job)
		p := PodOf(labels, map[string]string{annotationSource: source})
		if p == nil {
			if name != "" && len(name) <= maxPodWord {
				t.Fatal("no pod")
			}
			return
		}
		if p.Name != name || p.UID != podUID || p.Namespace != "shop" {
			t.Fatalf("%+v", p)
		}
		// What controls a pod has a name that the pod's begins with.
		if p.OwnerName != "" && !strings.HasPrefix(name, p.OwnerName+"-") {
			t.Fatalf("%+v", p)
		}
		if p.OwnerKind == "" && p.OwnerName != "" || p.OwnerName == "" && p.OwnerKind != "" && p.OwnerKind != "Node" {
			t.Fatalf("%+v", p)
		}
	})
}
