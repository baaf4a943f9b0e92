// Package deploy is the lab for what is installed: it builds the packages, installs,
// upgrades, removes and purges them by dpkg and rpm under a real systemd, and looks at
// what the unit's sandbox lets the service do and see.
package deploy

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
	bin, err := os.MkdirTemp("", "sensor-deploy.")
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
		return m.Run() // the tests that need a root skip themselves, aloud
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
