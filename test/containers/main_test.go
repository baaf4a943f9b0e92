// Package containers is the lab of containers: real runtimes of its own, images with
// real packages of which the archive has newer versions, and upgrades inside of
// containers and of images. What the sensor must say is worked out from the kernel,
// from dpkg and from what the runtimes keep on disk.
package containers

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

var (
	workshop *lab.Workshop
	sensorAt lab.Sensor
	shared   []*world // of all generations, which the tests have in common
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	lab.LeaveUnit()
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin, err := os.MkdirTemp("", "sensor-containers.")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(bin)
	if workshop, err = lab.NewWorkshop(); err != nil {
		return fail(err)
	}
	defer workshop.Close()
	if sensorAt, err = lab.NewSensor(bin); err != nil {
		return fail(err)
	}
	if os.Geteuid() != 0 {
		return m.Run() // the tests skip themselves, aloud
	}
	scratch, err := lab.NewScratch()
	if err != nil {
		return fail(err)
	}
	common := &material{dir: scratch}
	for _, g := range generations() {
		shared = append(shared, &world{material: common, generation: g})
	}
	defer func() {
		var errs []error
		for _, w := range shared {
			errs = append(errs, w.close())
		}
		if err := errors.Join(append(errs, lab.RemoveScratch(scratch))...); err != nil {
			code = fail(err)
		}
	}()
	return m.Run()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
