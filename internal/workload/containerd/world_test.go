package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// daemon is a containerd of the test's own. What it holds is made by containerd's
// own client.
type daemon struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	client *client.Client
}

// wait is how long a test waits for what it has caused.
const wait = 60 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	t.Cleanup(cancel)
	return ctx
}

// startDaemon runs the containerd that PATH finds, 1.6 or newer, with root, state and socket
// in a directory of its own, until the test ends.
func startDaemon(t *testing.T) *daemon {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: containerd needs root")
	}
	if _, err := exec.LookPath("containerd"); err != nil {
		t.Skip("SKIPPED, NOT TESTED: containerd is not installed")
	}
	// Not below /tmp, which may be an overlay or a tmpfs, and short: paths of unix
	// sockets are.
	dir, err := os.MkdirTemp("/opt", "containerd-"+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, dir: dir}
	t.Cleanup(d.remove)
	config := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = %q
`, dir+"/root", dir+"/state", d.socket())
	if err := os.WriteFile(dir+"/config.toml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d.run()
	return d
}

func (d *daemon) socket() string { return d.dir + "/s.sock" }

// run starts the daemon and waits until it serves.
func (d *daemon) run() {
	d.t.Helper()
	log, err := os.OpenFile(d.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command("containerd", "--config", d.dir+"/config.toml")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	if d.client, err = client.New(d.socket()); err != nil {
		d.t.Fatal(err)
	}
	serving, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	for {
		if ok, err := d.client.IsServing(serving); ok && err == nil {
			return
		}
		if serving.Err() != nil {
			out, _ := os.ReadFile(d.dir + "/log")
			d.t.Fatalf("containerd does not serve:\n%s", out)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// stop ends the daemon with a signal. Its shims live on.
func (d *daemon) stop(sig os.Signal) {
	if d.cmd == nil {
		return
	}
	d.client.Close()
	_ = d.cmd.Process.Signal(syscall.SIGCONT)
	_ = d.cmd.Process.Signal(sig)
	_ = d.cmd.Wait()
	d.cmd = nil
}

// freeze stops the daemon's threads and waits until they are.
func (d *daemon) freeze() {
	d.t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		d.t.Fatal(err)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, d.cmd.Process.Pid, &info, unix.WSTOPPED|unix.WNOWAIT, nil); err != nil {
		d.t.Fatal(err)
	}
}

// remove ends what is left of the daemon, its shims and their containers, and its
// directory with all that is mounted there.
func (d *daemon) remove() {
	d.stop(syscall.SIGTERM)
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range procs {
		data, _ := os.ReadFile(name)
		if !bytes.Contains(data, []byte("containerd-shim")) || !bytes.Contains(data, []byte(d.socket())) {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(name, "/")[2]); err == nil {
			d.t.Errorf("the shim %d was left", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], d.dir+"/") {
			_ = unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(d.dir); err != nil {
		d.t.Error(err)
	}
}

// layer is one layer: its files, and the instruction that made it.
type layer struct {
	by    string
	files map[string]string
}

// archive is an OCI image layout under construction (image-spec, image-layout.md).
type archive struct {
	t     *testing.T
	blobs map[digest.Digest][]byte
	index ocispec.Index
}

func newArchive(t *testing.T) *archive {
	return &archive{t: t, blobs: map[digest.Digest][]byte{}, index: ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}}}
}

func (a *archive) add(mediaType string, content any) ocispec.Descriptor {
	a.t.Helper()
	data, ok := content.([]byte)
	if !ok {
		var err error
		if data, err = json.Marshal(content); err != nil {
			a.t.Fatal(err)
		}
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	a.blobs[desc.Digest] = data
	return desc
}

// image adds an image for a platform, with env for its configuration alone.
func (a *archive) image(p ocispec.Platform, env string, layers ...layer) ocispec.Descriptor {
	a.t.Helper()
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	config := ocispec.Image{Created: &created, Platform: p, Config: ocispec.ImageConfig{Env: []string{"TEST=" + env}}}
	config.RootFS.Type = "layers"
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, l := range layers {
		desc := a.add(ocispec.MediaTypeImageLayer, tarOf(a.t, l.files))
		m.Layers = append(m.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, desc.Digest)
		config.History = append(config.History, ocispec.History{CreatedBy: l.by}, ocispec.History{CreatedBy: "ENV", EmptyLayer: true})
	}
	m.Config = a.add(ocispec.MediaTypeImageConfig, config)
	return a.add(ocispec.MediaTypeImageManifest, m)
}

// name gives a manifest or index a name to be imported by.
func (a *archive) name(desc ocispec.Descriptor, names ...string) {
	for _, name := range names {
		desc.Annotations = map[string]string{"io.containerd.image.name": name}
		a.index.Manifests = append(a.index.Manifests, desc)
	}
}

func (a *archive) tar() *bytes.Reader {
	files := map[string]string{ocispec.ImageLayoutFile: `{"imageLayoutVersion":"1.0.0"}`}
	index, err := json.Marshal(a.index)
	if err != nil {
		a.t.Fatal(err)
	}
	files[ocispec.ImageIndexFile] = string(index)
	for d, data := range a.blobs {
		files["blobs/sha256/"+d.Encoded()] = string(data)
	}
	return bytes.NewReader(tarOf(a.t, files))
}

func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(files[name])), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// busybox is the base of images whose containers run.
func busybox(t *testing.T) layer {
	t.Helper()
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("busybox-static is needed: %v", err)
	}
	return layer{"ADD busybox", map[string]string{"bin/busybox": string(data), "etc/base": "base"}}
}

// load imports an archive into a namespace, and unpacks what names.
func (d *daemon) load(ctx context.Context, ns string, a *archive, names ...string) {
	d.t.Helper()
	ctx = namespaces.WithNamespace(ctx, ns)
	if _, err := d.client.Import(ctx, a.tar(), client.WithAllPlatforms(true), client.WithSkipMissing()); err != nil {
		d.t.Fatalf("import: %v", err)
	}
	for _, name := range names {
		d.unpack(ctx, d.image(ctx, name), "overlayfs")
	}
}

func (d *daemon) image(ctx context.Context, name string) client.Image {
	d.t.Helper()
	i, err := d.client.GetImage(ctx, name)
	if err != nil {
		d.t.Fatal(err)
	}
	return i
}

func (d *daemon) unpack(ctx context.Context, i client.Image, snapshotter string) {
	d.t.Helper()
	if err := i.Unpack(ctx, snapshotter); err != nil {
		d.t.Fatalf("unpack %s: %v", i.Name(), err)
	}
}

// create makes a container with a root of the image, which would run args.
func (d *daemon) create(ctx context.Context, ns, id, snapshotter string, i client.Image, labels map[string]string, args ...string) client.Container {
	d.t.Helper()
	ctx = namespaces.WithNamespace(ctx, ns)
	c, err := d.client.NewContainer(ctx, id,
		client.WithImage(i), client.WithSnapshotter(snapshotter), client.WithNewSnapshot(id, i),
		client.WithContainerLabels(labels),
		client.WithNewSpec(oci.WithProcessArgs(args...), oci.WithCgroup("/sensor-test-"+id),
			oci.WithDroppedCapabilities([]string{"CAP_SYS_RESOURCE"}), withoutLimits))
	if err != nil {
		d.t.Fatalf("container %s: %v", id, err)
	}
	return c
}

// withoutLimits drops what CAP_SYS_RESOURCE is needed for, which containers that
// run tests lack.
func withoutLimits(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	s.Process.Rlimits, s.Process.OOMScoreAdj = nil, nil
	return nil
}

// start runs a container until the test ends.
func (d *daemon) start(ctx context.Context, ns string, c client.Container) (client.Task, <-chan client.ExitStatus) {
	d.t.Helper()
	ctx = namespaces.WithNamespace(ctx, ns)
	task, err := c.NewTask(ctx, cio.NullIO)
	if err != nil {
		d.t.Fatalf("task of %s: %v", c.ID(), err)
	}
	d.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), ns), wait)
		defer cancel()
		if task, err := c.Task(ctx, nil); err == nil {
			if _, err := task.Delete(ctx, client.WithProcessKill); err != nil {
				d.t.Errorf("task of %s: %v", c.ID(), err)
			}
		}
	})
	exited, err := task.Wait(ctx)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := task.Start(ctx); err != nil {
		d.t.Fatalf("task of %s: %v", c.ID(), err)
	}
	return task, exited
}

// id is unique on the machine: runc keeps all containers of a namespace's name in
// one place.
func id(name string) string { return fmt.Sprintf("%s-%d", name, os.Getpid()) }
