package containers

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// churn starts containers of an image and removes them by force, a few at a time, until
// it is ended.
type churn struct {
	mu  sync.Mutex
	ids []string // of all that there ever were
	end chan struct{}
	// ended is closed when the last container is gone, or one failed.
	ended chan struct{}
}

func newChurn(t *testing.T, d *lab.Docker, image string) *churn {
	c := &churn{end: make(chan struct{}), ended: make(chan struct{})}
	const atATime = 3
	go func() {
		defer close(c.ended)
		var alive []string
		for n := 0; ; n++ {
			select {
			case <-c.end:
				for _, id := range alive {
					_, _ = d.Try("rm", "--force", id)
				}
				return
			default:
			}
			id, err := d.Try("run", "--detach", "--network", "none", "--name", fmt.Sprintf("brief-%d", n), image)
			if err != nil {
				t.Error(err)
				return
			}
			c.mu.Lock()
			c.ids = append(c.ids, id)
			c.mu.Unlock()
			if alive = append(alive, id); len(alive) > atATime {
				if _, err := d.Try("rm", "--force", alive[0]); err != nil {
					t.Error(err)
				}
				alive = alive[1:]
			}
		}
	}()
	return c
}

// stop ends the coming and going.
func (c *churn) stop() {
	close(c.end)
	<-c.ended
}

// count is how many containers there were so far.
func (c *churn) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ids)
}

// during calls look while some more containers come and go, and a few times at least.
func (c *churn) during(look func()) (looks int) {
	const containers, least = 6, 8
	for enough := c.count() + containers; looks < least || c.count() < enough && c.going(); looks++ {
		look()
	}
	return looks
}

// going is false once the coming and going has broken off.
func (c *churn) going() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// wrong are the findings that say of any of the containers that it is stale or that
// something is missing.
func (c *churn) wrong(findings []sensor.Finding) (list []sensor.Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range findings {
		if f.State != sensor.Stale && f.State != sensor.Missing {
			continue
		}
		named := slices.ContainsFunc(c.ids, func(id string) bool {
			return strings.Contains(f.Workload.Cgroup, id) || f.Workload.Container != nil && f.Workload.Container.ID == id
		})
		// One that was taken for no container.
		if named || slices.ContainsFunc(f.Processes, func(p sensor.Process) bool { return p.Exe == serverPath }) && f.Workload.Container == nil {
			list = append(list, f)
		}
	}
	return list
}

// TestRemovedWhileLooking: containers that come and go while the sensor looks are never
// taken for stale, nor for one another, and hide nothing.
func TestRemovedWhileLooking(t *testing.T) {
	eachWorld(t, false, removedWhileLooking)
}

func removedWhileLooking(t *testing.T, w *world) {
	t.Helper()
	x := newTrio(t, w, w.docker, "steady")
	x.change(t)
	r := runSensor(t, w.docker.Sockets()...)
	events := r.Follow(t, 0)
	serverImage(t, w.docker, "brief/server:1", []string{w.expat.from}, w.expat.library)
	c := newChurn(t, w.docker, "brief/server:1")
	looks := 0
	lab.EachSource(t, func(t *testing.T, source string) {
		looks += c.during(func() {
			now := w.stale(t, "--source", source)
			x.check(t, &now.Report)
			if wrong := c.wrong(now.Report.Findings); len(wrong) > 0 {
				t.Errorf("of containers that nobody touched: %+v", wrong)
			}
		})
	})
	looks += c.during(func() {
		now := r.Ask(t)
		x.check(t, now)
		if wrong := c.wrong(now.Findings); len(wrong) > 0 {
			t.Errorf("of containers that nobody touched, by the sensor that runs: %+v", wrong)
		}
	})
	c.stop()
	t.Logf("%d containers came and went during %d looks", c.count(), looks)
	x.check(t, r.Ask(t))
	var told []sensor.Finding
	for _, e := range events.Close(t) {
		if e.Finding != nil {
			told = append(told, *e.Finding)
		}
	}
	if wrong := c.wrong(told); len(wrong) > 0 {
		t.Errorf("told of containers that nobody touched: %+v", wrong)
	}
}
