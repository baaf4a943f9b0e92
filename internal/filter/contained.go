package filter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/sensor"
)

// Ident is a pattern for what has both a name and an ID, as a container and an image
// have. It is a Glob over names and, where it is of nothing but lower-case hexadecimal
// digits, also the beginning of an ID.
type Ident struct {
	glob   Glob
	prefix string // of an ID, without what names its algorithm; empty if it can be none
}

// minPrefix is how many digits of an ID tell it from others, mostly.
const minPrefix = 4

// algorithm stands before the IDs of images (opencontainers/image-spec, descriptor.md).
const algorithm = "sha256:"

// ParseIdent compiles a pattern.
func ParseIdent(pattern string) (Ident, error) {
	g, err := ParseGlob(pattern)
	if err != nil {
		return Ident{}, err
	}
	p := Ident{glob: g}
	digits, marked := strings.CutPrefix(pattern, algorithm)
	switch short := len(digits) < minPrefix; {
	case strings.Trim(digits, "0123456789abcdef") != "":
	case short && marked:
		return Ident{}, fmt.Errorf("pattern %q: an ID is told by %d digits or more", pattern, minPrefix)
	case !short:
		p.prefix = digits
	}
	return p, nil
}

// MatchName reports whether the pattern covers a whole name.
func (p Ident) MatchName(name string) bool { return p.glob.Match(name) }

// MatchID reports whether an ID begins as the pattern says.
func (p Ident) MatchID(id string) bool {
	return p.prefix != "" && strings.HasPrefix(strings.TrimPrefix(id, algorithm), p.prefix)
}

func (p Ident) String() string { return p.glob.String() }

// contained is what is known of the container that something runs in.
type contained struct {
	// inside says that it runs in one, told that more than its ID is known.
	inside, told       bool
	workload           string
	name, id           string
	image, imageID     string
	pod, podsNamespace string
}

// Kinds of workload that are a container.
const (
	kindContainer = "container"
	kindPod       = "pod"
)

// containedIn is what a finding tells of its container.
func containedIn(w *sensor.Workload) contained {
	c := contained{workload: w.Name}
	if w.Container != nil {
		c.inside = true
		c.name, c.id, c.image, c.imageID = w.Container.Name, w.Container.ID, w.Container.Image, w.Container.ImageID
	}
	if w.Pod != nil {
		c.inside = true
		c.pod, c.podsNamespace = w.Pod.Name, w.Pod.Namespace
	}
	c.inside = c.inside || w.Kind == kindContainer || w.Kind == kindPod
	c.told = c.name != "" || c.image != "" || c.imageID != "" || c.pod != ""
	return c
}

// containerOf is what a scan tells of the container of a process.
func containerOf(s *sensor.Seen) contained {
	told := s.Container != "" || s.Image != "" || s.ImageID != "" || s.Pod != ""
	return contained{
		inside: told || s.ContainerID != "", told: told,
		workload: s.Workload, name: s.Container, id: s.ContainerID, image: s.Image, imageID: s.ImageID, pod: s.Pod, podsNamespace: s.Namespace,
	}
}

// matchContained holds what is asked of containers against one. What runs in none is
// not asked about; what no runtime tells of may be anything.
func (f *Filter) matchContained(c contained) answer {
	if !f.ofContainers() {
		return yes
	}
	if !c.inside {
		return no
	}
	return min(
		c.answers(len(f.Containers), func(i int) bool { return c.isCalled(f.Containers[i]) }),
		c.answers(len(f.Images), func(i int) bool { return c.runs(f.Images[i]) }),
		c.answers(len(f.Namespaces), func(i int) bool { return c.pod != "" && f.Namespaces[i].Match(c.podsNamespace) }),
		c.answers(len(f.Pods), func(i int) bool { return c.pod != "" && f.Pods[i].Match(c.pod) }),
	)
}

// ofContainers reports whether anything is asked that only containers have.
func (f *Filter) ofContainers() bool {
	return len(f.Containers)+len(f.Images)+len(f.Namespaces)+len(f.Pods) > 0
}

// answers is whether any of n patterns matches.
func (c *contained) answers(n int, matches func(i int) bool) answer {
	for i := range n {
		if matches(i) {
			return yes
		}
	}
	switch {
	case n == 0:
		return yes
	case !c.told:
		return maybe
	}
	return no
}

// isCalled reports whether a pattern names the container: as its runtime does, as it is
// called in its pod, or as the workload is, which is NAMESPACE/POD/NAME there.
func (c *contained) isCalled(p Ident) bool {
	if p.MatchID(c.id) || p.MatchName(c.name) || p.MatchName(c.workload) {
		return true
	}
	inPod, ok := strings.CutPrefix(c.workload, c.podsNamespace+"/"+c.pod+"/")
	return ok && p.MatchName(inPod)
}

// runs reports whether a pattern names the image.
func (c *contained) runs(p Ident) bool {
	if p.MatchID(c.imageID) || strings.HasPrefix(c.image, algorithm) && p.MatchID(c.image) {
		return true
	}
	for _, name := range imageNames(c.image) {
		if p.MatchName(name) {
			return true
		}
	}
	return false
}

// imageNames are the names by which an image reference is known: as it is given, with
// and without the registry that is meant where none is named, and each of these without
// digest and without tag.
//
// A reference is [REGISTRY/]PATH[:TAG][@DIGEST] (github.com/distribution/reference).
func imageNames(ref string) []string {
	if ref == "" {
		return nil
	}
	names := []string{ref}
	if strings.HasPrefix(ref, algorithm) {
		return names // an ID
	}
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	full := ref
	for _, registry := range []string{"docker.io/library/", "docker.io/", "localhost/"} {
		if rest, ok := strings.CutPrefix(ref, registry); ok {
			add(rest)
			break
		}
	}
	if first, _, slash := strings.Cut(ref, "/"); !slash {
		full = "docker.io/library/" + ref
	} else if first != "localhost" && !strings.ContainsAny(first, ".:") {
		full = "docker.io/" + ref
	}
	add(full)
	for _, name := range names[:len(names):len(names)] {
		name, _, _ = strings.Cut(name, "@")
		add(name)
		if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
			add(name[:colon])
		}
	}
	return names
}
