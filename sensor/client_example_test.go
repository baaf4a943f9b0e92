package sensor_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

func ExampleClient_Stale() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	report, err := sensor.NewClient("").Stale(ctx, false)
	if errors.Is(err, sensor.ErrNoDaemon) {
		// Nobody watches this machine; a scan tells nearly as much.
		report, err = sensor.New(sensor.Options{}).Scan(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range report.Findings {
		fmt.Printf("%s: %s %s\n", f.State, f.Remedy.Action, f.Remedy.Target)
	}
}

func ExampleClient_Events() {
	ctx := context.Background()
	client := sensor.NewClient("")
	after := sensor.OnlyNew
	for {
		for event, err := range client.Events(ctx, after, true) {
			if err != nil {
				fmt.Println(err)
				break
			}
			after = event.Cursor
			if event.Type == sensor.EventResolved {
				fmt.Printf("%s was exposed for %.0f s\n", event.Finding.Workload.Name, event.Exposure.Seconds)
			}
		}
		// The stream broke off; the cursor resumes it.
		time.Sleep(time.Second)
	}
}
