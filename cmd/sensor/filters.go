package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchsensor/patchsensor/internal/filter"
	"github.com/patchsensor/patchsensor/sensor"
)

// filterFlags are the flags that choose findings.
type filterFlags struct {
	packages list[filter.Glob]
	cves     list[string]
	units    list[filter.Glob]
	actions  list[sensor.Action]
	domains  list[sensor.Domain]
	states   list[sensor.State]
	pids     list[int]
	users    list[string]

	containers, images list[filter.Ident]
	namespaces, pods   list[filter.Glob]
}

func newFilterFlags() *filterFlags {
	return &filterFlags{
		packages: list[filter.Glob]{parse: filter.ParseGlob, kind: "PATTERN"},
		cves:     list[string]{parse: parseCVE, kind: "CVE-ID"},
		units:    list[filter.Glob]{parse: filter.ParseGlob, kind: "PATTERN"},
		actions:  list[sensor.Action]{parse: oneOf(sensor.Restart, sensor.Redeploy, sensor.Reboot, sensor.Reload, sensor.None), kind: "ACTION"},
		domains: list[sensor.Domain]{
			parse: oneOf(sensor.DomainHost, sensor.DomainRuntime, sensor.DomainOrchestrator, sensor.DomainImage), kind: "DOMAIN",
		},
		states: list[sensor.State]{parse: oneOf(sensor.Stale, sensor.Missing, sensor.Unknown), kind: "STATE"},
		pids:   list[int]{parse: parsePID, kind: "PID"},
		users:  list[string]{parse: nonempty, kind: "USER"},

		containers: list[filter.Ident]{parse: filter.ParseIdent, kind: "PATTERN"},
		images:     list[filter.Ident]{parse: filter.ParseIdent, kind: "PATTERN"},
		namespaces: list[filter.Glob]{parse: filter.ParseGlob, kind: "PATTERN"},
		pods:       list[filter.Glob]{parse: filter.ParseGlob, kind: "PATTERN"},
	}
}

func (f *filterFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(&f.packages, "package", "only what runs code of this binary or source package")
	flags.Var(&f.cves, "cve", "only what runs code that this CVE was fixed in since")
	flags.Var(&f.units, "unit", "only workloads of this name; \".service\" may be left out")
	flags.Var(&f.actions, "action", "only what this makes effective: restart, redeploy, reboot, none")
	flags.Var(&f.domains, "domain", "only this patch domain: host, container-runtime, orchestrator, image")
	flags.Var(&f.states, "state", "only this state: stale, missing, unknown")
	flags.Var(&f.pids, "pid", "only the workload of this process")
	flags.Var(&f.users, "user", "only workloads with a process of this user, by name or number")
	flags.Var(&f.containers, "container", "only containers of this name, or whose ID begins so")
	flags.Var(&f.images, "image", "only containers of this image, with or without its tag, or whose image ID begins so")
	flags.Var(&f.namespaces, "namespace", "only containers of pods in this namespace of Kubernetes")
	flags.Var(&f.pods, "pod", "only containers of the pod of this name")
	completeWords(cmd, "action", []string{"restart", "redeploy", "reboot", "none"})
	completeWords(cmd, "domain", []string{"host", "container-runtime", "orchestrator", "image"})
	completeWords(cmd, "state", []string{"stale", "missing", "unknown"})
}

// String is the filters as one would type them, "" for none.
func (f *filterFlags) String() string {
	var words []string
	for _, l := range []struct {
		name  string
		texts []string
	}{
		{"package", f.packages.texts}, {"cve", f.cves.texts}, {"unit", f.units.texts}, {"action", f.actions.texts},
		{"domain", f.domains.texts}, {"state", f.states.texts}, {"pid", f.pids.texts}, {"user", f.users.texts},
		{"container", f.containers.texts}, {"image", f.images.texts}, {"namespace", f.namespaces.texts}, {"pod", f.pods.texts},
	} {
		for _, text := range l.texts {
			words = append(words, "--"+l.name, shellQuote(text))
		}
	}
	return strings.Join(words, " ")
}

// filter is what the flags ask for. Names of users are looked up on this
// machine, so under another root only their numbers mean anything.
func (f *filterFlags) filter(env *environment, root string) (filter.Filter, error) {
	out := filter.Filter{
		Packages: f.packages.values,
		CVEs:     f.cves.values,
		Units:    f.units.values,
		Actions:  f.actions.values,
		Domains:  f.domains.values,
		States:   f.states.values,
		PIDs:     f.pids.values,

		Containers: f.containers.values,
		Images:     f.images.values,
		Namespaces: f.namespaces.values,
		Pods:       f.pods.values,
	}
	for _, name := range f.users.values {
		uid, err := strconv.ParseUint(name, 10, 32)
		if err == nil {
			out.UIDs = append(out.UIDs, uint32(uid))
			continue
		}
		if root != "/" {
			return filter.Filter{}, misuse("give the user's number", "--user %s: names are not looked up with --root", name)
		}
		known, err := env.uidOf(name)
		if err != nil {
			return filter.Filter{}, &usageError{fmt.Errorf("--user: %w", err), "a number is taken as it is"}
		}
		out.UIDs = append(out.UIDs, known)
	}
	return out, nil
}

// parseCVE takes CVE-YYYY-NNNN, with four digits or more at the end
// (cve.org, CVE ID syntax), in either case.
func parseCVE(s string) (string, error) {
	id := strings.ToUpper(s)
	parts := strings.Split(id, "-")
	digits := func(s string) bool { return strings.Trim(s, "0123456789") == "" }
	if len(parts) != 3 || parts[0] != "CVE" || len(parts[1]) != 4 || len(parts[2]) < 4 || !digits(parts[1]+parts[2]) {
		return "", fmt.Errorf("want an identifier such as CVE-2026-12345")
	}
	return id, nil
}

func parsePID(s string) (int, error) {
	pid, err := strconv.Atoi(s)
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("want the number of a process")
	}
	return pid, nil
}

func nonempty(s string) (string, error) {
	if s == "" {
		return "", fmt.Errorf("want a user's name or number")
	}
	return s, nil
}
