// Package distros is the lab of package managers other than Debian's: packages of its
// own, made and upgraded by real tools in roots of their own, while small daemons run
// there. The cases are those of test/cases; what differs is who installs, what names
// the versions, and what is known of the CVEs.
package distros

import (
	"fmt"
	"os"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// Sources of the daemons, which keep the agreement of lab.Daemon.
const (
	daemonSource  = "../cases/testdata/daemon.c"
	librarySource = "../cases/testdata/lib.c"
)

var (
	workshop *lab.Workshop
	sensorAt lab.Sensor
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	lab.LeaveUnit()
	dir, err := os.MkdirTemp("", "sensor-distros.")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if workshop, err = lab.NewWorkshop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer workshop.Close()
	if sensorAt, err = lab.NewSensor(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
