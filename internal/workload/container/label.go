package container

import (
	"strings"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// Docker and Podman give the labels of an image to its containers, so a label is the
// word of whoever made the image until something agrees that whoever made the
// container chose: mostly the container's name. Labels that nothing agrees with are
// left aside, and the container is restarted by itself, which is never wrong.

// The labels, with where each is set.
const (
	// docker/compose, pkg/api/labels.go
	labelComposeProject = "com.docker.compose.project"
	labelComposeService = "com.docker.compose.service"
	// moby, daemon/cluster/executor/container/container.go
	labelSwarmService = "com.docker.swarm.service.name"
	// containers/podman, pkg/systemd/define/const.go
	labelPodmanUnit = "PODMAN_SYSTEMD_UNIT"
	// containerd/nerdctl, pkg/labels/labels.go
	labelNerdctlName = "nerdctl/name"
)

// composeService returns the Compose project and service that made a container.
// Compose names containers PROJECT-SERVICE-N, before version 2 PROJECT_SERVICE_N; one
// that has a container_name of its own is restarted by that.
func composeService(c workload.Container) (project, service string, ok bool) {
	project, service = c.Labels[labelComposeProject], c.Labels[labelComposeService]
	if !isPlain(project) || !isPlain(service) {
		return "", "", false
	}
	for _, sep := range []string{"-", "_"} {
		number, ok := strings.CutPrefix(c.Name, project+sep+service+sep)
		if ok && number != "" && strings.Trim(number, "0123456789") == "" {
			return project, service, true
		}
	}
	return "", "", false
}

// swarmService returns the service whose task a container is: tasks are named
// SERVICE.SLOT.TASK or SERVICE.NODE.TASK.
func swarmService(c workload.Container) (string, bool) {
	service := c.Labels[labelSwarmService]
	if !isPlain(service) {
		return "", false
	}
	rest, ok := strings.CutPrefix(c.Name, service+".")
	return service, ok && strings.Count(rest, ".") == 1
}

// podmanUnit returns the unit that runs a Podman container. Quadlet calls the container
// of web.container "systemd-web" unless told otherwise, and "podman generate systemd"
// makes units container-NAME.service. podman-compose sets the label to a unit that
// need not exist; its containers are named otherwise.
func podmanUnit(c workload.Container) (string, bool) {
	unit := c.Labels[labelPodmanUnit]
	stem, ok := strings.CutSuffix(unit, ".service")
	if !ok || !isUnit(unit) || !isPlain(c.Name) {
		return "", false
	}
	switch {
	case stem == c.Name, stem == "container-"+c.Name, "systemd-"+stem == c.Name, stem == "container-"+c.ID:
		return unit, true
	}
	return "", false
}

// nerdctlName returns the name by which nerdctl knows a container. nerdctl gives IDs of
// 64 digits; ctr, which takes an image's labels over, does so for nobody.
func nerdctlName(c workload.Container) (string, bool) {
	name := c.Labels[labelNerdctlName]
	if len(c.ID) != idLen || !isHex(c.ID) || !isPlain(name) || !isIdentifier(c.Namespace) {
		return "", false
	}
	if isHex(name) {
		return c.ID, true
	}
	return name, true
}

// handle is what a command calls a container: its name, or its ID where the name could
// mean something else. A name of digits only could be the ID of another.
func handle(c workload.Container) string {
	if isPlain(c.Name) && !isHex(c.Name) {
		return c.Name
	}
	return c.ID
}

// maxName is the longest name that is put into a command.
const maxName = 253

// isPlain reports whether a name is one by the rule of Docker and Podman, so it means
// nothing else in a command: ASCII letters, digits, "_", "." and "-", and the first a
// letter or digit.
func isPlain(name string) bool {
	if name == "" || len(name) > maxName || !isAlphanumeric(name[0]) {
		return false
	}
	for i := range len(name) {
		if !isAlphanumeric(name[i]) && strings.IndexByte("_.-", name[i]) < 0 {
			return false
		}
	}
	return true
}

// isKubeName reports whether a name is a DNS subdomain by RFC 1123, as those of pods,
// namespaces and controllers are.
func isKubeName(name string) bool {
	return isPlain(name) && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}
