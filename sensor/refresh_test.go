package sensor

import (
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

func TestWithoutTold(t *testing.T) {
	f := new(snapshot.File)
	list := []snapshot.Mapping{
		{File: f, Exe: true, At: time.Second},
		{File: f, Start: 1, End: 2, At: time.Second},
		{File: f, At: time.Second},     // told before the reading, which does not show it
		{File: f, At: 3 * time.Second}, // told since
	}
	got := withoutTold(list, 2*time.Second)
	if len(got) != 3 || !got[0].Exe || got[1].End != 2 || got[2].At != 3*time.Second {
		t.Errorf("%+v", got)
	}
	if len(list) != 4 || list[2].At != time.Second {
		t.Errorf("the list given was changed: %+v", list)
	}
	if got := withoutTold(list, 0); len(got) != 4 {
		t.Errorf("never read: %+v", got)
	}
}
