package cri

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/patchsensor/patchsensor/internal/workload"
)

const (
	webID     = "4f1a6c3b9d2e8f7051a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708"
	sandboxID = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	oldID     = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"
	podUID    = "2f3e1c9a-7b1d-4c55-9b0e-6d1f0a2b3c4d"
	podName   = "web-7d4b9c8f6d-x2x9k"
	imageID   = "sha256:" + webID
)

func kubeletLabels(more ...string) map[string]string {
	labels := map[string]string{"io.kubernetes.pod.name": podName, "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": podUID}
	for i := 0; i+1 < len(more); i += 2 {
		labels[more[i]] = more[i+1]
	}
	return labels
}

// likeCRIO answers as CRI-O 1.34 does, likeContainerd as containerd 2.2 does.
func likeCRIO(t testing.TB) *fake {
	return &fake{
		name: "cri-o",
		sandboxes: []*cri.PodSandbox{{
			Id: sandboxID, State: cri.PodSandboxState_SANDBOX_READY, CreatedAt: 1e18,
			Metadata:    &cri.PodSandboxMetadata{Name: podName, Namespace: "shop", Uid: podUID},
			Labels:      kubeletLabels("app", "web", "pod-template-hash", "7d4b9c8f6d"),
			Annotations: map[string]string{"kubernetes.io/config.source": "api"},
		}},
		containers: []*cri.Container{
			{
				Id: webID, PodSandboxId: sandboxID, State: cri.ContainerState_CONTAINER_RUNNING, CreatedAt: 1e18 + 5,
				Metadata: &cri.ContainerMetadata{Name: "nginx"},
				Image:    &cri.ImageSpec{Image: "docker.io/library/nginx:1.25"}, ImageRef: "docker.io/library/nginx@" + imageID, ImageId: webID,
				Labels: kubeletLabels("io.kubernetes.container.name", "nginx"),
			},
			{
				Id: oldID, PodSandboxId: sandboxID, State: cri.ContainerState_CONTAINER_EXITED,
				Metadata: &cri.ContainerMetadata{Name: "init"}, Image: &cri.ImageSpec{Image: "busybox"}, ImageRef: imageID,
				Labels: kubeletLabels("io.kubernetes.container.name", "init"),
			},
		},
		status: map[string]*cri.ContainerStatusResponse{webID: {Status: &cri.ContainerStatus{Id: webID, Image: &cri.ImageSpec{Image: "other"}}, Info: golden(t, "crio-container.json")}},
		images: map[string]*cri.ImageStatusResponse{
			webID:                          {Image: &cri.Image{Id: webID, RepoDigests: []string{"docker.io/library/nginx@" + imageID}}, Info: golden(t, "crio-image.json")},
			"docker.io/library/nginx:1.25": {Image: &cri.Image{Id: oldID, RepoTags: []string{"docker.io/library/nginx:1.25"}}},
		},
		// enable_pod_events = false
		events: func(cri.RuntimeService_GetContainerEventsServer) error { return nil },
	}
}

func likeContainerd(t testing.TB) *fake {
	f := likeCRIO(t)
	f.name = "containerd"
	web := f.containers[0]
	// The kubelet asks for the ID that it has resolved the reference to.
	web.Image, web.ImageRef, web.ImageId = &cri.ImageSpec{Image: imageID, UserSpecifiedImage: "nginx:1.25"}, imageID, imageID
	f.status[webID] = &cri.ContainerStatusResponse{Status: &cri.ContainerStatus{Id: webID, Image: &cri.ImageSpec{Image: "docker.io/library/nginx:1.25"}}, Info: golden(t, "containerd-container.json")}
	f.images[imageID] = &cri.ImageStatusResponse{Image: &cri.Image{Id: imageID, RepoTags: []string{"docker.io/library/nginx:1.25"}}, Info: golden(t, "containerd-image.json")}
	return f
}

func TestContainers(t *testing.T) {
	pod := &workload.Pod{Namespace: "shop", Name: podName, UID: podUID, OwnerKind: "Deployment", OwnerName: "web"}
	f := likeCRIO(t)
	s := serve(t, f)
	if s.Name() != "cri" {
		t.Errorf("called %q before it was asked", s.Name())
	}
	got, err := s.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []workload.Container{
		{Runtime: "cri-o", ID: sandboxID, Name: podName, Labels: f.sandboxes[0].Labels, Created: time.Unix(1e9, 0).UTC(), Running: true, Pod: pod, Sandbox: true},
		{Runtime: "cri-o", ID: webID, Name: "nginx", PID: 4711, Image: "docker.io/library/nginx:1.25", ImageID: webID, Labels: f.containers[0].Labels, Created: time.Unix(1e9, 5).UTC(), Running: true, Pod: pod},
		{Runtime: "cri-o", ID: oldID, Name: "init", Image: "busybox", ImageID: imageID, Labels: f.containers[1].Labels, Pod: pod},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if s.Name() != "cri-o" {
		t.Errorf("called %q", s.Name())
	}

	// What cannot change is not asked for again, what has ended is forgotten.
	if again, err := s.Containers(t.Context()); err != nil || !reflect.DeepEqual(again, want) || f.asks(webID) != 1 || f.asks(oldID) != 0 {
		t.Errorf("%v, asked %d and %d times: %+v", err, f.asks(webID), f.asks(oldID), again)
	}
	f.containers[0].State = cri.ContainerState_CONTAINER_EXITED
	if ended, err := s.Containers(t.Context()); err != nil || ended[1].PID != 0 || ended[1].Running || len(s.known) != 0 {
		t.Errorf("%v, %+v", err, ended)
	}
}

func TestContainersOfContainerd(t *testing.T) {
	f := likeContainerd(t)
	s := serve(t, f)
	got, err := s.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := got[1]; c.Runtime != "containerd" || c.PID != 815 || c.Image != "nginx:1.25" || c.ImageID != imageID || c.Rootfs.Driver != "overlayfs" {
		t.Errorf("got %+v", c)
	}

	// A kubelet before 1.29 leaves the reference to the image's own names.
	f.containers[0].Image.UserSpecifiedImage = ""
	if got, err := serve(t, f).Containers(t.Context()); err != nil || got[1].Image != "docker.io/library/nginx:1.25" {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestImage(t *testing.T) {
	s := serve(t, likeContainerd(t))
	image, err := s.Image(t.Context(), workload.Container{ImageID: imageID})
	want := workload.Image{ID: imageID, Names: []string{"docker.io/library/nginx:1.25"},
		Created: time.Date(2026, 5, 3, 10, 0, 1, 5e8, time.UTC),
		Layers: []workload.Layer{
			{Digest: "sha256:" + sandboxID, CreatedBy: "ADD rootfs.tar / # buildkit"},
			{Digest: "sha256:" + oldID, CreatedBy: "RUN apt-get install nginx"},
		}}
	if err != nil || !reflect.DeepEqual(image, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, image, want)
	}

	// An untagged image, whose history does not tell which layer is whose.
	image, err = s.Image(t.Context(), workload.Container{ImageID: webID})
	if err != nil || len(image.Names) != 0 || len(image.Layers) != 1 || image.Layers[0].CreatedBy != "" {
		t.Errorf("%v %+v", err, image)
	}
	current, err := s.Current(t.Context(), workload.Container{Image: "docker.io/library/nginx:1.25", ImageID: webID})
	if err != nil || current.ID != oldID || current.Layers != nil {
		t.Errorf("%v %+v", err, current)
	}
}

func TestNoImage(t *testing.T) {
	notFound := likeCRIO(t)
	notFound.imageErr = grpcstatus.Error(codes.NotFound, "no such image")
	for name, f := range map[string]*fake{"no image in the answer": likeCRIO(t), "not found": notFound} {
		s := serve(t, f)
		for _, c := range []workload.Container{{Image: "gone", ImageID: "gone"}, {}, {Image: strings.Repeat("x", maxString+1), ImageID: strings.Repeat("x", maxString+1)}} {
			if _, err := s.Image(t.Context(), c); !errors.Is(err, workload.ErrNoImage) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := s.Current(t.Context(), c); !errors.Is(err, workload.ErrNoImage) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	broken := likeCRIO(t)
	broken.imageErr = grpcstatus.Error(codes.Internal, "disk")
	broken.images["anonymous"] = &cri.ImageStatusResponse{Image: &cri.Image{}}
	s := serve(t, broken)
	for _, ref := range []string{"x", "anonymous"} {
		if _, err := s.Current(t.Context(), workload.Container{Image: ref}); err == nil || errors.Is(err, workload.ErrNoImage) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestHostileAnswers(t *testing.T) {
	f := likeCRIO(t)
	f.name = "\x1b[31mcri"
	long := strings.Repeat("x", maxString+1)
	many := make(map[string]string)
	for i := range maxLabels + 1 {
		many[fmt.Sprint(i)] = ""
	}
	f.sandboxes = append(f.sandboxes,
		&cri.PodSandbox{}, nil,
		// The labels name another pod than the runtime was told.
		&cri.PodSandbox{Id: "liar", Labels: kubeletLabels("pod-template-hash", "7d4b9c8f6d"), Metadata: &cri.PodSandboxMetadata{Name: "x", Namespace: "shop", Uid: podUID}})
	running := cri.ContainerState_CONTAINER_RUNNING
	f.containers = []*cri.Container{
		nil, {}, {Id: "../../etc"}, {Id: "-x"}, {Id: "a\x1b[31m"}, {Id: strings.Repeat("a", maxID+1)},
		{Id: "bare", State: running, CreatedAt: -1},
		{Id: "long", State: running, Metadata: &cri.ContainerMetadata{Name: long}, Image: &cri.ImageSpec{Image: long}, ImageId: long, Labels: map[string]string{"a": long, long: "", "b": "\x1b"}},
		{Id: "labels", Labels: many},
		{Id: "huge-pid", State: running}, {Id: "negative-pid", State: running}, {Id: "text-pid", State: running}, {Id: "other", State: running}, {Id: "junk", State: running},
	}
	info := func(id, json string) *cri.ContainerStatusResponse {
		return &cri.ContainerStatusResponse{Status: &cri.ContainerStatus{Id: id, Image: &cri.ImageSpec{Image: long}}, Info: map[string]string{"info": json}}
	}
	f.status = map[string]*cri.ContainerStatusResponse{
		"huge-pid": info("huge-pid", `{"pid":4194305,"snapshotter":"../x"}`), "negative-pid": info("negative-pid", `{"pid":-1}`), "text-pid": info("text-pid", `{"pid":"1"}`),
		"other": info("another", `{"pid":1}`), "junk": info("junk", strings.Repeat("[", 1<<20)), "bare": {}, "long": info("long", `{"pid":7}`),
	}
	s := serve(t, f)
	got, err := s.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Name() != "cri" {
		t.Errorf("called %q", s.Name())
	}
	ids := ""
	for _, c := range got {
		ids += " " + c.ID
		if c.PID != 0 && c.ID != "long" || c.Rootfs.Driver != "" || len(c.Name) > maxString || len(c.Image) > maxString || len(c.ImageID) > maxString || len(c.Labels) > maxLabels {
			t.Errorf("%+v", c)
		}
		switch c.ID {
		case "liar":
			if c.Pod != nil {
				t.Errorf("%+v", c.Pod)
			}
		case "bare":
			if !c.Created.IsZero() {
				t.Errorf("created %v", c.Created)
			}
		case "long":
			if c.PID != 7 || !reflect.DeepEqual(c.Labels, map[string]string{"b": "\x1b"}) {
				t.Errorf("%+v", c)
			}
		}
	}
	if want := " " + sandboxID + " liar bare long labels huge-pid negative-pid text-pid other junk"; ids != want {
		t.Errorf("got%s", ids)
	}
}

func TestEndlessLists(t *testing.T) {
	f := likeCRIO(t)
	for i := range maxContainers + 1 {
		f.containers = append(f.containers, &cri.Container{Id: fmt.Sprint("c", i)})
		f.sandboxes = append(f.sandboxes, &cri.PodSandbox{Id: fmt.Sprint("s", i)})
	}
	s := serve(t, f)
	if got, err := s.Containers(t.Context()); !errors.Is(err, ErrTooMany) || len(got) != 2*maxContainers || got[maxContainers+1].ID != oldID && got[maxContainers].ID != webID {
		t.Errorf("%d containers, %v", len(got), err)
	}

	f.containers = []*cri.Container{{Id: "big", Labels: map[string]string{"a": strings.Repeat("x", maxMessage)}}}
	if _, err := s.Containers(t.Context()); grpcstatus.Code(errors.Unwrap(err)) != codes.ResourceExhausted {
		t.Errorf("an answer above the limit: %v", err)
	}
}

func TestHanging(t *testing.T) {
	for _, call := range []string{"version", "sandboxes", "containers", "image"} {
		f := likeCRIO(t)
		f.hang = map[string]bool{call: true}
		s := serve(t, f)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := s.Containers(ctx)
		if call == "image" {
			_, err = s.Image(ctx, workload.Container{ImageID: webID})
		}
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", call, err)
		}
	}
	// A runtime that tells no container's state still tells what there is.
	f := likeCRIO(t)
	f.hang = map[string]bool{"status": true}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got, err := serve(t, f).Containers(ctx); !errors.Is(err, context.DeadlineExceeded) || len(got) != 3 {
		t.Errorf("%d containers, %v", len(got), err)
	}
}

func TestStatusesHangButNotForever(t *testing.T) {
	f := likeCRIO(t)
	f.hang = map[string]bool{"status": true}
	f.containers = nil
	for i := range 20 {
		f.containers = append(f.containers, &cri.Container{Id: fmt.Sprint("c", i), State: cri.ContainerState_CONTAINER_RUNNING})
	}
	s := serve(t, f)
	s.statusTimeout = 20 * time.Millisecond
	got, err := s.Containers(t.Context())
	asked := 0
	for _, c := range f.containers {
		asked += f.asks(c.Id)
	}
	if err != nil || len(got) != 21 || asked != maxTimeouts {
		t.Errorf("%d containers, %v, asked %d times", len(got), err, asked)
	}
}

func TestWatch(t *testing.T) {
	f := likeCRIO(t)
	sent := make(chan struct{})
	f.events = func(s cri.RuntimeService_GetContainerEventsServer) error {
		for range 2 {
			if err := s.Send(&cri.ContainerEventResponse{ContainerId: webID}); err != nil {
				return err
			}
		}
		close(sent)
		<-s.Context().Done()
		return nil
	}
	s := serve(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := s.Watch(ctx, func() {
		if calls++; calls == 3 {
			<-sent
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestWatchEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		events func(cri.RuntimeService_GetContainerEventsServer) error
		none   bool
	}{
		"unknown call":    {nil, true},
		"CRI-O's default": {func(cri.RuntimeService_GetContainerEventsServer) error { return nil }, true},
		"the runtime ends": {func(s cri.RuntimeService_GetContainerEventsServer) error {
			return s.Send(&cri.ContainerEventResponse{})
		}, false},
		"an error": {func(cri.RuntimeService_GetContainerEventsServer) error { return errors.New("broken") }, false},
		"a huge event": {func(s cri.RuntimeService_GetContainerEventsServer) error {
			return s.Send(&cri.ContainerEventResponse{ContainerId: strings.Repeat("x", maxMessage)})
		}, false},
	} {
		f := likeCRIO(t)
		f.events = tt.events
		if err := serve(t, f).Watch(t.Context(), func() {}); err == nil || errors.Is(err, ErrNoEvents) != tt.none {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNew(t *testing.T) {
	for _, socket := range []string{"", "crio.sock", "unix:///run/crio.sock", "/" + strings.Repeat("x", maxSocket)} {
		if _, err := New(socket); err == nil {
			t.Errorf("%q was taken", socket)
		}
	}
	s, err := New(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Containers(t.Context()); grpcstatus.Code(errors.Unwrap(err)) != codes.Unavailable {
		t.Errorf("nobody listens: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Containers(t.Context()); err == nil {
		t.Error("an answer after Close")
	}
}

func FuzzParseStatus(f *testing.F) {
	for _, name := range []string{"crio-container.json", "containerd-container.json"} {
		f.Add(golden(f, name)["info"])
	}
	f.Add(`{"pid":99999999999999999999}`)
	f.Add(`{"pid":1e3}`)
	f.Fuzz(func(t *testing.T, info string) {
		if st := parseStatus(map[string]string{"info": info}); st.pid < 0 || st.pid > maxPID || st.snapshotter != "" && !isPlain(st.snapshotter) {
			t.Fatalf("%+v", st)
		}
	})
}

func FuzzParseImage(f *testing.F) {
	for _, name := range []string{"crio-image.json", "containerd-image.json"} {
		f.Add(golden(f, name)["info"])
	}
	f.Add(`{"imageSpec":{"rootfs":{"diff_ids":["sha256:x"]}}}`)
	f.Fuzz(func(t *testing.T, info string) {
		layers, _ := parseImage(map[string]string{"info": info})
		if len(layers) > maxLayers {
			t.Fatalf("%d layers", len(layers))
		}
		for _, l := range layers {
			if !isDigest(l.Digest) || len(l.CreatedBy) > maxString || l.Dir != "" {
				t.Fatalf("%+v", l)
			}
		}
	})
}
