package sensor

import (
	"os"
	"path/filepath"

	"github.com/patchsensor/patchsensor/internal/owner/rpm"
)

// deployment is what there is to say of a machine whose whole system is one image that a
// reboot switches (rpm-ostree, bootc): packages that are layered or updated there have no
// effect on anything before. It is false for other machines, and where nothing is pending.
func (sc *scan) deployment() (Cause, bool) {
	// Without it the root itself may tell what was booted.
	cmdline, _ := os.ReadFile(filepath.Join(sc.fs.Dir(), "cmdline"))
	d, ok, err := rpm.Deployments(sc.root, string(cmdline))
	if err != nil {
		sc.warnings.add(sc.root.Name(), err, "")
	}
	if !ok {
		return Cause{}, false
	}
	pending, known := d.Pending()
	if known && !pending {
		return Cause{}, false
	}
	c := Cause{
		State: Stale, Reason: PendingDeployment, Subject: "deployment", Action: Reboot, Need: NeedReboot,
		Running: shortDeployment(d.Booted), Installed: shortDeployment(d.Default),
		Why: "it runs deployment " + shortDeployment(d.Booted) + ", and " + shortDeployment(d.Default) + " will be booted next",
	}
	if d.Staged {
		c.Installed, c.Why = "staged", "it runs deployment "+shortDeployment(d.Booted)+", and another one is staged"
	}
	if !known {
		c.State, c.Reason, c.Action, c.Need = Unknown, Unresolved, None, NeedUnknown
		c.Why = "which deployment is booted, or will be, cannot be told"
	}
	return c, true
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
