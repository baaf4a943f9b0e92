package sensor_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// One look at everything that runs, without a daemon.
func ExampleSensor_Scan() {
	report, err := sensor.New(sensor.Options{}).Scan(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range report.Findings {
		fmt.Println(f.State, f.Workload.Name, f.Remedy.Action, f.Remedy.Command)
	}
	if !report.Complete {
		fmt.Println("not everything could be seen:", report.Warnings)
	}
}

// printer is a sink: it prints events as they happen.
type printer struct{}

func (printer) Name() string { return "printer" }

func (printer) Run(ctx context.Context, live *sensor.Live) error {
	cursor := live.Cursor()
	for {
		if err := live.Wait(ctx, cursor); err != nil {
			return nil // the sensor is stopping
		}
		events, err := live.Events(ctx, cursor, 100)
		if err != nil {
			return err
		}
		for _, e := range events {
			fmt.Println(e.Time, e.Type, e.Cursor)
			cursor = e.Cursor
		}
	}
}

// A sensor that runs until it is interrupted and prints what happens.
func ExampleSensor_Run() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := sensor.New(sensor.Options{Live: sensor.LiveOptions{
		StateDir: "/var/lib/sensor",
		Sweep:    10 * time.Minute,
		Sinks:    []sensor.Sink{printer{}},
	}}).Run(ctx)
	if err != nil {
		log.Fatal(err)
	}
}
