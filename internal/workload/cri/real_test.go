package cri

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/patchsensor/patchsensor/internal/workload"
	"github.com/patchsensor/patchsensor/internal/workload/container"
)

// TestRealRuntime asks a containerd of this machine about a pod that it runs.
func TestRealRuntime(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: a container runtime needs root")
	}
	for _, tool := range []string{"containerd", "ctr", "runc", "busybox"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED, NOT TESTED: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "cri")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := containerd(ctx, t, dir)
	layer := importImage(ctx, t, dir, socket, "patchsensor.test/box:1", "first")
	s, err := New(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })

	parent := "patchsensor-cri-" + strconv.Itoa(os.Getpid())
	t.Cleanup(func() { removeCgroup(t, parent) })
	pod := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: "web-7d4b9c8f6d-x2x9k", Namespace: "shop", Uid: podUID},
		Labels:   kubeletLabels("pod-template-hash", "7d4b9c8f6d"),
		Linux: &cri.LinuxPodSandboxConfig{CgroupParent: "/" + parent, SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
		}},
	}
	sandbox, err := s.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: pod})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if _, err := s.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: sandbox.GetPodSandboxId()}); err != nil {
			t.Error(err)
		}
		if _, err := s.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: sandbox.GetPodSandboxId()}); err != nil {
			t.Error(err)
		}
	})
	made, err := s.runtime.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: sandbox.GetPodSandboxId(), SandboxConfig: pod, Config: &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "box"}, Image: &cri.ImageSpec{Image: "patchsensor.test/box:1"},
		Labels: kubeletLabels("io.kubernetes.container.name", "box"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: made.GetContainerId()}); err != nil {
		t.Fatal(err)
	}

	all, err := s.Containers(ctx)
	if err != nil || len(all) != 2 || s.Name() != "containerd" {
		t.Fatalf("%s: %v, %+v", s.Name(), err, all)
	}
	c := all[1]
	if c.ID != made.GetContainerId() || c.Name != "box" || !c.Running || c.Image != "patchsensor.test/box:1" || c.Pod == nil || c.Pod.OwnerName != "web" || c.Created.IsZero() {
		t.Errorf("%+v, %+v", c, c.Pod)
	}
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.PID), "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	cgroups, err := workload.ParseCgroups(bytes.NewReader(text))
	if r, ok := container.Find(cgroups); err != nil || !ok || r.ID != c.ID {
		t.Errorf("process %d is in the container %+v, %v: %v\n%s", c.PID, r, ok, err, text)
	}

	image, err := s.Image(ctx, c)
	if err != nil || image.ID != c.ImageID || len(image.Layers) != 1 || image.Layers[0] != (workload.Layer{Digest: layer, CreatedBy: "made by a test"}) {
		t.Errorf("%v, %+v", err, image)
	}
	if same, err := s.Current(ctx, c); err != nil || same.ID != image.ID {
		t.Errorf("%v, %+v", err, same)
	}
	// The tag moves.
	next := importImage(ctx, t, dir, socket, "patchsensor.test/box:1", "second")
	for moved := false; !moved && ctx.Err() == nil; {
		now, err := s.Current(ctx, c)
		moved = err == nil && now.ID != image.ID && len(now.Layers) == 1 && now.Layers[0].Digest == next
	}
	if err := ctx.Err(); err != nil {
		t.Errorf("the reference names what it named: %v", err)
	}
	if _, err := s.Current(ctx, workload.Container{Image: "patchsensor.test/none:1"}); !errors.Is(err, workload.ErrNoImage) {
		t.Errorf("got %v", err)
	}
}

// removeCgroup removes what the pod's parent cgroup leaves in every hierarchy.
func removeCgroup(t *testing.T, name string) {
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		left, err := filepath.Glob(pattern + name)
		if err != nil {
			t.Error(err)
		}
		for _, dir := range left {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		}
	}
}

// containerd starts one below dir and returns its socket.
func containerd(ctx context.Context, t *testing.T, dir string) string {
	t.Helper()
	socket := filepath.Join(dir, "s")
	config := fmt.Sprintf(`version = 2
root = %q
state = %q
[grpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "patchsensor.test/box:1"
  restrict_oom_score_adj = true
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket, filepath.Join(dir, "opt"))
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("containerd", "--config", file)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	s, err := New(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for s.learnName(ctx) != nil {
		select {
		case <-ended:
			t.Fatal("containerd ended")
		case <-ctx.Done():
			t.Fatal("containerd does not answer")
		case <-time.After(50 * time.Millisecond):
		}
	}
	return socket
}

// importImage makes an image of one layer with busybox in it, gives it to containerd,
// and returns the layer's digest.
func importImage(ctx context.Context, t *testing.T, dir, socket, ref, mark string) (layerDigest string) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	layer := archive(t, "busybox", program, "mark", []byte(mark))
	sum := sha256.Sum256(layer)
	layerDigest = "sha256:" + hex.EncodeToString(sum[:])
	config := marshal(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Entrypoint": []string{"/busybox", "sleep", "1000"}},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{layerDigest}},
		"history": []map[string]any{{"created_by": "made by a test"}},
	})
	manifest := marshal(t, []map[string]any{{"Config": "config.json", "RepoTags": []string{ref}, "Layers": []string{"layer.tar"}}})
	file := filepath.Join(dir, mark+".tar")
	if err := os.WriteFile(file, archive(t, "layer.tar", layer, "config.json", config, "manifest.json", manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, "ctr", "-a", socket, "-n", "k8s.io", "image", "import", "--snapshotter", "native", file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return layerDigest
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// archive makes a tar of names and contents in turn.
func archive(t *testing.T, files ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		data := files[i+1].([]byte)
		if err := w.WriteHeader(&tar.Header{Name: files[i].(string), Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
