package container

import (
	"strings"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// Redeploy tells how a container is made anew from what its image's reference names
// now, which a restart does not do: that starts the same container again. The command
// is empty where none can do it. The advice says what to mind, or what to do instead.
//
// It is for a container of this machine's own engine: whether a container belongs to
// another user is in its cgroup only, see Ref.Rootless.
func Redeploy(c workload.Container) (command []string, advice string) {
	if c.Pod != nil {
		return redeployPod(*c.Pod)
	}
	switch c.Runtime {
	case Docker:
		return redeployDocker(c)
	case Podman:
		if unit, ok := podmanUnit(c); ok {
			return []string{"systemctl", "restart", unit},
				"Quadlet makes the container anew; a unit of \"podman generate systemd\" does so only if it was generated with --new"
		}
	case LXC, Nspawn:
		return nil, "its files are its own and no image's: update its packages from inside"
	case Containerd:
		if _, ok := nerdctlName(c); ok && c.Labels[labelComposeProject] != "" {
			return nil, "it is part of a Compose project: run \"nerdctl compose up -d\" where its Compose file is"
		}
	}
	return nil, anew(c)
}

func redeployDocker(c workload.Container) ([]string, string) {
	if service, ok := swarmService(c); ok {
		command := docker(c, "service", "update", "--force")
		// A service is pinned to the digest that its tag had; naming the tag again
		// resolves it anew.
		if ref, ok := withoutDigest(c.Image); ok {
			command = append(command, "--image", ref)
		}
		return append(command, service), "the command runs on a manager of the swarm, and renews all tasks of the service"
	}
	if project, service := c.Labels[labelComposeProject], c.Labels[labelComposeService]; isPlain(project) && isPlain(service) {
		// Where the Compose file is stands in labels too, but those may be the
		// image's, and Compose does whatever a file says.
		return docker(c, "compose", "-p", project, "up", "-d", service),
			"run it where the project's Compose file is: Compose makes a container anew whose image has changed"
	}
	return nil, anew(c)
}

func redeployPod(p workload.Pod) ([]string, string) {
	r := restartPod(p)
	switch {
	case r.advice != "":
	case len(r.command) > 0:
		r.advice = "the new pods take what the image's reference names by then: on this node if imagePullPolicy is IfNotPresent, else in the registry"
	}
	return r.command, r.advice
}

// anew is the advice where nothing that is known recreates the container.
func anew(c workload.Container) string {
	image := "its image"
	if isReference(c.Image) {
		image = c.Image
	}
	return "remove it and run it anew from " + image + ", with the options it was made with"
}

// withoutDigest takes the digest off a reference that has a tag as well.
func withoutDigest(image string) (string, bool) {
	ref, _, _ := strings.Cut(image, "@")
	name := ref[strings.LastIndexByte(ref, '/')+1:]
	return ref, isReference(ref) && strings.Contains(name, ":")
}

// maxReference is the longest reference that is put into a command: a name of 255
// bytes, a tag of 128 and a digest (distribution/reference).
const maxReference = 512

// isReference reports whether an image's reference has only the characters of one, and
// so means nothing else in a command.
func isReference(image string) bool {
	if image == "" || len(image) > maxReference || !isAlphanumeric(image[0]) {
		return false
	}
	for i := range len(image) {
		if !isAlphanumeric(image[i]) && strings.IndexByte("_.-/:@+", image[i]) < 0 {
			return false
		}
	}
	return true
}
