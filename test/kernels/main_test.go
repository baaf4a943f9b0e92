// Package kernels boots real kernels of Debian's in emulated machines and lets each
// run the sensor's own tests of its kernel side, and those of this package whose names
// begin with TestInside, which look at the whole sensor from outside. What each kernel
// has to be able to do stands in docs/kernels.md; a kernel that does better fails the
// test as one that does worse.
package kernels

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// guestEnv is set in the guests.
const guestEnv = "SENSOR_KERNELS_GUEST"

var sensorAt lab.Sensor

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		fmt.Fprintln(os.Stderr, play(role))
		os.Exit(1)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	flag.Parse()
	if os.Getenv(guestEnv) == "" {
		// They run in the guests, on file systems that are made for them.
		if err := flag.Set("test.skip", "^TestInside"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "sensor-kernels.")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if sensorAt, err = lab.NewSensor(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
