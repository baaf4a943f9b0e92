package workload

import "strings"

// The labels and annotations that the kubelet gives to containers and sandboxes
// (pkg/kubelet/kuberuntime/labels.go, k8s.io/kubelet/pkg/types/labels.go), and those by
// which controllers mark their pods. A sandbox has all labels and annotations of its
// pod besides, a container has only the kubelet's own.
const (
	labelPodName      = "io.kubernetes.pod.name"
	labelPodNamespace = "io.kubernetes.pod.namespace"
	labelPodUID       = "io.kubernetes.pod.uid"

	// k8s.io/api/apps/v1/types.go
	labelTemplateHash       = "pod-template-hash"
	labelRevisionHash       = "controller-revision-hash"
	labelTemplateGeneration = "pod-template-generation"
	labelStatefulPod        = "statefulset.kubernetes.io/pod-name"
	// k8s.io/api/batch/v1/types.go
	labelJob    = "batch.kubernetes.io/job-name"
	labelJobOld = "job-name"
	// pkg/kubelet/types/pod_update.go
	annotationSource = "kubernetes.io/config.source"
)

// maxPodWord is the longest of the words that a pod is told by: the annotations of a
// pod are bounded by 256 KiB only, but names by 253 bytes.
const maxPodWord = 253

// PodOf returns the pod that the labels and annotations of a container or sandbox tell
// of, nil if they tell of none. The owner is named only where labels and the pod's name
// agree; a container's own labels mostly name none, see JoinSandboxes. A static pod's
// owner is of the kind "Node" and has no name. All of it is hearsay: whoever creates a
// pod chooses its labels, and outside of Kubernetes an image may bring such labels.
func PodOf(labels, annotations map[string]string) *Pod {
	p := Pod{Namespace: labels[labelPodNamespace], Name: labels[labelPodName], UID: labels[labelPodUID]}
	for _, word := range []string{p.Namespace, p.Name, p.UID} {
		if word == "" || len(word) > maxPodWord {
			return nil
		}
	}
	p.OwnerKind, p.OwnerName = podOwner(p.Name, labels, annotations)
	if len(p.OwnerName) > maxPodWord {
		p.OwnerKind, p.OwnerName = "", ""
	}
	return &p
}

// podOwner tells the controller from what it labels its pods with and how it names
// them.
func podOwner(pod string, labels, annotations map[string]string) (kind, name string) {
	switch annotations[annotationSource] {
	case "file", "http":
		return "Node", ""
	}
	revision := labels[labelRevisionHash]
	if hash := labels[labelTemplateHash]; hash != "" {
		// The pods of a Deployment's ReplicaSet: DEPLOYMENT-HASH-xxxxx. Where the
		// name was too long, it was cut and the hash is not in it.
		set, generated := generatedFrom(pod)
		if name, ok := strings.CutSuffix(set, "-"+hash); generated && ok && name != "" {
			return "Deployment", name
		}
		return "", ""
	}
	if labels[labelStatefulPod] == pod && revision != "" {
		at := strings.LastIndexByte(pod, '-')
		if at > 0 && isNumber(pod[at+1:]) && strings.HasPrefix(revision, pod[:at]+"-") {
			return "StatefulSet", pod[:at]
		}
		return "", ""
	}
	if revision != "" && labels[labelTemplateGeneration] != "" {
		if name, ok := generatedFrom(pod); ok {
			return "DaemonSet", name
		}
		return "", ""
	}
	for _, label := range []string{labelJob, labelJobOld} {
		if name := labels[label]; name != "" && strings.HasPrefix(pod, name+"-") {
			return "Job", name
		}
	}
	return "", ""
}

// generatedFrom takes the five random characters off a generated name, and the "-"
// before them (k8s.io/apiserver/pkg/storage/names, k8s.io/apimachinery/pkg/util/rand).
func generatedFrom(name string) (base string, ok bool) {
	const random, characters = 5, "bcdfghjklmnpqrstvwxz2456789"
	at := len(name) - random - 1
	if at <= 0 || name[at] != '-' || strings.Trim(name[at+1:], characters) != "" {
		return "", false
	}
	return name[:at], true
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// JoinSandboxes gives the pods of containers the owner that the pod's sandbox tells of,
// by the pod's UID, as only a sandbox has the labels of its pod. The pods are replaced,
// not written to.
func JoinSandboxes(containers []Container) {
	owners := make(map[Pod]Pod)
	for _, c := range containers {
		if c.Sandbox && c.Pod != nil && c.Pod.OwnerKind != "" {
			owners[c.Pod.unowned()] = *c.Pod
		}
	}
	for i, c := range containers {
		if c.Pod == nil || c.Pod.OwnerKind != "" {
			continue
		}
		if p, ok := owners[c.Pod.unowned()]; ok {
			containers[i].Pod = &p
		}
	}
}

// unowned is what a pod's containers and its sandbox say alike.
func (p Pod) unowned() Pod {
	return Pod{Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}
