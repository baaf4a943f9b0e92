package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// source is one socket with what its runtime said last.
type source struct {
	socket  Socket
	timeout time.Duration

	// busy is held by whoever speaks to the runtime about its containers.
	busy sync.Mutex

	mu      sync.Mutex
	runtime Runtime // nil if there is no connection
	name    string
	listed  []workload.Container
	err     error
	// images are what containers were made from, which does not change, by image ID;
	// named is what references name, until the next listing.
	images, named map[imageKey]answer
}

type imageKey struct{ namespace, name string }

type answer struct {
	image workload.Image
	err   error
}

// maxImages bounds what is remembered of images.
const maxImages = 10_000

// ErrNotInTime says that a runtime did not answer.
var ErrNotInTime = errors.New("the runtime did not answer in time")

// list asks for all containers. If that fails, those that were listed before count on.
func (s *source) list(ctx context.Context) {
	s.busy.Lock()
	defer s.busy.Unlock()
	r, err := s.open()
	if r == nil {
		if err == nil && s.running() {
			err = ErrGone
		}
		s.failed(err)
		return
	}
	list, err := within(ctx, s.timeout, r.Containers)
	if errors.Is(err, workload.ErrNotServed) && !s.socket.Wanted {
		s.failed(nil) // a usual place, with something else in it
		return
	}
	if err != nil {
		s.failed(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// What a container was made from does not change, but a runtime may forget it:
	// containerd does when the image's name moves.
	made := make(map[imageKey]string)
	for _, c := range s.listed {
		made[imageKey{c.Namespace, c.ID}] = c.ImageID
	}
	for i := range list {
		if c := &list[i]; c.ImageID == "" {
			c.ImageID = made[imageKey{c.Namespace, c.ID}]
		}
	}
	s.listed, s.err, s.name, s.named = list, nil, r.Name(), make(map[imageKey]answer)
}

// ErrGone says that a runtime which had running containers is not there any more. They
// may well run on.
var ErrGone = errors.New("nothing is at the socket any more: what the runtime said last counts")

// running reports whether the runtime said that containers run.
func (s *source) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.listed, func(c workload.Container) bool { return c.Running })
}

// open returns the runtime, connected or about to be; nil and no error if nothing is at
// the socket and nothing has to be.
func (s *source) open() (Runtime, error) {
	if err := s.socket.present(); err != nil {
		if errors.Is(err, fs.ErrNotExist) && !s.socket.Wanted {
			// It was stopped, or never was: its containers may still run.
			return nil, nil
		}
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runtime != nil {
		return s.runtime, nil
	}
	r, err := s.socket.Open(s.socket.Path)
	if err != nil {
		return nil, err
	}
	s.runtime = r
	s.named = make(map[imageKey]answer)
	if s.images == nil {
		s.images = make(map[imageKey]answer)
	}
	return r, nil
}

func (s *source) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// within gives a call its time, also one that does not heed its context.
func within[T any](ctx context.Context, timeout time.Duration, call func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	timed, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		value, err := call(timed)
		done <- result{value, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-timed.Done():
		r.err = timed.Err()
	}
	if r.err != nil && ctx.Err() == nil && timed.Err() != nil {
		r.err = fmt.Errorf("%w (%s)", ErrNotInTime, timeout)
	}
	return r.value, r.err
}

// image is what a container was made from. One that is missing is asked for again: it
// may be loaded anew.
func (s *source) image(ctx context.Context, c workload.Container) (workload.Image, error) {
	key := imageKey{c.Namespace, c.ImageID}
	s.mu.Lock()
	a, ok := s.images[key]
	s.mu.Unlock()
	if ok {
		return a.image, a.err
	}
	image, err := s.ask(ctx, func(ctx context.Context, r Runtime) (workload.Image, error) { return r.Image(ctx, c) })
	if err == nil && key.name != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.images) < maxImages {
			s.images[key] = answer{image, nil}
		}
	}
	return image, err
}

// askMade asks what the containers that run were made from, where that is not known.
func (s *source) askMade(ctx context.Context) {
	asked := make(map[imageKey]bool)
	for _, c := range s.containers() {
		key := imageKey{c.Namespace, c.ImageID}
		if !c.Running || c.ImageID == "" || asked[key] {
			continue
		}
		asked[key] = true
		if _, err := s.image(ctx, c); errors.Is(err, ErrNotInTime) || ctx.Err() != nil {
			return
		}
	}
}

// current is what the reference of a container names now, as asked for once after
// each listing.
func (s *source) current(ctx context.Context, c workload.Container) (workload.Image, error) {
	key := imageKey{c.Namespace, c.Image}
	s.mu.Lock()
	named := s.named
	a, ok := named[key]
	s.mu.Unlock()
	if ok {
		return a.image, a.err
	}
	image, err := s.ask(ctx, func(ctx context.Context, r Runtime) (workload.Image, error) { return r.Current(ctx, c) })
	if err == nil || errors.Is(err, workload.ErrNoImage) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(named) < maxImages {
			named[key] = answer{image, err}
		}
	}
	return image, err
}

// ask asks for an image. A runtime that did not answer the last question is not asked
// another one before it has listed its containers again.
func (s *source) ask(ctx context.Context, ask func(context.Context, Runtime) (workload.Image, error)) (workload.Image, error) {
	s.mu.Lock()
	r, err := s.runtime, s.err
	s.mu.Unlock()
	if r == nil {
		return workload.Image{}, ErrUnknown
	}
	if errors.Is(err, ErrNotInTime) {
		return workload.Image{}, err
	}
	image, err := within(ctx, s.timeout, func(ctx context.Context) (workload.Image, error) { return ask(ctx, r) })
	if errors.Is(err, ErrNotInTime) {
		s.failed(err)
	}
	return image, err
}

func (s *source) containers() []workload.Container {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listed
}

func (s *source) problem() (runtime string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name, s.err
}

func (s *source) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runtime == nil {
		return nil
	}
	err := s.runtime.Close()
	s.runtime = nil
	return err
}
