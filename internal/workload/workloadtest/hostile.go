package workloadtest

import (
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// hostileNames are what one may call a cgroup or a program to mislead.
var hostileNames = []string{
	"", ".", "..", "-", "--", "_", "__",
	"-evil", "--evil=1", "-evil.service", "--evil.service", "_-evil.scope",
	"evil service.service", "$(id).service", "`id`.service", "a;b.service", "*.service", "[a].service",
	"\x1b[31mred\x1b[0m.service", "tab\there.service", "line\nbreak.service", "nul\x00.service",
	"\xff\xfe.service", "caf\u00e9.service", "\u202egnp.service", "over\u200bhere.scope",
	`a\x2db.service`, `a\.service`, "@.service", "a@.service", "@a.service", "a@b@c.service", "a.service@", ".service",
	"evil:colon.service", "ssh.service (deleted)", "evil.unknown",
	"system.slice", "user.slice", "init.scope", "user@0.service", "user@-1.service", "user@4294967295.service",
	"user@18446744073709551616.service", "user-0.slice", "user-.slice", "session-.scope", "session--x.scope", "session-1 2.scope",
	strings.Repeat("a", 255), strings.Repeat("a", 247) + ".service", strings.Repeat("a", 248) + ".service",
	strings.Repeat("0", 64), "docker-" + strings.Repeat("f", 64) + ".scope",
}

// Hostile returns variations of a process: each component of its cgroup paths
// replaced, one put before it or behind it, paths cut short or made long, and
// the program called by each of the names.
func Hostile(p workload.Process) []workload.Process {
	var out []workload.Process
	for i, c := range p.Cgroups {
		try := func(path string) {
			q := p
			q.Cgroups = slices.Clone(p.Cgroups)
			q.Cgroups[i].Path = path
			out = append(out, q)
		}
		names := strings.Split(c.Path, "/")
		for at := range names {
			for _, name := range hostileNames {
				changed := slices.Clone(names)
				changed[at] = name
				try(strings.Join(changed, "/"))
				try(strings.Join(slices.Insert(slices.Clone(names), at, name), "/"))
			}
			try(strings.Join(names[:at], "/"))
		}
		for _, name := range hostileNames {
			try(c.Path + "/" + name)
		}
		try(c.Path + strings.Repeat("/x", 2000))
		try(c.Path + strings.Repeat("/system.slice", 300))
	}
	for _, name := range hostileNames {
		q := p
		q.Comm = name
		out = append(out, q)
		q.Exe = "/usr/bin/" + name
		out = append(out, q)
	}
	for _, pid := range []int{0, -1, 1 << 30} {
		q := p
		q.PID, q.InitPID = pid, pid
		out = append(out, q)
	}
	return out
}
