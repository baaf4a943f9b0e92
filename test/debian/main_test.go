// Package debian is the lab with the real thing: a Debian root made from the
// archive that this machine uses, with older versions of some packages, their
// real daemons running, and a real upgrade to the newest versions under them.
// Which versions those are is asked at run time; what the sensor must say is
// worked out from the root by other means.
package debian

import (
	"fmt"
	"os"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

var (
	sensorAt lab.Sensor
	scratch  string // for the root that the tests copy
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	lab.LeaveUnit()
	bin, err := os.MkdirTemp("", "sensor-debian.")
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
