// Package inventory knows the containers of all runtimes of a machine: it finds the
// runtimes by their sockets, lists what they have, keeps up with them while they
// restart, and remembers containers for a while after they are gone.
package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// Runtime is the seam to one container runtime. What it says is not trusted; no call
// outlasts its context.
type Runtime interface {
	// Name is what it calls itself: "docker", "podman", "containerd", "cri-o".
	Name() string
	// Containers lists what there is, ended ones too.
	Containers(context.Context) ([]workload.Container, error)
	// Image is what a container was made from, or workload.ErrNoImage.
	Image(context.Context, workload.Container) (workload.Image, error)
	// Current is what the reference of a container names now, or workload.ErrNoImage.
	Current(context.Context, workload.Container) (workload.Image, error)
	// Watch calls changed after something may have changed, until the context ends or
	// the connection is lost.
	Watch(ctx context.Context, changed func()) error
	Close() error
}

// Socket is where a runtime listens if there is one, and how to speak to it.
type Socket struct {
	Path string
	Open func(path string) (Runtime, error)
	// Wanted says that it is a problem if nothing is there.
	Wanted bool
}

// Options bound what an inventory does.
type Options struct {
	// Timeout is how long a runtime may take to answer; 2 seconds if zero.
	Timeout time.Duration
	// Relist is how often the containers are listed although no change was told; 1
	// minute if zero.
	Relist time.Duration
	// Remember is how long a container is known after it is gone; 10 minutes if zero.
	Remember time.Duration
}

// Inventory is safe for concurrent use.
type Inventory struct {
	o       Options
	sources []*source

	mu sync.Mutex
	// index are the containers by ID, each with who told of it, in order of the
	// sockets.
	index map[string][]entry
	gone  map[string]remembered
	// sought are the unknown containers that were asked for, and when.
	sought map[string]time.Time
}

type entry struct {
	source    *source
	container workload.Container
}

type remembered struct {
	entry
	until time.Time
}

// maxRemembered bounds the containers that are gone.
const maxRemembered = 10_000

// New makes an inventory of the runtimes at sockets. It connects to none of them yet.
func New(sockets []Socket, o Options) *Inventory {
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	if o.Relist == 0 {
		o.Relist = time.Minute
	}
	if o.Remember == 0 {
		o.Remember = 10 * time.Minute
	}
	inv := &Inventory{o: o, index: make(map[string][]entry), gone: make(map[string]remembered), sought: make(map[string]time.Time)}
	for _, s := range sockets {
		inv.sources = append(inv.sources, &source{socket: s, timeout: o.Timeout})
	}
	return inv
}

// Empty reports whether there is no runtime to ask.
func (inv *Inventory) Empty() bool { return len(inv.sources) == 0 }

// Refresh lists the containers of all runtimes anew. It returns when all have
// answered, or the timeout is over: what did not answer in time is a problem.
func (inv *Inventory) Refresh(ctx context.Context) {
	var all sync.WaitGroup
	for _, s := range inv.sources {
		all.Go(func() { s.list(ctx) })
	}
	all.Wait()
	inv.update(time.Now())
}

// Seek lists the containers of those runtimes anew that answered the last time, unless
// that was done for the same containers lately. It is for containers that exist, so that
// somebody may know them by now.
func (inv *Inventory) Seek(ctx context.Context, ids map[string]bool) {
	now := time.Now()
	inv.mu.Lock()
	news := false
	for id := range ids {
		news = news || now.Sub(inv.sought[id]) > sought
	}
	if len(inv.sought) > maxRemembered {
		clear(inv.sought)
	}
	for id := range ids {
		inv.sought[id] = now
	}
	inv.mu.Unlock()
	if !news {
		return
	}
	var all sync.WaitGroup
	for _, s := range inv.sources {
		if s.connected() != nil {
			all.Go(func() { s.list(ctx) })
		}
	}
	all.Wait()
	inv.update(time.Now())
}

// sought is how long a container that nobody knows is not asked for again.
const sought = 10 * time.Second

// update takes over what the sources have listed.
func (inv *Inventory) update(now time.Time) {
	index := make(map[string][]entry)
	for _, s := range inv.sources {
		for _, c := range s.containers() {
			index[c.ID] = append(index[c.ID], entry{s, c})
		}
	}
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for id, list := range inv.index {
		if index[id] == nil && len(inv.gone) < maxRemembered {
			inv.gone[id] = remembered{list[0], now.Add(inv.o.Remember)}
		}
	}
	for id, r := range inv.gone {
		if index[id] != nil || now.After(r.until) {
			delete(inv.gone, id)
		}
	}
	inv.index = index
}

// Find returns a container by its ID, also one that has gone lately. Where several
// runtimes know it, as Docker and the containerd below it do, the first one names it
// and the others add what it does not tell.
func (inv *Inventory) Find(id string) (workload.Container, bool) {
	list := inv.entries(id)
	if len(list) == 0 {
		return workload.Container{}, false
	}
	c := list[0].container
	if list[0].source.socket.Wanted {
		c.Socket = list[0].source.socket.Path
	}
	for _, e := range list[1:] {
		if c.Rootfs.Upper == "" && e.container.Rootfs.Upper != "" {
			c.Rootfs = e.container.Rootfs
		}
		if c.Pod == nil {
			c.Pod = e.container.Pod
		}
	}
	return c, true
}

func (inv *Inventory) entries(id string) []entry {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if list := inv.index[id]; list != nil {
		return list
	}
	if r, ok := inv.gone[id]; ok {
		return []entry{r.entry}
	}
	return nil
}

// ErrUnknown says that no runtime knows a container.
var ErrUnknown = errors.New("no runtime that answers knows the container")

// Image is what a container was made from, or workload.ErrNoImage.
func (inv *Inventory) Image(ctx context.Context, id string) (workload.Image, error) {
	return inv.ask(ctx, id, (*source).image)
}

// Current is what the reference that a container was made with names now, or
// workload.ErrNoImage.
func (inv *Inventory) Current(ctx context.Context, id string) (workload.Image, error) {
	return inv.ask(ctx, id, (*source).current)
}

// lister is a runtime that can list its images.
type lister interface {
	Images(context.Context) ([]workload.Image, error)
}

// Others are the other images that a container's runtime has: all that have a name if it
// can list them, else what its other containers were made from, and what their references
// name now.
func (inv *Inventory) Others(ctx context.Context, id string) []workload.Image {
	list := inv.entries(id)
	if len(list) == 0 {
		return nil
	}
	s := list[0].source
	seen := map[string]bool{"": true}
	var images []workload.Image
	add := func(image workload.Image) {
		if !seen[image.ID] && len(images) < maxOthers {
			seen[image.ID] = true
			images = append(images, image)
		}
	}
	if l, ok := s.connected().(lister); ok {
		found, err := within(ctx, s.timeout, l.Images)
		if err == nil {
			for _, image := range found {
				add(locate(ctx, image, list[1:]))
			}
			return images
		}
	}
	for _, c := range s.containers() {
		for _, ask := range []func(context.Context, string) (workload.Image, error){inv.Image, inv.Current} {
			if image, err := ask(ctx, c.ID); err == nil {
				add(image)
			}
		}
	}
	return images
}

// maxOthers bounds the images that are compared for hints.
const maxOthers = 100

// ask asks the runtime that names a container and, if it does not tell where the layers
// are, the others that know the container by the same reference: an image of the same
// layers is the same one, whatever they call it.
func (inv *Inventory) ask(ctx context.Context, id string, ask func(*source, context.Context, workload.Container) (workload.Image, error)) (workload.Image, error) {
	list := inv.entries(id)
	if len(list) == 0 {
		return workload.Image{}, fmt.Errorf("container %.12q: %w", id, ErrUnknown)
	}
	first := list[0].container
	best, err := ask(list[0].source, ctx, first)
	if err != nil || len(best.Layers) == 0 || located(best) {
		return best, err
	}
	for _, e := range list[1:] {
		c := e.container
		c.Image = first.Image
		if image, err := ask(e.source, ctx, c); err == nil && located(image) && sameLayers(image.Layers, best.Layers) {
			best.Layers = image.Layers
			break
		}
	}
	return best, nil
}

// locate has others tell where an image's layers are, if its own runtime does not: those
// that know a container of the same engine, and the image by its digest.
func locate(ctx context.Context, image workload.Image, others []entry) workload.Image {
	if len(image.Layers) == 0 || located(image) {
		return image
	}
	for _, e := range others {
		c := e.container
		c.Image = image.ID
		if found, err := e.source.current(ctx, c); err == nil && located(found) && sameLayers(found.Layers, image.Layers) {
			image.Layers = found.Layers
			break
		}
	}
	return image
}

func sameLayers(a, b []workload.Layer) bool {
	return slices.EqualFunc(a, b, func(x, y workload.Layer) bool { return x.Digest == y.Digest })
}

// located reports whether it is known where the layers are.
func located(i workload.Image) bool {
	for _, l := range i.Layers {
		if l.Dir == "" {
			return false
		}
	}
	return len(i.Layers) > 0
}

// Answer is what a socket's runtime said when it was last asked.
type Answer struct {
	Socket, Runtime     string // Runtime is empty if nothing is there, or never answered
	Containers, Running int
	Err                 error
}

// Answers are those of all sockets.
func (inv *Inventory) Answers() []Answer {
	var list []Answer
	for _, s := range inv.sources {
		a := Answer{Socket: s.socket.Path}
		a.Runtime, a.Err = s.problem()
		for _, c := range s.containers() {
			a.Containers++
			if c.Running {
				a.Running++
			}
		}
		list = append(list, a)
	}
	return list
}

// Claim is a running container with the process that a runtime says is its first.
type Claim struct {
	Socket    string
	Container workload.Container
}

// Claims are those of all runtimes.
func (inv *Inventory) Claims() []Claim {
	var list []Claim
	for _, s := range inv.sources {
		for _, c := range s.containers() {
			if c.Running && c.PID > 0 {
				list = append(list, Claim{s.socket.Path, c})
			}
		}
	}
	return list
}

// Problem is a runtime that is there and does not answer as it should.
type Problem struct {
	Socket, Runtime string
	Err             error
}

// Problems are those of the last listing.
func (inv *Inventory) Problems() []Problem {
	var list []Problem
	for _, s := range inv.sources {
		if name, err := s.problem(); err != nil {
			list = append(list, Problem{s.socket.Path, name, err})
		}
	}
	return list
}

// Close ends all connections.
func (inv *Inventory) Close() error {
	var errs []error
	for _, s := range inv.sources {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// present reports whether something is at a socket's path: nil if it may be one,
// fs.ErrNotExist if there is nothing.
func (s Socket) present() error {
	info, err := os.Stat(s.Path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s is no socket", s.Path)
	}
	return nil
}
