package sinktest

import (
	"fmt"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// EmptyReport is a report that found nothing, with every list empty.
func EmptyReport() *sensor.Report {
	return &sensor.Report{
		Schema: sensor.Schema, Source: "daemon", Complete: true,
		Gaps: []sensor.Gap{}, Warnings: []sensor.Warning{}, Findings: []sensor.Finding{},
	}
}

// Report is a report of n findings such as a package upgrade leaves behind, each
// of about 3 KB in JSON.
func Report(n int) *sensor.Report {
	at := time.Date(2026, time.November, 21, 12, 0, 0, 0, time.UTC)
	r := EmptyReport()
	r.ScannedAt = at
	r.Summary = sensor.Summary{Processes: n, Workloads: n, Stale: n, Restart: n}
	for i := range n {
		unit := fmt.Sprintf("worker-%d.service", i)
		f := sensor.Finding{
			ID: fmt.Sprintf("unit:%s", unit), State: sensor.Stale, Reason: sensor.Replaced, Domain: sensor.DomainHost, Since: &at,
			Workload: sensor.Workload{Kind: "unit", Name: unit, Cgroup: "/system.slice/" + unit},
			Remedy:   sensor.Remedy{Action: sensor.Restart, Target: unit, Command: []string{"systemctl", "restart", unit}, Why: "it runs code of before the update"},
		}
		p := sensor.Process{PID: 1000 + i, ContainerPID: 1000 + i, StartTime: at, Comm: "worker", Exe: "/usr/bin/worker", UID: 33}
		for j := range 5 {
			f.Packages = append(f.Packages, sensor.Package{
				Manager: "dpkg", Name: fmt.Sprintf("libexample%d", j), Source: "example", Arch: "amd64",
				Loaded:    sensor.LoadedVersion{Version: "1.2.3-4+deb12u1", Evidence: sensor.Observed},
				Installed: sensor.InstalledVersion{Version: "1.2.3-4+deb12u2"},
				CVEs:      []string{"CVE-2026-1000", "CVE-2026-1001"}, Urgency: "high",
			})
			p.Files = append(p.Files, sensor.File{
				Path: fmt.Sprintf("/usr/lib/x86_64-linux-gnu/libexample%d.so.1.2.3", j), State: sensor.Stale, Reason: sensor.Replaced,
				Package: fmt.Sprintf("libexample%d", j), LoadedBuildID: "0123456789abcdef0123456789abcdef01234567",
				InstalledBuildID: "76543210fedcba9876543210fedcba9876543210", LoadedAt: &at,
			})
		}
		f.Processes = []sensor.Process{p}
		r.Findings = append(r.Findings, f)
		r.Seen = append(r.Seen, sensor.Seen{PID: p.PID, UID: p.UID, Workload: unit})
	}
	return r
}
