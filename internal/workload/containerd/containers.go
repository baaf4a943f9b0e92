package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// kubernetes is the namespace of containerd's CRI service, a constant there.
// Labels of a container come from its image too, with nerdctl and ctr, so what
// they say of pods is believed nowhere else.
const kubernetes = "k8s.io"

// Containers lists the containers of all namespaces, Docker's "moby" among them,
// ordered by namespace and ID. The ID of an image is the digest that its name
// points to, of an index or of a manifest, as "ctr images ls" prints it. How it
// is found out is told at [Source.Image]; it is empty if no image in the store is
// the one that the container was made from.
func (s *Source) Containers(ctx context.Context) (_ []workload.Container, err error) {
	defer because(ctx, &err)
	namespaces, err := s.listNamespaces(ctx)
	if err != nil {
		return nil, err
	}
	var all []workload.Container
	for _, ns := range namespaces {
		found, err := s.containersIn(ctx, ns, maxContainers-len(all))
		if err != nil {
			return nil, fmt.Errorf("containerd: namespace %s: %w", ns, err)
		}
		all = append(all, found...)
	}
	workload.JoinSandboxes(all)
	slices.SortFunc(all, func(a, b workload.Container) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

func (s *Source) containersIn(ctx context.Context, ns string, limit int) ([]workload.Container, error) {
	ctx = within(ctx, ns)
	records, err := s.records(ctx, limit)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	tasks, err := s.tasksIn(ctx)
	if err != nil {
		return nil, err
	}
	known, err := s.imagesIn(ctx, ns)
	if err != nil {
		return nil, err
	}
	all := make([]workload.Container, 0, len(records))
	for _, r := range records {
		c := describe(r, ns)
		if t, ok := tasks[c.ID]; ok {
			c.PID, c.Running = process(t)
		}
		if r.snapshot, err = s.snapshotOf(ctx, r); err != nil {
			return nil, err
		}
		root, err := s.rootOf(ctx, r.snapshot)
		if err != nil {
			return nil, err
		}
		c.Rootfs = root.rootfs
		made, ok, err := s.find(ctx, known, c.Image, root.chain)
		if err != nil {
			return nil, err
		}
		if ok {
			c.ImageID = made.image.target.Digest.String()
		}
		s.learn(ctx, ns, r.snapshot.snapshotter, root)
		all = append(all, c)
	}
	return all, nil
}

// record is what is needed of a container's record. The rest, above all its OCI
// specification, is neither parsed nor kept.
type record struct {
	id, image string
	labels    map[string]string
	created   time.Time
	snapshot  snapshot
}

func recordOf(c *containersapi.Container) record {
	return record{
		id: c.GetID(), image: clip(c.GetImage()), labels: c.GetLabels(), created: timeOf(c.GetCreatedAt()),
		snapshot: snapshot{snapshotter: c.GetSnapshotter(), key: c.GetSnapshotKey()},
	}
}

// records lists the containers of a namespace, one message a container.
func (s *Source) records(ctx context.Context, limit int) ([]record, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.containers.ListStream(ctx, &containersapi.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("containers: %w", err)
	}
	var all []record
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF), missing(err):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("containers: %w", err)
		}
		r := recordOf(m.GetContainer())
		if r.id == "" || len(r.id) > maxID {
			continue
		}
		if len(all) == limit {
			return nil, fmt.Errorf("more than %d containers", maxContainers)
		}
		r.labels = bounded(r.labels)
		all = append(all, r)
	}
}

// tasksIn lists the tasks of a namespace by container ID: what runs, or ran and
// was not deleted yet.
func (s *Source) tasksIn(ctx context.Context) (map[string]*tasktypes.Process, error) {
	r, err := s.tasks.List(ctx, &tasksapi.ListTasksRequest{})
	if err != nil && !missing(err) {
		return nil, fmt.Errorf("tasks: %w", err)
	}
	tasks := make(map[string]*tasktypes.Process, len(r.GetTasks()))
	for _, t := range r.GetTasks() {
		tasks[cmp.Or(t.GetContainerID(), t.GetID())] = t
	}
	return tasks, nil
}

// process reads a task. One that has ended keeps its number, which may be another
// process's by now.
func process(t *tasktypes.Process) (pid int, running bool) {
	switch t.GetStatus() {
	case tasktypes.Status_STOPPED:
		return 0, false
	case tasktypes.Status_RUNNING, tasktypes.Status_PAUSED, tasktypes.Status_PAUSING:
		running = true
	}
	return int(t.GetPid()), running
}

// describe reads what a record says by itself.
func describe(r record, ns string) workload.Container {
	c := workload.Container{
		Runtime: runtimeName, Namespace: ns, ID: r.id, Image: r.image, Labels: r.labels, Created: r.created,
	}
	c.Name = cmp.Or(r.labels["nerdctl/name"], r.labels["io.kubernetes.container.name"], r.id)
	if ns != kubernetes {
		return c
	}
	c.Pod = workload.PodOf(r.labels, nil)
	c.Sandbox = r.labels["io.cri-containerd.kind"] == "sandbox"
	return c
}

// named are the labels that are read here. They are kept before any others.
var named = []string{
	dockerLabel, "nerdctl/name", "io.kubernetes.container.name", "io.cri-containerd.kind",
	"io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.pod.uid",
}

// bounded copies labels, at most maxLabels of them and none that is too long.
func bounded(labels map[string]string) map[string]string {
	if len(labels) == 0 {
		return nil
	}
	kept := make(map[string]string, min(len(labels), maxLabels))
	keep := func(key string) {
		value, ok := labels[key]
		if ok && len(kept) < maxLabels && len(key) <= maxString && len(value) <= maxString {
			kept[key] = value
		}
	}
	for _, key := range named {
		keep(key)
	}
	rest := make([]string, 0, len(labels))
	for key := range labels {
		rest = append(rest, key)
	}
	slices.Sort(rest)
	for _, key := range rest {
		keep(key)
	}
	return kept
}

// clip drops a name that is too long: half of one would name another thing.
func clip(name string) string {
	if len(name) > maxString {
		return ""
	}
	return name
}

// timeOf is the zero time where the daemon tells none, or none that there is.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if !t.IsValid() {
		return time.Time{}
	}
	return t.AsTime()
}
