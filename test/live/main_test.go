// Package live is the lab of the sensor that runs: a whole "sensor run" on a host
// of its own (lab.Host), packages that are upgraded under it, and processes that do
// what is hard to follow. What it tells is held against what was done, and what it
// answers against a sensor that looks once.
package live

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
	dir, err := os.MkdirTemp("", "sensor-live.")
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
