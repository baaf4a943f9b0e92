// Package machine is the lab with a machine of its own: a Debian that boots in QEMU, is
// patched while it runs, the kernel included, and made effective by the commands that
// the sensor names, up to the reboot. One test has the same systemd as the init of
// namespaces on this machine, as in a container.
package machine

import (
	"fmt"
	"os"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

var (
	sensorAt lab.Sensor
	scratch  string // for what all tests start from
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	lab.LeaveUnit()
	bin, err := os.MkdirTemp("", "sensor-machine.")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	if sensorAt, err = lab.NewSensor(bin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if os.Geteuid() != 0 {
		return m.Run() // the tests skip themselves, aloud
	}
	if scratch, err = lab.NewScratch(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := lab.RemoveScratch(scratch); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return m.Run()
}
