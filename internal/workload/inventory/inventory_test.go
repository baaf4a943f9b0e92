package inventory

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// fake is a runtime that says what it is told to.
type fake struct {
	name string

	mu         sync.Mutex
	containers []workload.Container
	images     map[string]workload.Image // by ID
	named      map[string]workload.Image // by reference
	err        error
	hang       bool
	told       func()
	lost       chan error
	listings   atomic.Int32
	asked      atomic.Int32
	closed     atomic.Int32
}

func (f *fake) Name() string { return f.name }

func (f *fake) wait(ctx context.Context) error {
	f.mu.Lock()
	hang, err := f.hang, f.err
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (f *fake) Containers(ctx context.Context) ([]workload.Container, error) {
	f.listings.Add(1)
	if err := f.wait(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.containers, nil
}

func (f *fake) Image(ctx context.Context, c workload.Container) (workload.Image, error) {
	return f.look(ctx, f.images, c.ImageID)
}

func (f *fake) Current(ctx context.Context, c workload.Container) (workload.Image, error) {
	return f.look(ctx, f.named, c.Image)
}

func (f *fake) look(ctx context.Context, from map[string]workload.Image, key string) (workload.Image, error) {
	f.asked.Add(1)
	if err := f.wait(ctx); err != nil {
		return workload.Image{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if i, ok := from[key]; ok {
		return i, nil
	}
	return workload.Image{}, workload.ErrNoImage
}

func (f *fake) Watch(ctx context.Context, changed func()) error {
	f.mu.Lock()
	f.told = changed
	lost := f.lost
	f.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-lost:
		return err
	}
}

func (f *fake) Close() error {
	f.closed.Add(1)
	return nil
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// at makes a socket at which a fake answers.
func (f *fake) at(t *testing.T) Socket {
	t.Helper()
	name := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return Socket{Path: name, Open: func(string) (Runtime, error) { return f, nil }}
}

func container(id string) workload.Container {
	return workload.Container{ID: id, Name: "name-" + id, Image: "app:1", ImageID: "sha256:old"}
}

func TestFind(t *testing.T) {
	docker := &fake{name: "docker", containers: []workload.Container{container("a"), container("b")}}
	below := container("a")
	below.Name, below.Rootfs = "a", workload.Rootfs{Driver: "overlayfs", Upper: "/u", Lower: []string{"/l"}}
	other := &fake{name: "containerd", containers: []workload.Container{below, container("c")}}
	inv := New([]Socket{docker.at(t), other.at(t), {Path: "/nowhere/at/all"}}, Options{})
	defer inv.Close()
	inv.Refresh(context.Background())
	if c, ok := inv.Find("a"); !ok || c.Name != "name-a" || c.Rootfs.Upper != "/u" {
		t.Errorf("a is %+v, %t", c, ok)
	}
	if c, ok := inv.Find("c"); !ok || c.Name != "name-c" {
		t.Errorf("c is %+v, %t", c, ok)
	}
	if _, ok := inv.Find("d"); ok {
		t.Error("d is known")
	}
	if p := inv.Problems(); len(p) != 0 {
		t.Errorf("problems %v", p)
	}
	// One that is gone keeps its name for a while.
	docker.set(func() { docker.containers = docker.containers[:1] })
	inv.Refresh(context.Background())
	if c, ok := inv.Find("b"); !ok || c.Name != "name-b" {
		t.Errorf("b is %+v, %t", c, ok)
	}
}

// What a runtime said last counts on when it does not answer, and that is a problem.
func TestUnreachable(t *testing.T) {
	f := &fake{name: "docker", containers: []workload.Container{container("a")}}
	inv := New([]Socket{f.at(t), {Path: "/nowhere/at/all", Wanted: true}}, Options{Timeout: 20 * time.Millisecond})
	defer inv.Close()
	inv.Refresh(context.Background())
	if p := inv.Problems(); len(p) != 1 || p[0].Socket != "/nowhere/at/all" {
		t.Errorf("problems %v", p)
	}
	broken := errors.New("broken")
	for _, test := range []struct {
		name  string
		spoil func()
		want  error
	}{
		{"fails", func() { f.err = broken }, broken},
		{"hangs", func() { f.hang = true }, ErrNotInTime},
	} {
		f.set(test.spoil)
		inv.Refresh(context.Background())
		if p := inv.Problems(); len(p) != 2 || p[0].Runtime != "docker" || !errors.Is(p[0].Err, test.want) {
			t.Errorf("%s: problems %v", test.name, p)
		}
		if _, ok := inv.Find("a"); !ok {
			t.Errorf("%s: a is forgotten", test.name)
		}
	}
	// Nobody waits again for a runtime that hangs.
	asked := f.asked.Load()
	if _, err := inv.Current(context.Background(), "a"); !errors.Is(err, ErrNotInTime) || f.asked.Load() != asked {
		t.Errorf("asked %d times, %v", f.asked.Load()-asked, err)
	}
	f.set(func() { f.hang, f.err = false, nil })
	inv.Refresh(context.Background())
	if p := inv.Problems(); len(p) != 1 {
		t.Errorf("problems %v", p)
	}
}

func TestImages(t *testing.T) {
	older, later := workload.Image{ID: "sha256:old", Layers: []workload.Layer{{Digest: "d"}}}, workload.Image{ID: "sha256:new"}
	f := &fake{
		name: "docker", containers: []workload.Container{container("a"), container("b")},
		images: map[string]workload.Image{older.ID: older}, named: map[string]workload.Image{"app:1": later},
	}
	dirs := older
	dirs.Layers = []workload.Layer{{Digest: "d", Dir: "/d"}}
	below := &fake{name: "containerd", containers: []workload.Container{container("a")}, images: map[string]workload.Image{older.ID: dirs}}
	inv := New([]Socket{f.at(t), below.at(t)}, Options{})
	defer inv.Close()
	ctx := context.Background()
	inv.Refresh(ctx)
	for range 2 {
		if i, err := inv.Image(ctx, "a"); err != nil || i.ID != older.ID || i.Layers[0].Dir != "/d" {
			t.Errorf("image %+v, %v", i, err)
		}
		for _, id := range []string{"a", "b"} {
			if i, err := inv.Current(ctx, id); err != nil || i.ID != later.ID {
				t.Errorf("current %+v, %v", i, err)
			}
		}
	}
	if n := f.asked.Load(); n != 2 {
		t.Errorf("asked %d times for one image and one name", n)
	}
	// After each listing names are asked for again.
	f.set(func() { f.named = nil })
	inv.Refresh(ctx)
	if _, err := inv.Current(ctx, "a"); !errors.Is(err, workload.ErrNoImage) {
		t.Errorf("current gives %v", err)
	}
	if _, err := inv.Image(ctx, "x"); !errors.Is(err, ErrUnknown) {
		t.Errorf("image of nobody's container gives %v", err)
	}
}

// What a container was made from is known although its runtime forgot it.
func TestImageForgotten(t *testing.T) {
	f := &fake{name: "containerd", containers: []workload.Container{container("a")}}
	inv := New([]Socket{f.at(t)}, Options{})
	defer inv.Close()
	inv.Refresh(context.Background())
	forgotten := container("a")
	forgotten.ImageID = ""
	f.set(func() { f.containers = []workload.Container{forgotten} })
	inv.Refresh(context.Background())
	if c, _ := inv.Find("a"); c.ImageID != "sha256:old" {
		t.Errorf("%+v", c)
	}
}

// A running sensor knows what a container was made from although the runtime forgot it
// before anybody asked, and although the connection was lost meanwhile.
func TestImageForgottenBeforeAsked(t *testing.T) {
	c := container("a")
	c.Running = true
	old := workload.Image{ID: "sha256:old", Layers: []workload.Layer{{Digest: "sha256:one", Dir: "/one"}}}
	f := &fake{name: "containerd", containers: []workload.Container{c}, images: map[string]workload.Image{"sha256:old": old}, lost: make(chan error)}
	inv := New([]Socket{f.at(t)}, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	changes := make(chan struct{}, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		inv.Run(ctx, func() { changes <- struct{}{} })
	}()
	<-changes
	for f.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	f.set(func() { f.images = nil })
	f.lost <- errors.New("gone")
	<-changes
	if image, err := inv.Image(ctx, "a"); err != nil || len(image.Layers) != 1 {
		t.Errorf("image %+v, %v", image, err)
	}
	cancel()
	<-done
}

// The runtime below is asked by the reference that the container was asked for, and
// believed only about an image of the same layers.
func TestImagesBelow(t *testing.T) {
	layers := func(digest, dir string) []workload.Layer { return []workload.Layer{{Digest: digest, Dir: dir}} }
	c := container("a")
	cri := &fake{name: "cri-o", containers: []workload.Container{c}, named: map[string]workload.Image{"app:1": {ID: "config", Layers: layers("new", "")}}}
	under := c
	under.Image = "sha256:old"
	below := &fake{name: "containerd", containers: []workload.Container{under}, named: map[string]workload.Image{
		"sha256:old": {ID: "manifest1", Layers: layers("old", "/old")},
		"app:1":      {ID: "manifest2", Layers: layers("new", "/new")},
	}}
	inv := New([]Socket{cri.at(t), below.at(t)}, Options{})
	defer inv.Close()
	ctx := context.Background()
	inv.Refresh(ctx)
	if i, err := inv.Current(ctx, "a"); err != nil || i.ID != "config" || i.Layers[0].Dir != "/new" {
		t.Errorf("current %+v, %v", i, err)
	}
	below.set(func() { below.named["app:1"] = workload.Image{ID: "manifest3", Layers: layers("other", "/other")} })
	inv.Refresh(ctx)
	if i, err := inv.Current(ctx, "a"); err != nil || i.Layers[0].Dir != "" {
		t.Errorf("current of other layers %+v, %v", i, err)
	}
}

// What does not speak the protocol at a usual socket is no problem.
func TestNotServed(t *testing.T) {
	f := &fake{name: "cri", err: workload.ErrNotServed}
	usual := f.at(t)
	wanted := usual
	wanted.Wanted = true
	inv := New([]Socket{usual, wanted}, Options{})
	defer inv.Close()
	inv.Refresh(context.Background())
	if p := inv.Problems(); len(p) != 1 || !errors.Is(p[0].Err, workload.ErrNotServed) {
		t.Errorf("problems %v", p)
	}
}

func TestSeek(t *testing.T) {
	f := &fake{name: "docker"}
	inv := New([]Socket{f.at(t)}, Options{})
	defer inv.Close()
	ctx := context.Background()
	inv.Refresh(ctx)
	f.set(func() { f.containers = []workload.Container{container("a")} })
	inv.Seek(ctx, map[string]bool{"a": true})
	if _, ok := inv.Find("a"); !ok {
		t.Error("a is not found")
	}
	n := f.listings.Load()
	inv.Seek(ctx, map[string]bool{"b": true})
	inv.Seek(ctx, map[string]bool{"b": true})
	if got := f.listings.Load() - n; got != 1 {
		t.Errorf("listed %d times for one container that nobody knows", got)
	}
}

func TestRun(t *testing.T) {
	f := &fake{name: "docker", containers: []workload.Container{container("a")}, lost: make(chan error)}
	inv := New([]Socket{f.at(t)}, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	changes := make(chan struct{}, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		inv.Run(ctx, func() { changes <- struct{}{} })
	}()
	<-changes
	if _, ok := inv.Find("a"); !ok {
		t.Error("a is not known after the first change")
	}
	tell := func() {
		for {
			f.mu.Lock()
			told := f.told
			f.mu.Unlock()
			if told != nil {
				told()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	f.set(func() { f.containers = append(f.containers, container("b")) })
	tell()
	<-changes
	if _, ok := inv.Find("b"); !ok {
		t.Error("b is not known after it was told of")
	}
	// The connection is lost: it is made anew, and what changed meanwhile is known.
	f.set(func() { f.containers = append(f.containers, container("c")) })
	f.lost <- errors.New("gone")
	<-changes
	if _, ok := inv.Find("c"); !ok {
		t.Error("c is not known after the runtime came back")
	}
	cancel()
	<-done
	if f.closed.Load() == 0 {
		t.Error("no connection was closed")
	}
}
