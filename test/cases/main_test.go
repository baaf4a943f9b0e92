// Package cases holds a test per case that the sensor must get right: each
// starts small daemons, changes the files under them, and asserts the whole
// finding, or silence. Every case runs with each source of mappings.
package cases

import (
	"fmt"
	"os"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

var (
	workshop *lab.Workshop
	sensorAt lab.Sensor
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	lab.LeaveUnit()
	dir, err := os.MkdirTemp("", "sensor-cases.")
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
