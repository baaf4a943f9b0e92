package containers

import (
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// generation is a Docker of one age, with the containerd and the runc that it comes
// with.
type generation struct {
	name string
	// built are the runtimes of ../runtimes that it is made of; none is this machine's.
	built []string
	flags []string
	// storage is the driver, as Docker calls it.
	storage string
}

// generations are Debian's, which keeps images itself and knows one by the digest of its
// configuration, and the current one, which leaves them to containerd and knows one by
// the digest of its manifest.
func generations() []generation {
	return []generation{
		{name: "debian", flags: []string{"--storage-driver", "overlay2"}, storage: "overlay2"},
		{name: "current", built: []string{"docker", "containerd", "runc"}, storage: "overlayfs"},
	}
}

// programs are those of the generation; what is not there yet is built.
func (g generation) programs(t *testing.T) lab.Programs {
	t.Helper()
	if len(g.built) == 0 {
		return nil
	}
	out := lab.Output(t, append([]string{"../runtimes/build"}, g.built...)...)
	return strings.Split(strings.TrimSuffix(out, "\n"), "\n")
}

// check holds that the daemon is what the lab takes it for.
func (g generation) check(t *testing.T, d *lab.Docker) {
	t.Helper()
	if got := d.Do(t, "info", "--format", "{{.Driver}}"); got != g.storage {
		t.Fatalf("Docker of generation %s keeps images by %q, want %q", g.name, got, g.storage)
	}
}
