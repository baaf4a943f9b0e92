package sensor

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"

	"github.com/patchsensor/patchsensor/internal/owner/rpm"
	"github.com/patchsensor/patchsensor/internal/workload"
)

// deployment is what there is to say of a machine whose whole system is one image that a
// reboot switches (rpm-ostree, bootc): packages that are layered or updated there have no
// effect on anything before. It is false for other machines, and where nothing is pending.
func (sc *scan) deployment() (Finding, bool) {
	// Without it the root itself may tell what was booted.
	cmdline, _ := os.ReadFile(filepath.Join(sc.fs.Dir(), "cmdline"))
	d, ok, err := rpm.Deployments(sc.root, string(cmdline))
	if err != nil {
		sc.warnings.add(sc.root.Name(), err, "")
	}
	if !ok {
		return Finding{}, false
	}
	pending, known := d.Pending()
	if known && !pending {
		return Finding{}, false
	}
	sum := sha256.Sum256([]byte(string(workload.KindHost) + "\x00deployment"))
	f := Finding{
		ID: hex.EncodeToString(sum[:8]), State: Stale, Reason: PendingDeployment, Domain: DomainHost,
		Workload: Workload{Kind: string(workload.KindHost), Name: text(sc.describe().Name)},
		Packages: []Package{}, Processes: []Process{},
		Remedy: Remedy{Action: Reboot, Target: "this host", Command: []string{"systemctl", "reboot"}, Disruptive: true,
			Why: "it runs deployment " + shortDeployment(d.Booted) + ", and " + shortDeployment(d.Default) + " will be booted next"},
	}
	if d.Staged {
		f.Remedy.Why = "it runs deployment " + shortDeployment(d.Booted) + ", and another one is staged"
	}
	if !known {
		f.State, f.Reason = Unknown, Unresolved
		f.Remedy = Remedy{Action: None, Target: "this host", Command: []string{}, Why: "which deployment is booted, or will be, cannot be told"}
	}
	return f, true
}

// shortDeployment names a deployment as "ostree admin status" does, by the beginning of its
// commit.
func shortDeployment(name string) string {
	const commit = 64
	switch {
	case name == "":
		return "unknown"
	case len(name) > commit:
		return text(name[:10] + name[commit:])
	}
	return text(name)
}
