package cri

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// maxContainers bounds the containers and sandboxes of one machine. The kubelet's
// limit is 110 pods unless told otherwise; ended containers stay a while.
const maxContainers = 8192

// ErrTooMany says that a runtime has more containers than are listed.
var ErrTooMany = errors.New("more containers than are listed")

// Containers lists the containers and sandboxes, ended ones too. A sandbox has no
// image, and a PID is known of running containers only. Of a container whose state the
// runtime does not tell in time the PID is missing. Beside ErrTooMany, and when the
// context ends while PIDs are asked for, what is known is returned.
func (s *Source) Containers(ctx context.Context) ([]workload.Container, error) {
	if err := s.learnName(ctx); err != nil {
		return nil, err
	}
	sandboxes, err := s.runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return nil, fmt.Errorf("cri: list sandboxes: %w", failed(ctx, err))
	}
	listed, err := s.runtime.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("cri: list containers: %w", failed(ctx, err))
	}

	name := s.Name()
	var all []workload.Container
	var tooMany error
	for _, sandbox := range sandboxes.GetItems() {
		if len(all) == maxContainers {
			tooMany = fmt.Errorf("cri: %w", ErrTooMany)
			break
		}
		if c, ok := fromSandbox(sandbox); ok {
			c.Runtime = name
			all = append(all, c)
		}
	}
	// Containers have room of their own, so sandboxes do not crowd them out.
	first := len(all)
	for _, container := range listed.GetContainers() {
		if len(all)-first == maxContainers {
			tooMany = fmt.Errorf("cri: %w", ErrTooMany)
			break
		}
		if c, ok := fromContainer(container); ok {
			c.Runtime = name
			all = append(all, c)
		}
	}
	workload.JoinSandboxes(all)
	return all, errors.Join(s.statuses(ctx, all[first:]), tooMany)
}

func fromSandbox(s *cri.PodSandbox) (workload.Container, bool) {
	meta := s.GetMetadata()
	return workload.Container{
		ID:      s.GetId(),
		Name:    bounded(meta.GetName()),
		Labels:  boundedLabels(s.GetLabels()),
		Created: nanoseconds(s.GetCreatedAt()),
		Running: s.GetState() == cri.PodSandboxState_SANDBOX_READY,
		Pod:     podOf(meta, s.GetLabels(), s.GetAnnotations()),
		Sandbox: true,
	}, isPlain(s.GetId())
}

// podOf believes labels only if they agree with what the runtime was told beside them:
// the kubelet sets both alike.
func podOf(meta *cri.PodSandboxMetadata, labels, annotations map[string]string) *workload.Pod {
	p := workload.PodOf(labels, annotations)
	if p == nil || p.Name != meta.GetName() || p.Namespace != meta.GetNamespace() || p.UID != meta.GetUid() {
		return nil
	}
	return p
}

func fromContainer(c *cri.Container) (workload.Container, bool) {
	image := c.GetImage().GetUserSpecifiedImage()
	if image == "" {
		image = c.GetImage().GetImage()
	}
	imageID := c.GetImageId()
	if imageID == "" {
		imageID = c.GetImageRef() // before Kubernetes 1.29
	}
	return workload.Container{
		ID:      c.GetId(),
		Name:    bounded(c.GetMetadata().GetName()),
		Image:   bounded(image),
		ImageID: bounded(imageID),
		Labels:  boundedLabels(c.GetLabels()),
		Created: nanoseconds(c.GetCreatedAt()),
		Running: c.GetState() == cri.ContainerState_CONTAINER_RUNNING,
		Pod:     workload.PodOf(c.GetLabels(), c.GetAnnotations()),
	}, isPlain(c.GetId())
}

// A runtime that answers for none of its containers must not be waited for once each.
const (
	statusTimeout = 2 * time.Second
	maxTimeouts   = 3
)

// status is what a list does not tell. It holds for as long as the container runs: a
// container of this interface is started once.
type status struct {
	pid         int
	snapshotter string
	// image is a reference that named the image when the container was first seen,
	// where the list tells only the image's ID.
	image string
}

// statuses adds what ContainerStatus tells of the running containers, and forgets the
// others.
func (s *Source) statuses(ctx context.Context, all []workload.Container) error {
	known := make(map[string]status)
	timeouts := 0
	var ended error // of the whole, not of one call
	for i := range all {
		c := &all[i]
		if !c.Running {
			continue
		}
		st, ok := s.lookup(c.ID)
		if !ok && timeouts < maxTimeouts && ended == nil {
			deadline, limited := ctx.Deadline()
			limited = limited && time.Until(deadline) < s.statusTimeout
			var err error
			st, err = s.status(ctx, c.ID)
			switch {
			case err == nil:
				ok = true
			case ctx.Err() != nil:
				ended = ctx.Err()
			case grpcstatus.Code(err) == codes.DeadlineExceeded && limited:
				ended = context.DeadlineExceeded
			case grpcstatus.Code(err) == codes.DeadlineExceeded:
				timeouts++
			}
		}
		if !ok {
			continue
		}
		if st.pid > 0 {
			known[c.ID] = st
		}
		c.PID, c.Rootfs.Driver = st.pid, st.snapshotter
		if st.image != "" && (c.Image == "" || c.Image == c.ImageID) {
			c.Image = st.image
		}
	}
	s.mu.Lock()
	s.known = known
	s.mu.Unlock()
	if ended != nil {
		return fmt.Errorf("cri: container status: %w", ended)
	}
	return nil
}

func (s *Source) lookup(id string) (status, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, ok := s.known[id]
	return st, ok
}

// status asks for one container. One that is gone meanwhile is an error too.
func (s *Source) status(ctx context.Context, id string) (status, error) {
	ctx, cancel := context.WithTimeout(ctx, s.statusTimeout)
	defer cancel()
	r, err := s.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return status{}, err
	}
	st := parseStatus(r.GetInfo())
	if r.GetStatus().GetId() != id {
		return status{}, errors.New("the answer is about another container")
	}
	if image := r.GetStatus().GetImage(); image.GetUserSpecifiedImage() != "" {
		st.image = bounded(image.GetUserSpecifiedImage())
	} else {
		st.image = bounded(image.GetImage())
	}
	return st, nil
}

// nanoseconds since 1970, as all times of the interface are; zero is unknown.
func nanoseconds(n int64) time.Time {
	if n <= 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
